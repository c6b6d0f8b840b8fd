// SPDX-License-Identifier: GPL-2.0

//! Options that are carried to the backend.

use crate::{
    commands::{
        Exchange,
        Priority, //
    },
    conn::Conn,
    devices::Devices,
    endpoint::{
        CallGuard,
        Endpoint,
        EndpointState, //
    },
    errors::is_shortage,
    proto::{
        option::{
            self,
            Interface,
            Kind,
            SockOpt,
            SOL_SOCKET,
            SO_REUSEADDR,
            XS_RCVBUF,
            XS_SNDBUF, //
        },
        value::Value,
        Call, //
    },
    remote_socket::RemoteSocket,
    saved_options::SavedOptions, //
};
use kernel::{
    net::{
        addr::Domain,
        sock::Sock, //
    },
    prelude::*,
    sync::Arc, //
};

/// Largest number of options of a connection in flight without a waiting task.
const MAX_UNAWAITED: u32 = 4;

impl Endpoint {
    /// Sends the backend the size of a stream's buffer, if this option sets it. A backend without
    /// this option is left as it is.
    pub(super) fn send_buffer_size(&self, sk: &Sock, name: u32) {
        const SO_SNDBUF: u32 = 7;
        const SO_RCVBUF: u32 = 8;
        const SO_SNDBUFFORCE: u32 = 32;
        const SO_RCVBUFFORCE: u32 = 33;
        let (name, size) = match name {
            SO_SNDBUF | SO_SNDBUFFORCE => (XS_SNDBUF, sk.snd_buf_asked()),
            SO_RCVBUF | SO_RCVBUFFORCE => (XS_RCVBUF, sk.rcv_buf_asked()),
            _ => return,
        };
        let value =
            Value::int(size.map_or(i32::MAX, |size| i32::try_from(size).unwrap_or(i32::MAX)));
        if let Ok(option) = option::may_set(option::SOL_XS, name, &value) {
            let _ = self.carry(sk, option, value);
        }
    }

    /// Asks the backend to set an option, and notes it for further sockets.
    pub(super) fn carry(&self, sk: &Sock, option: &SockOpt, value: Value) -> Result {
        self.carry_at(sk, option, value, Interface::default())
    }

    /// As [`Self::carry`], and notes the interface that the program has named.
    pub(super) fn carry_at(
        &self,
        sk: &Sock,
        option: &SockOpt,
        value: Value,
        interface: Interface,
    ) -> Result {
        self.check_has(option)?;
        let call = self.lock_call()?;
        let old = self.inner.lock().settings.clone();
        let settings = SavedOptions::with(old.as_deref(), option, value, interface)?;

        if self.can_defer(option) || self.is_set_for_listening(option) {
            self.set_local_option(option, &value)?;
            let old = self.inner.lock().settings.replace(settings);
            drop(old);
            return Ok(());
        }
        let had_group = old.is_some_and(|old| old.has_group_of(option, &value));
        let early = self.leave_early(option, &value);
        let can_skip_wait = self.can_skip_wait(option);
        let result = self.with_remote(&call, sk, option, |remote| {
            let call = Call::SetSockOpt {
                id: remote.id,
                level: option.level,
                name: option.name,
                value,
            };
            if can_skip_wait {
                return self.set_unawaited(remote, option, call);
            }
            remote.send_and_wait(call).map(|_| ())
        });
        match result {
            // The connection has failed meanwhile. The next socket gets the option.
            Ok(()) | Err(EBADF) => (),
            // The socket on the next link gets the option.
            Err(ENETDOWN) if self.is_lost() => (),
            // The socket was yet to join the group again.
            Err(EADDRNOTAVAIL | ENODEV) if early.is_some() => (),
            // The backend has refused to join the group again.
            Err(EADDRNOTAVAIL) if had_group => (),
            Err(error) => {
                if let Some((conn, join)) = early {
                    conn.keep_joining(join);
                }
                return Err(error);
            }
        }
        self.set_local_option(option, &value)?;
        let old = {
            let mut inner = self.inner.lock();
            inner.has_late_settings |= matches!(inner.state, EndpointState::Listening(_));
            inner.settings.replace(settings)
        };
        drop(old);
        Ok(())
    }

