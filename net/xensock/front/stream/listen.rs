// SPDX-License-Identifier: GPL-2.0

//! The calls of servers: `bind()` and `listen()`.

use super::{
    ring_order,
    Stream, //
};
use crate::{
    addresses::{
        any,
        specific, //
    },
    endpoint::{
        give_back,
        CallGuard,
        EndpointState, //
    },
    errors::may_pass,
    link::Link,
    listener::{
        Listener,
        LocalListener, //
    },
    proto::{
        option::{
            SOL_SOCKET,
            SO_REUSEADDR, //
        },
        Call, //
    },
    remote_socket::RemoteSocket, //
};
use core::net::SocketAddr;
use kernel::{
    net::{
        addr::Domain,
        kernel_socket::{
            KernelSocket,
            Tcp, //
        },
        sock::{
            Sock,
            TcpState, //
        },
        socket::{
            Socket,
            SocketState, //
        },
    },
    prelude::*,
    sync::Arc, //
};

impl Stream {
    /// `bind()`, as `__inet_bind()` does it. `may_keep` checks the address that the socket has
    /// received.
    pub(crate) fn bind(
        &self,
        socket: &Socket,
        sk: &Sock,
        addr: SocketAddr,
        may_keep: impl FnOnce(&SocketAddr) -> Result,
    ) -> Result {
        let call = self.endpoint.lock_call()?;
        if socket.state() != SocketState::Unconnected || sk.state() != TcpState::Close {
            return Err(EINVAL);
        }
        self.forget_portless()?;
        let domain = Some(Domain::from(&addr));
        let mut remote = self
            .endpoint
            .take_remote(&call, sk, domain, specific(addr.ip()))?;
        match remote.bind(addr) {
            Ok(()) => {
                let local = remote.local.unwrap_or(addr);
                if let Err(error) = may_keep(&local) {
                    give_back(remote);
                    return Err(error);
                }
                sk.set_names(&local, &any(remote.domain));
                {
                    let mut inner = self.endpoint.inner.lock();
                    (inner.local, inner.device) = (Some(addr), Some(remote.link.name));
                }
                self.endpoint.keep(&call, remote);
                Ok(())
            }
            Err(error) => {
                self.endpoint.keep_after(&call, remote, error);
                Err(error)
            }
        }
    }

    /// Clears an address that can be replaced: one without a port, once it is no longer in use.
    /// Fails with `EINVAL` if there is another address.
    fn forget_portless(&self) -> Result {
        let mut inner = self.endpoint.inner.lock();
        let is_bound = match &inner.state {
            EndpointState::Idle(Some(remote)) => remote.local.is_some(),
            _ => false,
        };
        if is_bound || inner.local.is_some_and(|addr| addr.port() != 0) {
            return Err(EINVAL);
        }
        inner.local = None;
        Ok(())
    }

    /// `listen()`, as `inet_listen()` does it. `local` returns the socket that listens in the guest
    /// itself if the backend's socket has this address.
    pub(crate) fn listen(
        &self,
        socket: &Socket,
        sk: &Sock,
        backlog: u32,
        local: impl FnOnce(SocketAddr) -> Result<Option<KernelSocket<Tcp>>>,
    ) -> Result {
        let call = self.endpoint.lock_call()?;
        if socket.state() != SocketState::Unconnected {
            return Err(EINVAL);
        }
        if let Some(listener) = self.endpoint.listener() {
            listener.set_backlog(backlog)?;
            sk.set_max_ack_backlog(backlog);
            return Ok(());
        }
        let mut remote = self.endpoint.take_remote(&call, sk, None, None)?;
        let is_set = self.endpoint.known_option(SOL_SOCKET, SO_REUSEADDR) != 0;
        let reuse = match (is_set, self.endpoint.inner.lock().has_listened) {
            (true, _) => Reuse::Already,
            (false, false) => Reuse::Before,
            (false, true) => Reuse::After,
        };
        let local = match listen_with(&mut remote, backlog, reuse, local) {
            Ok(local) => local,
            Err(error) => {
                self.endpoint.keep_after(&call, remote, error);
                return Err(error);
            }
        };
        let (address, device) = (remote.local, remote.link.name);
        self.begin_listening(socket, sk, remote, backlog, local)
            .inspect_err(|_| self.endpoint.keep_address(&call, address, device))
    }

    /// Begins to take connections of the backend's socket, which listens.
    fn begin_listening(
        &self,
        socket: &Socket,
        sk: &Sock,
        remote: RemoteSocket,
        backlog: u32,
        local: Option<KernelSocket<Tcp>>,
    ) -> Result {
        self.endpoint.reserve_place()?;
        let local = match local {
            Some(local) => Some(Arc::new(LocalListener::new(local, sk)?, GFP_KERNEL)?),
            None => None,
        };
        let order = ring_order(&remote.link, sk);
        let listener = Listener::new(remote, sk, order, backlog, local)?;
        {
            let _guard = self.transition.lock();
            {
                let mut inner = self.endpoint.inner.lock();
                inner.state = EndpointState::Listening(listener.clone());
                inner.has_listened = false;
            }
            sk.set_max_ack_backlog(backlog);
            sk.set_state(TcpState::Listen);
        }
        // A connection may have arrived in the guest before the callbacks were set.
        if listener.local.as_ref().is_some_and(|l| l.has_connection()) {
            sk.data_ready();
        }
        let started = Listener::enter(&listener).and_then(|()| listener.post());
        started.inspect_err(|_| {
            let _guard = self.transition.lock();
            let _ = self.reset(socket, sk, false);
        })
    }

