// SPDX-License-Identifier: GPL-2.0

//! When a frontend wants an event with an answer: only while somebody waits for one.
//!
//! Answers that nobody waits for stay in the commands ring, until others come that somebody does wait
//! for, or until the frontend looks for itself. All of this happens under the lock of the frontend's end
//! of the ring, but for what is done with an answer.
//!
//! - Who begins to wait asks for an event before the backend sees the request: with the answer to it,
//!   if the backend answers in the order of requests. As it need not, the frontend looks for itself after
//!   a while, and from then on skips none of the answers that it has waited for so long.
//! - Whoever has found no more answers asks again, and then looks once more, as *Commands ring* in
//!   `Documentation/networking/xensock/protocol.rst` has it: no answer slips through in between.
//! - One at a time takes answers out and passes them on, so that they are heard in their order. Who
//!   comes to do that meanwhile leaves it to the other, who looks once more under the lock before it
//!   ends.

/// What a frontend's end of a commands ring does for it.
pub trait Answers {
    /// Why it fails: the index of the backend makes no sense.
    type Error;

    /// Asks for an event when `skip` more answers are there than were taken out, and another.
    fn expect_after(&mut self, skip: u32);
    /// Asks for no event.
    fn expect_none(&mut self);
    /// As [`Self::expect_after`]; then returns whether there is any answer.
    fn final_check_after(&mut self, skip: u32) -> Result<bool, Self::Error>;
}

/// What a frontend wants to hear of.
#[derive(Debug)]
pub struct Attention {
    /// An event was asked for, and answers were not looked for since.
    is_expecting: bool,
    /// Somebody takes answers out.
    is_taking: bool,
}

impl Attention {
    /// Makes that of a new ring, which asks for an event with the first answer.
    pub const fn new() -> Self {
        Self {
            is_expecting: true,
            is_taking: false,
        }
    }

    /// Notes whether somebody waits for an answer now, and how many are due before that one. If that is
    /// because of a request that the backend has seen, [take](Self::begin_taking) the answers then.
    pub fn note(&mut self, ahead: Option<u32>, ring: &mut impl Answers) {
        match ahead {
            Some(skip) if !self.is_expecting => ring.expect_after(skip),
            None if self.is_expecting => ring.expect_none(),
            _ => (),
        }
        self.is_expecting = ahead.is_some();
    }

    /// Begins to take answers out, unless somebody does, who finds those that are there now.
    #[must_use]
    pub fn begin_taking(&mut self) -> bool {
        !core::mem::replace(&mut self.is_taking, true)
    }

    /// No answer was found; `ahead` is as in [`Self::note`]. Returns whether there is one by now; if not,
    /// the taking has ended. After an error it never does: the link has to.
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
