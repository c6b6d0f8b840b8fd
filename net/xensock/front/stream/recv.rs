// SPDX-License-Identifier: GPL-2.0

//! `recvmsg()`, as `net/ipv4/tcp.c` does it, and `splice()` from a socket.

use super::Stream;
use crate::{
    conn::Conn,
    endpoint::move_peek_offset,
    proto::{
        errno::Ending,
        urgent::Step,
        Feature,
        Way, //
    }, //
};
use kernel::{
    net::{
        msghdr::{
            msg,
            MsgHdr, //
        },
        sock::{
            Shutdown,
            Sock,
            SockFlag,
            TcpState,
            Timeout,
            WaitError, //
        },
    },
    prelude::*,
    sync::{
        atomic::Relaxed,
        Arc, //
    },
    time::{
        msecs_to_jiffies,
        Msecs, //
    }, //
};

impl Stream {
    /// `recvmsg()`.
    pub(crate) fn recv(
        &self,
        sk: &Sock,
        msg: &mut MsgHdr,
        len: usize,
        flags: u32,
    ) -> Result<usize> {
        if flags & msg::OOB != 0 {
            return self.recv_urgent(sk, msg, len, flags);
        }
        let mut timeout = sk.rcv_timeout(flags & msg::DONTWAIT != 0);
        let disconnects = self.disconnects.load(Relaxed);
        let has_disconnected = || self.disconnects.load(Relaxed) != disconnects;
        if sk.state() == TcpState::SynSent {
            sk.wait(&mut timeout, || {
                sk.state() != TcpState::SynSent || has_disconnected()
            })?;
            if has_disconnected() {
                return Err(EPIPE);
            }
        }
        let Some(conn) = self.conn() else {
            return never_connected(sk).map(|()| 0);
        };
        let target = sk.rcv_lowat(flags & msg::WAITALL != 0, len);
        let is_peek = flags & msg::PEEK != 0;
        if is_peek {
            // Peeked bytes stay in the ring, and the program may wait for more.
            let (most, there) = (conn.max_wait(), conn.ring.peek_readable() as usize);
            if target > most || (len > there && there > most) {
                Conn::note_too_small(&conn, Way::In);
            }
        }
        // Looked at anew each time: `in` may shrink meanwhile.
        let is_enough = |n: usize| n >= len || n >= target || is_peek && n >= conn.max_wait();
        let mut received = 0;
        let mut place = Peek::First;

        let result = loop {
            if conn.is_at_mark(place.peeked(sk, flags)) {
                if received > 0 {
                    break Ok(());
                }
                if current!().signal_pending() {
                    break Err(interrupted(timeout));
                }
            }
            match recv_some(sk, &conn, msg, len - received, &mut place, flags) {
                Ok(Received::Bytes(n)) => {
                    received += n as usize;
                    if is_enough(received) {
                        break Ok(());
                    }
                }
                Ok(Received::Urgent) => continue,
                Ok(Received::Nothing) => (),
                Ok(Received::Impossible) => break no_more(sk, &conn, received > 0),
                Err(error) => break Err(error),
            }
            let peeked = || place.peeked(sk, flags);
            if let Some(end) = end_of_data(sk, &conn, peeked(), received > 0) {
                break end;
            }
            if received > 0 && (timeout.is_zero() || is_enough(received)) {
                break Ok(());
            }
            // A nonblocking call is not interrupted either.
            if !timeout.is_zero() && !has_rest(&conn) && current!().signal_pending() {
                break Err(timeout.interrupted());
            }
            if !timeout.is_zero() {
                sk.busy_poll(|| conn.ring.peek_readable() > peeked() || is_over(&conn));
            }
            let has_enough = || received > 0 && is_enough(received);
            if let Err(error) = wait_for_bytes(sk, &conn, peeked, &mut timeout, has_enough) {
                break Err(error.into());
            }
            if has_disconnected() {
                break Err(EPIPE);
            }
        };
        // Ask for an event if tasks wait for an edge. A busy-polling program needs none, nor does
        // one that receives much: the next call asks for an event when it waits, and the link's
        // periodic check does too.
        let wants_edge = conn.is_polled() || sk.is_flag(SockFlag::Async);
        let comes_back = sk.busy_polls() || conn.receives_large();
        if received == 0 || wants_edge || !comes_back {
            conn.expect_data(sk);
        }
        match result {
            Err(error) if received == 0 => Err(error),
            _ => {
                self.put_control(sk, &conn, msg, received > 0, is_peek);
                Ok(received)
            }
        }
    }

