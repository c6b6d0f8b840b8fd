// SPDX-License-Identifier: GPL-2.0

//! The commands ring: requests that wait for a slot, requests that wait for their answer.
//!
//! The ring has 32 slots, and each request holds one until it is answered; what does not fit waits
//! in a queue, in order. An [`Exchange`] is made before it is submitted, and that of RELEASE with
//! its socket: what an interrupt handler has to ask can neither fail nor sleep.

mod exchange;
mod polls;

pub(crate) use exchange::{
    address,
    wire_error,
    Exchange,
    Recipient, //
};

use crate::{
    counters::Counters,
    proto::{
        Call,
        Dialect,
        Request,
        Response, //
    },
    quirks::{
        self,
        Quirks, //
    }, //
};
use kernel::{
    list::{
        List,
        ListArc, //
    },
    prelude::*,
    sync::Arc,
    xen::{
        event::{
            EventChannel,
            Handler, //
        },
        ring::{
            FrontRing,
            SLOT,
            SLOTS, //
        },
        trace::xensock_front as trace, //
    }, //
};

/// How the backend is told that there are requests.
pub(crate) trait Notify: Send {
    /// Tells it. Any context.
    fn notify(&self);
}

impl<T: Handler> Notify for EventChannel<T> {
    fn notify(&self) {
        EventChannel::notify(self);
    }
}

/// A request that waits for its answer.
struct Inflight {
    req_id: u32,
    cmd: u32,
    /// The how manyth request it is.
    number: u64,
    exchange: Arc<Exchange>,
}

/// Exchanges that are under way, by their slots.
pub(crate) type Releases = [Option<Arc<Exchange>>; SLOTS as usize];

/// An answer, ready to be passed on.
pub(crate) struct Answer {
    exchange: Arc<Exchange>,
    recipient: Option<Arc<dyn Recipient>>,
    outcome: Result<Response>,
}

impl Answer {
    /// Passes the answer on. Any context; no lock may be held.
    pub(crate) fn deliver(self) {
        if let Some(recipient) = self.recipient {
            // Of those that are dropped there, none is the last reference: the link holds one until
            // RELEASE is answered.
            recipient.hear(self.exchange.call(), &self.outcome);
        }
        self.exchange.finish(self.outcome);
    }
}

/// The commands ring and its queue. Lives under the transport's lock.
pub(crate) struct Commands {
    dialect: Dialect,
    quirks: &'static dyn Quirks,
    /// `None` once the link is down.
    ring: Option<FrontRing>,
    /// `None` before the link is up and after it went down.
    pub(crate) channel: Option<KBox<dyn Notify>>,
    waiting: List<Exchange>,
    inflight: [Option<Inflight>; SLOTS as usize],
    /// A POLL that ended with its listening socket.
    ended: Option<Answer>,
    /// How many requests were sent.
    sent: u64,
    counters: Arc<Counters>,
}

impl Commands {
    pub(crate) fn new(dialect: Dialect, ring: FrontRing, counters: Arc<Counters>) -> Self {
        Self {
            dialect,
            quirks: quirks::of(dialect),
            ring: Some(ring),
            channel: None,
            waiting: List::new(),
            inflight: [const { None }; SLOTS as usize],
            ended: None,
            sent: 0,
            counters,
        }
    }

    /// The grant of the ring's page.
    pub(crate) fn grant(&self) -> u32 {
        self.ring
            .as_ref()
            .and_then(|ring| ring.page().refs().first())
            .map_or(0, |grant| grant.as_raw())
    }

    /// Whether the link is up.
    pub(crate) fn is_open(&self) -> bool {
        self.ring.is_some()
    }

    /// Queues an exchange, and sends what there is room for. `recipient` will hear of the
    /// answer.
    ///
    /// Returns `false` if the link is down: there will be no answer.
    pub(crate) fn submit(
        &mut self,
        exchange: &Arc<Exchange>,
        recipient: Option<Arc<dyn Recipient>>,
    ) -> bool {
        if self.ring.is_none() {
            return false;
        }
        // It always succeeds: an exchange is submitted once.
        if let Ok(item) = ListArc::try_from_arc(exchange.clone()) {
            *exchange.recipient.access_mut(self) = recipient;
            self.waiting.push_back(item);
            self.send();
        }
        true
    }

    /// Sends what is waiting, as far as there is room.
    fn send(&mut self) {
        let mut sent = false;
        while let Some(item) = self.waiting.pop_front() {
            if let Some(request) = self.send_one(&item) {
                let slot = request.req_id & (SLOTS - 1);
                if let Some(entry) = self.inflight.get_mut(slot as usize) {
                    *entry = Some(request);
                }
                sent = true;
            } else {
                self.waiting.push_front(item);
                break;
            }
        }
        if sent && self.ring.as_mut().is_some_and(FrontRing::publish) {
            if let Some(channel) = &self.channel {
                channel.notify();
            }
        }
    }

