// SPDX-License-Identifier: GPL-2.0

//! The commands ring: requests that wait for a slot, requests that wait for their answer.
//!
//! A connection that has something to ask queues itself, with its [`Intent`]s as flags; that needs
//! no memory, so that RELEASE cannot fail. The ring has 32 slots, and each request holds one until
//! it is answered; what does not fit waits in the queue, in order.

use crate::{
    conn::Conn,
    link::Link,
    proto::{
        addr,
        Call,
        Dialect,
        Request,
        Response,
        RingRef, //
    }, //
};
use kernel::{
    list::{
        List,
        ListArc, //
    },
    prelude::*,
    sync::{
        atomic::Relaxed,
        Arc,
        ArcBorrow, //
    },
    xen::{
        event::EventChannel,
        ring::{
            FrontRing,
            SLOT,
            SLOTS, //
        }, //
    }, //
};

/// What a connection asks of the backend, in the order in which it is sent.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Intent {
    /// SOCKET: make the socket. Not waited for: CONNECT follows at once.
    Socket = 1 << 0,
    /// CONNECT.
    Connect = 1 << 1,
    /// RELEASE: the last request of a connection.
    Release = 1 << 2,
}

impl Intent {
    const ALL: [Self; 3] = [Self::Socket, Self::Connect, Self::Release];

    fn call(self, conn: &Conn) -> Option<Call> {
        let id = conn.id;
        Some(match self {
            Self::Socket => Call::Socket {
                id,
                domain: u32::from(addr::AF_INET),
                kind: crate::SOCK_STREAM,
                protocol: 0,
            },
            Self::Connect => Call::Connect {
                id,
                addr: conn.remote,
                flags: 0,
                ring: RingRef {
                    grant: conn.grant(),
                    port: conn.port()?,
                },
            },
            Self::Release => Call::Release {
                id,
                abort: conn.abort.load(Relaxed),
                reuse: false,
            },
        })
    }
}

/// A request that waits for its answer.
struct Inflight {
    req_id: u32,
    cmd: u32,
    intent: Intent,
    conn: Arc<Conn>,
}

/// An answer, ready to be passed to its connection.
pub(crate) struct Answer {
    conn: Arc<Conn>,
    intent: Intent,
    result: Result,
}

impl Answer {
    /// Passes the answer on. Hard IRQ; no lock may be held.
    pub(crate) fn deliver(self) {
        let conn = self.conn;
        match (self.intent, self.result) {
            (Intent::Socket, Ok(())) => (),
            (Intent::Socket | Intent::Connect, result) => {
                Conn::connected(conn.as_arc_borrow(), result);
            }
            // Whatever the backend says of a RELEASE, it no longer knows the connection.
            (Intent::Release, _) => return Conn::released(conn),
        }
        // Never the last reference: the link holds one until RELEASE is answered.
        drop(conn);
    }
}

/// The commands ring and its two queues. Lives under the link's lock.
pub(crate) struct Commands {
    dialect: Dialect,
    /// `None` once the link is down.
    ring: Option<FrontRing>,
    /// `None` before the link is up and after it went down.
    pub(crate) channel: Option<EventChannel<Link>>,
    waiting: List<Conn>,
    inflight: [Option<Inflight>; SLOTS as usize],
    /// Told apart from earlier uses of the same slot in `req_id`.
    generation: u32,
}

impl Commands {
    pub(crate) fn new(dialect: Dialect, ring: FrontRing) -> Self {
        Self {
            dialect,
            ring: Some(ring),
            channel: None,
            waiting: List::new(),
            inflight: [const { None }; SLOTS as usize],
            generation: 0,
        }
    }

    /// The grant of the ring's page.
    pub(crate) fn grant(&self) -> u32 {
        self.ring
            .as_ref()
            .and_then(|ring| ring.page().refs().first())
            .map_or(0, |grant| grant.as_raw())
    }

