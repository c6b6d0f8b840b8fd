// SPDX-License-Identifier: GPL-2.0

//! Sending, as `udp_sendmsg()` does it.

use super::{
    address::{
        destination,
        is_broadcast,
        max_len, //
    },
    Datagram, //
};
use crate::{
    conn::Conn,
    proto::{
        control,
        frame::{
            payload_at,
            Frame, //
        },
        info::Info,
        option::{
            SOL_UDP,
            UDP_CORK, //
        },
        Feature, //
    },
    wire_error, //
};
use core::net::SocketAddr;
use kernel::{
    net::{
        addr::Domain,
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
    prelude::*,
    sync::Arc, //
};

/// No datagram is longer, whatever is below UDP.
const MAX_LEN: usize = 0xffff;

/// Where a datagram goes.
#[derive(Clone, Copy)]
struct Target {
    addr: SocketAddr,
    /// It is the peer of the socket, whose address need not be said.
    is_peer: bool,
}

/// The beginning of a datagram that is put together by several calls, with `MSG_MORE` or `UDP_CORK`. It
/// lies in the ring already, behind what was produced.
#[derive(Clone, Copy)]
pub(crate) struct Begun {
    target: Target,
    info: Option<Info>,
    len: usize,
}

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
            // There is a beginning.
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
            let conn = self.opened(sk, new.map(|new| Domain::from(&new.target.addr)))?;
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

    /// What a message begins, if that is allowed.
    fn begin(&self, sk: &Sock, msg: &MsgHdr, len: usize) -> Result<Begun> {
        let target = self.target(sk, msg, len)?;
        let mut info = None;
        if msg.wants_control() {
            sk.check_controls(msg)?;
            let messages = msg.controls().flatten().map(|c| (c.level, c.kind, c.data));
            let asked = control::asked(messages, &target.addr).map_err(wire_error)?;
            info = Some(asked).filter(|asked| *asked != Info::default());
        }
        Ok(Begun {
            target,
            info,
            len: 0,
        })
    }

    /// Where a message goes, if that is allowed.
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
        // Where the socket may not connect to, it has no peer.
        if !target.is_peer && is_broadcast(&target.addr) && !sk.is_flag(SockFlag::Broadcast) {
            return Err(EACCES);
        }
        if len > max_len(&target.addr) {
            return Err(EMSGSIZE);
        }
        Ok(target)
    }

    /// Whether a datagram is being put together.
    fn has_begun(&self) -> bool {
        let conn = self.endpoint.conn();
        conn.is_some_and(|conn| conn.tx.lock().is_some())
    }
}

/// Puts a message into the ring: a datagram, or the rest of one, or with `more` a part of it that is
/// not the last. Returns the room that it takes if there is too little.
fn put(
    conn: &Arc<Conn>,
    msg: &mut MsgHdr,
    new: Option<Begun>,
    len: usize,
    more: bool,
) -> Result<Option<u32>> {
    let mut tx = conn.tx.lock();
    let has_begun = tx.is_some();
    let mut begun = tx.take().or(new).ok_or(EDESTADDRREQ)?;
    // After an error nothing is left of the beginning, as with UDP.
    let frame = begun.frame(conn, len)?;
    let total = frame.total_len().ok_or(EMSGSIZE)?;
    let Ok(room) = conn.ring.writable() else {
        Conn::broken(conn.as_arc_borrow());
        // The program is told by the error that this leaves.
        return Ok(Some(total));
    };
    if room < total {
        *tx = has_begun.then_some(begun);
        return Ok(Some(total));
    }
    // CAST: The frame has room for both, and a number for its length.
    let (skip, len) = (
        payload_at(begun.info.is_some()) + begun.len as u32,
        len as u32,
    );
    if conn.ring.copy_in(skip, len, msg.source()) < len as usize {
        return Err(EFAULT);
    }
    if more {
        begun.len += len as usize;
        *tx = Some(begun);
        return Ok(None);
    }
    begun.produce(conn, &frame)?;
    Ok(None)
}

/// Sends the datagram that has begun, if one has.
pub(crate) fn push(conn: &Arc<Conn>) -> Result {
    let mut tx = conn.tx.lock();
    let Some(mut begun) = tx.take() else {
        return Ok(());
    };
    let frame = begun.frame(conn, 0)?;
    begun.produce(conn, &frame)
}

impl Begun {
    /// Puts its header before the payload, which is in the ring with room for it, and sends it.
    fn produce(&self, conn: &Conn, frame: &Frame) -> Result {
        if let Some(info) = &self.info {
            conn.ring.write(payload_at(false), &info.encode())?;
        }
        conn.ring.write(0, &frame.encode())?;
        if conn.ring.produce(frame.total_len().ok_or(EMSGSIZE)?) {
            conn.notify();
        }
        Ok(())
    }

    /// The frame that it becomes with `len` bytes more. A backend that knows no more than an address
    /// is told no more, if that is no harm.
    fn frame(&mut self, conn: &Conn, len: usize) -> Result<Frame> {
        let Target { addr, is_peer } = self.target;
        if !conn.remote.link.has(Feature::Info) {
            if let Some(info) = self.info.take() {
                if info.is_needed() {
                    return Err(EOPNOTSUPP);
                }
            }
        }
        if conn.remote.domain != Domain::from(&addr) {
            // Another thread has decided it meanwhile.
            return Err(EAFNOSUPPORT);
        }
        let len = self.len + len;
        if len > max_len(&addr) {
            return Err(EMSGSIZE);
        }
        let frame = Frame::Data {
            // CAST: It was checked just now.
            len: len as u32,
            addr: (!is_peer).then_some(addr),
            has_info: self.info.is_some(),
        };
        match frame.total_len() {
            Some(total) if total <= conn.ring.tx_size() => Ok(frame),
            _ => Err(EMSGSIZE),
        }
    }
}
