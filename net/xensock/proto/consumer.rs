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
/// - `cons` is what this end has stored in the shared word, or is just going to: it is never read
///   back.
/// - While `is_changing`, `switch` is ahead of `cons`, by no more than `size`.
#[derive(Debug)]
pub struct Consumer<W> {
    /// Where the words are.
    direction: DirectionWords,
    /// Whether both ends use event indexes.
    event_index: bool,
    /// Whether the producer may change its memory.
    can_change: bool,
    /// Bytes of the base, a power of two.
    base: u32,
    /// Consumed so far.
    cons: W,
    /// Bytes of the memory that is consumed from.
    size: W,
    /// Bytes of the extension, a power of two larger than the base; 0 if there is none.
    extension: W,
    /// How often the producer has changed its memory.
    generation: W,
    /// Where its last change was.
    switch: W,
    /// Whether that is still ahead: not 0.
    is_changing: W,
}

impl<W: Own> Consumer<W> {
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

    /// Makes it that of a fresh direction again. Nobody uses it meanwhile.
    pub fn restart(&self) {
        self.size.store(self.base);
        self.extension.store(0);
        self.generation.store(0);
        self.is_changing.store(0);
        self.cons.store(0);
    }

    /// Returns where the words of the direction are.
    pub fn direction(&self) -> DirectionWords {
        self.direction
    }

    /// Returns the bytes of the memory that is consumed from. Others may look, too.
    pub fn size(&self) -> u32 {
        self.size.load()
    }

    /// Returns how many bytes were consumed so far. Others may look, too.
    pub fn index(&self) -> u32 {
        self.cons.load()
    }

    /// Returns the bytes of the memory that the producer changes to, if it changes; 0 is none.
    fn other(&self) -> u32 {
        if self.size.load() == self.base {
            self.extension.load()
        } else {
            self.base
        }
    }

    /// Returns how many bytes are left in the memory that is consumed from, if the producer has
    /// another one by now.
    fn before_change(&self) -> Option<u32> {
        let is_changing = self.is_changing.load() != 0;
        is_changing.then(|| self.switch.load().wrapping_sub(self.cons.load()))
    }

    /// Goes on with the other memory.
    fn change(&self) {
        self.size.store(self.other());
        self.is_changing.store(0);
    }

    /// Tells the producer of that, once it can see that nothing is left in the memory of before.
    fn tell_changed(&self, words: &impl Words) {
        words.store_release(self.direction.followed, self.generation.load());
    }

    /// Looks whether the producer has changed its memory. What it has published before that was
    /// looked at already.
    fn follow(&self, words: &impl Words) -> Result<(), Violation> {
        if !self.can_change {
            return Ok(());
        }
        let generation = words.load_acquire(self.direction.generation);
        let known = self.generation.load();
        if generation == known {
            return Ok(());
        }
        // One at a time, and to what is there.
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

    /// Returns what there is to consume.
    pub fn ready(&self, words: &impl Words) -> Result<Ready, Violation> {
        // The error first: whoever sees it then sees all the bytes before it.
        let ending = load_ending(words, self.direction);
        // Then the bytes: whoever sees those beyond a change then sees the change.
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

    /// Returns how many bytes there are to consume, for those who do not exclude the consumer.
    ///
    /// An index that makes no sense counts as a full ring: the consumer will find out.
    pub fn peek_ready(&self, words: &impl Words) -> u32 {
        loop {
            let before = self.cons.load_acquire();
            let most = self.base.max(self.extension.load());
            let ready = queued(words.load_acquire(self.direction.prod), before, most);
            // Unless our index moved meanwhile, the two belong together.
            if self.cons.load_acquire() == before {
                return ready.unwrap_or(most);
            }
        }
    }

    /// Returns how the direction has ended, if it has. Others may look, too.
    ///
    /// To be called before the bytes are looked at: what came before the end is then seen.
    pub fn ending(&self, words: &impl Words) -> Ending {
        load_ending(words, self.direction)
    }

    /// Returns where the bytes are that follow `skip` bytes after what was consumed. What is there
    /// is up to the caller, who knows from [`Self::ready`] how many there are.
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

    /// Gives the room of the `len` bytes that were copied out back to the producer; returns whether
    /// to notify it.
    #[must_use]
    pub fn consume(&self, words: &impl Words, len: u32) -> bool {
        let old = self.cons.load();
        let new = old.wrapping_add(len);

        let changes = self.before_change().is_some_and(|before| len >= before);
        if changes {
            // INVARIANT: The other memory begins where the change was.
            self.change();
        }
        // INVARIANT: Before the shared word, so that nobody finds ours behind it.
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

    /// Lets the producer change to an extension of `size` bytes, larger than the base, and back.
    /// Others may consume meanwhile.
    pub fn extend(&self, size: u32) {
        self.extension.store_release(size);
    }

    /// Lets the producer change no more, unless it has the extension in use, or had when it published
    /// what is not consumed yet; returns whether it does not.
    pub fn withdraw(&self, words: &impl Words) -> Result<bool, Violation> {
        self.follow(words)?;
        let is_unused = self.size.load() == self.base && self.is_changing.load() == 0;
        if is_unused {
            self.extension.store(0);
        }
        Ok(is_unused)
    }

    /// Returns whether the producer has the base in use, though what is not consumed yet may be in the
    /// extension. As far as [`Self::withdraw`] or [`Self::ready`] have seen.
    pub fn is_leaving(&self) -> bool {
        (self.size.load() == self.base) == (self.is_changing.load() == 0)
    }

    /// Ends the direction: nothing more will be consumed. Notify the producer after it.
    ///
    /// For the backend only: error words are the backend's.
    pub fn end(&self, words: &impl Words, ending: Ending) {
        store_ending(words, self.direction, ending);
    }
}
