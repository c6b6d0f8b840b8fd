// SPDX-License-Identifier: GPL-2.0

//! The backend's socket for a socket of the guest.

use crate::{
    commands::{
        address,
        Exchange,
        Priority,
        Recipient, //
    },
    link::Link,
    proto::{
        option::{
            SOL_SOCKET,
            SO_REUSEADDR, //
        },
        shortage::Shortage,
        value::Value,
        Call,
        Response, //
    },
    saved_options::SavedOptions, //
};
use core::{
    mem::take,
    net::SocketAddr,
    ops::Range, //
};
use kernel::{
    net::addr::Domain,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Full,
            Relaxed, //
        },
        Arc, //
    }, //
};

/// A socket of the backend, by its handle. Released when it is dropped, in any context; that of an
/// ACCEPT by its connection.
pub(crate) struct RemoteSocket {
    pub(crate) link: Arc<Link>,
    /// The handle of the socket on the wire.
    pub(crate) id: u64,
    pub(crate) domain: Domain,
    /// The owner of the socket, see [`owner`](crate::endpoint::owner).
    pub(crate) owner: u64,
    /// The address that the program has given the socket.
    pub(crate) local: Option<SocketAddr>,
    /// Set if the socket can only be released: BIND to an address with an interface has failed, or
    /// an option could not be restored.
    is_spent: bool,
    /// SOCKET. `None` for the socket of an ACCEPT.
    creation: Option<Arc<Exchange>>,
    /// SETSOCKOPT for each group that was joined before, see [`Self::take_joins`].
    joins: KVec<Arc<Exchange>>,
    /// RELEASE. Allocated in advance, so that sending it cannot fail.
    release: Arc<Exchange>,
    is_released: Atomic<bool>,
}

impl RemoteSocket {
    /// Requests a socket from the backend for `owner`, with these settings. Does not wait for
    /// responses: later requests fail if SOCKET did, and [`Self::take_joins`] returns the requests
    /// for groups. May sleep.
    pub(crate) fn new(
        link: Arc<Link>,
        kind: u32,
        domain: Domain,
        owner: u64,
        settings: Option<&SavedOptions>,
    ) -> Result<Self> {
        link.check_kind(kind, domain)?;
        let id = link.new_id();
        let creation = link.exchange(
            owner,
            Call::Socket {
                id,
                domain: u32::from(domain as u16),
                kind,
                protocol: 0,
                owner,
            },
        )?;
        let mut remote = Self::for_accept(link, id, domain, owner)?;

        // From here on the release cannot fail. SOCKET is published with the next request.
        remote
            .link
            .send_with_priority(&creation, None, Priority::Deferred);
        remote.creation = Some(creation);
        for call in settings.iter().flat_map(|s| s.calls(id, domain)) {
            let joins = call.joins_group();
            let priority = if joins {
                Priority::Awaited
            } else {
                Priority::Deferred
            };
            match remote.send_with_priority(call, priority) {
                // This link has no options: they were set over another link.
                Err(EOPNOTSUPP) => break,
                sent if joins => remote.joins.push(sent?, GFP_KERNEL)?,
                sent => drop(sent?),
            }
        }
        Ok(remote)
    }

    /// Returns the requests for groups whose responses were not waited for.
    pub(crate) fn take_joins(&mut self) -> KVec<Arc<Exchange>> {
        take(&mut self.joins)
    }

    /// Creates the socket that an ACCEPT will make. May sleep.
    pub(crate) fn for_accept(link: Arc<Link>, id: u64, domain: Domain, owner: u64) -> Result<Self> {
        let release = link.exchange(
            owner,
            Call::Release {
                id,
                abort: false,
                reuse: false,
            },
        )?;
        Ok(Self {
            link,
            id,
            domain,
            owner,
            local: None,
            is_spent: false,
            creation: None,
            joins: KVec::new(),
            release,
            is_released: Atomic::new(false),
        })
    }

    /// Creates a request for the user of the socket. May sleep.
    pub(crate) fn exchange(&self, call: Call) -> Result<Arc<Exchange>> {
        self.link.exchange(self.owner, call)
    }

    /// Sends a request. May sleep, but does not wait for the response.
    pub(crate) fn send(&self, call: Call) -> Result<Arc<Exchange>> {
        self.send_with_priority(call, Priority::Awaited)
    }

    /// As [`Self::send`], with the given priority.
    pub(crate) fn send_with_priority(
        &self,
        call: Call,
        priority: Priority,
    ) -> Result<Arc<Exchange>> {
        let exchange = self.exchange(call)?;
        self.link.send_with_priority(&exchange, None, priority);
        Ok(exchange)
    }

    /// Sends a request, and waits killably for the response.
    pub(crate) fn send_and_wait(&self, call: Call) -> Result<Response> {
        let response = self.send(call)?.wait();
        response.map_err(|error| self.first_error(error))
    }

    /// Returns `true` if the backend can still use the socket, as far as is known.
    pub(crate) fn is_usable(&self) -> bool {
        !self.is_spent
            && self
                .creation
                .as_ref()
                .is_none_or(|creation| creation.error().is_none())
    }

