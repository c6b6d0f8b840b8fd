// SPDX-License-Identifier: GPL-2.0

//! Receiving, as `udp_recvmsg()` does it.

use super::Datagram;
use crate::{
    conn::Conn,
    proto::frame::HEADER, //
};
use kernel::{
    net::{
        msghdr::{
            msg,
            MsgHdr, //
        },
        sock::{
            Shutdown,
            Sock, //
        }, //
    },
    prelude::*,
    sync::Arc, //
};

impl Datagram {
    /// `recvmsg()`.
    pub(crate) fn recv(
        &self,
        sk: &Sock,
        msg: &mut MsgHdr,
        len: usize,
        flags: u32,
    ) -> Result<usize> {
        let mut timeout = sk.rcv_timeout(flags & msg::DONTWAIT != 0);

        loop {
            if let Some(error) = sk.take_error() {
                return Err(error);
            }
            let conn = self.endpoint.conn();
            if let Some(conn) = &conn {
                if !conn.has_frame() {
                    Conn::take_in(conn.as_arc_borrow());
                }
                if let Some(received) = self.recv_one(conn, msg, len, flags)? {
                    return Ok(received);
                }
            }
            if sk.error().is_some() {
                continue;
            }
            if self.endpoint.is_gone() {
                // Until it is seen who has taken its place.
                let _turn = self.endpoint.turn()?;
                return Err(EAGAIN);
            }
            if self.has_lost() {
                self.opened(sk, None)?;
                continue;
            }
            if timeout.is_zero() {
                return Err(EAGAIN);
            }
            if sk.shutdown_mask().contains(Shutdown::Recv) {
                return Ok(0);
            }
            sk.wait(&mut timeout, || {
                // Another thread may have had the ring made.
                let conn = self.endpoint.conn();
                conn.is_some_and(|conn| conn.has_frame())
                    || self.has_lost()
                    || self.endpoint.is_gone()
                    || sk.error().is_some()
                    || sk.shutdown_mask().contains(Shutdown::Recv)
            })?;
        }
    }

    /// Receives the first datagram, if there is one.
    fn recv_one(
        &self,
        conn: &Arc<Conn>,
        msg: &mut MsgHdr,
        len: usize,
        flags: u32,
    ) -> Result<Option<usize>> {
        let _rx = conn.rx.lock();
        let Some(arrived) = Conn::first_datagram(conn.as_arc_borrow()) else {
            return Ok(None);
        };
        let n = arrived.len.min(u32::try_from(len).unwrap_or(u32::MAX));
        // CAST: A small constant.
        let copied = conn.ring.copy_out(HEADER as u32, n, msg.dest());
        if flags & msg::PEEK == 0 {
            // Also if there was no place for it: it is lost then, as with UDP.
            conn.consume_datagram(&arrived);
        }
        if copied < n as usize {
            return Err(EFAULT);
        }
        if n < arrived.len {
            msg.add_flags(msg::TRUNC);
        }
        let peer = || self.names.lock().peer;
        if let Some(from) = arrived.from.or_else(peer) {
            msg.set_name(from);
        }
        let shown = if flags & msg::TRUNC != 0 {
            arrived.len
        } else {
            n
        };
        Ok(Some(shown as usize))
    }
}
