// SPDX-License-Identifier: GPL-2.0

//! A connection: its data ring, its event channel, and its life from CONNECT to RELEASE.

use crate::{
    commands::Intent,
    link::Link,
    proto::{
        errno::Ending,
        indexes,
        ring::Order, //
    },
    ring::{
        DataRing,
        End, //
    }, //
};
use core::net::SocketAddr;
use kernel::{
    impl_has_delayed_work,
    impl_has_work,
    list::{
        impl_list_arc_safe,
        impl_list_item,
        AtomicTracker,
        ListLinks,
        TryNewListArc, //
    },
    net::sock::{
        Shutdown,
        Sock,
        TcpState, //
    },
    new_delayed_work,
    new_mutex,
    new_spinlock_irq,
    new_work,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        Arc,
        ArcBorrow,
        Mutex,
        SpinLockIrq, //
    },
    time::{
        msecs_to_jiffies,
        Msecs, //
    },
    workqueue::{
        owned::cancel_delayed_sync,
        DelayedWork,
        Work,
        WorkItem, //
    },
    xen::{
        event::{
            Eoi,
            EventChannel,
            Handler, //
        },
        grant::GrantedPages, //
    }, //
};

/// Who looks after a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// A socket: the program is told what happens.
    Socket,
    /// Nobody: the socket was closed, and what it sent still waits for the backend.
    Draining,
    /// The backend: RELEASE was asked for, or the link is down.
    Backend,
}

/// What the backend was asked to notify us of.
struct Asked {
    /// The backend's index when the socket was last told that data came. Whoever asks anew may
    /// have overwritten the wish of another to hear of what came since, and passes it on.
    told: u32,
    /// The socket was told that nothing more will come: after a reset, that may be later than the
    /// news that nothing more can be sent.
    told_end: bool,
    /// A sender, or a program that polls, waits for room.
    wants_room: bool,
}

/// What became of a connection on the guest's side, as an errno: 0 while it is alive.
const ALIVE: i32 = 0;

/// A connection.
///
/// Made by `connect()`, known to its [`Link`] until its memory is no longer shared, and kept in
/// memory by the socket for as long as that may read from it.
#[pin_data]
pub(crate) struct Conn {
    pub(crate) link: Arc<Link>,
    /// The handle that names it on the wire.
    pub(crate) id: u64,
    pub(crate) remote: SocketAddr,
    pub(crate) ring: DataRing<GrantedPages>,
    /// The socket. Its reference also keeps the module loaded until the last byte is delivered.
    sk: ARef<Sock>,
    /// Guards the passing on of events to the socket.
    #[pin]
    owner: SpinLockIrq<Owner>,
    #[pin]
    channel: SpinLockIrq<Option<EventChannel<Conn>>>,
    /// Serialises the consumers of the ring, and is held while they copy.
    #[pin]
    pub(crate) rx: Mutex<()>,
    /// Serialises the producers of the ring.
    #[pin]
    pub(crate) tx: Mutex<()>,
    /// Why nothing more will come through the ring, other than its own error words.
    dead: Atomic<i32>,
    /// What the backend was asked to notify us of.
    #[pin]
    asked: SpinLockIrq<Asked>,
    /// Held while the sharing of memory is ended.
    #[pin]
    unsharing: Mutex<()>,
    /// The connection has failed, and the socket was told. Changed under `owner`.
    has_failed: Atomic<bool>,
    /// A program polls: each arrival is an edge.
    is_polled: Atomic<bool>,
    /// Requests to be sent, bits of [`Intent`]. Changed under the lock of the commands ring.
    pub(crate) intents: Atomic<u32>,
    /// Whether RELEASE resets the connection.
    pub(crate) abort: Atomic<bool>,
    #[pin]
    links: ListLinks,
    #[pin]
    tracker: AtomicTracker,
    #[pin]
    teardown: Work<Conn>,
    /// Ends the wait for a backend that does not take what was sent.
    #[pin]
    patience: DelayedWork<Conn, PATIENCE>,
}

impl_list_arc_safe! {
    impl ListArcSafe<0> for Conn { tracked_by tracker: AtomicTracker; }
}
impl_list_item! {
    impl ListItem<0> for Conn { using ListLinks { self.links }; }
}
impl_has_work! {
    impl HasWork<Self> for Conn { self.teardown }
}
impl_has_delayed_work! {
    impl HasDelayedWork<Self, PATIENCE> for Conn { self.patience }
}