    /// Returns the error of SOCKET if the backend does not know the socket, else `error`. If the
    /// backend has no more for the user or for the guest, listeners give back the connections they
    /// posted ahead.
    pub(crate) fn first_error(&self, error: Error) -> Error {
        match self.creation.as_ref().and_then(|creation| creation.error()) {
            Some(first) if error == EBADF => self.refusal(first, EMFILE),
            _ => self.refusal(error, ENOBUFS),
        }
    }

    /// Notes the shortage that `error` of the backend tells of, if any, and returns the error for
    /// the program: `no_more` if only the user has used up its share. Any context.
    pub(crate) fn refusal(&self, error: Error, no_more: Error) -> Error {
        match error {
            EDQUOT => {
                self.link.note_shortage(Shortage::OfUser(self.owner));
                return no_more;
            }
            EMFILE => self.link.note_shortage(Shortage::OfAll),
            _ => (),
        }
        error
    }

    /// Sets SO_REUSEADDR in the backend, whatever the program has set: then BIND and LISTEN ignore
    /// connections at the port that have it too. Sent with the next request. May sleep.
    ///
    /// Without effect if the backend has no options.
    pub(crate) fn set_reuse(&self, on: bool) -> Result {
        let call = Call::SetSockOpt {
            id: self.id,
            level: SOL_SOCKET,
            name: SO_REUSEADDR,
            value: Value::int(on.into()),
        };
        match self.send_with_priority(call, Priority::Deferred) {
            Ok(_) | Err(EOPNOTSUPP) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// As [`Self::set_reuse`] to what the program has set. If that fails, the socket can only be
    /// released.
    pub(crate) fn restore_reuse(&mut self, on: bool) {
        self.is_spent |= self.set_reuse(on).is_err();
    }

    /// Gives the socket an address, and waits killably for the response.
    pub(crate) fn bind(&mut self, addr: SocketAddr) -> Result {
        let tells_address = self.link.quirks().tells_address();
        if !tells_address && addr.port() == 0 {
            return self.bind_to_any_port(addr);
        }
        // See BIND in the protocol.
        self.is_spent = matches!(addr, SocketAddr::V6(addr) if addr.scope_id() != 0);
        let response = self.send_bind(addr)?;
        self.is_spent = false;
        self.local = Some(match tells_address {
            true => address(&response).ok_or(EPROTO)?,
            false => addr,
        });
        Ok(())
    }

    /// Sends BIND, and waits killably for the response.
    ///
    /// The backend ends connections asynchronously to its commands. If only ended connections still
    /// have the address, it has to be free, as after a reset with TCP. So after EADDRINUSE, BIND is
    /// sent again when these connections have ended.
    fn send_bind(&self, addr: SocketAddr) -> Result<Response> {
        let bind = Call::Bind { id: self.id, addr };
        let ahead = self.link.releases();
        let response = self.send_and_wait(bind);
        if !matches!(response, Err(EADDRINUSE)) || ahead.iter().all(Option::is_none) {
            return response;
        }
        self.link.flush();
        for release in ahead.iter().flatten() {
            let _ = release.wait();
        }
        self.send_and_wait(bind)
    }

    /// Chooses a port in the guest, because the backend does not report its choice.
    fn bind_to_any_port(&mut self, mut addr: SocketAddr) -> Result {
        /// The default range of Linux.
        const PORTS: Range<u16> = 32768..61000;
        const MAX_TRIES: u64 = 1000;

        for number in 0..MAX_TRIES {
            let any = self.id.wrapping_add(number) % u64::from(PORTS.end - PORTS.start);
            addr.set_port(PORTS.start + any as u16);
            match self.send_bind(addr) {
                Ok(_) => {
                    self.local = Some(addr);
                    return Ok(());
                }
                Err(EADDRINUSE) => (),
                Err(error) => return Err(error),
            }
        }
        Err(EADDRINUSE)
    }

    /// Asks the backend to close the socket, once, and to keep its ring for another connection if
    /// `leaves_ring` returns `true`. `recipient` is notified of the response. Any context.
    pub(crate) fn release(
        &self,
        abort: bool,
        priority: Priority,
        leaves_ring: impl FnOnce() -> bool,
        recipient: Option<Arc<dyn Recipient>>,
    ) {
        if !self.is_released.load(Relaxed) && !self.is_released.xchg(true, Full) {
            if abort {
                self.release.set_abort();
            }
            if leaves_ring() {
                self.release.set_reuse();
            }
            self.link
                .send_with_priority(&self.release, recipient, priority);
        }
    }

    /// Asks the backend to close the socket, once. Any context.
    pub(crate) fn end(&self) {
        self.release(false, Priority::Awaited, || false, None);
    }

    /// Returns `true` if the backend was asked to close the socket. Any context.
    pub(crate) fn is_released(&self) -> bool {
        self.is_released.load(Relaxed)
    }

    /// Returns the RELEASE exchange: once it has ended, the socket has ended.
    pub(crate) fn release_exchange(&self) -> Arc<Exchange> {
        self.release.clone()
    }
}

impl Drop for RemoteSocket {
    fn drop(&mut self) {
        // The backend knows the socket of an ACCEPT only from a connection, which has ended it.
        if self.creation.is_some() {
            self.end();
        }
    }
}
