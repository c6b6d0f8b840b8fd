// SPDX-License-Identifier: GPL-2.0

//! How a connection begins and ends.

use super::{
    growth::is_shortage,
    Conn,
    Kind, //
};
use crate::{
    exchange::{
        wire_error,
        Exchange, //
    },
    proto::{
        call::{
            SHUT_RDWR,
            SHUT_WR, //
        },
        errno::Ending,
        status::Outcome,
        Call,
        Feature, //
    }, //
};
use core::net::SocketAddr;
use kernel::{
    net::sock::{
        Shutdown,
        Sock,
        TcpState, //
    },
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Relaxed,
            Release, //
        },
        Arc,
        ArcBorrow, //
    },
    time::{
        msecs_to_jiffies,
        Msecs, //
    },
    workqueue::{
        owned::{
            cancel_delayed_sync,
            enqueue_delayed,
            OnQueue,
            OwnedQueue, //
        },
        WorkItem, //
    },
    xen::trace::xensock_front as trace, //
};

/// How far a connection has come.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// CONNECT or ACCEPT is under way.
    Pending,
    /// It stands, and waits for `accept()`.
    Ready,
    /// It has a socket: the program is told what happens.
    Open,
    /// It has nobody: the socket was closed, and what it sent still waits for the backend.
    Draining,
    /// RELEASE was asked for, or the link is down.
    Released,
}

/// Whose a connection is.
pub(super) struct Owner {
    pub(super) phase: Phase,
    /// The socket; before `accept()`, the listening one. The reference is kept to the end, as it
    /// also keeps the module loaded.
    pub(super) sk: ARef<Sock>,
}

impl Owner {
    pub(super) fn new(sk: ARef<Sock>, phase: Phase) -> Self {
        Self { phase, sk }
    }
}

/// The work item [`Conn::patience`].
pub(super) const PATIENCE: u64 = 1;

/// How long a closed connection may take to deliver what was sent, in milliseconds. About as long
/// as TCP keeps on trying for a socket that nobody holds any more.
const MAX_PATIENCE: Msecs = 100_000;

/// The beginning.
impl Conn {
    /// The backend's answer to the POLL that goes before an ACCEPT. Hard IRQ.
    pub(crate) fn announced(this: ArcBorrow<'_, Self>, answer: Result) {
        if let Err(error) = answer {
            return Self::failed(this, error);
        }
        let owner = this.owner.lock();
        if let Some(accept) = this
            .accept
            .as_ref()
            .filter(|_| owner.phase == Phase::Pending)
        {
            this.remote.link.submit(accept, Some(Arc::from(this)));
        }
    }

    /// The backend's answer to CONNECT or ACCEPT. Hard IRQ.
    pub(crate) fn answered(this: ArcBorrow<'_, Self>, answer: Result<Option<SocketAddr>>) {
        match answer {
            // It was taken on: the outcome comes through the ring, and may be there already.
            Ok(_) if this.remote.link.has(Feature::Status) => Self::look_for_outcome(this),
            Ok(name) => Self::established(this, name),
            Err(error) => Self::failed(this, this.remote.first_error(error)),
        }
    }

    /// Looks for the outcome of CONNECT or ACCEPT in the ring. Any context.
    pub(crate) fn look_for_outcome(this: ArcBorrow<'_, Self>) {
        if this.owner.lock().phase != Phase::Pending || !this.remote.link.has(Feature::Status) {
            return;
        }
        match this.ring.outcome() {
            Outcome::Pending => (),
            Outcome::Established => match this.ring.outcome_name() {
                Ok(name) => Self::established(this, Some(name)),
                Err(_) => Self::failed(this, EPROTO),
            },
            Outcome::Failed(errno) => Self::failed(this, wire_error(errno)),
            Outcome::Nonsense => Self::failed(this, EPROTO),
        }
    }

    fn established(this: ArcBorrow<'_, Self>, name: Option<SocketAddr>) {
        let mut owner = this.owner.lock();
        if owner.phase != Phase::Pending {
            return;
        }
        this.has_stood.store(true, Relaxed);
        this.let_grow();
        if this.kind == Kind::Posted {
            if let Some(name) = name {
                let _ = this.peer.populate(name);
            }
            owner.phase = Phase::Ready;
            owner.sk.data_ready();
        } else {
            if let Some(name) = name {
                let _ = this.local.populate(name);
            }
            this.trace_connect(Ok(()));
            this.note_names(&owner.sk);
            owner.phase = Phase::Open;
            owner.sk.set_state(TcpState::Established);
            owner.sk.state_changed();
            owner.sk.write_space();
            // The ring may have got ahead of this answer.
            this.tell(&owner.sk);
        }
    }

