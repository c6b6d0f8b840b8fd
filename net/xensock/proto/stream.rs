// SPDX-License-Identifier: GPL-2.0

//! One direction of a data ring, from its producer's and from its consumer's side.
//!
//! The order of loads, stores and barriers is the protocol as much as the layout is. It is written
//! down here once, over any [`Words`]; the kernel gives shared pages, the model checker of
//! `tools/hosttest` its own memory.
//!
//! ```text
//! producer                                   consumer
//!   room():        load cons   (acquire)       ready():       load error  (acquire)
//!   copy the bytes in                                         load prod   (acquire)
//!   publish():     store prod  (release)       copy the bytes out
//!                  full barrier                consume():     store cons  (release)
//!                  load prod_event                            full barrier
//!   notify if crossed                                         load cons_event
//!                                              notify if crossed
//!   expect_room(): store cons_event            expect_more(): store prod_event
//!                  full barrier                               full barrier
//!   room() again, then sleep                   ready() again, then sleep
//! ```
//!
//! Of two ends that store and then load across a full barrier, at least one sees the other's store:
//! either the sleeper sees the move, or the mover sees the event and notifies.
//!
//! An end that ends the direction stores the error word (release) after its last move of an index,
//! and notifies, always. The consumer loads the error word first, so whoever sees the error sees
//! every byte before it.

//! # Changes of the memory
//!
//! Bytes lie in the *base* of the direction, or in its *extension*. The producer goes from one to the
//! other at its own index:
//!
//! ```text
//! producer                                   consumer
//!   change_to():   load followed    (acquire)  ready():       load error      (acquire)
//!                  store switch                               load prod       (acquire)
//!                  store generation (release)                 load generation (acquire)
//!   publish():     store prod       (release)                 load switch, if that is another
//!                                              consume():     store cons      (release)
//!                                                             store followed  (release)
//! ```
//!
//! Whoever sees a byte beyond the change sees the change. The bytes before it are in the memory of
//! before, at their index modulo its size, the others in the new one modulo its size. No more is
//! published while more is queued than the new one holds; so no byte that is queued is ever
//! overwritten. The next change waits until the consumer says that it has followed this one.

use super::{
    errno::Ending,
    indexes::DirectionWords, //
};

pub use super::{
    consumer::{
        Consumer,
        Ready, //
    },
    producer::Producer, //
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

/// A word of an end's own, which the other end cannot see.
///
/// One thread at a time changes it. Others may look at it meanwhile.
pub trait Own {
    /// Makes one.
    fn new(value: u32) -> Self;
    /// Loads the word.
    fn load(&self) -> u32;
    /// Loads the word; what follows is not done before it.
    fn load_acquire(&self) -> u32;
    /// Stores the word.
    fn store(&self, value: u32);
    /// Stores the word; what precedes has been done before it.
    fn store_release(&self, value: u32);
}

/// Reads the error word of a direction; what follows is not done before it.
pub(super) fn load_ending(words: &impl Words, direction: DirectionWords) -> Ending {
    let word = words.load_acquire(direction.error);

    Ending::from_wire(i32::from_le_bytes(word.to_le_bytes()))
}

/// Writes the error word of a direction, after all that was done before.
pub(super) fn store_ending(words: &impl Words, direction: DirectionWords, ending: Ending) {
    let word = u32::from_le_bytes(ending.to_wire().to_le_bytes());

    words.store_release(direction.error, word);
}
