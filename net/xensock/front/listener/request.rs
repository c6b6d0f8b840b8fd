// SPDX-License-Identifier: GPL-2.0

//! Posting of connections, one by one.

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
    /// Prepares an ACCEPT. Returns the connection and the first request to send.
    pub(super) fn set_up(&self) -> Result<(Arc<Conn>, Arc<Exchange>)> {
        let link = &self.remote.link;
        let (id, id_new) = (self.remote.id, link.new_id());
        let remote =
            RemoteSocket::for_accept(link.clone(), id_new, self.remote.domain, self.remote.owner)?;
        let fresh = Conn::posted(remote, &self.sk, self.order)?;
        let accept = self.remote.exchange(Call::Accept {
            id,
            id_new,
            ring: fresh.ring.reference(),
        })?;
        let _ = fresh.accept.populate(accept.clone());
        let first = match link.quirks().accepts_ahead() {
            true => accept,
            false => self.remote.exchange(Call::Poll { id })?,
        };
        Ok((Conn::enter(fresh)?, first))
    }

    /// Ends a POLL that waits for a connection, before the socket is released. May sleep.
    ///
    /// Returns the connection that was used for this. The caller has to release it.
    pub(super) fn end_poll(&self) -> Option<Arc<Conn>> {
        if !self.remote.link.is_polling(self.remote.id) {
            return None;
        }
        // If this fails, a slot of the ring is lost: see `Link::enter`.
        self.connect_to_itself().ok()
    }

    /// Returns `true` if the C backend has yet to answer an ACCEPT. RELEASE waits for that.
    pub(crate) fn is_accepting(&self) -> bool {
        let link = &self.remote.link;
        !link.quirks().accepts_ahead() && link.is_accepting(self.remote.id)
    }

    /// Ends an ACCEPT of a closed listener that still waits for a connection, because another one
    /// has got the connection that POLL had reported. Returns `true` if this has to be tried again.
    /// May sleep.
    pub(super) fn end_accept(&self) -> bool {
        if self.is_accepting() {
            match self.connect_to_itself() {
                Ok(own) => Conn::release_given_up(&own),
                Err(_) => return true,
            }
        }
        self.leave();
        false
    }

    /// Leaves the link after the listener was closed. May sleep. Idempotent.
    pub(crate) fn leave(&self) {
        self.remote.link.forget(self.remote.id);
    }

    /// Asks the backend to connect to its own socket, so that it answers the pending POLL or
    /// ACCEPT. The C backend never answers a POLL once the socket is released. May sleep.
    fn connect_to_itself(&self) -> Result<Arc<Conn>> {
        let link = &self.remote.link;
        let id = self.remote.id;
        let addr = self.remote.local.ok_or(EINVAL)?;
        let (domain, owner) = (self.remote.domain, self.remote.owner);
        // Of the same user: its requests follow those of the listener.
        let remote = RemoteSocket::new(link.clone(), SOCK_STREAM, domain, owner, None)?;
        // The smallest ring: the connection carries no data, and is not accepted.
        let fresh = Conn::posted(remote, &self.sk, Order::MIN)?;
        let connect = self.remote.exchange(Call::Connect {
            id: fresh.remote.id,
            addr,
            flags: 0,
            ring: fresh.ring.reference(),
        })?;
        // The C backend waits for the connection in its only thread: its queue must have room for
        // it.
        let backlog = i32::MAX as u32;
        let room = self.remote.exchange(Call::Listen { id, backlog })?;
        let conn = Conn::enter(fresh)?;
        conn.give_up();
        link.submit(&room, None);
        Conn::begin(conn.clone(), &connect);
        Ok(conn)
    }
}
