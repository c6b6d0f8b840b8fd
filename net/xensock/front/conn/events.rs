// SPDX-License-Identifier: GPL-2.0

//! Events: the backend's changes to the ring of a connection, and the tasks they wake.

mod room;

use super::{
    state::{
        ConnState,
        Phase, //
    },
    Conn, //
};
use crate::{
    commands::wire_error,
    conn_ring::RingUser,
    proto::{
        errno::Ending,
        status::Outcome,
        urgent::Notice, //
    },
};
use kernel::{
    net::sock::{
        Shutdown,
        Sock,
        TcpState, //
    },
    new_spinlock_irq,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        ArcBorrow,
        SpinLockIrq, //
    },
    xen::event::Eoi, //
};

/// The events that the backend was asked for.
#[derive(Default)]
struct RequestedEvents {
    /// The backend's index when the socket was last notified of data. A task that asks for an event
    /// may overwrite the request of another task. If this index has changed, it notifies the socket
    /// for the other task.
    notified: u32,
    /// Set once the socket was told that nothing more will come. After a reset, that may be later
    /// than the news that nothing more can be sent.
    notified_end: bool,
    /// Set once the socket was told that the peer has received all bytes sent and the end.
    notified_finished: bool,
    /// Set if a sender or a polling program waits for room.
    wants_room: bool,
    /// Set if a call waits until the backend has taken the data sent before the call.
    wants_taken: bool,
}

/// The state of the ring.
#[derive(PartialEq, Eq)]
struct RingState {
    arrived: u32,
    taken: u32,
    rx_ending: Ending,
    tx_ending: Ending,
    outcome: Outcome,
    urgent: Option<Notice>,
    has_waiting: bool,
}

/// Events that were asked for and delivered.
#[pin_data]
pub(super) struct Events {
    /// The events that the backend was asked for.
    #[pin]
    requested: SpinLockIrq<RequestedEvents>,
    /// The state of the ring at the last event, with `has_waiting` as last seen. Read from the ring
    /// under this lock.
    #[pin]
    seen: SpinLockIrq<RingState>,
    /// Time when bytes of a stream last arrived, if the program wants timestamps and has not received
    /// them; else 0. Set by the handler, and taken by `recv()` under `rx`.
    arrived_at: Atomic<i64>,
    /// Set once a program polls the socket: each arrival is an edge. `poll()` sets it without a
    /// lock.
    is_polled: Atomic<bool>,
    /// TCP_NOTSENT_LOWAT, or 0. Read by the handler and by `poll()`.
    not_sent_lowat: Atomic<u32>,
}

impl Events {
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            requested <- new_spinlock_irq!(RequestedEvents::default(), "xensock_asked"),
            seen <- new_spinlock_irq!(RingState::INITIAL, "xensock_seen"),
            arrived_at: Atomic::new(0),
            is_polled: Atomic::new(false),
            not_sent_lowat: Atomic::new(0),
        })
    }
}

impl RingState {
    const INITIAL: Self = Self {
        arrived: 0,
        taken: 0,
        rx_ending: Ending::Open,
        tx_ending: Ending::Open,
        outcome: Outcome::Pending,
        urgent: None,
        has_waiting: false,
    };
}

impl Conn {
    /// Asks for a call of [`Sock::data_ready`] of `sk`, the connection's socket, at the next byte.
    /// Returns the number of bytes available now.
    pub(crate) fn expect_data(&self, sk: &Sock) -> u32 {
        let has_news = {
            let mut requested = self.events.requested.lock();
            let arrived = self.ring.expect_data();
            core::mem::replace(&mut requested.notified, arrived) != arrived
        };
        if has_news {
            sk.data_ready();
        }
        self.ring.peek_readable()
    }

    /// As [`Self::expect_data`], when the program may have stopped receiving.
    pub(super) fn expect_more(&self) {
        let sk = {
            let state = self.state.lock();
            state.is_open().then(|| state.sk.clone())
        };
        if let Some(sk) = sk {
            self.expect_data(&sk);
        }
    }

    /// Notes the time of arrival, if the program wants timestamps.
    pub(super) fn note_arrival(&self, sk: &Sock) {
        if sk.wants_timestamp() || sk.keeps_timestamp() {
            self.events.arrived_at.store(Sock::time_of_day(), Relaxed);
        }
    }

    /// Returns the time when the data being received arrived, as reported by the last event, or the
    /// current time if no event has reported them. Keeps it for a later call if `is_peek`.
    pub(crate) fn take_arrival(&self, is_peek: bool) -> i64 {
        let arrived = match is_peek {
            true => self.events.arrived_at.load(Relaxed),
            false => self.events.arrived_at.xchg(0, Relaxed),
        };
        match arrived {
            0 => Sock::time_of_day(),
            arrived => arrived,
        }
    }

