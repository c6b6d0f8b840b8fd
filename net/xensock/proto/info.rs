// SPDX-License-Identifier: GPL-2.0

//! Information that goes with a datagram besides its payload, in the form that it has in a frame.
//!
//! It is a block of 80 bytes between header and payload. A word of flags at 0 says which of the
//! numbers are present; an address of length 0 is absent. Like a header, the block is copied to
//! private memory before it is looked at.

use core::net::SocketAddr;

use super::addr::{
    self,
    BadAddr, //
};

/// Bytes of the block.
pub const LEN: usize = 80;

const TOS: u32 = 1 << 0;
const TTL: u32 = 1 << 1;
const SEGMENT: u32 = 1 << 2;
const DROPS: u32 = 1 << 3;
const ALL: u32 = TOS | TTL | SEGMENT | DROPS;

/// The reason why a block is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadInfo {
    /// An unknown flag is set.
    Flags,
    /// An address is invalid.
    Addr(BadAddr),
}

/// Information that goes with a datagram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Info {
    /// The type of service, or traffic class.
    pub tos: Option<u8>,
    /// The time to live, or hop limit.
    pub ttl: Option<u8>,
    /// The payload is a run of datagrams of this length, of which the last may be shorter.
    pub segment: Option<u16>,
    /// Number of datagrams that the socket has lost. For `in`.
    pub drops: Option<u32>,
    /// The address on the backend's side: the address that received the datagram, or that shall
    /// send it. Its port has no meaning.
    pub local: Option<SocketAddr>,
    /// The address that the datagram was sent to, which may be a group. Its port may be 0. For
    /// `in`.
    pub destination: Option<SocketAddr>,
}

impl Info {
    /// Returns the block.
    pub fn encode(&self) -> [u8; LEN] {
        let flag = |is_there, flag| if is_there { flag } else { 0 };
        let flags = flag(self.tos.is_some(), TOS)
            | flag(self.ttl.is_some(), TTL)
            | flag(self.segment.is_some(), SEGMENT)
            | flag(self.drops.is_some(), DROPS);
        let (local, local_len) = addr::encode_optional(self.local.as_ref());
        let (destination, destination_len) = addr::encode_optional(self.destination.as_ref());
        let mut block = [0; LEN];

        block[0..4].copy_from_slice(&flags.to_le_bytes());
        block[4] = self.tos.unwrap_or(0);
        block[5] = self.ttl.unwrap_or(0);
        block[6..8].copy_from_slice(&self.segment.unwrap_or(0).to_le_bytes());
        block[8..12].copy_from_slice(&self.drops.unwrap_or(0).to_le_bytes());
        block[12..16].copy_from_slice(&local_len.to_le_bytes());
        block[16..44].copy_from_slice(&local);
        block[44..72].copy_from_slice(&destination);
        block[72..76].copy_from_slice(&destination_len.to_le_bytes());
        block
    }

    /// Reads a private copy of a block.
    pub fn decode(block: &[u8; LEN]) -> Result<Self, BadInfo> {
        let [f0, f1, f2, f3, tos, ttl, s0, s1, d0, d1, d2, d3, rest @ ..] = *block;
        let [l0, l1, l2, l3, rest @ ..] = rest;
        let [addresses @ .., n0, n1, n2, n3, _, _, _, _] = rest;
        let flags = u32::from_le_bytes([f0, f1, f2, f3]);

        if flags & !ALL != 0 {
            return Err(BadInfo::Flags);
        }
        let mut local = [0; addr::LEN];
        let mut destination = [0; addr::LEN];
        local.copy_from_slice(&addresses[..addr::LEN]);
        destination.copy_from_slice(&addresses[addr::LEN..]);
        let address = |bytes, len| addr::decode_optional(bytes, len).map_err(BadInfo::Addr);
        Ok(Self {
            tos: (flags & TOS != 0).then_some(tos),
            ttl: (flags & TTL != 0).then_some(ttl),
            segment: (flags & SEGMENT != 0).then_some(u16::from_le_bytes([s0, s1])),
            drops: (flags & DROPS != 0).then_some(u32::from_le_bytes([d0, d1, d2, d3])),
            local: address(&local, u32::from_le_bytes([l0, l1, l2, l3]))?,
            destination: address(&destination, u32::from_le_bytes([n0, n1, n2, n3]))?,
        })
    }

    /// Returns `true` if the datagram must not be sent to a backend that cannot receive this
    /// information.
    pub const fn is_needed(&self) -> bool {
        self.local.is_some() || self.segment.is_some()
    }
}
