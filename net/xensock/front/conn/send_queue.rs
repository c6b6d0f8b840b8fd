// SPDX-License-Identifier: GPL-2.0

//! What a datagram socket sends: whole frames, of which the last may be put together by several calls.

use super::Conn;
use crate::{
    addresses::max_len,
    proto::{
        frame::{
            payload_at,
            Frame, //
        },
        info::Info,
        Feature, //
    }, //
};
use core::net::SocketAddr;
use kernel::{
    net::{
        addr::Domain,
        msghdr::MsgHdr, //
    },
    prelude::*,
    sync::Arc, //
};

/// Where a datagram goes.
#[derive(Clone, Copy)]
pub(crate) struct Target {
    pub(crate) addr: SocketAddr,
    /// It is the peer of the socket, whose address need not be said.
    pub(crate) is_peer: bool,
}

/// The beginning of a datagram that is put together by several calls, with `MSG_MORE` or `UDP_CORK`. It
/// lies in the ring already, behind what was produced.
#[derive(Clone, Copy)]
pub(crate) struct Corked {
    target: Target,
    info: Option<Info>,
    len: usize,
}

/// Puts a message into the ring: a datagram, or the rest of one, or with `more` a part of it that is
/// not the last. Returns the room that it takes if there is too little.
pub(crate) fn put(
    conn: &Arc<Conn>,
    msg: &mut MsgHdr,
    new: Option<Corked>,
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

impl Corked {
    /// Makes a datagram with nothing in it yet, of which `info` is said.
    pub(crate) fn new(target: Target, info: Option<Info>) -> Self {
        Self {
            target,
            info,
            len: 0,
        }
    }

    /// Returns where it goes.
    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

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

    /// Returns the frame that it becomes with `len` bytes more. A backend that knows no more than an
    /// address is told no more, if that is no harm.
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