    /// Notes that a program polls the socket. Returns `true` if none has before: then the caller
    /// has to ask for an event.
    pub(crate) fn set_polled(&self) -> bool {
        let is_first = !self.events.is_polled.load(Relaxed);
        if is_first {
            self.events.is_polled.store(true, Relaxed);
        }
        is_first
    }

    /// Returns `true` once a program has polled the socket.
    pub(crate) fn is_polled(&self) -> bool {
        self.events.is_polled.load(Relaxed)
    }

    /// Notifies the socket of the backend's changes to the ring. Any context.
    pub(crate) fn update_socket(&self) {
        let mut state = self.state.lock();
        if state.is_open() {
            self.update_socket_locked(&mut state);
        }
    }

    /// Notifies the socket of changes to the ring. Called under `state`.
    pub(super) fn update_socket_locked(&self, state: &mut ConnState) {
        let ConnState { phase, sk } = state;
        let ring = &self.ring;
        // Read the endings before the bytes: all bytes before an ending are seen then.
        let (rx_ending, tx_ending) = (ring.rx_ending(), ring.tx_ending());

        let (has_data, has_end, has_finished, has_room) = {
            let mut requested = self.events.requested.lock();
            let arrived = if self.events.is_polled.load(Relaxed) {
                // Each arrival is an edge.
                ring.expect_data()
            } else {
                ring.arrived()
            };
            let has_data = core::mem::replace(&mut requested.notified, arrived) != arrived;
            let has_room = requested.wants_room && self.has_room_to_wake();
            requested.wants_room &= !has_room;
            let has_end =
                rx_ending != Ending::Open && !core::mem::replace(&mut requested.notified_end, true);
            let has_finished = tx_ending == Ending::Orderly
                && !core::mem::replace(&mut requested.notified_finished, true);
            (has_data, has_end, has_finished, has_room)
        };
        self.check_urgent(sk);
        if has_data {
            sk.update_incoming_cpu();
            self.note_arrival(sk);
            sk.data_ready();
        }
        if has_room {
            sk.write_space();
        }
        let failure = [tx_ending, rx_ending].into_iter().find_map(|e| match e {
            Ending::Failed(errno) => Some(wire_error(errno)),
            _ => None,
        });
        // Before the end: tasks must not take a failure for an orderly end.
        let is_told = failure.is_some_and(|error| self.report_failure(phase, sk, error));
        if has_end {
            sk.add_shutdown(Shutdown::Recv);
        }
        if has_end || has_finished {
            sk.set_state(state_after(
                sk.state(),
                rx_ending == Ending::Orderly,
                tx_ending == Ending::Orderly,
            ));
            if !is_told {
                sk.state_changed();
            }
        }
    }

    /// Returns `true` if the backend has changed anything since the last event.
    fn has_news(&self) -> bool {
        let mut seen = self.events.seen.lock();
        let now = RingState {
            arrived: self.ring.arrived(),
            taken: self.ring.taken(),
            rx_ending: self.ring.rx_ending(),
            tx_ending: self.ring.tx_ending(),
            outcome: self.ring.outcome(),
            urgent: Notice::load(&**self.ring),
            has_waiting: self.ring.has_waiting(),
        };
        let has_news = *seen != now;
        *seen = now;
        has_news
    }

    /// Returns `true` if the backend has connections for which there is no ACCEPT, as far as this
    /// posted connection shows. If it has none later, that is news for the handler, although the
    /// backend has not notified of having some.
    pub(crate) fn sees_waiting(&self) -> bool {
        let mut seen = self.events.seen.lock();
        let waits = self.ring.has_waiting();
        // Only the handler notes that none wait any more, and wakes those who have seen some.
        seen.has_waiting |= waits;
        waits
    }
}

/// Returns the TCP state of an end whose peer has finished sending, or has acknowledged all bytes
/// sent and the end.
fn state_after(state: TcpState, has_finished: bool, has_acknowledged: bool) -> TcpState {
    match (state, has_finished, has_acknowledged) {
        (TcpState::Established, true, _) => TcpState::CloseWait,
        (TcpState::FinWait1, false, true) => TcpState::FinWait2,
        (TcpState::FinWait1, true, false) => TcpState::Closing,
        // The backend's TCP does what remains, such as TIME-WAIT.
        (TcpState::FinWait1, true, true)
        | (TcpState::FinWait2, true, _)
        | (TcpState::Closing | TcpState::LastAck, _, true) => TcpState::Close,
        (state, _, _) => state,
    }
}

impl RingUser for Conn {
    fn is_gone(&self) -> bool {
        self.state.lock().phase == Phase::Gone
    }

    fn handle(self: ArcBorrow<'_, Self>) -> Eoi {
        // First: a change that happens meanwhile counts as news for the next event as well.
        let has_news = self.has_news();
        Self::look_for_outcome(self);
        if has_news {
            self.wake_listener();
        }
        self.content.handle_changes(self);
        Self::release_if_drained(self);
        if has_news {
            Eoi::Done
        } else {
            Eoi::Spurious
        }
    }
}
