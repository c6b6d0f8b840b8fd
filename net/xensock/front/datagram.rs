// SPDX-License-Identifier: GPL-2.0

//! A datagram socket: what a program does with it.
//!
//! The measure of each call is what UDP does (`net/ipv4/udp.c`, `net/ipv4/datagram.c`,
//! `net/core/datagram.c`), but for errors that only the backend can find: a datagram is sent without
//! waiting for it, so that they are told by the next call.
//!
//! The backend's socket and the data ring are made when they are first needed, and anew after they
//! were lost: there is nothing of a connection in them, only an address, a peer and options.

mod address;
mod association;
mod poll;
mod recv;
mod send;

use crate::{
    addresses::destination,
    conn::Conn,
    endpoint::{
        directions,
        CallGuard,
        Endpoint,
        EndpointState, //
    },
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
        Arc,
        SpinLock, //
    }, //
};

/// What a datagram socket owns besides its `struct sock`.
///
/// It is dropped with the `struct sock`, possibly in softirq: by then `release` has taken out what
/// must not be dropped there.
#[pin_data]
pub(crate) struct Datagram {
    #[pin]
    pub(crate) endpoint: Endpoint,
    #[pin]
    names: SpinLock<DatagramNames>,
}

/// The addresses that a socket has, besides the one that it was bound to.
struct DatagramNames {
    /// What kind of addresses, once that is decided.
    domain: Option<Domain>,
    /// Whom it is connected with.
    peer: Option<SocketAddr>,
    /// Whether the backend may have chosen a port, or the address to send from: the socket was
    /// connected, or has sent.
    is_automatic: bool,
    /// Whether the program has chosen a port itself.
    is_chosen: bool,
}

impl Datagram {
    /// A new socket, for addresses of `domain` if it is a matter of that.
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
        })
    }

    /// Whether the socket has a port, or may have been given one.
    fn has_port(&self) -> bool {
        self.endpoint.is_bound() || self.names.lock().is_automatic
    }

    /// Whether nothing was done with the socket but, maybe, that it was bound. One that has a port of
    /// the program's choice is a server's as well, unless the program `connects` it.
    pub(crate) fn is_unused(&self, connects: bool) -> bool {
        let names = self.names.lock();
        !names.is_automatic && names.peer.is_none() && (connects || !names.is_chosen)
    }

    /// Whether the socket had a data ring, and has lost it. The next call makes another.
    fn has_lost(&self) -> bool {
        match self.endpoint.conn() {
            Some(conn) => conn.death().is_some(),
            None => self.has_port(),
        }
    }

    /// The data ring, made if there is none; for what is to go to a `target`, if that is known. Waits
    /// for the backend then; killable.
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
        let (peer, known) = {
            let names = self.names.lock();
            (names.peer, names.domain)
        };
        let domain = known.or(target.as_ref().map(Domain::from));
        let ip = peer.or(target).map(|to| destination(to.ip()));
        let remote = self.endpoint.take_remote(call, sk, domain, ip)?;
        let conn = attach(sk, remote)?;
        if let Some(peer) = peer {
            if let Err(error) = set_peer(&conn, peer) {
                Conn::close(&conn, true);
                return Err(error);
            }
        }
        self.keep(call, conn.clone());
        Ok(conn)
    }

    /// Notes the data ring that the socket has from now on.
    fn keep(&self, _call: &CallGuard<'_>, conn: Arc<Conn>) {
        self.names.lock().domain = Some(conn.remote.domain);
        {
            let mut inner = self.endpoint.inner.lock();
            if !inner.is_closed {
                inner.state = EndpointState::Connection(conn);
                drop(inner);
                return self.endpoint.set_lost(false);
            }
        }
        // It was closed while it was made anew, see `revive`.
        Conn::close(&conn, true);
    }

    /// Has the backend of the link that there is now make what a socket has lost. `ENETDOWN` if there
    /// is no link.
    pub(crate) fn revive(&self, sk: &Sock) -> Result {
        let call = self.endpoint.lock_call()?;
        if !self.endpoint.is_lost() {
            return Ok(());
        }
        let result = self.open(&call, sk, None).map(drop);
        match result {
            Err(ENETDOWN) => return result,
            Err(error) => self.give_up(sk, error),
            // Who waits for a datagram waits for it there.
            Ok(()) => sk.state_changed(),
        }
        result
    }

    /// Tells the program that what was lost is not made anew. The next call tries.
    pub(crate) fn give_up(&self, sk: &Sock, error: Error) {
        self.endpoint.set_lost(false);
        sk.set_error(error);
        sk.state_changed();
        sk.error_report();
    }

    /// `shutdown()`, as `inet_shutdown()` does it: it concerns this end alone.
    pub(crate) fn shutdown(&self, sk: &Sock, how: How) -> Result {
        sk.add_shutdown(directions(how));
        // For those who sleep in a call.
        sk.state_changed();
        match sk.state() {
            TcpState::Established => Ok(()),
            _ => Err(ENOTCONN),
        }
    }

    /// `close()`: what was sent is still taken by the backend. An address that was bound is free when
    /// the call returns, unless the program is exiting or killed.
    pub(crate) fn release(&self, sk: &Sock) {
        let (state, former, is_bound) = {
            let mut inner = self.endpoint.inner.lock();
            inner.is_closed = true;
            let state = inner.take_state();
            (state, inner.former.take(), inner.local.is_some())
        };
        drop(former);
        if let EndpointState::Connection(conn) = state {
            let waits = is_bound && !current!().is_exiting() && conn.settle().is_ok();
            Conn::close(&conn, false);
            if waits {
                // That was done, unless its link is down. Then this ends at once.
                conn.remote.end();
                let _ = conn.remote.ending().wait();
            }
        }
        if self.endpoint.is_lost() {
            Survivors::remove(sk);
        }
        sk.set_state(TcpState::Close);
    }
}

