// SPDX-License-Identifier: GPL-2.0

//! How much there is on the way, for ioctl(2), as `tcp_ioctl()` says it.

use super::Stream;
use crate::{
    conn::Conn,
    proto::Way, //
};
use kernel::{
    net::sock::{
        Sock,
        SockFlag,
        TcpState, //
    },
    prelude::*, //
};

impl Stream {
    /// Returns how many bytes can be received.
    pub(crate) fn unread(&self, sk: &Sock) -> Result<u32> {
        not_listening(sk)?;
        let Some(conn) = self.conn() else {
            return Ok(0);
        };
        conn.hear_urgent(sk);
        let readable = conn.ring.peek_readable();
        if readable > conn.ring.rx_size() / 2 {
            // Who looks may wait for more than there is room for.
            Conn::note_too_small(&conn, Way::In);
        }
        if sk.is_flag(SockFlag::UrgInline) {
            Ok(readable)
        } else {
            Ok(conn.readable_before_mark())
        }
    }

    /// Returns how many bytes the peer has not acknowledged. Waits for the backend, which knows some
    /// of them.
    pub(crate) fn unacknowledged(&self, sk: &Sock) -> Result<u32> {
        // First what was not sent: what is sent meanwhile had better count twice than not at all.
        let unsent = self.unsent(sk)?;
        if sk.state() == TcpState::SynSent || self.conn().is_none() {
            return Ok(unsent);
        }
        match self.endpoint.sent_not_acknowledged(sk) {
            Ok(sent) => Ok(unsent.saturating_add(sent)),
            Err(ERESTARTSYS) => Err(ERESTARTSYS),
            // PV Calls has no word for it, and a connection that is gone nothing on the way.
            Err(_) => Ok(unsent),
        }
    }

    /// Returns how many bytes were not sent.
    pub(crate) fn unsent(&self, sk: &Sock) -> Result<u32> {
        not_listening(sk)?;
        Ok(self.conn().map_or(0, |conn| conn.ring.peek_queued()))
    }
}

fn not_listening(sk: &Sock) -> Result {
    if sk.state() == TcpState::Listen {
        return Err(EINVAL);
    }
    Ok(())
}
