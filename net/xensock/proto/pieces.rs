// SPDX-License-Identifier: GPL-2.0

//! A value that comes in several responses, as the frontend puts it together.
//!
//! The backend may say anything: what a program gets is never longer than the option can be, nor than
//! the program has room for, and each byte is one that has come for its place.

use super::{
    option::SockOpt,
    value::{
        Piece,
        MAX_LEN, //
    }, //
};

/// What is known of a value once its first piece has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pieces {
    /// Bytes of the value.
    total: u32,
    /// Those that the program has room for.
    wanted: u32,
}

impl Pieces {
    /// Begins with the piece that came for offset 0. [`None`] if the option has no such values.
    pub fn new(option: &SockOpt, first: &Piece, room: usize) -> Option<Self> {
        let total = first.total;
        option.has_len(total).then(|| Self {
            total,
            wanted: total.min(u32::try_from(room).unwrap_or(u32::MAX)),
        })
    }

    /// Returns the offsets of the other pieces that are wanted.
    pub fn offsets(&self) -> impl Iterator<Item = u32> {
        (0..self.wanted).step_by(MAX_LEN).skip(1)
    }

    /// Returns the bytes of the value that came for `offset`. [`None`] if they are of another value.
    pub fn bytes<'a>(&self, piece: &'a Piece, offset: u32) -> Option<&'a [u8]> {
        (piece.total == self.total).then(|| piece.at(offset))
    }
}