    /// Returns the link on which a listener that has lost its own can be set up again. Fails with
    /// `ENETDOWN` if there is none.
    pub(crate) fn next_link(&self, sk: &Sock) -> Result<Arc<Link>> {
        let lost = self.endpoint.listener().ok_or(ENETDOWN)?;
        let ip = lost.remote.local.and_then(|local| specific(local.ip()));
        let former = Some(lost.remote.link.name);
        self.endpoint
            .link_for(sk, former, Some(lost.remote.domain), ip)
    }

    /// Sets up a listener with the current link for a socket that has lost its own. The socket
    /// stays lost if there is no link, or if a call holds it, or after an error that
    /// [may pass](may_pass): then this returns `true`. After another error it no longer listens.
    pub(crate) fn revive(&self, sk: &Sock, is_new: bool) -> bool {
        let Some(call) = self.endpoint.try_lock_call() else {
            return false;
        };
        let Some(lost) = self.endpoint.listener().filter(|l| l.is_lost()) else {
            return false;
        };
        match self.listen_again(&call, sk, &lost) {
            Ok(()) | Err(ENETDOWN) => false,
            Err(error) if may_pass(error, is_new) => true,
            Err(error) => {
                self.endpoint.set_found();
                lost.fail(error);
                false
            }
        }
    }

    /// Replaces a listener that was lost with its link.
    fn listen_again(&self, _call: &CallGuard<'_>, sk: &Sock, lost: &Arc<Listener>) -> Result {
        let (local, domain) = (lost.remote.local, lost.remote.domain);
        let link = self.next_link(sk)?;
        let mut remote = self.endpoint.make_remote(link, domain, local)?;
        let backlog = sk.max_ack_backlog();
        // The backend's socket has SO_REUSEADDR already, as it was bound again.
        listen_with(&mut remote, backlog, Reuse::Already, |_| Ok(None))?;
        let order = ring_order(&remote.link, sk);
        let listener = Listener::new(remote, sk, order, backlog, lost.local.clone())?;
        let is_wanted = {
            let _guard = self.transition.lock();
            let mut inner = self.endpoint.inner.lock();
            let is_wanted =
                matches!(&inner.state, EndpointState::Listening(now) if Arc::ptr_eq(now, lost));
            if is_wanted {
                inner.state = EndpointState::Listening(listener.clone());
            }
            is_wanted
        };
        if !is_wanted {
            // The program has ended the listener meanwhile, and waits for the end of this one.
            let release = listener.remote.release_exchange();
            drop(listener.close());
            let _ = release.wait();
            return Ok(());
        }
        self.endpoint.set_found();
        let entered = Listener::enter(&listener);
        lost.retire();
        if let Err(error) = entered {
            // The link has begun to end and does not know the listener, or there is no memory.
            listener.lose_link();
            listener.remote.end();
            return Err(error);
        }
        // If this fails, the link tries again.
        let _ = listener.post();
        Ok(())
    }
}

/// When the backend's socket gets SO_REUSEADDR.
///
/// While the socket listens, the option has no effect on it. But the connections inherit it, and
/// those that outlive this link must not keep the next one from listening at the port.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reuse {
    /// It has the option.
    Already,
    /// Before it listens, so that each connection inherits the option.
    Before,
    /// Once it listens. The socket has listened before, and as with TCP the connections that it has
    /// accepted then keep it from listening again.
    After,
}

/// Makes the backend's socket listen, on any port if it has none yet.
fn listen_with(
    remote: &mut RemoteSocket,
    backlog: u32,
    reuse: Reuse,
    local: impl FnOnce(SocketAddr) -> Result<Option<KernelSocket<Tcp>>>,
) -> Result<Option<KernelSocket<Tcp>>> {
    if remote.local.is_none() {
        remote.bind(any(remote.domain))?;
    }
    let local = match remote.local {
        Some(name) => local(name)?,
        None => None,
    };
    let id = remote.id;
    // Before any peer can connect.
    remote.link.may_listen()?;
    if reuse == Reuse::Before {
        remote.set_reuse(true)?;
    }
    if let Err(error) = remote.send_and_wait(Call::Listen { id, backlog }) {
        if reuse == Reuse::Before {
            remote.restore_reuse(false);
        }
        return Err(error);
    }
    if reuse == Reuse::After {
        // It listens all the same if this fails.
        let _ = remote.set_reuse(true);
    }
    Ok(local)
}
