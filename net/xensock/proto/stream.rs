// SPDX-License-Identifier: GPL-2.0

//! One direction of a data ring, from its producer's and from its consumer's side.
//!
//! The order of loads, stores and barriers is the protocol as much as the layout is. It is written
//! down here once, over any [`Words`]; the kernel gives shared pages, the model checker of
//! `tools/hosttest` its own memory.
//!
//! ```text
//! producer                                consumer
//!   room():    load cons    (acquire)       ready():    load error  (acquire)
//!   copy the bytes in                                   load prod   (acquire)
//!   publish(): store prod   (release)       copy the bytes out
//!              full barrier                 consume():  store cons  (release)
//!              load prod_event                          full barrier
//!   notify if crossed                                   load cons_event
//!                                           notify if crossed
//!   arm():     store cons_event             arm():      store prod_event
//!              full barrier                             full barrier
//!   room() again, then sleep                ready() again, then sleep
//! ```
//!
//! Of two ends that store and then load across a full barrier, at least one sees the other's store:
//! either the sleeper sees the move, or the mover sees the event and notifies.
//!
//! An end that ends the direction stores the error word (release) after its last move of an index,
//! and notifies, always. The consumer loads the error word first, so whoever sees the error sees
//! every byte before it.

use super::{
    errno::Ending,
    indexes::Direction,
    ring::{
        crossed,
        queued,
        space,
        Violation, //
    },
};

/// The shared words of a data ring, by their offset in the indexes page.
///
/// Each load reads the memory once. The other end may write anything at any time.
pub trait Words {
    /// Loads a word; what follows is not done before it.
    fn load_acquire(&self, offset: usize) -> u32;
    /// Loads a word.
    fn load(&self, offset: usize) -> u32;
    /// Stores a word; what precedes has been done before it.
    fn store_release(&self, offset: usize, value: u32);
    /// Stores a word.
    fn store(&self, offset: usize, value: u32);
    /// Orders all loads and stores before it with all those after it.
    fn full_barrier(&self);
}

/// The producing end of a direction.
///
/// # Invariants
///
/// `prod` is what this end has stored in the shared word: it is never read back.
#[derive(Debug)]
pub struct Producer {
    /// Where the words are.
    direction: Direction,
    /// Bytes of the direction, a power of two.
    size: u32,
    /// Whether both ends use event indexes.
    event_index: bool,
    /// Produced so far.
    prod: u32,
}

impl Producer {
    /// Makes the producer of a fresh direction.
    pub const fn new(direction: Direction, size: u32, event_index: bool) -> Self {
        Self::starting_at(direction, size, event_index, 0)
    }

    /// Makes the producer of a direction whose indexes are both `index`.
    pub const fn starting_at(
        direction: Direction,
        size: u32,
        event_index: bool,
        index: u32,
    ) -> Self {
        Self {
            direction,
            size,
            event_index,
            prod: index,
        }
    }

    /// Returns where the next byte goes, see [`super::ring::spans`].
    pub const fn index(&self) -> u32 {
        self.prod
    }

    /// Returns how many bytes there is room for.
    pub fn room(&self, words: &impl Words) -> Result<u32, Violation> {
        space(
            self.prod,
            words.load_acquire(self.direction.cons),
            self.size,
        )
    }

    /// Returns how the direction has ended, if it has.
    pub fn ending(&self, words: &impl Words) -> Ending {
        ending(words.load_acquire(self.direction.error))
    }

    /// Gives the consumer the `len` bytes that were copied in; returns whether to notify it.
    #[must_use]
    pub fn publish(&mut self, words: &impl Words, len: u32) -> bool {
        let old = self.prod;
        let new = old.wrapping_add(len);

        self.prod = new;
        words.store_release(self.direction.prod, new);
        if !self.event_index {
            return true;
        }
        words.full_barrier();
        crossed(words.load(self.direction.prod_event), old, new)
    }

