// SPDX-License-Identifier: GPL-2.0

//! The common part of connections and datagram sockets: a work item that moves data between a
//! socket and its ring, and takes both apart at the end.

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

/// The way in which a socket is to be taken apart.
#[derive(Clone, Copy)]
pub(crate) struct Teardown {
    /// RELEASE, which is answered once nothing is shared any more. `None` if the link is down.
    ticket: Option<Response>,
    /// The peer of a connection gets a reset.
    abort: bool,
    /// The ring is kept for another connection.
    reuse: bool,
}

/// The state of a socket.
pub(crate) enum PumpState<P: Pump> {
    /// Not set up yet, or taken apart.
    Gone,
    /// There are no data to be moved yet.
    Idle(P::Idle),
    /// Data are moved.
    Open(P::Flow),
}

/// The result of a turn.
pub(crate) enum Progress {
    /// There is nothing to do until the next event or callback.
    Idle,
    /// There is more to do.
    Busy,
    /// The socket has failed with `error`. `abort` is as in [`Teardown`].
    Failed { abort: bool, error: Error },
}

/// The data common to all [`Pump`]s.
#[pin_data]
pub(crate) struct PumpData<P: Pump> {
    pub(crate) guest: Arc<Guest>,
    /// Only the work item changes the state. There are two exceptions: the step to
    /// [`PumpState::Open`], and a listener that gives up places. Held while data are moved.
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

    /// Returns `true` if the socket was told to end. Any context.
    pub(crate) fn is_ending(&self) -> bool {
        self.teardown.lock().is_some()
    }
}

