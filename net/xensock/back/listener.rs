// SPDX-License-Identifier: GPL-2.0

//! A listening socket of a guest.
//!
//! The guest posts ACCEPTs ahead of time, and each incoming connection goes to the oldest of them.
//! Without a posted ACCEPT, a connection waits in TCP's own queue: the backend accepts none that no
//! guest has asked for.

mod open;
mod places;

use crate::{
    backlog::Backlog,
    conn::Conn,
    guest::Guest,
    proto::{
        option::{
            change_info,
            INFO_BACKLOG,
            INFO_WAITING,
            SOL_TCP,
            TCP_INFO, //
        },
        value::Piece,
        Body,
        Response, //
    },
    socket::GuestSocket, //
};
use kernel::{
    impl_has_work,
    net::kernel_socket::{
        Callbacks,
        Locked,
        Tcp, //
    },
    new_mutex,
    new_spinlock_irq,
    new_work,
    prelude::*,
    sync::{
        Arc,
        Mutex,
        SpinLockIrq, //
    },
    workqueue::{
        Work,
        WorkItem, //
    }, //
};
use open::Open;

/// Maximum number of connections accepted before other work has its turn.
const BUDGET: u32 = 32;

/// All listeners of a guest.
pub(crate) trait Listeners: Send + Sync {
    /// Makes each listener check again how many connections may wait.
    fn wake(&self);
}

/// A listening socket of a guest.
#[pin_data]
pub(crate) struct Listener {
    guest: Arc<Guest>,
    listeners: Arc<dyn Listeners>,
    #[pin]
    backlog: Backlog,
    /// `None` once the listener is closed. Held while a connection is accepted, which does not
    /// wait, and while TCP counts those that wait.
    #[pin]
    open: Mutex<Option<Open>>,
    /// The oldest ACCEPT that has no connection. It shows the guest if connections wait. With
    /// [`Feature::Waiting`](crate::proto::Feature::Waiting).
    #[pin]
    oldest: SpinLockIrq<Option<Arc<Conn>>>,
    #[pin]
    work: Work<Listener>,
}

impl_has_work! {
    impl HasWork<Self> for Listener { self.work }
}

impl Listener {
    /// Makes `socket` listen. If that fails, the socket is as it was.
    pub(crate) fn new(
        guest: &Arc<Guest>,
        listeners: Arc<dyn Listeners>,
        socket: Arc<GuestSocket<Tcp>>,
        backlog: u32,
    ) -> Result<Arc<Self>> {
        let policy = guest.policy();
        let (owner, user) = (socket.tenant().number(), socket.tenant().user_sockets());
        let all = &guest.counters.listeners;
        let charges = all.take_for(owner, &user.listeners, 1, |held| {
            policy.may_have_listener(held)
        })?;
        let waiting = user.waiting.clone();
        let open = Open {
            socket,
            backlog: policy.backlog(backlog),
            ahead: 0,
            posted: KVec::new(),
            has_handed_over: false,
            poll: None,
            _charges: charges,
        };
        let listener = Arc::pin_init(
            try_pin_init!(Self {
                guest: guest.clone(),
                listeners,
                backlog <- Backlog::new(waiting, policy.may_wait()),
                open <- new_mutex!(None, "xensock_listener"),
                oldest <- new_spinlock_irq!(None, "xensock_oldest"),
                work <- new_work!("xensock_listener"),
            }),
            GFP_KERNEL,
        )?;
        open.socket.set_callbacks(ArrivalWaker {
            listener: listener.clone(),
            socket: open.socket.clone(),
        })?;
        // Connections are counted from now on; `adjust` sets at once how many may wait.
        if let Err(error) = open.socket.listen(0) {
            open.socket.tcp().clear_callbacks();
            return Err(error);
        }
        listener.adjust(&open);
        *listener.open.lock() = Some(open);
        Ok(listener)
    }

    /// Changes the number of connections that may wait.
    pub(crate) fn set_backlog(&self, backlog: u32) -> Result {
        let mut open = self.open.lock();
        let open = (*open).as_mut().ok_or(EINVAL)?;
        open.backlog = self.guest.policy().backlog(backlog);
        self.adjust(open);
        Ok(())
    }

    /// Counts the waiting connections, and tells TCP how many may wait and what it may promise their
    /// peers.
    fn adjust(&self, open: &Open) {
        open.socket.update_memory();
        let shares = self.guest.policy().may_wait();
        open.reserve_backlog(self.guest.transport.quirks);
        self.backlog.set(open.backlog(), shares);
        self.backlog.adjust(open.socket.tcp());
        self.wake_others();
    }

    /// Lets other listeners of the guest take in more connections, if they were held back and there
    /// may be room again.
    fn wake_others(&self) {
        if self.guest.counters.sockets.waiting.has_room_again() {
            self.listeners.wake();
        }
    }

