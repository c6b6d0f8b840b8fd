// SPDX-License-Identifier: GPL-2.0

//! Protocols of kernel sockets.

use super::KernelSocket;

use crate::bindings;

/// Prevents implementations outside of this crate.
pub(super) mod sealed {
    use super::KernelSocket;

    pub trait Protocol: Sized {
        /// Socket type of the protocol, for example `SOCK_STREAM`.
        const TYPE: u32;
        /// Protocol number.
        const NUMBER: u32;

        /// Returns the bytes of memory that the socket has to send. Any context.
        fn unsent(socket: &KernelSocket<Self>) -> usize
        where
            Self: super::Protocol;
    }
}

/// The protocol of a [`KernelSocket`](super::KernelSocket).
///
/// Methods that only one protocol has are only available for its sockets:
///
/// ```ignore,compile_fail
/// use kernel::net::{
///     addr::Domain,
///     kernel_socket::KernelSocket,
///     namespace::Namespace, //
/// };
///
/// KernelSocket::datagram(Namespace::init(), Domain::Inet)?.listen(1)?;
/// # Ok::<(), Error>(())
/// ```
pub trait Protocol: sealed::Protocol + Sized + 'static {}

/// TCP.
pub struct Tcp;

/// UDP.
pub struct Udp;

impl Protocol for Tcp {}

impl sealed::Protocol for Tcp {
    const TYPE: u32 = bindings::sock_type_SOCK_STREAM;
    const NUMBER: u32 = bindings::IPPROTO_TCP;

    fn unsent(socket: &KernelSocket<Self>) -> usize {
        socket.buffered().sent
    }
}

impl Protocol for Udp {}

impl sealed::Protocol for Udp {
    const TYPE: u32 = bindings::sock_type_SOCK_DGRAM;
    const NUMBER: u32 = bindings::IPPROTO_UDP;

    fn unsent(socket: &KernelSocket<Self>) -> usize {
        socket.in_flight()
    }
}