/// The work item [`Conn::patience`].
const PATIENCE: u64 = 1;

/// How long a closed connection may take to deliver what was sent, in milliseconds. About as long
/// as TCP keeps on trying for a socket that nobody holds any more.
const MAX_PATIENCE: Msecs = 100_000;

impl Conn {
    /// Sets up the ring and the event channel of a connection to `remote`. May sleep.
    pub(crate) fn new(link: Arc<Link>, sk: &Sock, remote: SocketAddr) -> Result<Arc<Self>> {
        let order = link.ring_order();
        let ring = new_ring(&link, order)?;
        let id = link.new_id();
        let dev = link.dev.clone();

        let conn = Arc::pin_init(
            try_pin_init!(Self {
                link,
                id,
                remote,
                ring,
                sk: sk.into(),
                owner <- new_spinlock_irq!(Owner::Socket, "xensock_owner"),
                channel <- new_spinlock_irq!(None, "xensock_channel"),
                rx <- new_mutex!((), "xensock_rx"),
                tx <- new_mutex!((), "xensock_tx"),
                dead: Atomic::new(ALIVE),
                asked <- new_spinlock_irq!(
                    Asked {
                        told: 0,
                        told_end: false,
                        wants_room: false,
                    },
                    "xensock_asked"
                ),
                unsharing <- new_mutex!((), "xensock_unsharing"),
                has_failed: Atomic::new(false),
                is_polled: Atomic::new(false),
                intents: Atomic::new(0),
                abort: Atomic::new(false),
                links <- ListLinks::new(),
                tracker <- AtomicTracker::new(),
                teardown <- new_work!("xensock_teardown"),
                patience <- new_delayed_work!("xensock_patience"),
            }),
            GFP_KERNEL,
        )?;
        let channel = EventChannel::alloc(&dev, c"xensock", conn.clone())?;
        *conn.channel.lock() = Some(channel);
        Ok(conn)
    }

    /// The event channel's port, while it is open.
    pub(crate) fn port(&self) -> Option<u32> {
        self.channel.lock().as_ref().map(|c| c.port().as_raw())
    }

    /// The grant of the indexes page, by which the backend finds the rest.
    pub(crate) fn grant(&self) -> u32 {
        self.ring
            .index_pages()
            .refs()
            .first()
            .map_or(0, |grant| grant.as_raw())
    }

    /// Tells the backend that the ring has moved.
    pub(crate) fn notify(&self) {
        if let Some(channel) = self.channel.lock().as_ref() {
            channel.notify();
        }
    }

    /// The room that makes a socket writable again once it was full: a quarter of the ring, so that
    /// a sender is not woken for each byte.
    fn room_to_wake(&self) -> u32 {
        self.ring.size() / 4
    }

    /// Whether a program that polls may be told to write. If not, it will be woken.
    pub(crate) fn poll_writable(&self) -> bool {
        self.ring.peek_writable() >= self.room_to_wake()
            || self.expect_room() >= self.room_to_wake()
    }

    /// Has [`Sock::write_space`] called once there is room, and returns the room there is already.
    pub(crate) fn expect_room(&self) -> u32 {
        {
            let mut asked = self.asked.lock();
            asked.wants_room = true;
            self.ring.expect_room(self.room_to_wake());
        }
        self.ring.peek_writable()
    }

    /// Has [`Sock::data_ready`] called for the next byte, and returns what there is already.
    pub(crate) fn expect_data(&self) -> u32 {
        let is_news = {
            let mut asked = self.asked.lock();
            let arrived = self.ring.expect_data();
            core::mem::replace(&mut asked.told, arrived) != arrived
        };
        if is_news {
            self.sk.data_ready();
        }
        self.ring.peek_readable()
    }

    /// Notes that a program polls the socket.
    pub(crate) fn set_polled(&self) {
        if !self.is_polled.load(Relaxed) {
            self.is_polled.store(true, Relaxed);
        }
    }

    /// The errno for which nothing more comes through the ring, besides what its error words say.
    pub(crate) fn death(&self) -> Option<Error> {
        match self.dead.load(Acquire) {
            ALIVE => None,
            errno => Some(Error::from_errno(-errno)),
        }
    }

