// SPDX-License-Identifier: GPL-2.0

//! A connection of a guest, and its work item.

mod events;
mod place;

pub(crate) use place::{
    Posted,
    Registry, //
};

use crate::{
    byte_stream::ByteStream,
    conn_ring::{
        ConnRing,
        RingUser, //
    },
    fast_path::{
        FastPath,
        Mover, //
    },
    guest::Guest,
    outcome_report::OutcomeReport,
    proto::{
        ring::{
            Order,
            Violation, //
        },
        Body,
        Response,
        RingRef,
        Way, //
    },
    pump::{
        Progress,
        Pump,
        PumpData,
        PumpState,
        Waker, //
    },
    socket::GuestSocket, //
};
use core::{
    mem::take,
    net::SocketAddr, //
};
use kernel::{
    impl_has_work,
    net::{
        kernel_socket::{
            CallbacksPlace,
            Locked,
            Tcp, //
        },
        sock::{
            ShutdownMask,
            TcpState, //
        }, //
    },
    new_spinlock,
    new_spinlock_irq,
    new_work,
    prelude::*,
    sync::{
        Arc,
        SpinLock,
        SpinLockIrq, //
    },
    workqueue::Work, //
};
use place::AcceptPlace;

/// Requests of the guest that the work item has to perform.
#[derive(Default)]
struct PendingRequests {
    /// The directions to shut down after the last byte of `out`.
    shut: ShutdownMask,
    /// The SHRINK requests of `in` and of `out`.
    shrink: [Option<Response>; 2],
}

impl PendingRequests {
    fn shrink(&mut self, way: Way) -> &mut Option<Response> {
        let [input, output] = &mut self.shrink;
        match way {
            Way::In => input,
            Way::Out => output,
        }
    }
}

/// A connection of a guest, or a place for one.
#[pin_data]
pub(crate) struct Conn {
    id: u64,
    /// A listener fills and cancels posted places.
    #[pin]
    pump: PumpData<Conn>,
    /// The data of [`Posted`], kept outside `state` for callers that must not wait for
    /// the work item.
    #[pin]
    place: SpinLockIrq<Option<AcceptPlace>>,
    /// The path that `state` holds, for callers that must not wait for the work item.
    #[pin]
    path: SpinLockIrq<Option<Arc<FastPath>>>,
    mover: Mover,
    #[pin]
    pending: SpinLock<PendingRequests>,
    #[pin]
    work: Work<Conn>,
    #[pin]
    softirq: Work<Conn, SOFTIRQ>,
}

/// The work item that is executed in a soft interrupt, for the [`FastPath`].
const SOFTIRQ: u64 = 1;

impl_has_work! {
    impl HasWork<Self> for Conn { self.work }
    impl HasWork<Self, SOFTIRQ> for Conn { self.softirq }
}

impl Conn {
    fn new(guest: &Arc<Guest>, id: u64) -> Result<Arc<Self>> {
        Arc::pin_init(
            try_pin_init!(Self {
                id,
                pump <- PumpData::new(guest, PumpState::Gone),
                place <- new_spinlock_irq!(None, "xensock_place"),
                path <- new_spinlock_irq!(None, "xensock_path"),
                mover: Mover::new(),
                pending <- new_spinlock!(PendingRequests::default(), "xensock_asked"),
                work <- new_work!("xensock_conn"),
                softirq <- new_work!("xensock_softirq"),
            }),
            GFP_KERNEL,
        )
    }

    fn guest(&self) -> &Arc<Guest> {
        &self.pump.guest
    }

