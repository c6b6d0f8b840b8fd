// SPDX-License-Identifier: GPL-2.0

//! Control messages: the form in which programs and Linux pass information that goes with a
//! datagram. The [`Info`] of a frame is its form on the wire.
//!
//! Interfaces are not passed on, except as the scope of an address: the two domains have different
//! interfaces.

use core::net::{
    IpAddr,
    Ipv4Addr,
    Ipv6Addr,
    SocketAddr,
    SocketAddrV6, //
};

use super::{
    errno,
    info::Info,
    level::{
        SOL_IP,
        SOL_IPV6,
        SOL_SOCKET,
        SOL_UDP, //
    },
    report::Report, //
};

/// A message: its level, its type, and its data.
pub type Message<'a> = (i32, i32, &'a [u8]);

const SO_RXQ_OVFL: i32 = 40;

const IP_TOS: i32 = 1;
const IP_TTL: i32 = 2;
const IP_PKTINFO: i32 = 8;
const IP_RECVERR: i32 = 11;
const IP_ORIGDSTADDR: i32 = 20;
const IP_PROTOCOL: i32 = 52;

const UDP_SEGMENT: i32 = 103;
const UDP_GRO: i32 = 104;

const IPV6_2292PKTINFO: i32 = 2;
const IPV6_2292HOPOPTS: i32 = 3;
const IPV6_2292DSTOPTS: i32 = 4;
const IPV6_2292HOPLIMIT: i32 = 8;
const IPV6_RECVERR: i32 = 25;
const IPV6_PKTINFO: i32 = 50;
const IPV6_HOPLIMIT: i32 = 52;
const IPV6_HOPOPTS: i32 = 54;
const IPV6_RTHDRDSTOPTS: i32 = 55;
const IPV6_DSTOPTS: i32 = 59;
const IPV6_TCLASS: i32 = 67;
const IPV6_ORIGDSTADDR: i32 = 74;

/// Frontend: returns the information that a program passes with a datagram to an address, by the
/// rules of `udp_sendmsg()` and `udpv6_sendmsg()`. The kernel checks messages of `SOL_SOCKET`.
pub fn info_from_program<'a>(
    messages: impl Iterator<Item = Message<'a>>,
    to: &SocketAddr,
) -> Result<Info, i32> {
    let is_ipv4 = to.ip().to_canonical().is_ipv4();
    let mut info = Info::default();

    for (level, kind, data) in messages {
        match (level, kind) {
            (SOL_UDP, UDP_SEGMENT) => {
                let segment = data.try_into().map_err(|_| errno::EINVAL)?;
                info.segment = Some(u16::from_ne_bytes(segment));
            }
            (SOL_UDP, _) => return Err(errno::EINVAL),
            (SOL_IP, _) if is_ipv4 => parse_ipv4(&mut info, kind, data, to)?,
            (SOL_IPV6, IPV6_PKTINFO) if is_ipv4 && to.is_ipv6() => {
                let source = source_v6(data)?;
                let ip = source.ip().to_ipv4_mapped().ok_or(errno::EINVAL)?;
                info.local = source_v4(ip, to);
            }
            (SOL_IPV6, _) if !is_ipv4 => parse_ipv6(&mut info, kind, data, to)?,
            _ => (),
        }
    }
    Ok(info)
}

fn parse_ipv4(info: &mut Info, kind: i32, data: &[u8], to: &SocketAddr) -> Result<(), i32> {
    match (kind, data) {
        (IP_PKTINFO, &[_, _, _, _, a, b, c, d, _, _, _, _]) => {
            info.local = source_v4(Ipv4Addr::new(a, b, c, d), to);
        }
        (IP_TTL, _) => info.ttl = Some(number(data, 1)?.ok_or(errno::EINVAL)?),
        (IP_TOS, &[tos]) => info.tos = Some(tos),
        (IP_TOS, _) => info.tos = Some(number(data, 0)?.ok_or(errno::EINVAL)?),
        // UDP has only one protocol.
        (IP_PROTOCOL, _) => drop(number(data, 1)?.ok_or(errno::EINVAL)?),
        _ => return Err(errno::EINVAL),
    }
    Ok(())
}

