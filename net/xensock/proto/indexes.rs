// SPDX-License-Identifier: GPL-2.0

//! The indexes page of a data ring.
//!
//! Each connection has one page, granted by the frontend. It holds the indexes, error words and
//! event indexes of both directions, and the grants of the pages that hold the bytes. Every field
//! is a little-endian 32-bit word; offsets are in bytes.
//!
//! `in` is received by the guest: the backend produces, the frontend consumes. `out` is sent by the
//! guest. The producer writes the `prod` word of its direction and the consumer the `cons` word;
//! only the backend writes the error words and the status. The end that wants to be notified writes
//! the event word. The frontend initializes the page before the backend may look at it.

use super::call::Way;

/// Bytes of the page, independent of the page size of the kernels.
pub const LEN: usize = 4096;

/// `in`: the index up to which the frontend has consumed.
pub const IN_CONS: usize = 0;
/// `in`: the index up to which the backend has produced.
pub const IN_PROD: usize = 4;
/// `in`: the error word, negative or 0.
pub const IN_ERROR: usize = 8;
/// `in`: the frontend wants to be notified when `prod` reaches this.
pub const IN_PROD_EVENT: usize = 12;
/// `in`: the backend wants to be notified when `cons` reaches this.
pub const IN_CONS_EVENT: usize = 16;

/// The outcome of CONNECT or ACCEPT, see [`super::status`].
pub const STATUS: usize = 20;
/// The address that belongs to the outcome, 28 bytes.
pub const NAME: usize = 24;
/// The length of that address.
pub const NAME_LEN: usize = 52;

/// `in`: the index at which the backend has changed its memory, see [`super::stream`].
pub const IN_SWITCH: usize = 56;
/// `in`: the index of the urgent byte, see [`super::urgent`].
pub const IN_URGENT_INDEX: usize = 60;

/// `out`: the index up to which the backend has consumed.
pub const OUT_CONS: usize = 64;
/// `out`: the index up to which the frontend has produced.
pub const OUT_PROD: usize = 68;
/// `out`: the error word, negative or 0.
pub const OUT_ERROR: usize = 72;
/// `out`: the backend wants to be notified when `prod` reaches this.
pub const OUT_PROD_EVENT: usize = 76;
/// `out`: the frontend wants to be notified when `cons` reaches this.
pub const OUT_CONS_EVENT: usize = 80;

/// `out`: the index at which the frontend has changed its memory.
pub const OUT_SWITCH: usize = 84;

/// `out`: the index after the urgent byte, see [`super::urgent`].
pub const OUT_URGENT_END: usize = 88;
/// `in`: flags and value of the urgent byte.
pub const IN_URGENT: usize = 92;

/// `in`: number of changes of memory by the backend.
pub const IN_GENERATION: usize = 108;
/// `out`: number of changes of memory by the frontend.
pub const OUT_GENERATION: usize = 112;
/// `in`: number of changes that the frontend has followed.
pub const IN_FOLLOWED: usize = 116;
/// `out`: number of changes that the backend has followed.
pub const OUT_FOLLOWED: usize = 120;
/// Of a posted ACCEPT, with [`super::Feature::Waiting`]: not 0 while a connection that has no
/// ACCEPT waits at the listening socket. Only the word of the oldest ACCEPT counts.
pub const WAITING: usize = 124;

/// The order of the number of pages of data.
pub const RING_ORDER: usize = 128;
/// The grants of the pages of data, `1 << order` of them.
pub const REF: usize = 132;

/// Maximum number of grants of a ring.
pub const MAX_REFS: usize = (LEN - REF) / 4;

/// `in`: the grants of the extension.
pub const IN_REF: usize = 2048;
/// `out`: the grants of the extension.
pub const OUT_REF: usize = 3072;
/// Maximum number of grants of an extension.
pub const MAX_EXTENSION_REFS: usize = 256;

/// Initial value of a `prod` event word: notify of the very first byte.
pub const FIRST_PROD_EVENT: u32 = 1;
/// Initial value of a `cons` event word: no thread waits for room.
pub const FIRST_CONS_EVENT: u32 = 0;

/// The offsets of one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirectionWords {
    /// The consumer's index.
    pub cons: usize,
    /// The producer's index.
    pub prod: usize,
    /// The error word.
    pub error: usize,
    /// The consumer's event index.
    pub prod_event: usize,
    /// The producer's event index.
    pub cons_event: usize,
    /// The index at which the producer has changed its memory.
    pub switch: usize,
    /// Number of these changes.
    pub generation: usize,
    /// Number of changes that the consumer has followed.
    pub followed: usize,
    /// The grants of the extension.
    pub extension: usize,
}

/// From backend to frontend.
pub const IN: DirectionWords = DirectionWords {
    cons: IN_CONS,
    prod: IN_PROD,
    error: IN_ERROR,
    prod_event: IN_PROD_EVENT,
    cons_event: IN_CONS_EVENT,
    switch: IN_SWITCH,
    generation: IN_GENERATION,
    followed: IN_FOLLOWED,
    extension: IN_REF,
};

/// From frontend to backend.
pub const OUT: DirectionWords = DirectionWords {
    cons: OUT_CONS,
    prod: OUT_PROD,
    error: OUT_ERROR,
    prod_event: OUT_PROD_EVENT,
    cons_event: OUT_CONS_EVENT,
    switch: OUT_SWITCH,
    generation: OUT_GENERATION,
    followed: OUT_FOLLOWED,
    extension: OUT_REF,
};

/// Returns the offsets of a direction.
pub const fn direction(way: Way) -> DirectionWords {
    match way {
        Way::In => IN,
        Way::Out => OUT,
    }
}

/// Returns the offset of grant `n`, or [`None`] if the page has no room for it.
pub const fn ref_offset(n: usize) -> Option<usize> {
    if n < MAX_REFS {
        Some(REF + 4 * n)
    } else {
        None
    }
}

impl DirectionWords {
    /// Returns the offset of grant `n` of the extension, or [`None`] if the page has no room for
    /// it.
    pub const fn extension_offset(&self, n: usize) -> Option<usize> {
        if n < MAX_EXTENSION_REFS {
            Some(self.extension + 4 * n)
        } else {
            None
        }
    }
}
