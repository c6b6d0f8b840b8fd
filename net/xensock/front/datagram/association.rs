// SPDX-License-Identifier: GPL-2.0

//! The addresses of a socket and of its peer: `bind()`, `connect()`, `getsockname()`.

use super::{
    attach,
    end_at_once,
    forget_peer,
    set_peer,
    Datagram, //
};
use crate::{
    addresses::{
        connected,
        destination,
        in_domain,
        specific, //
    },
    commands::address,
    conn::Conn,
    endpoint::give_back,
    errors::has_nothing_to_ask,
    link::Link,
    proto::Call, //
};
use core::net::{
    Ipv4Addr,
    SocketAddr, //
};
use kernel::{
    net::{
        addr::Domain,
        family::Name,
        sock::{
            Sock,
            TcpState, //
        }, //
    },
    prelude::*,
    sync::Arc, //
};

impl Datagram {
    /// `bind()`, as `__inet_bind()` does it. `may_keep` checks the address that the socket has
    /// received.
    pub(crate) fn bind(
        &self,
        sk: &Sock,
        addr: SocketAddr,
        may_keep: impl FnOnce(&SocketAddr) -> Result,
    ) -> Result {
        let call = self.endpoint.lock_call()?;
        if self.has_port() {
            return Err(EINVAL);
        }
        let (bound, device) = match self.endpoint.conn() {
            // The socket was connected before. Binding it to an interface could cost it its ring.
            Some(_) if matches!(addr, SocketAddr::V6(addr) if addr.scope_id() != 0) => {
                return Err(EINVAL);
            }
            Some(conn) => {
                let id = conn.remote.id;
                let response = conn.remote.send_and_wait(Call::Bind { id, addr })?;
                let bound = address(&response).ok_or(EPROTO)?;
                if let Err(error) = may_keep(&bound) {
                    // The next call creates another ring, for a socket without the address.
                    let lost = self.endpoint.inner.lock().take_state();
                    drop(lost);
                    end_at_once(&conn);
                    return Err(error);
                }
                (Some(bound), conn.remote.link.name)
            }
            None => {
                self.endpoint.reserve_place()?;
                let domain = Some(Domain::from(&addr));
                let ip = specific(addr.ip());
                let mut remote = self.endpoint.take_remote(&call, sk, domain, ip)?;
                if let Err(error) = remote.bind(addr) {
                    self.endpoint.keep_after(&call, remote, error);
                    return Err(error);
                }
                let (bound, device) = (remote.local, remote.link.name);
                if let Err(error) = bound.as_ref().map_or(Ok(()), may_keep) {
                    give_back(remote);
                    return Err(error);
                }
                self.keep(&call, sk, attach(sk, remote)?);
                (bound, device)
            }
        };
        {
            let mut inner = self.endpoint.inner.lock();
            (inner.local, inner.device) = (bound, Some(device));
        }
        self.names.lock().is_chosen = addr.port() != 0;
        Ok(())
    }

    /// `connect()` to an address, as `__ip4_datagram_connect()` does it.
    ///
    /// If the peer belongs to another device, the socket gets another connection. Datagrams that
    /// have arrived through the former one are dropped: they are from addresses that another
    /// backend knows.
    ///
    /// If it fails, the socket keeps its connection, or has none: as a new socket, it can still
    /// fall back, and a socket that has lost its peer can lose it again.
    pub(crate) fn connect(&self, sk: &Sock, peer: SocketAddr) -> Result {
        let call = self.endpoint.lock_call()?;
        let former = self.endpoint.conn();
        let (conn, is_new) = match &former {
            Some(former) => match self.other_link(sk, former, peer) {
                Some(link) => {
                    let domain = former.remote.domain;
                    let remote = self.endpoint.make_remote(link, domain, None)?;
                    (attach(sk, remote)?, true)
                }
                None => (former.clone(), false),
            },
            None => (self.make(&call, sk, Some(peer))?, true),
        };
        if let Err(error) = self.associate(&conn, former.as_ref(), peer) {
            match is_new {
                true => Conn::close(&conn, true),
                // The backend may have chosen a port.
                false => self.names.lock().is_automatic = true,
            }
            return Err(error);
        }
        if is_new {
            self.keep(&call, sk, conn);
            if let Some(former) = former {
                // Another thread may have sent something since. Tasks in a call see no failure.
                Conn::close(&former, false);
            }
        }
        sk.set_state(TcpState::Established);
        Ok(())
    }

