// SPDX-License-Identifier: GPL-2.0

//! The consuming end of a direction of a data ring, see [`super::stream`].

use super::{
    errno::Ending,
    indexes::Direction,
    ring::{
        crossed,
        queued,
        Violation, //
    },
    stream::{
        load_ending,
        store_ending,
        Own,
        Words, //
    }, //
};

/// What a consumer finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    /// Bytes that can be copied out.
    pub len: u32,
    /// How the direction has ended, if it has; it counts once `len` is 0.
    pub ending: Ending,
}

/// The consuming end of a direction.
///
/// One thread at a time consumes. Methods that others may call at the same time say so.
///
/// # Invariants
///
/// `cons` is what this end has stored in the shared word, or is just going to: it is never read back.
#[derive(Debug)]
pub struct Consumer<W> {
    /// Where the words are.
    direction: Direction,
    /// Bytes of the direction, a power of two.
    size: u32,
    /// Whether both ends use event indexes.
    event_index: bool,
    /// Consumed so far.
    cons: W,
}

impl<W: Own> Consumer<W> {
    /// Makes the consumer of a fresh direction.
    pub fn new(direction: Direction, size: u32, event_index: bool) -> Self {
        Self::starting_at(direction, size, event_index, 0)
    }

    /// Makes the consumer of a direction whose indexes are both `index`.
    pub fn starting_at(direction: Direction, size: u32, event_index: bool, index: u32) -> Self {
        Self {
            direction,
            size,
            event_index,
            cons: W::new(index),
        }
    }

    /// Makes it that of a fresh direction again. Nobody uses it meanwhile.
    pub fn restart(&self) {
        self.cons.store(0);
    }

    /// Returns where the words of the direction are.
    pub fn direction(&self) -> Direction {
        self.direction
    }

    /// Returns where the next byte is, see [`super::ring::spans`]. Others may look, too.
    pub fn index(&self) -> u32 {
        self.cons.load()
    }

    /// Returns what there is to consume.
    pub fn ready(&self, words: &impl Words) -> Result<Ready, Violation> {
        // The error first: whoever sees it then sees all the bytes before it.
        let ending = load_ending(words, self.direction);
        let prod = words.load_acquire(self.direction.prod);

        Ok(Ready {
            len: queued(prod, self.cons.load(), self.size)?,
            ending,
        })
    }

    /// Returns how many bytes there are to consume, for those who do not exclude the consumer.
    ///
    /// An index that makes no sense counts as a full ring: the consumer will find out.
    pub fn peek_ready(&self, words: &impl Words) -> u32 {
        loop {
            let before = self.cons.load_acquire();
            let ready = queued(words.load_acquire(self.direction.prod), before, self.size);
            // Unless our index moved meanwhile, the two belong together.
            if self.cons.load_acquire() == before {
                return ready.unwrap_or(self.size);
            }
        }
    }

    /// Returns how the direction has ended, if it has. Others may look, too.
    ///
    /// To be called before the bytes are looked at: what came before the end is then seen.
    pub fn ending(&self, words: &impl Words) -> Ending {
        load_ending(words, self.direction)
    }

    /// Gives the room of the `len` bytes that were copied out back to the producer; returns whether
    /// to notify it.
    #[must_use]
    pub fn consume(&self, words: &impl Words, len: u32) -> bool {
        let old = self.cons.load();
        let new = old.wrapping_add(len);

        // INVARIANT: Before the shared word, so that nobody finds ours behind it.
        self.cons.store_release(new);
        words.store_release(self.direction.cons, new);
        if !self.event_index {
            return true;
        }
        words.full_barrier();
        crossed(words.load(self.direction.cons_event), old, new)
    }

    /// Asks to be notified of the next byte that comes, and returns the producer's index up to which
    /// there is something already.
    ///
    /// For an end where several wait, who exclude each other here and look again afterwards. There is
    /// one event word, so who asks overwrites what the others have asked for. If the index is not that
    /// of the last time, their wish may have come true, and be lost: then they have to be told. They
    /// need not exclude the consumer.
    pub fn expect_more(&self, words: &impl Words) -> u32 {
        let prod = words.load(self.direction.prod);

        if self.event_index {
            words.store(self.direction.prod_event, prod.wrapping_add(1));
        }
        words.full_barrier();
        prod
    }

    /// Ends the direction: nothing more will be consumed. Notify the producer after it.
    ///
    /// For the backend only: error words are the backend's.
    pub fn end(&self, words: &impl Words, ending: Ending) {
        store_ending(words, self.direction, ending);
    }
}
