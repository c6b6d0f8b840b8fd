// SPDX-License-Identifier: GPL-2.0

//! Where datagrams may go, and how long they may be.

use crate::{
    endpoint::in_domain,
    proto::frame, //
};
use core::net::{
    IpAddr,
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

/// Where a message is to go: [`None`] is the peer of the socket. `domain` is what the socket is, if
/// that is decided.
///
/// The errors are those of `udp_sendmsg()` and `udpv6_sendmsg()`.
pub(super) fn destination(msg: &MsgHdr, domain: Option<Domain>) -> Result<Option<SocketAddr>> {
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

/// An address for a socket of IPv4, or for one that is neither yet.
fn destination_v4(name: &RawAddr<'_>, domain: Option<Domain>) -> Result<SocketAddr> {
    /// Bytes of the smallest address.
    const MIN_LEN: usize = 16;

    let bytes = name.as_bytes().first_chunk::<MIN_LEN>().ok_or(EINVAL)?;
    match (name.family().ok_or(EINVAL)?, bytes) {
        (AF_INET, _) => name.parse(),
        (AF_INET6, _) if domain.is_none() => name.parse(),
        // As old programs do it.
        (AF_UNSPEC, [_, _, p, q, a, b, c, d, ..]) => Ok(SocketAddr::from((
            Ipv4Addr::new(*a, *b, *c, *d),
            u16::from_be_bytes([*p, *q]),
        ))),
        _ => Err(EAFNOSUPPORT),
    }
}

/// The address as one of IPv4, if that is what it stands for.
fn as_v4(addr: &SocketAddr) -> Option<Ipv4Addr> {
    match addr.ip() {
        IpAddr::V4(ip) => Some(ip),
        IpAddr::V6(ip) => ip.to_ipv4_mapped(),
    }
}

/// The longest datagram that can go there.
pub(super) fn max_len(addr: &SocketAddr) -> usize {
    match as_v4(addr) {
        Some(_) => frame::MAX_V4,
        None => frame::MAX_V6,
    }
}

/// Whether it is the address of everybody. Which others are, the backend has to say.
pub(super) fn is_broadcast(addr: &SocketAddr) -> bool {
    as_v4(addr).is_some_and(|ip| ip.is_broadcast())
}
