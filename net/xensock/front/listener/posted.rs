// SPDX-License-Identifier: GPL-2.0

//! The connections that a listener has posted ahead of `accept()`.

use crate::{
    commands::Exchange,
    conn::Conn, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// Largest number of connections posted ahead. Each costs a data ring.
pub(crate) const MAX_AHEAD: usize = 8;

/// The phase of a listener.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ListenPhase {
    /// The socket listens.
    Open,
    /// The link went down. Another listener replaces this one with the next link.
    Lost,
    /// The socket no longer listens.
    Closed,
}

/// The posted connections.
pub(super) struct PostedConns {
    /// In the order in which they were posted and are filled.
    pub(super) conns: KVec<Arc<Conn>>,
    /// The withdrawn connections, with their WITHDRAW requests.
    pub(super) withdrawn: KVec<(Arc<Conn>, Arc<Exchange>)>,
    /// Number of further connections that are being set up.
    pub(super) coming: usize,
    /// Number of connections to keep posted.
    pub(super) wanted: usize,
    /// Largest number of connections to post, from the program's backlog.
    pub(super) limit: usize,
    /// Set if no connection is posted, until another one is or cannot be for another reason than a
    /// lack of resources. Meanwhile the listener is like one with an empty queue.
    pub(super) is_short: bool,
    pub(super) phase: ListenPhase,
}

impl PostedConns {
    /// Returns `true` if another connection has to be set up, and counts it.
    ///
    /// With `accepts_ahead`, at least one connection is kept posted, see
    /// [`Listener::confirm_none_pending`](super::Listener::confirm_none_pending), even if other
    /// tasks are already setting up as many as are wanted. Without, there is one at most: the C
    /// backend would answer the POLLs of two for the same connection, and the second ACCEPT not
    /// before there is another.
    pub(super) fn begin(&mut self, accepts_ahead: bool) -> bool {
        let has_room = self.conns.len() + self.coming < MAX_AHEAD;
        // `conns` contains the withdrawn connections too.
        let is_wanted =
            self.conns.len().saturating_sub(self.withdrawn.len()) + self.coming < self.wanted;
        let is_needed = self.conns.is_empty() && (accepts_ahead || self.coming == 0);
        let begins = self.phase == ListenPhase::Open && has_room && (is_wanted || is_needed);
        if begins {
            self.coming += 1;
        }
        begins
    }

    pub(super) fn is_withdrawn(&self, conn: &Arc<Conn>) -> bool {
        let mut withdrawn = self.withdrawn.iter();
        withdrawn.any(|(other, _)| Arc::ptr_eq(other, conn))
    }

    /// Returns the connections that are not filled and not withdrawn, the oldest first.
    pub(super) fn idle(&self) -> impl Iterator<Item = &Arc<Conn>> {
        self.conns
            .iter()
            .filter(|conn| conn.is_pending() && !self.is_withdrawn(conn))
    }

    /// Returns `true` if some connections are withdrawn or have failed, or none are posted.
    pub(super) fn needs_maintenance(&self) -> bool {
        let has_none = self.coming == 0 && self.conns.is_empty();
        let has_failed = self.conns.iter().any(|conn| conn.death().is_some());
        self.phase == ListenPhase::Open && (has_none || has_failed || !self.withdrawn.is_empty())
    }

    /// Notes that a posted connection is withdrawn. Returns `false` if this was noted before, or
    /// the connection is no longer posted. There is room: see
    /// [`Listener::new`](super::Listener::new).
    pub(super) fn note_withdrawn(&mut self, conn: &Arc<Conn>, withdraw: &Arc<Exchange>) -> bool {
        let is_known = self.conns.iter().any(|other| Arc::ptr_eq(other, conn));
        let note = (conn.clone(), withdraw.clone());
        // If the push fails, the references that it drops are not the last ones.
        is_known && !self.is_withdrawn(conn) && self.withdrawn.push_within_capacity(note).is_ok()
    }

    /// Removes a connection.
    pub(super) fn remove(&mut self, index: usize) -> Option<Arc<Conn>> {
        let conn = self.conns.remove(index).ok()?;
        self.withdrawn
            .retain(|(other, _)| !Arc::ptr_eq(other, &conn));
        Some(conn)
    }

    /// Removes all connections.
    pub(super) fn close(&mut self, phase: ListenPhase) -> KVec<Arc<Conn>> {
        self.phase = phase;
        self.withdrawn.clear();
        core::mem::take(&mut self.conns)
    }
}
