// SPDX-License-Identifier: GPL-2.0

//! How a connection ends: by a failure, or because the program closes it.

use super::{
    content::Content,
    state::{
        ConnState,
        Phase, //
    },
    Conn, //
};
use crate::{
    commands::{
        Exchange,
        Priority, //
    },
    proto::{
        call::SHUT_RDWR,
        errno::Ending,
        Call, //
    }, //
};
use kernel::{
    net::sock::{
        Sock,
        TcpState, //
    },
    prelude::*,
    sync::{
        atomic::{
            Relaxed,
            Release, //
        },
        Arc,
        ArcBorrow, //
    },
    xen::trace::xensock_front as trace, //
};

impl Conn {
    /// Stores the error that ends the connection. Called under `state`.
    pub(super) fn set_death(&self, error: Error) {
        self.dead.store(-error.to_errno(), Release);
    }

    /// Ends the connection and notifies its socket, if there is one, as a reset would. Sends no
    /// RELEASE.
    pub(super) fn fail(&self, state: &mut ConnState, error: Error) {
        self.set_death(error);
        match state.phase {
            // Nothing has come, and nothing is missing. If no other connection is left, the listener
            // posts one, or wakes tasks if it cannot: see `Listener::post`.
            Phase::Posted if self.is_withdrawn.load(Relaxed) => (),
            // A waiting `accept()` looks at the next connection.
            Phase::Posted | Phase::Ready => state.sk.data_ready(),
            Phase::Connecting | Phase::Open { .. } => {
                self.report_failure(&mut state.phase, &state.sk, error);
                // A task that knows of an earlier failure may wait for the bytes before it.
                state.sk.state_changed();
            }
            _ => (),
        }
        state.end(false);
    }

    /// Reports a failure to the socket, once. Returns `true` if this call has reported it.
    pub(super) fn report_failure(&self, phase: &mut Phase, sk: &Sock, error: Error) -> bool {
        if let Phase::Open { has_failed } = phase {
            // Nothing can fail once both ends have ended. Datagram sockets are in that state from the
            // start.
            let is_finished = self.content == Content::Bytes && sk.state() == TcpState::Close;
            if core::mem::replace(has_failed, true) || is_finished {
                return false;
            }
        }
        sk.set_error(error);
        self.content.end_socket(sk);
        sk.error_report();
        true
    }

    /// Waits until [`Self::report_failure`] is complete, if it is running: it sets the error of the
    /// socket first, and then the rest. Any context.
    pub(crate) fn wait_for_report(&self) {
        drop(self.state.lock());
    }

    /// Sends RELEASE of an ended connection. With `abort`, RELEASE resets it.
    pub(super) fn send_release(this: ArcBorrow<'_, Self>, abort: bool) {
        let conn = Arc::<Self>::from(this);
        // `close()` waits for the end of a reset, or for an address to become free.
        let is_waited_for = abort || this.is_datagram() || this.remote.local.is_some();
        let priority = if is_waited_for {
            Priority::Awaited
        } else {
            Priority::Unawaited
        };
        this.remote
            .release(abort, priority, || this.leave_ring(), Some(conn));
    }

    /// Queues the end of a connection that the backend does not know any more, or never knew:
    /// after the response to RELEASE, or if the connection could not enter its link. Any context.
    pub(crate) fn released(this: Arc<Self>) {
        let link = this.remote.link.clone();
        // One queued item does all the work.
        let _ = link.workers.enqueue::<_, 0>(this);
    }

    /// Ends a connection whose backend has broken the rules of the ring.
    pub(crate) fn broken(this: ArcBorrow<'_, Self>) {
        let what = c"impossible index or frame in a data ring, socket reset";
        if Self::abort(this, ECONNABORTED, what) {
            this.remote.link.warn_once(what);
        }
    }

    /// Ends a connection and notifies the socket, unless the connection has ended already. `what`
    /// is the reason for the trace. Returns `true` if this call has ended it.
    pub(super) fn abort(this: ArcBorrow<'_, Self>, error: Error, what: &'static CStr) -> bool {
        {
            let mut state = this.state.lock();
            if state.is_over() {
                return false;
            }
            trace::error(this.remote.id, error, what);
            this.fail(&mut state, error);
        }
        Self::send_release(this, true);
        true
    }

