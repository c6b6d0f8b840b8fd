// SPDX-License-Identifier: GPL-2.0

//! One direction of a data ring, from its producer's and from its consumer's side.
//!
//! The order of loads, stores and barriers is as much a part of the protocol as the layout. It is
//! written here once, over any [`SharedWords`]: shared pages in the kernel, the model checker's own
//! memory in `tools/hosttest`.
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
//!   room() again, then sleep                                  load prod: again if it has moved
//!                                              ready() again, then sleep
//! ```
//!
//! If two ends each store and then load across a full barrier, at least one sees the other's store:
//! either the sleeping end sees the move, or the moving end sees the event index and notifies.
//!
//! A consumer may sleep although there are bytes, because it has seen to them without consuming
//! them, or needs more. So it asks again until the index is what it has asked with.
//!
//! An end that ends the direction stores the error word (release) after its last move of an index,
//! and always notifies. The consumer loads the error word first, so if it sees the error it sees
//! every byte before it.
//!
//! # Changes of the memory
//!
//! The bytes are in the *base* of the direction, or in its *extension*. The producer changes from
//! one to the other at its own index:
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
//! A consumer that sees a byte beyond the change sees the change. The bytes before the change are
//! in the former memory, at their index modulo its size; the others are in the new memory, at their
//! index modulo its size. Nothing more is published while more bytes are queued than the new memory
//! holds, so no queued byte is ever overwritten. The next change waits until the consumer says that
//! it has followed this one.

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

/// Number of attempts to ask for an event while the other end keeps moving its index.
pub(super) const MAX_LOOKS: usize = 64;

/// The shared words of a data ring, by their offset in the indexes page.
///
/// Each load reads the memory once. The other end may write anything at any time.
pub trait SharedWords {
    /// Loads a word, before everything after this call.
    fn load_acquire(&self, offset: usize) -> u32;
    /// Loads a word.
    fn load(&self, offset: usize) -> u32;
    /// Stores a word, after everything before this call.
    fn store_release(&self, offset: usize, value: u32);
    /// Stores a word.
    fn store(&self, offset: usize, value: u32);
    /// Orders all loads and stores before this call with all those after it.
    fn full_barrier(&self);
}

/// A private word of an end, which the other end cannot see.
///
/// One thread at a time changes it. Other threads may load it meanwhile.
pub trait PrivateWord {
    /// Creates a word.
    fn new(value: u32) -> Self;
    /// Loads the word.
    fn load(&self) -> u32;
    /// Loads the word, before everything after this call.
    fn load_acquire(&self) -> u32;
    /// Stores the word.
    fn store(&self, value: u32);
    /// Stores the word, after everything before this call.
    fn store_release(&self, value: u32);
}

/// Loads the error word of a direction, before everything after this call.
pub(super) fn load_ending(words: &impl SharedWords, direction: DirectionWords) -> Ending {
    let word = words.load_acquire(direction.error);

    Ending::from_wire(i32::from_le_bytes(word.to_le_bytes()))
}

/// Stores the error word of a direction, after everything before this call.
pub(super) fn store_ending(words: &impl SharedWords, direction: DirectionWords, ending: Ending) {
    let word = u32::from_le_bytes(ending.to_wire().to_le_bytes());

    words.store_release(direction.error, word);
}
