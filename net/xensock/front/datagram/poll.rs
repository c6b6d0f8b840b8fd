// SPDX-License-Identifier: GPL-2.0

//! What a datagram socket is ready for, as `datagram_poll()` and `udp_ioctl()` say it.

use super::Datagram;
use crate::conn::Conn;
use kernel::net::{
    family::{
        EPOLLERR,
        EPOLLHUP,
        EPOLLIN,
        EPOLLOUT,
        EPOLLRDHUP,
        EPOLLRDNORM,
        EPOLLWRBAND,
        EPOLLWRNORM, //
    },
    sock::{
        Shutdown,
        Sock, //
    }, //
};

impl Datagram {
    /// Returns what the socket is ready for.
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
            // Until there is a link again, there is nothing but what came before.
            conn if self.endpoint.is_lost() => (conn.is_some_and(|c| c.has_datagram()), true),
            // The next call of either kind does not wait: it fails, or has another ring made.
            _ if self.has_lost() => (true, true),
            None => (false, true),
            Some(conn) => {
                Conn::take_in(conn.as_arc_borrow());
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
        if sk.error().is_some() {
            mask |= EPOLLERR;
        }
        mask
    }

    /// Returns how many bytes the datagram has that comes next.
    pub(crate) fn unread(&self) -> u32 {
        let Some(conn) = self.endpoint.conn() else {
            return 0;
        };
        Conn::take_in(conn.as_arc_borrow());
        let _rx = conn.rx.lock();
        Conn::first_datagram(conn.as_arc_borrow()).map_or(0, |arrived| arrived.len)
    }

    /// Returns how many bytes the backend has not taken, with what else a datagram costs.
    pub(crate) fn unsent(&self) -> u32 {
        self.endpoint
            .conn()
            .map_or(0, |conn| conn.ring.peek_queued())
    }
}
