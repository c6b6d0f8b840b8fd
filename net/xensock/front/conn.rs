// SPDX-License-Identifier: GPL-2.0

//! A connection: its data ring and its notifier. A datagram socket also has one, for all of its
//! peers.

mod content;
mod establishment;
mod events;
mod groups;
mod growth;
mod membership;
mod patience;
mod receive_queue;
mod send_queue;
mod state;
mod termination;
mod urgent;

pub(crate) use send_queue::{
    push,
    put,
    Corked,
    Part,
    Target, //
};

use crate::{
    addresses::any,
    budget,
    commands::{
        address,
        Exchange,
        Recipient, //
    },
    conn_ring::ConnRing,
    proto::{
        ring::Order,
        shortage::Shortage,
        urgent::UrgentIn,
        Call,
        Response, //
    },
    remote_socket::RemoteSocket, //
};
use content::Content;
use core::net::SocketAddr;
use events::Events;
use growth::{
    Growth,
    GROWTH, //
};
use kernel::{
    impl_has_delayed_work,
    impl_has_work,
    net::sock::Sock,
    new_delayed_work,
    new_mutex,
    new_spinlock,
    new_spinlock_irq,
    new_work,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        Arc,
        Mutex,
        SetOnce,
        SpinLock,
        SpinLockIrq, //
    },
    types::ScopeGuard,
    workqueue::{
        DelayedWork,
        Work, //
    }, //
};
use patience::PATIENCE;
use receive_queue::ReceiveQueue;
use state::{
    ConnState,
    Phase, //
};

/// A connection not yet requested from the backend. Dropping the guard ends it.
pub(crate) type UnusedConn = ScopeGuard<Arc<Conn>, fn(Arc<Conn>)>;

/// A connection.
///
/// Created by `connect()`, ahead of `accept()`, or for a datagram socket. Its
/// [`Link`](crate::link::Link) has it as a member until its memory is no longer shared. The socket
/// keeps it in memory as long as it may read from the ring.
#[pin_data]
pub(crate) struct Conn {
    /// The backend's socket of the connection.
    pub(crate) remote: RemoteSocket,
    pub(crate) ring: Arc<ConnRing>,
    /// The phase of the connection and its socket.
    #[pin]
    state: SpinLockIrq<ConnState>,
    content: Content,
    pub(crate) local: SetOnce<SocketAddr>,
    pub(crate) peer: SetOnce<SocketAddr>,
    /// The ACCEPT request. In PV Calls it is sent when the response to POLL reports a connection.
    pub(crate) accept: SetOnce<Arc<Exchange>>,
    /// SHUTDOWN of a stream, if the dialect has it. Allocated in advance, so that the end of sending
    /// cannot fail.
    shutdown: Option<Arc<Exchange>>,
    /// Serialises the consumers of the ring. Held while they copy.
    #[pin]
    pub(crate) rx: Mutex<()>,
    /// Serialises the producers of the ring. Protects the datagram that was begun and is not
    /// produced yet.
    #[pin]
    pub(crate) tx: Mutex<Option<Corked>>,
    /// Errno if the connection has ended for a reason other than the ring's own error words.
    /// Changed under `state`; waiting tasks read it without the lock.
    dead: Atomic<i32>,
    #[pin]
    events: Events,
    /// Received frames of a datagram socket.
    #[pin]
    receive_queue: SpinLockIrq<ReceiveQueue>,
    /// Errno of a datagram that the backend could not send, for the next call that sends, or 0.
    send_error: Atomic<i32>,
    /// The groups that a datagram socket has yet to join again.
    #[pin]
    joins: SpinLock<KVec<Arc<Exchange>>>,
    /// The urgent byte of a stream.
    #[pin]
    urgent: SpinLockIrq<UrgentIn>,
    /// Set once the listener has withdrawn the posted connection: if it fails, no task is woken.
    is_withdrawn: Atomic<bool>,
    /// Set once the program wants to receive nothing more. The socket's own flag is also set when
    /// nothing more will come. `recv()` reads it without a lock.
    is_unwanted: Atomic<bool>,
    /// Set once a read has reported the orderly end of the stream. Not in the socket, which another
    /// thread may have connected again by then.
    is_end_read: Atomic<bool>,
    /// Set once a read has waited long enough for the bytes before a failure: nothing more will
    /// come.
    is_given_up: Atomic<bool>,
    /// Set if an option was set that the backend may not have seen, see
    /// [`Priority::Deferred`](crate::commands::Priority::Deferred). `send()` reads it without a
    /// lock.
    has_deferred: Atomic<bool>,
    #[pin]
    growth: Growth,
    #[pin]
    growing: Work<Conn, GROWTH>,
    #[pin]
    teardown: Work<Conn>,
    /// Resets a closed connection if the backend takes none of the bytes that were sent.
    #[pin]
    patience: DelayedWork<Conn, PATIENCE>,
}