    fn failed(this: ArcBorrow<'_, Self>, error: Error) {
        if is_shortage(error) {
            this.remote.link.note_shortage();
        }
        {
            let mut owner = this.owner.lock();
            if owner.phase != Phase::Pending {
                return;
            }
            match this.kind {
                Kind::Posted => trace::accept(this.remote.id, None, None, Err(error)),
                Kind::Stream | Kind::Datagram => this.trace_connect(Err(error)),
            }
            this.tell_dead(&owner, error);
            owner.phase = Phase::Released;
        }
        // What the backend says is no outcome leaves open whether there is a connection.
        Self::send_release(this, error == EPROTO);
    }

    fn trace_connect(&self, result: Result) {
        let local = self.local.copy().or(self.remote.local);
        trace::connect(self.remote.id, local, self.peer.copy(), result);
    }

    /// Has those who wait for a connection look again, unless this one stands or has failed.
    pub(super) fn tell_expected(&self) {
        let owner = self.owner.lock();
        if self.kind == Kind::Posted && owner.phase == Phase::Pending {
            owner.sk.data_ready();
        }
    }

    /// Whether it waits for a connection still.
    pub(crate) fn is_pending(&self) -> bool {
        self.owner.lock().phase == Phase::Pending
    }

    /// Whether `accept()` would get it.
    pub(crate) fn is_ready(&self) -> bool {
        self.owner.lock().phase == Phase::Ready
    }

    /// Hands it to the socket that accepts it, unless it has ended meanwhile.
    pub(crate) fn accepted_by(&self, sk: &Sock) -> bool {
        let mut owner = self.owner.lock();
        if owner.phase != Phase::Ready {
            return false;
        }
        owner.phase = Phase::Open;
        let listener = core::mem::replace(&mut owner.sk, sk.into());
        self.note_names(sk);
        sk.set_state(TcpState::Established);
        // A reset that came before is told to who has accepted it.
        self.tell(sk);
        drop(owner);
        drop(listener);
        true
    }
}

/// The end.
impl Conn {
    /// Marks the connection dead and tells the socket, if there still is one, as a reset would.
    pub(super) fn tell_dead(&self, owner: &Owner, error: Error) {
        self.dead.store(-error.to_errno(), Release);
        match owner.phase {
            // Whoever waits to accept it looks at the next.
            Phase::Pending | Phase::Ready if self.kind == Kind::Posted => owner.sk.data_ready(),
            Phase::Pending | Phase::Open => {
                self.tell_failed(&owner.sk, error);
                // Who was told of a failure before may be waiting for the bytes that came before it.
                owner.sk.state_changed();
            }
            _ => (),
        }
    }

    /// Tells the socket of a failure, once.
    pub(super) fn tell_failed(&self, sk: &Sock, error: Error) {
        if self.has_failed.load(Relaxed) {
            return;
        }
        self.has_failed.store(true, Relaxed);
        sk.set_error(error);
        // A datagram socket goes on, with another socket of the backend.
        if self.kind != Kind::Datagram {
            sk.add_shutdown(Shutdown::Recv | Shutdown::Send);
            sk.set_state(TcpState::Close);
            sk.state_changed();
        }
        sk.error_report();
    }

    /// Sends RELEASE, with `abort` so that it resets the connection. The phase is `Released` already.
    fn send_release(this: ArcBorrow<'_, Self>, abort: bool) {
        let conn = Arc::<Self>::from(this);
        this.remote.release(abort, || this.leave_ring(), Some(conn));
    }

    /// The backend's answer to RELEASE. Hard IRQ.
    pub(crate) fn released(this: Arc<Self>) {
        let link = this.remote.link.clone();
        // An item that is queued already does all there is to do.
        let _ = link.workers.enqueue::<_, 0>(this);
    }

    /// Ends a connection whose backend has broken the rules of the ring.
    pub(crate) fn broken(this: ArcBorrow<'_, Self>) {
        let what = c"impossible index or frame in a data ring, socket reset";
        if Self::abort(this, ECONNABORTED, what) {
            this.remote.link.warn_once(what);
        }
    }

    /// Ends a connection and tells the socket, unless it has ended already; `what` says why.
    pub(super) fn abort(this: ArcBorrow<'_, Self>, error: Error, what: &'static CStr) -> bool {
        {
            let mut owner = this.owner.lock();
            if owner.phase == Phase::Released {
                return false;
            }
            trace::error(this.remote.id, error, what);
            this.tell_dead(&owner, error);
            owner.phase = Phase::Released;
        }
        Self::send_release(this, true);
        true
    }

