// SPDX-License-Identifier: GPL-2.0

//! The commands ring: requests that wait for a slot, requests that wait for their answer.
//!
//! The ring has 32 slots, and each request holds one until it is answered; what does not fit waits
//! in a queue, in order. An [`Exchange`] is made before it is submitted, and that of RELEASE with
//! its socket: what an interrupt handler has to ask can neither fail nor sleep.
//!
//! The backend is asked for an event only while somebody waits for an answer. What else was asked is
//! looked at then, or when the link [hurries](Commands::hurry). Of those who take answers out, one at
//! a time passes them on, so that they are heard in their order.

mod exchange;
mod polls;

pub(crate) use exchange::{
    address,
    wire_error,
    Exchange,
    Haste,
    Recipient, //
};

use crate::{
    counters::Counters,
    proto::{
        attention::{
            Answers,
            Attention, //
        },
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

impl Answers for FrontRing {
    type Error = Error;

    fn expect_after(&mut self, skip: u32) {
        FrontRing::expect_after(self, skip);
    }

    fn expect_none(&mut self) {
        FrontRing::expect_none(self);
    }

    fn final_check_after(&mut self, skip: u32) -> Result<bool> {
        FrontRing::final_check_after(self, skip)
    }
}

/// A request that waits for its answer.
struct Inflight {
    req_id: u32,
    cmd: u32,
    /// The how manyth request it is.
    number: u64,
    /// Somebody waits for it, or has waited long enough.
    is_awaited: bool,
    exchange: Arc<Exchange>,
}

/// As many requests that nobody waits for may be under way. With more there would be no slots for the
/// others.
const MAX_UNHEARD: usize = SLOTS as usize / 2;

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
    /// There are requests in the ring that the backend is to see now.
    is_due: bool,
    /// Which answers are to be told of.
    attention: Attention,
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
            is_due: false,
            attention: Attention::new(),
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
        haste: Haste,
    ) -> bool {
        if self.ring.is_none() {
            return false;
        }
        // It always succeeds: an exchange is submitted once.
        if let Ok(item) = ListArc::try_from_arc(exchange.clone()) {
            *exchange.recipient.access_mut(self) = recipient;
            *exchange.haste.access_mut(self) = haste;
            self.waiting.push_back(item);
            self.send();
        }
        true
    }

    /// Sends what is waiting, as far as there is room.
    fn send(&mut self) {
        while let Some(item) = self.waiting.pop_front() {
            if let Some(request) = self.send_one(&item) {
                let slot = request.req_id & (SLOTS - 1);
                if let Some(entry) = self.inflight.get_mut(slot as usize) {
                    *entry = Some(request);
                }
            } else {
                self.waiting.push_front(item);
                break;
            }
        }
        self.ask_for_event();
        if self.is_due {
            self.show();
        }
    }

    /// Has the backend see what was sent.
    pub(crate) fn show(&mut self) {
        self.is_due = false;
        if self.ring.as_mut().is_some_and(FrontRing::publish) {
            if let Some(channel) = &self.channel {
                channel.notify();
            }
        }
    }

    /// Returns how many answers are due before the first that somebody waits for, if somebody does.
    fn ahead(&self) -> Option<u32> {
        let sent = || self.inflight.iter().flatten();
        let awaited = sent().filter(|i| i.is_awaited).map(|i| i.number).min();
        match awaited {
            // OVERFLOW: There are no more than slots.
            Some(first) => Some(sent().filter(|i| i.number < first).count() as u32),
            None => (!self.waiting.is_empty()).then_some(0),
        }
    }

    /// Asks for an event with the answer that somebody waits for, if somebody does.
    fn ask_for_event(&mut self) {
        let ahead = self.ahead();
        if let Some(ring) = self.ring.as_mut() {
            self.attention.note(ahead, ring);
        }
    }

    /// Has the backend see all requests, and skips none of their answers any more. Take those that are
    /// there.
    pub(crate) fn hurry(&mut self) {
        for request in self.inflight.iter_mut().flatten() {
            request.is_awaited = true;
        }
        self.is_due = true;
        self.send();
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
        // What may have waited for others is not left any longer.
        let count = self.inflight.iter().flatten().count();
        let haste = if count < MAX_UNHEARD && self.quirks.releases_accepting() {
            *item.haste.access(self)
        } else {
            Haste::Awaited
        };
        self.is_due |= haste != Haste::Deferred;
        Some(Inflight {
            req_id,
            cmd: call.cmd(self.dialect)?,
            number,
            is_awaited: haste == Haste::Awaited,
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

    /// Begins to take answers from the ring, until there is none. Returns whether it has: nobody else
    /// may be taking them, who then takes those that are there now as well.
    pub(crate) fn begin_taking(&mut self) -> bool {
        self.attention.begin_taking()
    }

    /// Takes the next answer from the ring, and sends what its slot makes room for.
    ///
    /// An error says that the backend broke the rules, and that the link must end.
    pub(crate) fn next_answer(&mut self) -> Result<Option<Answer>> {
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