impl_has_work! {
    impl HasWork<Self> for Conn { self.teardown }
    impl HasWork<Self, GROWTH> for Conn { self.growing }
}
impl_has_delayed_work! {
    impl HasDelayedWork<Self, PATIENCE> for Conn { self.patience }
}

/// Largest first transmission, in bytes, that TCP sends at once: it fits into one or two packets.
const MAX_FIRST: u32 = 1024;

/// Value of `Conn::dead` while the connection is alive.
const ALIVE: i32 = 0;

impl Conn {
    /// Sets up the ring and the notifier of a connection of `sk`. May sleep.
    ///
    /// The ring has a smaller order if the guest has many connections, see
    /// [`Share`](crate::budget::Share).
    pub(crate) fn new(remote: RemoteSocket, sk: &Sock, order: Order) -> Result<UnusedConn> {
        Self::make(remote, sk, order, Content::Bytes, Phase::Connecting)
    }

    /// As [`Self::new`], for a connection that `sk` will accept later.
    pub(crate) fn posted(remote: RemoteSocket, sk: &Sock, order: Order) -> Result<UnusedConn> {
        Self::make(remote, sk, order, Content::Bytes, Phase::Posted)
    }

    /// As [`Self::new`], for a datagram socket.
    pub(crate) fn datagram(remote: RemoteSocket, sk: &Sock, order: Order) -> Result<UnusedConn> {
        let phase = Phase::Open { has_failed: false };
        Self::make(remote, sk, order, Content::Frames, phase)
    }

    /// Sets up a connection, whose memory the memory cgroup of `sk` pays for: a listener's work item
    /// sets connections up, too.
    ///
    /// If this fails, waits killably until the backend has closed `remote`, unless the connection
    /// is posted: a program that tries again and again would otherwise queue requests without end.
    fn make(
        remote: RemoteSocket,
        sk: &Sock,
        order: Order,
        content: Content,
        phase: Phase,
    ) -> Result<UnusedConn> {
        let release = (phase != Phase::Posted).then(|| remote.release_exchange());
        let made = sk.with_memcg(|| Self::make_charged(remote, sk, order, content, phase));
        made.inspect_err(|_| {
            if let Some(release) = release {
                let _ = release.wait();
            }
        })
    }

    fn make_charged(
        remote: RemoteSocket,
        sk: &Sock,
        order: Order,
        content: Content,
        phase: Phase,
    ) -> Result<UnusedConn> {
        let link = remote.link.clone();
        let owner = remote.owner;
        let shutdown = content.shutdown(&remote)?;
        let ring = content.new_ring(&link, sk, owner, order);
        let ring = ring.inspect_err(|error| match *error {
            // There are no grants for even the smallest ring.
            ENOBUFS => link.note_shortage(budget::shortage(owner, Order::MIN)),
            // The grant table is full: others have taken what the budget leaves.
            ENOSPC => link.note_shortage(Shortage::OfAll),
            // Usually the memory cgroup of the socket is full, which is no reason for other users
            // to give anything back.
            ENOMEM => link.note_shortage(Shortage::OfUser(owner)),
            _ => (),
        })?;
        if ring.order() < order {
            // Shrink grown rings before grants run out: they have no more right to grants than
            // others.
            link.note_shortage(budget::shortage(owner, order));
        }
        let held = ScopeGuard::new_with_data(ring.clone(), |ring| ring.give_up(&link));

        let conn = Arc::pin_init(
            try_pin_init!(Self {
                remote,
                ring,
                state <- new_spinlock_irq!(ConnState { phase, sk: sk.into() }, "xensock_conn"),
                content,
                local: SetOnce::new(),
                peer: SetOnce::new(),
                accept: SetOnce::new(),
                shutdown,
                rx <- new_mutex!((), "xensock_rx"),
                tx <- new_mutex!(None, "xensock_tx"),
                dead: Atomic::new(ALIVE),
                events <- Events::new(),
                receive_queue <- new_spinlock_irq!(ReceiveQueue::default(), "xensock_receive"),
                send_error: Atomic::new(0),
                joins <- new_spinlock!(KVec::new(), "xensock_joins"),
                urgent <- new_spinlock_irq!(UrgentIn::default(), "xensock_urgent"),
                is_withdrawn: Atomic::new(false),
                is_unwanted: Atomic::new(false),
                is_end_read: Atomic::new(false),
                is_given_up: Atomic::new(false),
                has_deferred: Atomic::new(false),
                growth <- Growth::new(),
                growing <- new_work!("xensock_growth"),
                teardown <- new_work!("xensock_teardown"),
                patience <- new_delayed_work!("xensock_patience"),
            }),
            GFP_KERNEL_ACCOUNT,
        )?;
        held.dismiss();
        Ok(ScopeGuard::new_with_data(conn, Self::discard))
    }

