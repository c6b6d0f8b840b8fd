// SPDX-License-Identifier: GPL-2.0

//! POLLs: listening sockets that wait for a connection before they send ACCEPT.

use super::{
    concerns,
    Commands,
    Inflight,
    ReadyResponse, //
};
use crate::proto::Call;
use kernel::{
    prelude::*,
    xen::ring::FrontRing, //
};

fn is_poll(call: Call) -> bool {
    matches!(call, Call::Poll { .. })
}

pub(super) fn is_accept(call: Call) -> bool {
    matches!(call, Call::Accept { .. })
}

impl Commands {
    /// Returns `true` if a request is a RELEASE that has to wait for the response to an ACCEPT.
    pub(super) fn must_wait(&self, call: Call) -> bool {
        let Call::Release { id, .. } = call else {
            return false;
        };
        let mut sent = self.sent_calls();
        !self.quirks.releases_accepting() && sent.any(|call| is_accept(call) && concerns(&call, id))
    }

    /// Returns `true` if a POLL of this socket waits for its response, or for a slot.
    pub(crate) fn is_polling(&self, id: u64) -> bool {
        self.is_unanswered(|call| is_poll(call) && call.id() == id)
    }

    /// Returns `true` if an ACCEPT of this listening socket waits for its response, or for a slot.
    pub(crate) fn is_accepting(&self, id: u64) -> bool {
        self.is_unanswered(|call| is_accept(call) && call.id() == id)
    }

    fn sent_calls(&self) -> impl Iterator<Item = Call> + '_ {
        self.inflight.iter().flatten().map(|i| i.exchange.call())
    }

    fn is_unanswered(&self, is_it: impl Fn(Call) -> bool) -> bool {
        self.sent_calls().any(&is_it) || self.waiting.calls().any(&is_it)
    }

    /// Returns the number of slots that are lost to POLLs that were never answered, and for whose
    /// response no exchange waits any more.
    pub(crate) fn lost_slots(&self) -> usize {
        let held = self.ring.as_ref().map_or(0, FrontRing::in_flight) as usize;
        held.saturating_sub(self.inflight.iter().flatten().count())
    }

    /// Ends the request in a slot if it is a POLL that will never be answered.
    pub(super) fn end_poll(&mut self, slot: usize) -> Option<ReadyResponse> {
        if self.quirks.answers_all() {
            return None;
        }
        let entry = self.inflight.get_mut(slot)?;
        let poll = entry.take_if(|i: &mut Inflight| is_poll(i.exchange.call()))?;
        Some(self.complete(poll.exchange, Err(ECONNABORTED)))
    }

    /// Removes a released connection as the recipient of POLLs. A handler would otherwise drop the
    /// last reference, held by the POLL.
    pub(super) fn forget_recipient(&mut self, id: u64) {
        if self.quirks.accepts_ahead() {
            return;
        }
        for slot in 0..self.inflight.len() {
            let entry = self.inflight.get(slot).and_then(Option::as_ref);
            let Some(poll) = entry.map(|i| i.exchange.clone()) else {
                continue;
            };
            let recipient = poll.recipient.access_mut(self);
            if is_poll(poll.call()) {
                // RELEASE holds another reference.
                let _ = recipient.take_if(|recipient| recipient.id() == id);
            }
        }
    }
}