    /// Begins to connect a socket to `addr`. If this succeeds, `completion` reports the outcome
    /// later.
    pub(crate) fn connect(
        guest: &Arc<Guest>,
        id: u64,
        socket: Arc<GuestSocket<Tcp>>,
        addr: SocketAddr,
        ring: RingRef,
        completion: OutcomeReport,
    ) -> Result<Arc<Self>> {
        // Checked before anything is mapped.
        let peer = socket.reachable(addr)?;
        let conn = Self::new(guest, id)?;
        let shared = guest.ring_for(ring, conn.clone(), socket.tenant())?;

        let path = FastPath::put(FastPath::place()?, guest, socket.clone(), shared);
        // Allocated before the peer hears of the connection, which must not fail for want of memory
        // then: TCP does not repeat a reset that it had no memory for.
        let callbacks = CallbacksPlace::new()?;
        // If the user has used up its memory, the peer is promised little room from the start.
        socket.update_memory();
        match socket.connect(peer) {
            Ok(()) | Err(EINPROGRESS) => (),
            Err(error) => return Err(error),
        }
        socket
            .tcp()
            .set_callbacks_in(callbacks, Waker::new(&conn, path.clone()))
            // Only if BPF has callbacks of its own on the socket.
            .inspect_err(|_| socket.tcp().set_linger_abort())?;
        *conn.path.lock() = Some(path.clone());
        let mut stream = ByteStream::new(guest, id, path, Some((completion, addr)));
        // A peer in this domain has answered by now. The guest finds the outcome with the response,
        // which follows. A refusal is left to the first turn, which finds it too.
        let _ = stream.establish(guest);
        *conn.pump.state.lock() = PumpState::Open(stream);
        // For events before the callbacks and the channel were there.
        conn.work();
        Ok(conn)
    }

    /// Returns the socket, while the connection has one.
    pub(crate) fn socket(&self) -> Option<Arc<GuestSocket<Tcp>>> {
        self.path.lock().as_ref().map(|path| path.socket.clone())
    }

    /// Counts the memory of the socket, if there is one. Any context.
    pub(crate) fn count_memory(&self) {
        // Under the lock: another reference could delay the end of the socket.
        if let Some(path) = &*self.path.lock() {
            path.socket.count_memory_again();
        }
    }

    /// Checks that there is a connection. `ENOTCONN` before it is established and after it has
    /// ended.
    pub(crate) fn check_connected(&self) -> Result {
        let socket = self.socket().ok_or(ENOTCONN)?;
        match socket.tcp().tcp_state() {
            TcpState::SynSent | TcpState::Close => Err(ENOTCONN),
            _ => Ok(()),
        }
    }

    /// Shuts the socket down once all data sent by the guest are on their way. `ENOTCONN` if there
    /// is no connection.
    pub(crate) fn shut_down(self: &Arc<Self>, directions: ShutdownMask) -> Result {
        self.check_connected()?;
        self.pending.lock().shut |= directions;
        self.wake();
        Ok(())
    }

    /// Adds an extension to a direction of the ring. `ENOTCONN` if there is no connection. May
    /// sleep.
    pub(crate) fn grow(self: &Arc<Self>, way: Way, order: Order) -> Result {
        self.check_connected()?;
        let (ring, socket) = {
            let path = self.path.lock();
            let path = (*path).as_ref().ok_or(ENOTCONN)?;
            (path.shared.ring.clone(), path.socket.clone())
        };
        self.guest().extend(&ring, way, order, socket.tenant())?;
        // The producer changes to the extension.
        self.wake();
        Ok(())
    }

    /// Begins to unmap the extension of a direction, which answers `ticket`. `EALREADY` if that is
    /// in progress.
    pub(crate) fn shrink(this: &Arc<Self>, way: Way, ticket: Response) -> Result {
        {
            let mut pending = this.pending.lock();
            let slot = pending.shrink(way);
            if slot.is_some() {
                return Err(EALREADY);
            }
            *slot = Some(ticket);
        }
        this.wake();
        Ok(())
    }

    /// Answers SHRINK.
    fn answer_shrink(&self, tickets: [Option<Response>; 2], result: impl Fn(usize) -> Result) {
        for (i, ticket) in tickets.into_iter().enumerate() {
            if let Some(ticket) = ticket {
                self.guest()
                    .transport
                    .answer(ticket, result(i).map(|()| Body::Empty));
            }
        }
    }

