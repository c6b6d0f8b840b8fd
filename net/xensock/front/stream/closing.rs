// SPDX-License-Identifier: GPL-2.0

//! What a socket has let go of, until the backend has ended it.
//!
//! When TCP has closed a socket, nobody can connect to it any more and its port is free. Here this
//! is so once the backend has answered RELEASE.

use super::EndpointState;
use crate::{
    commands::Exchange,
    conn::Conn, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// What the backend was asked to end, and others could still notice.
#[derive(Default)]
#[must_use]
pub(super) struct Closing {
    /// The end of a socket with an address of its own.
    socket: Option<Arc<Exchange>>,
    /// Connections that came to that socket, and that nobody has accepted.
    conns: KVec<Arc<Conn>>,
}

impl Closing {
    /// Ends what a socket was.
    pub(super) fn from(state: EndpointState, abort: bool) -> Self {
        let mut closing = Self::default();
        match state {
            EndpointState::Idle(None) | EndpointState::Native => (),
            EndpointState::Idle(Some(remote)) => {
                closing.socket = remote.local.map(|_| remote.ending());
                drop(remote);
            }
            EndpointState::Connection(conn) => {
                // Unread data is lost to the program that closes; TCP tells the peer by a reset.
                let abort = abort || conn.has_unread();
                Conn::close(&conn, abort);
                // In good order it ends later, and keeps its port for longer still.
                closing.socket = conn
                    .remote
                    .local
                    .filter(|_| abort && conn.remote.is_released())
                    .map(|_| conn.remote.ending());
            }
            EndpointState::Listening(listener) => {
                closing.conns = listener.close();
                closing.socket = Some(listener.remote.ending());
            }
        }
        closing
    }

    /// Waits until the backend has ended it; killable. No lock may be held.
    ///
    /// Who cannot be killed does not wait: a program that exits, or a thread of the kernel's, which
    /// others wait for.
    pub(super) fn wait(self) {
        let task = current!();
        if task.is_exiting() || task.mm().is_none() {
            return;
        }
        // Whatever is answered, it has ended.
        if let Some(ending) = self.socket {
            let _ = ending.wait();
        }
        // Those that ended with the link have no RELEASE.
        for conn in self.conns.iter().filter(|c| c.remote.is_released()) {
            let _ = conn.remote.ending().wait();
        }
    }
}
