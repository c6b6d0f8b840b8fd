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
/// - `prod` is what this end has stored in the shared word, or is just going to: it is never read
///   back.
/// - `former` is 0, or the size of the memory that was produced into before the last change.
#[derive(Debug)]
pub struct Producer<W> {
    /// Where the words are.
    direction: DirectionWords,
    /// Whether both ends use event indexes.
    event_index: bool,
    /// Bytes of the base, a power of two.
    base: u32,
    /// Produced so far.
    prod: W,
    /// Bytes of the memory that is produced into.
    size: W,
    /// Bytes of the memory that the consumer may not have left yet.
    former: W,
    /// How often the memory has changed.
    generation: W,
}

impl<W: Own> Producer<W> {
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
            generation: W::new(0),
        }
    }

    /// Makes it that of a fresh direction again. Nobody uses it meanwhile.
    pub fn restart(&self) {
        self.size.store(self.base);
        self.former.store(0);
        self.generation.store(0);
        self.prod.store(0);
    }

    /// Returns where the words of the direction are.
    pub fn direction(&self) -> DirectionWords {
        self.direction
    }

    /// Returns the bytes of the memory that is produced into. Others may look, too.
    pub fn size(&self) -> u32 {
        self.size.load()
    }

    /// Returns which memory is produced into. Others may look, too.
    pub fn memory(&self) -> Memory {
        Memory::of(self.size.load(), self.base)
    }

    /// Returns how many bytes were produced so far. Others may look, too.
    pub fn index(&self) -> u32 {
        self.prod.load()
    }

    /// Returns how many bytes there is room for.
    pub fn room(&self, words: &impl Words) -> Result<u32, Violation> {
        let cons = words.load_acquire(self.direction.cons);
        let most = self.size.load().max(self.former.load());
        let queued = queued(self.prod.load(), cons, most)?;

        // While the memory before was larger, there may be more.
        Ok(self.size.load().saturating_sub(queued))
    }

    /// Returns how many bytes there is room for, for those who do not exclude the producer.
    ///
    /// An index that makes no sense counts as an empty ring: the producer will find out.
    pub fn peek_room(&self, words: &impl Words) -> u32 {
        let size = self.size.load();

        size.saturating_sub(self.peek_queued(words))
    }

    /// Returns how many bytes the consumer has not taken, for those who do not exclude the producer.
    ///
    /// An index that makes no sense counts as an empty ring, likewise.
    pub fn peek_queued(&self, words: &impl Words) -> u32 {
        loop {
            let before = self.prod.load_acquire();
            let most = self.size.load().max(self.former.load());
            let queued = queued(before, words.load_acquire(self.direction.cons), most);
            // Unless our index moved meanwhile, the two belong together.
            if self.prod.load_acquire() == before {
                return queued.unwrap_or(0);
            }
        }
    }

    /// Returns how the direction has ended, if it has. Others may look, too.
    pub fn ending(&self, words: &impl Words) -> Ending {
        load_ending(words, self.direction)
    }

    /// Returns where the bytes are that follow `skip` bytes after what was produced.
    pub fn places(&self, skip: u32, len: u32) -> [MemorySpan; 2] {
        let memory = self.memory();
        let spans = spans(self.prod.load().wrapping_add(skip), len, self.size.load());

        spans.map(|span| MemorySpan { memory, span })
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
    /// and does not find the room has to ask again. After a change of the memory all ask again.
    pub fn expect_room(&self, words: &impl Words, wanted: u32) {
        loop {
            let prod = self.prod.load();
            if self.event_index {
                let missing = self.size.load().saturating_sub(wanted.max(1));
                words.store(self.direction.cons_event, prod.wrapping_sub(missing));
            }
            words.full_barrier();
            // If it moved meanwhile, the peer may have gone past the event before that was there.
            if self.prod.load() == prod {
                return;
            }
        }
    }

    /// Returns whether the consumer has left the memory that was produced into before the last
    /// change, if there was one.
    pub fn is_followed(&self, words: &impl Words) -> bool {
        // Before the consumer's index, which has gone there by then.
        let is_followed = words.load_acquire(self.direction.followed) == self.generation.load();

        if is_followed {
            // INVARIANT: Nothing is left there.
            self.former.store(0);
        }
        is_followed
    }

    /// Has everything from here on go into memory of `size` bytes: the base, or an extension that the
    /// consumer knows. Returns `false` if the consumer has not followed the last change yet. Notify it
    /// after it, always: it might have nothing else to do.
    pub fn change_to(&self, words: &impl Words, size: u32) -> bool {
        if !self.is_followed(words) {
            return false;
        }
        let (prod, generation) = (self.prod.load(), self.generation.load().wrapping_add(1));

        // INVARIANT: All that is queued was produced into that.
        self.former.store(self.size.load());
        self.size.store(size);
        self.generation.store(generation);
        // Before anything beyond it is published.
        words.store(self.direction.switch, prod);
        words.store_release(self.direction.generation, generation);
        true
    }

    /// Ends the direction, after the last byte has been published. Notify the consumer after it.
    ///
    /// For the backend only: error words are the backend's.
    pub fn end(&self, words: &impl Words, ending: Ending) {
        store_ending(words, self.direction, ending);
    }
}
