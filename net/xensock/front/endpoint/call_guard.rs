// SPDX-License-Identifier: GPL-2.0

//! Calls that wait for the backend: they exclude each other, and take the backend's socket.

use super::{
    Endpoint,
    EndpointState, //
};
use crate::{
    devices::Devices,
    link::Link,
    proto::{
        call::SOCK_DGRAM,
        option::{
            SOL_SOCKET,
            SO_REUSEADDR, //
        },
        rule::route::DeviceName, //
    },
    remote_socket::RemoteSocket, //
};
use core::net::{
    IpAddr,
    SocketAddr, //
};
use kernel::{
    net::{
        addr::Domain,
        sock::Sock, //
    },
    prelude::*,
    sync::{
        atomic::Full,
        lock::mutex::MutexGuard,
        Arc, //
    }, //
};

/// Proof that no other task changes the socket by a response of the backend.
///
/// The fields are dropped in this order.
pub(crate) struct CallGuard<'a> {
    _lock: MutexGuard<'a, ()>,
    _end: EndOfCall<'a>,
}

/// Makes the links look after the socket, if a work item has found the lock taken meanwhile.
struct EndOfCall<'a>(&'a Endpoint);

impl Drop for EndOfCall<'_> {
    fn drop(&mut self) {
        // Full ordering: see `try_lock_call`.
        if self.0.is_awaited.xchg(false, Full) {
            Devices::revive();
        }
    }
}