    /// The program has ended sending. Returns whether there was anything to end.
    pub(crate) fn finish(&self) -> bool {
        let owner = self.owner.lock();
        if owner.phase != Phase::Open {
            return false;
        }
        owner.sk.set_state(match owner.sk.state() {
            TcpState::Established => TcpState::FinWait1,
            TcpState::CloseWait => TcpState::LastAck,
            _ => return false,
        });
        true
    }

    /// Asks the backend to send the end of the stream after what was sent, and to reset the peer if
    /// it goes on sending to a program that wants nothing more.
    ///
    /// Fails before anything has changed.
    pub(crate) fn end_sending(&self) -> Result {
        let shutdown = self.shutdown()?;
        if self.finish() {
            self.remote.link.submit(&shutdown, None);
        }
        Ok(())
    }

    /// Has the peer reset if it goes on sending, after [`Self::end_sending`]: the program wants
    /// nothing more, which it has said later.
    pub(crate) fn refuse_more(&self) -> Result {
        self.remote.link.submit(&self.shutdown()?, None);
        Ok(())
    }

    fn shutdown(&self) -> Result<Arc<Exchange>> {
        let how = if self.is_unwanted() {
            SHUT_RDWR
        } else {
            SHUT_WR
        };
        let id = self.remote.id;
        self.remote.link.exchange(Call::Shutdown { id, how })
    }

    /// The socket lets go. What it sent is still delivered, unless `abort` asks for a reset.
    ///
    /// May sleep.
    pub(crate) fn close(this: &Arc<Self>, abort: bool) {
        this.is_let_go.store(true, Relaxed);
        {
            let mut owner = this.owner.lock();
            if matches!(owner.phase, Phase::Draining | Phase::Released) {
                return;
            }
            if abort {
                // Whoever is in a call on the socket still is told by the caller, and finds this.
                this.dead.store(-ECONNRESET.to_errno(), Release);
                owner.phase = Phase::Released;
            } else {
                owner.phase = Phase::Draining;
            }
        }
        if abort {
            return Self::send_release(this.as_arc_borrow(), true);
        }
        this.expect_drained();
        let delay = msecs_to_jiffies(MAX_PATIENCE);
        // Queued once only: a connection is closed once.
        let _ = enqueue_delayed::<_, PATIENCE>(this.clone(), delay);
        Self::release_if_drained(this.as_arc_borrow());
        // If that has been done before the item was queued, nobody will have taken it back.
        if this.owner.lock().phase == Phase::Released {
            let _ = cancel_delayed_sync::<_, PATIENCE>(this);
        }
    }

    /// Takes it from those that may be accepted: it is going to be reset, and nobody is told of it.
    pub(crate) fn withdraw(&self) {
        self.is_let_go.store(true, Relaxed);
        let mut owner = self.owner.lock();
        self.dead.store(-ECONNRESET.to_errno(), Release);
        owner.phase = Phase::Released;
    }

    /// Sends RELEASE after [`Self::withdraw`], unless that has been done.
    pub(crate) fn release_withdrawn(this: &Arc<Self>) {
        Self::send_release(this.as_arc_borrow(), true);
    }

    /// Sends RELEASE for a closed socket once its last byte has been taken.
    pub(super) fn release_if_drained(this: ArcBorrow<'_, Self>) {
        {
            let mut owner = this.owner.lock();
            if owner.phase != Phase::Draining || !this.is_drained() {
                return;
            }
            owner.phase = Phase::Released;
        }
        Self::send_release(this, false);
    }

    /// Whether there is anything that the program has not read.
    pub(crate) fn has_unread(&self) -> bool {
        self.ring.peek_readable() > 0
    }

    /// Whether the backend has taken all that was sent, or will take no more.
    pub(crate) fn is_drained(&self) -> bool {
        self.ring.tx_ending() != Ending::Open || self.ring.peek_queued() == 0
    }

    /// Notes that there is nothing to be released.
    pub(super) fn set_released(&self) {
        self.owner.lock().phase = Phase::Released;
    }
}

impl OnQueue for Conn {
    fn queue(&self) -> &Arc<OwnedQueue> {
        &self.remote.link.workers
    }
}

impl WorkItem<PATIENCE> for Conn {
    type Pointer = Arc<Conn>;

    /// The backend has had time enough to take what was sent.
    fn run(this: Arc<Conn>) {
        {
            let mut owner = this.owner.lock();
            if owner.phase != Phase::Draining {
                return;
            }
            owner.phase = Phase::Released;
        }
        Self::send_release(this.as_arc_borrow(), true);
    }
}
