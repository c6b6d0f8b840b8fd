// SPDX-License-Identifier: GPL-2.0

//! A listening socket, and its connections that wait for `accept()` or are requested ahead.
//!
//! An ACCEPT is posted with a data ring of its own before the program calls `accept()`. The backend
//! can fill it as soon as there is a connection, and the program gets the connection without a
//! round trip. A posted connection has the socket's options and buffers. Connections that are not
//! accepted are reset when the socket is closed.

mod local;
mod maintenance;
mod pending;
mod posted;
mod request;

pub(crate) use local::LocalListener;
pub(crate) use pending::Patience;
pub(crate) use posted::MAX_AHEAD;

use crate::{
    conn::Conn,
    errors::is_shortage,
    link::Link,
    proto::{
        ring::Order,
        Call, //
    },
    remote_socket::RemoteSocket,
    survivors::Survivors, //
};
use kernel::{
    net::sock::{
        Sock,
        TcpState, //
    },
    new_spinlock,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        SpinLock, //
    },
    xen::trace::xensock_front as trace, //
};
use posted::{
    ListenPhase,
    PostedConns, //
};

/// A listening socket.
#[pin_data]
pub(crate) struct Listener {
    /// The backend's socket.
    pub(crate) remote: RemoteSocket,
    /// The socket. Its `Stream` drops its reference to this listener when it is closed, at the
    /// latest.
    sk: ARef<Sock>,
    /// The order of the rings.
    order: Order,
    /// The listening socket in the guest itself, if there is one.
    pub(crate) local: Option<Arc<LocalListener>>,
    /// Set if the last connection that was accepted is the backend's.
    is_local_next: Atomic<bool>,
    #[pin]
    posted: SpinLock<PostedConns>,
    /// The handle of the posted connection of which the backend has told too little for too long:
    /// calls that do not block wait for it no more.
    overdue: Atomic<u64>,
}

impl Listener {
    /// Creates a listener for a socket of the backend that listens. Nothing is posted yet. May
    /// sleep.
    pub(crate) fn new(
        remote: RemoteSocket,
        sk: &Sock,
        order: Order,
        backlog: u32,
        local: Option<Arc<LocalListener>>,
    ) -> Result<Arc<Self>> {
        let limit = limit(&remote.link, backlog);
        let conns = KVec::with_capacity(MAX_AHEAD, GFP_KERNEL)?;
        let withdrawn = KVec::with_capacity(MAX_AHEAD, GFP_KERNEL)?;
        Arc::pin_init(
            pin_init!(Self {
                remote,
                sk: sk.into(),
                order,
                local,
                is_local_next: Atomic::new(false),
                posted <- new_spinlock!(
                    PostedConns {
                        conns,
                        withdrawn,
                        coming: 0,
                        wanted: limit,
                        limit,
                        is_short: true,
                        phase: ListenPhase::Open,
                    },
                    "xensock_posted"
                ),
                overdue: Atomic::new(pending::NONE),
            }),
            GFP_KERNEL_ACCOUNT,
        )
    }

    /// Adds the listener to the link, unless it was closed. May sleep.
    pub(crate) fn enter(this: &Arc<Self>) -> Result {
        let remote = &this.remote;
        remote.link.enter(remote.id, this.clone())?;
        // The task that closed it may have removed it before it was there.
        if this.is_closed() {
            remote.link.forget(remote.id);
        }
        Ok(())
    }

    /// Returns the number of connections that the backend has handed over and that wait for
    /// `accept()`.
    pub(crate) fn waiting(&self) -> usize {
        let posted = self.posted.lock();
        posted
            .conns
            .iter()
            .filter(|conn| {
                Conn::look_for_outcome(conn.as_arc_borrow());
                conn.is_ready()
            })
            .count()
    }

    fn phase(&self) -> ListenPhase {
        self.posted.lock().phase
    }

    /// Returns `true` if the socket no longer listens, or another listener has replaced this one.
    /// Does not sleep.
    pub(crate) fn is_closed(&self) -> bool {
        self.phase() == ListenPhase::Closed
    }

    /// Returns `true` if the link is down and the listener waits for another one. Does not sleep.
    pub(crate) fn is_lost(&self) -> bool {
        self.phase() == ListenPhase::Lost
    }

