// SPDX-License-Identifier: GPL-2.0

//! The connections that a listener has asked for ahead of `accept()`.

use crate::{
    commands::Exchange,
    conn::Conn, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// How many connections are asked for ahead, at the most. Each costs a data ring.
pub(super) const MAX_AHEAD: usize = 8;

/// Whether a socket listens.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ListenPhase {
    /// It does.
    Open,
    /// The link has gone down. Another listener takes its place when there is a link again.
    Lost,
    /// It does not any more.
    Closed,
}

/// The connections that were asked for.
pub(super) struct PostedConns {
    /// In the order in which they were asked for, and so in which they come.
    pub(super) conns: KVec<Arc<Conn>>,
    /// Those of them that the backend was asked to give up, and by what.
    pub(super) given_back: KVec<(Arc<Conn>, Arc<Exchange>)>,
    /// How many more are being set up.
    pub(super) coming: usize,
    /// How many there shall be.
    pub(super) wanted: usize,
    /// How many there may be, as the program's backlog says.
    pub(super) limit: usize,
    pub(super) phase: ListenPhase,
}

impl PostedConns {
    /// Returns whether one more is to be set up; if so, it counts. There is always one to be asked
    /// of, see [`Listener::settle`](super::Listener::settle), also if others are about to set up what
    /// is wanted.
    pub(super) fn begin(&mut self) -> bool {
        let has_room = self.conns.len() + self.coming < MAX_AHEAD;
        // Those that are given back are among the others.
        let is_wanted =
            self.conns.len().saturating_sub(self.given_back.len()) + self.coming < self.wanted;
        let is_needed = self.conns.is_empty();
        let begins = self.phase == ListenPhase::Open && has_room && (is_wanted || is_needed);
        if begins {
            self.coming += 1;
        }
        begins
    }

    pub(super) fn is_given_back(&self, conn: &Arc<Conn>) -> bool {
        let mut given_back = self.given_back.iter();
        given_back.any(|(other, _)| Arc::ptr_eq(other, conn))
    }

    /// Returns those that have no connection and are to have one, the oldest first.
    pub(super) fn idle(&self) -> impl Iterator<Item = &Arc<Conn>> {
        self.conns
            .iter()
            .filter(|conn| conn.is_pending() && !self.is_given_back(conn))
    }

    /// Returns whether some are given back or have failed, or there are none to get a connection.
    pub(super) fn needs_care(&self) -> bool {
        let has_none = self.coming == 0 && self.conns.is_empty();
        let has_failed = self.conns.iter().any(|conn| conn.death().is_some());
        self.phase == ListenPhase::Open && (has_none || has_failed || !self.given_back.is_empty())
    }

    /// Notes that one of them is given back, unless that was noted before. There is room: see
    /// [`Listener::new`](super::Listener::new).
    pub(super) fn note_given_back(&mut self, conn: &Arc<Conn>, withdraw: &Arc<Exchange>) -> bool {
        let is_known = self.conns.iter().any(|other| Arc::ptr_eq(other, conn));
        let note = (conn.clone(), withdraw.clone());
        // If it is not put there, it is none of the last references that goes.
        is_known && !self.is_given_back(conn) && self.given_back.push_within_capacity(note).is_ok()
    }

    /// Takes one away.
    pub(super) fn remove(&mut self, index: usize) -> Option<Arc<Conn>> {
        let conn = self.conns.remove(index).ok()?;
        self.given_back
            .retain(|(other, _)| !Arc::ptr_eq(other, &conn));
        Some(conn)
    }

    /// Takes everything away.
    pub(super) fn close(&mut self, phase: ListenPhase) -> KVec<Arc<Conn>> {
        self.phase = phase;
        self.given_back.clear();
        core::mem::take(&mut self.conns)
    }
}
