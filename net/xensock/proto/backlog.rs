// SPDX-License-Identifier: GPL-2.0

//! How many connections may wait to be accepted, at one listener and at all of a guest.
//!
//! A backlog is a limit and reserves nothing: each listener has all of its own until so many wait
//! that the guest has its share. From then on a listener takes in no more than it has already, or
//! than its floor. So no listener is ever left without a backlog, and all that wait are at most
//! twice the share, or one more for each listener.

/// How many connections may wait at the listeners of a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// So many at all of them, before the floors count.
    pub all: usize,
    /// So many at each of them, always.
    pub floor: usize,
}

impl Shares {
    /// Divides what `max_sockets` allows among `max_listeners`.
    pub fn new(max_sockets: u32, max_listeners: u32) -> Self {
        // CAST: These widen.
        let (all, listeners) = (max_sockets as usize, max_listeners as usize);
        Self {
            all,
            floor: (all / listeners.max(1)).max(1),
        }
    }

    /// Returns how many may wait at a listener that wants `wanted` of them, where `own` wait, and
    /// `sum` at all listeners.
    pub fn allow(&self, wanted: usize, own: usize, sum: usize) -> usize {
        if sum < self.all {
            return wanted;
        }
        wanted.min(own.max(self.floor))
    }

    /// Returns whether so few wait that it is worth telling the listeners that were held back.
    pub fn has_room(&self, sum: usize) -> bool {
        sum <= self.all - self.all / 4
    }
}
