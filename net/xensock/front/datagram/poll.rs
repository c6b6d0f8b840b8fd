// SPDX-License-Identifier: GPL-2.0

//! `poll()` and the ioctls of a datagram socket, as in `datagram_poll()` and `udp_ioctl()`.

use super::Datagram;
use crate::conn::Conn;
use kernel::net::{
    family::{
        EPOLLERR,
        EPOLLHUP,
        EPOLLIN,
        EPOLLOUT,
        EPOLLPRI,
        EPOLLRDHUP,
        EPOLLRDNORM,
        EPOLLWRBAND,
        EPOLLWRNORM, //
    },
    sock::{
        Shutdown,
        Sock,
        SockFlag, //
    }, //
};

impl Datagram {
    /// Returns the poll events of the socket.
    pub(crate) fn poll(&self, sk: &Sock) -> u32 {
        let shutdown = sk.shutdown_mask();
        let mut mask = 0;

        if shutdown.contains(Shutdown::Recv) {
            mask |= EPOLLRDHUP | EPOLLIN | EPOLLRDNORM;
        }
        if shutdown == Shutdown::Recv | Shutdown::Send {
            mask |= EPOLLHUP;
        }
        let (readable, writable) = match self.endpoint.conn() {
            // Until there is a link again, only datagrams that arrived before can be received.
            conn if self.endpoint.is_lost() => (conn.is_some_and(|c| c.has_datagram()), true),
            // `send()` and `recv()` would not wait: they fail, or create another ring.
            _ if self.has_lost() => (true, true),
            None => (false, true),
            Some(conn) => {
                Conn::queue_frames(conn.as_arc_borrow());
                sk.want_space();
                (conn.has_datagram(), conn.poll_writable())
            }
        };
        if readable {
            mask |= EPOLLIN | EPOLLRDNORM;
        }
        if writable {
            mask |= EPOLLOUT | EPOLLWRNORM | EPOLLWRBAND;
        }
        if sk.error().is_some() || sk.has_queued_error() {
            mask |= EPOLLERR;
            if sk.is_flag(SockFlag::SelectErrQueue) {
                mask |= EPOLLPRI;
            }
        }
        mask
    }

    /// Returns the number of bytes of the next datagram.
    pub(crate) fn unread(&self) -> u32 {
        let Some(conn) = self.endpoint.conn() else {
            return 0;
        };
        Conn::queue_frames(conn.as_arc_borrow());
        let _rx = conn.rx.lock();
        Conn::first_datagram(conn.as_arc_borrow()).map_or(0, |arrived| arrived.len)
    }

    /// Returns the number of bytes that the backend has not taken, with the headers of datagrams.
    pub(crate) fn unsent(&self) -> u32 {
        self.endpoint
            .conn()
            .map_or(0, |conn| conn.ring.peek_queued())
    }
}
