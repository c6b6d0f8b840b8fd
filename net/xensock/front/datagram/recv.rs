// SPDX-License-Identifier: GPL-2.0

//! Receiving, as `udp_recvmsg()` does it.

use super::Datagram;
use crate::{
    conn::Conn,
    endpoint::move_peek_offset,
    proto::control, //
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
        // Once, as in UDP: another thread may change the offset.
        let first = match flags & msg::PEEK {
            0 => None,
            _ => sk.peek_offset(),
        };

        loop {
            if let Some(error) = sk.take_error() {
                return Err(error);
            }
            let conn = self.endpoint.conn();
            // What was there when the call has passed all of it.
            let mut seen = None;
            if let Some(conn) = &conn {
                if !conn.has_frame() || first.is_some() {
                    Conn::queue_frames(conn.as_arc_borrow());
                }
                if first.is_some() {
                    seen = Some(conn.checked());
                }
                if let Some(received) = self.recv_one(sk, conn, msg, len, flags, first)? {
                    return Ok(received);
                }
            }
            if sk.error().is_some() {
                continue;
            }
            if self.endpoint.is_native() {
                // Wait until the native socket has really taken over.
                let _call = self.endpoint.lock_call()?;
                return Err(EAGAIN);
            }
            if self.has_lost() && !self.endpoint.is_lost() {
                self.opened(sk, None)?;
                continue;
            }
            if timeout.is_zero() {
                return Err(EAGAIN);
            }
            if sk.shutdown_mask().contains(Shutdown::Recv) {
                return Ok(0);
            }
            // There may be news each time, none of them what this call waits for.
            if current!().signal_pending() {
                return Err(timeout.interrupted());
            }
            if let Some(conn) = &conn {
                Conn::busy_poll(conn.as_arc_borrow(), sk, seen);
            }
            let has_news = || {
                // Another thread may have created the ring.
                let conn = self.endpoint.conn();
                let has_datagram = |conn: Arc<Conn>| {
                    Conn::look_for_datagram(conn.as_arc_borrow()) && seen != Some(conn.checked())
                };
                conn.is_some_and(has_datagram)
                    || (self.has_lost() && !self.endpoint.is_lost())
                    || self.endpoint.is_native()
                    || sk.error().is_some()
                    || sk.shutdown_mask().contains(Shutdown::Recv)
            };
            match flags & msg::PEEK {
                // One task is woken for each datagram, as it will take it.
                0 => sk.wait_exclusive(&mut timeout, has_news)?,
                _ => sk.wait(&mut timeout, has_news)?,
            }
        }
    }

    /// `recvmsg()` with `MSG_ERRQUEUE`.
    pub(crate) fn recv_error(&self, sk: &Sock, msg: &mut MsgHdr, len: usize) -> Result<usize> {
        if let Some(conn) = self.endpoint.conn() {
            // Ahead of the event.
            Conn::queue_frames(conn.as_arc_borrow());
        }
        sk.recv_error(msg, len)
    }

    /// Receives the first datagram, or peeks at it, or at the one with the byte at `first` of the
    /// payloads, if there is one.
    fn recv_one(
        &self,
        sk: &Sock,
        conn: &Arc<Conn>,
        msg: &mut MsgHdr,
        len: usize,
        flags: u32,
        first: Option<u32>,
    ) -> Result<Option<usize>> {
        let _rx = conn.rx.lock();
        let is_peek = flags & msg::PEEK != 0;
        let Some(arrived) = Conn::datagram_at(conn.as_arc_borrow(), first) else {
            return Ok(None);
        };
        let left = arrived.len - arrived.skip;
        let n = left.min(u32::try_from(len).unwrap_or(u32::MAX));
        let info = conn.info_of(&arrived);
        let wants_time = sk.wants_timestamp();
        let time = match wants_time || sk.keeps_timestamp() {
            true => conn.arrival_of(&arrived),
            false => 0,
        };
        let copied = conn.ring.copy_out(arrived.payload(), n, msg.dest());
        if is_peek {
            conn.note_peek(&arrived);
        } else {
            // Also after a fault: the datagram is lost then, as with UDP.
            conn.consume_datagram(&arrived);
        }
        if copied < n as usize {
            return Err(EFAULT);
        }
        if n < left {
            msg.add_flags(msg::TRUNC);
        }
        match wants_time {
            true => sk.put_timestamp(msg, time),
            false => sk.store_timestamp(time),
        }
        let peer = || self.names.lock().peer;
        if let Some(from) = arrived.from.or_else(peer) {
            msg.set_name(from);
            if let (Some(info), Some(settings)) = (info, self.endpoint.known_options()) {
                let is_set = |level, name| {
                    let value = settings.find(level, name);
                    value.is_some_and(|value| value.to_int() != Some(0))
                };
                control::put_for_program(&info, &from, is_set, |(level, kind, data)| {
                    // If there is no room, the flags say so. UDP does not report a fault either.
                    let _ = msg.put_control(level, kind, data);
                });
            }
        }
        let shown = if flags & msg::TRUNC != 0 {
            arrived.len
        } else {
            n
        };
        move_peek_offset(sk, is_peek, shown);
        Ok(Some(shown as usize))
    }
}
