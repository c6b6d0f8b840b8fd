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
    GROUP_WORK, //
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
    /// UDP's socket, until the datagram socket is closed.
    #[pin]
    socket: SpinLock<Option<Arc<GuestSocket<Udp>>>>,
    /// Set once a ring was attached. Only commands use it, one at a time.
    has_ring: Atomic<bool>,
    /// Set once the socket can only be released.
    has_failed: Atomic<bool>,
    /// Set while the work item waits for room: UDP had none for a datagram.
    wants_room: Atomic<bool>,
    #[pin]
    groups: Groups,
    #[pin]
    work: Work<DatagramSocket>,
    /// The work item of a socket that uses groups, which does the same as `work`.
    #[pin]
    group_work: Work<DatagramSocket, GROUP_WORK>,
}

impl_has_work! {
    impl HasWork<Self> for DatagramSocket { self.work }
    impl HasWork<Self, GROUP_WORK> for DatagramSocket { self.group_work }
}

impl DatagramSocket {
    /// Creates the datagram socket for a new UDP socket. A caller that drops it without
    /// [`Self::release`] has to [abandon](Self::abandon) it.
    pub(crate) fn new(guest: &Arc<Guest>, socket: Arc<GuestSocket<Udp>>) -> Result<Arc<Self>> {
        let idle = PumpState::Idle(socket.clone());
        let known = Some(socket.clone());
        let datagram = Arc::pin_init(
            try_pin_init!(Self {
                pump <- PumpData::new(guest, idle),
                socket <- new_spinlock!(known, "xensock_socket"),
                has_ring: Atomic::new(false),
                has_failed: Atomic::new(false),
                wants_room: Atomic::new(false),
                groups <- Groups::new(),
                work <- new_work!("xensock_datagram"),
                group_work <- new_work!("xensock_member"),
            }),
            GFP_KERNEL,
        )?;
        // The socket has no port yet, so there was no event before the callbacks.
        let source = socket.clone();
        socket.set_callbacks(Waker::new(&datagram, source))?;
        Ok(datagram)
    }

    /// Returns UDP's socket, until the datagram socket is closed or has failed.
    pub(crate) fn socket(&self) -> Option<Arc<GuestSocket<Udp>>> {
        if self.has_failed.load(Relaxed) {
            return None;
        }
        self.socket.lock().clone()
    }

    /// Makes the socket one that can only be released. Its work item takes it apart. May sleep.
    pub(crate) fn fail(self: &Arc<Self>) {
        self.has_failed.store(true, Relaxed);
        self.abandon();
    }

    /// Attaches the ring. `EISCONN` if the socket has or had one, `ENOTCONN` if it has failed. May
    /// sleep.
    pub(crate) fn attach(self: &Arc<Self>, ring: RingRef) -> Result {
        if self.has_failed.load(Relaxed) {
            return Err(ENOTCONN);
        }
        // Checked first, as the lock of the state is held while datagrams are moved.
        if self.has_ring.load(Relaxed) {
            return Err(EISCONN);
        }
        {
            let mut state = self.pump.state.lock();
            let PumpState::Idle(socket) = &*state else {
                return Err(ENOTCONN);
            };
            let tenant = socket.tenant();
            let shared = self.pump.guest.map(ring, self.clone(), tenant)?;
            *state = PumpState::Open(Frames::new(socket.clone(), shared));
            self.has_ring.store(true, Relaxed);
        }
        // For events before the channel was bound.
        self.wake();
        Ok(())
    }

    /// Sets or removes the peer, and returns the resulting address of the socket.
    pub(crate) fn connect(&self, peer: Option<SocketAddr>) -> Result<SocketAddr> {
        let socket = self.socket().ok_or(ENOTCONN)?;
        match peer {
            Some(addr) => socket.connect(socket.reachable(addr)?)?,
            None => socket.disconnect()?,
        }
        socket.local_addr()
    }
}

impl Pump for DatagramSocket {
    /// The socket without a ring. Datagrams that arrive are dropped.
    type Idle = Arc<GuestSocket<Udp>>;
    /// From ATTACH on.
    type Flow = Frames;
    /// Counts its memory with each datagram that arrives or has left.
    type Source = Arc<GuestSocket<Udp>>;

    fn data(&self) -> &PumpData<Self> {
        &self.pump
    }

    fn shared(frames: &Frames) -> &ConnRing {
        frames.shared()
    }

    fn socket_changed(socket: &Arc<GuestSocket<Udp>>) {
        socket.update_memory();
    }

    fn idle_turn(&self, socket: Option<&Arc<GuestSocket<Udp>>>) -> bool {
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

    fn destroy(
        &self,
        state: PumpState<Self>,
        _abort: bool,
        _error: Error,
    ) -> Option<Arc<ConnRing>> {
        let socket = self.socket.lock().take();
        if let Some(socket) = socket {
            socket.udp().clear_callbacks();
        }
        drop(state);
        self.drop_changes();
        None
    }

    fn wake(self: &Arc<Self>) {
        // An item that is already queued will see the new work.
        let queues = &self.pump.guest.transport.queues;
        let _ = match self.groups.uses_group_work() {
            true => queues.groups.enqueue::<_, GROUP_WORK>(self.clone()),
            false => queues.work.enqueue::<_, 0>(self.clone()),
        };
    }

    fn wants_room(&self) -> bool {
        // UDP reports room after each datagram that has left.
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
        match this.groups.switch_if_needed() {
            true => this.wake(),
            false => this.work(),
        }
    }
}
