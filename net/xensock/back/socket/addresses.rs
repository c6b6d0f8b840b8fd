// SPDX-License-Identifier: GPL-2.0

//! The addresses of a guest's socket and its peer, as far as the policy allows them.

use super::{
    Carried,
    GuestSocket, //
};
use crate::policy::Policy;
use core::net::{
    IpAddr,
    Ipv4Addr,
    SocketAddr, //
};
use kernel::{
    net::addr::Domain,
    prelude::*,
    sync::{
        atomic::Relaxed,
        Arc, //
    }, //
};

/// An address that a guest may reach from its socket.
#[derive(Clone, Copy)]
pub(crate) struct Reachable(SocketAddr);

impl Reachable {
    pub(super) fn addr(self) -> SocketAddr {
        self.0
    }
}

/// An address that a guest may bind its socket to.
#[derive(Clone, Copy)]
pub(crate) struct Bindable(SocketAddr);

impl<P: Carried> GuestSocket<P> {
    /// Begins to connect: `EINPROGRESS`. For a datagram socket, sets the peer and is done.
    pub(crate) fn connect(&self, peer: Reachable) -> Result {
        self.check_tie(&peer.0)?;
        let connected = self.tied_by(&peer.0, || self.inner.connect(peer.0));
        connected.map_err(|error| self.reason(error))
    }

    /// Returns the error for an error of Linux. A socket that gets no port fails with `EAGAIN` if it
    /// is one of UDP: there is nothing to wait for.
    pub(super) fn reason(&self, error: Error) -> Error {
        match error {
            EAGAIN if self.is_bound() == Ok(false) => EADDRNOTAVAIL,
            error => error,
        }
    }

    /// Resolves `addr`, if the guest may reach it.
    pub(crate) fn reachable(&self, addr: SocketAddr) -> Result<Reachable> {
        self.check_family(&addr)?;
        let addr = self.resolve(addr)?;
        self.check(|policy| policy.may_connect(P::TRANSPORT, &addr))?;
        Ok(Reachable(addr))
    }

    /// Replaces the unspecified IPv4 address as Linux does: by the address of the socket or, if it
    /// has none, by the loopback address.
    fn resolve(&self, addr: SocketAddr) -> Result<SocketAddr> {
        let IpAddr::V4(Ipv4Addr::UNSPECIFIED) = addr.ip().to_canonical() else {
            return Ok(addr);
        };
        let ip = match self.local_addr()?.ip().to_canonical() {
            IpAddr::V4(own) if !own.is_unspecified() => own,
            _ => Ipv4Addr::LOCALHOST,
        };
        let ip = match addr {
            SocketAddr::V4(_) => IpAddr::V4(ip),
            SocketAddr::V6(_) => IpAddr::V6(ip.to_ipv6_mapped()),
        };
        Ok(SocketAddr::new(ip, addr.port()))
    }

    /// Checks that both policies allow an operation: the one under which the socket was made, which
    /// has its namespace, and the one now in force.
    pub(super) fn check(&self, allows: impl Fn(&Policy) -> Result) -> Result {
        allows(&self.policy)?;
        let now = self.in_force.get();
        if Arc::ptr_eq(&now, &self.policy) {
            return Ok(());
        }
        now.check_namespace(&self.policy)?;
        allows(&now)
    }

    /// Checks that the guest may bind to `addr`. LISTEN checks it anew.
    pub(crate) fn bindable(&self, addr: SocketAddr) -> Result<Bindable> {
        self.check_family(&addr)?;
        self.check(|policy| policy.may_bind_client(P::TRANSPORT, &addr))?;
        Ok(Bindable(addr))
    }

    /// Returns `true` if the guest may send from `addr`, to which it may bind: if so, Linux decides.
    pub(super) fn may_be_from(&self, addr: &SocketAddr) -> bool {
        [&self.policy, &self.in_force.get()]
            .into_iter()
            .all(|policy| policy.may_be_from(P::TRANSPORT, addr))
    }

    /// Binds to an address, and returns the resulting address.
    pub(crate) fn bind(&self, addr: Bindable) -> Result<SocketAddr> {
        // A socket does not send from a group to which it is bound.
        if !addr.0.ip().is_multicast() && !self.may_be_from(&addr.0) {
            return Err(EADDRNOTAVAIL);
        }
        self.tied_by(&addr.0, || self.inner.bind(addr.0))?;
        // With IP_BIND_ADDRESS_NO_PORT it may be bound again, to a port.
        self.has_any_port.store(addr.0.port() == 0, Relaxed);
        self.local_addr()
    }

    /// Returns the address of the socket.
    pub(crate) fn local_addr(&self) -> Result<SocketAddr> {
        self.inner.local_addr()
    }

    /// Returns the address of the peer. `ENOTCONN` if there is none.
    pub(crate) fn peer_addr(&self) -> Result<SocketAddr> {
        self.inner.peer_addr()
    }

    /// Returns `true` if the socket has a port.
    pub(crate) fn is_bound(&self) -> Result<bool> {
        Ok(self.local_addr()?.port() != 0)
    }

    pub(super) fn check_family(&self, addr: &SocketAddr) -> Result {
        if Domain::from(addr) != self.domain {
            return Err(EAFNOSUPPORT);
        }
        Ok(())
    }
}
