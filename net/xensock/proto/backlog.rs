// SPDX-License-Identifier: GPL-2.0

//! Limits on the connections that wait to be accepted, at one listener and at all listeners of a
//! guest.
//!
//! A backlog is a limit and reserves nothing: each listener can use its full backlog until its user
//! has reached its share of what the guest may have, see [`left_to`]. From then on a listener takes
//! in no more connections than it has already, or than its floor. So no listener is ever left
//! without a backlog, and at most twice the limit can wait, or one more for each listener.

use super::owner::left_to;

/// The limits on waiting connections of a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// Maximum number at all listeners together, before the floors count.
    pub all: u32,
    /// Number that may always wait at each listener.
    pub floor: usize,
}

/// The connections that wait at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// At one listener.
    pub here: usize,
    /// At all listeners of its user.
    pub of_user: usize,
    /// At all listeners of the guest.
    pub of_all: usize,
}

impl Shares {
    /// Divides the limit of `max_sockets` among `max_listeners`.
    pub fn new(max_sockets: u32, max_listeners: u32) -> Self {
        Self {
            all: max_sockets,
            // CAST: Widens.
            floor: (max_sockets / max_listeners.max(1)).max(1) as usize,
        }
    }

    /// Returns the number of connections that may wait at a listener of `owner` that asks for
    /// `wanted`.
    pub fn allow(&self, owner: u64, wanted: usize, now: Counts) -> usize {
        match left_to(owner, self.all, now.of_all, now.of_user) {
            0 => wanted.min(now.here.max(self.floor)),
            _ => wanted,
        }
    }

    /// Returns the number of waiting connections at which listeners that were held back should
    /// check again: a quarter of the limit less than `now`, the number when one of them was held
    /// back. [`None`] if there cannot be so few.
    pub fn next_room(&self, now: usize) -> Option<usize> {
        // CAST: Widens.
        now.checked_sub((self.all / 4).max(1) as usize)
    }
}