    /// Waits for data, and returns the number of bytes to splice, at most `len`: no more than are
    /// available, so that no page is allocated in vain.
    pub(crate) fn splice_len(&self, sk: &Sock, len: usize, nonblock: bool) -> Result<usize> {
        let mut timeout = sk.rcv_timeout(nonblock);
        let disconnects = self.disconnects.load(Relaxed);
        let Some(conn) = self.conn() else {
            // The following receive returns the error.
            return Ok(1);
        };
        while conn.ring.peek_readable() == 0 && !is_over(&conn) {
            wait_for_bytes(sk, &conn, || 0, &mut timeout, || false)?;
            if self.disconnects.load(Relaxed) != disconnects {
                return Err(EPIPE);
            }
        }
        Ok(len.min(conn.ring.peek_readable() as usize).max(1))
    }
}

/// Returns the error of a call that finds a signal where it would wait.
fn interrupted(timeout: Timeout) -> Error {
    if timeout.is_zero() {
        return EAGAIN;
    }
    timeout.interrupted()
}

/// Returns the number of the `n` received bytes that stay in the ring because they are only peeked
/// at.
fn left(n: u32, flags: u32) -> u32 {
    if flags & msg::PEEK != 0 {
        n
    } else {
        0
    }
}

/// Where a call reads in the bytes of the ring.
#[derive(Clone, Copy)]
enum Peek {
    /// Where a call begins: at the first byte, or behind those that SO_PEEK_OFF skips. Another task
    /// may move that.
    First,
    /// Behind so many bytes that were skipped, peeked at or passed over and are still in the ring.
    Behind(u32),
}

impl Peek {
    /// Returns the number of bytes before this place. To read there, the caller holds `rx`.
    fn peeked(self, sk: &Sock, flags: u32) -> u32 {
        match self {
            Self::Behind(peeked) => peeked,
            Self::First if flags & msg::PEEK != 0 => sk.peek_offset().unwrap_or(0),
            Self::First => 0,
        }
    }
}

/// The result of one read from the ring.
enum Received {
    Bytes(u32),
    /// The urgent byte, which is left out.
    Urgent,
    /// There are no bytes now.
    Nothing,
    /// The ring has an impossible index: no more bytes will come.
    Impossible,
}

/// Receives up to `len` bytes at a place, and advances it.
fn recv_some(
    sk: &Sock,
    conn: &Arc<Conn>,
    msg: &mut MsgHdr,
    len: usize,
    place: &mut Peek,
    flags: u32,
) -> Result<Received> {
    let _guard = conn.rx.lock();
    let peeked = place.peeked(sk, flags);
    let Ok(readable) = conn.ring.readable() else {
        Conn::broken(conn.as_arc_borrow());
        return Ok(Received::Impossible);
    };
    if readable >= conn.ring.rx_size() / 2 {
        Conn::note_full(conn, Way::In);
    }
    let Some(readable) = readable.checked_sub(peeked).filter(|n| *n > 0) else {
        return Ok(Received::Nothing);
    };
    let mut len = readable.min(u32::try_from(len).unwrap_or(u32::MAX));
    if len > 0 {
        // The event for an urgent byte among these may still be on its way.
        conn.check_urgent(sk);
        match conn.urgent_step(sk, peeked, len) {
            Step::Read(n) => len = n,
            Step::Skip => {
                consume(conn, 1 - left(1, flags));
                *place = Peek::Behind(peeked + left(1, flags));
                return Ok(Received::Urgent);
            }
        }
    }
    let n = if flags & msg::TRUNC != 0 {
        // As in TCP: discarded, not copied.
        consume(conn, len - left(len, flags));
        len
    } else {
        copy_out(conn, peeked, len, msg, flags)
    };
    if n == 0 && len > 0 {
        return Err(EFAULT);
    }
    *place = Peek::Behind(peeked + left(n, flags));
    move_peek_offset(sk, flags & msg::PEEK != 0, n);
    Ok(Received::Bytes(n))
}

/// Least room that is worth an event, in bytes.
const MIN_PART: u32 = 16 << 10;

