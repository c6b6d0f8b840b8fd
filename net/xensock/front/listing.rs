// SPDX-License-Identifier: GPL-2.0

//! `/proc/net/xensock`: the sockets that the backend has for programs.
//!
//! The queues are in bytes, or in connections for a listening socket. `in` and `out` are the sizes
//! of the data ring in bytes.

use crate::{
    devices::Devices,
    link::Summary, //
};
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

/// The file: a header line, and a line for each socket.
pub(crate) struct SocketList;

impl Show for SocketList {
    const NAME: &'static CStr = c"xensock";

    fn show(net: &Namespace, file: &SeqFile) {
        seq_print!(
            file,
            "family type state recv-q send-q local peer in out inode uid device\n"
        );
        let mut last = None;
        while let Some(link) = Devices::after(last, |_| true) {
            last = Some(link.name);
            let device = link.device_name();
            // Connections that wait for `accept()` are counted with their listener.
            link.for_each(|member| {
                if let Some(summary) = member.summary().filter(|s| is_of(&s.sk, net)) {
                    show(file, &summary, device);
                }
            });
        }
    }
}

fn show(file: &SeqFile, summary: &Summary, device: &CStr) {
    let sk = &summary.sk;
    seq_print!(
        file,
        "{} {} {} {} {} {} {} {} {} {} {} {}\n",
        family(sk),
        if summary.is_stream { "stream" } else { "dgram" },
        state(sk),
        summary.recv_queue,
        summary.send_queue,
        OrDash(summary.local),
        OrDash(summary.peer),
        OrDash(summary.sizes.map(|(input, _)| input)),
        OrDash(summary.sizes.map(|(_, output)| output)),
        sk.inode(),
        sk.uid().into_uid_in_current_ns(),
        device
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

/// Returns the state as ss(8) shows it.
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

/// A value, or a dash if it is unknown.
struct OrDash<T>(Option<T>);

impl<T: core::fmt::Display> fmt::Display for OrDash<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(known) => write!(f, "{known}"),
            None => f.write_str("-"),
        }
    }
}
