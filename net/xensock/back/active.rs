// SPDX-License-Identifier: GPL-2.0

//! A connection of a guest, and the work item that is its only thread.

use crate::{
    guest::Guest,
    io::{
        Charge,
        Io,
        Outcome, //
    },
    policy,
    proto::{
        indexes,
        ring::Order,
        Response,
        RingRef, //
    },
    ring::{
        DataRing,
        End, //
    }, //
};
use core::net::SocketAddr;
use kernel::{
    impl_has_work,
    net::{
        addr::Domain,
        kernel_socket::{
            Callbacks,
            KernelSocket, //
        }, //
    },
    new_mutex,
    new_spinlock,
    new_work,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Full,
            Release, //
        },
        Arc,
        ArcBorrow,
        Mutex,
        SpinLock, //
    },
    workqueue::{
        Work,
        WorkItem, //
    },
    xen::{
        event::{
            Eoi,
            EventChannel,
            Handler, //
        },
        grant::MappedPages,
        GrantRef,
        Port, //
    }, //
};

/// How a connection is to end.
#[derive(Clone, Copy)]
enum Farewell {
    /// RELEASE, to be answered.
    Release { ticket: Response, abort: bool },
    /// The link is gone: the peer sees a reset, and nobody waits for an answer.
    Abandon,
}

/// A connection of a guest.
#[pin_data]
pub(crate) struct Active {
    guest: Arc<Guest>,
    /// `None` once it was taken apart.
    #[pin]
    io: Mutex<Option<Io>>,
    #[pin]
    farewell: SpinLock<Option<Farewell>>,
    /// The event channel is masked until the work item has run.
    owes_eoi: Atomic<bool>,
    #[pin]
    work: Work<Active>,
}

impl_has_work! {
    impl HasWork<Self> for Active { self.work }
}

impl Active {
    /// Begins to connect a new socket to `addr`. The connection answers `ticket`, unless this fails.
    pub(crate) fn connect(
        guest: &Arc<Guest>,
        addr: SocketAddr,
        ring: RingRef,
        ticket: Response,
    ) -> Result<Arc<Self>> {
        policy::may_connect(&addr)?;
        let port = Port::new(ring.port);
        let (charge, ring) = map_ring(guest, GrantRef::new(ring.grant))?;
        let socket = KernelSocket::stream(policy::namespace(), Domain::Inet)?;
        let active = Arc::pin_init(
            try_pin_init!(Self {
                guest: guest.clone(),
                io <- new_mutex!(None, "xensock_io"),
                farewell <- new_spinlock!(None, "xensock_farewell"),
                owes_eoi: Atomic::new(false),
                work <- new_work!("xensock_io"),
            }),
            GFP_KERNEL,
        )?;
        let channel = EventChannel::bind(&guest.dev, port, c"xensock", active.clone())?;

        socket.set_callbacks(Arc::new(Waker(active.clone()), GFP_KERNEL)?)?;
        match socket.connect(addr) {
            Ok(()) | Err(EINPROGRESS) => (),
            Err(error) => return Err(error),
        }
        *active.io.lock() = Some(Io::new(channel, socket, ring, charge, ticket));
        active.wake();
        Ok(active)
    }

    /// Has the work item run.
    fn wake(self: &Arc<Self>) {
        // An item that is queued already will see what there is to do.
        let _ = self.guest.queue.enqueue(self.clone());
    }

    /// Ends the connection for RELEASE, which is answered once nothing is shared any more.
    pub(crate) fn release(this: Arc<Self>, ticket: Response, abort: bool) {
        *this.farewell.lock() = Some(Farewell::Release { ticket, abort });
        this.wake();
    }

    /// Ends connections because their link ends.
    ///
    /// First all are marked: a peer may answer the reset of one by closing another, which is then
    /// reset as well and not ended in good order.
    pub(crate) fn abandon<'a, I>(actives: impl Fn() -> I)
    where
        I: Iterator<Item = &'a Arc<Self>>,
    {
        for active in actives() {
            (*active.farewell.lock()).get_or_insert(Farewell::Abandon);
        }
        for active in actives() {
            active.wake();
        }
    }

    /// Takes the connection apart. Sleeps.
    fn part(&self, io: &mut Option<Io>, farewell: Farewell) {
        let (answer, abort) = match farewell {
            Farewell::Release { ticket, abort } => (Some(ticket), abort),
            Farewell::Abandon => (None, true),
        };
        if let Some(mut io) = io.take() {
            let connecting = io.take_connecting();
            if abort {
                io.abort();
            }
            // Whatever is answered, the guest may then reuse the ring.
            drop(io);
            if let Some(ticket) = connecting {
                self.guest.answer(ticket, Err(ECONNABORTED), None);
            }
        }
        if let Some(ticket) = answer {
            self.guest.answer(ticket, Ok(()), None);
        }
    }

    /// One turn of the work item. Returns whether there is more to do.
    fn turn(&self) -> bool {
        let mut guard = self.io.lock();
        let farewell = self.farewell.lock().take();
        if let Some(farewell) = farewell {
            self.part(&mut guard, farewell);
            return false;
        }
        let Some(io) = (*guard).as_mut() else {
            return false;
        };

        let owes_eoi = self.owes_eoi.load(Acquire);
        let indexes = io.indexes();
        match io.progress(&self.guest) {
            Ok(Outcome::Busy) => return true,
            Ok(Outcome::Idle) => {
                if owes_eoi {
                    self.owes_eoi.store(false, Release);
                    io.eoi(indexes);
                }
            }
            Ok(Outcome::Refused(ticket, error)) => {
                *guard = None;
                self.guest.answer(ticket, Err(error), None);
            }
            Err(_) => {
                self.guest
                    .warn_once(c"impossible index in a data ring, connection reset");
                self.part(&mut guard, Farewell::Abandon);
            }
        }
        false
    }
}

impl Handler for Active {
    fn handle(this: ArcBorrow<'_, Self>) -> Eoi {
        this.owes_eoi.xchg(true, Full);
        let active = Arc::from(this);
        active.wake();
        Eoi::Later
    }
}

/// Wakes a connection for what its socket has to say.
struct Waker(Arc<Active>);

impl Callbacks for Waker {
    fn data_ready(&self) {
        self.0.wake();
    }

    fn write_space(&self) {
        self.0.wake();
    }

    fn state_change(&self) {
        self.0.wake();
    }

    fn error_report(&self) {
        self.0.wake();
    }
}

impl WorkItem for Active {
    type Pointer = Arc<Active>;

    fn run(this: Arc<Active>) {
        if this.turn() {
            this.wake();
        }
    }
}

/// Maps the data ring that the indexes page `grant` describes. Each word of it is read once.
fn map_ring(guest: &Arc<Guest>, grant: GrantRef) -> Result<(Charge, DataRing<MappedPages>)> {
    let from = guest.dev.otherend_id();
    let index = MappedPages::new(from, &[grant])?;
    let order = index.word(indexes::RING_ORDER)?.load(Acquire);
    let order = Order::new(order).ok_or(EINVAL)?;
    let charge = Charge::new(guest, order.pages() + 1)?;

    let mut refs = KVec::with_capacity(order.pages(), GFP_KERNEL)?;
    for i in 0..order.pages() {
        let offset = indexes::ref_offset(i).ok_or(EINVAL)?;
        let grant = GrantRef::new(index.word(offset)?.load(Acquire));
        refs.push(grant, GFP_KERNEL)?;
    }
    let data = MappedPages::new(from, &refs)?;
    let ring = DataRing::new(index, data, order, End::Back, guest.event_index)?;
    Ok((charge, ring))
}
