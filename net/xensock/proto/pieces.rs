// SPDX-License-Identifier: GPL-2.0

//! A value that comes in several responses, as the frontend assembles it.
//!
//! The backend may send anything. A program never gets more bytes than the option can have, or than
//! the program has room for, and each byte comes from the response for its position.

use super::{
    option::SockOpt,
    value::{
        Piece,
        MAX_LEN, //
    }, //
};

/// The size of a value, known once its first piece has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pieces {
    /// Number of bytes of the value.
    total: u32,
    /// Number of bytes that the program has room for.
    wanted: u32,
}

impl Pieces {
    /// Begins with the piece for offset 0. [`None`] if a value of the option cannot have this
    /// length.
    pub fn new(option: &SockOpt, first: &Piece, room: usize) -> Option<Self> {
        let total = first.total;
        option.has_len(total).then(|| Self {
            total,
            wanted: total.min(u32::try_from(room).unwrap_or(u32::MAX)),
        })
    }

    /// Returns the offsets of the other pieces that are needed.
    pub fn offsets(&self) -> impl Iterator<Item = u32> {
        (0..self.wanted).step_by(MAX_LEN).skip(1)
    }

    /// Returns the bytes of the piece for `offset`. [`None`] if the piece belongs to another value.
    pub fn bytes<'a>(&self, piece: &'a Piece, offset: u32) -> Option<&'a [u8]> {
        (piece.total == self.total).then(|| piece.at(offset))
    }
}
