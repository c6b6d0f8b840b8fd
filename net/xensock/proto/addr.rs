// SPDX-License-Identifier: GPL-2.0

//! Socket addresses on the wire.
//!
//! An address is 28 bytes and a length. The bytes are those of `struct sockaddr_in` (16 of them) or
//! `struct sockaddr_in6` (28) of Linux on x86: the family is little endian, port and address are
//! big endian. Bytes beyond the structure are sent as zeroes and ignored.

use core::net::{
    Ipv4Addr,
    Ipv6Addr,
    SocketAddr,
    SocketAddrV4,
    SocketAddrV6, //
};

use super::{
    errno,
    Dialect, //
};

/// Number of bytes of an address in a slot.
pub const LEN: usize = 28;

/// The family that means no address, in CONNECT; the native dialect only.
pub const AF_UNSPEC: u16 = 0;

/// The IPv4 family, in SOCKET and in addresses.
pub const AF_INET: u16 = 2;

/// The IPv6 family, in SOCKET and in addresses; the native dialect only.
pub const AF_INET6: u16 = 10;

/// The length of an address of no family, `sizeof(sa_family_t)`.
pub const UNSPEC_LEN: u32 = 2;

/// The length of an IPv4 address, `sizeof(struct sockaddr_in)`.
pub const IN_LEN: u32 = 16;

/// The length of an IPv6 address, `sizeof(struct sockaddr_in6)`.
pub const IN6_LEN: u32 = 28;

/// The reason why bytes are not an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadAddr {
    /// The length is beyond the field or too short for the family.
    Length,
    /// The dialect does not have the family.
    Family,
}

impl BadAddr {
    /// Returns the error number, positive.
    pub const fn errno(self) -> i32 {
        match self {
            Self::Length => errno::EINVAL,
            Self::Family => errno::EAFNOSUPPORT,
        }
    }
}

/// Returns the bytes and the length of an address, or [`None`] if the dialect lacks its family.
///
/// Flow information and scope of an IPv6 address are carried as they are.
pub fn encode(dialect: Dialect, addr: &SocketAddr) -> Option<([u8; LEN], u32)> {
    let mut bytes = [0; LEN];
    match addr {
        SocketAddr::V4(v4) => {
            bytes[0..2].copy_from_slice(&AF_INET.to_le_bytes());
            bytes[2..4].copy_from_slice(&v4.port().to_be_bytes());
            bytes[4..8].copy_from_slice(&v4.ip().octets());
            Some((bytes, IN_LEN))
        }
        SocketAddr::V6(v6) => {
            if dialect == Dialect::PvCalls {
                return None;
            }
            bytes[0..2].copy_from_slice(&AF_INET6.to_le_bytes());
            bytes[2..4].copy_from_slice(&v6.port().to_be_bytes());
            bytes[4..8].copy_from_slice(&v6.flowinfo().to_le_bytes());
            bytes[8..24].copy_from_slice(&v6.ip().octets());
            bytes[24..28].copy_from_slice(&v6.scope_id().to_le_bytes());
            Some((bytes, IN6_LEN))
        }
    }
}

/// Returns the address in the first `len` of `bytes`.
pub fn decode(dialect: Dialect, bytes: &[u8; LEN], len: u32) -> Result<SocketAddr, BadAddr> {
    let [f0, f1, p0, p1, a0, a1, a2, a3, rest @ ..] = *bytes;

    if !(UNSPEC_LEN..=IN6_LEN).contains(&len) {
        return Err(BadAddr::Length);
    }
    let port = u16::from_be_bytes([p0, p1]);
    match u16::from_le_bytes([f0, f1]) {
        AF_INET => {
            if len < IN_LEN {
                return Err(BadAddr::Length);
            }
            let ip = Ipv4Addr::new(a0, a1, a2, a3);
            Ok(SocketAddr::V4(SocketAddrV4::new(ip, port)))
        }
        AF_INET6 if dialect == Dialect::XenSock => {
            if len < IN6_LEN {
                return Err(BadAddr::Length);
            }
            let [octets @ .., s0, s1, s2, s3] = rest;
            Ok(SocketAddr::V6(SocketAddrV6::new(
                Ipv6Addr::from(octets),
                port,
                u32::from_le_bytes([a0, a1, a2, a3]),
                u32::from_le_bytes([s0, s1, s2, s3]),
            )))
        }
        _ => Err(BadAddr::Family),
    }
}

/// Returns the bytes and the length of an address in the native dialect. The length is 0 if there is
/// none.
pub fn encode_optional(addr: Option<&SocketAddr>) -> ([u8; LEN], u32) {
    // This dialect can express all addresses.
    addr.and_then(|addr| encode(Dialect::XenSock, addr))
        .unwrap_or(([0; LEN], 0))
}

/// Returns what [`encode_optional`] has encoded.
pub fn decode_optional(bytes: &[u8; LEN], len: u32) -> Result<Option<SocketAddr>, BadAddr> {
    match len {
        0 => Ok(None),
        _ => decode(Dialect::XenSock, bytes, len).map(Some),
    }
}

/// Returns `true` if the first `len` of `bytes` are an address of no family.
pub fn is_unspec(bytes: &[u8; LEN], len: u32) -> bool {
    let [f0, f1, ..] = *bytes;

    (UNSPEC_LEN..=IN6_LEN).contains(&len) && u16::from_le_bytes([f0, f1]) == AF_UNSPEC
}
