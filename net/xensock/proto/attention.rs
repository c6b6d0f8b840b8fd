// SPDX-License-Identifier: GPL-2.0

//! Decides when a frontend wants an event with a response: only while a task waits for a response.
//!
//! Responses that no task waits for stay in the commands ring, until an awaited response follows
//! them or the frontend looks for itself. All of this happens under the lock of the frontend's end
//! of the ring, except the handling of the responses.
//!
//! - A task that begins to wait asks for an event before the backend sees the request. The event
//!   comes with the response to this request, if the backend answers in the order of requests. As
//!   it need not do so, the frontend looks for itself after a while. From then on it skips none of
//!   the responses that it has waited for so long.
//! - When no more responses are found, the frontend asks for an event again, and then looks once
//!   more, as *Commands ring* in `Documentation/networking/xensock/protocol.rst` requires: no
//!   response is lost in between.
//! - One task at a time takes responses out and passes them on, so that they are handled in their
//!   order. Another task that comes meanwhile leaves the responses to it. The first one looks once
//!   more under the lock before it ends.

/// The operations of a frontend's end of a commands ring that this needs.
pub trait Responses {
    /// The error for an impossible index of the backend.
    type Error;

    /// Asks for an event once `skip` responses and one more have arrived that were not taken out.
    fn request_event_after(&mut self, skip: u32);
    /// Asks for no event.
    fn request_no_event(&mut self);
    /// As [`Self::request_event_after`]; then returns `true` if there is any response.
    fn final_check_after(&mut self, skip: u32) -> Result<bool, Self::Error>;
}

/// The responses for which a frontend wants an event.
#[derive(Debug)]
pub struct Attention {
    /// Set while an event was asked for and the responses were not looked at since.
    is_requested: bool,
    /// Set while a task takes responses out.
    is_taking: bool,
}

impl Attention {
    /// Creates the state of a new ring, which asks for an event with the first response.
    pub const fn new() -> Self {
        Self {
            is_requested: true,
            is_taking: false,
        }
    }

    /// Notes if a task waits for a response now. `ahead` is the number of responses due before that
    /// one, or [`None`] if no task waits. If the backend saw the request before this call, the
    /// response may be there already: the caller has to [take](Self::begin_taking) responses then.
    pub fn set_awaited(&mut self, ahead: Option<u32>, ring: &mut impl Responses) {
        match ahead {
            Some(skip) if !self.is_requested => ring.request_event_after(skip),
            None if self.is_requested => ring.request_no_event(),
            _ => (),
        }
        self.is_requested = ahead.is_some();
    }

    /// Begins to take responses out. Returns `false` if another task does so already; it will find
    /// the responses that are there now.
    #[must_use]
    pub fn begin_taking(&mut self) -> bool {
        !core::mem::replace(&mut self.is_taking, true)
    }

    /// Looks again when no response was found; `ahead` is as in [`Self::set_awaited`]. Returns
    /// `true` if there is a response by now; if not, the taking has ended. After an error the
    /// taking never ends: the link has to.
    pub fn look_again<R: Responses>(
        &mut self,
        ahead: Option<u32>,
        ring: &mut R,
    ) -> Result<bool, R::Error> {
        self.is_requested = ahead.is_some();
        let has_response = match ahead {
            Some(skip) => ring.final_check_after(skip)?,
            None => {
                ring.request_no_event();
                false
            }
        };
        self.is_taking = has_response;
        Ok(has_response)
    }
}

impl Default for Attention {
    fn default() -> Self {
        Self::new()
    }
}