    /// Sets the peer of a socket, which has its `former` connection until this has succeeded.
    fn associate(&self, conn: &Arc<Conn>, former: Option<&Arc<Conn>>, peer: SocketAddr) -> Result {
        let peer = in_domain(Some(conn.remote.domain), peer)?;
        if let Some(former) = former {
            // Datagrams sent before go to the previous peer.
            former.wait_until_taken()?;
        }
        set_peer(conn, peer)?;
        // Errors of datagrams sent before concern another address.
        Conn::queue_frames(conn.as_arc_borrow());
        let _ = conn.take_send_error();
        let peer = connected(peer, Some(self.endpoint.bound_name()));
        let mut names = self.names.lock();
        (names.peer, names.is_automatic) = (Some(peer), true);
        Ok(())
    }

    /// Asks the backend if its policy allows datagrams to `peer`, for the first datagram of a
    /// socket that may fall back. If so, the socket gets its connection.
    ///
    /// CONNECT says so at once. A datagram is refused only when the call that sends it is over.
    pub(crate) fn ask_for_peer(&self, sk: &Sock, peer: SocketAddr) -> Result {
        let call = self.endpoint.lock_call()?;
        if self.endpoint.conn().is_some() || self.has_port() {
            // Another thread has sent the first datagram.
            return Ok(());
        }
        let conn = self.make(&call, sk, Some(peer))?;
        // Other errors are those of the datagram itself.
        let asked = match set_peer(&conn, peer) {
            Err(error @ (EACCES | ENETDOWN | ERESTARTSYS)) => Err(error),
            _ => forget_peer(&conn),
        };
        match asked {
            Ok(()) => self.keep(&call, sk, conn),
            Err(_) => Conn::close(&conn, true),
        }
        asked
    }

    /// Returns the link by which a socket without an address reaches a peer, if its data ring
    /// belongs to another link.
    fn other_link(&self, sk: &Sock, conn: &Conn, peer: SocketAddr) -> Option<Arc<Link>> {
        if self.endpoint.is_bound() {
            return None;
        }
        let (domain, ip) = (conn.remote.domain, destination(peer.ip()));
        let link = self.endpoint.link_for(sk, None, Some(domain), Some(ip));
        link.ok()
            .filter(|link| !Arc::ptr_eq(link, &conn.remote.link))
    }

    /// `connect()` to `AF_UNSPEC`, as `__udp_disconnect()` does it: removes the peer, and a port
    /// that the program has not chosen. Returns `true` if the program has chosen one.
    pub(crate) fn disconnect(&self, sk: &Sock) -> Result<bool> {
        let _call = self.endpoint.lock_call()?;
        if self.endpoint.is_native() {
            // The native socket has to be disconnected instead.
            return Err(EAGAIN);
        }
        if let Some(conn) = self.endpoint.conn() {
            conn.wait_until_taken()?;
            match forget_peer(&conn) {
                // The peer is lost with the link: the next socket will have none.
                Ok(()) | Err(ENETDOWN) => (),
                Err(error) => return Err(error),
            }
        }
        let is_chosen = {
            let mut names = self.names.lock();
            names.peer = None;
            names.is_automatic = false;
            names.is_chosen
        };
        if !is_chosen {
            self.endpoint.inner.lock().local = None;
        }
        sk.set_state(TcpState::Close);
        Ok(is_chosen)
    }

    /// `getsockname()` and `getpeername()`, as `inet_getname()` does it.
    pub(crate) fn name(&self, name: Name) -> Result<SocketAddr> {
        match name {
            Name::Local => self.local_name(),
            Name::Peer | Name::LastPeer => {
                let peer = self.names.lock().peer;
                peer.filter(|peer| peer.port() != 0).ok_or(ENOTCONN)
            }
        }
    }

    /// Returns the name from the backend if the socket has a data ring; other sockets have no name
    /// of their own.
    fn local_name(&self) -> Result<SocketAddr> {
        if let Some(conn) = self.endpoint.conn() {
            // The socket gets a port with the first datagram that the backend sends.
            conn.wait_until_taken()?;
            let id = conn.remote.id;
            match conn.remote.send_and_wait(Call::GetName { id, peer: false }) {
                Ok(response) => return address(&response).ok_or(EPROTO),
                // The name was lost with the link.
                Err(error) if has_nothing_to_ask(error) => (),
                Err(error) => return Err(error),
            }
        }
        let name = self.endpoint.bound_name();
        let is_v4 = |peer: SocketAddr| peer.ip().to_canonical().is_ipv4();
        match self
            .names
            .lock()
            .peer
            .filter(|_| name.ip().is_unspecified())
        {
            // As with UDP, the address is of the protocol by which the peer is reached.
            Some(peer) if name.is_ipv6() && is_v4(peer) => {
                let any = Ipv4Addr::UNSPECIFIED.to_ipv6_mapped();
                Ok(SocketAddr::new(any.into(), name.port()))
            }
            _ => Ok(name),
        }
    }
}
