// SPDX-License-Identifier: GPL-2.0

//! Differences between connections with bytes and connections with datagrams.

use super::Conn;
use crate::{
    commands::Exchange,
    conn_ring::ConnRing,
    link::Link,
    proto::{
        call::SHUT_WR,
        frame,
        ring::Order,
        Call, //
    },
    remote_socket::RemoteSocket,
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

/// The kind of data in a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// The bytes of a stream, after CONNECT or ACCEPT.
    Bytes,
    /// Frames of a datagram socket, after ATTACH.
    Frames,
}

impl Content {
    /// Returns a data ring for this kind of data. May sleep.
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

    /// Makes the request by which sending ends, if this kind of data has an end and the dialect has
    /// the request. May sleep.
    pub(super) fn shutdown(self, remote: &RemoteSocket) -> Result<Option<Arc<Exchange>>> {
        if self == Self::Frames || !remote.link.quirks().has_shutdown() {
            return Ok(None);
        }
        let (id, how) = (remote.id, SHUT_WR);
        remote.exchange(Call::Shutdown { id, how }).map(Some)
    }

    /// Returns `true` if the ring can be left to another connection.
    pub(super) fn leaves_ring(self) -> bool {
        self == Self::Bytes
    }

    /// Returns the free room that makes a full socket writable again. For a stream, a quarter of
    /// the ring, so that a sender is not woken for each byte. For datagrams, half of the ring, as
    /// with UDP, and always enough for the next datagram, however large.
    pub(super) fn room_to_wake(self, conn: &Conn) -> u32 {
        let size = conn.ring.tx_size();
        match self {
            Self::Bytes => (size / 4).max(conn.room_for_lowat()),
            Self::Frames => frame::LARGEST.min(size).max(size / 2),
        }
    }

    /// Returns `true` if requests must not overtake data in the ring. A datagram is sent with the
    /// options and from the address that the socket had before the request.
    pub(super) fn minds_requests(self) -> bool {
        self == Self::Frames
    }

    /// Looks at the backend's changes to the ring, and notifies the socket. Any context.
    pub(super) fn handle_changes(self, conn: ArcBorrow<'_, Conn>) {
        match self {
            Self::Bytes => conn.update_socket(),
            Self::Frames => Conn::queue_frames(conn),
        }
    }

    /// Ends the socket after a failure. A datagram socket goes on with another socket of the
    /// backend. Any context.
    pub(super) fn end_socket(self, sk: &Sock) {
        if self == Self::Bytes {
            sk.add_shutdown(Shutdown::Recv | Shutdown::Send);
            sk.set_state(TcpState::Close);
            sk.state_changed();
        }
    }

    /// Returns the error for a socket whose link goes down.
    pub(super) fn loss(self) -> Error {
        match self {
            Self::Bytes => ECONNRESET,
            Self::Frames => ENETDOWN,
        }
    }

    /// Registers the socket to be set up again with the next link, if it can be. May sleep.
    pub(super) fn survives(self, sk: &Sock) -> bool {
        self == Self::Frames && Survivors::enter(sk)
    }
}
