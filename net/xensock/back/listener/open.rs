// SPDX-License-Identifier: GPL-2.0

//! The state of a listening socket.

use crate::{
    conn::Conn,
    proto::Response,
    quirks::Quirks,
    quota::Charge,
    socket::GuestSocket, //
};
use kernel::{
    net::{
        kernel_socket::Tcp,
        sock::TcpState, //
    },
    prelude::*,
    sync::Arc, //
};

/// The state of a listening socket.
pub(super) struct Open {
    pub(super) socket: Arc<GuestSocket<Tcp>>,
    /// Number of connections that the guest lets wait. As in TCP, one more may wait.
    pub(super) backlog: u32,
    /// Maximum number of ACCEPTs that were posted at the same time, less those given up or refused.
    /// So many connections may wait with the guest, and so many fewer here.
    pub(super) ahead: u32,
    /// The ACCEPTs that have no connection yet, oldest first.
    pub(super) posted: KVec<Arc<Conn>>,
    /// Set once the guest has got a connection and asks for no other.
    pub(super) has_handed_over: bool,
    /// A POLL that waits for a connection.
    pub(super) poll: Option<Response>,
    /// The charges on the guest's and the user's quotas.
    pub(super) _charges: [Charge; 2],
}

impl Open {
    /// Returns the number of posted ACCEPTs, each of which lets a connection wait with the guest.
    /// It is 0 if a program waits for each.
    pub(super) fn posted_ahead(&self, quirks: &dyn Quirks) -> u32 {
        match quirks.accepts_ahead() {
            true => u32::try_from(self.posted.len()).unwrap_or(u32::MAX),
            false => 0,
        }
    }

    /// Returns the number of connections that may wait with TCP.
    pub(super) fn backlog(&self) -> u32 {
        self.backlog.saturating_sub(self.ahead)
    }

    /// Returns `true` if `accept()` on TCP's socket has a result: a connection, or the error that the
    /// socket does not listen any more.
    pub(super) fn is_ready(&self) -> bool {
        let tcp = self.socket.tcp();
        tcp.has_connection() || tcp.tcp_state() != TcpState::Listen
    }

    /// Keeps TCP from taking in another connection if only one may wait at all and this one waits
    /// with the guest.
    pub(super) fn reserve_backlog(&self, quirks: &dyn Quirks) {
        let is_full = self.backlog == 0 && self.has_handed_over && quirks.accepts_ahead();
        self.socket.tcp().reserve_backlog(is_full);
    }
}
