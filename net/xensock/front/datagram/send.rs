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
    proto::frame::{
        Frame,
        HEADER, //
    }, //
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

/// The beginning of a datagram that is put together by several calls, with `MSG_MORE`. It lies in the
/// ring already, behind what was produced.
pub(crate) struct Begun {
    target: Target,
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
        let target = match self.target(sk, msg, len) {
            Ok(target) => Some(target),
            // The beginning has one.
            Err(_) if self.has_begun() => None,
            Err(error) => return Err(error),
        };
        let mut timeout = sk.snd_timeout(flags & msg::DONTWAIT != 0);

        loop {
            if let Some(error) = sk.take_error() {
                return Err(error);
            }
            if sk.shutdown_mask().contains(Shutdown::Send) {
                return Err(EPIPE);
            }
            let conn = self.opened(sk, target.map(|target| Domain::from(&target.addr)))?;
            Conn::drop_errors(conn.as_arc_borrow());
            let Some(wanted) = put(&conn, msg, target, len, flags & msg::MORE != 0)? else {
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
    target: Option<Target>,
    len: usize,
    more: bool,
) -> Result<Option<u32>> {
    let mut tx = conn.tx.lock();
    let has_begun = tx.is_some();
    let mut begun = match tx.take() {
        Some(begun) => begun,
        None => Begun {
            target: target.ok_or(EDESTADDRREQ)?,
            len: 0,
        },
    };
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
    let (skip, len) = ((HEADER + begun.len) as u32, len as u32);
    if conn.ring.copy_in(skip, len, msg.source()) < len as usize {
        return Err(EFAULT);
    }
    if more {
        begun.len += len as usize;
        *tx = Some(begun);
        return Ok(None);
    }
    conn.ring.write(0, &frame.encode())?;
    if conn.ring.produce(total) {
        conn.notify();
    }
    Ok(None)
}

impl Begun {
    /// The frame that it becomes with `len` bytes more.
    fn frame(&self, conn: &Conn, len: usize) -> Result<Frame> {
        let Target { addr, is_peer } = self.target;
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
        };
        match frame.total_len() {
            Some(total) if total <= conn.ring.tx_size() => Ok(frame),
            _ => Err(EMSGSIZE),
        }
    }
}
