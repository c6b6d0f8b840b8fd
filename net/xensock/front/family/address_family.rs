// SPDX-License-Identifier: GPL-2.0

//! The families under which the sockets are found.

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

/// One of the families.
pub(crate) trait AddressFamily:
    StaticProto<Family<Self>> + Sized + Send + Sync + 'static
{
    /// Its number.
    const FAMILY: i32;
    /// The number of the protocol in it.
    const PROTOCOL: Option<u16> = None;
    /// The types of sockets under that number.
    const KINDS: &'static [u16] = &[];
    /// The kind of addresses that its sockets have. Those of AF_XENSOCK have either.
    const DOMAIN: Option<Domain>;
    /// What a socket begins with.
    type Head: Head;
}

/// The types that IPv4 and IPv6 have.
const KINDS: &[u16] = &[SOCK_STREAM as u16, SOCK_DGRAM as u16];

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
    const KINDS: &'static [u16] = KINDS;
    const DOMAIN: Option<Domain> = Some(Domain::Inet);
    type Head = InetSock;
}

socket_proto!(Inet, Family<Inet>, c"XENSOCK-INET");

/// IPPROTO_XENSOCK under AF_INET6.
pub(crate) struct Inet6;

impl AddressFamily for Inet6 {
    const FAMILY: i32 = AF_INET6 as i32;
    const PROTOCOL: Option<u16> = Some(IPPROTO_XENSOCK);
    const KINDS: &'static [u16] = KINDS;
    const DOMAIN: Option<Domain> = Some(Domain::Inet6);
    type Head = Inet6Sock;
}

socket_proto!(Inet6, Family<Inet6>, c"XENSOCK-INET6");
