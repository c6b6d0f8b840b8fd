// SPDX-License-Identifier: GPL-2.0

//! What `recvmsg()` on a stream reports besides the bytes: control messages, and the number of
//! unread bytes for io_uring.

use super::Stream;
use crate::{
    conn::Conn,
    proto::{
        errno::Ending,
        option::{
            SOL_TCP,
            TCP_INQ, //
        }, //
    }, //
};
use kernel::net::{
    msghdr::MsgHdr,
    sock::Sock, //
};

impl Stream {
    /// Adds what the program has asked for.
    pub(super) fn put_control(
        &self,
        sk: &Sock,
        conn: &Conn,
        msg: &mut MsgHdr,
        has_received: bool,
        is_peek: bool,
    ) {
        if has_received && sk.wants_timestamp() {
            sk.put_timestamp(msg, conn.take_arrival(is_peek));
        }
        let wants_inq = self.endpoint.known_option(SOL_TCP, TCP_INQ) != 0;
        if !wants_inq && !msg.wants_unread() {
            return;
        }
        let unread = unread_hint(conn);
        msg.set_unread(unread);
        if wants_inq {
            // The bytes have been consumed. TCP does not report a fault either.
            let _ = msg.put_control(SOL_TCP as i32, TCP_INQ as i32, &unread.to_ne_bytes());
        }
    }
}

/// Returns the number of unread bytes. The end of the stream counts as a byte, as in
/// `tcp_inq_hint()`, so that a program goes on to read it.
fn unread_hint(conn: &Conn) -> i32 {
    // Read the ending first: all bytes before it are seen then.
    let has_end = conn.ring.rx_ending() == Ending::Orderly;
    if has_end {
        // The event may still be on its way: poll() must not say less.
        conn.update_socket();
    }
    let unread = conn.ring.peek_readable().saturating_add(u32::from(has_end));
    i32::try_from(unread).unwrap_or(i32::MAX)
}
