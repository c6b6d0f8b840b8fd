// SPDX-License-Identifier: GPL-2.0

//! A connection: its data ring and its event channel. A datagram socket has one too, with everybody.

mod content;
mod events;
mod growth;
mod life;
mod membership;
mod receive_queue;
mod send_queue;
mod state;
mod urgent;

pub(crate) use send_queue::{
    push,
    put,
    Corked,
    Target, //
};

use crate::{
    addresses::any,
    commands::{
        address,
        Exchange,
        Recipient, //
    },
    conn_ring::ConnRing,
    proto::{
        ring::Order,
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
    is_shortage,
    Growth,
    GROWTH, //
};
use kernel::{
    impl_has_delayed_work,
    impl_has_work,
    net::sock::Sock,
    new_delayed_work,
    new_mutex,
    new_spinlock_irq,
    new_work,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Release, //
        },
        Arc,
        Mutex,
        SetOnce,
        SpinLockIrq, //
    },
    types::ScopeGuard,
    workqueue::{
        DelayedWork,
        Work, //
    }, //
};
use life::PATIENCE;
use receive_queue::ReceiveQueue;
use state::{
    ConnState,
    Phase, //
};

/// A connection that the backend was not asked for yet: ends when it is dropped.
pub(crate) type UnusedConn = ScopeGuard<Arc<Conn>, fn(Arc<Conn>)>;

/// A connection.
///
/// Made by `connect()`, or ahead of `accept()`, or for a datagram socket; known to its
/// [`Link`](crate::link::Link) until its memory is no longer shared, and kept in memory by the socket
/// for as long as that may read from it.
#[pin_data]
pub(crate) struct Conn {
    /// The backend's end of it.
    pub(crate) remote: RemoteSocket,
    pub(crate) ring: Arc<ConnRing>,
    /// How far it has come, and whose it is.
    #[pin]
    state: SpinLockIrq<ConnState>,
    content: Content,
    pub(crate) local: SetOnce<SocketAddr>,
    pub(crate) peer: SetOnce<SocketAddr>,
    /// ACCEPT. In PV Calls it has to wait until POLL says that there is a connection.
    pub(crate) accept: SetOnce<Arc<Exchange>>,
    /// Serialises the consumers of the ring, and is held while they copy.
    #[pin]
    pub(crate) rx: Mutex<()>,
    /// Serialises the producers of the ring, with what they have put there and not produced.
    #[pin]
    pub(crate) tx: Mutex<Option<Corked>>,
    /// Why nothing more will come through the ring, other than its own error words: an errno. Changed
    /// under `state`, and read without it by those who wait.
    dead: Atomic<i32>,
    #[pin]
    events: Events,
    /// The frames that have come, of a datagram socket.
    #[pin]
    receive_queue: SpinLockIrq<ReceiveQueue>,
    /// The urgent byte, of a stream.
    #[pin]
    urgent: SpinLockIrq<UrgentIn>,
    /// The program has said that it wants to receive nothing more. The socket's own flag says also that
    /// nothing more will come. `recv()` looks at it without a lock.
    is_unwanted: Atomic<bool>,
    /// An option was set that the backend may not have seen, see
    /// [`Haste::Deferred`](crate::commands::Haste::Deferred). `send()` looks at it without a lock.
    has_deferred: Atomic<bool>,
    #[pin]
    growth: Growth,
    #[pin]
    growing: Work<Conn, GROWTH>,
    #[pin]
    teardown: Work<Conn>,
    /// Ends the wait for a backend that does not take what was sent.
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

/// Bytes that TCP sends at once, if they are the first: in a packet or two.
const MAX_FIRST: u32 = 1024;

/// What became of a connection on the guest's side, as an errno: 0 while it is alive.
const ALIVE: i32 = 0;

impl Conn {
    /// Sets up the ring and the event channel of a connection of `sk`'s. May sleep.
    ///
    /// The ring is of a smaller order if the guest has many connections, see [`Share`](crate::budget::Share).
    pub(crate) fn new(remote: RemoteSocket, sk: &Sock, order: Order) -> Result<UnusedConn> {
        Self::make(remote, sk, order, Content::Bytes, Phase::Connecting)
    }

    /// The same for a connection that `sk` is going to accept, once it has come.
    pub(crate) fn posted(remote: RemoteSocket, sk: &Sock, order: Order) -> Result<UnusedConn> {
        Self::make(remote, sk, order, Content::Bytes, Phase::Posted)
    }

