// SPDX-License-Identifier: GPL-2.0

//! The producing end of a direction of a data ring, see [`super::stream`].

use super::{
    errno::Ending,
    indexes::Direction,
    ring::{
        crossed,
        space,
        Violation, //
    },
    stream::{
        load_ending,
        store_ending,
        Own,
        Words, //
    }, //
};

/// The producing end of a direction.
///
/// One thread at a time produces. Methods that others may call at the same time say so.
///
/// # Invariants
///
/// `prod` is what this end has stored in the shared word, or is just going to: it is never read back.
#[derive(Debug)]
pub struct Producer<W> {
    /// Where the words are.
    direction: Direction,
    /// Bytes of the direction, a power of two.
    size: u32,
    /// Whether both ends use event indexes.
    event_index: bool,
    /// Produced so far.
    prod: W,
}

impl<W: Own> Producer<W> {
    /// Makes the producer of a fresh direction.
    pub fn new(direction: Direction, size: u32, event_index: bool) -> Self {
        Self::starting_at(direction, size, event_index, 0)
    }

    /// Makes the producer of a direction whose indexes are both `index`.
    pub fn starting_at(direction: Direction, size: u32, event_index: bool, index: u32) -> Self {
        Self {
            direction,
            size,
            event_index,
            prod: W::new(index),
        }
    }

    /// Makes it that of a fresh direction again. Nobody uses it meanwhile.
    pub fn restart(&self) {
        self.prod.store(0);
    }

    /// Returns where the words of the direction are.
    pub fn direction(&self) -> Direction {
        self.direction
    }

    /// Returns where the next byte goes, see [`super::ring::spans`]. Others may look, too.
    pub fn index(&self) -> u32 {
        self.prod.load()
    }

    /// Returns how many bytes there is room for.
    pub fn room(&self, words: &impl Words) -> Result<u32, Violation> {
        let cons = words.load_acquire(self.direction.cons);

        space(self.prod.load(), cons, self.size)
    }

    /// Returns how many bytes there is room for, for those who do not exclude the producer.
    ///
    /// An index that makes no sense counts as an empty ring: the producer will find out.
    pub fn peek_room(&self, words: &impl Words) -> u32 {
        loop {
            let before = self.prod.load_acquire();
            let room = space(before, words.load_acquire(self.direction.cons), self.size);
            // Unless our index moved meanwhile, the two belong together.
            if self.prod.load_acquire() == before {
                return room.unwrap_or(self.size);
            }
        }
    }

    /// Returns how the direction has ended, if it has. Others may look, too.
    pub fn ending(&self, words: &impl Words) -> Ending {
        load_ending(words, self.direction)
    }

    /// Gives the consumer the `len` bytes that were copied in; returns whether to notify it.
    #[must_use]
    pub fn publish(&self, words: &impl Words, len: u32) -> bool {
        let old = self.prod.load();
        let new = old.wrapping_add(len);

        // INVARIANT: Before the shared word, so that nobody finds ours behind it.
        self.prod.store_release(new);
        words.store_release(self.direction.prod, new);
        if !self.event_index {
            return true;
        }
        words.full_barrier();
        crossed(words.load(self.direction.prod_event), old, new)
    }

    /// Asks to be notified once there is room for `wanted` bytes (at least 1, at most all).
    ///
    /// Those who ask exclude each other, but need not exclude the producer. Who asks looks again
    /// afterwards. If more is produced after this, the notification comes too early: who is notified
    /// and does not find the room has to ask again.
    pub fn expect_room(&self, words: &impl Words, wanted: u32) {
        let missing = self.size.saturating_sub(wanted.max(1));

        loop {
            let prod = self.prod.load();
            if self.event_index {
                words.store(self.direction.cons_event, prod.wrapping_sub(missing));
            }
            words.full_barrier();
            // If it moved meanwhile, the peer may have gone past the event before that was there.
            if self.prod.load() == prod {
                return;
            }
        }
    }

    /// Ends the direction, after the last byte has been published. Notify the consumer after it.
    ///
    /// For the backend only: error words are the backend's.
    pub fn end(&self, words: &impl Words, ending: Ending) {
        store_ending(words, self.direction, ending);
    }
}
