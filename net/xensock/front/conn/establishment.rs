// SPDX-License-Identifier: GPL-2.0

//! How a connection begins: the responses to CONNECT and ACCEPT, and their outcome.

use super::{
    state::Phase,
    Conn, //
};
use crate::{
    commands::wire_error,
    errors::is_out_of_memory,
    proto::{
        shortage::Shortage,
        status::Outcome,
        Feature, //
    }, //
};
use core::net::SocketAddr;
use kernel::{
    net::sock::{
        Sock,
        TcpState, //
    },
    prelude::*,
    sync::{
        Arc,
        ArcBorrow, //
    },
    xen::trace::xensock_front as trace, //
};

impl Conn {
    /// Handles the response to the POLL that precedes ACCEPT. Any context.
    pub(crate) fn handle_poll_response(this: ArcBorrow<'_, Self>, response: Result) {
        if let Err(error) = response {
            return Self::failed(this, error);
        }
        let state = this.state.lock();
        if let Some(accept) = this
            .accept
            .as_ref()
            .filter(|_| state.phase == Phase::Posted)
        {
            this.remote.link.submit(accept, Some(Arc::from(this)));
        }
    }

    /// Handles the response to CONNECT or ACCEPT. Any context.
    pub(crate) fn handle_connect_response(
        this: ArcBorrow<'_, Self>,
        response: Result<Option<SocketAddr>>,
    ) {
        match response {
            // The backend has begun: the outcome comes through the ring, and may be there already.
            Ok(_) if this.remote.link.has(Feature::Status) => Self::look_for_outcome(this),
            Ok(name) => Self::established(this, name),
            Err(error) => {
                // If the user or the guest has no more sockets, a listener posts fewer connections
                // from now on, see `Listener::drop_failed`. A caller is told by `first_error`.
                if is_out_of_memory(error) {
                    this.remote.link.note_shortage(Shortage::OfAll);
                }
                // Nobody waits for a connection that a listener has posted ahead.
                let is_posted = this.state.lock().phase == Phase::Posted;
                let error = match is_posted {
                    true => error,
                    false => this.remote.first_error(error),
                };
                Self::failed(this, error);
            }
        }
    }

    /// Looks for the outcome of CONNECT or ACCEPT in the ring. Any context.
    pub(crate) fn look_for_outcome(this: ArcBorrow<'_, Self>) {
        if !this.is_pending() || !this.remote.link.has(Feature::Status) {
            return;
        }
        match this.ring.outcome() {
            Outcome::Pending => (),
            Outcome::Established => match this.ring.outcome_name() {
                Ok(name) => Self::established(this, Some(name)),
                Err(_) => Self::failed(this, EPROTO),
            },
            Outcome::Failed(errno) => Self::failed(this, wire_error(errno)),
            Outcome::Nonsense => Self::failed(this, EPROTO),
        }
    }

    fn established(this: ArcBorrow<'_, Self>, name: Option<SocketAddr>) {
        let mut state = this.state.lock();
        match state.phase {
            Phase::Posted => {
                if let Some(name) = name {
                    let _ = this.peer.populate(name);
                }
                this.let_grow();
                state.phase = Phase::Ready;
                state.sk.data_ready();
            }
            Phase::Connecting => {
                if let Some(name) = name {
                    let _ = this.local.populate(name);
                }
                this.let_grow();
                this.trace_connect(Ok(()));
                this.set_names(&state.sk);
                state.phase = Phase::Open { has_failed: false };
                state.sk.update_incoming_cpu();
                state.sk.set_state(TcpState::Established);
                state.sk.state_changed();
                state.sk.write_space();
                // The backend may have changed the ring before this response.
                this.update_socket_locked(&mut state);
            }
            _ => (),
        }
    }

    fn failed(this: ArcBorrow<'_, Self>, error: Error) {
        {
            let mut state = this.state.lock();
            match state.phase {
                Phase::Posted => {
                    trace::accept(
                        this.remote.link.device_name(),
                        this.remote.id,
                        None,
                        None,
                        Err(error),
                    );
                    this.remote.link.start_expiry();
                }
                Phase::Connecting => this.trace_connect(Err(error)),
                _ => return,
            }
            this.fail(&mut state, error);
        }
        // An invalid outcome leaves open if there is a connection.
        Self::send_release(this, error == EPROTO);
    }

    fn trace_connect(&self, result: Result) {
        let local = self.local.copy().or(self.remote.local);
        trace::connect(
            self.remote.link.device_name(),
            self.remote.id,
            local,
            self.peer.copy(),
            result,
        );
    }

    /// Wakes tasks that wait on the listening socket if no connection is about to be handed over,
    /// unless this connection is established or has failed. Otherwise the connection wakes them when
    /// it is established, once, as with TCP.
    pub(super) fn wake_listener(&self) {
        let state = self.state.lock();
        if state.phase == Phase::Posted && !self.ring.has_waiting() {
            state.sk.data_ready();
        }
    }

    /// Returns `true` while the outcome of CONNECT or ACCEPT is not known.
    pub(crate) fn is_pending(&self) -> bool {
        self.state.lock().is_pending()
    }

    /// Returns `true` if `accept()` can take the connection.
    pub(crate) fn is_ready(&self) -> bool {
        self.state.lock().phase == Phase::Ready
    }

    /// Gives the connection to the socket that accepts it. Returns `false` if it has ended
    /// meanwhile.
    pub(crate) fn accepted_by(&self, sk: &Sock) -> bool {
        let mut state = self.state.lock();
        if state.phase != Phase::Ready {
            return false;
        }
        state.phase = Phase::Open { has_failed: false };
        let listener = core::mem::replace(&mut state.sk, sk.into());
        self.set_names(sk);
        sk.set_state(TcpState::Established);
        // An earlier reset is reported to the socket that accepts the connection.
        self.update_socket_locked(&mut state);
        drop(state);
        drop(listener);
        true
    }
}