    /// Asks to be notified when there is room for `wanted` bytes (at least 1, at most all), and
    /// returns the room there is now: if that is enough, there may be no notification.
    pub fn arm(&self, words: &impl Words, wanted: u32) -> Result<u32, Violation> {
        if self.event_index {
            let wanted = wanted.clamp(1, self.size.max(1));
            let event = self.prod.wrapping_add(wanted).wrapping_sub(self.size);

            words.store(self.direction.cons_event, event);
        }
        words.full_barrier();
        self.room(words)
    }

    /// Ends the direction, after the last byte has been published. Notify the consumer after it.
    ///
    /// For the backend only: error words are the backend's.
    pub fn end(&self, words: &impl Words, ending: Ending) {
        store_ending(words, self.direction, ending);
    }
}

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
/// # Invariants
///
/// `cons` is what this end has stored in the shared word: it is never read back.
#[derive(Debug)]
pub struct Consumer {
    /// Where the words are.
    direction: Direction,
    /// Bytes of the direction, a power of two.
    size: u32,
    /// Whether both ends use event indexes.
    event_index: bool,
    /// Consumed so far.
    cons: u32,
}

impl Consumer {
    /// Makes the consumer of a fresh direction.
    pub const fn new(direction: Direction, size: u32, event_index: bool) -> Self {
        Self::starting_at(direction, size, event_index, 0)
    }

    /// Makes the consumer of a direction whose indexes are both `index`.
    pub const fn starting_at(
        direction: Direction,
        size: u32,
        event_index: bool,
        index: u32,
    ) -> Self {
        Self {
            direction,
            size,
            event_index,
            cons: index,
        }
    }

    /// Returns where the next byte is, see [`super::ring::spans`].
    pub const fn index(&self) -> u32 {
        self.cons
    }

    /// Returns what there is to consume.
    pub fn ready(&self, words: &impl Words) -> Result<Ready, Violation> {
        // The error first: whoever sees it then sees all the bytes before it.
        let ending = ending(words.load_acquire(self.direction.error));
        let prod = words.load_acquire(self.direction.prod);

        Ok(Ready {
            len: queued(prod, self.cons, self.size)?,
            ending,
        })
    }

    /// Gives the room of the `len` bytes that were copied out back to the producer; returns whether
    /// to notify it.
    #[must_use]
    pub fn consume(&mut self, words: &impl Words, len: u32) -> bool {
        let old = self.cons;
        let new = old.wrapping_add(len);

        self.cons = new;
        words.store_release(self.direction.cons, new);
        if !self.event_index {
            return true;
        }
        words.full_barrier();
        crossed(words.load(self.direction.cons_event), old, new)
    }

    /// Asks to be notified when `wanted` bytes are there (at least 1, at most the ring), and returns
    /// what there is now: if that is enough, there may be no notification.
    pub fn arm(&self, words: &impl Words, wanted: u32) -> Result<Ready, Violation> {
        if self.event_index {
            let wanted = wanted.clamp(1, self.size.max(1));

            words.store(self.direction.prod_event, self.cons.wrapping_add(wanted));
        }
        words.full_barrier();
        self.ready(words)
    }

    /// Asks to be notified of the next byte that comes, and returns the producer's index up to which
    /// there is something already.
    ///
    /// For an end where several wait, who exclude each other here and look again afterwards. There is
    /// one event word, so who asks overwrites what the others have asked for. If the index is not that
    /// of the last time, their wish may have come true, and be lost: then they have to be told.
    pub fn expect_more(&self, words: &impl Words) -> u32 {
        let prod = words.load(self.direction.prod);

        if self.event_index {
            words.store(self.direction.prod_event, prod.wrapping_add(1));
            words.full_barrier();
        }
        prod
    }

    /// Ends the direction: nothing more will be consumed. Notify the producer after it.
    ///
    /// For the backend only: error words are the backend's.
    pub fn end(&self, words: &impl Words, ending: Ending) {
        store_ending(words, self.direction, ending);
    }
}

/// Reads an error word.
const fn ending(word: u32) -> Ending {
    Ending::from_wire(i32::from_le_bytes(word.to_le_bytes()))
}

/// Writes an error word.
fn store_ending(words: &impl Words, direction: Direction, ending: Ending) {
    let word = u32::from_le_bytes(ending.to_wire().to_le_bytes());

    words.store_release(direction.error, word);
}
