// SPDX-License-Identifier: GPL-2.0

//! Connecting, and going back to a socket that never was.

use super::{
    ring_order,
    Stream, //
};
use crate::{
    addresses::destination,
    commands::Exchange,
    conn::{
        Conn,
        UnusedConn, //
    },
    endpoint::{
        CallGuard,
        EndpointState, //
    },
    proto::{
        Call,
        Feature, //
    }, //
};
use core::net::SocketAddr;
use kernel::{
    net::{
        addr::Domain,
        sock::{
            Sock,
            TcpState,
            Timeout,
            WaitError, //
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
    /// `connect()` to an address, as `__inet_stream_connect()` does it.
    ///
    /// If it shall not block, it waits for the backend's answer nevertheless, as far as that does not
    /// wait for the peer: what is wrong with the address or the policy, or that no port is left, the
    /// call says itself.
    pub(crate) fn connect(
        &self,
        socket: &Socket,
        sk: &Sock,
        peer: Result<SocketAddr>,
        nonblock: bool,
    ) -> Result {
        let mut timeout = sk.snd_timeout(nonblock);
        let pending = match under_way(socket)? {
            Some(pending) => pending,
            None => {
                let (pending, connect) = self.start(socket, sk, peer)?;
                if nonblock && connect.is_some_and(|connect| connect.wait().is_err()) {
                    // The socket has been told, or is just being told.
                    timeout = sk.snd_timeout(false);
                } else if nonblock {
                    // With TCP the outcome is never there within the call that starts.
                    return Err(pending);
                }
                pending
            }
        };

        match sk.wait(&mut timeout, || sk.state() != TcpState::SynSent) {
            Ok(()) => (),
            Err(WaitError::TimedOut) => return Err(pending),
            Err(WaitError::Interrupted(error)) => return Err(error),
        }

        let _guard = self.transit()?;
        match socket.state() {
            // Another thread has seen it through.
            SocketState::Connected => return Ok(()),
            SocketState::Connecting => (),
            // Disconnected meanwhile.
            _ => return Err(EPIPE),
        }
        if sk.state() == TcpState::Close {
            let error = sk.take_error().unwrap_or(ECONNABORTED);
            // Who needs its address again waits for its end then.
            let _ = self.reset(socket, sk);
            return Err(error);
        }
        socket.set_state(SocketState::Connected);
        Ok(())
    }

    /// Returns whether `connect()` would start an attempt, as far as that can be said beforehand.
    pub(crate) fn can_start(&self, socket: &Socket, sk: &Sock) -> bool {
        socket.state() == SocketState::Unconnected && sk.state() == TcpState::Close
    }

    /// Starts an attempt, unless another thread does. Returns what a call says that does not wait
    /// for the end of it, and what was asked, if the answer to that does not wait for the peer.
    fn start(
        &self,
        socket: &Socket,
        sk: &Sock,
        peer: Result<SocketAddr>,
    ) -> Result<(Error, Option<Arc<Exchange>>)> {
        let call = self.endpoint.lock_call()?;
        if let Some(pending) = under_way(socket)? {
            return Ok((pending, None));
        }
        if sk.state() != TcpState::Close {
            return Err(EISCONN);
        }
        // An address that cannot be read matters only here.
        let peer = peer?;
        let fresh = self.set_up(&call, sk, peer)?;
        let link = fresh.remote.link.clone();
        let connect = link.exchange(Call::Connect {
            id: fresh.remote.id,
            addr: peer,
            flags: 0,
            ring: fresh.ring.reference(),
        })?;

        let _guard = self.transition.lock();
        let _ = sk.take_error();
        sk.clear_shutdown();
        sk.set_state(TcpState::SynSent);
        self.endpoint.inner.lock().state = EndpointState::Connection((*fresh).clone());
        // From here on the end of the link is told to the connection.
        let conn = match Conn::enter(fresh) {
            Ok(conn) => conn,
            Err(error) => {
                let _ = self.reset(socket, sk);
                return Err(error);
            }
        };
        socket.set_state(SocketState::Connecting);
        Conn::begin(conn, &connect);
        Ok((
            EINPROGRESS,
            Some(connect).filter(|_| link.has(Feature::Status)),
        ))
    }

    /// Sets up a connection to `peer`, of which the backend does not know yet.
    fn set_up(&self, call: &CallGuard<'_>, sk: &Sock, peer: SocketAddr) -> Result<UnusedConn> {
        let domain = Some(Domain::from(&peer));
        let ip = Some(destination(peer.ip()));
        let remote = self.endpoint.take_remote(call, sk, domain, ip)?;
        if remote.local.is_some() && !remote.link.quirks().connects_bound() {
            self.endpoint.keep(call, remote);
            return Err(EOPNOTSUPP);
        }
        let order = ring_order(&remote.link, sk);
        let fresh = Conn::new(remote, sk, order)?;
        fresh.set_not_sent_lowat(self.endpoint.not_sent_lowat());
        let _ = fresh.peer.populate(peer);
        Ok(fresh)
    }

    /// `connect()` to `AF_UNSPEC`: back to a socket that was never connected, or never listened.
    pub(crate) fn disconnect(&self, socket: &Socket, sk: &Sock) -> Result {
        let closing = {
            let _guard = self.transit()?;
            if !matches!(sk.state(), TcpState::Close | TcpState::Listen) {
                // Who is waiting in a call is told.
                sk.set_error(ECONNRESET);
            }
            sk.set_peek_offset(None);
            self.reset(socket, sk)
        };
        sk.error_report();
        closing.wait();
        Ok(())
    }

    /// Waits for a connection in progress, as `sk_stream_wait_connect()` does.
    pub(super) fn wait_connected(&self, sk: &Sock, timeout: &mut Timeout) -> Result {
        sk.wait(timeout, || {
            sk.error().is_some() || sk.state() != TcpState::SynSent
        })
        .map_err(Error::from)?;
        sk.take_error().map_or(Ok(()), Err)
    }
}

/// Returns what `connect()` has to say, if this call does not start an attempt.
fn under_way(socket: &Socket) -> Result<Option<Error>> {
    match socket.state() {
        SocketState::Connected => Err(EISCONN),
        SocketState::Connecting => Ok(Some(EALREADY)),
        SocketState::Unconnected => Ok(None),
        _ => Err(EINVAL),
    }
}
