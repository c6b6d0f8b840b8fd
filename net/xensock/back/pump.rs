// SPDX-License-Identifier: GPL-2.0

//! What connections and datagram sockets have in common: a work item that moves data between a socket
//! and its ring, and takes both apart at the end.

use crate::{
    conn_ring::{
        ConnRing,
        RingUser, //
    },
    guest::Guest,
    proto::{
        Body,
        Response, //
    }, //
};
use core::mem::replace;
use kernel::{
    net::kernel_socket::{
        Callbacks,
        Locked, //
    },
    new_mutex,
    new_spinlock,
    prelude::*,
    sync::{
        lock::mutex::MutexGuard,
        Arc,
        Mutex,
        SpinLock, //
    },
    workqueue::{
        HasWork,
        WorkItem, //
    }, //
};

/// How a socket is to be taken apart.
#[derive(Clone, Copy)]
pub(crate) struct Teardown {
    /// RELEASE, answered once nothing is shared any more. If the link is down there is none.
    ticket: Option<Response>,
    /// The peer of a connection sees a reset.
    abort: bool,
    /// The ring is left to another connection.
    reuse: bool,
}

/// How far a socket is.
pub(crate) enum PumpState<P: Pump> {
    /// Not made yet, or taken apart.
    Gone,
    /// There are no data to be moved yet.
    Idle(P::Idle),
    /// Data are moved.
    Open(P::Flow),
}

/// What became of a turn.
pub(crate) enum Progress {
    /// There is nothing to do until an event or a callback says so.
    Idle,
    /// There is more to do.
    Busy,
    /// It is over, for this reason. `abort` is as in [`Teardown`].
    Failed { abort: bool, error: Error },
}

/// What each [`Pump`] has.
#[pin_data]
pub(crate) struct PumpData<P: Pump> {
    pub(crate) guest: Arc<Guest>,
    /// Changed by the work item, but for the step to [`PumpState::Open`], and that a listener gives up
    /// places. Held while data are moved.
    #[pin]
    pub(crate) state: Mutex<PumpState<P>>,
    #[pin]
    teardown: SpinLock<Option<Teardown>>,
}

impl<P: Pump> PumpData<P> {
    pub(crate) fn new(guest: &Arc<Guest>, state: PumpState<P>) -> impl PinInit<Self> {
        let guest = guest.clone();
        pin_init!(Self {
            guest,
            state <- new_mutex!(state, "xensock_pump"),
            teardown <- new_spinlock!(None, "xensock_teardown"),
        })
    }

    /// Returns whether it was told to end. Any context.
    pub(crate) fn is_ending(&self) -> bool {
        self.teardown.lock().is_some()
    }
}

