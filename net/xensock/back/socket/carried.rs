// SPDX-License-Identifier: GPL-2.0

//! The protocols of which guests have sockets.

use crate::proto::rule::Transport;
use kernel::net::kernel_socket::{
    KernelSocket,
    Protocol,
    Tcp,
    Udp, //
};

/// A protocol of which guests have sockets.
pub(crate) trait Carried: Protocol {
    /// What policies call it.
    const TRANSPORT: Transport;

    /// Returns how many bytes the peer of a connection has not acknowledged yet.
    fn unacked_bytes(socket: &KernelSocket<Self>) -> usize;
}

impl Carried for Tcp {
    const TRANSPORT: Transport = Transport::Tcp;

    fn unacked_bytes(socket: &KernelSocket<Self>) -> usize {
        socket.unacked_bytes()
    }
}

impl Carried for Udp {
    const TRANSPORT: Transport = Transport::Udp;

    fn unacked_bytes(_: &KernelSocket<Self>) -> usize {
        0
    }
}