    /// Reads an option as [`GuestSocket::amended_option`] does. In `TCP_INFO` it corrects the
    /// backlog, of which TCP knows only a part.
    pub(crate) fn option(&self, level: u32, name: u32, offset: u32) -> Result<Piece> {
        // Held, so that a connection waits either with TCP or with the guest.
        let open = self.open.lock();
        let Open {
            socket, backlog, ..
        } = (*open).as_ref().ok_or(ENOTCONN)?;
        socket.amended_option(level, name, offset, |option, value| {
            if (option.level, option.name) == (SOL_TCP, TCP_INFO) {
                let tcp = socket.tcp();
                change_info(value, INFO_BACKLOG, |_| *backlog);
                // The guest adds the connections that wait with it.
                change_info(value, INFO_WAITING, |n| {
                    n.saturating_sub(u32::from(tcp.reserves_backlog()))
                });
            }
        })
    }

    /// Returns TCP's socket, until the listener is closed.
    pub(crate) fn socket(&self) -> Option<Arc<GuestSocket<Tcp>>> {
        Some((*self.open.lock()).as_ref()?.socket.clone())
    }

    /// Answers `ticket` once a connection waits that has no place. `EALREADY` if another such
    /// request waits.
    pub(crate) fn poll(self: &Arc<Self>, ticket: Response) -> Result {
        {
            let mut open = self.open.lock();
            let open = (*open).as_mut().ok_or(EINVAL)?;
            if open.poll.is_some() {
                return Err(EALREADY);
            }
            open.poll = Some(ticket);
            open.has_handed_over = false;
            open.reserve_backlog(self.guest.transport.quirks);
        }
        self.wake();
        Ok(())
    }

    /// Closes the socket. TCP resets the connections that were not accepted, and the places without
    /// a connection are given up. Sleeps. Idempotent.
    pub(crate) fn close(&self) {
        let Some(open) = self.open.lock().take() else {
            return;
        };
        open.socket.tcp().clear_callbacks();
        drop(open.socket);
        self.backlog.leave();
        self.wake_others();
        let oldest = self.oldest.lock().take();
        drop(oldest);
        let is_answered = self.guest.transport.quirks.answers_lost_accepts();
        let error = is_answered.then_some(ECONNABORTED);
        for conn in &open.posted {
            conn.cancel(error);
        }
        if let Some(ticket) = open.poll {
            self.guest.transport.answer(ticket, Err(ECONNABORTED));
        }
    }

    /// Queues the work item.
    pub(crate) fn wake(self: &Arc<Self>) {
        // An item that is already queued will see the new work.
        let _ = self.guest.transport.queues.work.enqueue(self.clone());
    }

    /// Accepts one connection. Returns `true` if there may be another.
    fn accept(&self) -> bool {
        let mut guard = self.open.lock();
        let Some(open) = (*guard).as_mut() else {
            return false;
        };
        let Some(conn) = open.posted.first() else {
            if open.poll.is_some() && open.is_ready() {
                if let Some(ticket) = open.poll.take() {
                    self.guest.transport.answer(ticket, Ok(Body::Empty));
                }
            }
            return false;
        };
        let filled = if open.is_ready() {
            // Has to be set before the connection leaves TCP's queue.
            open.has_handed_over = open.posted.len() == 1;
            open.reserve_backlog(self.guest.transport.quirks);
            // The next place has to show if connections wait before the guest sees that this one is
            // filled.
            conn.fill(&open.socket, || {
                self.update_waiting(open, 1);
            })
        } else {
            Err(EAGAIN)
        };
        if filled.is_err() {
            open.has_handed_over = false;
            open.reserve_backlog(self.guest.transport.quirks);
        }
        match filled {
            Err(EAGAIN) => {
                // The guest may wait for a connection that has gone to another place.
                if self.update_waiting(open, 0) {
                    conn.notify();
                }
                return false;
            }
            filled => {
                self.update_waiting(open, 1);
                // The guest posts another ACCEPT if it still wants a connection.
                if let Err(error) = filled {
                    conn.cancel(Some(error));
                }
            }
        }
        // The place is the first.
        let _ = open.posted.remove(0);
        if filled.is_err() {
            self.lose_place(open);
        }
        true
    }
}

/// Counts incoming connections, and wakes the listener for them.
struct ArrivalWaker {
    listener: Arc<Listener>,
    socket: Arc<GuestSocket<Tcp>>,
}

impl Callbacks for ArrivalWaker {
    fn data_ready(&self, _tcp: Option<&Locked<'_>>) {
        self.listener.backlog.adjust(self.socket.tcp());
        // Connections inherit the sizes of the buffers.
        self.socket.update_memory_in_callback(None);
        self.listener.show_waiting();
        self.listener.wake();
    }

    fn write_space(&self) {}

    /// The socket does not listen any more: an administrator has destroyed it. The posted places
    /// fail.
    fn state_change(&self) {
        self.listener.wake();
    }

    fn error_report(&self) {}
}

impl WorkItem for Listener {
    type Pointer = Arc<Listener>;

    fn run(this: Arc<Listener>) {
        let has_more = (0..BUDGET).all(|_| this.accept());
        if let Some(open) = &*this.open.lock() {
            this.adjust(open);
        }
        if has_more {
            this.wake();
        }
    }
}