/// Copies `len` bytes from behind the first `peeked` ones. Returns how many it has copied.
///
/// Gives the room of a large ring back in quarters, for which a producer waits: so both ends copy at
/// the same time. Without event indexes each part would be an event.
fn copy_out(conn: &Conn, peeked: u32, len: u32, msg: &mut MsgHdr, flags: u32) -> u32 {
    let part = match conn.remote.link.has(Feature::EventIndex) {
        true => (conn.ring.rx_size() / 4).max(MIN_PART),
        false => len,
    };
    let mut n = 0;
    while n < len {
        let wanted = part.min(len - n);
        let copied = conn
            .ring
            .copy_out(peeked + left(n, flags), wanted, msg.dest()) as u32;
        consume(conn, copied - left(copied, flags));
        n += copied;
        if copied < wanted {
            break;
        }
    }
    n
}

/// Gives the room of `n` bytes back.
fn consume(conn: &Conn, n: u32) {
    if n == 0 {
        return;
    }
    if conn.ring.consume(n) {
        conn.notify();
    }
    conn.pass_urgent();
}

/// Returns the result of a read when nothing more will come. A reset is reported once; after that
/// the stream has just ended.
fn no_more(sk: &Sock, conn: &Conn, has_received: bool) -> Result {
    if has_received || conn.is_end_read() {
        return Ok(());
    }
    sk.take_error().map_or(Ok(()), Err)
}

/// Returns the result of a read on a socket without a connection.
fn never_connected(sk: &Sock) -> Result {
    if sk.state() == TcpState::Listen {
        return Err(ENOTCONN);
    }
    match sk.take_error() {
        Some(error) => Err(error),
        None if sk.shutdown_mask().contains(Shutdown::Recv) => Ok(()),
        None => Err(ENOTCONN),
    }
}

/// Returns `true` if an empty ring ends a read: nothing more comes, or the program wants nothing
/// more.
///
/// The socket's shutdown flag is not enough: after a reset bytes may still be on their way.
fn is_over(conn: &Conn) -> bool {
    conn.ring.rx_ending() != Ending::Open
        || conn.death().is_some()
        || conn.is_unwanted()
        || conn.is_rest_given_up()
}

/// Time that a read waits for the backend after a failure, whatever its own timeout, in
/// milliseconds.
const REST_PATIENCE: Msecs = 1000;

/// Returns `true` if the connection has failed, and earlier bytes may still be on their way through
/// the ring.
pub(super) fn has_rest(conn: &Conn) -> bool {
    matches!(conn.ring.tx_ending(), Ending::Failed(_)) && !is_over(conn)
}

/// Waits until there are bytes behind as many as `peeked` returns, nothing more comes, or the
/// connection has failed, or `has_enough` returns `true`. The caller looks again.
///
/// After a failure, waits for the bytes before it. With TCP they would be there: a read takes them,
/// whatever its timeout, and no signal interrupts it. A backend that does not pass them on in time
/// is not waited for again: the next thing to read is the failure.
pub(super) fn wait_for_bytes(
    sk: &Sock,
    conn: &Conn,
    peeked: impl Fn() -> u32,
    timeout: &mut Timeout,
    has_enough: impl Fn() -> bool,
) -> Result<(), WaitError> {
    let has_news = || {
        conn.ring.peek_readable() > peeked()
            || conn.expect_data(sk) > peeked()
            || is_over(conn)
            || has_enough()
    };
    if !has_rest(conn) {
        return sk.wait(timeout, || has_news() || has_rest(conn));
    }
    let mut patience = Timeout::from_jiffies(msecs_to_jiffies(REST_PATIENCE));
    match sk.wait_killable(&mut patience, has_news) {
        Err(WaitError::TimedOut) => {
            conn.give_up_rest();
            Ok(())
        }
        result => result,
    }
}

/// Returns the result of a read if an empty ring stays empty, else `None`.
fn end_of_data(sk: &Sock, conn: &Conn, peeked: u32, has_received: bool) -> Option<Result> {
    if !is_over(conn) {
        return None;
    }
    let ending = conn.ring.rx_ending();
    // The ending was set after the last byte: look again for earlier bytes.
    if conn.ring.peek_readable() > peeked {
        return None;
    }
    if conn.is_end_read() {
        return Some(Ok(()));
    }
    // The event that reports it may still be on its way, or be under way: the next call must not
    // say less than we do, also after a short read.
    conn.update_socket();
    if has_received {
        return Some(Ok(()));
    }
    if ending == Ending::Orderly {
        conn.set_end_read();
        return Some(Ok(()));
    }
    Some(no_more(sk, conn, false))
}
