// SPDX-License-Identifier: GPL-2.0

//! The levels of options and of control messages, with Linux's numbers.
//!
//! Programs and Linux pass a level as an `i32`. On the wire it is a `u32`, see
//! [`option`](super::option).

/// Level of the socket itself.
pub const SOL_SOCKET: i32 = 1;
/// Level of IPv4, on sockets of both families.
pub const SOL_IP: i32 = 0;
/// Level of TCP.
pub const SOL_TCP: i32 = 6;
/// Level of UDP.
pub const SOL_UDP: i32 = 17;
/// Level of IPv6.
pub const SOL_IPV6: i32 = 41;