    /// Sends the request that begins the connection, with the connection as recipient of the
    /// response. Then connects the ring's events to the connection. Not earlier: the backend may
    /// know the ring from another connection, and RELEASE must not be sent before the request.
    pub(crate) fn begin(this: Arc<Self>, exchange: &Arc<Exchange>) {
        this.remote.link.submit(exchange, Some(this.clone()));
        let ring = this.ring.clone();
        ring.connect(this);
    }

    /// Notifies the backend that indexes of the ring have changed.
    pub(crate) fn notify(&self) {
        self.ring.notify();
    }

    /// Returns `true` for the connection of a datagram socket.
    pub(crate) fn is_datagram(&self) -> bool {
        self.content == Content::Frames
    }

    /// Stores the addresses of the connection in the socket. Any context.
    fn set_names(&self, sk: &Sock) {
        let unknown = any(self.remote.domain);
        let local = self.local.copy().or(self.remote.local);
        let peer = self.peer.copy();
        sk.set_names(&local.unwrap_or(unknown), &peer.unwrap_or(unknown));
    }

    /// Returns the largest number of bytes that a call may wait for. The backend fills a full ring
    /// again once a quarter of the ring is free, so more bytes may never be there at once.
    pub(crate) fn max_wait(&self) -> usize {
        self.rx_capacity() as usize / 2
    }

    /// Returns `true` once anything was sent.
    pub(crate) fn has_sent(&self) -> bool {
        self.ring.produced() != 0
    }

    /// Notes that an option was deferred, before anything was sent.
    pub(crate) fn set_deferred(&self) {
        self.has_deferred.store(true, Release);
    }

    /// Publishes deferred options to the backend, unless they do not matter for the next `len`
    /// bytes to send. They do not if these bytes are the first and short: TCP sends them at once
    /// even without TCP_NODELAY.
    pub(crate) fn publish_deferred(&self, len: u32) {
        let is_subject = self.has_sent() || len > MAX_FIRST;
        if self.has_deferred.load(Acquire) && is_subject {
            self.has_deferred.store(false, Release);
            self.remote.link.publish_deferred();
        }
    }

    /// Notes that the program wants to receive nothing more than what has arrived.
    pub(crate) fn set_unwanted(&self) {
        self.is_unwanted.store(true, Release);
    }

    /// Returns `true` once the program wants to receive nothing more.
    pub(crate) fn is_unwanted(&self) -> bool {
        self.is_unwanted.load(Acquire)
    }

    /// Notes that a read has reported the orderly end of the stream.
    pub(crate) fn set_end_read(&self) {
        self.is_end_read.store(true, Relaxed);
    }

    /// Returns `true` once a read has reported the orderly end of the stream.
    pub(crate) fn is_end_read(&self) -> bool {
        self.is_end_read.load(Relaxed)
    }

    /// Notes that reads need not wait any more for the bytes before a failure.
    pub(crate) fn give_up_rest(&self) {
        self.is_given_up.store(true, Relaxed);
    }

    /// Returns `true` once reads need not wait for the bytes before a failure.
    pub(crate) fn is_rest_given_up(&self) -> bool {
        self.is_given_up.load(Relaxed)
    }

    /// Returns the error that ended the connection, other than the ring's error words.
    pub(crate) fn death(&self) -> Option<Error> {
        match self.dead.load(Acquire) {
            ALIVE => None,
            errno => Some(Error::from_errno(-errno)),
        }
    }
}

impl Recipient for Conn {
    fn id(&self) -> u64 {
        self.remote.id
    }

    fn handle_response(self: Arc<Self>, call: Call, response: &Result<Response>) {
        let outcome = response.as_ref().map(address).map_err(|error| *error);
        match call {
            // Whatever the response to RELEASE is, the backend no longer knows the connection.
            Call::Release { .. } => Self::released(self),
            Call::Grow { way, .. } | Call::Shrink { way, .. } => {
                Self::resized(&self, way, outcome.map(|_| ()));
            }
            Call::Poll { .. } => {
                Self::handle_poll_response(self.as_arc_borrow(), outcome.map(|_| ()))
            }
            _ => Self::handle_connect_response(self.as_arc_borrow(), outcome),
        }
    }
}