    /// The same for a datagram socket.
    pub(crate) fn datagram(remote: RemoteSocket, sk: &Sock, order: Order) -> Result<UnusedConn> {
        let phase = Phase::Open { has_failed: false };
        Self::make(remote, sk, order, Content::Frames, phase)
    }

    fn make(
        remote: RemoteSocket,
        sk: &Sock,
        order: Order,
        content: Content,
        phase: Phase,
    ) -> Result<UnusedConn> {
        let link = remote.link.clone();
        let ring = content.new_ring(&link, sk, remote.owner, order);
        let ring = ring.inspect_err(|error| {
            if is_shortage(*error) {
                link.note_shortage();
            }
        })?;
        if ring.order() < order {
            // Before there is none: what has grown has no right to more than others get.
            link.note_shortage();
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
                rx <- new_mutex!((), "xensock_rx"),
                tx <- new_mutex!(None, "xensock_tx"),
                dead: Atomic::new(ALIVE),
                events <- Events::new(),
                receive_queue <- new_spinlock_irq!(ReceiveQueue::default(), "xensock_receive"),
                urgent <- new_spinlock_irq!(UrgentIn::default(), "xensock_urgent"),
                is_unwanted: Atomic::new(false),
                has_deferred: Atomic::new(false),
                growth <- Growth::new(),
                growing <- new_work!("xensock_growth"),
                teardown <- new_work!("xensock_teardown"),
                patience <- new_delayed_work!("xensock_patience"),
            }),
            GFP_KERNEL,
        )?;
        held.dismiss();
        Ok(ScopeGuard::new_with_data(conn, Self::discard))
    }

    /// Sends the request that begins the connection, of which it hears the answer; and then has it
    /// hear of events. Not before: the backend may know the ring from another one, and RELEASE must
    /// not come first.
    pub(crate) fn begin(this: Arc<Self>, exchange: &Arc<Exchange>) {
        this.remote.link.submit(exchange, Some(this.clone()));
        let ring = this.ring.clone();
        ring.connect(this);
    }

    /// Tells the backend that the ring has moved.
    pub(crate) fn notify(&self) {
        self.ring.notify();
    }

    /// Returns whether it is that of a datagram socket.
    pub(crate) fn is_datagram(&self) -> bool {
        self.content == Content::Frames
    }

    /// Notes its addresses in the socket. Any context.
    fn note_names(&self, sk: &Sock) {
        let unknown = any(self.remote.domain);
        let local = self.local.copy().or(self.remote.local);
        let peer = self.peer.copy();
        sk.note_names(&local.unwrap_or(unknown), &peer.unwrap_or(unknown));
    }

    /// What a call may wait for at most: the backend comes back to a full ring once a quarter of
    /// it is free, so that more may never be there at once.
    pub(crate) fn max_wait(&self) -> usize {
        self.ring.rx_size() as usize / 2
    }

    /// Returns whether anything was sent.
    pub(crate) fn has_sent(&self) -> bool {
        self.ring.produced() != 0
    }

    /// Notes that an option was deferred, before anything was sent.
    pub(crate) fn set_deferred(&self) {
        self.has_deferred.store(true, Release);
    }

    /// Has the backend see what options were set, unless what is sent now, with `len` bytes, is not
    /// subject to them: what TCP has to send is not held back for want of TCP_NODELAY if it is the first
    /// and goes in one piece.
    pub(crate) fn show_deferred(&self, len: u32) {
        let is_subject = self.has_sent() || len > MAX_FIRST;
        if self.has_deferred.load(Acquire) && is_subject {
            self.has_deferred.store(false, Release);
            self.remote.link.show_deferred();
        }
    }

    /// Notes that the program wants to receive nothing more than what there is.
    pub(crate) fn set_unwanted(&self) {
        self.is_unwanted.store(true, Release);
    }

    /// Whether the program wants to receive nothing more.
    pub(crate) fn is_unwanted(&self) -> bool {
        self.is_unwanted.load(Acquire)
    }

    /// The errno for which nothing more comes through the ring, besides what its error words say.
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

    fn hear(self: Arc<Self>, call: Call, answer: &Result<Response>) {
        let outcome = answer.as_ref().map(address).map_err(|error| *error);
        match call {
            // Whatever the backend says of a RELEASE, it no longer knows the connection.
            Call::Release { .. } => Self::released(self),
            Call::Grow { way, .. } | Call::Shrink { way, .. } => {
                Self::resized(&self, way, outcome.map(|_| ()));
            }
            Call::Poll { .. } => Self::announced(self.as_arc_borrow(), outcome.map(|_| ())),
            _ => Self::answered(self.as_arc_borrow(), outcome),
        }
    }
}
