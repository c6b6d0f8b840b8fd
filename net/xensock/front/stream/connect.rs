// SPDX-License-Identifier: GPL-2.0

//! `connect()`, and `connect()` to `AF_UNSPEC`.

use super::{
    ring_order,
    Stream, //
};
use crate::{
    addresses::{
        connected,
        destination, //
    },
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
            Shutdown,
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
    /// `connect()` to an address, as `__inet_stream_connect()` does it. If the call would begin an
    /// attempt, it fails with the error of `peer`.
    ///
    /// A nonblocking call also waits for the response of the backend, as long as the response does
    /// not depend on the peer. So the call itself returns errors of the address or of the policy,
    /// and the lack of a port.
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
                    // The socket was notified of the error, or is about to be.
                    timeout = sk.snd_timeout(false);
                } else if nonblock {
                    // With TCP the outcome is never known within the call that begins the attempt.
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
            // Another thread has finished the attempt.
            SocketState::Connected => return Ok(()),
            SocketState::Connecting => (),
            // Disconnected meanwhile.
            _ => return Err(EPIPE),
        }
        if sk.state() == TcpState::Close {
            let error = sk.take_error().unwrap_or(ECONNABORTED);
            // Not waited for: a later call that needs the address again waits until it is free.
            let _ = self.reset(socket, sk, true);
            return Err(error);
        }
        socket.set_state(SocketState::Connected);
        Ok(())
    }

    /// Returns `true` if `connect()` would begin an attempt, as far as is known beforehand.
    pub(crate) fn can_start(&self, socket: &Socket, sk: &Sock) -> bool {
        socket.state() == SocketState::Unconnected && sk.state() == TcpState::Close
    }

    /// Begins an attempt, unless another thread has begun one. Returns the error for a call that
    /// does not wait for the outcome, and the request if its response does not depend on the peer.
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
        // Only here: otherwise the state of the socket is the reason to fail.
        let peer = peer?;
        let fresh = self.set_up(&call, sk, peer)?;
        let link = fresh.remote.link.clone();
        let connect = fresh.remote.exchange(Call::Connect {
            id: fresh.remote.id,
            addr: peer,
            flags: 0,
            ring: fresh.ring.reference(),
        })?;

        let _guard = self.transition.lock();
        let _ = sk.take_error();
        // As with TCP, shutdown() before connect() has its effect on the connection.
        if sk.shutdown_mask().contains(Shutdown::Recv) {
            fresh.set_unwanted();
        }
        sk.set_state(TcpState::SynSent);
        self.endpoint.inner.lock().state = EndpointState::Connection((*fresh).clone());
        // From here on the end of the link notifies the connection.
        let conn = match Conn::enter(fresh) {
            Ok(conn) => conn,
            Err(error) => {
                let _ = self.reset(socket, sk, false);
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

    /// Sets up a connection to `peer`, without a request to the backend for it yet.
    fn set_up(&self, call: &CallGuard<'_>, sk: &Sock, peer: SocketAddr) -> Result<UnusedConn> {
        let domain = Some(Domain::from(&peer));
        let ip = Some(destination(peer.ip()));
        let remote = self.endpoint.take_remote(call, sk, domain, ip)?;
        if remote.local.is_some() && !remote.link.quirks().connects_bound() {
            self.endpoint.keep(call, remote);
            return Err(EOPNOTSUPP);
        }
        let order = ring_order(&remote.link, sk);
        let peer = connected(peer, remote.local);
        let fresh = Conn::new(remote, sk, order)?;
        fresh.set_not_sent_lowat(self.endpoint.not_sent_lowat());
        let _ = fresh.peer.populate(peer);
        Ok(fresh)
    }

    /// `connect()` to `AF_UNSPEC`: resets the socket to one that was never connected and never
    /// listened.
    pub(crate) fn disconnect(&self, socket: &Socket, sk: &Sock) -> Result {
        let closing = {
            let _guard = self.transit()?;
            let is_over = match sk.state() {
                TcpState::Close | TcpState::Listen => true,
                TcpState::Closing | TcpState::LastAck => {
                    self.conn().is_none_or(|conn| conn.is_drained())
                }
                _ => false,
            };
            if !is_over {
                // Tasks that wait in a call are notified.
                sk.set_error(ECONNRESET);
            }
            sk.set_peek_offset(None);
            self.reset(socket, sk, true)
        };
        sk.error_report();
        closing.wait(&self.endpoint);
        Ok(())
    }

    /// Waits for a connection in progress, as `sk_stream_wait_connect()` does.
    pub(super) fn wait_connected(&self, sk: &Sock, timeout: &mut Timeout) -> Result {
        sk.wait(timeout, || {
            sk.error().is_some() || sk.state() != TcpState::SynSent
        })
        .map_err(Error::from)?;
        // The error is set first. The next call must see the rest, too.
        if let Some(conn) = self.conn() {
            conn.wait_for_report();
        }
        sk.take_error().map_or(Ok(()), Err)
    }
}

/// Returns the error of `connect()` for an attempt in progress, or `None` if none is.
fn under_way(socket: &Socket) -> Result<Option<Error>> {
    match socket.state() {
        SocketState::Connected => Err(EISCONN),
        SocketState::Connecting => Ok(Some(EALREADY)),
        SocketState::Unconnected => Ok(None),
        _ => Err(EINVAL),
    }
}
