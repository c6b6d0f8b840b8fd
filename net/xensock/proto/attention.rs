// SPDX-License-Identifier: GPL-2.0

//! Decides when a frontend wants an event with an answer: only while a task waits for an answer.
//!
//! Answers that no task waits for stay in the commands ring, until an awaited answer follows them
//! or the frontend looks for itself. All of this happens under the lock of the frontend's end of
//! the ring, except the handling of the answers.
//!
//! - A task that begins to wait asks for an event before the backend sees the request. The event
//!   comes with the answer to this request, if the backend answers in the order of requests. As it
//!   need not do so, the frontend looks for itself after a while. From then on it skips none of the
//!   answers that it has waited for so long.
//! - When no more answers are found, the frontend asks for an event again, and then looks once
//!   more, as *Commands ring* in `Documentation/networking/xensock/protocol.rst` requires: no
//!   answer is lost in between.
//! - One task at a time takes answers out and passes them on, so that they are handled in their
//!   order. Another task that comes meanwhile leaves the answers to it. The first one looks once
//!   more under the lock before it ends.

/// The operations of a frontend's end of a commands ring that this needs.
pub trait Answers {
    /// The error for an impossible index of the backend.
    type Error;

    /// Asks for an event once `skip` answers and one more have arrived that were not taken out.
    fn expect_after(&mut self, skip: u32);
    /// Asks for no event.
    fn expect_none(&mut self);
    /// As [`Self::expect_after`]; then returns `true` if there is any answer.
    fn final_check_after(&mut self, skip: u32) -> Result<bool, Self::Error>;
}

/// The answers for which a frontend wants an event.
#[derive(Debug)]
pub struct Attention {
    /// Set while an event was asked for and the answers were not looked at since.
    is_expecting: bool,
    /// Set while a task takes answers out.
    is_taking: bool,
}

impl Attention {
    /// Creates the state of a new ring, which asks for an event with the first answer.
    pub const fn new() -> Self {
        Self {
            is_expecting: true,
            is_taking: false,
        }
    }

    /// Notes if a task waits for an answer now: `ahead` is the number of answers due before that
    /// one. If this is because of a request that the backend has seen, [take](Self::begin_taking)
    /// the answers then.
    pub fn note(&mut self, ahead: Option<u32>, ring: &mut impl Answers) {
        match ahead {
            Some(skip) if !self.is_expecting => ring.expect_after(skip),
            None if self.is_expecting => ring.expect_none(),
            _ => (),
        }
        self.is_expecting = ahead.is_some();
    }

    /// Begins to take answers out. Returns `false` if another task does so already; it will find
    /// the answers that are there now.
    #[must_use]
    pub fn begin_taking(&mut self) -> bool {
        !core::mem::replace(&mut self.is_taking, true)
    }

    /// Looks again when no answer was found; `ahead` is as in [`Self::note`]. Returns `true` if
    /// there is an answer by now; if not, the taking has ended. After an error the taking never
    /// ends: the link has to.
    pub fn look_again<R: Answers>(
        &mut self,
        ahead: Option<u32>,
        ring: &mut R,
    ) -> Result<bool, R::Error> {
        self.is_expecting = ahead.is_some();
        let has_answer = match ahead {
            Some(skip) => ring.final_check_after(skip)?,
            None => {
                ring.expect_none();
                false
            }
        };
        self.is_taking = has_answer;
        Ok(has_answer)
    }
}

impl Default for Attention {
    fn default() -> Self {
        Self::new()
    }
}
