// SPDX-License-Identifier: GPL-2.0

//! Datagram sockets.
//!
//! Each call behaves like UDP's (`net/ipv4/udp.c`, `net/ipv4/datagram.c`, `net/core/datagram.c`),
//! except for errors that only the backend can find. A datagram is sent without waiting for the
//! backend, so the next call reports such an error; without a peer, the next call that sends.
//!
//! The backend's socket and the data ring are created when first needed, and again after they were
//! lost. They hold no connection state, only an address, a peer and options.

pub(crate) mod address;
mod association;
mod poll;
mod recv;
mod send;

use crate::{
    addresses::destination,
    conn::Conn,
    endpoint::{
        directions,
        may_wait_for_end,
        CallGuard,
        Endpoint,
        EndpointState, //
    },
    errors::may_pass,
    link::Link,
    orders::fixed_order,
    proto::{
        call::SOCK_DGRAM,
        frame,
        ring::Order,
        Call, //
    },
    remote_socket::RemoteSocket,
    survivors::Survivors, //
};
use core::net::SocketAddr;
use kernel::{
    net::{
        addr::Domain,
        sock::{
            Sock,
            TcpState, //
        },
        socket::How,
    },
    new_spinlock,
    prelude::*,
    sync::{
        atomic::Atomic,
        Arc,
        SpinLock, //
    }, //
};

/// The state of a datagram socket besides its `struct sock`.
///
/// Dropped with the `struct sock`, possibly in softirq. By then `release` has taken out everything
/// that must not be dropped there.
#[pin_data]
pub(crate) struct Datagram {
    #[pin]
    pub(crate) endpoint: Endpoint,
    #[pin]
    names: SpinLock<DatagramNames>,
    /// The id of the connection with the datagram that was begun with `MSG_MORE` or `UDP_CORK`, or
    /// 0. Threads that build datagrams on one socket at the same time may make it outdated: then
    /// there is no such datagram.
    begun_on: Atomic<u64>,
}

/// The addresses of a socket, besides the one it was bound to.
struct DatagramNames {
    /// The family of the addresses, once it is decided.
    domain: Option<Domain>,
    /// The connected peer.
    peer: Option<SocketAddr>,
    /// Set if the backend may have chosen a port or a source address: the socket was connected, or
    /// has sent.
    is_automatic: bool,
    /// Set if the program has chosen a port itself.
    is_chosen: bool,
}