fn parse_ipv6(info: &mut Info, kind: i32, data: &[u8], to: &SocketAddr) -> Result<(), i32> {
    match kind {
        IPV6_PKTINFO | IPV6_2292PKTINFO => {
            let mut source = source_v6(data)?;
            if is_link_local(source.ip()) && source.scope_id() == 0 {
                // The interface of the destination will do, if it has one.
                match to {
                    SocketAddr::V6(to) if is_link_local(to.ip()) && to.scope_id() != 0 => {
                        source.set_scope_id(to.scope_id());
                    }
                    _ => return Err(errno::EINVAL),
                }
            }
            info.local = (!source.ip().is_unspecified()).then_some(SocketAddr::V6(source));
        }
        IPV6_HOPLIMIT | IPV6_2292HOPLIMIT => info.ttl = number(data, 0)?,
        IPV6_TCLASS => info.tos = number(data, 0)?,
        IPV6_HOPOPTS | IPV6_2292HOPOPTS | IPV6_DSTOPTS | IPV6_2292DSTOPTS | IPV6_RTHDRDSTOPTS => {
            return Err(errno::EPERM)
        }
        _ => return Err(errno::EINVAL),
    }
    Ok(())
}

/// Returns a number from `min` to 255, or [`None`] for -1, which leaves the choice to the socket.
fn number(data: &[u8], min: u8) -> Result<Option<u8>, i32> {
    let number = data.try_into().map_err(|_| errno::EINVAL)?;
    match i32::from_ne_bytes(number) {
        -1 => Ok(None),
        number => match u8::try_from(number) {
            Ok(number) if number >= min => Ok(Some(number)),
            _ => Err(errno::EINVAL),
        },
    }
}

/// Returns the source address for a socket that sends to `to`; [`None`] if it is unspecified.
fn source_v4(ip: Ipv4Addr, to: &SocketAddr) -> Option<SocketAddr> {
    (!ip.is_unspecified()).then(|| for_socket(ip, to.is_ipv6(), 0))
}

/// Reads a `struct in6_pktinfo`. The interface becomes the scope of the address.
fn source_v6(data: &[u8]) -> Result<SocketAddrV6, i32> {
    let (octets, rest) = data.split_first_chunk::<16>().ok_or(errno::EINVAL)?;
    let interface = *rest.first_chunk().ok_or(errno::EINVAL)?;
    let ip = Ipv6Addr::from(*octets);
    let scope = if is_link_local(&ip) {
        u32::from_ne_bytes(interface)
    } else {
        0
    };
    Ok(SocketAddrV6::new(ip, 0, 0, scope))
}

/// Returns `true` if an address is valid on one link only, and so needs the number of an interface, its
/// scope: `ipv6_addr_needs_scope_id()`.
pub fn is_link_local(ip: &Ipv6Addr) -> bool {
    let [first, second, ..] = ip.octets();
    match first {
        0xfe => second & 0xc0 == 0x80,
        0xff => matches!(second & 0xf, 1 | 2),
        _ => false,
    }
}

/// Returns an IPv4 address in the form for a socket of this family.
fn for_socket(ip: Ipv4Addr, is_ipv6: bool, port: u16) -> SocketAddr {
    match is_ipv6 {
        false => SocketAddr::from((ip, port)),
        true => SocketAddr::from((ip.to_ipv6_mapped(), port)),
    }
}

