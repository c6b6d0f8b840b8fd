// SPDX-License-Identifier: GPL-2.0

//! The news page: tells which rings of a link have news, if they share one event channel.
//!
//! Each ring has a *slot*, a number that the frontend has chosen. Instead of notifying the other
//! end by the ring's own channel, an end sets the bit of the slot. An event of the shared channel
//! says that bits are set. Each direction has an area of bits, one for each slot, and a summary
//! with a bit for each word of that area.
//!
//! ```text
//! sender                                  receiver
//!   move the index of the ring              the event comes
//!   set the bit of the slot                 take the words of the summary
//!   set the bit of its word in the          take the words of bits that the summary names
//!     summary; was it 0? then notify        look at the rings that these bits name
//! ```
//!
//! Every step but the last of each column is an atomic operation, fully ordered. An end that finds
//! the bit in the summary set has set the bit of the slot before the other end takes the summary,
//! so the other end finds it. An end that finds the bit in the summary clear notifies. So no news
//! is lost, and one event is enough for all news that come before the other end begins to look.
//!
//! A receiver can also poll: it sets the bits of the summary itself and leaves them set. The sender
//! finds them set, and does not notify. When the receiver has polled for long enough it takes the
//! summary, and looks once more, as after an event.
//!
//! The other end may set or clear any bit at any time. The worst result is a look at a ring without
//! news, or that news of the other end's own are not looked at.

/// Bytes of the page, independent of the page size of the kernels.
pub const LEN: usize = 4096;

/// Bits of a word.
const BITS: usize = 32;

/// Words of bits in each direction.
pub const GROUPS: usize = 256;

/// Words of the summary in each direction.
const SUMMARY: usize = GROUPS / BITS;

/// Number of slots.
pub const SLOTS: usize = GROUPS * BITS;

/// The words of a news page. Every operation is atomic for both ends, and fully ordered.
pub trait Bits {
    /// Sets bit `n % 8` of byte `n / 8`. Returns `true` if it was set before.
    fn set(&self, n: usize) -> bool;
    /// Returns the word at byte `offset`, and sets it to 0.
    fn take(&self, offset: usize) -> u32;
    /// Returns the word at byte `offset`. Not ordered.
    fn load(&self, offset: usize) -> u32;
}

/// The number of a ring, which replaces an event channel on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(u16);

impl Slot {
    /// Makes a slot from a number on the wire.
    pub const fn new(number: u32) -> Option<Self> {
        if number as usize >= SLOTS {
            return None;
        }
        // CAST: Just checked.
        Some(Self(number as u16))
    }

    /// Makes the slot for a bit of a group.
    pub const fn of(group: usize, bit: usize) -> Option<Self> {
        if group >= GROUPS || bit >= BITS {
            return None;
        }
        // CAST, OVERFLOW: Just checked.
        Some(Self((group * BITS + bit) as u16))
    }

    /// Returns the number.
    pub const fn number(self) -> u32 {
        self.0 as u32
    }

    /// Returns the index of the word with the bit of the slot.
    pub const fn group(self) -> usize {
        self.0 as usize / BITS
    }

    /// Returns the bit in that word.
    pub const fn bit(self) -> usize {
        self.0 as usize % BITS
    }
}

/// The words of one direction: offsets of its summary and of its bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewsWords {
    summary: usize,
    bits: usize,
}

/// News from the backend to the frontend, as `in` of the rings.
pub const IN: NewsWords = NewsWords {
    summary: 0,
    bits: 1024,
};

/// News from the frontend to the backend.
pub const OUT: NewsWords = NewsWords {
    summary: 64,
    bits: 2048,
};

impl NewsWords {
    /// Announces that a ring has news. Returns `true` if the other end has to be notified.
    #[must_use]
    pub fn announce(self, page: &impl Bits, slot: Slot) -> bool {
        // OVERFLOW: All of it lies in the page.
        page.set(self.bits * 8 + slot.number() as usize);
        !page.set(self.summary * 8 + slot.group())
    }

    /// Keeps the other end from notifying of the rings of a group, until this end takes the
    /// summary. Until then this end has to look by [`Pass::begin_polled`]. For the receiver.
    pub fn silence(self, page: &impl Bits, group: usize) {
        if group < GROUPS {
            // OVERFLOW: It lies in the page.
            page.set(self.summary * 8 + group);
        }
    }

    /// Returns `true` if a ring has news in a group that the summary names. For the receiver.
    pub fn has_news(self, page: &impl Bits) -> bool {
        let summary = (0..SUMMARY).map(|i| page.load(self.summary + 4 * i));
        summary
            .enumerate()
            .flat_map(|(i, left)| {
                let base = i * BITS;
                BitsOf(left).map(move |bit| base + bit)
            })
            .any(|number| page.load(self.bits + 4 * number) != 0)
    }
}

/// Iterator over the bits that are set in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct BitsOf(u32);

impl Iterator for BitsOf {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let bit = self.0.trailing_zeros() as usize;
        // OVERFLOW: It has a bit, so it is not 0.
        self.0 &= self.0 - 1;
        Some(bit)
    }
}

/// Iterator over the slots of one word that have news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    number: usize,
    left: BitsOf,
}

impl Iterator for Group {
    type Item = Slot;

    fn next(&mut self) -> Option<Slot> {
        Slot::of(self.number, self.left.next()?)
    }
}

/// The work of an end after an event: one pass over the groups that the summary names.
///
/// A pass can stop after each group, and continue later. Bits that are set meanwhile are left to
/// the next event, which is sent because the summary was taken before. So each pass looks at every
/// ring at most once, however many rings there are and however often they have news.
#[derive(Debug)]
pub struct Pass {
    direction: NewsWords,
    /// The summary that was taken, without the groups that are done.
    left: [BitsOf; SUMMARY],
}

impl Pass {
    /// Creates a pass that has nothing to do.
    pub const fn new(direction: NewsWords) -> Self {
        Self {
            direction,
            left: [BitsOf(0); SUMMARY],
        }
    }

    /// Begins a pass: takes the summary. If the last pass was not finished, the new one includes
    /// its rest.
    pub fn begin(&mut self, page: &impl Bits) {
        for (i, left) in self.left.iter_mut().enumerate() {
            left.0 |= page.take(self.direction.summary + 4 * i);
        }
    }

    /// Begins a pass while this end polls: leaves the summary as it is.
    pub fn begin_polled(&mut self, page: &impl Bits) {
        for (i, left) in self.left.iter_mut().enumerate() {
            left.0 |= page.load(self.direction.summary + 4 * i);
        }
    }

    /// Returns the next group, which may be empty; [`None`] at the end.
    pub fn next(&mut self, page: &impl Bits) -> Option<Group> {
        let mut words = self.left.iter_mut().enumerate();
        // OVERFLOW: There are that many groups.
        let number = words.find_map(|(i, left)| Some(i * BITS + left.next()?))?;
        Some(Group {
            number,
            left: BitsOf(page.take(self.direction.bits + 4 * number)),
        })
    }
}
