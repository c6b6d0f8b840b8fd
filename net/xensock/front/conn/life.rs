// SPDX-License-Identifier: GPL-2.0

//! How a connection begins and ends.

use super::{
    growth::is_shortage,
    state::{
        ConnState,
        Phase, //
    },
    Conn, //
};
use crate::{
    commands::{
        wire_error,
        Exchange,
        Haste, //
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
        Sock,
        TcpState, //
    },
    prelude::*,
    sync::{
        atomic::Release,
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
        let state = this.state.lock();
        if let Some(accept) = this
            .accept
            .as_ref()
            .filter(|_| state.phase == Phase::Posted)
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
        if !this.is_pending() || !this.remote.link.has(Feature::Status) {
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
        let mut state = this.state.lock();
        match state.phase {
            Phase::Posted => {
                if let Some(name) = name {
                    let _ = this.peer.populate(name);
                }
                this.let_grow();
                state.phase = Phase::Ready;
                state.sk.data_ready();
            }
            Phase::Connecting => {
                if let Some(name) = name {
                    let _ = this.local.populate(name);
                }
                this.let_grow();
                this.trace_connect(Ok(()));
                this.note_names(&state.sk);
                state.phase = Phase::Open { has_failed: false };
                state.sk.set_state(TcpState::Established);
                state.sk.state_changed();
                state.sk.write_space();
                // The ring may have got ahead of this answer.
                this.tell(&mut state);
            }
            _ => (),
        }
    }

    fn failed(this: ArcBorrow<'_, Self>, error: Error) {
        if is_shortage(error) {
            this.remote.link.note_shortage();
        }
        {
            let mut state = this.state.lock();
            match state.phase {
                Phase::Posted => {
                    trace::accept(
                        this.remote.link.device_name(),
                        this.remote.id,
                        None,
                        None,
                        Err(error),
                    );
                    this.remote.link.note_refusal();
                }
                Phase::Connecting => this.trace_connect(Err(error)),
                _ => return,
            }
            this.fail(&mut state, error);
        }
        // What the backend says is no outcome leaves open whether there is a connection.
        Self::send_release(this, error == EPROTO);
    }

    fn trace_connect(&self, result: Result) {
        let local = self.local.copy().or(self.remote.local);
        trace::connect(
            self.remote.link.device_name(),
            self.remote.id,
            local,
            self.peer.copy(),
            result,
        );
    }

    /// Has those who wait for a connection look again, unless this one stands or has failed.
    pub(super) fn tell_expected(&self) {
        let state = self.state.lock();
        if state.phase == Phase::Posted {
            state.sk.data_ready();
        }
    }

    /// Whether it waits for a connection still.
    pub(crate) fn is_pending(&self) -> bool {
        self.state.lock().is_pending()
    }

    /// Whether `accept()` would get it.
    pub(crate) fn is_ready(&self) -> bool {
        self.state.lock().phase == Phase::Ready
    }

    /// Hands it to the socket that accepts it, unless it has ended meanwhile.
    pub(crate) fn accepted_by(&self, sk: &Sock) -> bool {
        let mut state = self.state.lock();
        if state.phase != Phase::Ready {
            return false;
        }
        state.phase = Phase::Open { has_failed: false };
        let listener = core::mem::replace(&mut state.sk, sk.into());
        self.note_names(sk);
        sk.set_state(TcpState::Established);
        // A reset that came before is told to who has accepted it.
        self.tell(&mut state);
        drop(state);
        drop(listener);
        true
    }
}

/// The end.
impl Conn {
    /// Notes why nothing more comes. Called under `state`.
    pub(super) fn set_death(&self, error: Error) {
        self.dead.store(-error.to_errno(), Release);
    }

    /// Ends the connection and tells the socket, if there still is one, as a reset would. Sends no
    /// RELEASE.
    pub(super) fn fail(&self, state: &mut ConnState, error: Error) {
        self.set_death(error);
        match state.phase {
            // Whoever waits to accept it looks at the next.
            Phase::Posted | Phase::Ready => state.sk.data_ready(),
            Phase::Connecting | Phase::Open { .. } => {
                self.tell_failed(&mut state.phase, &state.sk, error);
                // Who was told of a failure before may be waiting for the bytes that came before it.
                state.sk.state_changed();
            }
            _ => (),
        }
        state.end(false);
    }

    /// Tells the socket of a failure, once.
    pub(super) fn tell_failed(&self, phase: &mut Phase, sk: &Sock, error: Error) {
        if let Phase::Open { has_failed } = phase {
            if core::mem::replace(has_failed, true) {
                return;
            }
        }
        sk.set_error(error);
        self.content.end_socket(sk);
        sk.error_report();
    }

    /// Sends RELEASE, with `abort` so that it resets the connection. It has ended already.
    fn send_release(this: ArcBorrow<'_, Self>, abort: bool) {
        let conn = Arc::<Self>::from(this);
        // Who closes waits for the end of a reset, or of an address.
        let is_waited_for = abort || this.is_datagram() || this.remote.local.is_some();
        let haste = if is_waited_for {
            Haste::Awaited
        } else {
            Haste::Unheard
        };
        this.remote
            .release(abort, haste, || this.leave_ring(), Some(conn));
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
            let mut state = this.state.lock();
            if state.is_over() {
                return false;
            }
            trace::error(this.remote.id, error, what);
            this.fail(&mut state, error);
        }
        Self::send_release(this, true);
        true
    }

    /// The program has ended sending. Returns whether there was anything to end.
    pub(crate) fn finish(&self) -> bool {
        let state = self.state.lock();
        if !state.is_open() {
            return false;
        }
        state.sk.set_state(match state.sk.state() {
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
            self.remote.link.tell(&shutdown, None, Haste::Unheard);
        }
        Ok(())
    }

    /// Has the peer reset if it goes on sending, after [`Self::end_sending`]: the program wants
    /// nothing more, which it has said later.
    pub(crate) fn refuse_more(&self) -> Result {
        self.remote
            .link
            .tell(&self.shutdown()?, None, Haste::Unheard);
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
        {
            let mut state = this.state.lock();
            let has_stood = match state.phase {
                Phase::Connecting | Phase::Posted => false,
                Phase::Ready | Phase::Open { .. } => true,
                Phase::Draining { .. } | Phase::Released(_) | Phase::Parted => return,
            };
            if abort {
                // Whoever is in a call on the socket still is told by the caller, and finds this.
                this.set_death(ECONNRESET);
                state.end(true);
            } else {
                state.phase = Phase::Draining { has_stood };
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
        if this.state.lock().is_over() {
            let _ = cancel_delayed_sync::<_, PATIENCE>(this);
        }
    }

    /// Takes it from those that may be accepted: it is going to be reset, and nobody is told of it.
    pub(crate) fn withdraw(&self) {
        let mut state = self.state.lock();
        self.set_death(ECONNRESET);
        state.end(true);
    }

    /// Sends RELEASE after [`Self::withdraw`], unless that has been done.
    pub(crate) fn release_withdrawn(this: &Arc<Self>) {
        Self::send_release(this.as_arc_borrow(), true);
    }

    /// Sends RELEASE for a closed socket once its last byte has been taken.
    pub(super) fn release_if_drained(this: ArcBorrow<'_, Self>) {
        {
            let mut state = this.state.lock();
            if !matches!(state.phase, Phase::Draining { .. }) || !this.is_drained() {
                return;
            }
            state.end(true);
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
            let mut state = this.state.lock();
            if !matches!(state.phase, Phase::Draining { .. }) {
                return;
            }
            state.end(true);
        }
        Self::send_release(this.as_arc_borrow(), true);
    }
}
