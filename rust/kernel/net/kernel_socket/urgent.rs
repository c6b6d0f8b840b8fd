// SPDX-License-Identifier: GPL-2.0

//! Urgent data of kernel sockets.

use super::{
    KernelSocket,
    Tcp, //
};

use crate::{
    bindings,
    prelude::*, //
};

/// `TCP_URG_VALID`; the lower bits are the urgent byte. `rust/helpers/net/sock.c` checks the value.
const VALID: u16 = 0x0100;

/// State of a connection's urgent byte at the last call of [`KernelSocket::urgent_change`].
#[derive(Copy, Clone, Debug, Default)]
pub struct UrgentState {
    seq: u32,
    data: u16,
}

/// State of an urgent byte.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum UrgentByte {
    /// The byte has not arrived yet.
    Awaited,
    /// The byte has arrived, and waits to be received.
    Arrived(u8),
    /// The byte has been received.
    Received,
}

/// A change of the state of an urgent byte.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct UrgentChange {
    /// Number of bytes to receive before the urgent byte, modulo 2^32; it is above 2^31 if the
    /// urgent byte has been passed already.
    pub offset: u32,
    /// State of the urgent byte.
    pub byte: UrgentByte,
}

/// Urgent data.
impl KernelSocket<Tcp> {
    /// Makes urgent bytes part of the stream (`SO_OOBINLINE`), also for connections that the socket
    /// accepts. Otherwise receiving skips them.
    pub fn set_urgent_inline(&self) -> Result {
        let on: c_int = 1;

        self.set_option(
            bindings::SOL_SOCKET as i32,
            bindings::SO_OOBINLINE as i32,
            &on.to_ne_bytes(),
        )
    }

    /// Returns the position and state of the connection's urgent byte if they have changed since
    /// `seen`, and updates `seen`.
    ///
    /// If there were several urgent bytes, only the last one is known. To be called after each
    /// [`KernelSocket::recv`], since receiving past an urgent byte forgets its value. Calls must be
    /// serialised.
    pub fn urgent_change(&self, seen: &mut UrgentState) -> Option<UrgentChange> {
        let before = *seen;
        let mut next = 0;

        // SAFETY: By the type invariants, this is a valid TCP socket; the other pointers are valid
        // for writing.
        let has_changed = unsafe {
            bindings::tcp_urgent_change(
                self.sk().as_raw(),
                &raw mut seen.seq,
                &raw mut seen.data,
                &raw mut next,
            )
        };
        if !has_changed {
            return None;
        }
        let [byte, ..] = seen.data.to_le_bytes();
        let byte = match seen.data {
            // The receipt of a byte that has been reported as arrived is not reported.
            0 if before.seq == seen.seq && before.data & VALID != 0 => return None,
            0 => UrgentByte::Received,
            data if data & VALID != 0 => UrgentByte::Arrived(byte),
            _ => UrgentByte::Awaited,
        };
        Some(UrgentChange {
            offset: seen.seq.wrapping_sub(next),
            byte,
        })
    }
}