    /// Returns `true` if `accept()` would not wait: there is a connection, or an error other than a
    /// shortage.
    pub(crate) fn is_ready(&self) -> bool {
        if self.local.as_ref().is_some_and(|l| l.has_connection()) {
            return true;
        }
        let posted = self.posted.lock();
        let is_waiting = !posted.conns.is_empty() || posted.coming > 0;
        let mut conns = posted.conns.iter();
        match posted.phase {
            ListenPhase::Closed => true,
            ListenPhase::Lost => false,
            // Without posted connections `accept()` has to post one; but not on a link that is
            // about to end, and not if there was just too little for one.
            ListenPhase::Open if !is_waiting => !posted.is_short && self.remote.link.is_up(),
            // The program is not told of withdrawn connections, nor of those that there was too
            // little for: `maintain` replaces them.
            ListenPhase::Open => conns.any(|conn| {
                let has_failed = conn.death().is_some_and(|error| !is_shortage(error));
                conn.is_ready() || (has_failed && !posted.is_withdrawn(conn))
            }),
        }
    }

    /// Returns `true` if a connection of the backend waits for `accept()`.
    pub(crate) fn has_connection(&self) -> bool {
        self.first().is_some()
    }

    /// Returns the connection that arrived first. It stays.
    pub(crate) fn first(&self) -> Option<Arc<Conn>> {
        let posted = self.posted.lock();
        posted.conns.iter().find(|conn| conn.is_ready()).cloned()
    }

    /// Takes a connection, unless another task has. May sleep.
    pub(crate) fn take(&self, conn: &Arc<Conn>) -> Option<Arc<Conn>> {
        let mut posted = self.posted.lock();
        let mut conns = posted.conns.iter();
        let index = conns.position(|posted| Arc::ptr_eq(posted, conn))?;
        self.is_local_next.store(true, Relaxed);
        posted.wanted = posted.limit.min(posted.wanted + 1);
        let conn = posted.remove(index);
        // The caller posts another one.
        posted.is_short |= posted.conns.is_empty();
        conn
    }

    /// Changes the backlog, and waits killably for the response.
    pub(crate) fn set_backlog(&self, backlog: u32) -> Result {
        let id = self.remote.id;
        match self.remote.send_and_wait(Call::Listen { id, backlog }) {
            Ok(_) => (),
            // The next listener will have the new backlog.
            Err(ENETDOWN) if self.is_lost() => (),
            Err(error) => return Err(error),
        }
        if let Some(local) = &self.local {
            local.listen(backlog)?;
        }
        let limit = limit(&self.remote.link, backlog);
        {
            let mut posted = self.posted.lock();
            (posted.limit, posted.wanted) = (limit, limit);
        }
        self.withdraw_down_to(limit);
        self.post_if_possible()
    }

    /// As [`Self::post`] for a socket that listens already: a shortage is no error. May sleep.
    pub(crate) fn post_if_possible(&self) -> Result {
        match self.post() {
            Err(error) if is_shortage(error) => Ok(()),
            result => result,
        }
    }

    /// Drops failed connections, and posts connections until there are enough.
    ///
    /// Fails if no connection is left. The link tries again later. May sleep.
    pub(crate) fn post(&self) -> Result {
        let mut result = self.drop_failed();
        let ahead = self.remote.link.quirks().accepts_ahead();
        while result.is_ok() && self.posted.lock().begin(ahead) {
            result = self.post_one();
        }
        let is_short = {
            let mut posted = self.posted.lock();
            // A few connections are better than none. `lose_link` reports the end of the link.
            if matches!(result, Ok(()) | Err(ENETDOWN)) || !posted.conns.is_empty() {
                return Ok(());
            }
            posted.is_short = result.is_err_and(is_shortage);
            posted.is_short
        };
        self.remote.link.start_expiry();
        if !is_short {
            // Tasks that may have waited for these connections have to try themselves.
            self.sk.data_ready();
        }
        result
    }

    /// Posts one connection.
    fn post_one(&self) -> Result {
        let result = self.set_up();
        let mut posted = self.posted.lock();
        posted.coming -= 1;
        let (conn, first) = result?;
        if posted.phase != ListenPhase::Open {
            drop(posted);
            Conn::close(&conn, true);
            return Ok(());
        }
        // In the order of the backend's queue. There is room: see `PostedConns::begin`.
        if posted.conns.push_within_capacity(conn.clone()).is_ok() {
            posted.is_short = false;
            Conn::begin(conn, &first);
        }
        Ok(())
    }

