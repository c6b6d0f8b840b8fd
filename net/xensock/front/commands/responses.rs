// SPDX-License-Identifier: GPL-2.0

//! The responses in the commands ring: each is matched with its request, and ready for delivery.

use super::{
    concerns,
    polls,
    wire_error,
    Commands,
    Exchange,
    Inflight,
    Recipient, //
};
use crate::proto::{
    attention::Responses,
    Call,
    Response, //
};
use kernel::{
    prelude::*,
    sync::Arc,
    xen::{
        ring::{
            FrontRing,
            SLOT,
            SLOTS, //
        },
        trace::xensock_front as trace, //
    }, //
};

impl Responses for FrontRing {
    type Error = Error;

    fn request_event_after(&mut self, skip: u32) {
        FrontRing::request_event_after(self, skip);
    }

    fn request_no_event(&mut self) {
        FrontRing::request_no_event(self);
    }

    fn final_check_after(&mut self, skip: u32) -> Result<bool> {
        FrontRing::final_check_after(self, skip)
    }
}

/// A response, ready to be delivered.
pub(crate) struct ReadyResponse {
    exchange: Arc<Exchange>,
    recipient: Option<Arc<dyn Recipient>>,
    outcome: Result<Response>,
}

impl ReadyResponse {
    /// Delivers the response. Any context; no lock may be held.
    pub(crate) fn deliver(self) {
        if let Some(recipient) = self.recipient {
            // Dropping this reference frees nothing: the link holds one until RELEASE is answered.
            recipient.handle_response(self.exchange.call(), &self.outcome);
        }
        self.exchange.finish(self.outcome);
    }
}

impl Commands {
    /// Begins to take responses from the ring, until it is empty. Returns `false` if another
    /// context is taking responses; that context then takes those that have arrived by now as well.
    pub(crate) fn begin_taking(&mut self) -> bool {
        self.attention.begin_taking()
    }

    /// Takes the next response from the ring, and sends queued requests while the ring has free
    /// slots.
    ///
    /// An error means that the backend broke the rules, and that the link must end.
    pub(crate) fn next_response(&mut self) -> Result<Option<ReadyResponse>> {
        if let Some(ended) = self.ended.take() {
            return Ok(Some(ended));
        }
        loop {
            let ahead = self.ahead();
            let Some(ring) = self.ring.as_mut() else {
                return Ok(None);
            };
            let Some(bytes) = ring.pop()? else {
                if self.attention.look_again(ahead, ring)? {
                    continue;
                }
                return Ok(None);
            };
            let ready = self.match_request(&bytes)?;
            self.send();
            return Ok(Some(ready));
        }
    }

    /// Matches a response with its request.
    fn match_request(&mut self, bytes: &[u8; SLOT]) -> Result<ReadyResponse> {
        let response = Response::decode(self.dialect, bytes).map_err(|_| EPROTO)?;
        let slot = (response.req_id & (SLOTS - 1)) as usize;
        let entry = self.inflight.get(slot).and_then(Option::as_ref);
        let (number, call) = entry
            .filter(|i| i.req_id == response.req_id && i.cmd == response.cmd)
            .map(|i| (i.number, i.exchange.call()))
            .ok_or(EPROTO)?;
        // A request that is answered against the rules stays in its slot, and ends with the link.
        if let Call::Release { id, .. } = call {
            self.check_last(id, number)?;
            self.forget_recipient(id);
        }
        let entry = self.inflight.get_mut(slot).and_then(Option::take);
        let exchange = entry.ok_or(EPROTO)?.exchange;
        if polls::is_accept(call) {
            self.waiting.resume();
        }
        let result = response.result(self.dialect).map_err(wire_error);
        self.counters.count_response(result);
        trace::response(response.req_id, call.command().name(), call.id(), result);
        Ok(self.complete(exchange, result.map(|()| response)))
    }

    /// Checks that all requests of a socket that were sent before its RELEASE are answered. A POLL
    /// that is never answered is ended instead. Fails with `EPROTO`.
    fn check_last(&mut self, id: u64, number: u64) -> Result {
        let is_left = |i: &Inflight| i.number < number && concerns(&i.exchange.call(), id);
        let mut entries = self.inflight.iter();
        if let Some(slot) = entries.position(|entry| entry.as_ref().is_some_and(is_left)) {
            self.ended = Some(self.end_poll(slot).ok_or(EPROTO)?);
        }
        Ok(())
    }

    pub(super) fn complete(
        &mut self,
        exchange: Arc<Exchange>,
        outcome: Result<Response>,
    ) -> ReadyResponse {
        ReadyResponse {
            recipient: exchange.recipient.access_mut(self).take(),
            exchange,
            outcome,
        }
    }

    /// Takes one of the exchanges that have no response because the ring is closed.
    pub(crate) fn next_unanswered(&mut self) -> Option<ReadyResponse> {
        if let Some(ended) = self.ended.take() {
            return Some(ended);
        }
        let exchange = match self.waiting.pop() {
            Some(item) => item.into_arc(),
            None => self.inflight.iter_mut().find_map(Option::take)?.exchange,
        };
        Some(self.complete(exchange, Err(ENETDOWN)))
    }
}
