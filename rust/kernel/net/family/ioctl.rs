// SPDX-License-Identifier: GPL-2.0

//! ioctl(2) requests of sockets.

use crate::bindings;

/// Requests the number of bytes that can be received (same as `FIONREAD`).
pub const SIOCINQ: u32 = bindings::FIONREAD;

/// Requests the number of bytes that the peer has not acknowledged yet (same as `TIOCOUTQ`).
pub const SIOCOUTQ: u32 = bindings::TIOCOUTQ;

/// Requests the number of bytes that have not been sent yet.
pub const SIOCOUTQNSD: u32 = bindings::SIOCOUTQNSD;

/// Requests 1 if the next byte to receive is the urgent byte, and 0 otherwise.
pub const SIOCATMARK: u32 = bindings::SIOCATMARK;
