// SPDX-License-Identifier: GPL-2.0

//! The connections that wait to be accepted: TCP has a socket for them, and the guest does not yet.
//!
//! Waiting connections are counted as they come and go, and TCP is told how many may wait.
//! [`Shares`] explains how the users and listeners of a guest share its limit.

use crate::proto::backlog::{
    Counts,
    Shares, //
};
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
    /// One more than the sum at which held-back listeners are told, or 0.
    room: Atomic<usize>,
}

impl Waiting {
    pub(crate) fn new() -> Result<Arc<Self>> {
        let (sum, room) = (Atomic::new(0), Atomic::new(0));
        Ok(Arc::new(Self { sum, room }, GFP_KERNEL)?)
    }

    /// Returns the number of waiting connections.
    pub(crate) fn count(&self) -> usize {
        self.sum.load(Relaxed)
    }

    /// Notes that the listeners are to be told once no more than `sum` connections wait.
    fn expect_room(&self, sum: usize) {
        let mut seen = self.room.load(Relaxed);
        while let Err(now) = self.room.cmpxchg(seen, seen.max(sum + 1), Full) {
            seen = now;
        }
    }

    /// Returns `true` if listeners that were held back may have room again. It does so once each
    /// time that a listener was held back.
    pub(crate) fn has_room_again(&self) -> bool {
        self.count() < self.room.load(Relaxed) && self.room.xchg(0, Full) > 0
    }
}

/// The waiting connections of all listeners of one user of a guest.
pub(crate) struct UserWaiting {
    number: u64,
    guest: Arc<Waiting>,
    sum: Atomic<usize>,
}

impl UserWaiting {
    /// Creates the count of the user with that number.
    pub(crate) fn new(number: u64, guest: &Arc<Waiting>) -> Result<Arc<Self>> {
        let waiting = Self {
            number,
            guest: guest.clone(),
            sum: Atomic::new(0),
        };
        Ok(Arc::new(waiting, GFP_KERNEL)?)
    }

    /// Replaces a listener's count `before` by `now`.
    fn change(&self, before: usize, now: usize) {
        let more = now.wrapping_sub(before);
        self.sum.add(more, Relaxed);
        self.guest.sum.fetch_add(more, Full);
    }

    /// Returns the counts for a listener that has `here`.
    fn counts(&self, here: usize) -> Counts {
        Counts {
            here,
            of_user: self.sum.load(Relaxed),
            of_all: self.guest.count(),
        }
    }
}

struct BacklogState {
    shares: Shares,
    /// Number of connections that may wait with TCP, unless too many wait at other listeners.
    wanted: usize,
    /// Number of waiting connections at the last count.
    own: usize,
}

/// The waiting connections of one listener.
#[pin_data]
pub(crate) struct Backlog {
    waiting: Arc<UserWaiting>,
    /// Also taken in callbacks of the socket.
    #[pin]
    state: SpinLockIrq<BacklogState>,
}

impl Backlog {
    pub(crate) fn new(waiting: Arc<UserWaiting>, shares: Shares) -> impl PinInit<Self> {
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
        let here = listener.waiting();
        self.waiting.change(state.own, here);
        state.own = here;
        let allowed = |now| state.shares.allow(self.waiting.number, state.wanted, now);
        let now = self.waiting.counts(here);
        let mut may = allowed(now);
        if may < state.wanted {
            // A listener that makes room after this finds that it is expected.
            if let Some(sum) = state.shares.next_room(now.of_all) {
                self.waiting.guest.expect_room(sum);
            }
            may = allowed(self.waiting.counts(here));
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
