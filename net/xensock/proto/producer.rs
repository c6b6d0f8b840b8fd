// SPDX-License-Identifier: GPL-2.0

//! The producing end of a direction of a data ring, see [`super::stream`].

use super::{
    errno::Ending,
    feature::{
        Feature,
        Features, //
    },
    indexes::DirectionWords,
    ring::{
        crossed,
        queued,
        spans,
        Memory,
        MemorySpan,
        Violation, //
    },
    stream::{
        load_ending,
        store_ending,
        PrivateWord,
        SharedWords,
        MAX_LOOKS, //
    }, //
};

/// The producing end of a direction.
///
/// One thread at a time produces. Methods that other threads may call at the same time say so.
///
/// # Invariants
///
/// - `prod` is the value that this end has stored in the shared word, or is about to store: the
///   shared word is never read back.
/// - `former` is 0, or the size of the memory that this end produced into before the last change.
/// - `largest` is stored before anything is published in a memory of that size.
#[derive(Debug)]
pub struct Producer<W> {
    /// Offsets of the words of the direction.
    direction: DirectionWords,
    /// Set if both ends use event indexes.
    event_index: bool,
    /// Bytes of the base, a power of two.
    base: u32,
    /// Index up to which this end has produced.
    prod: W,
    /// Bytes of the memory that this end produces into.
    size: W,
    /// Bytes of the former memory, which the consumer may not have left yet.
    former: W,
    /// Bytes of the largest memory so far.
    largest: W,
    /// Number of changes of memory.
    generation: W,
}

impl<W: PrivateWord> Producer<W> {
    /// Makes the producer of a fresh direction.
    pub fn new(direction: DirectionWords, base: u32, features: Features) -> Self {
        Self::starting_at(direction, base, features, 0)
    }

    /// Makes the producer of a direction whose indexes are both `index`.
    pub fn starting_at(
        direction: DirectionWords,
        base: u32,
        features: Features,
        index: u32,
    ) -> Self {
        Self {
            direction,
            event_index: features.has(Feature::EventIndex),
            base,
            prod: W::new(index),
            size: W::new(base),
            former: W::new(0),
            largest: W::new(base),
            generation: W::new(0),
        }
    }

    /// Resets the producer to that of a fresh direction. It must not be in use meanwhile.
    pub fn restart(&self) {
        self.size.store(self.base);
        self.former.store(0);
        self.largest.store(self.base);
        self.generation.store(0);
        self.prod.store(0);
    }

    /// Returns the offsets of the words of the direction.
    pub fn direction(&self) -> DirectionWords {
        self.direction
    }

    /// Returns the bytes of the memory that this end produces into. Other threads may call it.
    pub fn size(&self) -> u32 {
        self.size.load()
    }

    /// Returns the memory that this end produces into. Other threads may call it.
    pub fn memory(&self) -> Memory {
        Memory::of(self.size.load(), self.base)
    }

    /// Returns the index up to which this end has produced. Other threads may call it.
    pub fn index(&self) -> u32 {
        self.prod.load()
    }

    /// Returns the number of bytes that there is room for.
    pub fn room(&self, words: &impl SharedWords) -> Result<u32, Violation> {
        let cons = words.load_acquire(self.direction.cons);
        let most = self.size.load().max(self.former.load());
        let queued = queued(self.prod.load(), cons, most)?;

        // More than `size` bytes may be queued if the former memory was larger.
        Ok(self.size.load().saturating_sub(queued))
    }

    /// Returns the number of bytes that there is room for, for callers that do not exclude the
    /// producer.
    ///
    /// An impossible index counts as an empty ring: the producer will find the violation.
    pub fn peek_room(&self, words: &impl SharedWords) -> u32 {
        let size = self.size.load();

        size.saturating_sub(self.peek_queued(words))
    }

    /// Returns the number of bytes that the consumer has not taken, for callers that do not exclude
    /// the producer.
    ///
    /// An impossible index counts as an empty ring here too.
    pub fn peek_queued(&self, words: &impl SharedWords) -> u32 {
        loop {
            let before = self.prod.load_acquire();
            // Not `size` and `former`: another CPU may see one of them as it was before a change,
            // and the other as it is after the change.
            let most = self.largest.load();
            let queued = queued(before, words.load_acquire(self.direction.cons), most);
            // The two values belong together only if our index has not moved meanwhile.
            if self.prod.load_acquire() == before {
                return queued.unwrap_or(0);
            }
        }
    }

