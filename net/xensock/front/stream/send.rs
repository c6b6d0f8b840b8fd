// SPDX-License-Identifier: GPL-2.0

//! `sendmsg()`, as `net/ipv4/tcp.c` does it.

use super::Stream;
use crate::{
    conn::Conn,
    proto::Way, //
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
            TcpState,
            Timeout, //
        },
    },
    prelude::*,
    sync::Arc, //
};

/// Number of bytes beyond the free room with which a nonblocking call grows `out` at once.
const LARGE: usize = 64 << 10;

impl Stream {
    /// `sendmsg()`.
    pub(crate) fn send(&self, sk: &Sock, msg: &mut MsgHdr, flags: u32) -> Result<usize> {
        let mut timeout = sk.snd_timeout(flags & msg::DONTWAIT != 0);
        let mut sent = 0;

        let is_urgent = flags & msg::OOB != 0;
        let result = self.send_all(sk, msg, is_urgent, &mut timeout, &mut sent);
        if sent > 0 {
            return Ok(sent);
        }
        result.map(|()| 0).map_err(|error| {
            // A pending error says more than EPIPE.
            let error = match error {
                EPIPE => {
                    // The event that reports what ended this call may still be on its way: the next
                    // call must see all of it.
                    if let Some(conn) = self.conn() {
                        conn.update_socket();
                    }
                    sk.take_error().unwrap_or(EPIPE)
                }
                error => error,
            };
            if error == EPIPE && flags & msg::NOSIGNAL == 0 {
                Sock::send_sigpipe();
            }
            error
        })
    }

    fn send_all(
        &self,
        sk: &Sock,
        msg: &mut MsgHdr,
        is_urgent: bool,
        timeout: &mut Timeout,
        sent: &mut usize,
    ) -> Result {
        if sk.state() == TcpState::SynSent {
            self.wait_connected(sk, timeout)?;
        }
        let conn = self.conn().ok_or(EPIPE)?;
        if is_urgent && !conn.has_urgent() {
            return Err(EOPNOTSUPP);
        }

        loop {
            if sk.error().is_some() || !may_send(sk) || conn.death().is_some() {
                return Err(EPIPE);
            }
            if msg.source().is_empty() {
                return Ok(());
            }
            let mark = match (is_urgent, timeout.is_zero()) {
                (false, _) => UrgentAt::Nothing,
                (true, false) => UrgentAt::LastOfAll,
                (true, true) => UrgentAt::LastThatFits,
            };
            let n = send_some(sk, &conn, msg, mark)?;
            *sent += n;
            if n > 0 {
                continue;
            }
            // SO_SNDBUF has told the program that so many bytes fit.
            let is_large = msg.source().len() >= LARGE;
            if timeout.is_zero() && is_large && Conn::grow_now(&conn, sk)? {
                continue;
            }

            sk.want_space();
            sk.wait(timeout, || {
                sk.error().is_some()
                    || !may_send(sk)
                    || conn.death().is_some()
                    || conn.expect_room() > 0
            })?;
        }
    }
}

fn may_send(sk: &Sock) -> bool {
    !sk.shutdown_mask().contains(Shutdown::Send)
}

/// The position of the urgent byte.
#[derive(Clone, Copy, PartialEq, Eq)]
enum UrgentAt {
    Nothing,
    LastOfAll,
    LastThatFits,
}

/// Sends as many bytes as there is room for. Returns 0 if there is none.
fn send_some(sk: &Sock, conn: &Arc<Conn>, msg: &mut MsgHdr, mark: UrgentAt) -> Result<usize> {
    let _guard = conn.tx.lock();
    if !may_send(sk) {
        // After SHUTDOWN the backend expects nothing more.
        return Err(EPIPE);
    }
    conn.choose_memory();
    let Ok(room) = conn.ring.writable() else {
        Conn::broken(conn.as_arc_borrow());
        return Err(EPIPE);
    };
    let wanted = u32::try_from(msg.source().len()).unwrap_or(u32::MAX);
    if room < wanted {
        Conn::note_full(conn, Way::Out);
    }
    let len = room.min(wanted);
    if len == 0 {
        return Ok(0);
    }
    conn.publish_deferred(len);
    let n = conn.ring.copy_in(0, len, msg.source());
    if n == 0 {
        return Err(EFAULT);
    }
    if mark == UrgentAt::LastThatFits || mark == UrgentAt::LastOfAll && msg.source().is_empty() {
        conn.mark_urgent(n as u32);
    }
    if conn.ring.produce(n as u32) {
        conn.notify();
    }
    Ok(n)
}