    /// Drops the connections that have failed. Fewer are posted from now on, because usually the
    /// backend does not allow more. Returns the error of the last one if none is left.
    ///
    /// A C backend may also return errors that only ask for another attempt. A backend that goes
    /// away fails the posted connections shortly before the link ends.
    fn drop_failed(&self) -> Result {
        loop {
            let mut posted = self.posted.lock();
            let Some(index) = posted.conns.iter().position(|c| c.death().is_some()) else {
                return Ok(());
            };
            let is_withdrawn = posted
                .conns
                .get(index)
                .is_some_and(|c| posted.is_withdrawn(c));
            let failed = posted.remove(index);
            let death = failed.as_ref().and_then(|conn| conn.death());
            let left = posted.conns.len();
            posted.is_short = left == 0;
            if !is_withdrawn {
                posted.wanted = left.max(1);
            }
            drop(posted);
            match death {
                Some(EAGAIN | EINTR | ERESTART | EALREADY | EINPROGRESS | ECONNABORTED) => (),
                Some(error) if left == 0 => {
                    return Err(self.remote.refusal(error, EMFILE));
                }
                _ => (),
            }
        }
    }

    /// Stops listening. Resets the connections that were not accepted, and returns them, and
    /// whether the listener was lost. May sleep.
    pub(crate) fn close(&self) -> (KVec<Arc<Conn>>, bool) {
        let (conns, was_lost) = {
            let mut posted = self.posted.lock();
            let was_lost = posted.phase == ListenPhase::Lost;
            (posted.close(ListenPhase::Closed), was_lost)
        };
        if was_lost {
            Survivors::remove(&self.sk);
        }
        if let Some(local) = &self.local {
            local.close();
        }
        // First, so that nothing is accepted from here on.
        conns.iter().for_each(|conn| conn.give_up());
        let own = self.end_poll();
        self.remote.end();
        own.iter().for_each(Conn::release_given_up);
        conns.iter().for_each(Conn::release_given_up);
        if self.is_accepting() {
            // The C backend usually answers an ACCEPT at once. If not, `maintain` sees to it.
            self.remote.link.start_expiry();
        } else {
            self.leave();
        }
        (conns, was_lost)
    }

    /// Stops listening because the link went down. Another listener replaces this one with the next
    /// link, or the socket is notified. May sleep.
    pub(crate) fn lose_link(&self) {
        trace::error(self.remote.id, ENETDOWN, c"the link is down");
        if !Survivors::enter(&self.sk) {
            return self.fail(ENETDOWN);
        }
        let conns = {
            let mut posted = self.posted.lock();
            match posted.phase {
                ListenPhase::Open => posted.close(ListenPhase::Lost),
                ListenPhase::Lost => return,
                ListenPhase::Closed => {
                    drop(posted);
                    return Survivors::remove(&self.sk);
                }
            }
        };
        drop(conns);
        // The backend wakes no task any more.
        self.sk.state_changed();
    }

    /// Stops listening, and reports the error to the socket: the link went down, or the listener
    /// could not be added to it. May sleep.
    pub(crate) fn fail(&self, error: Error) {
        let conns = {
            let mut posted = self.posted.lock();
            if posted.phase == ListenPhase::Closed {
                return;
            }
            self.sk.set_error(error);
            self.sk.set_state(TcpState::Close);
            self.sk.state_changed();
            self.sk.error_report();
            posted.close(ListenPhase::Closed)
        };
        drop(conns);
        if let Some(local) = &self.local {
            local.close();
        }
        self.remote.end();
    }

    /// Leaves the socket to the listener that has replaced this one. May sleep.
    pub(crate) fn retire(&self) {
        let conns = self.posted.lock().close(ListenPhase::Closed);
        drop(conns);
        // Tasks that wait for a connection go on with the other listener.
        self.sk.state_changed();
    }
}

/// Returns the number of connections to post ahead.
fn limit(link: &Link, backlog: u32) -> usize {
    match link.quirks().accepts_ahead() {
        true => usize::try_from(backlog).map_or(MAX_AHEAD, |n| n.clamp(1, MAX_AHEAD)),
        false => 1,
    }
}