    /// Forgets the group that `option` leaves, if the socket was yet to join it again. Returns the
    /// connection and the request to join.
    fn leave_early(&self, option: &SockOpt, value: &Value) -> Option<(Arc<Conn>, Arc<Exchange>)> {
        let conn = self.conn().filter(|_| option.leaves())?;
        let join = conn.leave_early(option, value)?;
        Some((conn, join))
    }

    /// Returns `true` if an option need not be sent before the backend has a socket: no backend
    /// refuses it if its value is in range.
    fn can_defer(&self, option: &SockOpt) -> bool {
        let is_unused =
            matches!(self.inner.lock().state, EndpointState::Idle(None)) && !option.is_group();
        let is_certain = !matches!(option.kind, Kind::Name | Kind::AnyInt);
        is_unused
            && self.domain.is_some()
            && Devices::find(|link| !is_certain || !link.quirks().has_options()).is_none()
    }

    /// Returns `true` for SO_REUSEADDR of a listening socket, which the backend's socket has whatever
    /// the program has set: see `listen_with`.
    fn is_set_for_listening(&self, option: &SockOpt) -> bool {
        (option.level, option.name) == (SOL_SOCKET, SO_REUSEADDR)
            && matches!(self.inner.lock().state, EndpointState::Listening(_))
    }

    /// Returns `true` if no task has to wait for the response to an option of a connection: the
    /// option is not refused, and does not affect bytes sent meanwhile.
    fn can_skip_wait(&self, option: &SockOpt) -> bool {
        let has_options = |conn: &Arc<Conn>| conn.remote.link.quirks().has_options();
        option.is_order_independent() && self.live_conn().as_ref().is_some_and(has_options)
    }

    /// Sets an option of a connection without waiting for the response. If many responses were not
    /// waited for, waits for this one: a backend usually answers such requests in their order.
    ///
    /// An option for sending does not affect the first bytes, so its request may be published
    /// later, with other requests.
    fn set_unawaited(&self, remote: &RemoteSocket, option: &SockOpt, call: Call) -> Result {
        let conn = self.conn();
        let conn = conn.filter(|conn| option.is_for_sending() && !conn.has_sent());
        let priority = match conn {
            Some(_) => Priority::Deferred,
            None => Priority::Unawaited,
        };
        let exchange = remote.send_with_priority(call, priority)?;
        if let Some(conn) = conn {
            conn.set_deferred();
        }
        let count = {
            let mut inner = self.inner.lock();
            let count = match &inner.unawaited {
                Some((last, count)) if !last.is_over() => count.wrapping_add(1),
                _ => 0,
            };
            inner.unawaited = Some((exchange.clone(), count % MAX_UNAWAITED));
            count
        };
        if count == MAX_UNAWAITED {
            remote.link.flush();
            let _ = exchange.wait();
        }
        Ok(())
    }

    /// Calls `ask` with the backend's socket, which is created if there is none.
    ///
    /// After a failure the backend has closed its socket, and TCP still has options. So another one
    /// with the same options answers, for this call alone.
    pub(super) fn with_remote<T>(
        &self,
        call: &CallGuard<'_>,
        sk: &Sock,
        option: &SockOpt,
        ask: impl FnOnce(&RemoteSocket) -> Result<T>,
    ) -> Result<T> {
        let result = if let Some(conn) = self.live_conn() {
            conn.wait_until_taken()?;
            ask(&conn.remote)
        } else if let Some(conn) = self.conn() {
            let domain = conn.remote.domain;
            self.link_for(sk, None, Some(domain), None)
                .and_then(|link| self.make_remote(link, domain, None))
                .and_then(|remote| ask(&remote))
                // There can be no other socket now.
                .map_err(|error| match error {
                    error if is_shortage(error) => EBADF,
                    error => error,
                })
        } else if let Some(listener) = self.listener() {
            ask(&listener.remote)
        } else {
            let domain = option.needs_ipv6().then_some(Domain::Inet6);
            self.take_remote(call, sk, domain, None).and_then(|remote| {
                let result = ask(&remote);
                match &result {
                    Ok(_) => self.keep(call, remote),
                    Err(error) => self.keep_after(call, remote, *error),
                }
                result
            })
        };
        result.map_err(|error| match error {
            // The link has no options or no IPv6, or the socket has an IPv4 address.
            EOPNOTSUPP | EAFNOSUPPORT => ENOPROTOOPT,
            error => error,
        })
    }
}