impl Datagram {
    /// Creates a socket, for addresses of `domain` if the family restricts them.
    pub(crate) fn new(domain: Option<Domain>, owner: u64) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            endpoint <- Endpoint::new(SOCK_DGRAM, domain, owner),
            names <- new_spinlock!(
                DatagramNames {
                    domain,
                    peer: None,
                    is_automatic: false,
                    is_chosen: false,
                },
                "xensock_names"
            ),
            begun_on: Atomic::new(0),
        })
    }

    /// Returns `true` if the socket has a port, or the backend may have chosen one.
    fn has_port(&self) -> bool {
        self.endpoint.is_bound() || self.names.lock().is_automatic
    }

    /// Returns `true` if the program has done nothing with the socket except bind it. A socket with
    /// a port of the program's choice counts as a server's, unless the program `connects` it.
    pub(crate) fn is_unused(&self, connects: bool) -> bool {
        let names = self.names.lock();
        !names.is_automatic && names.peer.is_none() && (connects || !names.is_chosen)
    }

    /// Returns `true` if the socket had a data ring and has lost it. The next call creates another
    /// one.
    fn has_lost(&self) -> bool {
        match self.endpoint.conn() {
            Some(conn) => conn.death().is_some(),
            None => self.has_port(),
        }
    }

    /// Returns the connection, and creates it if there is none, for datagrams to `target` if that
    /// is known. The creation waits killably for the backend.
    fn opened(&self, sk: &Sock, target: Option<SocketAddr>) -> Result<Arc<Conn>> {
        if let Some(conn) = self.endpoint.conn().filter(|c| c.death().is_none()) {
            return Ok(conn);
        }
        let call = self.endpoint.lock_call()?;
        self.open(&call, sk, target)
    }

    fn open(
        &self,
        call: &CallGuard<'_>,
        sk: &Sock,
        target: Option<SocketAddr>,
    ) -> Result<Arc<Conn>> {
        if let Some(conn) = self.endpoint.conn() {
            return Ok(conn);
        }
        let peer = self.names.lock().peer;
        let conn = self.make(call, sk, peer.or(target))?;
        if let Some(peer) = peer {
            if let Err(error) = set_peer(&conn, peer) {
                Conn::close(&conn, true);
                return Err(error);
            }
        }
        self.keep(call, sk, conn.clone());
        Ok(conn)
    }

    /// Makes a connection without a peer for a socket that has none, for datagrams to `target` if
    /// that is known. The caller keeps it or closes it.
    fn make(
        &self,
        call: &CallGuard<'_>,
        sk: &Sock,
        target: Option<SocketAddr>,
    ) -> Result<Arc<Conn>> {
        self.endpoint.reserve_place()?;
        let known = self.names.lock().domain;
        let domain = known.or(target.as_ref().map(Domain::from));
        let ip = target.map(|to| destination(to.ip()));
        attach(sk, self.endpoint.take_remote(call, sk, domain, ip)?)
    }

    /// Stores the connection of the socket, and has the tasks that wait go on with it.
    fn keep(&self, _call: &CallGuard<'_>, sk: &Sock, conn: Arc<Conn>) {
        self.names.lock().domain = Some(conn.remote.domain);
        {
            let mut inner = self.endpoint.inner.lock();
            if !inner.is_closed {
                inner.state = EndpointState::Connection(conn.clone());
                drop(inner);
                self.set_found(&conn);
                // Datagrams may have arrived since the backend has the ring. The handler has woken
                // tasks then, which did not find them.
                return sk.wake_all();
            }
        }
        // The socket was closed during this, see `revive`: `release` waits until this has ended.
        end_at_once(&conn);
    }

    /// Notes that the socket is no longer lost, unless its connection has been lost meanwhile.
    fn set_found(&self, conn: &Conn) {
        conn.unless_lost(|| self.endpoint.set_found());
    }

    /// Returns the link on which the state that the socket has lost can be set up again. Fails with
    /// `ENETDOWN` if there is none.
    pub(crate) fn next_link(&self, sk: &Sock) -> Result<Arc<Link>> {
        let (peer, domain) = {
            let names = self.names.lock();
            (names.peer, names.domain)
        };
        let former = self.endpoint.bound_device();
        let ip = peer.map(|peer| destination(peer.ip()));
        self.endpoint.link_for(sk, former, domain, ip)
    }

    /// Restores the state that a socket has lost, with the current link. The socket stays lost if
    /// there is no link, or if a call holds it, or after an error that [may pass](may_pass): then
    /// this returns `true`.
    pub(crate) fn revive(&self, sk: &Sock, is_new: bool) -> bool {
        let Some(call) = self.endpoint.try_lock_call() else {
            return false;
        };
        if !self.endpoint.is_lost() {
            return false;
        }
        match self.open(&call, sk, None) {
            // Tasks that wait for a datagram go on with the new ring, or with the one that the
            // socket still has: during a `connect()` that changes the link there are two.
            Ok(conn) => {
                self.set_found(&conn);
                sk.state_changed();
            }
            Err(ENETDOWN) => (),
            Err(error) if may_pass(error, is_new) => return true,
            // The next call tries again.
            Err(error) => {
                self.endpoint.set_found();
                sk.set_error(error);
                sk.state_changed();
                sk.error_report();
            }
        }
        false
    }

    /// `shutdown()`, as `inet_shutdown()` does it: only for this end.
    pub(crate) fn shutdown(&self, sk: &Sock, how: How) -> Result {
        sk.add_shutdown(directions(how));
        // Wakes tasks that sleep in a call.
        sk.state_changed();
        if self.endpoint.is_native() {
            // A fallback may have copied the directions before. When it has ended, the error has
            // the call repeated.
            drop(self.endpoint.lock_call()?);
        }
        match sk.state() {
            TcpState::Established => Ok(()),
            _ => Err(ENOTCONN),
        }
    }

    /// `close()`: the backend still takes the datagrams sent. A bound address is free when the call
    /// returns, unless the program is exiting or killed, or a kernel thread drops the last
    /// reference to the file.
    pub(crate) fn release(&self, sk: &Sock) {
        let (state, former, is_bound) = {
            let mut inner = self.endpoint.inner.lock();
            inner.is_closed = true;
            let state = inner.take_state();
            (state, inner.former.take(), inner.local.is_some())
        };
        drop(former);
        if let EndpointState::Connection(conn) = state {
            let waits = is_bound && may_wait_for_end() && conn.wait_until_taken().is_ok();
            Conn::close(&conn, false);
            if waits {
                // The backend may say now that it has not taken everything, or the connection may
                // have ended otherwise: then `close` has sent no RELEASE.
                Conn::release_now(&conn, false);
                let _ = conn.remote.release_exchange().wait();
            }
        }
        if self.endpoint.is_lost() {
            Survivors::remove(sk);
            if is_bound && may_wait_for_end() {
                // A work item may be restoring the address. It ends what it has set up.
                drop(self.endpoint.lock_call());
            }
        }
        sk.set_state(TcpState::Close);
    }
}

