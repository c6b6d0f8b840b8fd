// SPDX-License-Identifier: GPL-2.0

//! The sizes of the queues for ioctl(2), as in `tcp_ioctl()`.

use super::{
    recv::{
        has_rest,
        wait_for_bytes, //
    },
    Stream, //
};
use crate::{
    conn::Conn,
    errors::has_nothing_to_ask,
    proto::Way, //
};
use kernel::{
    net::sock::{
        Sock,
        SockFlag,
        TcpState,
        Timeout, //
    },
    prelude::*, //
};

impl Stream {
    /// Returns the number of bytes that can be received.
    pub(crate) fn unread(&self, sk: &Sock) -> Result<u32> {
        not_listening(sk)?;
        let Some(conn) = self.conn() else {
            return Ok(0);
        };
        conn.check_urgent(sk);
        if conn.ring.peek_readable() == 0 && has_rest(&conn) {
            // With TCP the bytes before a failure would be there. As a read does, this waits for
            // them, but not for long.
            let mut none = Timeout::from_jiffies(0);
            let _ = wait_for_bytes(sk, &conn, || 0, &mut none, || false);
        }
        let readable = conn.ring.peek_readable();
        if readable as usize > conn.max_wait() {
            // The program may wait for more bytes than the ring has room for.
            Conn::note_too_small(&conn, Way::In);
        }
        if sk.is_flag(SockFlag::UrgInline) {
            Ok(readable)
        } else {
            Ok(conn.readable_before_mark())
        }
    }

    /// Returns the number of bytes that the peer has not acknowledged. The end of the stream counts
    /// as one. Waits for the backend, which knows some of them.
    pub(crate) fn unacknowledged(&self, sk: &Sock) -> Result<u32> {
        // Read the unsent bytes first: bytes sent meanwhile should rather count twice than not at
        // all.
        let unsent = self.unsent(sk)?;
        let Some(conn) = self
            .endpoint
            .live_conn()
            .filter(|_| sk.state() != TcpState::SynSent)
        else {
            return Ok(unsent);
        };
        match self.endpoint.sent_not_acknowledged(sk) {
            Ok(sent) => {
                // The event that reports what the backend knows may still be on its way.
                conn.update_socket();
                // The end may be on its way to the backend's TCP, which counts it from then on.
                let least = u32::from(awaits_end(sk));
                Ok(unsent.saturating_add(sent).max(least))
            }
            // PV Calls has no options, and an ended connection has no bytes in flight.
            Err(ENOPROTOOPT) => Ok(unsent),
            Err(error) if has_nothing_to_ask(error) => Ok(unsent),
            Err(error) => Err(error),
        }
    }

    /// Returns the number of bytes that the backend has not taken. As in TCP, the end of the stream
    /// behind them counts as one byte.
    pub(crate) fn unsent(&self, sk: &Sock) -> Result<u32> {
        not_listening(sk)?;
        let queued = self.conn().map_or(0, |conn| conn.ring.peek_queued());
        Ok(queued + u32::from(queued > 0 && awaits_end(sk)))
    }
}

/// Returns `true` if the program has ended sending and the peer has yet to acknowledge the end.
fn awaits_end(sk: &Sock) -> bool {
    matches!(
        sk.state(),
        TcpState::FinWait1 | TcpState::Closing | TcpState::LastAck
    )
}

fn not_listening(sk: &Sock) -> Result {
    if sk.state() == TcpState::Listen {
        return Err(EINVAL);
    }
    Ok(())
}
