// SPDX-License-Identifier: GPL-2.0

//! Sending, as `udp_sendmsg()` does it.

use super::{
    address::destination,
    Datagram, //
};
use crate::{
    addresses::{
        is_broadcast,
        max_len, //
    },
    commands::wire_error,
    conn::{
        push,
        put,
        Conn,
        Corked,
        Target, //
    },
    proto::{
        control,
        info::Info,
        option::{
            SOL_UDP,
            UDP_CORK, //
        }, //
    }, //
};
use kernel::{
    net::{
        msghdr::{
            msg,
            MsgHdr, //
        },
        sock::{
            Shutdown,
            Sock,
            SockFlag, //
        }, //
    },
    prelude::*, //
};

/// Largest length of a datagram, whatever protocol is below UDP.
const MAX_LEN: usize = 0xffff;

impl Datagram {
    /// `sendmsg()`.
    pub(crate) fn send(
        &self,
        sk: &Sock,
        msg: &mut MsgHdr,
        len: usize,
        flags: u32,
    ) -> Result<usize> {
        if len > MAX_LEN {
            return Err(EMSGSIZE);
        }
        if flags & msg::OOB != 0 {
            return Err(EOPNOTSUPP);
        }
        let new = match self.begin(sk, msg, len) {
            Ok(new) => Some(new),
            // The message continues a datagram that was begun.
            Err(_) if self.has_begun() => None,
            Err(error) => return Err(error),
        };
        let more = flags & msg::MORE != 0 || self.endpoint.known_option(SOL_UDP, UDP_CORK) != 0;
        let mut timeout = sk.snd_timeout(flags & msg::DONTWAIT != 0);

        loop {
            if let Some(error) = sk.take_error() {
                return Err(error);
            }
            if sk.shutdown_mask().contains(Shutdown::Send) {
                return Err(EPIPE);
            }
            let conn = self.opened(sk, new.map(|new| new.target().addr))?;
            Conn::drop_errors(conn.as_arc_borrow());
            let Some(wanted) = put(&conn, msg, new, len, more)? else {
                self.names.lock().is_automatic = true;
                return Ok(len);
            };

            sk.want_space();
            sk.wait(&mut timeout, || {
                sk.error().is_some()
                    || sk.shutdown_mask().contains(Shutdown::Send)
                    || conn.death().is_some()
                    || conn.expect_room() >= wanted
            })?;
        }
    }

    /// Sends the datagram that was begun, unless UDP_CORK holds it back.
    pub(crate) fn end_parts(&self) {
        let is_corked = self.endpoint.known_option(SOL_UDP, UDP_CORK) != 0;
        if let Some(conn) = self.endpoint.conn().filter(|_| !is_corked) {
            // After an error the datagram is dropped, as with UDP.
            let _ = push(&conn);
        }
    }

    /// Returns the datagram that a message begins, if it is allowed.
    fn begin(&self, sk: &Sock, msg: &MsgHdr, len: usize) -> Result<Corked> {
        let target = self.target(sk, msg, len)?;
        let mut info = None;
        if msg.wants_control() {
            sk.check_controls(msg)?;
            let messages = msg.controls().flatten().map(|c| (c.level, c.kind, c.data));
            let sent = control::info_from_program(messages, &target.addr).map_err(wire_error)?;
            info = Some(sent).filter(|sent| *sent != Info::default());
        }
        Ok(Corked::new(target, info))
    }

    /// Returns the destination of a message, if it is allowed.
    fn target(&self, sk: &Sock, msg: &MsgHdr, len: usize) -> Result<Target> {
        let (domain, peer) = {
            let names = self.names.lock();
            (names.domain, names.peer)
        };
        let target = match destination(msg, domain)? {
            Some(addr) => Target {
                addr,
                is_peer: false,
            },
            None => Target {
                addr: peer.ok_or(EDESTADDRREQ)?,
                is_peer: true,
            },
        };
        // The peer needs no check: `connect()` to a broadcast address fails without SO_BROADCAST.
        if !target.is_peer && is_broadcast(&target.addr) && !sk.is_flag(SockFlag::Broadcast) {
            return Err(EACCES);
        }
        if len > max_len(&target.addr) {
            return Err(EMSGSIZE);
        }
        Ok(target)
    }

    /// Returns `true` if a datagram was begun and is not complete.
    fn has_begun(&self) -> bool {
        let conn = self.endpoint.conn();
        conn.is_some_and(|conn| conn.tx.lock().is_some())
    }
}
