// SPDX-License-Identifier: GPL-2.0

//! A limit on the log lines that a guest can cause.

use kernel::{
    new_spinlock,
    prelude::*,
    sync::SpinLock,
    time::{
        Delta,
        Instant,
        Monotonic, //
    },
    xen::xenbus::{
        self,
        State, //
    }, //
};

/// The minimum time between two lines about the same guest.
///
/// A guest can break the rules of one link after another, as fast as links come up.
const PAUSE: Delta = Delta::from_secs(10);

/// Allows a line about a guest now and then.
#[pin_data]
pub(crate) struct LogLimit {
    #[pin]
    last: SpinLock<Option<Instant<Monotonic>>>,
}

impl LogLimit {
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            last <- new_spinlock!(None, "xensock_log"),
        })
    }

    /// Returns `true` if a line about the guest may be logged now. Then the next one has to wait.
    pub(crate) fn allows(&self) -> bool {
        let mut last = self.last.lock();
        if last.is_some_and(|last| last.elapsed() < PAUSE) {
            return false;
        }
        *last = Some(Instant::now());
        true
    }

    /// Ends the link. Logs the reason if the limit allows it.
    pub(crate) fn fatal(&self, dev: &xenbus::Device, error: Error, what: &'static CStr) {
        if self.allows() {
            return dev.fatal(error, what);
        }
        if dev.switch_state(State::Closing).is_err() {
            // The bus reports the reason, and tries once more.
            dev.fatal(error, what);
        }
    }
}
