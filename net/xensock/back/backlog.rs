// SPDX-License-Identifier: GPL-2.0

//! The connections that wait to be accepted: TCP has made their sockets, and the guest has none of
//! them yet.
//!
//! What waits is counted as it comes and goes, and TCP is told how many may. See [`Shares`] for how
//! a guest's listeners share what there may be.

use crate::proto::backlog::Shares;
use kernel::{
    net::kernel_socket::{
        KernelSocket,
        Tcp, //
    },
    new_spinlock_irq,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Full,
            Relaxed, //
        },
        Arc,
        SpinLockIrq, //
    }, //
};

/// The connections that wait at all listeners of a guest.
pub(crate) struct Waiting {
    sum: Atomic<usize>,
    /// A listener was held back.
    is_short: Atomic<bool>,
}

impl Waiting {
    pub(crate) fn new() -> Result<Arc<Self>> {
        let (sum, is_short) = (Atomic::new(0), Atomic::new(false));
        Ok(Arc::new(Self { sum, is_short }, GFP_KERNEL)?)
    }

    /// Returns how many there are.
    pub(crate) fn count(&self) -> usize {
        self.sum.load(Relaxed)
    }

    /// Counts a listener's `now` in place of its `before`, and returns the sum.
    fn change(&self, before: usize, now: usize) -> usize {
        let more = now.wrapping_sub(before);
        self.sum.fetch_add(more, Full).wrapping_add(more)
    }

    /// Returns whether listeners that were held back have room again, once for each time that they
    /// were.
    pub(crate) fn has_room_again(&self, shares: &Shares) -> bool {
        shares.has_room(self.count())
            && self.is_short.load(Relaxed)
            && self.is_short.xchg(false, Full)
    }
}

struct BacklogState {
    shares: Shares,
    /// How many may wait with TCP, unless too many wait at all listeners.
    wanted: usize,
    /// How many waited when that was looked at last.
    own: usize,
}

/// The connections that wait at one listener.
#[pin_data]
pub(crate) struct Backlog {
    waiting: Arc<Waiting>,
    /// Taken in callbacks of the socket, too.
    #[pin]
    state: SpinLockIrq<BacklogState>,
}

impl Backlog {
    pub(crate) fn new(waiting: Arc<Waiting>, shares: Shares) -> impl PinInit<Self> {
        let state = BacklogState {
            shares,
            wanted: 1,
            own: 0,
        };
        pin_init!(Self {
            waiting,
            state <- new_spinlock_irq!(state, "xensock_backlog"),
        })
    }

    /// Changes how many may wait with TCP, of which there is one more than `backlog` says, as TCP
    /// has it. To be followed by [`Self::adjust`].
    pub(crate) fn set(&self, backlog: u32, shares: Shares) {
        let mut state = self.state.lock();
        state.shares = shares;
        // CAST: Widens.
        state.wanted = backlog as usize + 1;
    }

    /// Counts what waits now, and tells TCP how many may. Any context.
    pub(crate) fn adjust(&self, listener: &KernelSocket<Tcp>) {
        let mut state = self.state.lock();
        let now = listener.waiting();
        let mut sum = self.waiting.change(state.own, now);
        state.own = now;
        let mut may = state.shares.allow(state.wanted, now, sum);
        if may < state.wanted {
            // Whoever makes room afterwards finds that somebody has none.
            self.waiting.is_short.xchg(true, Full);
            sum = self.waiting.count();
            may = state.shares.allow(state.wanted, now, sum);
        }
        listener.set_backlog(u32::try_from(may - 1).unwrap_or(u32::MAX));
    }

    /// Nothing waits any more: the listener is closed.
    pub(crate) fn leave(&self) {
        let mut state = self.state.lock();
        self.waiting.change(state.own, 0);
        state.own = 0;
    }
}
