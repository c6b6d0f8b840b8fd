// SPDX-License-Identifier: GPL-2.0

//! A datagram socket of a guest, and the work item that moves its datagrams.

mod groups;

use crate::{
    conn_ring::{
        ConnRing,
        RingUser, //
    },
    frames::{
        discard,
        Frames, //
    },
    guest::Guest,
    proto::RingRef,
    pump::{
        Progress,
        Pump,
        PumpData,
        PumpState,
        Waker, //
    },
    socket::GuestSocket, //
};
use core::net::SocketAddr;
use groups::{
    Groups,
    GROUPS, //
};
use kernel::{
    impl_has_work,
    net::kernel_socket::Udp,
    new_spinlock,
    new_work,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Full,
            Relaxed, //
        },
        Arc,
        ArcBorrow,
        SpinLock, //
    },
    workqueue::{
        Work,
        WorkItem, //
    }, //
};

/// A datagram socket of a guest.
#[pin_data]
pub(crate) struct DatagramSocket {
    /// ATTACH adds the ring.
    #[pin]
    pump: PumpData<DatagramSocket>,
    /// UDP's socket, until it is closed.
    #[pin]
    socket: SpinLock<Option<Arc<GuestSocket<Udp>>>>,
    /// There is a ring, or there was one. Only commands look at it, one at a time.
    has_ring: Atomic<bool>,
    /// UDP had no room for a datagram, and is to say when it has.
    wants_room: Atomic<bool>,
    #[pin]
    groups: Groups,
    #[pin]
    work: Work<DatagramSocket>,
    /// The same for a socket that has to do with groups.
    #[pin]
    moved_work: Work<DatagramSocket, GROUPS>,
}

impl_has_work! {
    impl HasWork<Self> for DatagramSocket { self.work }
    impl HasWork<Self, GROUPS> for DatagramSocket { self.moved_work }
}

impl DatagramSocket {
    /// Of a new socket. Who drops it without [`Self::release`] has to [abandon](Self::abandon) it.
    pub(crate) fn new(guest: &Arc<Guest>, socket: Arc<GuestSocket<Udp>>) -> Result<Arc<Self>> {
        let idle = PumpState::Idle(socket.clone());
        let known = Some(socket.clone());
        let datagram = Arc::pin_init(
            try_pin_init!(Self {
                pump <- PumpData::new(guest, idle),
                socket <- new_spinlock!(known, "xensock_socket"),
                has_ring: Atomic::new(false),
                wants_room: Atomic::new(false),
                groups <- Groups::new(),
                work <- new_work!("xensock_datagram"),
                moved_work <- new_work!("xensock_member"),
            }),
            GFP_KERNEL,
        )?;
        // Nothing can have happened yet: the socket has no port.
        socket.set_callbacks(Waker::new(&datagram, ()))?;
        Ok(datagram)
    }

    /// UDP's socket, until it is closed.
    pub(crate) fn socket(&self) -> Option<Arc<GuestSocket<Udp>>> {
        self.socket.lock().clone()
    }

    /// Gives it its ring. `EISCONN` if it has one, or has had one. May sleep.
    pub(crate) fn attach(self: &Arc<Self>, ring: RingRef) -> Result {
        // The lock is held while datagrams are moved.
        if self.has_ring.load(Relaxed) {
            return Err(EISCONN);
        }
        {
            let mut state = self.pump.state.lock();
            let PumpState::Idle(socket) = &*state else {
                return Err(ENOTCONN);
            };
            let shared = self.pump.guest.map(ring, self.clone())?;
            *state = PumpState::Open(Frames::new(socket.clone(), shared));
            self.has_ring.store(true, Relaxed);
        }
        // For what happened before the channel was there.
        self.wake();
        Ok(())
    }

    /// Sets the peer, or forgets it, and returns the address of the socket then.
    pub(crate) fn connect(&self, peer: Option<SocketAddr>) -> Result<SocketAddr> {
        let socket = self.socket().ok_or(ENOTCONN)?;
        match peer {
            Some(addr) => socket.connect(socket.reachable(addr)?)?,
            None => socket.udp().disconnect()?,
        }
        socket.local_addr()
    }
}

impl Pump for DatagramSocket {
    /// No ring yet: nothing that comes is kept.
    type Idle = Arc<GuestSocket<Udp>>;
    /// From ATTACH on.
    type Flow = Frames;
    type Source = ();

    fn data(&self) -> &PumpData<Self> {
        &self.pump
    }

    fn shared(frames: &Frames) -> &ConnRing {
        frames.shared()
    }

    fn wait(&self, socket: Option<&Arc<GuestSocket<Udp>>>) -> bool {
        socket.is_some_and(|socket| discard(socket))
    }

    fn progress(&self, frames: &mut Frames) -> Progress {
        let guest = &self.pump.guest;
        match frames.progress(guest, &self.wants_room) {
            Ok(true) => Progress::Busy,
            Ok(false) => Progress::Idle,
            Err(_) => {
                guest
                    .transport
                    .warn_once(c"impossible index or frame in a data ring, socket closed");
                Progress::Failed {
                    abort: true,
                    error: ECONNABORTED,
                }
            }
        }
    }

    fn part(&self, state: PumpState<Self>, _abort: bool, _error: Error) -> Option<Arc<ConnRing>> {
        let socket = self.socket.lock().take();
        if let Some(socket) = socket {
            socket.udp().clear_callbacks();
        }
        drop(state);
        self.drop_changes();
        None
    }

    fn wake(self: &Arc<Self>) {
        // An item that is queued already will see what there is to do.
        let queues = &self.pump.guest.transport.queues;
        let _ = match self.groups.has_moved() {
            true => queues.groups.enqueue::<_, GROUPS>(self.clone()),
            false => queues.work.enqueue::<_, 0>(self.clone()),
        };
    }

    fn wants_room(&self) -> bool {
        // UDP says it of each datagram that has left.
        self.wants_room.xchg(false, Full)
    }
}

impl RingUser for DatagramSocket {
    fn ring_has_news(self: ArcBorrow<'_, Self>) {
        let datagram: Arc<Self> = self.into();
        datagram.wake();
    }
}

impl WorkItem for DatagramSocket {
    type Pointer = Arc<DatagramSocket>;

    fn run(this: Arc<DatagramSocket>) {
        match this.groups.move_if_needed() {
            true => this.wake(),
            false => this.work(),
        }
    }
}
