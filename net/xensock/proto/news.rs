// SPDX-License-Identifier: GPL-2.0

//! The news page: which of the rings of a link have news, where they share one event channel.
//!
//! Each ring has a *slot*, a number that the frontend has chosen. Where an end would notify the
//! other by the ring's own channel, it sets the bit of the slot, and an event of the one channel says
//! that there are bits. Each direction has an area of bits, one for each slot, and a summary with a
//! bit for each word of that area.
//!
//! ```text
//! who has news                            who is told
//!   move the index of the ring              the event comes
//!   set the bit of the slot                 take the words of the summary
//!   set the bit of its word in the          take the words of bits that it names
//!     summary; was it 0? then notify        look at the rings that these name
//! ```
//!
//! Every step but the last of each column is an atomic operation, fully ordered. Whoever finds the
//! bit in the summary set has set that of the slot before the other end takes the summary, so that
//! the other end finds it; whoever finds it clear notifies. So no news is lost, and one event is
//! enough for all that come before the other end begins to look.
//!
//! The other end may have set or cleared any bit at any time. The worst that comes of it is that a
//! ring is looked at which has no news, or that news of its own are not looked at.

/// Bytes of the page, whatever the page size of the kernels.
pub const LEN: usize = 4096;

/// Bits of a word.
const BITS: usize = 32;

/// Words of bits in each direction.
pub const GROUPS: usize = 256;

/// Words of the summary in each direction.
const SUMMARY: usize = GROUPS / BITS;

/// How many slots there are.
pub const SLOTS: usize = GROUPS * BITS;

/// The words of a news page. Every operation is atomic for both ends, and fully ordered.
pub trait Bits {
    /// Sets bit `n % 8` of byte `n / 8`. Returns whether it was set before.
    fn set(&self, n: usize) -> bool;
    /// Returns the word at byte `offset`, and leaves 0 there.
    fn take(&self, offset: usize) -> u32;
}

/// The number of a ring, as it goes over the wire in the place of an event channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(u16);

impl Slot {
    /// Makes a slot of a number from the wire.
    pub const fn new(number: u32) -> Option<Self> {
        if number as usize >= SLOTS {
            return None;
        }
        // CAST: Just checked.
        Some(Self(number as u16))
    }

    /// Makes the slot that a bit of a group stands for.
    pub const fn of(group: usize, bit: usize) -> Option<Self> {
        if group >= GROUPS || bit >= BITS {
            return None;
        }
        // CAST, OVERFLOW: Just checked.
        Some(Self((group * BITS + bit) as u16))
    }

    /// Returns the bare number.
    pub const fn number(self) -> u32 {
        self.0 as u32
    }

    /// Returns the word of bits that has the slot's.
    pub const fn group(self) -> usize {
        self.0 as usize / BITS
    }

    /// Returns its bit in that word.
    pub const fn bit(self) -> usize {
        self.0 as usize % BITS
    }
}

/// One direction: by the offsets of its summary and of its bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewsWords {
    summary: usize,
    bits: usize,
}

/// What the backend has for the frontend, as with the rings.
pub const IN: NewsWords = NewsWords {
    summary: 0,
    bits: 1024,
};

/// What the frontend has for the backend.
pub const OUT: NewsWords = NewsWords {
    summary: 64,
    bits: 2048,
};

impl NewsWords {
    /// Says that a ring has news. Returns whether to notify the other end.
    #[must_use]
    pub fn announce(self, page: &impl Bits, slot: Slot) -> bool {
        // OVERFLOW: All of it lies in the page.
        page.set(self.bits * 8 + slot.number() as usize);
        !page.set(self.summary * 8 + slot.group())
    }
}

/// The slots of one word that have news. An iterator over them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    number: usize,
    left: u32,
}

impl Iterator for Group {
    type Item = Slot;

    fn next(&mut self) -> Option<Slot> {
        let bit = self.left.trailing_zeros() as usize;
        let slot = Slot::of(self.number, bit)?;
        // OVERFLOW: It has a bit, so it is not 0.
        self.left &= self.left - 1;
        Some(slot)
    }
}

/// What an end does with an event: it goes once through the groups that the summary names.
///
/// It can stop after each group, and go on later. What is set meanwhile is for the next event, which
/// is sent as the summary was taken before: so every ring is looked at once in each pass, whatever
/// others there are and however often they have news.
#[derive(Debug)]
pub struct Pass {
    direction: NewsWords,
    /// What was taken of the summary, without the groups that were gone through.
    left: [u32; SUMMARY],
}

impl Pass {
    /// One that has nothing to do.
    pub const fn new(direction: NewsWords) -> Self {
        Self {
            direction,
            left: [0; SUMMARY],
        }
    }

    /// Begins: takes the summary. If the last pass was not at its end, that is done with it.
    pub fn begin(&mut self, page: &impl Bits) {
        for (i, left) in self.left.iter_mut().enumerate() {
            *left |= page.take(self.direction.summary + 4 * i);
        }
    }

    /// Returns the next group, which may be empty; [`None`] at the end.
    pub fn next(&mut self, page: &impl Bits) -> Option<Group> {
        let (i, left) = self
            .left
            .iter_mut()
            .enumerate()
            .find(|(_, left)| **left != 0)?;
        // OVERFLOW: It is not 0, and there are that many groups.
        let number = i * BITS + left.trailing_zeros() as usize;
        *left &= *left - 1;
        Some(Group {
            number,
            left: page.take(self.direction.bits + 4 * number),
        })
    }
}
