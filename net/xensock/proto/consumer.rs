// SPDX-License-Identifier: GPL-2.0

//! The consuming end of a direction of a data ring, see [`super::stream`].

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

/// The bytes that a consumer finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    /// Number of bytes that can be copied out.
    pub len: u32,
    /// The ending of the direction. It takes effect once `len` is 0.
    pub ending: Ending,
}

/// The consuming end of a direction.
///
/// One thread at a time consumes. Methods that other threads may call at the same time say so.
///
/// # Invariants
///
/// - `cons` is the value that this end has stored in the shared word, or is about to store: the
///   shared word is never read back.
/// - While `is_changing`, `switch` is ahead of `cons`, by no more than `size`.
#[derive(Debug)]
pub struct Consumer<W> {
    /// Offsets of the words of the direction.
    direction: DirectionWords,
    /// Set if both ends use event indexes.
    event_index: bool,
    /// Set if the producer may change its memory.
    can_change: bool,
    /// Bytes of the base, a power of two.
    base: u32,
    /// Index up to which this end has consumed.
    cons: W,
    /// Bytes of the memory that this end consumes from.
    size: W,
    /// Bytes of the extension, a power of two larger than the base; 0 if there is none.
    extension: W,
    /// Number of changes of memory by the producer.
    generation: W,
    /// Index of the last change.
    switch: W,
    /// Not 0 while the last change is still ahead.
    is_changing: W,
}

impl<W: PrivateWord> Consumer<W> {
    /// Makes the consumer of a fresh direction.
    pub fn new(direction: DirectionWords, base: u32, features: Features) -> Self {
        Self::starting_at(direction, base, features, 0)
    }

    /// Makes the consumer of a direction whose indexes are both `index`.
    pub fn starting_at(
        direction: DirectionWords,
        base: u32,
        features: Features,
        index: u32,
    ) -> Self {
        Self {
            direction,
            event_index: features.has(Feature::EventIndex),
            can_change: features.has(Feature::RingResize),
            base,
            cons: W::new(index),
            size: W::new(base),
            extension: W::new(0),
            generation: W::new(0),
            switch: W::new(index),
            is_changing: W::new(0),
        }
    }

    /// Resets the consumer to that of a fresh direction. It must not be in use meanwhile.
    pub fn restart(&self) {
        self.size.store(self.base);
        self.extension.store(0);
        self.generation.store(0);
        self.is_changing.store(0);
        self.cons.store(0);
    }

    /// Returns the offsets of the words of the direction.
    pub fn direction(&self) -> DirectionWords {
        self.direction
    }

    /// Returns the bytes of the memory that this end consumes from. Other threads may call it.
    pub fn size(&self) -> u32 {
        self.size.load()
    }

    /// Returns the bytes of the extension or, if there is none, of the base. Other threads may call
    /// it.
    pub fn largest(&self) -> u32 {
        self.base.max(self.extension.load_acquire())
    }

    /// Returns the index up to which this end has consumed. Other threads may call it.
    pub fn index(&self) -> u32 {
        self.cons.load()
    }

    /// Returns the bytes of the memory that the producer could change to, or 0 if there is none.
    fn other(&self) -> u32 {
        if self.size.load() == self.base {
            self.extension.load()
        } else {
            self.base
        }
    }

    /// Returns the number of bytes left in the memory that this end consumes from, if the producer
    /// has changed to the other memory.
    fn before_change(&self) -> Option<u32> {
        let is_changing = self.is_changing.load() != 0;
        is_changing.then(|| self.switch.load().wrapping_sub(self.cons.load()))
    }

    /// Continues with the other memory.
    fn change(&self) {
        self.size.store(self.other());
        self.is_changing.store(0);
    }

    /// Tells the producer of the change, once it can see that nothing is left in the former memory.
    fn tell_changed(&self, words: &impl SharedWords) {
        words.store_release(self.direction.followed, self.generation.load());
    }

    /// Checks if the producer has changed its memory. The caller has already looked at the bytes
    /// that were published before the change.
    fn follow(&self, words: &impl SharedWords) -> Result<(), Violation> {
        if !self.can_change {
            return Ok(());
        }
        let generation = words.load_acquire(self.direction.generation);
        let known = self.generation.load();
        if generation == known {
            return Ok(());
        }
        // One change at a time, and only to a memory that exists.
        if generation != known.wrapping_add(1) || self.is_changing.load() != 0 || self.other() == 0
        {
            return Err(Violation);
        }
        let switch = words.load(self.direction.switch);
        let left = queued(switch, self.cons.load(), self.size.load())?;
        self.generation.store(generation);
        // INVARIANT: It was checked just now.
        self.switch.store(switch);
        self.is_changing.store(1);
        if left == 0 {
            self.change();
            self.tell_changed(words);
        }
        Ok(())
    }

    /// Returns the bytes that can be consumed.
    pub fn ready(&self, words: &impl SharedWords) -> Result<Ready, Violation> {
        // Load the error first: if this end sees it, it then sees all bytes before it.
        let ending = load_ending(words, self.direction);
        // Then the index: if this end sees bytes beyond a change, it then sees the change.
        let prod = words.load_acquire(self.direction.prod);

        self.follow(words)?;
        let len = prod.wrapping_sub(self.cons.load());
        let most = match self.before_change() {
            Some(before) if len > before => self.other(),
            _ => self.size.load(),
        };
        if len > most {
            return Err(Violation);
        }
        Ok(Ready { len, ending })
    }