    /// The backend's answer to CONNECT. Hard IRQ.
    pub(crate) fn connected(this: ArcBorrow<'_, Self>, result: Result) {
        let mut owner = this.owner.lock();
        let Err(error) = result else {
            if *owner == Owner::Socket && this.sk.state() == TcpState::SynSent {
                this.sk.set_state(TcpState::Established);
                this.sk.state_changed();
                this.sk.write_space();
                // The ring may have got ahead of this answer.
                this.tell();
            }
            return;
        };
        if *owner == Owner::Backend {
            return;
        }
        this.tell_dead(*owner, error);
        *owner = Owner::Backend;
        drop(owner);
        Link::submit(this, Intent::Release);
    }

    /// The backend's answer to RELEASE, or proof that it has none to give. Hard IRQ.
    pub(crate) fn released(this: Arc<Self>) {
        let link = this.link.clone();
        // An item that is queued already does all there is to do.
        let _ = link.workers.enqueue::<_, 0>(this);
    }

    /// Marks the connection dead and tells the socket, if it is still there, as a reset would.
    fn tell_dead(&self, owner: Owner, error: Error) {
        self.dead.store(-error.to_errno(), Release);
        if owner == Owner::Socket {
            self.tell_failed(error);
        }
    }

    /// Tells the socket of a failure, once.
    fn tell_failed(&self, error: Error) {
        if self.has_failed.load(Relaxed) {
            return;
        }
        self.has_failed.store(true, Relaxed);
        self.sk.set_error(error);
        self.sk.add_shutdown(Shutdown::Recv | Shutdown::Send);
        self.sk.set_state(TcpState::Close);
        self.sk.state_changed();
        self.sk.error_report();
    }

    /// Ends a connection whose backend has broken the rules of the ring.
    pub(crate) fn broken(this: ArcBorrow<'_, Self>) {
        let mut owner = this.owner.lock();
        if *owner == Owner::Backend {
            return;
        }
        this.link
            .warn_once(c"impossible index in a data ring, connection reset");
        this.tell_dead(*owner, ECONNABORTED);
        *owner = Owner::Backend;
        this.abort.store(true, Relaxed);
        drop(owner);
        Link::submit(this, Intent::Release);
    }

    /// The socket lets go. What it sent is still delivered, unless `abort` asks for a reset.
    ///
    /// Process context, but does not sleep.
    pub(crate) fn close(this: ArcBorrow<'_, Self>, abort: bool) {
        {
            let mut owner = this.owner.lock();
            if *owner != Owner::Socket {
                return;
            }
            // Unread data is lost to the program that closes; TCP tells the peer by a reset.
            let unread = this.ring.peek_readable() > 0;
            if abort || unread {
                this.abort.store(true, Relaxed);
                // Whoever is in a call on the socket still is told by the caller, and finds this.
                this.dead.store(-ECONNRESET.to_errno(), Release);
                *owner = Owner::Backend;
            } else {
                *owner = Owner::Draining;
            }
        }
        if this.abort.load(Relaxed) {
            Link::submit(this, Intent::Release);
        } else {
            {
                let _asked = this.asked.lock();
                this.ring.expect_room(this.ring.size());
            }
            let delay = msecs_to_jiffies(MAX_PATIENCE);
            // Queued once only: a connection is closed once.
            let _ = this
                .link
                .workers
                .enqueue_delayed::<_, PATIENCE>(Arc::from(this), delay);
            Self::release_if_drained(this);
        }
    }

    /// Sends RELEASE for a closed socket once its last byte has been taken.
    fn release_if_drained(this: ArcBorrow<'_, Self>) {
        {
            let mut owner = this.owner.lock();
            let done = this.ring.tx_ending() != Ending::Open
                || this.ring.peek_writable() == this.ring.size();
            if *owner != Owner::Draining || !done {
                return;
            }
            *owner = Owner::Backend;
        }
        Link::submit(this, Intent::Release);
    }

    /// Ends a connection that the backend was never asked for. May sleep.
    pub(crate) fn discard(&self) {
        *self.owner.lock() = Owner::Backend;
        self.unshare();
    }

    /// What a call may wait for at most: the backend comes back to a full ring once a quarter of
    /// it is free, so that more may never be there at once.
    pub(crate) fn max_wait(&self) -> usize {
        self.ring.size() as usize / 2
    }

    /// Ends the connection with its link: tells the socket, and stops sharing memory. May sleep.
    pub(crate) fn link_down(this: &Arc<Self>) {
        {
            let mut owner = this.owner.lock();
            if *owner != Owner::Backend {
                this.tell_dead(*owner, ECONNRESET);
                *owner = Owner::Backend;
            }
        }
        let _ = cancel_delayed_sync::<_, PATIENCE>(this);
        this.unshare();
    }