/// Frontend: puts the information on a datagram from an address that a program has asked for by
/// options, in the order that UDP uses.
pub fn put_for_program(
    info: &Info,
    from: &SocketAddr,
    is_set: impl Fn(u32, u32) -> bool,
    mut put: impl FnMut(Message<'_>),
) {
    use super::option::*;

    let mut put_if_set = |level: u32, name: u32, kind: i32, data: Option<&[u8]>| {
        if let (Some(data), true) = (data, is_set(level, name)) {
            // CAST: A small constant.
            put((level as i32, kind, data));
        }
    };
    let (drops, segment) = (
        info.drops.map(int),
        info.segment.filter(|len| *len > 0).map(int),
    );
    let (ttl, tos) = (info.ttl.map(int), info.tos.map(int));
    let arrival = info.destination.map(|to| pktinfo_v6(to.ip(), scope(&to)));

    put_if_set(SOL_SOCKET, SO_RXQ_OVFL, self::SO_RXQ_OVFL, bytes(&drops));
    put_if_set(SOL_UDP, UDP_GRO, self::UDP_GRO, bytes(&segment));
    put_if_set(SOL_IPV6, IPV6_RECVPKTINFO, IPV6_PKTINFO, bytes(&arrival));
    if from.ip().to_canonical().is_ipv4() {
        let to = info
            .destination
            .and_then(|to| Some((as_v4(to.ip())?, to.port())));
        let local = info.local.and_then(|local| as_v4(local.ip()));
        let arrival = to.map(|(to, _)| pktinfo_v4(local.unwrap_or(to), to));
        let to = to.map(|(to, port)| sockaddr_v4(to, port));
        let tos = info.tos.map(|tos| [tos]);

        put_if_set(SOL_IP, IP_PKTINFO, self::IP_PKTINFO, bytes(&arrival));
        put_if_set(SOL_IP, IP_RECVTTL, self::IP_TTL, bytes(&ttl));
        put_if_set(SOL_IP, IP_RECVTOS, self::IP_TOS, bytes(&tos));
        put_if_set(SOL_IP, IP_RECVORIGDSTADDR, IP_ORIGDSTADDR, bytes(&to));
    } else {
        let to = info.destination.map(|to| sockaddr_v6(&to));

        put_if_set(SOL_IPV6, IPV6_RECVHOPLIMIT, IPV6_HOPLIMIT, bytes(&ttl));
        put_if_set(SOL_IPV6, IPV6_RECVTCLASS, self::IPV6_TCLASS, bytes(&tos));
        put_if_set(
            SOL_IPV6,
            IPV6_2292PKTINFO,
            self::IPV6_2292PKTINFO,
            bytes(&arrival),
        );
        put_if_set(
            SOL_IPV6,
            IPV6_2292HOPLIMIT,
            self::IPV6_2292HOPLIMIT,
            bytes(&ttl),
        );
        put_if_set(SOL_IPV6, IPV6_RECVORIGDSTADDR, IPV6_ORIGDSTADDR, bytes(&to));
    }
}

/// Returns a number in the form of a message.
fn int(number: impl Into<u32>) -> [u8; 4] {
    number.into().to_ne_bytes()
}

fn bytes<const N: usize>(data: &Option<[u8; N]>) -> Option<&[u8]> {
    data.as_ref().map(|data| &data[..])
}

fn as_v4(ip: IpAddr) -> Option<Ipv4Addr> {
    match ip.to_canonical() {
        IpAddr::V4(ip) => Some(ip),
        IpAddr::V6(_) => None,
    }
}

fn scope(addr: &SocketAddr) -> u32 {
    match addr {
        SocketAddr::V4(_) => 0,
        SocketAddr::V6(addr) => addr.scope_id(),
    }
}

/// Returns a `struct in6_pktinfo`.
fn pktinfo_v6(ip: IpAddr, interface: u32) -> [u8; 20] {
    let ip = match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    let mut data = [0; 20];
    data[..16].copy_from_slice(&ip.octets());
    data[16..].copy_from_slice(&interface.to_ne_bytes());
    data
}

/// Returns a `struct in_pktinfo`.
fn pktinfo_v4(local: Ipv4Addr, destination: Ipv4Addr) -> [u8; 12] {
    let mut data = [0; 12];
    data[4..8].copy_from_slice(&local.octets());
    data[8..].copy_from_slice(&destination.octets());
    data
}

/// Returns a `struct sockaddr_in`.
fn sockaddr_v4(ip: Ipv4Addr, port: u16) -> [u8; 16] {
    let mut data = [0; 16];
    data[..2].copy_from_slice(&super::addr::AF_INET.to_ne_bytes());
    data[2..4].copy_from_slice(&port.to_be_bytes());
    data[4..8].copy_from_slice(&ip.octets());
    data
}

/// Returns a `struct sockaddr_in6`.
fn sockaddr_v6(addr: &SocketAddr) -> [u8; 28] {
    let mut data = [0; 28];
    data[..2].copy_from_slice(&super::addr::AF_INET6.to_ne_bytes());
    data[2..4].copy_from_slice(&addr.port().to_be_bytes());
    // The rest of the address has the layout of a `struct in6_pktinfo`.
    data[8..].copy_from_slice(&pktinfo_v6(addr.ip(), scope(addr)));
    data
}

/// Backend: returns Linux's information on a datagram to a socket of this family.
pub fn info_from_linux<'a>(messages: impl Iterator<Item = Message<'a>>, is_ipv6: bool) -> Info {
    let mut info = Info::default();
    let number = |data: &[u8]| Some(u32::from_ne_bytes(*data.first_chunk()?));
    let byte = |data: &[u8]| u8::try_from(number(data)?).ok();

    for (level, kind, data) in messages {
        match (level, kind, data) {
            (SOL_SOCKET, SO_RXQ_OVFL, _) => info.drops = number(data),
            (SOL_UDP, UDP_GRO, _) => info.segment = number(data).and_then(|n| n.try_into().ok()),
            (SOL_IP, IP_TOS, &[tos]) => info.tos = Some(tos),
            (SOL_IP, IP_TTL, _) | (SOL_IPV6, IPV6_HOPLIMIT | IPV6_2292HOPLIMIT, _) => {
                info.ttl = byte(data)
            }
            (SOL_IPV6, IPV6_TCLASS, _) => info.tos = byte(data),
            (SOL_IP, IP_PKTINFO, &[_, _, _, _, l0, l1, l2, l3, a, b, c, d]) => {
                let local = Ipv4Addr::new(l0, l1, l2, l3);
                info.local = Some(for_socket(local, is_ipv6, 0));
                info.destination = Some(for_socket(Ipv4Addr::new(a, b, c, d), is_ipv6, 0));
            }
            (SOL_IP, IP_ORIGDSTADDR, &[_, _, p, q, a, b, c, d, ..]) => {
                let port = u16::from_be_bytes([p, q]);
                info.destination = Some(for_socket(Ipv4Addr::new(a, b, c, d), is_ipv6, port));
            }
            (SOL_IPV6, IPV6_PKTINFO | IPV6_2292PKTINFO, _) => {
                info.destination = source_v6(data).ok().map(SocketAddr::V6);
            }
            (SOL_IPV6, IPV6_ORIGDSTADDR, &[_, _, p, q, _, _, _, _, ref rest @ ..]) => {
                let addr = source_v6(rest).ok();
                info.destination = addr.map(|mut addr| {
                    addr.set_port(u16::from_be_bytes([p, q]));
                    SocketAddr::V6(addr)
                });
            }
            _ => (),
        }
    }
    info
}

