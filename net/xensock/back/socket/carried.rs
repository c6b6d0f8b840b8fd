// SPDX-License-Identifier: GPL-2.0

//! The protocols of guests' sockets.

use super::GuestSocket;
use crate::{
    memory::UserMemory,
    proto::rule::IpProtocol,
    sockets::UserSockets, //
};
use kernel::{
    net::kernel_socket::{
        KernelSocket,
        Protocol,
        Tcp,
        Udp, //
    },
    sync::Arc,
};

/// A protocol of guests' sockets.
pub(crate) trait Carried: Protocol {
    /// The name of the protocol in policies.
    const TRANSPORT: IpProtocol;

    /// Returns the number of bytes that the peer of a connection has not acknowledged yet.
    fn unacked_bytes(socket: &KernelSocket<Self>) -> usize;

    /// Returns the limit of the receive window of a connection, if it has one.
    fn window_limit(socket: &KernelSocket<Self>) -> Option<u32>;

    /// Returns the memory of a user to which sockets are charged.
    fn memory_of(user: &UserSockets) -> &Arc<UserMemory>;

    /// Counts the memory that a socket holds. Any context but callbacks.
    fn update_memory(socket: &GuestSocket<Self>);
}

impl Carried for Tcp {
    const TRANSPORT: IpProtocol = IpProtocol::Tcp;

    fn unacked_bytes(socket: &KernelSocket<Self>) -> usize {
        socket.unacked_bytes()
    }

    fn window_limit(socket: &KernelSocket<Self>) -> Option<u32> {
        socket.window_limit()
    }

    fn memory_of(user: &UserSockets) -> &Arc<UserMemory> {
        &user.memory
    }

    fn update_memory(socket: &GuestSocket<Self>) {
        socket.update_memory();
    }
}

impl Carried for Udp {
    const TRANSPORT: IpProtocol = IpProtocol::Udp;

    fn unacked_bytes(_: &KernelSocket<Self>) -> usize {
        0
    }

    fn window_limit(_: &KernelSocket<Self>) -> Option<u32> {
        None
    }

    fn memory_of(user: &UserSockets) -> &Arc<UserMemory> {
        &user.datagrams
    }

    fn update_memory(socket: &GuestSocket<Self>) {
        socket.update_memory();
    }
}
