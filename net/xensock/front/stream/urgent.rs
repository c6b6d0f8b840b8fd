// SPDX-License-Identifier: GPL-2.0

//! Reading the urgent byte apart from the stream, as `tcp_recv_urg()` does it.

use super::Stream;
use crate::{
    conn::Conn,
    proto::{
        errno::Ending,
        urgent::UrgentValue, //
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
            SockFlag,
            TcpState, //
        },
    },
    prelude::*, //
};

impl Stream {
    /// `recvmsg()` with MSG_OOB. Never waits.
    pub(super) fn recv_urgent(
        &self,
        sk: &Sock,
        msg: &mut MsgHdr,
        len: usize,
        flags: u32,
    ) -> Result<usize> {
        if sk.state() == TcpState::Listen {
            return Err(ENOTCONN);
        }
        let conn = self.conn().ok_or(EINVAL)?;
        conn.check_urgent(sk);
        if sk.is_flag(SockFlag::UrgInline) || is_none(&conn) {
            return Err(EINVAL);
        }
        if sk.state() == TcpState::Close && conn.ring.rx_ending() != Ending::Orderly {
            return Err(ENOTCONN);
        }
        match conn.take_urgent(flags & msg::PEEK != 0) {
            Some(UrgentValue::Arrived(byte)) => deliver(byte, msg, len, flags),
            Some(UrgentValue::Awaited)
                if sk.state() == TcpState::Close || sk.shutdown_mask().contains(Shutdown::Recv) =>
            {
                Ok(0)
            }
            Some(UrgentValue::Awaited) => Err(EAGAIN),
            // Another thread was faster.
            Some(UrgentValue::Taken) | None => Err(EINVAL),
        }
    }

    /// Returns `true` if the next byte to be read is the urgent byte.
    pub(crate) fn is_at_mark(&self, sk: &Sock) -> bool {
        self.conn().is_some_and(|conn| {
            conn.check_urgent(sk);
            conn.is_at_mark(0)
        })
    }
}

/// Returns `true` if there is no urgent byte, or it was read already.
fn is_none(conn: &Conn) -> bool {
    matches!(conn.urgent_value(), None | Some(UrgentValue::Taken))
}

fn deliver(byte: u8, msg: &mut MsgHdr, len: usize, flags: u32) -> Result<usize> {
    msg.add_flags(msg::OOB);
    if len == 0 {
        msg.add_flags(msg::TRUNC);
        return Ok(0);
    }
    if flags & msg::TRUNC == 0 && msg.dest().copy_to_iter(&[byte]) == 0 {
        return Err(EFAULT);
    }
    Ok(1)
}
