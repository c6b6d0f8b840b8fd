// SPDX-License-Identifier: GPL-2.0

//! The end of sockets and connections that the backend has yet to confirm.
//!
//! Once TCP has closed a socket, no peer can connect to it any more and its port is free. Here this
//! holds once the backend has answered RELEASE.

use super::EndpointState;
use crate::{
    commands::Exchange,
    conn::Conn,
    endpoint::{
        may_wait_for_end,
        Endpoint, //
    },
    listener::Listener, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// Sockets and connections that the backend was asked to end, and whose end others could notice.
#[derive(Default)]
#[must_use]
pub(super) struct Closing {
    /// The RELEASE of a socket with an address of its own.
    socket: Option<Arc<Exchange>>,
    /// That socket, if it listened.
    listener: Option<Arc<Listener>>,
    /// Connections of that socket that were not accepted.
    conns: KVec<Arc<Conn>>,
    /// Set for a listener that had lost its link.
    was_lost: bool,
}

impl Closing {
    /// Ends the state of a socket.
    pub(super) fn from(state: EndpointState, abort: bool) -> Self {
        let mut closing = Self::default();
        match state {
            EndpointState::Idle(None) | EndpointState::Native => (),
            EndpointState::Idle(Some(remote)) => {
                closing.socket = remote.local.map(|_| remote.release_exchange());
                drop(remote);
            }
            EndpointState::Connection(conn) => {
                // The closing program loses unread data; TCP signals this to the peer by a reset.
                let abort = abort || conn.has_unread();
                Conn::close(&conn, abort);
                // An orderly close ends later, and the port stays in use even longer.
                closing.socket = conn
                    .remote
                    .local
                    .filter(|_| abort && conn.remote.is_released())
                    .map(|_| conn.remote.release_exchange());
            }
            EndpointState::Listening(listener) => {
                (closing.conns, closing.was_lost) = listener.close();
                closing.socket = Some(listener.remote.release_exchange());
                closing.listener = Some(listener);
            }
        }
        closing
    }

    /// Waits killably until the backend has ended everything that belongs to the state of this
    /// `endpoint`. No lock may be held.
    ///
    /// Some tasks [do not wait](may_wait_for_end).
    pub(super) fn wait(self, endpoint: &Endpoint) {
        if !may_wait_for_end() {
            return;
        }
        // Whatever the response is, the socket has ended.
        if let Some(release) = self.socket {
            let _ = release.wait();
        }
        // It may have stayed until now.
        if let Some(listener) = self.listener.filter(|listener| !listener.is_accepting()) {
            listener.leave();
        }
        // Connections that ended with the link have no RELEASE.
        for conn in self.conns.iter().filter(|c| c.remote.is_released()) {
            let _ = conn.remote.release_exchange().wait();
        }
        if self.was_lost {
            // A work item may be setting up the listener again. It ends what it has set up.
            drop(endpoint.lock_call());
        }
    }
}