    /// Closes the event channel and revokes the grants. May sleep; idempotent.
    ///
    /// The memory itself stays for as long as the socket may be reading it.
    fn unshare(&self) {
        let _guard = self.unsharing.lock();
        let channel = self.channel.lock().take();
        // Outside the lock: waits for a running handler.
        drop(channel);
        self.ring.data_pages().revoke();
        self.ring.index_pages().revoke();
    }

    /// Passes on what the backend has done to the ring. Any context.
    pub(crate) fn pass_on(&self) {
        let owner = self.owner.lock();
        // Before CONNECT is answered there is nothing to tell.
        if *owner == Owner::Socket && self.sk.state() != TcpState::SynSent {
            self.tell();
        }
    }

    /// Tells the socket what has happened to the ring. Called under `owner`.
    fn tell(&self) {
        let (sk, ring) = (&self.sk, &self.ring);
        // The endings before the bytes: what came before an ending is seen with it.
        let (rx_ending, tx_ending) = (ring.rx_ending(), ring.tx_ending());

        let (has_data, has_end, has_room) = {
            let mut asked = self.asked.lock();
            let arrived = if self.is_polled.load(Relaxed) {
                // Each arrival is an edge.
                ring.expect_data()
            } else {
                ring.arrived()
            };
            let has_data = core::mem::replace(&mut asked.told, arrived) != arrived;
            let has_room = asked.wants_room && ring.peek_writable() >= self.room_to_wake();
            asked.wants_room &= !has_room;
            let has_end =
                rx_ending != Ending::Open && !core::mem::replace(&mut asked.told_end, true);
            (has_data, has_end, has_room)
        };
        if has_data {
            sk.data_ready();
        }
        if has_room {
            sk.write_space();
        }
        if has_end {
            sk.add_shutdown(Shutdown::Recv);
            if rx_ending == Ending::Orderly && sk.state() == TcpState::Established {
                sk.set_state(TcpState::CloseWait);
            }
            sk.state_changed();
        }
        let failure = [tx_ending, rx_ending].into_iter().find_map(|e| match e {
            Ending::Failed(errno) => Some(Error::from_errno(-errno)),
            _ => None,
        });
        if let Some(error) = failure {
            self.tell_failed(error);
        }
    }
}

impl Handler for Conn {
    fn handle(this: ArcBorrow<'_, Self>) -> Eoi {
        this.pass_on();
        Self::release_if_drained(this);
        Eoi::Done
    }
}

impl WorkItem for Conn {
    type Pointer = Arc<Conn>;

    fn run(this: Arc<Conn>) {
        let _ = cancel_delayed_sync::<_, PATIENCE>(&this);
        this.unshare();
        this.link.forget(this.id);
    }
}

impl WorkItem<PATIENCE> for Conn {
    type Pointer = Arc<Conn>;

    /// The backend has had time enough to take what was sent.
    fn run(this: Arc<Conn>) {
        {
            let mut owner = this.owner.lock();
            if *owner != Owner::Draining {
                return;
            }
            *owner = Owner::Backend;
            this.abort.store(true, Relaxed);
        }
        Link::submit(this.as_arc_borrow(), Intent::Release);
    }
}

/// Allocates a ring, grants it to the backend and fills in its indexes page.
fn new_ring(link: &Link, order: Order) -> Result<DataRing<GrantedPages>> {
    let peer = link.dev.otherend_id();
    let data = GrantedPages::new(peer, order.pages(), GFP_KERNEL_ACCOUNT)?;
    let index = GrantedPages::new(peer, 1, GFP_KERNEL_ACCOUNT)?;

    for (i, grant) in data.refs().iter().enumerate() {
        index
            .word(indexes::ref_offset(i).ok_or(EINVAL)?)?
            .store(grant.as_raw(), Relaxed);
    }
    index.word(indexes::RING_ORDER)?.store(order.get(), Relaxed);
    if link.offer.event_index {
        for direction in [indexes::IN, indexes::OUT] {
            index
                .word(direction.prod_event)?
                .store(indexes::FIRST_PROD_EVENT, Relaxed);
        }
    }
    DataRing::new(index, data, order, End::Front, link.offer.event_index)
}