/// A socket of a guest whose work item moves its data.
pub(crate) trait Pump:
    RingUser + WorkItem<Pointer = Arc<Self>> + HasWork<Self> + Sized + 'static
{
    /// The state before data are moved.
    type Idle: Send + Unpin;
    /// The object that moves the data.
    type Flow: Send + Unpin;
    /// Further data for the callbacks of the socket.
    type Source: Send + Sync + 'static;

    fn data(&self) -> &PumpData<Self>;

    /// Returns the ring that a flow shares with the guest.
    fn shared(flow: &Self::Flow) -> &ConnRing;

    /// Returns `true` if the work item may move data now. If not, the holder of the turn queues it
    /// when it has finished.
    fn begin(&self) -> bool {
        true
    }

    /// Does the work of a turn while no data are moved. Returns `true` if there is more to do.
    fn idle_turn(&self, idle: Option<&Self::Idle>) -> bool;

    /// Moves as much data as possible.
    fn progress(&self, flow: &mut Self::Flow) -> Progress;

    /// Called when there is nothing to do for now.
    fn on_idle(&self, _flow: &Self::Flow) {}

    /// Takes the former state apart, in this order: no more callbacks, the end of the socket, no
    /// more events, and last the memory of the guest. Returns the ring if another connection may
    /// use it. Sleeps.
    fn destroy(&self, state: PumpState<Self>, abort: bool, error: Error) -> Option<Arc<ConnRing>>;

    /// Waits for work that the last events have queued besides the work item. Sleeps.
    fn flush_events(self: &Arc<Self>) {}

    /// Called when the socket has changed. Any context.
    fn socket_changed(_source: &Self::Source) {}

    /// Receives arrived data, in a soft interrupt. Returns `true` if nothing is left to do.
    fn receive(&self, _source: &Self::Source, _tcp: &Locked<'_>) -> bool {
        false
    }

    /// Returns `true` if the pump waits for the room that the socket has now. Any context.
    fn wants_room(&self) -> bool {
        true
    }

    /// Arranges that data is sent, for which the socket has room now. Any context.
    fn send_more(self: &Arc<Self>, _source: &Self::Source) {
        self.wake();
    }

    /// Queues the work item. Any context.
    fn wake(self: &Arc<Self>) {
        // An item that is already queued will see the new work.
        let queue = &self.data().guest.transport.queues.work;
        let _ = queue.enqueue::<_, 0>(self.clone());
    }

    /// Takes the socket apart for RELEASE, which is answered once nothing is shared any more. May
    /// sleep.
    ///
    /// This happens at once if nothing has to be unmapped and no task is moving its data; the
    /// requests of other sockets wait meanwhile. Otherwise the work item does it: also if the socket
    /// has failed, as the work item may still be taking it apart.
    fn release(self: &Arc<Self>, ticket: Response, abort: bool, reuse: bool) {
        *self.data().teardown.lock() = Some(Teardown {
            ticket: Some(ticket),
            abort,
            reuse,
        });
        let state = reuse.then(|| self.data().state.try_lock()).flatten();
        let state = state.filter(|state| !matches!(**state, PumpState::Gone));
        if state.is_none_or(|state| self.run_turn(state)) {
            self.wake();
        }
    }

    /// Marks the socket as one whose link ends. To be followed by [`Self::wake`].
    fn mark_abandoned(&self) {
        self.data().teardown.lock().get_or_insert(Teardown {
            ticket: None,
            abort: true,
            reuse: false,
        });
    }

    /// Tells the work item to take the socket apart: its link ends, or the table does not have it.
    fn abandon(self: &Arc<Self>) {
        self.mark_abandoned();
        self.wake();
    }

    /// Takes the former state apart. Sleeps.
    fn tear_down(self: &Arc<Self>, state: PumpState<Self>, teardown: Teardown) {
        let guest = &self.data().guest;
        match self.destroy(state, teardown.abort, ECONNABORTED) {
            Some(shared) if teardown.reuse => guest.keep(shared),
            other => drop(other),
        }
        self.flush_events();
        if let Some(ticket) = teardown.ticket {
            guest.transport.answer(ticket, Ok(Body::Empty));
        }
    }

    /// Runs one turn of the work item. Returns `true` if there is more to do.
    fn run_turn(self: &Arc<Self>, mut state: MutexGuard<'_, PumpState<Self>>) -> bool {
        if matches!(*state, PumpState::Open(_)) && !self.begin() {
            return false;
        }
        let teardown = self.data().teardown.lock().take();
        if let Some(teardown) = teardown {
            let former = replace(&mut *state, PumpState::Gone);
            drop(state);
            self.tear_down(former, teardown);
            return false;
        }
        let flow = match &mut *state {
            PumpState::Gone => return self.idle_turn(None),
            PumpState::Idle(idle) => return self.idle_turn(Some(idle)),
            PumpState::Open(flow) => flow,
        };
        let turn = Self::shared(flow).begin_turn();
        let (abort, error) = match self.progress(flow) {
            Progress::Busy => return true,
            Progress::Idle => {
                Self::shared(flow).end_turn(turn);
                self.on_idle(flow);
                return false;
            }
            Progress::Failed { abort, error } => (abort, error),
        };
        let former = replace(&mut *state, PumpState::Gone);
        drop(state);
        drop(self.destroy(former, abort, error));
        self.flush_events();
        false
    }

    /// Does the work of the work item. May sleep.
    fn work(self: &Arc<Self>) {
        let state = self.data().state.lock();
        if self.run_turn(state) {
            self.wake();
        }
    }
}

/// Wakes a [`Pump`] in the callbacks of its socket.
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
        P::socket_changed(&self.source);
        self.pump.wake();
    }
}

impl<P: Pump> Callbacks for Waker<P> {
    fn data_ready(&self, tcp: Option<&Locked<'_>>) {
        P::socket_changed(&self.source);
        let is_done = tcp.is_some_and(|tcp| self.pump.receive(&self.source, tcp));
        if !is_done {
            self.pump.wake();
        }
    }

    fn write_space(&self) {
        let wants_room = self.pump.wants_room();
        P::socket_changed(&self.source);
        if wants_room {
            self.pump.send_more(&self.source);
        }
    }

    fn state_change(&self) {
        self.wake();
    }

    fn error_report(&self) {
        self.wake();
    }
}
