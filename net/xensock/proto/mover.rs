// SPDX-License-Identifier: GPL-2.0

//! Decides who moves the bytes of a connection, where both a thread and soft interrupts can do so.
//!
//! Bytes are moved by a *work item*, which can do all of the work, or in a *soft interrupt*, which
//! saves waking a thread. On news, an event of the peer, arrived bytes or room, one of the two is made
//! to look:
//!
//! ```text
//! news:   is_free()? then have a soft interrupt run, else the work item
//!
//! in a soft interrupt                     as the work item
//!   in_softirq():  takes the turn,          begin_work():  takes the turn, unless a soft interrupt
//!                  if the turn is free                     has it; then the turn is promised to
//!                                                          the work item
//!     move all available bytes                move all available bytes
//!                  gives the turn back,       end_work():  gives the turn back, unless there is
//!                  or keeps the promise                    work that only the work item can do
//!   or else have the work item run
//! ```
//!
//! Both end with a look at the ring after they have asked the peer for an event. So the holder of
//! the turn sees what arrives meanwhile, or it causes news again. If the soft interrupt that runs
//! for these does not get the turn, the work item runs again, and looks after the holder has
//! finished.
//!
//! The work item must get its turn, as only it can end the connection. It neither waits for the
//! soft interrupt nor tries again by itself: the soft interrupt has it run, and leaves it the turn,
//! whatever arrives meanwhile.

/// A word that several threads change.
pub trait TurnWord {
    /// Creates a word.
    fn new(value: u32) -> Self;
    /// Loads the word.
    fn load(&self) -> u32;
    /// Loads the word; nothing after this call is done before it.
    fn load_acquire(&self) -> u32;
    /// Stores the word, after everything before this call.
    fn store_release(&self, value: u32);
    /// Stores `new` if the word is `old`; then nothing after this call is done before it. Otherwise
    /// returns the word as the error.
    fn replace_acquire(&self, old: u32, new: u32) -> Result<(), u32>;
    /// Stores `new` if the word is `old`, after everything before this call. Otherwise returns the
    /// word as the error.
    fn replace_release(&self, old: u32, new: u32) -> Result<(), u32>;
}

/// It is the turn of the work item.
const WORKER: u32 = 0;
/// The turn is free.
const NOBODY: u32 = 1;
/// It is the turn of a soft interrupt.
const SOFTIRQ: u32 = 2;
/// As [`SOFTIRQ`], and the next turn is the work item's.
const PROMISED: u32 = 3;

/// Tells who moves the bytes of a connection.
///
/// # Invariants
///
/// The word is [`WORKER`] while the work item moves bytes or keeps others from moving them,
/// and [`SOFTIRQ`] or [`PROMISED`] while a soft interrupt moves bytes.
#[derive(Debug)]
pub struct Mover<W>(W);

impl<W: TurnWord> Mover<W> {
    /// Creates a mover whose first turn is the work item's.
    pub fn new() -> Self {
        Self(W::new(WORKER))
    }

    /// Takes the turn for the work item. Returns `false` if a soft interrupt has the turn; then the
    /// next turn is the work item's, and [`Self::in_softirq`] returns `false`, so that it runs.
    #[must_use]
    pub fn begin_work(&self) -> bool {
        loop {
            match self.0.replace_acquire(NOBODY, WORKER) {
                Ok(()) => return true,
                Err(WORKER) => {
                    // A soft interrupt may have left the turn to the work item.
                    self.0.load_acquire();
                    return true;
                }
                Err(_) => (),
            }
            match self.0.replace_acquire(SOFTIRQ, PROMISED) {
                Ok(()) | Err(PROMISED) => return false,
                // The soft interrupt has finished just now.
                Err(_) => (),
            }
        }
    }

    /// Lets soft interrupts move bytes until the next turn of the work item.
    pub fn end_work(&self) {
        self.0.store_release(NOBODY);
    }

    /// Returns `true` if it is worth trying [`Self::in_softirq`]. Any context.
    pub fn is_free(&self) -> bool {
        matches!(self.0.load(), NOBODY | SOFTIRQ)
    }

    /// Returns `true` if nobody moves bytes: a callback of the socket that is called now does not come
    /// from within an attempt to move some. Any context.
    pub fn is_idle(&self) -> bool {
        self.0.load() == NOBODY
    }

    /// Takes the turn, calls `what`, gives the turn back and returns the result. Returns `false` if
    /// another holder has the turn, or if the next turn is the work item's; then the work item has
    /// to run.
    #[must_use]
    pub fn in_softirq(&self, what: impl FnOnce() -> bool) -> bool {
        if self.0.replace_acquire(NOBODY, SOFTIRQ).is_err() {
            return false;
        }
        let result = what();
        if self.0.replace_release(SOFTIRQ, NOBODY).is_err() {
            // The turn was promised.
            self.0.store_release(WORKER);
            return false;
        }
        result
    }
}

impl<W: TurnWord> Default for Mover<W> {
    fn default() -> Self {
        Self::new()
    }
}
