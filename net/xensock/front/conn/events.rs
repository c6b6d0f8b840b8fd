// SPDX-License-Identifier: GPL-2.0

//! What the backend does to the ring of a connection, and who is told.

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
        TcpState,
        Timeout, //
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

/// What the backend was asked to notify us of.
#[derive(Default)]
struct Asked {
    /// The backend's index when the socket was last told that data came. Whoever asks anew may
    /// have overwritten the wish of another to hear of what came since, and passes it on.
    told: u32,
    /// The socket was told that nothing more will come: after a reset, that may be later than the
    /// news that nothing more can be sent.
    told_end: bool,
    /// The socket was told that the peer has got all that was sent, and its end.
    told_finished: bool,
    /// A sender, or a program that polls, waits for room.
    wants_room: bool,
    /// A call waits until what was sent before it is taken.
    wants_taken: bool,
}

/// What the backend has done, as far as an event tells of it.
#[derive(PartialEq, Eq)]
struct Seen {
    arrived: u32,
    taken: u32,
    rx_ending: Ending,
    tx_ending: Ending,
    outcome: Outcome,
    urgent: Option<Notice>,
    has_waiting: bool,
}

/// What was asked for and told of a ring.
#[pin_data]
pub(super) struct Events {
    /// What the backend was asked to notify us of.
    #[pin]
    asked: SpinLockIrq<Asked>,
    /// What the last event has brought. Only the handler uses it.
    #[pin]
    seen: SpinLockIrq<Seen>,
    /// When data were last seen to arrive, if the program wants to know and was not told; or 0. Set by
    /// the handler, and taken by `recv()`, which has `rx`.
    arrived_at: Atomic<i64>,
    /// A program polls: each arrival is an edge. Set by `poll()`, which takes no lock.
    is_polled: Atomic<bool>,
    /// TCP_NOTSENT_LOWAT, or 0. Looked at by the handler and by `poll()`.
    not_sent_lowat: Atomic<u32>,
}

impl Events {
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            asked <- new_spinlock_irq!(Asked::default(), "xensock_asked"),
            seen <- new_spinlock_irq!(Seen::NOTHING, "xensock_seen"),
            arrived_at: Atomic::new(0),
            is_polled: Atomic::new(false),
            not_sent_lowat: Atomic::new(0),
        })
    }
}

/// How often the index of a backend is looked at that takes what was sent in the meantime.
const MAX_LOOKS: usize = 64;

