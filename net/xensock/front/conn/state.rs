// SPDX-License-Identifier: GPL-2.0

//! How far a connection has come, and whose it is.

use kernel::{
    net::sock::Sock,
    sync::aref::ARef, //
};

/// The ring of a connection that has ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum EndedRing {
    /// The connection has never stood, so the backend may not have looked at the ring.
    Unused,
    /// The backend has it, and the socket may still read from it.
    Used,
    /// The backend has it, and no socket will read from it: it may go to another connection.
    Free,
    /// It goes to another connection: it has a place among the link's
    /// [pool](crate::ring_pool::RingPool), and RELEASE says so.
    Left,
}

/// How far a connection has come. It only goes on, and may leave out steps.
#[derive(PartialEq, Eq)]
pub(super) enum Phase {
    /// CONNECT is under way.
    ///
    /// # Invariants
    ///
    /// It is a stream's, whose socket was told nothing.
    Connecting,
    /// ACCEPT is under way.
    ///
    /// # Invariants
    ///
    /// Its socket is the listening one.
    Posted,
    /// It stands, and waits for `accept()`.
    ///
    /// # Invariants
    ///
    /// It was posted, and its socket is still the listening one.
    Ready,
    /// It has a socket: the program is told what happens.
    ///
    /// # Invariants
    ///
    /// It stands, or is a datagram socket's. `has_failed` if the socket was told of a failure, so
    /// that it is told of no other.
    Open { has_failed: bool },
    /// It has nobody: the socket was closed, and what it sent still waits for the backend.
    ///
    /// # Invariants
    ///
    /// RELEASE was not sent, and `patience` is queued or about to be. `has_stood` unless the socket was
    /// closed before the outcome of CONNECT was known.
    Draining { has_stood: bool },
    /// It has ended.
    ///
    /// # Invariants
    ///
    /// RELEASE was sent or is about to be, or the link is down. If it has ended otherwise than by
    /// `Draining`, and the backend had been asked for it, then it has a [`death`](super::Conn::death).
    Released(EndedRing),
    /// It has left its link, or is about to: no events concern it.
    Parted,
}

/// How far a connection has come, and whose it is.
pub(super) struct ConnState {
    pub(super) phase: Phase,
    /// The socket; before `accept()`, the listening one. The reference is kept to the end, as it
    /// also keeps the module loaded.
    pub(super) sk: ARef<Sock>,
}

impl ConnState {
    /// Returns whether the outcome of CONNECT or ACCEPT is not known.
    pub(super) fn is_pending(&self) -> bool {
        matches!(self.phase, Phase::Connecting | Phase::Posted)
    }

    /// Returns whether it has ended.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Released(_) | Phase::Parted)
    }

    /// Returns whether it has a socket, which is told what happens.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open { .. })
    }

    /// Ends it, unless it has ended. `is_let_go` if no socket has it, or will ever.
    pub(super) fn end(&mut self, is_let_go: bool) {
        let end = match self.phase {
            Phase::Connecting | Phase::Posted => (false, is_let_go),
            Phase::Ready | Phase::Open { .. } => (true, is_let_go),
            Phase::Draining { has_stood } => (has_stood, true),
            Phase::Released(_) | Phase::Parted => return,
        };
        self.phase = Phase::Released(match end {
            (false, _) => EndedRing::Unused,
            (true, false) => EndedRing::Used,
            (true, true) => EndedRing::Free,
        });
    }
}