    /// Returns the ending of the direction. Other threads may call it.
    pub fn ending(&self, words: &impl SharedWords) -> Ending {
        load_ending(words, self.direction)
    }

    /// Returns the places of `len` bytes, starting `skip` bytes after the produced ones.
    pub fn places(&self, skip: u32, len: u32) -> [MemorySpan; 2] {
        let memory = self.memory();
        let spans = spans(self.prod.load().wrapping_add(skip), len, self.size.load());

        spans.map(|span| MemorySpan { memory, span })
    }

    /// Gives `len` bytes that were copied in to the consumer. Returns `true` if the consumer has to
    /// be notified.
    #[must_use]
    pub fn publish(&self, words: &impl SharedWords, len: u32) -> bool {
        let old = self.prod.load();
        let new = old.wrapping_add(len);

        // INVARIANT: Stored before the shared word, so that no thread finds ours behind it.
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
    /// Callers exclude each other, but need not exclude the producer, and must look again
    /// afterwards. If more bytes are produced after this call, the notification comes too early: a
    /// thread that is notified and does not find the room has to ask again. After a change of the
    /// memory all threads that wait have to ask again.
    pub fn expect_room(&self, words: &impl SharedWords, wanted: u32) {
        self.expect_left(words, || self.size.load().saturating_sub(wanted.max(1)));
    }

    /// Asks to be notified once everything is taken, whatever memory this end produces into by then.
    /// As [`Self::expect_room`].
    pub fn expect_all_taken(&self, words: &impl SharedWords) {
        self.expect_left(words, || 0);
    }

    /// Asks to be notified once no more than `left` bytes are queued.
    fn expect_left(&self, words: &impl SharedWords, left: impl Fn() -> u32) {
        loop {
            let prod = self.prod.load();
            if self.event_index {
                words.store(self.direction.cons_event, prod.wrapping_sub(left()));
            }
            words.full_barrier();
            // If our index has moved meanwhile, the peer may have passed the event before it was
            // set.
            if self.prod.load() == prod {
                return;
            }
        }
    }

    /// Asks for an event when the next byte is taken, whichever byte that is by now. As
    /// [`Self::expect_room`], for those who wait until the data are taken.
    ///
    /// If the consumer is always ahead, or moves its index back and forth, asks for the event when
    /// all is taken.
    pub fn expect_taken(&self, words: &impl SharedWords) {
        for _ in 0..MAX_LOOKS {
            let room = self.peek_room(words);
            if room >= self.size() {
                return;
            }
            self.expect_room(words, room.wrapping_add(1));
            if self.peek_room(words) == room {
                return;
            }
        }
        self.expect_all_taken(words);
    }

    /// Returns `true` if the consumer has left the memory that this end produced into before the
    /// last change, or if there was no change.
    pub fn is_followed(&self, words: &impl SharedWords) -> bool {
        // Loaded before the consumer's index, which has moved there by then.
        let is_followed = words.load_acquire(self.direction.followed) == self.generation.load();

        if is_followed {
            // INVARIANT: Nothing is left there.
            self.former.store(0);
        }
        is_followed
    }

    /// Produces into memory of `size` bytes from here on: the base, or an extension that the
    /// consumer knows. Returns `false` if the consumer has not followed the last change yet. The
    /// caller has to notify the consumer afterwards in any case, as no other event may be due.
    pub fn change_to(&self, words: &impl SharedWords, size: u32) -> bool {
        if !self.is_followed(words) {
            return false;
        }
        let (prod, generation) = (self.prod.load(), self.generation.load().wrapping_add(1));

        // INVARIANT: Nothing has been published in the new memory yet.
        self.largest.store(self.largest.load().max(size));
        // INVARIANT: All queued bytes were produced into that memory.
        self.former.store(self.size.load());
        self.size.store(size);
        self.generation.store(generation);
        // Stored before anything beyond the change is published.
        words.store(self.direction.switch, prod);
        words.store_release(self.direction.generation, generation);
        true
    }

    /// Ends the direction, after the last byte has been published. The caller has to notify the
    /// consumer afterwards.
    ///
    /// For the backend only: error words are the backend's.
    pub fn end(&self, words: &impl SharedWords, ending: Ending) {
        store_ending(words, self.direction, ending);
    }
}
