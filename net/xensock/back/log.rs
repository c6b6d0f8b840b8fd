// SPDX-License-Identifier: GPL-2.0

//! How much a guest can make us write to the log.

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

/// The least time between two lines about the same guest.
///
/// A guest can break the rules of one link after the other, as fast as links come up.
const PAUSE: Delta = Delta::from_secs(10);

/// Lets a line about a guest through now and then.
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

    /// Returns whether something may be said of the guest now. If so, the next time is a while off.
    pub(crate) fn allows(&self) -> bool {
        let mut last = self.last.lock();
        if last.is_some_and(|last| last.elapsed() < PAUSE) {
            return false;
        }
        *last = Some(Instant::now());
        true
    }

    /// Ends the link for a reason that is said if there is room in the log.
    pub(crate) fn fatal(&self, dev: &xenbus::Device, error: Error, what: &'static CStr) {
        if self.allows() {
            return dev.fatal(error, what);
        }
        // Xenbus itself says so if that fails.
        let _ = dev.switch_state(State::Closing);
    }
}