impl Seen {
    const NOTHING: Self = Self {
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
    /// Returns the room that makes a socket writable again once it was full.
    fn room_to_wake(&self) -> u32 {
        self.content.room_to_wake(self)
    }

    /// Has a program that polls be told to write only while fewer bytes than half of this were not
    /// taken by the backend, as `tcp_stream_memory_free()` has it; 0 stands for no such limit.
    pub(crate) fn set_not_sent_lowat(&self, bytes: u32) {
        self.events.not_sent_lowat.store(bytes, Relaxed);
    }

    /// The room that there is as long as less than half of TCP_NOTSENT_LOWAT was not taken.
    pub(super) fn room_for_lowat(&self) -> u32 {
        match self.events.not_sent_lowat.load(Relaxed).checked_sub(1) {
            Some(less) => self.ring.tx_size().saturating_sub(less / 2),
            None => 0,
        }
    }

    /// Whether there is room enough to wake somebody for. If not, the next event is asked for: the
    /// last one may have come early, because more was sent since it was asked for. Called under
    /// `asked`.
    fn has_room_to_wake(&self) -> bool {
        let has_room = || self.ring.peek_writable() >= self.room_to_wake();
        if has_room() {
            return true;
        }
        self.ring.expect_room(self.room_to_wake());
        has_room()
    }

    /// Whether a program that polls may be told to write. If not, it will be woken.
    pub(crate) fn poll_writable(&self) -> bool {
        self.ring.peek_writable() >= self.room_to_wake()
            || self.expect_room() >= self.room_to_wake()
    }

    /// Has [`Sock::write_space`] called once there is room, and returns the room there is already.
    pub(crate) fn expect_room(&self) -> u32 {
        {
            let mut asked = self.events.asked.lock();
            asked.wants_room = true;
            self.ask_for_room(&asked);
        }
        self.ring.peek_writable()
    }

    /// Asks for the event that comes first of those that are wanted. Who asks looks again.
    fn ask_for_room(&self, asked: &Asked) {
        if !asked.wants_taken {
            return self.ring.expect_room(self.room_to_wake());
        }
        // For the next byte that is taken, whichever that is by now. A backend that is always ahead
        // of us, or moves its index to and fro, says when it has taken all.
        for _ in 0..MAX_LOOKS {
            let room = self.ring.peek_writable();
            if room >= self.ring.tx_size() {
                return;
            }
            self.ring.expect_room(room.wrapping_add(1));
            if self.ring.peek_writable() == room {
                return;
            }
        }
        self.ring.expect_room(self.ring.tx_size());
    }

    /// Waits, killably, until the backend has taken what was sent so far, if a request must not overtake
    /// that.
    pub(crate) fn settle(&self) -> Result {
        if !self.content.minds_requests() {
            return Ok(());
        }
        let sent = self.ring.produced();
        let is_taken = || {
            let left = sent.wrapping_sub(self.ring.taken());
            left == 0 || left > self.ring.tx_size() || self.death().is_some()
        };
        if is_taken() {
            return Ok(());
        }
        let sk = self.state.lock().sk.clone();
        let mut timeout = Timeout::FOREVER;
        sk.wait_killable(&mut timeout, || {
            {
                let mut asked = self.events.asked.lock();
                asked.wants_taken = true;
                self.ask_for_room(&asked);
            }
            is_taken()
        })?;
        Ok(())
    }

    /// Whether those who wait for room, or for what was sent to be taken, have to look again.
    pub(super) fn has_taken(&self) -> bool {
        let mut asked = self.events.asked.lock();
        let is_taken = core::mem::take(&mut asked.wants_taken);
        if is_taken && asked.wants_room {
            self.ask_for_room(&asked);
        }
        let has_room = asked.wants_room && self.has_room_to_wake();
        asked.wants_room &= !has_room;
        has_room || is_taken
    }

    /// Asks for the event that all was taken.
    pub(super) fn expect_drained(&self) {
        let _asked = self.events.asked.lock();
        self.ring.expect_room(self.ring.tx_size());
    }

    /// Has [`Sock::data_ready`] of `sk`, whose connection this is, called for the next byte, and
    /// returns what there is already.
    pub(crate) fn expect_data(&self, sk: &Sock) -> u32 {
        let is_news = {
            let mut asked = self.events.asked.lock();
            let arrived = self.ring.expect_data();
            core::mem::replace(&mut asked.told, arrived) != arrived
        };
        if is_news {
            sk.data_ready();
        }
        self.ring.peek_readable()
    }

    /// As [`Self::expect_data`], for one whose program may have stopped receiving.
    pub(super) fn expect_more(&self) {
        let sk = {
            let state = self.state.lock();
            state.is_open().then(|| state.sk.clone())
        };
        if let Some(sk) = sk {
            self.expect_data(&sk);
        }
    }

    /// Notes that data have arrived, for a program that wants to know when.
    pub(super) fn note_arrival(&self, sk: &Sock) {
        if sk.wants_timestamp() {
            self.events.arrived_at.store(Sock::time_of_day(), Relaxed);
        }
    }

    /// When the data arrived that are being received, as far as an event has told of them: now at
    /// the latest.
    pub(crate) fn take_arrival(&self) -> i64 {
        match self.events.arrived_at.xchg(0, Relaxed) {
            0 => Sock::time_of_day(),
            arrived => arrived,
        }
    }

    /// Notes that a program polls the socket.
    pub(crate) fn set_polled(&self) {
        if !self.events.is_polled.load(Relaxed) {
            self.events.is_polled.store(true, Relaxed);
        }
    }

    /// Returns whether a program has polled the socket.
    pub(crate) fn is_polled(&self) -> bool {
        self.events.is_polled.load(Relaxed)
    }

    /// Passes on what the backend has done to the ring. Any context.
    pub(crate) fn pass_on(&self) {
        let mut state = self.state.lock();
        if state.is_open() {
            self.tell(&mut state);
        }
    }

    /// Tells the socket what has happened to the ring. Called under `state`.
    pub(super) fn tell(&self, state: &mut ConnState) {
        let ConnState { phase, sk } = state;
        let ring = &self.ring;
        // The endings before the bytes: what came before an ending is seen with it.
        let (rx_ending, tx_ending) = (ring.rx_ending(), ring.tx_ending());

        let (has_data, has_end, has_finished, has_room) = {
            let mut asked = self.events.asked.lock();
            let arrived = if self.events.is_polled.load(Relaxed) {
                // Each arrival is an edge.
                ring.expect_data()
            } else {
                ring.arrived()
            };
            let has_data = core::mem::replace(&mut asked.told, arrived) != arrived;
            let has_room = asked.wants_room && self.has_room_to_wake();
            asked.wants_room &= !has_room;
            let has_end =
                rx_ending != Ending::Open && !core::mem::replace(&mut asked.told_end, true);
            let has_finished =
                tx_ending == Ending::Orderly && !core::mem::replace(&mut asked.told_finished, true);
            (has_data, has_end, has_finished, has_room)
        };
        self.hear_urgent(sk);
        if has_data {
            self.note_arrival(sk);
            sk.data_ready();
        }
        if has_room {
            sk.write_space();
        }
        if has_end {
            sk.add_shutdown(Shutdown::Recv);
        }
        if has_end || has_finished {
            sk.set_state(state_after(
                sk.state(),
                rx_ending == Ending::Orderly,
                tx_ending == Ending::Orderly,
            ));
            sk.state_changed();
        }
        let failure = [tx_ending, rx_ending].into_iter().find_map(|e| match e {
            Ending::Failed(errno) => Some(wire_error(errno)),
            _ => None,
        });
        if let Some(error) = failure {
            self.tell_failed(phase, sk, error);
        }
    }

    /// Whether the backend has done anything since the last event.
    fn has_news(&self) -> bool {
        let now = Seen {
            arrived: self.ring.arrived(),
            taken: self.ring.taken(),
            rx_ending: self.ring.rx_ending(),
            tx_ending: self.ring.tx_ending(),
            outcome: self.ring.outcome(),
            urgent: Notice::load(&**self.ring),
            has_waiting: self.ring.has_waiting(),
        };
        let mut seen = self.events.seen.lock();
        let is_news = *seen != now;
        *seen = now;
        is_news
    }
}

/// The state of TCP in which an end is whose peer has finished sending, or has acknowledged all
/// that was sent and its end.
fn state_after(state: TcpState, has_finished: bool, has_acknowledged: bool) -> TcpState {
    match (state, has_finished, has_acknowledged) {
        (TcpState::Established, true, _) => TcpState::CloseWait,
        (TcpState::FinWait1, false, true) => TcpState::FinWait2,
        (TcpState::FinWait1, true, false) => TcpState::Closing,
        // What remains of the connection is the backend's.
        (TcpState::FinWait1, true, true)
        | (TcpState::FinWait2, true, _)
        | (TcpState::Closing | TcpState::LastAck, _, true) => TcpState::Close,
        (state, _, _) => state,
    }
}

impl RingUser for Conn {
    fn has_parted(&self) -> bool {
        self.state.lock().phase == Phase::Parted
    }

    fn handle(self: ArcBorrow<'_, Self>) -> Eoi {
        // Before it is dealt with: what comes meanwhile is news to the next event as well.
        let is_news = self.has_news();
        Self::look_for_outcome(self);
        if is_news {
            self.tell_expected();
        }
        self.content.look(self);
        Self::release_if_drained(self);
        if is_news {
            Eoi::Done
        } else {
            Eoi::Spurious
        }
    }
}
