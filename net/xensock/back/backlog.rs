// SPDX-License-Identifier: GPL-2.0

//! The connections that wait to be accepted: TCP has a socket for them, and the guest does not yet.
//!
//! Waiting connections are counted as they come and go, and TCP is told how many may wait.
//! [`Shares`] explains how the listeners of a guest share its limit.

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

/// The waiting connections of all listeners of a guest.
pub(crate) struct Waiting {
    sum: Atomic<usize>,
    /// Set once a listener was held back.
    is_short: Atomic<bool>,
}

impl Waiting {
    pub(crate) fn new() -> Result<Arc<Self>> {
        let (sum, is_short) = (Atomic::new(0), Atomic::new(false));
        Ok(Arc::new(Self { sum, is_short }, GFP_KERNEL)?)
    }

    /// Returns the number of waiting connections.
    pub(crate) fn count(&self) -> usize {
        self.sum.load(Relaxed)
    }

    /// Replaces a listener's count `before` by `now`, and returns the sum.
    fn change(&self, before: usize, now: usize) -> usize {
        let more = now.wrapping_sub(before);
        self.sum.fetch_add(more, Full).wrapping_add(more)
    }

    /// Returns `true` if listeners that were held back have room again. It does so once each time
    /// that a listener was held back.
    pub(crate) fn has_room_again(&self, shares: &Shares) -> bool {
        shares.has_room(self.count())
            && self.is_short.load(Relaxed)
            && self.is_short.xchg(false, Full)
    }
}

struct BacklogState {
    shares: Shares,
    /// Number of connections that may wait with TCP, unless too many wait at all listeners.
    wanted: usize,
    /// Number of waiting connections at the last count.
    own: usize,
}

/// The waiting connections of one listener.
#[pin_data]
pub(crate) struct Backlog {
    waiting: Arc<Waiting>,
    /// Also taken in callbacks of the socket.
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

    /// Changes the number of connections that may wait with TCP. As in TCP, it is one more than
    /// `backlog`. To be followed by [`Self::adjust`].
    pub(crate) fn set(&self, backlog: u32, shares: Shares) {
        let mut state = self.state.lock();
        state.shares = shares;
        // CAST: Widens.
        state.wanted = backlog as usize + 1;
    }

    /// Counts the waiting connections, and tells TCP how many may wait. Any context.
    pub(crate) fn adjust(&self, listener: &KernelSocket<Tcp>) {
        let mut state = self.state.lock();
        let now = listener.waiting();
        let mut sum = self.waiting.change(state.own, now);
        state.own = now;
        let mut may = state.shares.allow(state.wanted, now, sum);
        if may < state.wanted {
            // A listener that makes room after this finds the flag set.
            self.waiting.is_short.xchg(true, Full);
            sum = self.waiting.count();
            may = state.shares.allow(state.wanted, now, sum);
        }
        listener.set_backlog(u32::try_from(may - 1).unwrap_or(u32::MAX));
    }

    /// Removes the listener's count, as the listener is closed.
    pub(crate) fn leave(&self) {
        let mut state = self.state.lock();
        self.waiting.change(state.own, 0);
        state.own = 0;
    }
}
