// SPDX-License-Identifier: GPL-2.0

//! The protocols of which guests have sockets.

use crate::proto::rule::IpProtocol;
use kernel::net::kernel_socket::{
    KernelSocket,
    Protocol,
    Tcp,
    Udp, //
};

/// A protocol of which guests have sockets.
pub(crate) trait Carried: Protocol {
    /// What policies call it.
    const TRANSPORT: IpProtocol;

    /// Returns how many bytes the peer of a connection has not acknowledged yet.
    fn unacked_bytes(socket: &KernelSocket<Self>) -> usize;
}

impl Carried for Tcp {
    const TRANSPORT: IpProtocol = IpProtocol::Tcp;

    fn unacked_bytes(socket: &KernelSocket<Self>) -> usize {
        socket.unacked_bytes()
    }
}

impl Carried for Udp {
    const TRANSPORT: IpProtocol = IpProtocol::Udp;

    fn unacked_bytes(_: &KernelSocket<Self>) -> usize {
        0
    }
}
