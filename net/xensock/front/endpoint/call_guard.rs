// SPDX-License-Identifier: GPL-2.0

//! What calls have in common that wait for the backend: they take turns, and take its socket.

use super::{
    Endpoint,
    State, //
};
use crate::{
    link::LINK,
    proto::call::SOCK_DGRAM,
    remote_socket::RemoteSocket, //
};
use core::net::SocketAddr;
use kernel::{
    net::addr::Domain,
    prelude::*,
    sync::lock::mutex::MutexGuard, //
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
                State::Idle(Some(remote)) if !remote.link.is_up() => remote,
                State::Listening(listener) if listener.is_closed() => &listener.remote,
                // Of a stream there is something to be told still.
                State::Connection(conn) if self.kind == SOCK_DGRAM && conn.death().is_some() => {
                    &conn.remote
                }
                _ => return,
            };
            // Of a datagram socket it is known already, and may have been given up.
            if self.kind != SOCK_DGRAM {
                inner.local = remote.local.or(inner.local);
            }
            inner.take_state()
        };
        drop(lost);
    }

    /// Takes the backend's socket, or has one made, with the options and the address that the
    /// program has chosen; for addresses of `domain`, if that matters.
    ///
    /// `EINVAL` if the socket is connected or listening, `EAFNOSUPPORT` if it has an address of
    /// another family.
    pub(crate) fn take_remote(
        &self,
        call: &CallGuard<'_>,
        domain: Option<Domain>,
    ) -> Result<RemoteSocket> {
        let (remote, local, settings, former) = {
            let mut guard = self.inner.lock();
            let inner = &mut *guard;
            let State::Idle(remote) = &mut inner.state else {
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
            if domain.is_none_or(|domain| domain == remote.domain) {
                return Ok(remote);
            }
            if remote.local.is_some() {
                self.keep(call, remote);
                return Err(EAFNOSUPPORT);
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
        if LINK.get().is_none() {
            return Err(ENETDOWN);
        }
        if let Some(former) = former.filter(|_| local.as_ref().is_some_and(is_chosen)) {
            // Whatever is answered, the address is free then.
            let _ = former.wait();
        }
        self.make_remote(domain, local)
    }

    /// Has the backend make a socket, with the options that were set, and with this address.
    pub(crate) fn make_remote(
        &self,
        domain: Domain,
        local: Option<SocketAddr>,
    ) -> Result<RemoteSocket> {
        let settings = self.inner.lock().settings.clone();
        let link = LINK.get().ok_or(ENETDOWN)?;
        let mut remote =
            RemoteSocket::new(link, self.kind, domain, self.owner, settings.as_deref())?;
        if let Some(local) = local.filter(is_chosen) {
            remote.bind(local)?;
        }
        Ok(remote)
    }

    /// Puts the backend's socket back for the next call.
    pub(crate) fn keep(&self, _call: &CallGuard<'_>, remote: RemoteSocket) {
        let mut inner = self.inner.lock();
        // Only who has the guard gives the socket another state than this one.
        if let State::Idle(place) = &mut inner.state {
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
