// SPDX-License-Identifier: GPL-2.0

//! A report of the network on a datagram that was sent, in the form that it has in a frame.
//!
//! It is a block as long as an [`info`](super::info), between header and payload, with the error,
//! its origin, and the host that reports it. The payload is the returned part of the datagram, and
//! the address in the header is its destination. Like a header, the block is copied to private
//! memory before it is looked at.

use core::net::{
    Ipv4Addr,
    SocketAddr, //
};

use super::{
    addr,
    errno,
    info::LEN, //
};

/// Maximum length of a payload that is looked at: no ICMP message has more.
pub const MAX_PAYLOAD: u32 = 1280;

/// The origin of an error, with Linux's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The backend's side itself: the datagram has not left it.
    Local = 1,
    /// ICMP.
    Icmp = 2,
    /// ICMPv6.
    Icmp6 = 3,
}

impl Origin {
    fn new(number: u8) -> Option<Self> {
        [Self::Local, Self::Icmp, Self::Icmp6]
            .into_iter()
            .find(|origin| *origin as u8 == number)
    }
}

/// A report of the network on a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// The error, a positive number.
    pub errno: i32,
    /// The origin of the error.
    pub origin: Origin,
    /// The type of the ICMP message.
    pub kind: u8,
    /// The code of the ICMP message.
    pub code: u8,
    /// Further information, such as the MTU of the path.
    pub info: u32,
    /// More further information.
    pub data: u32,
    /// The host that has sent the message.
    pub offender: Option<SocketAddr>,
}

/// An invalid block: its origin is unknown, or its address is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadReport;

impl Report {
    /// Returns the block.
    pub fn encode(&self) -> [u8; LEN] {
        let (offender, len) = addr::encode_optional(self.offender.as_ref());
        let errno = errno::to_wire(self.errno).wrapping_neg();
        let mut block = [0; LEN];

        block[0..4].copy_from_slice(&errno.to_le_bytes());
        block[4..7].copy_from_slice(&[self.origin as u8, self.kind, self.code]);
        block[8..12].copy_from_slice(&self.info.to_le_bytes());
        block[12..16].copy_from_slice(&self.data.to_le_bytes());
        block[16..44].copy_from_slice(&offender);
        block[44..48].copy_from_slice(&len.to_le_bytes());
        block
    }

    /// Reads a private copy of a block. An error number outside the table becomes [`errno::EIO`].
    pub fn decode(block: &[u8; LEN]) -> Result<Self, BadReport> {
        let [e0, e1, e2, e3, origin, kind, code, _, rest @ ..] = *block;
        let [i0, i1, i2, i3, d0, d1, d2, d3, rest @ ..] = rest;
        let [offender @ .., _, _, _, _, _, _, _, _] = rest;
        let number = i32::from_le_bytes([e0, e1, e2, e3]);

        Ok(Self {
            errno: match errno::final_from_wire(number.wrapping_neg()) {
                // A report always has an error.
                0 => errno::EIO,
                number => number,
            },
            origin: Origin::new(origin).ok_or(BadReport)?,
            kind,
            code,
            info: u32::from_le_bytes([i0, i1, i2, i3]),
            data: u32::from_le_bytes([d0, d1, d2, d3]),
            offender: address(&offender)?,
        })
    }

    /// Backend: reads Linux's report to a socket of this family, a `struct sock_extended_err`
    /// followed by the address. [`None`] if the message is about something else.
    pub fn from_linux(message: &[u8], is_ipv6: bool) -> Option<Self> {
        let [e0, e1, e2, e3, origin, kind, code, _, rest @ ..] = message else {
            return None;
        };
        let [i0, i1, i2, i3, d0, d1, d2, d3, offender @ ..] = rest else {
            return None;
        };
        Some(Self {
            errno: i32::from_ne_bytes([*e0, *e1, *e2, *e3]),
            origin: Origin::new(*origin)?,
            kind: *kind,
            code: *code,
            info: u32::from_ne_bytes([*i0, *i1, *i2, *i3]),
            data: u32::from_ne_bytes([*d0, *d1, *d2, *d3]),
            offender: sockaddr(offender, is_ipv6),
        })
    }
}

/// Reads an address that is followed by its length, which is 0 if there is no address.
fn address(bytes: &[u8]) -> Result<Option<SocketAddr>, BadReport> {
    let (bytes, rest) = bytes.split_first_chunk().ok_or(BadReport)?;
    let len = u32::from_le_bytes(*rest.first_chunk().ok_or(BadReport)?);
    addr::decode_optional(bytes, len).map_err(|_| BadReport)
}

/// Reads a `struct sockaddr_in` or `struct sockaddr_in6`. [`None`] for another family, such as 0.
fn sockaddr(bytes: &[u8], is_ipv6: bool) -> Option<SocketAddr> {
    match (is_ipv6, bytes) {
        (false, [f0, f1, _, _, a, b, c, d, ..])
            if u16::from_ne_bytes([*f0, *f1]) == addr::AF_INET =>
        {
            Some(SocketAddr::from((Ipv4Addr::new(*a, *b, *c, *d), 0)))
        }
        (true, [f0, f1, _, _, _, _, _, _, rest @ ..])
            if u16::from_ne_bytes([*f0, *f1]) == addr::AF_INET6 =>
        {
            let (octets, rest) = rest.split_first_chunk::<16>()?;
            let scope = u32::from_ne_bytes(*rest.first_chunk()?);
            let ip = core::net::Ipv6Addr::from(*octets);
            Some(SocketAddr::V6(core::net::SocketAddrV6::new(
                ip, 0, 0, scope,
            )))
        }
        _ => None,
    }
}
