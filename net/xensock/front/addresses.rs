// SPDX-License-Identifier: GPL-2.0

//! Socket addresses: from programs, conversions and tests.

use crate::proto::{
    control::is_link_local,
    frame, //
};
use core::net::{
    IpAddr,
    Ipv4Addr,
    Ipv6Addr,
    SocketAddr,
    SocketAddrV6, //
};
use kernel::{
    net::addr::{
        Domain,
        RawAddr,
        AF_INET,
        AF_INET6,
        AF_UNSPEC, //
    },
    prelude::*, //
};

/// Bytes of an IPv4 address, and of an IPv6 address without a scope: shorter ones are invalid.
const MIN_LEN: usize = 16;
const MIN_LEN6: usize = 24;

/// Returns the beginning of an address for a socket of `domain`. As with internet sockets, the
/// length that this needs counts before the family that the address has.
fn checked_bytes<'a>(domain: Option<Domain>, addr: &RawAddr<'a>) -> Result<&'a [u8; MIN_LEN]> {
    let bytes = addr.as_bytes();
    if domain == Some(Domain::Inet6) && bytes.len() < MIN_LEN6 {
        return Err(EINVAL);
    }
    bytes.first_chunk().ok_or(EINVAL)
}

/// Returns the address for `bind()`. As with internet sockets, AF_UNSPEC may stand for the
/// unspecified address.
pub(crate) fn addr_to_bind(domain: Option<Domain>, addr: &RawAddr<'_>) -> Result<SocketAddr> {
    let bytes = checked_bytes(domain, addr)?;
    match (addr.family().ok_or(EINVAL)?, domain, bytes) {
        (AF_INET, None | Some(Domain::Inet), _) => addr.parse(),
        (AF_INET6, None | Some(Domain::Inet6), _) => addr.parse(),
        (
            AF_UNSPEC,
            None | Some(Domain::Inet),
            [_, _, port @ .., 0, 0, 0, 0, _, _, _, _, _, _, _, _],
        ) => {
            let port: [u8; 2] = *port.first_chunk().ok_or(EINVAL)?;
            Ok((Ipv4Addr::UNSPECIFIED, u16::from_be_bytes(port)).into())
        }
        _ => Err(EAFNOSUPPORT),
    }
}

/// Returns the address for `connect()` of a stream: an IPv6 socket accepts an IPv4 address only in
/// mapped form.
pub(crate) fn addr_to_connect(domain: Option<Domain>, addr: &RawAddr<'_>) -> Result<SocketAddr> {
    checked_bytes(domain, addr)?;
    match (addr.family().ok_or(EINVAL)?, domain) {
        (AF_INET, None | Some(Domain::Inet)) | (AF_INET6, None | Some(Domain::Inet6)) => {
            addr.parse()
        }
        _ => Err(EAFNOSUPPORT),
    }
}

/// Returns an address as a socket of `domain` uses it: an IPv6 socket reaches IPv4 by mapped
/// addresses.
pub(crate) fn in_domain(domain: Option<Domain>, addr: SocketAddr) -> Result<SocketAddr> {
    match (domain, addr) {
        (Some(Domain::Inet), SocketAddr::V6(_)) => Err(EAFNOSUPPORT),
        (Some(Domain::Inet6), SocketAddr::V4(addr)) => {
            let ip = addr.ip().to_ipv6_mapped();
            Ok(SocketAddrV6::new(ip, addr.port(), 0, 0).into())
        }
        (_, addr) => Ok(addr),
    }
}

/// Returns `true` if an address, if there is one, is of the family of a socket of `domain`.
pub(crate) fn is_of(domain: Domain, addr: Option<&SocketAddr>) -> bool {
    addr.is_none_or(|addr| Domain::from(addr) == domain)
}

/// Returns the address that leaves the choice to the backend.
pub(crate) fn any(domain: Domain) -> SocketAddr {
    let ip = match domain {
        Domain::Inet => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        Domain::Inet6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    SocketAddr::new(ip, 0)
}

/// Returns the address that `ip` means as a destination, as for TCP and UDP.
pub(crate) fn destination(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}

/// Returns the address of the peer when a socket with the address `local` is connected to `peer`,
/// as `getpeername()` returns it.
pub(crate) fn connected(peer: SocketAddr, local: Option<SocketAddr>) -> SocketAddr {
    let local = local.and_then(|local| specific(local.ip()));
    let own = match local {
        Some(IpAddr::V4(ip)) => ip,
        _ => Ipv4Addr::LOCALHOST,
    };
    let addr = match peer {
        SocketAddr::V4(addr) if addr.ip().is_unspecified() => {
            return SocketAddr::from((own, addr.port()))
        }
        SocketAddr::V4(_) => return peer,
        SocketAddr::V6(addr) => addr,
    };
    let ip = match (addr.ip().to_canonical(), local) {
        (IpAddr::V4(ip), _) if ip.is_unspecified() => own.to_ipv6_mapped(),
        (IpAddr::V6(ip), Some(IpAddr::V4(_))) if ip.is_unspecified() => {
            Ipv4Addr::LOCALHOST.to_ipv6_mapped()
        }
        (IpAddr::V6(ip), _) if ip.is_unspecified() => Ipv6Addr::LOCALHOST,
        _ => *addr.ip(),
    };
    let scope = match is_link_local(&ip) {
        true => addr.scope_id(),
        false => 0,
    };
    SocketAddrV6::new(ip, addr.port(), 0, scope).into()
}

/// Returns the address unless it is the unspecified address.
pub(crate) fn specific(ip: IpAddr) -> Option<IpAddr> {
    Some(ip.to_canonical()).filter(|ip| !ip.is_unspecified())
}

/// Returns the IPv4 address, also of a mapped one.
fn as_v4(addr: &SocketAddr) -> Option<Ipv4Addr> {
    match addr.ip() {
        IpAddr::V4(ip) => Some(ip),
        IpAddr::V6(ip) => ip.to_ipv4_mapped(),
    }
}

/// Returns the length of the longest datagram to this address.
pub(crate) fn max_len(addr: &SocketAddr) -> usize {
    match as_v4(addr) {
        Some(_) => frame::MAX_V4,
        None => frame::MAX_V6,
    }
}

/// Returns `true` for the limited broadcast address. Only the backend knows other broadcast
/// addresses.
pub(crate) fn is_broadcast(addr: &SocketAddr) -> bool {
    as_v4(addr).is_some_and(|ip| ip.is_broadcast())
}
