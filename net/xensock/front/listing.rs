// SPDX-License-Identifier: GPL-2.0

//! `/proc/net/xensock`: the sockets that the backend has for programs.
//!
//! The queues are in bytes, and of a listening socket connections; `in` and `out` are the sizes of the
//! data ring, in bytes.

use crate::{
    conn::Conn,
    link::Member,
    listener::Listener,
    LINK, //
};
use core::net::SocketAddr;
use kernel::{
    fmt,
    net::{
        addr::{
            AF_INET,
            AF_INET6, //
        },
        namespace::Namespace,
        proc::Show,
        sock::{
            Sock,
            TcpState, //
        }, //
    },
    prelude::*,
    seq_file::SeqFile,
    seq_print, //
};

/// The file: a line for each socket, below one that says what is in it.
pub(crate) struct Sockets;

impl Show for Sockets {
    const NAME: &'static CStr = c"xensock";

    fn show(net: &Namespace, file: &SeqFile) {
        seq_print!(
            file,
            "family type state recv-q send-q local peer in out inode uid\n"
        );
        if let Some(link) = LINK.get() {
            link.for_each(|member| match member {
                Member::Conn(conn) => show_conn(net, file, conn),
                Member::Listener(listener) => show_listener(net, file, listener),
            });
        }
    }
}

/// A socket with a data ring; those which nobody has accepted yet are their listener's.
fn show_conn(net: &Namespace, file: &SeqFile, conn: &Conn) {
    let Some(sk) = conn.owner_for_listing().filter(|sk| is_of(sk, net)) else {
        return;
    };
    seq_print!(
        file,
        "{} {} {} {} {} {} {} {} {} {} {}\n",
        family(&sk),
        if conn.is_datagram() {
            "dgram"
        } else {
            "stream"
        },
        state(&sk),
        conn.ring.peek_readable(),
        conn.ring.peek_queued(),
        Name(conn.local.copy().or(conn.remote.local)),
        Name(conn.peer.copy()),
        conn.ring.rx_size(),
        conn.ring.tx_size(),
        sk.inode(),
        sk.uid().into_uid_in_current_ns()
    );
}

fn show_listener(net: &Namespace, file: &SeqFile, listener: &Listener) {
    let sk = listener.socket();
    if !is_of(sk, net) {
        return;
    }
    seq_print!(
        file,
        "{} stream {} {} 0 {} - - - {} {}\n",
        family(sk),
        state(sk),
        listener.waiting(),
        Name(listener.remote.local),
        sk.inode(),
        sk.uid().into_uid_in_current_ns()
    );
}

fn is_of(sk: &Sock, net: &Namespace) -> bool {
    sk.namespace().is_some_and(|own| *own == *net)
}

fn family(sk: &Sock) -> &'static str {
    match sk.family() {
        AF_INET => "inet",
        AF_INET6 => "inet6",
        _ => "xensock",
    }
}

/// As ss(8) says it.
fn state(sk: &Sock) -> &'static str {
    match sk.state() {
        TcpState::Established => "ESTAB",
        TcpState::SynSent => "SYN-SENT",
        TcpState::FinWait1 => "FIN-WAIT-1",
        TcpState::FinWait2 => "FIN-WAIT-2",
        TcpState::CloseWait => "CLOSE-WAIT",
        TcpState::LastAck => "LAST-ACK",
        TcpState::Closing => "CLOSING",
        TcpState::Listen => "LISTEN",
        _ => "UNCONN",
    }
}

/// An address, or a dash for one that is not known.
struct Name(Option<SocketAddr>);

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(addr) => write!(f, "{addr}"),
            None => f.write_str("-"),
        }
    }
}