    /// Adds to what `conn` asks, and sends what there is room for.
    ///
    /// Does nothing if the link is down: the connection ends with it.
    pub(crate) fn submit(&mut self, conn: ArcBorrow<'_, Conn>, intent: Intent) {
        if self.ring.is_none() {
            return;
        }
        conn.intents
            .store(conn.intents.load(Relaxed) | intent as u32, Relaxed);
        // A connection that is queued already is sent with all its intents.
        if let Some(item) = ListArc::try_from_arc_borrow(conn) {
            self.waiting.push_back(item);
        }
        self.send();
    }

    /// Sends what is waiting, as far as there is room.
    fn send(&mut self) {
        let mut sent = false;
        while let Some(item) = self.waiting.pop_front() {
            let mut room = true;
            while let Some(intent) = next_intent(&item) {
                room = self.send_one(&item, intent);
                if !room {
                    break;
                }
                sent = true;
            }
            if !room {
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

    /// Sends one request. Returns `false` if there is no room for it.
    fn send_one(&mut self, conn: &ListArc<Conn>, intent: Intent) -> bool {
        let Some(slot) = self.inflight.iter().position(Option::is_none) else {
            return false;
        };
        let Some(ring) = self.ring.as_mut().filter(|ring| !ring.is_full()) else {
            return false;
        };
        conn.intents
            .store(conn.intents.load(Relaxed) & !(intent as u32), Relaxed);

        self.generation = self.generation.wrapping_add(1);
        let req_id = (self.generation << SLOTS.ilog2()) | slot as u32;
        let encoded = intent.call(conn).and_then(|call| {
            let request = Request { req_id, call };
            Some((call.cmd(self.dialect)?, request.encode(self.dialect)?))
        });
        let Some((cmd, bytes)) = encoded else {
            // Not reached: the port is open and the address encodable while an intent is set.
            return true;
        };
        if ring.push(&bytes).is_err() {
            return false;
        }
        if let Some(entry) = self.inflight.get_mut(slot) {
            *entry = Some(Inflight {
                req_id,
                cmd,
                intent,
                conn: conn.clone_arc(),
            });
        }
        true
    }

    /// Takes the next answer from the ring, and sends what its slot makes room for.
    ///
    /// An error says that the backend broke the rules, and that the link must end.
    pub(crate) fn next_answer(&mut self) -> Result<Option<Answer>> {
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
        let slot = response.req_id & (SLOTS - 1);
        let entry = self.inflight.get_mut(slot as usize).ok_or(EPROTO)?;
        let asked = entry
            .take_if(|i| i.req_id == response.req_id && i.cmd == response.cmd)
            .ok_or(EPROTO)?;
        // RELEASE is the last that a connection asks, and the last to be answered.
        let is_last = asked.intent != Intent::Release
            || !self
                .inflight
                .iter()
                .flatten()
                .any(|i| Arc::ptr_eq(&i.conn, &asked.conn));
        if !is_last {
            return Err(EPROTO);
        }
        let result = response.result().map_err(|errno| Error::from_errno(-errno));
        Ok(Answer {
            conn: asked.conn,
            intent: asked.intent,
            result,
        })
    }

    /// Forgets all requests, for a link that is down. The caller drops what it gets outside the
    /// lock, in process context.
    pub(crate) fn close(&mut self) -> Closed {
        Closed {
            _channel: self.channel.take(),
            _ring: self.ring.take(),
            _waiting: core::mem::replace(&mut self.waiting, List::new()),
            _inflight: core::mem::replace(&mut self.inflight, [const { None }; SLOTS as usize]),
        }
    }
}

/// What is left of a commands ring that was closed, to be dropped.
pub(crate) struct Closed {
    _channel: Option<EventChannel<Link>>,
    _ring: Option<FrontRing>,
    _waiting: List<Conn>,
    _inflight: [Option<Inflight>; SLOTS as usize],
}

fn next_intent(conn: &Conn) -> Option<Intent> {
    let intents = conn.intents.load(Relaxed);
    Intent::ALL
        .into_iter()
        .find(|intent| intents & *intent as u32 != 0)
}
