// SPDX-License-Identifier: GPL-2.0

//! Ids: opaque numbers with which a frontend names sockets, and an end names any object to the
//! other.

/// An opaque number that consists of a table slot and the generation of its content.
///
/// The end that has made the number finds the slot without a search, and detects a stale number by
/// the generation. To the other end it is only a number: never a pointer, never interpreted.
///
/// # Invariants
///
/// The generation is not 0, so no handle made by [`Handle::new`] is 0 on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Handle(u64);

impl Handle {
    /// Makes the handle of a slot; a generation of 0 counts as 1.
    pub const fn new(slot: u32, generation: u32) -> Self {
        let generation = if generation == 0 { 1 } else { generation };

        // CAST: Both widen; `From` is not usable in a `const fn`.
        // INVARIANT: The generation is not 0.
        Self(((generation as u64) << 32) | slot as u64)
    }

    /// Converts a number from the wire. [`None`] if it is not a handle.
    pub const fn from_wire(number: u64) -> Option<Self> {
        if number >> 32 == 0 {
            return None;
        }
        // INVARIANT: Checked above.
        Some(Self(number))
    }

    /// Returns the number for the wire.
    pub const fn to_wire(self) -> u64 {
        self.0
    }

    /// Returns the slot.
    pub const fn slot(self) -> u32 {
        // CAST: The low half, on purpose.
        self.0 as u32
    }

    /// Returns the generation.
    pub const fn generation(self) -> u32 {
        // CAST: The high half.
        (self.0 >> 32) as u32
    }

    /// Returns the handle for the next content of the same slot.
    #[must_use]
    pub const fn next(self) -> Self {
        Self::new(self.slot(), self.generation().wrapping_add(1))
    }
}
