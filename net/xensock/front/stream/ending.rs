// SPDX-License-Identifier: GPL-2.0

//! Shutting down and closing.

use super::{
    closing::Closing,
    Stream, //
};
use crate::{
    conn::Conn,
    endpoint::directions, //
};
use kernel::{
    net::{
        sock::{
            Shutdown,
            Sock,
            TcpState,
            Timeout, //
        },
        socket::{
            How,
            Socket,
            SocketState, //
        },
    },
    prelude::*,
    sync::Arc, //
};

impl Stream {
    /// `shutdown()`, as `inet_shutdown()` does it.
    pub(crate) fn shutdown(&self, socket: &Socket, sk: &Sock, how: How) -> Result {
        let mask = directions(how);
        let mut closing = Closing::default();
        let guard = self.transit()?;
        let conn = self.conn();
        if how == How::Write && conn.as_ref().is_some_and(|conn| !has_shutdown(conn)) {
            return Err(EOPNOTSUPP);
        }
        // Read once: the connection may be established meanwhile.
        let state = sk.state();
        if socket.state() == SocketState::Connecting {
            socket.set_state(match state {
                TcpState::SynSent | TcpState::Close => SocketState::Disconnecting,
                _ => SocketState::Connected,
            });
        }
        let result = match state {
            TcpState::Listen if !mask.contains(Shutdown::Recv) => Ok(()),
            TcpState::Listen => {
                closing = self.reset(socket, sk, false);
                Ok(())
            }
            TcpState::SynSent => {
                sk.set_error(ECONNRESET);
                closing = self.reset(socket, sk, false);
                sk.error_report();
                Ok(())
            }
            TcpState::Close => {
                sk.add_shutdown(mask);
                Err(ENOTCONN)
            }
            _ => {
                let refuses = mask.contains(Shutdown::Recv);
                // If sending was ended before, the backend has yet to hear of the rest. Before
                // anything changes, as there may be no memory for that.
                let is_news = refuses && !sk.shutdown_mask().contains(Shutdown::Recv);
                let refusal = match &conn {
                    Some(conn) if is_news && has_ended_sending(sk) && has_shutdown(conn) => {
                        Some(conn.refusal()?)
                    }
                    _ => None,
                };
                if let Some(conn) = conn.as_ref().filter(|_| refuses) {
                    conn.set_unwanted();
                }
                sk.add_shutdown(mask);
                match (conn, refusal) {
                    (Some(conn), Some(refusal)) => conn.refuse_more(&refusal),
                    (Some(conn), None) if mask.contains(Shutdown::Send) => end_sending(&conn),
                    _ => (),
                }
                Ok(())
            }
        };
        // Wakes tasks that sleep in a call.
        sk.state_changed();
        drop(guard);
        closing.wait(&self.endpoint);
        result
    }

    /// `close()`: bytes sent are still delivered, unless SO_LINGER with a time of 0 forbids it.
    /// When it returns, a peer can no longer connect to the socket.
    pub(crate) fn release(&self, sk: &Sock) {
        let linger = sk.linger();
        if let (Some(conn), Some(time)) = (self.conn(), linger) {
            // A program that is exiting does not wait.
            if !current!().is_exiting() && !conn.has_unread() {
                linger_for(sk, &conn, time);
            }
        }
        let closing = {
            let _guard = self.transition.lock();
            let (state, former) = {
                let mut inner = self.endpoint.inner.lock();
                (inner.take_state(), inner.former.take())
            };
            drop(former);
            sk.set_state(TcpState::Close);
            Closing::from(state, linger.is_some_and(Timeout::is_zero))
        };
        closing.wait(&self.endpoint);
    }
}

/// Returns `true` if the dialect can end sending alone. If not, only RELEASE is left, which ends
/// both directions.
fn has_shutdown(conn: &Conn) -> bool {
    conn.remote.link.quirks().has_shutdown()
}

/// Ends sending. The socket is marked as shut down already.
fn end_sending(conn: &Arc<Conn>) {
    // A concurrent sender may have passed the check before: let it finish, it does not wait.
    drop(conn.tx.lock());
    match has_shutdown(conn) {
        true => conn.end_sending(),
        // The program will receive nothing either.
        false => Conn::close(conn, false),
    }
}

/// Returns `true` if a connected socket has ended sending. Its mask does not say so: the program may
/// have set that before it connected the socket, which sends nothing.
fn has_ended_sending(sk: &Sock) -> bool {
    !matches!(sk.state(), TcpState::Established | TcpState::CloseWait)
}

/// Waits until the peer has acknowledged everything, or the time is over.
fn linger_for(sk: &Sock, conn: &Arc<Conn>, mut time: Timeout) {
    if time.is_zero() {
        return;
    }
    sk.add_shutdown(Shutdown::Send | Shutdown::Recv);
    let can_ask = has_shutdown(conn);
    match can_ask {
        true => conn.end_sending(),
        false => _ = conn.finish(),
    }
    let _ = sk.wait(&mut time, || {
        let is_closing = matches!(
            sk.state(),
            TcpState::FinWait1 | TcpState::Closing | TcpState::LastAck
        );
        // The C backend reports only that it has taken everything.
        let is_over = || !can_ask && conn.expect_room() > 0 && conn.is_drained();
        !is_closing || conn.death().is_some() || is_over()
    });
}
