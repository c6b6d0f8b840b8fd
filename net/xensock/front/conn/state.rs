// SPDX-License-Identifier: GPL-2.0

//! The phase of a connection and its socket.

use kernel::{
    net::sock::Sock,
    sync::aref::ARef, //
};

/// The ring of a connection that has ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum EndedRing {
    /// The connection was never established, so the backend may not have mapped the ring.
    Unused,
    /// The backend has mapped the ring, and the socket may still read from it.
    Used,
    /// The backend has mapped the ring, and no socket will read from it. It can go to another
    /// connection.
    Free,
    /// The ring goes to another connection. It has a place in the link's
    /// [pool](crate::ring_pool::RingPool), and RELEASE says so.
    Left,
}

/// The phase of a connection. It only advances, and may skip phases.
#[derive(PartialEq, Eq)]
pub(super) enum Phase {
    /// CONNECT is under way.
    ///
    /// # Invariants
    ///
    /// The connection belongs to a stream, whose socket was told nothing.
    Connecting,
    /// ACCEPT is under way.
    ///
    /// # Invariants
    ///
    /// The connection's socket is the listening socket.
    Posted,
    /// The connection is established, and waits for `accept()`.
    ///
    /// # Invariants
    ///
    /// The connection was posted, and its socket is still the listening socket.
    Ready,
    /// The connection has a socket, and the program is notified.
    ///
    /// # Invariants
    ///
    /// The connection is established, or belongs to a datagram socket. `has_failed` is set if the
    /// socket was told of a failure; it is told of no other then.
    Open { has_failed: bool },
    /// The socket was closed, and the backend has yet to take bytes that were sent.
    ///
    /// # Invariants
    ///
    /// RELEASE was not sent, and `patience` is queued or running. `was_established` is set unless
    /// the socket was closed before the outcome of CONNECT was known. `left` is the number of bytes
    /// that the backend had yet to take when `patience` was queued.
    Draining { was_established: bool, left: u32 },
    /// The connection has ended.
    ///
    /// # Invariants
    ///
    /// RELEASE was sent or is about to be, or the link is down. If the connection did not end by
    /// `Draining`, and was requested from the backend, it has a [`death`](super::Conn::death).
    Released(EndedRing),
    /// The connection has left its link, or is about to: no events concern it.
    Gone,
}

/// The phase of a connection and its socket.
pub(super) struct ConnState {
    pub(super) phase: Phase,
    /// The socket; before `accept()`, the listening socket. The reference is kept to the end, as it
    /// also keeps the module loaded.
    pub(super) sk: ARef<Sock>,
}

impl ConnState {
    /// Returns `true` while the outcome of CONNECT or ACCEPT is not known.
    pub(super) fn is_pending(&self) -> bool {
        matches!(self.phase, Phase::Connecting | Phase::Posted)
    }

    /// Returns `true` once the connection has ended.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Released(_) | Phase::Gone)
    }

    /// Returns `true` if the connection has a socket that is notified.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open { .. })
    }

    /// Ends the connection, unless it has ended. `has_no_socket` is set if no socket has it or will
    /// have it.
    pub(super) fn end(&mut self, has_no_socket: bool) {
        let end = match self.phase {
            Phase::Connecting | Phase::Posted => (false, has_no_socket),
            Phase::Ready | Phase::Open { .. } => (true, has_no_socket),
            Phase::Draining {
                was_established, ..
            } => (was_established, true),
            Phase::Released(_) | Phase::Gone => return,
        };
        self.phase = Phase::Released(match end {
            (false, _) => EndedRing::Unused,
            (true, false) => EndedRing::Used,
            (true, true) => EndedRing::Free,
        });
    }
}
