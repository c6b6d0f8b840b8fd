// SPDX-License-Identifier: GPL-2.0

//! The commands ring, requests that wait for a slot, and requests that wait for their response.
//!
//! The ring has 32 slots. Each request holds a slot until it is answered. Requests that do not fit
//! wait in queues, those of each user in order; users take turns. An [`Exchange`] is allocated
//! before it is submitted, and the exchange of RELEASE together with its socket. So a request from
//! an interrupt handler can neither fail nor sleep.
//!
//! The backend is asked for an event only while a task waits for a response, or a request for a
//! slot. The other responses are taken with that event, or when the link
//! [flushes](Commands::flush) the ring. Only one context at a time takes responses and delivers
//! them, so that recipients see them in order.

mod exchange;
mod polls;
mod queue;
mod responses;

pub(crate) use exchange::{
    address,
    wire_error,
    Exchange,
    Priority,
    Recipient, //
};
pub(crate) use responses::ReadyResponse;

use crate::{
    counters::Counters,
    proto::{
        attention::Attention,
        Call,
        Dialect,
        Request, //
    },
    quirks::{
        self,
        Quirks, //
    }, //
};
use kernel::{
    list::ListArc,
    prelude::*,
    sync::Arc,
    xen::{
        event::{
            EventChannel,
            Handler, //
        },
        ring::{
            FrontRing,
            SLOTS, //
        },
        trace::xensock_front as trace, //
    }, //
};
use queue::RequestQueue;

/// The notification of the backend that there are requests.
pub(crate) trait Notify: Send {
    /// Notifies the backend. Any context.
    fn notify(&self);
}

impl<T: Handler> Notify for EventChannel<T> {
    fn notify(&self) {
        EventChannel::notify(self);
    }
}

/// A request that was sent and waits for its response.
struct Inflight {
    req_id: u32,
    cmd: u32,
    /// Sequence number of the request.
    number: u64,
    /// A task waits for the response, or its wait has expired.
    is_awaited: bool,
    exchange: Arc<Exchange>,
}

/// Number of requests in flight from which on each further request is sent as
/// [`Priority::Awaited`]. More responses left in the ring would leave no slots for other requests.
const MAX_UNAWAITED: usize = SLOTS as usize / 2;

/// RELEASE exchanges that are not answered, by their slots or those that they wait for.
pub(crate) type Releases = [Option<Arc<Exchange>>; SLOTS as usize];

