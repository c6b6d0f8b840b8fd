// SPDX-License-Identifier: GPL-2.0

//! `poll()` of a stream, as `tcp_poll()` does it.

use super::Stream;
use crate::{
    conn::Conn,
    proto::{
        urgent::UrgentValue,
        Way, //
    }, //
};
use kernel::net::{
    family::{
        EPOLLERR,
        EPOLLHUP,
        EPOLLIN,
        EPOLLOUT,
        EPOLLPRI,
        EPOLLRDHUP,
        EPOLLRDNORM,
        EPOLLWRNORM, //
    },
    sock::{
        Shutdown,
        ShutdownMask,
        Sock,
        SockFlag,
        TcpState, //
    }, //
};
use kernel::sync::Arc;

impl Stream {
    /// Returns the poll events of the socket.
    pub(crate) fn poll(&self, sk: &Sock) -> u32 {
        let (state, shutdown) = (sk.state(), sk.shutdown_mask());
        if state == TcpState::Listen {
            return self.poll_listener();
        }
        let mut mask = end_events(state, shutdown);
        if state != TcpState::SynSent {
            mask |= match self.conn() {
                Some(conn) => poll_ring(sk, &conn, shutdown),
                None => EPOLLOUT | EPOLLWRNORM,
            };
        }
        if sk.error().is_some() {
            // Look again: the connection may have failed since, which is an end of both directions.
            if let Some(conn) = self.conn() {
                conn.wait_for_report();
            }
            mask |= EPOLLERR | end_events(sk.state(), sk.shutdown_mask());
        }
        mask
    }

    /// Wakes the waiters for data if SO_RCVLOWAT was set to no more than has arrived, as
    /// `tcp_set_rcvlowat()` does.
    pub(crate) fn lowat_changed(&self, sk: &Sock) {
        let conn = self.conn().filter(|_| sk.state() != TcpState::SynSent);
        if conn.is_some_and(|conn| is_readable(sk, &conn)) {
            sk.data_ready();
        }
    }

    /// Returns the poll events of a listening socket.
    fn poll_listener(&self) -> u32 {
        match self.endpoint.listener() {
            Some(listener) if listener.poll() => EPOLLIN | EPOLLRDNORM,
            _ => 0,
        }
    }
}

/// Returns the poll events of the ends of the stream.
fn end_events(state: TcpState, shutdown: ShutdownMask) -> u32 {
    let mut mask = 0;
    if shutdown == Shutdown::Recv | Shutdown::Send || state == TcpState::Close {
        mask |= EPOLLHUP;
    }
    if shutdown.contains(Shutdown::Recv) {
        mask |= EPOLLIN | EPOLLRDNORM | EPOLLRDHUP;
    }
    mask
}

/// Returns the poll events of the ring, and has the program woken for the others.
fn poll_ring(sk: &Sock, conn: &Arc<Conn>, shutdown: ShutdownMask) -> u32 {
    let mut mask = 0;

    if conn.set_polled() {
        // Even if there are bytes: the next ones are an edge too.
        conn.expect_data(sk);
    }
    if is_readable(sk, conn) {
        mask |= EPOLLIN | EPOLLRDNORM;
    }
    sk.want_space();
    if shutdown.contains(Shutdown::Send) || conn.poll_writable() {
        mask |= EPOLLOUT | EPOLLWRNORM;
    }
    if matches!(conn.urgent_value(), Some(UrgentValue::Arrived(_))) {
        mask |= EPOLLPRI;
    }
    mask
}

/// Returns `true` if the bytes that SO_RCVLOWAT asks for have arrived. If not, asks for an event.
fn is_readable(sk: &Sock, conn: &Arc<Conn>) -> bool {
    // No more than the ring can hold while the backend waits for room.
    let wanted = sk.rcv_lowat(false, usize::MAX);
    let mut target = conn.max_wait().min(wanted);
    if target < wanted {
        Conn::note_too_small(conn, Way::In);
    }
    conn.check_urgent(sk);
    if conn.is_at_mark(0) && !sk.is_flag(SockFlag::UrgInline) {
        // That byte will be left out.
        target += 1;
    }
    conn.ring.peek_readable() as usize >= target || conn.expect_data(sk) as usize >= target
}