    /// Returns the number of bytes to consume, for callers that do not exclude the consumer.
    ///
    /// An impossible index counts as a full ring: the consumer will find the violation.
    pub fn peek_ready(&self, words: &impl SharedWords) -> u32 {
        loop {
            let before = self.cons.load_acquire();
            let prod = words.load_acquire(self.direction.prod);
            // Loaded after the producer's index: an extension is there before bytes are in it.
            let most = self.largest();
            // The values belong together only if our index has not moved meanwhile.
            if self.cons.load_acquire() == before {
                return queued(prod, before, most).unwrap_or(most);
            }
        }
    }

    /// Returns the ending of the direction. Other threads may call it.
    ///
    /// To be called before the bytes are looked at: then no byte before the end is missed.
    pub fn ending(&self, words: &impl SharedWords) -> Ending {
        load_ending(words, self.direction)
    }

    /// Returns the places of `len` bytes, starting `skip` bytes after the consumed ones. The caller
    /// knows from [`Self::ready`] how many of them are there.
    pub fn places(&self, skip: u32, len: u32) -> [MemorySpan; 4] {
        let at = self.cons.load().wrapping_add(skip);
        let before = self.before_change().map_or(len, |b| b.saturating_sub(skip));
        let first = len.min(before);
        let here = self.size.load();
        let there = if first < len { self.other() } else { here };
        let place = |size, span| MemorySpan {
            memory: Memory::of(size, self.base),
            span,
        };
        // OVERFLOW: `first` is at most `len`.
        let [c, d] = spans(at.wrapping_add(first), len - first, there).map(|s| place(there, s));
        let [a, b] = spans(at, first, here).map(|s| place(here, s));

        [a, b, c, d]
    }

    /// Gives the room of `len` bytes that were copied out back to the producer. Returns `true` if
    /// the producer has to be notified.
    #[must_use]
    pub fn consume(&self, words: &impl SharedWords, len: u32) -> bool {
        let old = self.cons.load();
        let new = old.wrapping_add(len);

        let changes = self.before_change().is_some_and(|before| len >= before);
        if changes {
            // INVARIANT: The other memory begins where the change was.
            self.change();
        }
        // INVARIANT: Stored before the shared word, so that no thread finds ours behind it.
        self.cons.store_release(new);
        words.store_release(self.direction.cons, new);
        if changes {
            self.tell_changed(words);
        }
        if !self.event_index {
            return true;
        }
        words.full_barrier();
        crossed(words.load(self.direction.cons_event), old, new)
    }

    /// Asks to be notified of the next byte that arrives, whichever byte that is by now. Returns the
    /// producer's index, up to which bytes have already arrived.
    ///
    /// Several threads of this end may wait. They exclude each other here, and look again
    /// afterwards; they need not exclude the consumer. There is one event word, so a caller
    /// overwrites the request of an earlier one. If the index differs from that of the last call,
    /// the earlier request may have been met without a notification: then the threads that wait
    /// have to be told.
    ///
    /// A byte that arrives between the look at the index and the request meets the request before
    /// the producer sees it, and the byte after it would not be notified of. So this looks again
    /// after the request. Not for ever: a producer that breaks the rules may move its index each
    /// time, and loses its own notifications only.
    pub fn expect_more(&self, words: &impl SharedWords) -> u32 {
        let mut prod = words.load(self.direction.prod);

        if !self.event_index {
            // Each byte is notified of.
            words.full_barrier();
            return prod;
        }
        for _ in 0..MAX_LOOKS {
            words.store(self.direction.prod_event, prod.wrapping_add(1));
            words.full_barrier();
            let now = words.load(self.direction.prod);
            if now == prod {
                break;
            }
            prod = now;
        }
        prod
    }

    /// Asks not to be notified of bytes that arrive, until the next call of
    /// [`Self::expect_more`]. Those who ask exclude each other.
    pub fn expect_nothing(&self, words: &impl SharedWords) {
        if self.event_index {
            // Not behind the producer's index, so the producer does not pass it.
            words.store(self.direction.prod_event, self.cons.load());
        }
    }

    /// Lets the producer change to an extension of `size` bytes, larger than the base, and back.
    /// The consumer may run meanwhile.
    pub fn extend(&self, size: u32) {
        self.extension.store_release(size);
    }

    /// Withdraws the extension, so that the producer cannot change to it. Returns `false` and does
    /// nothing if the producer uses the extension, or has published bytes in it that are not
    /// consumed yet.
    pub fn withdraw(&self, words: &impl SharedWords) -> Result<bool, Violation> {
        self.follow(words)?;
        let is_unused = self.size.load() == self.base && self.is_changing.load() == 0;
        if is_unused {
            // After the last byte in it was consumed.
            self.extension.store_release(0);
        }
        Ok(is_unused)
    }

    /// Returns `true` if the producer uses the base. Bytes that are not consumed yet may be in the
    /// extension. The result is as [`Self::withdraw`] or [`Self::ready`] has last seen it.
    pub fn is_leaving(&self) -> bool {
        (self.size.load() == self.base) == (self.is_changing.load() == 0)
    }

    /// Ends the direction: nothing more will be consumed. The caller has to notify the producer
    /// afterwards.
    ///
    /// For the backend only: error words are the backend's.
    pub fn end(&self, words: &impl SharedWords, ending: Ending) {
        store_ending(words, self.direction, ending);
    }
}