/// The commands ring and its queue. Protected by the transport's lock.
pub(crate) struct Commands {
    dialect: Dialect,
    quirks: &'static dyn Quirks,
    /// `None` once the link is down.
    ring: Option<FrontRing>,
    /// `None` before the link is up and after it went down.
    pub(crate) channel: Option<KBox<dyn Notify>>,
    waiting: RequestQueue,
    inflight: [Option<Inflight>; SLOTS as usize],
    /// A POLL that ended with its listening socket.
    ended: Option<ReadyResponse>,
    /// Number of requests sent.
    sent: u64,
    /// Set if the ring has requests that the backend has to see now.
    must_publish: bool,
    /// Decides which responses bring an event.
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
            waiting: RequestQueue::new(),
            inflight: [const { None }; SLOTS as usize],
            ended: None,
            sent: 0,
            must_publish: false,
            attention: Attention::new(),
            counters,
        }
    }

    /// Returns the grant reference of the ring's page.
    pub(crate) fn grant(&self) -> u32 {
        self.ring
            .as_ref()
            .and_then(|ring| ring.page().refs().first())
            .map_or(0, |grant| grant.as_raw())
    }

    /// Returns `true` until the link goes down.
    pub(crate) fn is_open(&self) -> bool {
        self.ring.is_some()
    }

    /// Queues an exchange, and sends queued requests while the ring has free slots. `recipient` is
    /// notified of the response.
    ///
    /// Returns `false` if the link is down: there will be no response.
    pub(crate) fn submit(
        &mut self,
        exchange: &Arc<Exchange>,
        recipient: Option<Arc<dyn Recipient>>,
        priority: Priority,
    ) -> bool {
        if self.ring.is_none() {
            return false;
        }
        // This always succeeds: an exchange is submitted once.
        if let Ok(item) = ListArc::try_from_arc(exchange.clone()) {
            *exchange.recipient.access_mut(self) = recipient;
            *exchange.priority.access_mut(self) = priority;
            self.waiting.push(item);
            self.send();
        }
        true
    }

    /// Sends queued requests while the ring has free slots.
    fn send(&mut self) {
        while let Some(item) = self.waiting.pop() {
            if self.must_wait(item.call()) {
                self.waiting.set_aside(item);
            } else if let Some(request) = self.send_one(&item) {
                let slot = request.req_id & (SLOTS - 1);
                if let Some(entry) = self.inflight.get_mut(slot as usize) {
                    *entry = Some(request);
                }
            } else {
                self.waiting.put_back(item);
                break;
            }
        }
        self.ask_for_event();
        if self.must_publish {
            self.publish();
        }
    }

    /// Publishes the requests in the ring, and notifies the backend if necessary.
    pub(crate) fn publish(&mut self) {
        self.must_publish = false;
        if self.ring.as_mut().is_some_and(FrontRing::publish) {
            if let Some(channel) = &self.channel {
                channel.notify();
            }
        }
    }

    /// Returns the number of responses expected before the next one that needs an event: one that a
    /// task waits for, or any while requests wait for a slot. Returns `None` if no response needs
    /// one.
    fn ahead(&self) -> Option<u32> {
        let sent = || self.inflight.iter().flatten();
        let awaited = sent().filter(|i| i.is_awaited).map(|i| i.number).min();
        match awaited {
            // OVERFLOW: There are at most `SLOTS` requests.
            Some(first) => Some(sent().filter(|i| i.number < first).count() as u32),
            None => (!self.waiting.is_empty()).then_some(0),
        }
    }

    /// Asks for an event with the next response that needs one, if any.
    fn ask_for_event(&mut self) {
        let ahead = self.ahead();
        if let Some(ring) = self.ring.as_mut() {
            self.attention.set_awaited(ahead, ring);
        }
    }

    /// Publishes all requests, and asks for an event with each response. The caller has to take the
    /// responses that have arrived already.
    pub(crate) fn flush(&mut self) {
        for request in self.inflight.iter_mut().flatten() {
            request.is_awaited = true;
        }
        self.must_publish = true;
        self.send();
    }

    /// Puts one request into the ring, if the ring has a free slot.
    fn send_one(&mut self, item: &ListArc<Exchange>) -> Option<Inflight> {
        let slot = self.inflight.iter().position(Option::is_none)?;
        let call = item.call();
        let ring = self.ring.as_mut().filter(|ring| !ring.is_full())?;
        let number = self.sent;
        // The slot number, with a sequence number that tells its uses apart.
        let req_id = ((number as u32) << SLOTS.ilog2()) | slot as u32;

        ring.push(&Request { req_id, call }.encode(self.dialect)?)
            .ok()?;
        self.counters.count_request(call.command());
        trace::request(req_id, call.command().name(), call.id());
        self.sent += 1;
        // A request that may have waited behind others is not delayed further.
        let count = self.inflight.iter().flatten().count();
        let priority = if count < MAX_UNAWAITED && self.quirks.releases_accepting() {
            *item.priority.access(self)
        } else {
            Priority::Awaited
        };
        self.must_publish |= priority != Priority::Deferred;
        Some(Inflight {
            req_id,
            cmd: call.cmd(self.dialect)?,
            number,
            is_awaited: priority == Priority::Awaited,
            exchange: item.clone_arc(),
        })
    }

    /// Returns the RELEASE exchanges that were sent and are not answered, and those of listening
    /// sockets that wait for an ACCEPT.
    pub(crate) fn releases(&self) -> Releases {
        self.inflight.each_ref().map(|entry| {
            let exchange = &entry.as_ref()?.exchange;
            match exchange.call() {
                Call::Release { .. } => Some(exchange.clone()),
                Call::Accept { id, .. } => self.waiting.aside_of(id),
                _ => None,
            }
        })
    }

    /// Takes the ring and its channel out, for a link that goes down. The caller drops them without
    /// the lock, in process context.
    pub(crate) fn close(&mut self) -> (Option<KBox<dyn Notify>>, Option<FrontRing>) {
        self.waiting.resume();
        (self.channel.take(), self.ring.take())
    }
}

/// Returns `true` if a call concerns this socket. An ACCEPT concerns two sockets.
fn concerns(call: &Call, id: u64) -> bool {
    call.id() == id || matches!(call, Call::Accept { id_new, .. } if *id_new == id)
}
