// SPDX-License-Identifier: GPL-2.0

//! A datagram socket of a guest, and the work item that moves its datagrams.

use crate::{
    farewell::Farewell,
    frames::{
        discard,
        Frames, //
    },
    guest::Guest,
    proto::{
        Body,
        Response,
        RingRef, //
    },
    share::RingUser,
    socket::Socket, //
};
use core::{
    mem::replace,
    net::SocketAddr, //
};
use kernel::{
    impl_has_work,
    net::kernel_socket::{
        Callbacks,
        Locked,
        Udp, //
    },
    new_mutex,
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
        Mutex,
        SpinLock, //
    },
    workqueue::{
        Work,
        WorkItem, //
    }, //
};

/// What there is of a datagram socket.
enum State {
    /// No ring yet: nothing that comes is kept.
    Bare(Arc<Socket<Udp>>),
    /// From ATTACH on.
    Attached(Frames),
    /// Taken apart.
    Gone,
}

/// A datagram socket of a guest.
#[pin_data]
pub(crate) struct Datagram {
    guest: Arc<Guest>,
    /// Changed by the work item, but that ATTACH adds the ring.
    #[pin]
    state: Mutex<State>,
    /// UDP's socket, until it is closed.
    #[pin]
    socket: SpinLock<Option<Arc<Socket<Udp>>>>,
    #[pin]
    farewell: SpinLock<Option<Farewell>>,
    /// There is a ring, or there was one. Only commands look at it, one at a time.
    has_ring: Atomic<bool>,
    /// UDP had no room for a datagram, and is to say when it has.
    wants_room: Atomic<bool>,
    #[pin]
    work: Work<Datagram>,
}

impl_has_work! {
    impl HasWork<Self> for Datagram { self.work }
}

impl Datagram {
    /// Of a new socket. Who drops it without [`Self::release`] has to [abandon](Self::abandon) it.
    pub(crate) fn new(guest: &Arc<Guest>, socket: Arc<Socket<Udp>>) -> Result<Arc<Self>> {
        let bare = State::Bare(socket.clone());
        let known = Some(socket.clone());
        let datagram = Arc::pin_init(
            try_pin_init!(Self {
                guest: guest.clone(),
                state <- new_mutex!(bare, "xensock_datagram"),
                socket <- new_spinlock!(known, "xensock_socket"),
                farewell <- new_spinlock!(None, "xensock_farewell"),
                has_ring: Atomic::new(false),
                wants_room: Atomic::new(false),
                work <- new_work!("xensock_datagram"),
            }),
            GFP_KERNEL,
        )?;
        // Nothing can have happened yet: the socket has no port.
        socket.set_callbacks(Waker(datagram.clone()))?;
        Ok(datagram)
    }

    /// UDP's socket, until it is closed.
    pub(crate) fn socket(&self) -> Option<Arc<Socket<Udp>>> {
        self.socket.lock().clone()
    }

    /// Gives it its ring. `EISCONN` if it has one, or has had one. May sleep.
    pub(crate) fn attach(self: &Arc<Self>, ring: RingRef) -> Result {
        // The lock is held while datagrams are moved.
        if self.has_ring.load(Relaxed) {
            return Err(EISCONN);
        }
        {
            let mut state = self.state.lock();
            let State::Bare(socket) = &*state else {
                return Err(ENOTCONN);
            };
            let share = self.guest.map(ring, self.clone())?;
            *state = State::Attached(Frames::new(socket.clone(), share));
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
            Some(addr) => socket.connect(addr)?,
            None => socket.udp().disconnect()?,
        }
        socket.local_addr()
    }

    /// Ends it for RELEASE, which is answered once nothing is shared any more.
    pub(crate) fn release(this: Arc<Self>, ticket: Response) {
        *this.farewell.lock() = Some(Farewell::Release {
            ticket,
            abort: false,
            reuse: false,
        });
        this.wake();
    }

    /// Ends it because its link ends.
    pub(crate) fn abandon(self: &Arc<Self>) {
        self.farewell.lock().get_or_insert(Farewell::Abandon);
        self.wake();
    }

    /// Has the work item run.
    fn wake(self: &Arc<Self>) {
        // An item that is queued already will see what there is to do.
        let _ = self.guest.transport.queue.enqueue(self.clone());
    }

    /// Takes apart what was in `state`: no more callbacks, the socket closed, no more events, and last
    /// the memory of the guest. Sleeps.
    fn part(&self, state: State) {
        let socket = self.socket.lock().take();
        if let Some(socket) = socket {
            socket.udp().clear_callbacks();
        }
        drop(state);
    }

    /// One turn of the work item. Returns whether there is more to do.
    fn turn(&self) -> bool {
        let farewell = self.farewell.lock().take();
        if let Some(farewell) = farewell {
            let state = replace(&mut *self.state.lock(), State::Gone);
            self.part(state);
            if let Farewell::Release { ticket, .. } = farewell {
                self.guest.transport.answer(ticket, Ok(Body::Empty));
            }
            return false;
        }
        let state = {
            let mut state = self.state.lock();
            let frames = match &mut *state {
                State::Gone => return false,
                State::Bare(socket) => return discard(socket),
                State::Attached(frames) => frames,
            };
            let turn = frames.share().begin_turn();
            match frames.progress(&self.guest, &self.wants_room) {
                Ok(true) => return true,
                Ok(false) => {
                    frames.share().end_turn(turn);
                    return false;
                }
                Err(_) => self
                    .guest
                    .transport
                    .warn_once(c"impossible index or frame in a data ring, socket closed"),
            }
            replace(&mut *state, State::Gone)
        };
        self.part(state);
        false
    }
}

impl RingUser for Datagram {
    fn ring_has_news(self: ArcBorrow<'_, Self>) {
        let datagram: Arc<Self> = self.into();
        datagram.wake();
    }
}

/// Wakes a datagram socket for what UDP has to say.
struct Waker(Arc<Datagram>);

impl Callbacks for Waker {
    fn data_ready(&self, _tcp: Option<&Locked<'_>>) {
        self.0.wake();
    }

    fn write_space(&self) {
        // UDP says it of each datagram that has left.
        if self.0.wants_room.xchg(false, Full) {
            self.0.wake();
        }
    }

    fn state_change(&self) {}

    fn error_report(&self) {
        self.0.wake();
    }
}

impl WorkItem for Datagram {
    type Pointer = Arc<Datagram>;

    fn run(this: Arc<Datagram>) {
        if this.turn() {
            this.wake();
        }
    }
}
