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
        Part,
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
        addr::{
            Domain,
            AF_INET6, //
        },
        msghdr::{
            msg,
            MsgHdr, //
        },
        sock::{
            Shutdown,
            Sock,
            SockFlag,
            Timeout, //
        }, //
    },
    prelude::*,
    sync::{
        atomic::Relaxed,
        Arc, //
    }, //
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
        if !self.is_ipv6(msg) {
            check_for_ipv4(len, flags)?;
        }
        let begun = self.begun()?;
        let new = match self.begin(sk, msg, len, flags) {
            Ok(new) => Some(new),
            // The message continues a datagram that was begun.
            Err(_) if begun.is_some() => None,
            Err(error) => return Err(error),
        };
        let is_corked = self.endpoint.known_option(SOL_UDP, UDP_CORK) != 0;
        let more = flags & msg::MORE != 0 || is_corked;
        if flags & msg::PROBE != 0 {
            // The data of such a call are not sent, only those of earlier parts.
            if begun.is_some() && !more {
                self.push_parts();
            }
            return Ok(len);
        }
        let part = Part { new, len, more };
        let mut timeout = sk.snd_timeout(flags & msg::DONTWAIT != 0);
        let sent = match &begun {
            Some(conn) => self.continue_on(conn, sk, msg, &part, &mut timeout),
            None => self.send_new(sk, msg, &part, &mut timeout),
        };
        match (&sent, begun) {
            (Ok(id), _) => self.begun_on.store(if more { *id } else { 0 }, Relaxed),
            (Err(_), Some(conn)) => {
                // As in UDP, an error discards the parts before: they must not become the beginning
                // of the next datagram.
                *conn.tx.lock() = None;
                self.begun_on.store(0, Relaxed);
            }
            (Err(_), None) => (),
        }
        sent.map(|_| len)
    }

    /// Sends a datagram, or its first part. Returns the id of the connection.
    fn send_new(
        &self,
        sk: &Sock,
        msg: &mut MsgHdr,
        part: &Part,
        timeout: &mut Timeout,
    ) -> Result<u64> {
        loop {
            if let Some(error) = sk.take_error() {
                return Err(error);
            }
            if sk.shutdown_mask().contains(Shutdown::Send) {
                return Err(EPIPE);
            }
            let target = part.new.map(|new| new.target().addr);
            let conn = self.opened(sk, target)?;
            Conn::drop_errors(conn.as_arc_borrow());
            if let Some(error) = conn.take_send_error().or_else(|| sk.take_error()) {
                return Err(error);
            }
            let Some(wanted) = put(&conn, msg, part)? else {
                self.names.lock().is_automatic = true;
                return Ok(conn.remote.id);
            };

            sk.want_space();
            sk.wait(timeout, || {
                sk.error().is_some()
                    || sk.shutdown_mask().contains(Shutdown::Send)
                    || !self.uses(&conn)
                    || conn.expect_room() >= wanted
            })?;
        }
    }

    /// Sends a further part of the datagram that was begun on a connection. Returns the id of the
    /// connection.
    ///
    /// As in UDP, neither an error of the socket nor `shutdown()` concerns such a part.
    fn continue_on(
        &self,
        conn: &Arc<Conn>,
        sk: &Sock,
        msg: &mut MsgHdr,
        part: &Part,
        timeout: &mut Timeout,
    ) -> Result<u64> {
        loop {
            if !self.uses(conn) {
                return Err(conn.death().unwrap_or(ENETDOWN));
            }
            Conn::drop_errors(conn.as_arc_borrow());
            // Another thread may have completed the datagram: then this one is new.
            let Some(wanted) = put(conn, msg, part)? else {
                return Ok(conn.remote.id);
            };
            sk.want_space();
            sk.wait(timeout, || !self.uses(conn) || conn.expect_room() >= wanted)?;
        }
    }

    /// Sends the datagram that was begun, unless UDP_CORK holds it back.
    pub(crate) fn end_parts(&self) {
        if self.endpoint.known_option(SOL_UDP, UDP_CORK) != 0 {
            return;
        }
        self.push_parts();
    }

    /// Sends the datagram that was begun, if there is one.
    fn push_parts(&self) {
        if let Ok(Some(conn)) = self.begun() {
            // After an error the datagram is dropped, as with UDP.
            let _ = push(&conn);
            self.begun_on.store(0, Relaxed);
        }
    }

    /// Returns the datagram that a message begins, if it is allowed.
    fn begin(&self, sk: &Sock, msg: &MsgHdr, len: usize, flags: u32) -> Result<Corked> {
        let target = self.target(sk, msg, len, flags)?;
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
    fn target(&self, sk: &Sock, msg: &MsgHdr, len: usize, flags: u32) -> Result<Target> {
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
        if target.addr.ip().to_canonical().is_ipv4() {
            check_for_ipv4(len, flags)?;
        }
        // The peer needs no check: `connect()` to a broadcast address fails without SO_BROADCAST.
        if !target.is_peer && is_broadcast(&target.addr) && !sk.is_flag(SockFlag::Broadcast) {
            return Err(EACCES);
        }
        if len > max_len(&target.addr) {
            return Err(EMSGSIZE);
        }
        Ok(target)
    }

    /// Returns `true` if `udpv6_sendmsg()` would send a message. If the family of the socket is not
    /// decided, the address decides.
    fn is_ipv6(&self, msg: &MsgHdr) -> bool {
        let domain = self.names.lock().domain;
        match domain {
            Some(domain) => domain == Domain::Inet6,
            None => msg.name().and_then(|name| name.family()) == Some(AF_INET6),
        }
    }

    /// Returns the connection with the datagram that was begun and is not complete, if there is one.
    /// Fails once if the connection was lost since: the rest is not a datagram by itself.
    fn begun(&self) -> Result<Option<Arc<Conn>>> {
        let id = self.begun_on.load(Relaxed);
        if id == 0 {
            return Ok(None);
        }
        let conn = self.endpoint.live_conn();
        match conn.filter(|conn| conn.remote.id == id) {
            Some(conn) => {
                let has_begun = conn.tx.lock().is_some();
                Ok(has_begun.then_some(conn))
            }
            None => {
                self.begun_on.store(0, Relaxed);
                Err(ENETDOWN)
            }
        }
    }

    /// Returns `true` unless the connection has failed, or the socket has got another one.
    fn uses(&self, conn: &Arc<Conn>) -> bool {
        let now = self.endpoint.live_conn();
        now.is_some_and(|now| Arc::ptr_eq(&now, conn))
    }
}

/// Checks what `udp_sendmsg()` checks first, and `udpv6_sendmsg()` does not.
fn check_for_ipv4(len: usize, flags: u32) -> Result {
    if len > MAX_LEN {
        return Err(EMSGSIZE);
    }
    if flags & msg::OOB != 0 {
        return Err(EOPNOTSUPP);
    }
    Ok(())
}