/// Gives a socket of the backend its data ring, and waits for the answer; killable.
fn attach(sk: &Sock, mut remote: RemoteSocket) -> Result<Arc<Conn>> {
    let joins = remote.take_joins();
    let order = ring_order(&remote.link, sk);
    let fresh = Conn::datagram(remote, sk, order)?;
    let link = fresh.remote.link.clone();
    let attach = link.exchange(Call::Attach {
        id: fresh.remote.id,
        ring: fresh.ring.reference(),
    })?;
    // From here on the end of the link is told to it.
    let conn = Conn::enter(fresh)?;
    link.submit(&attach, None);
    conn.ring.connect(conn.clone());
    if let Err(error) = attach.wait() {
        Conn::close(&conn, true);
        return Err(conn.remote.first_error(error));
    }
    for join in &joins {
        match join.wait() {
            Ok(_) => (),
            Err(error @ (ENETDOWN | ERESTARTSYS)) => {
                Conn::close(&conn, true);
                return Err(error);
            }
            // It goes on without the group, in which the program believes it to be.
            Err(error) => {
                sk.set_error(error);
                sk.error_report();
            }
        }
    }
    Ok(conn)
}

/// Has the backend set the peer of a socket; killable.
fn set_peer(conn: &Conn, peer: SocketAddr) -> Result {
    let call = Call::Connect {
        id: conn.remote.id,
        addr: peer,
        flags: 0,
        ring: crate::proto::RingRef { grant: 0, port: 0 },
    };
    conn.remote.ask(call).map(|_| ())
}

/// The order of new rings of a socket: for the buffers that the program has asked for. A direction
/// for which it has asked for nothing has room for every datagram there is.
fn ring_order(link: &Link, sk: &Sock) -> Order {
    let largest = frame::LARGEST as usize;
    let order = match (sk.snd_buf_asked(), sk.rcv_buf_asked()) {
        (None, None) => Order::for_size(largest).max(fixed_order()),
        (send, recv) => Order::for_size(send.unwrap_or(largest).max(recv.unwrap_or(largest))),
    };
    order.min(link.max_order())
}
