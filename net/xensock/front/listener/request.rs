// SPDX-License-Identifier: GPL-2.0

//! What a listener asks the backend for: connections, one by one.

use super::Listener;
use crate::{
    commands::Exchange,
    conn::Conn,
    proto::{
        call::SOCK_STREAM,
        ring::Order,
        Call, //
    },
    remote_socket::RemoteSocket, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

impl Listener {
    /// Sets up what an ACCEPT needs, and says what to send first.
    pub(super) fn set_up(&self) -> Result<(Arc<Conn>, Arc<Exchange>)> {
        let link = &self.remote.link;
        let (id, id_new) = (self.remote.id, link.new_id());
        let remote =
            RemoteSocket::announced(link.clone(), id_new, self.remote.domain, self.remote.owner)?;
        let fresh = Conn::posted(remote, &self.sk, self.order)?;
        let accept = link.exchange(Call::Accept {
            id,
            id_new,
            ring: fresh.ring.reference(),
        })?;
        let _ = fresh.accept.populate(accept.clone());
        let first = match link.quirks().accepts_ahead() {
            true => accept,
            false => link.exchange(Call::Poll { id })?,
        };
        Ok((Conn::enter(fresh)?, first))
    }

    /// Ends a POLL that waits for a connection, before the socket is released. May sleep.
    ///
    /// Returns the connection that serves for that, which is still to be released.
    pub(super) fn end_poll(&self) -> Option<Arc<Conn>> {
        if !self.remote.link.is_polling(self.remote.id) {
            return None;
        }
        // A slot of the ring is lost if that fails: see `Link::enter`.
        self.connect_to_itself().ok()
    }

    /// Has the backend connect to its own socket, so that it answers the POLL that waits there:
    /// the C backend never does once the socket is released. May sleep.
    fn connect_to_itself(&self) -> Result<Arc<Conn>> {
        let link = &self.remote.link;
        let id = self.remote.id;
        let addr = self.remote.local.ok_or(EINVAL)?;
        let remote = RemoteSocket::new(link.clone(), SOCK_STREAM, self.remote.domain, 0, None)?;
        // The smallest: nothing goes through it, and nobody will accept it.
        let fresh = Conn::posted(remote, &self.sk, Order::MIN)?;
        let connect = link.exchange(Call::Connect {
            id: fresh.remote.id,
            addr,
            flags: 0,
            ring: fresh.ring.reference(),
        })?;
        // The C backend waits for the connection in its only thread: there has to be room for it.
        let backlog = i32::MAX as u32;
        let room = link.exchange(Call::Listen { id, backlog })?;
        let conn = Conn::enter(fresh)?;
        conn.withdraw();
        link.submit(&room, None);
        Conn::begin(conn.clone(), &connect);
        Ok(conn)
    }
}
