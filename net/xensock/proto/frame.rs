// SPDX-License-Identifier: GPL-2.0

//! Frames: the form of datagrams in a data ring.
//!
//! A frame is a header of 40 bytes, the payload, and meaningless padding to a multiple of 8. Frames
//! of two types have an [`info`] or a [`report`](super::report) between header and payload. The
//! header has the length of the payload at 0, the type at 4, and an address at 8 with its length at
//! 36. An index moves over whole frames only, so the queued bytes are a run of whole frames.
//!
//! A header is copied to private memory before it is looked at. An invalid header is a violation
//! like an impossible index, because the beginning of the next frame is not known.

use core::net::SocketAddr;

use super::{
    addr::{
        self,
        BadAddr, //
    },
    errno,
    info, //
};

/// Bytes of a header.
pub const HEADER: usize = 40;

/// Each frame begins at a multiple of this, as the halves of all orders do.
const ALIGN: u32 = 8;

/// The type of a datagram.
const DATA: u16 = 0;
/// The type of an error.
const ERROR: u16 = 1;
/// The type of a datagram with an [`info`].
const DATA_AND_INFO: u16 = 2;
/// The type of an error with a [report](super::report).
const REPORT: u16 = 3;

/// The reason why a header is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadFrame {
    /// The frame ends behind the queued bytes.
    Length,
    /// No frame has this type.
    Type,
    /// The address is invalid.
    Addr(BadAddr),
}

/// The contents of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A datagram; its payload follows.
    Data {
        /// Bytes of the payload, which may be none.
        len: u32,
        /// The destination or source; [`None`] for the peer that the socket is connected to.
        addr: Option<SocketAddr>,
        /// Set if there is an [`info`] before the payload.
        has_info: bool,
    },
    /// An error of the socket, a positive number: the network's report on an earlier datagram. For
    /// `in` only: from a frontend it is a violation.
    Error(i32),
    /// The network's [report](super::report) on an earlier datagram. For `in` only, too.
    Report {
        /// Bytes of the payload: the returned part of the datagram.
        len: u32,
        /// The destination of the datagram.
        addr: Option<SocketAddr>,
    },
}

/// Returns the offset of the payload in a frame, with or without an [`info`] before it.
pub const fn payload_at(has_info: bool) -> u32 {
    // CAST: Small constants.
    if has_info {
        (HEADER + info::LEN) as u32
    } else {
        HEADER as u32
    }
}

/// Returns the number of bytes of a frame with `payload` bytes of payload, or [`None`] if it does
/// not fit into `u32`.
pub const fn frame_len(payload: u32, has_info: bool) -> Option<u32> {
    match payload.checked_add(payload_at(has_info)) {
        Some(len) => len.checked_next_multiple_of(ALIGN),
        None => None,
    }
}

/// Maximum length of a UDP datagram over IPv4.
pub const MAX_V4: usize = 65507;
/// Maximum length of a UDP datagram over IPv6.
pub const MAX_V6: usize = 65527;

/// Bytes of the frame of the longest datagram.
pub const LARGEST: u32 = match frame_len(MAX_V6 as u32, true) {
    Some(len) => len,
    None => u32::MAX,
};

/// Returns the largest payload for a half of `size` bytes.
pub const fn max_payload(size: u32, has_info: bool) -> u32 {
    // A half is a multiple of `ALIGN` anyway.
    (size - size % ALIGN).saturating_sub(payload_at(has_info))
}

impl Frame {
    /// Returns the number of bytes of the whole frame, see [`frame_len`].
    pub const fn total_len(&self) -> Option<u32> {
        match self {
            Self::Data {
                len,
                addr: _,
                has_info,
            } => frame_len(*len, *has_info),
            Self::Error(_) => frame_len(0, false),
            Self::Report { len, addr: _ } => frame_len(*len, true),
        }
    }

    /// Returns the address in the header, if there is one.
    pub const fn addr(&self) -> Option<&SocketAddr> {
        match self {
            Self::Data { addr, .. } | Self::Report { addr, .. } => addr.as_ref(),
            Self::Error(_) => None,
        }
    }

    /// Returns the header.
    pub fn encode(&self) -> [u8; HEADER] {
        let (len, kind, addr, addr_len) = match self {
            Self::Data { len, addr, .. } | Self::Report { len, addr } => {
                let kind = match self {
                    Self::Data {
                        has_info: false, ..
                    } => DATA,
                    Self::Data { has_info: true, .. } => DATA_AND_INFO,
                    _ => REPORT,
                };
                let (addr, addr_len) = addr::encode_optional(addr.as_ref());
                (*len, kind, addr, addr_len)
            }
            Self::Error(number) => {
                let word = errno::to_wire(*number).wrapping_neg();
                let mut addr = [0; addr::LEN];
                addr[..4].copy_from_slice(&word.to_le_bytes());
                (0, ERROR, addr, 0)
            }
        };
        let mut header = [0; HEADER];

        header[0..4].copy_from_slice(&len.to_le_bytes());
        header[4..6].copy_from_slice(&kind.to_le_bytes());
        header[8..36].copy_from_slice(&addr);
        header[36..40].copy_from_slice(&addr_len.to_le_bytes());
        header
    }

    /// Reads a private copy of a header, which begins at the first of `queued` bytes.
    ///
    /// Also returns the number of bytes of the whole frame, at most `queued`. An error number
    /// outside the table becomes [`errno::EIO`].
    pub fn decode(header: &[u8; HEADER], queued: u32) -> Result<(Self, u32), BadFrame> {
        let [l0, l1, l2, l3, t0, t1, _, _, rest @ ..] = *header;
        let [addr @ .., a0, a1, a2, a3] = rest;
        let len = u32::from_le_bytes([l0, l1, l2, l3]);
        let addr_len = u32::from_le_bytes([a0, a1, a2, a3]);

        let frame = match (u16::from_le_bytes([t0, t1]), addr_len) {
            (kind @ (DATA | DATA_AND_INFO | REPORT), addr_len) => {
                let addr = addr::decode_optional(&addr, addr_len).map_err(BadFrame::Addr)?;
                match kind {
                    REPORT => Self::Report { len, addr },
                    kind => Self::Data {
                        len,
                        addr,
                        has_info: kind == DATA_AND_INFO,
                    },
                }
            }
            (ERROR, _) if len == 0 => {
                let [e0, e1, e2, e3, ..] = addr;
                let number = i32::from_le_bytes([e0, e1, e2, e3]);
                Self::Error(match errno::final_from_wire(number.wrapping_neg()) {
                    // An error frame always has an error.
                    0 => errno::EIO,
                    number => number,
                })
            }
            (ERROR, _) => return Err(BadFrame::Length),
            _ => return Err(BadFrame::Type),
        };
        match frame.total_len() {
            Some(total) if total <= queued => Ok((frame, total)),
            _ => Err(BadFrame::Length),
        }
    }
}
