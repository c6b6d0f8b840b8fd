// SPDX-License-Identifier: GPL-2.0

//! What a socket has for as long as it listens.

use crate::{
    conn::Conn,
    proto::Response,
    quirks::Quirks,
    quota::Charge,
    socket::GuestSocket, //
};
use kernel::{
    net::kernel_socket::Tcp,
    prelude::*,
    sync::Arc, //
};

/// What a socket has for as long as it listens.
pub(super) struct Open {
    pub(super) socket: Arc<GuestSocket<Tcp>>,
    /// How many connections the guest lets wait, and one, as TCP has it.
    pub(super) backlog: u32,
    /// The most ACCEPTs that were posted at once, but for those that were given up or refused. So many
    /// connections may wait with the guest, and so many fewer here.
    pub(super) ahead: u32,
    /// The ACCEPTs that have no connection yet, the oldest first.
    pub(super) posted: KVec<Arc<Conn>>,
    /// The guest has got a connection, and asks for no other.
    pub(super) has_handed_over: bool,
    /// A POLL that waits for a connection.
    pub(super) poll: Option<Response>,
    /// With the guest, and with the user.
    pub(super) _charges: [Charge; 2],
}

impl Open {
    /// Returns how many connections may wait with TCP.
    pub(super) fn backlog(&self) -> u32 {
        self.backlog.saturating_sub(self.ahead)
    }

    /// Has TCP take in nothing while the one connection waits with the guest that may wait at all.
    pub(super) fn hold_place(&self, quirks: &dyn Quirks) {
        let is_full = self.backlog == 0 && self.has_handed_over && quirks.accepts_ahead();
        self.socket.tcp().hold_place(is_full);
    }
}