    /// Changes the memory of the directions as far as possible, and answers SHRINK.
    fn resize(&self, stream: &ByteStream, tickets: [Option<Response>; 2]) {
        let unwanted = |way: Way| match way {
            Way::In => tickets[0].is_some(),
            Way::Out => tickets[1].is_some(),
        };
        let resized = stream.shared().resize(unwanted);
        self.answer_shrink(tickets, |i| match &resized {
            Ok(done) if done.get(i) == Some(&true) => Ok(()),
            // The turn that follows finds the violation too, and ends the connection.
            Ok(_) | Err(Violation) => Err(EBUSY),
        });
    }
}

impl Pump for Conn {
    type Idle = Posted;
    type Flow = ByteStream;
    type Source = Arc<FastPath>;

    fn data(&self) -> &PumpData<Self> {
        &self.pump
    }

    fn shared(stream: &ByteStream) -> &ConnRing {
        stream.shared()
    }

    fn begin(&self) -> bool {
        self.mover.begin_work()
    }

    fn idle_turn(&self, _: Option<&Posted>) -> bool {
        // There is no extension.
        let shrink = take(&mut self.pending.lock().shrink);
        self.answer_shrink(shrink, |_| Ok(()));
        if let Some(place) = &*self.place.lock() {
            // There is nothing that the guest could report yet.
            place.shared.notifier.eoi(true);
        }
        false
    }

    fn progress(&self, stream: &mut ByteStream) -> Progress {
        let (shut, shrink) = {
            let mut pending = self.pending.lock();
            (pending.shut, take(&mut pending.shrink))
        };
        self.resize(stream, shrink);
        stream.progress(self.guest(), shut).unwrap_or_else(|_| {
            self.guest()
                .transport
                .warn_once(c"impossible index in a data ring, connection reset");
            Progress::Failed {
                abort: true,
                error: ECONNABORTED,
            }
        })
    }

    fn on_idle(&self, stream: &ByteStream) {
        if stream.can_use_fast_path() {
            self.mover.end_work();
        }
    }

    fn destroy(&self, state: PumpState<Self>, abort: bool, error: Error) -> Option<Arc<ConnRing>> {
        let tickets = take(&mut self.pending.lock().shrink);
        self.answer_shrink(tickets, |_| Err(ECONNABORTED));
        match state {
            PumpState::Gone => None,
            PumpState::Idle(Posted) => {
                let AcceptPlace {
                    registry,
                    shared,
                    completion,
                    ..
                } = self.place.lock().take()?;
                if let OutcomeReport::Response(_) = completion {
                    // An ACCEPT that is answered with an error creates no socket.
                    registry.forget(self.id, self);
                }
                completion.fail(&self.guest().transport, shared, error);
                None
            }
            PumpState::Open(stream) => {
                let path = self.path.lock().take();
                // This is not the last reference.
                drop(path);
                stream.end(self.guest(), abort, error)
            }
        }
    }

    fn flush_events(self: &Arc<Self>) {
        self.flush_softirq();
    }

    fn socket_changed(path: &Arc<FastPath>) {
        path.socket.update_memory_in_callback(None);
    }

    fn send_more(self: &Arc<Self>, path: &Arc<FastPath>) {
        if path.socket.tcp().buffered().sent == 0 && !self.mover.is_idle() {
            // TCP has no memory, and calls this at each attempt to send.
            self.wake();
        } else {
            self.as_arc_borrow().ring_has_news();
        }
    }

    fn receive(&self, path: &Arc<FastPath>, tcp: &Locked<'_>) -> bool {
        let is_done = self.mover.in_softirq(|| path.receive_at_once(tcp));
        // More may arrive before the work item runs.
        path.socket.update_memory_in_callback(Some(tcp));
        is_done
    }
}
