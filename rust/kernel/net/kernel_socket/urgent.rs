// SPDX-License-Identifier: GPL-2.0

//! Urgent bytes of kernel sockets.

use super::{
    KernelSocket,
    Tcp, //
};

use crate::{
    bindings,
    prelude::*, //
};

/// `TCP_URG_VALID`, which `rust/helpers/net/sock.c` checks: the lower bits are the byte.
const VALID: u16 = 0x0100;

/// What was known of the urgent byte of a connection when [`KernelSocket::urgent_news`] was called
/// last.
#[derive(Copy, Clone, Debug, Default)]
pub struct UrgentSeen {
    seq: u32,
    data: u16,
}

/// The value of an urgent byte.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum UrgentByte {
    /// It has not come yet.
    Awaited,
    /// It has come, and waits to be received.
    Arrived(u8),
    /// It was received.
    Received,
}

/// An urgent byte.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct UrgentNews {
    /// How many bytes are to be received before it, modulo 2^32: so what was received already is
    /// beyond half of that.
    pub offset: u32,
    /// What is known of it.
    pub byte: UrgentByte,
}

/// Urgent bytes.
impl KernelSocket<Tcp> {
    /// Has urgent bytes be part of the stream (`SO_OOBINLINE`), also of connections that are accepted
    /// from the socket. Else they are left out of what is received.
    pub fn set_urgent_inline(&self) -> Result {
        let on: c_int = 1;

        self.set_option(
            bindings::SOL_SOCKET as i32,
            bindings::SO_OOBINLINE as i32,
            &on.to_ne_bytes(),
        )
    }

    /// Returns where the urgent byte of a connection is, if that or its value is not what it was
    /// when `seen` was made, and notes that in `seen`.
    ///
    /// Of several only the last is known. To be called after each [`KernelSocket::recv`], since that
    /// forgets an urgent byte which it has passed, but for where it was; by one at a time.
    pub fn urgent_news(&self, seen: &mut UrgentSeen) -> Option<UrgentNews> {
        let before = *seen;
        let mut next = 0;

        // SAFETY: The socket is valid, and by the type invariants one of TCP; the others are valid for
        // writing.
        let is_news = unsafe {
            bindings::tcp_urgent_news(
                self.sk().as_raw(),
                &raw mut seen.seq,
                &raw mut seen.data,
                &raw mut next,
            )
        };
        if !is_news {
            return None;
        }
        let [byte, ..] = seen.data.to_le_bytes();
        let byte = match seen.data {
            // It is no news that what has come was received.
            0 if before.seq == seen.seq && before.data & VALID != 0 => return None,
            0 => UrgentByte::Received,
            data if data & VALID != 0 => UrgentByte::Arrived(byte),
            _ => UrgentByte::Awaited,
        };
        Some(UrgentNews {
            offset: seen.seq.wrapping_sub(next),
            byte,
        })
    }
}
