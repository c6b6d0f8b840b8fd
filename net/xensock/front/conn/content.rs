// SPDX-License-Identifier: GPL-2.0

//! What goes through a connection, and all that depends on it.

use super::Conn;
use crate::{
    conn_ring::ConnRing,
    link::Link,
    proto::{
        frame,
        ring::Order, //
    },
    survivors::Survivors, //
};
use kernel::{
    net::sock::{
        Shutdown,
        Sock,
        TcpState, //
    },
    prelude::*,
    sync::{
        Arc,
        ArcBorrow, //
    }, //
};

/// What goes through a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// The bytes of a stream, after CONNECT or ACCEPT.
    Bytes,
    /// Frames of a datagram socket, after ATTACH.
    Frames,
}

impl Content {
    /// Returns a data ring for it. May sleep.
    pub(super) fn new_ring(
        self,
        link: &Link,
        sk: &Sock,
        owner: u64,
        order: Order,
    ) -> Result<Arc<ConnRing>> {
        match self {
            Self::Bytes => link.new_ring(sk, owner, order),
            Self::Frames => ConnRing::new(link, sk, owner, order),
        }
    }

    /// Returns whether the ring can go to another connection.
    pub(super) fn leaves_ring(self) -> bool {
        self == Self::Bytes
    }

    /// Returns the room that makes a socket writable again once it was full. A quarter of the ring, so
    /// that a sender is not woken for each byte; half of it for datagrams, as with UDP, but always
    /// enough for the next one, however large.
    pub(super) fn room_to_wake(self, conn: &Conn) -> u32 {
        let size = conn.ring.tx_size();
        match self {
            Self::Bytes => (size / 4).max(conn.room_for_lowat()),
            Self::Frames => frame::LARGEST.min(size).max(size / 2),
        }
    }

    /// Returns whether it matters that requests overtake what is in the ring. A datagram is sent with
    /// the options and from the address that the socket has had before the request.
    pub(super) fn minds_requests(self) -> bool {
        self == Self::Frames
    }

    /// Looks at what the backend has done to the ring, and tells the socket. Any context.
    pub(super) fn look(self, conn: ArcBorrow<'_, Conn>) {
        match self {
            Self::Bytes => conn.pass_on(),
            Self::Frames => Conn::take_in(conn),
        }
    }

    /// Ends the socket after a failure. One of datagrams goes on, with another socket of the backend.
    /// Any context.
    pub(super) fn end_socket(self, sk: &Sock) {
        if self == Self::Bytes {
            sk.add_shutdown(Shutdown::Recv | Shutdown::Send);
            sk.set_state(TcpState::Close);
            sk.state_changed();
        }
    }

    /// Returns what the socket is told whose link goes down.
    pub(super) fn loss(self) -> Error {
        match self {
            Self::Bytes => ECONNRESET,
            Self::Frames => ENETDOWN,
        }
    }

    /// Has the socket be made anew with the next link, if it can be. May sleep.
    pub(super) fn survives(self, sk: &Sock) -> bool {
        self == Self::Frames && Survivors::enter(sk)
    }
}
