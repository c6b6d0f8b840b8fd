// SPDX-License-Identifier: GPL-2.0

//! ioctl(2) requests of sockets.

use crate::bindings;

/// Returns the number of bytes that can be received (same as `FIONREAD`).
pub const SIOCINQ: u32 = bindings::FIONREAD;

/// Returns the number of bytes that the peer has not acknowledged yet (same as `TIOCOUTQ`).
pub const SIOCOUTQ: u32 = bindings::TIOCOUTQ;

/// Returns the number of bytes that have not been sent yet.
pub const SIOCOUTQNSD: u32 = bindings::SIOCOUTQNSD;

/// Returns 1 if the next byte to receive is the urgent byte.
pub const SIOCATMARK: u32 = bindings::SIOCATMARK;