/// Gives a socket of the backend its data ring, and waits killably for the response.
fn attach(sk: &Sock, mut remote: RemoteSocket) -> Result<Arc<Conn>> {
    let mut joins = remote.take_joins();
    let order = ring_order(&remote.link, sk);
    let fresh = Conn::datagram(remote, sk, order)?;
    let link = fresh.remote.link.clone();
    let attach = fresh.remote.exchange(Call::Attach {
        id: fresh.remote.id,
        ring: fresh.ring.reference(),
    })?;
    let release = fresh.remote.release_exchange();
    // From here on the end of the link notifies the connection.
    let conn = Conn::enter(fresh).inspect_err(|_| {
        // A work item ends it. If the program tries again at once, the address has to be free.
        let _ = release.wait();
    })?;
    link.submit(&attach, None);
    conn.ring.connect(conn.clone());
    if let Err(error) = attach.wait() {
        Conn::close(&conn, true);
        return Err(conn.remote.first_error(error));
    }
    let is_new = link.is_new();
    for join in &joins {
        match join.wait() {
            Ok(_) => (),
            Err(error @ (ENETDOWN | ERESTARTSYS)) => {
                Conn::close(&conn, true);
                return Err(error);
            }
            Err(error) if may_pass(error, is_new) => (),
            // The socket goes on without the group, although the program has joined it.
            Err(error) => {
                sk.set_error(error);
                sk.error_report();
            }
        }
    }
    joins.retain(|join| join.error().is_some_and(|error| may_pass(error, is_new)));
    conn.join_later(joins);
    Ok(conn)
}

/// Resets a connection, and waits killably until its address is free.
fn end_at_once(conn: &Arc<Conn>) {
    Conn::close(conn, true);
    // If the connection had ended before, `close` has sent no RELEASE.
    Conn::release_now(conn, true);
    let _ = conn.remote.release_exchange().wait();
}

/// Asks the backend to set the peer of a socket. Waits killably.
fn set_peer(conn: &Conn, peer: SocketAddr) -> Result {
    let call = Call::Connect {
        id: conn.remote.id,
        addr: peer,
        flags: 0,
        ring: crate::proto::RingRef { grant: 0, port: 0 },
    };
    conn.remote.send_and_wait(call).map(|_| ())
}

/// Asks the backend to remove the peer of a socket. Waits killably.
fn forget_peer(conn: &Conn) -> Result {
    let id = conn.remote.id;
    conn.remote
        .send_and_wait(Call::Disconnect { id })
        .map(|_| ())
}

/// Returns the order of new rings of a socket, for the buffer sizes that the program has set. A
/// direction without a size has room for the largest datagram.
fn ring_order(link: &Link, sk: &Sock) -> Order {
    let largest = frame::LARGEST as usize;
    let order = match (sk.snd_buf_asked(), sk.rcv_buf_asked()) {
        (None, None) => Order::for_size(largest).max(fixed_order()),
        (send, recv) => Order::for_size(send.unwrap_or(largest).max(recv.unwrap_or(largest))),
    };
    order.min(link.max_order())
}
