// SPDX-License-Identifier: GPL-2.0

//! Sending from a datagram socket: whole frames. Several calls may build the last one.

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

/// Destination of a datagram.
#[derive(Clone, Copy)]
pub(crate) struct Target {
    pub(crate) addr: SocketAddr,
    /// Set if it is the peer of the socket: the frame needs no address then.
    pub(crate) is_peer: bool,
}

/// A datagram that several calls build, with `MSG_MORE` or `UDP_CORK`. Its bytes are in the ring,
/// behind those that were produced.
#[derive(Clone, Copy)]
pub(crate) struct Corked {
    target: Target,
    info: Option<Info>,
    len: usize,
}

/// A message: a datagram, or a part of one.
pub(crate) struct Part {
    /// The empty datagram that it begins, unless one was begun before.
    pub(crate) new: Option<Corked>,
    /// Bytes of the message.
    pub(crate) len: usize,
    /// Set if it is not the last part.
    pub(crate) more: bool,
}

/// Puts a message into the ring. Returns the room that the frame needs if there is too little.
pub(crate) fn put(conn: &Arc<Conn>, msg: &mut MsgHdr, part: &Part) -> Result<Option<u32>> {
    let &Part { new, len, more } = part;
    let mut tx = conn.tx.lock();
    let has_begun = tx.is_some();
    let mut begun = tx.take().or(new).ok_or(EDESTADDRREQ)?;
    // After an error the datagram is dropped, as with UDP.
    let frame = begun.frame(conn, len)?;
    let total = frame.total_len().ok_or(EMSGSIZE)?;
    let Ok(room) = conn.ring.writable() else {
        Conn::broken(conn.as_arc_borrow());
        // The program sees the error that this leaves.
        return Ok(Some(total));
    };
    if room < total {
        *tx = has_begun.then_some(begun);
        return Ok(Some(total));
    }
    // CAST: The frame, whose length is a `u32`, has room for both.
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

/// Sends the datagram that was begun, if there is one.
pub(crate) fn push(conn: &Arc<Conn>) -> Result {
    let mut tx = conn.tx.lock();
    let Some(mut begun) = tx.take() else {
        return Ok(());
    };
    let frame = begun.frame(conn, 0)?;
    begun.produce(conn, &frame)
}

impl Corked {
    /// Creates an empty datagram with `info`.
    pub(crate) fn new(target: Target, info: Option<Info>) -> Self {
        Self {
            target,
            info,
            len: 0,
        }
    }

    /// Returns the destination.
    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// Writes the header before the payload, which is in the ring already, and sends the frame.
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

    /// Returns the frame with `len` bytes added. Drops `info` if the backend knows only addresses.
    /// Fails if `info` is needed.
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
            // Another thread has fixed the family of the backend's socket meanwhile.
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