/// A socket of a guest whose work item moves its data.
pub(crate) trait Pump:
    RingUser + WorkItem<Pointer = Arc<Self>> + HasWork<Self> + Sized + 'static
{
    /// What there is before data are moved.
    type Idle: Send + Unpin;
    /// What moves the data.
    type Flow: Send + Unpin;
    /// What the callbacks of the socket have to know besides.
    type Source: Send + Sync + 'static;

    fn data(&self) -> &PumpData<Self>;

    /// Returns what a flow shares with the guest.
    fn shared(flow: &Self::Flow) -> &ConnRing;

    /// Returns whether the work item may move data now. If not, it tries again.
    fn begin(&self) -> bool {
        true
    }

    /// Does what there is to do while no data are moved. Returns whether there is more.
    fn wait(&self, idle: Option<&Self::Idle>) -> bool;

    /// Moves what can be moved.
    fn progress(&self, flow: &mut Self::Flow) -> Progress;

    /// There is nothing to do for now.
    fn rest(&self, _flow: &Self::Flow) {}

    /// Takes apart what was in the state: no more callbacks, the end of the socket, no more events, and
    /// last the memory of the guest. Returns what another connection may use again. Sleeps.
    fn part(&self, state: PumpState<Self>, abort: bool, error: Error) -> Option<Arc<ConnRing>>;

    /// Waits for what the last events have asked for, if they have asked for more than a turn. Sleeps.
    fn finish(self: &Arc<Self>) {}

    /// The socket has changed. Any context.
    fn note(_source: &Self::Source) {}

    /// Receives what has arrived, in a soft interrupt. Returns whether nothing is left to be done.
    fn receive(&self, _source: &Self::Source, _tcp: &Locked<'_>) -> bool {
        false
    }

    /// Returns whether anybody waits for the room that the socket has now. Any context.
    fn wants_room(&self) -> bool {
        true
    }

    /// Has the work item run. Any context.
    fn wake(self: &Arc<Self>) {
        // An item that is queued already will see what there is to do.
        let queue = &self.data().guest.transport.queues.work;
        let _ = queue.enqueue::<_, 0>(self.clone());
    }

    /// Takes it apart for RELEASE, which is answered once nothing is shared any more. May sleep.
    ///
    /// At once if nothing has to be unmapped and nobody moves its data now: the requests of others
    /// wait for that. Else the work item does it.
    fn release(self: &Arc<Self>, ticket: Response, abort: bool, reuse: bool) {
        *self.data().teardown.lock() = Some(Teardown {
            ticket: Some(ticket),
            abort,
            reuse,
        });
        let state = reuse.then(|| self.data().state.try_lock()).flatten();
        if state.is_none_or(|state| self.turn_with(state)) {
            self.wake();
        }
    }

    /// Marks it as one whose link ends. To be followed by [`Self::wake`].
    fn mark_abandoned(&self) {
        self.data().teardown.lock().get_or_insert(Teardown {
            ticket: None,
            abort: true,
            reuse: false,
        });
    }

    /// Has the work item take it apart because its link ends, or does not know it.
    fn abandon(self: &Arc<Self>) {
        self.mark_abandoned();
        self.wake();
    }

    /// Takes apart what was in the state. Sleeps.
    fn tear_down(self: &Arc<Self>, state: PumpState<Self>, teardown: Teardown) {
        let guest = &self.data().guest;
        match self.part(state, teardown.abort, ECONNABORTED) {
            Some(shared) if teardown.reuse => guest.keep(shared),
            other => drop(other),
        }
        self.finish();
        if let Some(ticket) = teardown.ticket {
            guest.transport.answer(ticket, Ok(Body::Empty));
        }
    }

    /// One turn of the work item. Returns whether there is more to do.
    fn turn_with(self: &Arc<Self>, mut state: MutexGuard<'_, PumpState<Self>>) -> bool {
        if matches!(*state, PumpState::Open(_)) && !self.begin() {
            return true;
        }
        let teardown = self.data().teardown.lock().take();
        if let Some(teardown) = teardown {
            let former = replace(&mut *state, PumpState::Gone);
            drop(state);
            self.tear_down(former, teardown);
            return false;
        }
        let flow = match &mut *state {
            PumpState::Gone => return self.wait(None),
            PumpState::Idle(idle) => return self.wait(Some(idle)),
            PumpState::Open(flow) => flow,
        };
        let turn = Self::shared(flow).begin_turn();
        let (abort, error) = match self.progress(flow) {
            Progress::Busy => return true,
            Progress::Idle => {
                Self::shared(flow).end_turn(turn);
                self.rest(flow);
                return false;
            }
            Progress::Failed { abort, error } => (abort, error),
        };
        let former = replace(&mut *state, PumpState::Gone);
        drop(state);
        drop(self.part(former, abort, error));
        self.finish();
        false
    }

    /// Does what the work item does. May sleep.
    fn work(self: &Arc<Self>) {
        let state = self.data().state.lock();
        if self.turn_with(state) {
            self.wake();
        }
    }
}

/// Wakes a [`Pump`] for what its socket has to say.
pub(crate) struct Waker<P: Pump> {
    pump: Arc<P>,
    source: P::Source,
}

impl<P: Pump> Waker<P> {
    pub(crate) fn new(pump: &Arc<P>, source: P::Source) -> Self {
        let pump = pump.clone();
        Self { pump, source }
    }

    fn wake(&self) {
        P::note(&self.source);
        self.pump.wake();
    }
}

impl<P: Pump> Callbacks for Waker<P> {
    fn data_ready(&self, tcp: Option<&Locked<'_>>) {
        P::note(&self.source);
        let is_done = tcp.is_some_and(|tcp| self.pump.receive(&self.source, tcp));
        if !is_done {
            self.pump.wake();
        }
    }

    fn write_space(&self) {
        if self.pump.wants_room() {
            self.wake();
        }
    }

    fn state_change(&self) {
        self.wake();
    }

    fn error_report(&self) {
        self.wake();
    }
}
