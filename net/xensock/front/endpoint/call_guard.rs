// SPDX-License-Identifier: GPL-2.0

//! What calls have in common that wait for the backend: they take turns, and take its socket.

use super::{
    Endpoint,
    EndpointState, //
};
use crate::{
    link::Link,
    proto::call::SOCK_DGRAM,
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
        lock::mutex::MutexGuard,
        Arc, //
    }, //
};

/// Proof that nobody else changes the socket by an answer of the backend's.
pub(crate) struct CallGuard<'a>(#[expect(dead_code)] MutexGuard<'a, ()>);

impl Endpoint {
    /// Waits until no other call has the socket; killable.
    pub(crate) fn lock_call(&self) -> Result<CallGuard<'_>> {
        let call = CallGuard(self.call.lock_killable()?);
        self.drop_lost();
        Ok(call)
    }

    /// Gives up what a link that is down has left. If there was an address, it is asked for again.
    fn drop_lost(&self) {
        let lost = {
            let mut inner = self.inner.lock();
            let remote = match &inner.state {
                EndpointState::Idle(Some(remote)) if !remote.link.is_up() => remote,
                EndpointState::Listening(listener) if listener.is_closed() => &listener.remote,
                // Of a stream there is something to be told still.
                EndpointState::Connection(conn)
                    if self.kind == SOCK_DGRAM && conn.death().is_some() =>
                {
                    &conn.remote
                }
                _ => return,
            };
            // Of a datagram socket it is known already, and may have been given up.
            if let Some(local) = remote.local.filter(|_| self.kind != SOCK_DGRAM) {
                let device = remote.link.name;
                (inner.local, inner.device) = (Some(local), Some(device));
            }
            inner.take_state()
        };
        drop(lost);
    }

    /// Takes the backend's socket, or has one made, with the options and the address that the
    /// program has chosen; for addresses of `domain`, if that matters, and of the device for what is
    /// to use `ip`, unless it has an address.
    ///
    /// `EINVAL` if the socket is connected or listening, `EAFNOSUPPORT` if it has an address of
    /// another family.
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
            // It has nothing but options: another gets them.
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
            // Whatever is answered, the address is free then.
            let _ = former.wait();
        }
        self.make_remote(link, domain, local)
    }

    /// Has the backend of a link make a socket, with the options that were set, and with this address.
    pub(crate) fn make_remote(
        &self,
        link: Arc<Link>,
        domain: Domain,
        local: Option<SocketAddr>,
    ) -> Result<RemoteSocket> {
        let settings = self.inner.lock().settings.clone();
        let device = link.name;
        let mut remote =
            RemoteSocket::new(link, self.kind, domain, self.owner, settings.as_deref())?;
        if let Some(local) = local.filter(is_chosen) {
            remote.bind(local)?;
        }
        if local.is_some() {
            self.inner.lock().device = Some(device);
        }
        Ok(remote)
    }

    /// Puts the backend's socket back for the next call.
    pub(crate) fn keep(&self, _call: &CallGuard<'_>, remote: RemoteSocket) {
        let mut inner = self.inner.lock();
        // Only who has the guard gives the socket another state than this one.
        if let EndpointState::Idle(place) = &mut inner.state {
            *place = Some(remote);
        }
    }

    /// Puts the backend's socket back after it has refused something, unless it is of no use: it
    /// was never made, is spent, its link is down, or we have not seen what was answered.
    pub(crate) fn keep_after(&self, call: &CallGuard<'_>, remote: RemoteSocket, error: Error) {
        if !matches!(error, ERESTARTSYS | ENETDOWN) && remote.is_of_use() {
            self.keep(call, remote);
        }
    }
}

/// Tells if an address leaves the backend less than every choice.
fn is_chosen(addr: &SocketAddr) -> bool {
    addr.port() != 0 || !addr.ip().is_unspecified()
}