impl Endpoint {
    /// Waits killably until no other call holds the lock.
    pub(crate) fn lock_call(&self) -> Result<CallGuard<'_>> {
        Ok(self.begin_call(self.call.lock_killable()?))
    }

    /// Takes the lock if no call holds it. Otherwise all links look for lost sockets again when
    /// that call has ended. Does not sleep.
    ///
    /// For work items that serve all sockets: a call may wait for a backend that does not respond.
    pub(crate) fn try_lock_call(&self) -> Option<CallGuard<'_>> {
        let lock = self.call.try_lock().or_else(|| {
            // Both ends order this before the next access: either the holder of the lock sees that
            // it is awaited, after it has released the lock, or the lock is free now.
            self.is_awaited.xchg(true, Full);
            self.call.try_lock()
        })?;
        Some(self.begin_call(lock))
    }

    fn begin_call<'a>(&'a self, lock: MutexGuard<'a, ()>) -> CallGuard<'a> {
        let call = CallGuard {
            _lock: lock,
            _end: EndOfCall(self),
        };
        self.drop_lost();
        call
    }

    /// Drops the state that was lost with its link. An address is kept for a further socket.
    fn drop_lost(&self) {
        let lost = {
            let mut inner = self.inner.lock();
            let remote = match &inner.state {
                EndpointState::Idle(Some(remote)) if !remote.link.is_up() => remote,
                EndpointState::Listening(listener) if listener.is_closed() => &listener.remote,
                // Unlike a datagram socket, a stream still has its end to report.
                EndpointState::Connection(conn)
                    if self.kind == SOCK_DGRAM && conn.death().is_some() =>
                {
                    &conn.remote
                }
                _ => return,
            };
            // A datagram socket has noted its address before, and may have cleared it since.
            if let Some(local) = remote.local.filter(|_| self.kind != SOCK_DGRAM) {
                let device = remote.link.name;
                (inner.local, inner.device) = (Some(local), Some(device));
            }
            inner.take_state()
        };
        drop(lost);
    }

    /// Takes the backend's socket, or creates one with the options and the address that the program
    /// has chosen. The socket is for addresses of `domain`, if given. If it has no address yet, it
    /// belongs to the device that reaches `ip`.
    ///
    /// Fails with `EINVAL` if the socket is connected or listening, with `EAFNOSUPPORT` if it has
    /// an address of another family.
    pub(crate) fn take_remote(
        &self,
        call: &CallGuard<'_>,
        sk: &Sock,
        domain: Option<Domain>,
        ip: Option<IpAddr>,
    ) -> Result<RemoteSocket> {
        let (remote, local, settings, former) = {
            let mut guard = self.inner.lock();
            let inner = &mut *guard;
            let EndpointState::Idle(remote) = &mut inner.state else {
                return Err(EINVAL);
            };
            let remote = remote.take();
            (
                remote,
                inner.local,
                inner.settings.clone(),
                inner.former.clone(),
            )
        };
        if let Some(remote) = remote {
            let has_domain = domain.is_none_or(|domain| domain == remote.domain);
            if remote.local.is_some() && !has_domain {
                self.keep(call, remote);
                return Err(EAFNOSUPPORT);
            }
            let has_link = || {
                self.link_for(sk, None, domain, ip)
                    .is_ok_and(|link| Arc::ptr_eq(&link, &remote.link))
            };
            if has_domain && (remote.local.is_some() || ip.is_none() || has_link()) {
                return Ok(remote);
            }
            // This socket has only options: another socket gets them.
        }
        let family = local.as_ref().map(Domain::from);
        if family.is_some_and(|family| domain.is_some_and(|domain| domain != family)) {
            return Err(EAFNOSUPPORT);
        }
        let preferred = settings.as_ref().map(|settings| settings.domain());
        let domain = domain
            .or(self.domain)
            .or(family)
            .or(preferred)
            .unwrap_or(Domain::Inet);
        let link = self.link_for(sk, self.bound_device(), Some(domain), ip)?;
        if let Some(former) = former.filter(|_| local.as_ref().is_some_and(is_chosen)) {
            // Whatever the response is, the address is free then.
            let _ = former.wait();
        }
        self.make_remote(link, domain, local)
    }

    /// Creates a socket of a link's backend, with the options that were set and with this address.
    pub(crate) fn make_remote(
        &self,
        link: Arc<Link>,
        domain: Domain,
        local: Option<SocketAddr>,
    ) -> Result<RemoteSocket> {
        let (settings, listens, has_listened) = {
            let inner = self.inner.lock();
            let listens = matches!(inner.state, EndpointState::Listening(_));
            (inner.settings.clone(), listens, inner.has_listened)
        };
        let device = link.name;
        let mut remote =
            RemoteSocket::new(link, self.kind, domain, self.owner, settings.as_deref())?;
        if let Some(local) = local.filter(is_chosen) {
            if listens || has_listened {
                // Its own connections must not keep the socket from its port.
                remote.set_reuse(true)?;
            }
            remote.bind(local)?;
            if has_listened && self.known_option(SOL_SOCKET, SO_REUSEADDR) == 0 {
                remote.set_reuse(false)?;
            }
        }
        if local.is_some() {
            self.inner.lock().device = Some(device);
        }
        Ok(remote)
    }

    /// Puts the backend's socket back for the next call.
    pub(crate) fn keep(&self, _call: &CallGuard<'_>, remote: RemoteSocket) {
        let mut inner = self.inner.lock();
        // Only the holder of the guard changes this state to another.
        if let EndpointState::Idle(place) = &mut inner.state {
            *place = Some(remote);
        }
    }

    /// Puts the backend's socket back after an error. Drops it if it is of no use: it was never
    /// created, its attempt is spent, its link is down, or the response was not seen.
    pub(crate) fn keep_after(&self, call: &CallGuard<'_>, remote: RemoteSocket, error: Error) {
        if !matches!(error, ERESTARTSYS | ENETDOWN) && remote.is_usable() {
            self.keep(call, remote);
        } else {
            self.keep_address(call, remote.local, remote.link.name);
        }
    }

    /// Keeps the address of a socket of the backend that is dropped, for the next one: the program
    /// may know the port that the backend has chosen.
    pub(crate) fn keep_address(
        &self,
        _call: &CallGuard<'_>,
        local: Option<SocketAddr>,
        device: DeviceName,
    ) {
        let mut inner = self.inner.lock();
        // A port that `listen()` has chosen is not known yet.
        if local.is_some() && inner.local.is_some() {
            (inner.local, inner.device) = (local, Some(device));
        }
    }
}

/// Returns `true` if the program has chosen a part of the address.
fn is_chosen(addr: &SocketAddr) -> bool {
    addr.port() != 0 || !addr.ip().is_unspecified()
}