/// Backend: returns Linux's report of an error of a socket of this family, if the message is one.
pub fn report_from_linux(message: Message<'_>, is_ipv6: bool) -> Option<Report> {
    match message {
        (SOL_IP, IP_RECVERR, data) if !is_ipv6 => Report::from_linux(data, false),
        (SOL_IPV6, IPV6_RECVERR, data) if is_ipv6 => Report::from_linux(data, true),
        _ => None,
    }
}

/// Backend: puts the messages for Linux that go with a datagram from a socket of this family.
///
/// For an IPv6 socket, Linux uses only the messages of one level, depending on the address.
pub fn put_for_linux<E>(
    info: &Info,
    is_ipv6: bool,
    mut put: impl FnMut(Message<'_>) -> Result<(), E>,
) -> Result<(), E> {
    if let Some(segment) = info.segment {
        put((SOL_UDP, UDP_SEGMENT, &segment.to_ne_bytes()))?;
    }
    match info.local {
        Some(SocketAddr::V4(local)) => put((
            SOL_IP,
            IP_PKTINFO,
            &pktinfo_v4(*local.ip(), Ipv4Addr::UNSPECIFIED),
        ))?,
        Some(SocketAddr::V6(local)) => {
            // Linux would send through the interface of the scope, for any address. The guest must
            // not choose that.
            let scope = match is_link_local(local.ip()) {
                true => local.scope_id(),
                false => 0,
            };
            let data = pktinfo_v6(IpAddr::V6(*local.ip()), scope);
            put((SOL_IPV6, IPV6_PKTINFO, &data))?;
        }
        None => (),
    }
    if let Some(ttl) = info.ttl.map(i32::from) {
        put((SOL_IP, IP_TTL, &ttl.to_ne_bytes()))?;
        if is_ipv6 {
            put((SOL_IPV6, IPV6_HOPLIMIT, &ttl.to_ne_bytes()))?;
        }
    }
    if let Some(tos) = info.tos.map(i32::from) {
        put((SOL_IP, IP_TOS, &tos.to_ne_bytes()))?;
        if is_ipv6 {
            put((SOL_IPV6, IPV6_TCLASS, &tos.to_ne_bytes()))?;
        }
    }
    Ok(())
}