    /// Puts one request into the ring, if there is room for it.
    fn send_one(&mut self, item: &ListArc<Exchange>) -> Option<Inflight> {
        let slot = self.inflight.iter().position(Option::is_none)?;
        let call = item.call();
        if matches!(call, Call::Release { id, .. } if self.is_accepting(id)) {
            return None;
        }
        let ring = self.ring.as_mut().filter(|ring| !ring.is_full())?;
        let number = self.sent;
        // The slot, told apart from its earlier uses.
        let req_id = ((number as u32) << SLOTS.ilog2()) | slot as u32;

        ring.push(&Request { req_id, call }.encode(self.dialect)?)
            .ok()?;
        self.counters.asked(call.command());
        trace::request(req_id, call.command().name(), call.id());
        self.sent += 1;
        Some(Inflight {
            req_id,
            cmd: call.cmd(self.dialect)?,
            number,
            exchange: item.clone_arc(),
        })
    }

    /// The RELEASEs that the backend was sent and has not answered.
    pub(crate) fn releases(&self) -> Releases {
        self.inflight.each_ref().map(|entry| {
            let exchange = &entry.as_ref()?.exchange;
            matches!(exchange.call(), Call::Release { .. }).then(|| exchange.clone())
        })
    }

    /// Takes the next answer from the ring, and sends what its slot makes room for.
    ///
    /// An error says that the backend broke the rules, and that the link must end.
    pub(crate) fn next_answer(&mut self) -> Result<Option<Answer>> {
        if let Some(ended) = self.ended.take() {
            return Ok(Some(ended));
        }
        loop {
            let Some(ring) = self.ring.as_mut() else {
                return Ok(None);
            };
            let Some(bytes) = ring.pop()? else {
                if ring.final_check()? {
                    continue;
                }
                return Ok(None);
            };
            let answer = self.accept(&bytes)?;
            self.send();
            return Ok(Some(answer));
        }
    }

    /// Matches a response with its request.
    fn accept(&mut self, bytes: &[u8; SLOT]) -> Result<Answer> {
        let response = Response::decode(self.dialect, bytes).map_err(|_| EPROTO)?;
        let slot = (response.req_id & (SLOTS - 1)) as usize;
        let asked = self.inflight.get(slot).and_then(Option::as_ref);
        let (number, call) = asked
            .filter(|i| i.req_id == response.req_id && i.cmd == response.cmd)
            .map(|i| (i.number, i.exchange.call()))
            .ok_or(EPROTO)?;
        // What is answered against the rules stays where it is, to be ended with the link.
        if let Call::Release { id, .. } = call {
            self.check_last(id, number)?;
            self.forget_recipient(id);
        }
        let asked = self.inflight.get_mut(slot).and_then(Option::take);
        let exchange = asked.ok_or(EPROTO)?.exchange;
        let result = response.result(self.dialect).map_err(wire_error);
        self.counters.answered(result);
        trace::response(response.req_id, call.command().name(), call.id(), result);
        Ok(self.answer(exchange, result.map(|()| response)))
    }

    /// Checks that all is answered that was asked of a socket before its RELEASE, but for a POLL that
    /// never will be.
    fn check_last(&mut self, id: u64, number: u64) -> Result {
        let is_left = |i: &Inflight| i.number < number && concerns(&i.exchange.call(), id);
        let mut entries = self.inflight.iter();
        if let Some(slot) = entries.position(|entry| entry.as_ref().is_some_and(is_left)) {
            self.ended = Some(self.end_poll(slot).ok_or(EPROTO)?);
        }
        Ok(())
    }

    fn answer(&mut self, exchange: Arc<Exchange>, outcome: Result<Response>) -> Answer {
        Answer {
            recipient: exchange.recipient.access_mut(self).take(),
            exchange,
            outcome,
        }
    }

    /// Takes the ring and its channel away, for a link that goes down. The caller drops what it
    /// gets outside the lock, in process context.
    pub(crate) fn close(&mut self) -> (Option<KBox<dyn Notify>>, Option<FrontRing>) {
        (self.channel.take(), self.ring.take())
    }

    /// Takes one of the exchanges that a closed ring leaves without an answer.
    pub(crate) fn next_unanswered(&mut self) -> Option<Answer> {
        if let Some(ended) = self.ended.take() {
            return Some(ended);
        }
        let exchange = match self.waiting.pop_front() {
            Some(item) => item.into_arc(),
            None => self.inflight.iter_mut().find_map(Option::take)?.exchange,
        };
        Some(self.answer(exchange, Err(ENETDOWN)))
    }
}

/// Whether a call is about this socket; an ACCEPT is about two.
fn concerns(call: &Call, id: u64) -> bool {
    call.id() == id || matches!(call, Call::Accept { id_new, .. } if *id_new == id)
}
