// SPDX-License-Identifier: GPL-2.0

//! The ioctl(2)s of sockets.

use crate::bindings;

/// How many bytes there are to receive (also `FIONREAD`).
pub const SIOCINQ: u32 = bindings::FIONREAD;

/// How many bytes the peer has not acknowledged yet (also `TIOCOUTQ`).
pub const SIOCOUTQ: u32 = bindings::TIOCOUTQ;

/// How many bytes were not sent yet.
pub const SIOCOUTQNSD: u32 = bindings::SIOCOUTQNSD;

/// Whether the next byte to receive is the urgent one.
pub const SIOCATMARK: u32 = bindings::SIOCATMARK;
