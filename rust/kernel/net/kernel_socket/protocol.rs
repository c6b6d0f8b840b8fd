// SPDX-License-Identifier: GPL-2.0

//! The protocols of kernel sockets.

use crate::bindings;

/// What is not for others to implement.
pub(super) mod sealed {
    pub trait Protocol {
        /// The type of socket that has this protocol, `SOCK_STREAM` for example.
        const TYPE: u32;
        /// The number of the protocol.
        const NUMBER: u32;
        /// Whether its sockets can listen, and so make others.
        const LISTENS: bool;
    }
}

/// The protocol of a [`KernelSocket`](super::KernelSocket).
///
/// What only one protocol can do is a method of the sockets of that one only:
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
    const LISTENS: bool = true;
}

impl Protocol for Udp {}

impl sealed::Protocol for Udp {
    const TYPE: u32 = bindings::sock_type_SOCK_DGRAM;
    const NUMBER: u32 = bindings::IPPROTO_UDP;
    const LISTENS: bool = false;
}
