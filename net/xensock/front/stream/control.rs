// SPDX-License-Identifier: GPL-2.0

//! Control messages of `recvmsg()` on a stream.

use super::Stream;
use crate::{
    conn::Conn,
    proto::option::{
        SOL_TCP,
        TCP_INQ, //
    }, //
};
use kernel::{
    net::{
        msghdr::MsgHdr,
        sock::Sock, //
    },
    prelude::*, //
};

impl Stream {
    /// Adds the control messages that the program has asked for.
    pub(super) fn put_control(
        &self,
        sk: &Sock,
        conn: &Conn,
        msg: &mut MsgHdr,
        has_received: bool,
    ) -> Result {
        if has_received && sk.wants_timestamp() {
            sk.put_timestamp(msg, conn.take_arrival());
        }
        if self.endpoint.known_option(SOL_TCP, TCP_INQ) != 0 {
            let unread = conn.ring.peek_readable();
            // The end of the stream counts as something to read.
            let shown = if unread == 0 && conn.is_end_read() {
                1
            } else {
                unread
            };
            msg.put_control(SOL_TCP as i32, TCP_INQ as i32, &shown.to_ne_bytes())?;
        }
        Ok(())
    }
}
