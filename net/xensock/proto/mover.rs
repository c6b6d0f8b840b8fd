// SPDX-License-Identifier: GPL-2.0

//! Who moves the bytes of a connection, where a thread can do it and soft interrupts can.
//!
//! Bytes are moved by a *work item*, which can do all there is to do, or in a *soft interrupt*, for
//! which it is not worth to wake a thread. Whoever has news, an event of the peer or bytes that have
//! arrived, has one of the two look:
//!
//! ```text
//! news:   is_free()? then have a soft interrupt run, else the work item
//!
//! in a soft interrupt                     as the work item
//!   in_softirq():  takes the turn,          begin_work():  takes the turn, unless a soft interrupt
//!                  if nobody has it                        has it; then it runs again
//!     move what there is                      move what there is
//!                  gives it back              end_work():  gives it back, if there is nothing that
//!   or else have the work item run                         only it can do
//! ```
//!
//! Both end with a look at the ring after the peer was asked for an event. So what comes while
//! somebody has the turn is seen by who has it, or is news once more: if the soft interrupt that runs
//! for these does not get the turn, the work item runs again, which looks after whoever had it.

/// A word that several threads change.
pub trait TurnWord {
    /// Makes one.
    fn new(value: u32) -> Self;
    /// Loads the word.
    fn load(&self) -> u32;
    /// Stores the word; what precedes has been done before it.
    fn store_release(&self, value: u32);
    /// Stores `new` if the word is `old`, and then what follows is not done before it. Else returns what
    /// it is.
    fn replace_acquire(&self, old: u32, new: u32) -> Result<(), u32>;
}

/// Who moves the bytes of a connection.
///
/// # Invariants
///
/// It is [`Self::WORKER`] as long as the work item does, or nobody else may; [`Self::SOFTIRQ`] as
/// long as a soft interrupt does.
#[derive(Debug)]
pub struct Mover<W>(W);

impl<W: TurnWord> Mover<W> {
    const WORKER: u32 = 0;
    const NOBODY: u32 = 1;
    const SOFTIRQ: u32 = 2;

    /// Makes one that begins with the work item.
    pub fn new() -> Self {
        Self(W::new(Self::WORKER))
    }

    /// Has the work item move bytes, and nobody else, unless a soft interrupt does just now: then it has
    /// to try again.
    #[must_use]
    pub fn begin_work(&self) -> bool {
        self.0.replace_acquire(Self::NOBODY, Self::WORKER) != Err(Self::SOFTIRQ)
    }

    /// Lets soft interrupts move bytes until the next turn of the work item.
    pub fn end_work(&self) {
        self.0.store_release(Self::NOBODY);
    }

    /// Returns whether it is worth trying [`Self::in_softirq`]. Any context.
    pub fn is_free(&self) -> bool {
        self.0.load() != Self::WORKER
    }

    /// Does something for which nobody else may move bytes, unless somebody does, and returns what
    /// that returns; else `false`, and the work item has to run.
    #[must_use]
    pub fn in_softirq(&self, what: impl FnOnce() -> bool) -> bool {
        if self.0.replace_acquire(Self::NOBODY, Self::SOFTIRQ).is_err() {
            return false;
        }
        let result = what();
        self.0.store_release(Self::NOBODY);
        result
    }
}

impl<W: TurnWord> Default for Mover<W> {
    fn default() -> Self {
        Self::new()
    }
}
