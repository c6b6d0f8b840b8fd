// SPDX-License-Identifier: GPL-2.0

//! Destinations of datagrams.

use crate::addresses::in_domain;
use core::net::{
    Ipv4Addr,
    SocketAddr, //
};
use kernel::{
    net::{
        addr::{
            Domain,
            RawAddr,
            AF_INET,
            AF_INET6,
            AF_UNSPEC, //
        },
        msghdr::MsgHdr, //
    },
    prelude::*, //
};

/// Returns the destination of a message, or [`None`] for the peer of the socket. `domain` is the
/// family of the socket, if it is decided.
///
/// Fails as `udp_sendmsg()` and `udpv6_sendmsg()` do.
pub(crate) fn destination(msg: &MsgHdr, domain: Option<Domain>) -> Result<Option<SocketAddr>> {
    let Some(name) = msg.name() else {
        return Ok(None);
    };
    let addr = match domain {
        Some(Domain::Inet6) => match name.family().ok_or(EINVAL)? {
            AF_INET | AF_INET6 => name.parse()?,
            AF_UNSPEC => return Ok(None),
            _ => return Err(EINVAL),
        },
        _ => destination_v4(&name, domain)?,
    };
    if addr.port() == 0 {
        return Err(EINVAL);
    }
    in_domain(domain, addr).map(Some)
}

/// Returns the address for an IPv4 socket, or for a socket without a family yet.
fn destination_v4(name: &RawAddr<'_>, domain: Option<Domain>) -> Result<SocketAddr> {
    /// Bytes of the smallest address.
    const MIN_LEN: usize = 16;

    let bytes = name.as_bytes().first_chunk::<MIN_LEN>().ok_or(EINVAL)?;
    match (name.family().ok_or(EINVAL)?, bytes) {
        (AF_INET, _) => name.parse(),
        (AF_INET6, _) if domain.is_none() => name.parse(),
        // Old programs use AF_UNSPEC.
        (AF_UNSPEC, [_, _, p, q, a, b, c, d, ..]) => Ok(SocketAddr::from((
            Ipv4Addr::new(*a, *b, *c, *d),
            u16::from_be_bytes([*p, *q]),
        ))),
        _ => Err(EAFNOSUPPORT),
    }
}
