// SPDX-License-Identifier: GPL-2.0

//! Readiness flags of sockets.

// The result of `poll`. `rust/helpers/net/socket.c` checks the values.

/// There is data to read, or a connection to accept, or the end of the stream has been reached.
pub const EPOLLIN: u32 = 0x0001;
/// There is urgent data to read.
pub const EPOLLPRI: u32 = 0x0002;
/// There is room to write.
pub const EPOLLOUT: u32 = 0x0004;
/// An error is pending.
pub const EPOLLERR: u32 = 0x0008;
/// Both directions are shut down.
pub const EPOLLHUP: u32 = 0x0010;
/// There is normal data to read.
pub const EPOLLRDNORM: u32 = 0x0040;
/// There is room to write normal data.
pub const EPOLLWRNORM: u32 = 0x0100;
/// There is room to write priority data.
pub const EPOLLWRBAND: u32 = 0x0200;
/// The peer has shut down its sending side.
pub const EPOLLRDHUP: u32 = 0x2000;