    /// Notes that the program has ended sending. Returns `false` if there was nothing to end.
    pub(crate) fn finish(&self) -> bool {
        let state = self.state.lock();
        if !state.is_open() {
            return false;
        }
        state.sk.set_state(match state.sk.state() {
            TcpState::Established => TcpState::FinWait1,
            TcpState::CloseWait => TcpState::LastAck,
            _ => return false,
        });
        true
    }

    /// Ends a closed connection now, even if the backend has yet to take bytes, and sends RELEASE
    /// unless it was sent. If the link is down, RELEASE ends at once. For a task that waits for
    /// [`RemoteSocket::release_exchange`](crate::remote_socket::RemoteSocket::release_exchange).
    pub(crate) fn release_now(this: &Arc<Self>, abort: bool) {
        this.state.lock().end(true);
        Self::send_release(this.as_arc_borrow(), abort);
    }

    /// Asks the backend to send the end of the stream after the bytes sent before. If the program
    /// wants to receive nothing more, the backend also resets a peer that goes on sending.
    ///
    /// Only the first call for a connection has an effect. Without effect if the dialect cannot end
    /// sending alone.
    pub(crate) fn end_sending(&self) {
        let Some(shutdown) = self.shutdown.as_ref().filter(|_| self.finish()) else {
            return;
        };
        if self.is_unwanted() {
            shutdown.set_refuses();
        }
        self.remote
            .link
            .send_with_priority(shutdown, None, Priority::Unawaited);
    }

    /// Makes the request for [`Self::refuse_more`]. May sleep.
    pub(crate) fn refusal(&self) -> Result<Arc<Exchange>> {
        self.remote.exchange(Call::Shutdown {
            id: self.remote.id,
            how: SHUT_RDWR,
        })
    }

    /// Asks the backend to reset a peer that goes on sending, by a [`Self::refusal`]. For a program
    /// that stops receiving after [`Self::end_sending`].
    pub(crate) fn refuse_more(&self, refusal: &Arc<Exchange>) {
        self.remote
            .link
            .send_with_priority(refusal, None, Priority::Unawaited);
    }

    /// Ends the socket's use of the connection. Bytes sent are still delivered, unless `abort` asks
    /// for a reset.
    ///
    /// May sleep.
    pub(crate) fn close(this: &Arc<Self>, abort: bool) {
        {
            let mut state = this.state.lock();
            let was_established = match state.phase {
                Phase::Connecting | Phase::Posted => false,
                Phase::Ready | Phase::Open { .. } => true,
                Phase::Draining { .. } | Phase::Released(_) | Phase::Gone => return,
            };
            if abort {
                // The caller wakes tasks that are still in a call on the socket; they find this
                // error.
                this.set_death(ECONNRESET);
                state.end(true);
            } else {
                let left = this.ring.peek_queued();
                state.phase = Phase::Draining {
                    was_established,
                    left,
                };
                Self::begin_patience(this);
            }
        }
        if abort {
            return Self::send_release(this.as_arc_borrow(), true);
        }
        this.expect_drained();
        Self::release_if_drained(this.as_arc_borrow());
    }

    /// Notes that the listener asks the backend to withdraw the posted connection.
    pub(crate) fn set_withdrawn(&self) {
        self.is_withdrawn.store(true, Relaxed);
    }

    /// Takes the connection from those that can be accepted. It will be reset, and no task is
    /// notified.
    pub(crate) fn give_up(&self) {
        let mut state = self.state.lock();
        self.set_death(ECONNRESET);
        state.end(true);
    }

    /// Sends RELEASE after [`Self::give_up`], unless RELEASE was sent.
    pub(crate) fn release_given_up(this: &Arc<Self>) {
        Self::send_release(this.as_arc_borrow(), true);
    }

    /// Sends RELEASE for a closed socket once the backend has taken the last byte.
    pub(super) fn release_if_drained(this: ArcBorrow<'_, Self>) {
        {
            let mut state = this.state.lock();
            if !matches!(state.phase, Phase::Draining { .. }) || !this.is_drained() {
                return;
            }
            state.end(true);
        }
        Self::send_release(this, false);
    }

    /// Returns `true` if there are bytes that the program has not read.
    pub(crate) fn has_unread(&self) -> bool {
        self.ring.peek_readable() > 0
    }

    /// Returns `true` if the backend has taken all bytes sent, or will take no more.
    pub(crate) fn is_drained(&self) -> bool {
        self.ring.tx_ending() != Ending::Open || self.ring.peek_queued() == 0
    }
}
