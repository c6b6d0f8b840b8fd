// SPDX-License-Identifier: GPL-2.0

//! Limits on the connections that wait to be accepted, at one listener and at all listeners of a
//! guest.
//!
//! A backlog is a limit and reserves nothing: each listener can use its full backlog until the
//! guest has reached its share. From then on a listener takes in no more connections than it has
//! already, or than its floor. So no listener is ever left without a backlog, and at most twice the
//! share can wait, or one more for each listener.

/// The limits on waiting connections of a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// Maximum number at all listeners together, before the floors count.
    pub all: usize,
    /// Number that may always wait at each listener.
    pub floor: usize,
}

impl Shares {
    /// Divides the limit of `max_sockets` among `max_listeners`.
    pub fn new(max_sockets: u32, max_listeners: u32) -> Self {
        // CAST: These widen.
        let (all, listeners) = (max_sockets as usize, max_listeners as usize);
        Self {
            all,
            floor: (all / listeners.max(1)).max(1),
        }
    }

    /// Returns the number of connections that may wait at a listener that asks for `wanted`, has
    /// `own` waiting connections, and where all listeners have `sum`.
    pub fn allow(&self, wanted: usize, own: usize, sum: usize) -> usize {
        if sum < self.all {
            return wanted;
        }
        wanted.min(own.max(self.floor))
    }

    /// Returns `true` if so few connections wait that held-back listeners should be told.
    pub fn has_room(&self, sum: usize) -> bool {
        sum <= self.all - self.all / 4
    }
}
