// SPDX-License-Identifier: GPL-2.0

//! The address families of the sockets.

use super::{
    Family,
    IPPROTO_XENSOCK, //
};
use kernel::{
    net::{
        addr::{
            Domain,
            AF_INET,
            AF_INET6, //
        },
        family::{
            Head,
            Inet6Sock,
            InetSock,
            StaticProto, //
        },
        sock::Sock,
        socket::{
            SOCK_DGRAM,
            SOCK_STREAM, //
        }, //
    },
    socket_proto, //
};

/// An address family.
pub(crate) trait AddressFamily:
    StaticProto<Family<Self>> + Sized + Send + Sync + 'static
{
    /// The number of the family.
    const FAMILY: i32;
    /// The number of the protocol in the family.
    const PROTOCOL: Option<u16> = None;
    /// The socket types under the protocol number.
    const SOCK_TYPES: &'static [u16] = &[];
    /// The family of the sockets' addresses. `None` for AF_XENSOCK, whose sockets can have either.
    const DOMAIN: Option<Domain>;
    /// The structure at the beginning of a socket.
    type Head: Head;
}

/// The socket types of IPv4 and IPv6.
const SOCK_TYPES: &[u16] = &[SOCK_STREAM as u16, SOCK_DGRAM as u16];

/// AF_XENSOCK.
pub(crate) struct AfXenSock;

impl AddressFamily for AfXenSock {
    // See `include/linux/socket.h`.
    const FAMILY: i32 = 46;
    const DOMAIN: Option<Domain> = None;
    type Head = Sock;
}

socket_proto!(AfXenSock, Family<AfXenSock>, c"XENSOCK");

/// IPPROTO_XENSOCK under AF_INET.
pub(crate) struct Inet;

impl AddressFamily for Inet {
    const FAMILY: i32 = AF_INET as i32;
    const PROTOCOL: Option<u16> = Some(IPPROTO_XENSOCK);
    const SOCK_TYPES: &'static [u16] = SOCK_TYPES;
    const DOMAIN: Option<Domain> = Some(Domain::Inet);
    type Head = InetSock;
}

socket_proto!(Inet, Family<Inet>, c"XENSOCK-INET");

/// IPPROTO_XENSOCK under AF_INET6.
pub(crate) struct Inet6;

impl AddressFamily for Inet6 {
    const FAMILY: i32 = AF_INET6 as i32;
    const PROTOCOL: Option<u16> = Some(IPPROTO_XENSOCK);
    const SOCK_TYPES: &'static [u16] = SOCK_TYPES;
    const DOMAIN: Option<Domain> = Some(Domain::Inet6);
    type Head = Inet6Sock;
}

socket_proto!(Inet6, Family<Inet6>, c"XENSOCK-INET6");
