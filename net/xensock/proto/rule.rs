// SPDX-License-Identifier: GPL-2.0

//! Rules about addresses and ports, as administrators write them.
//!
//! A list consists of words separated by blanks, [`MAX_RULES`] at most. A word has up to three
//! parts; at least one of the last two must be there:
//!
//! ```text
//! [tcp:|udp:] ADDRESS[/LENGTH] [:PORT[-PORT]]     10.0.0.0/8     tcp:192.0.2.1:80
//!                                                 [2001:db8::/32]:53
//! [tcp:|udp:] PORT[-PORT]                         8000-8999      udp:53
//! ```
//!
//! An absent part covers all values. An IPv6 address is in brackets, together with its length. A
//! prefix has no bits beyond its length, and a number has no leading zero: an ambiguous word is not
//! accepted.
//!
//! An IPv4 address mapped into IPv6 counts as the IPv4 address, both in a rule and in an address to
//! check. So `[::/0]` covers all of IPv6, but no IPv4 address.
//!
//! [`route`](mod@route) has the rules that name a device.

pub mod route;

use core::{
    ffi::CStr,
    net::{
        IpAddr,
        Ipv4Addr,
        Ipv6Addr, //
    },
    str::FromStr,
};

/// Maximum number of rules in a list.
pub const MAX_RULES: usize = 32;

/// The transport protocol of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IpProtocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl IpProtocol {
    /// Returns the name of the protocol in rules.
    pub const fn name(self) -> &'static CStr {
        match self {
            Self::Tcp => c"tcp",
            Self::Udp => c"udp",
        }
    }
}

/// A word or a number that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable;

/// All addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Prefix {
    V4 { bits: u32, mask: u32 },
    V6 { bits: u128, mask: u128 },
}

/// 224.0.0.0/4 and ff00::/8: multicast.
const GROUPS: [Prefix; 2] = [
    Prefix::V4 {
        bits: 0xe000_0000,
        mask: 0xf000_0000,
    },
    Prefix::V6 {
        bits: 0xff << 120,
        mask: 0xff << 120,
    },
];

/// fe80::/10.
const LINK_LOCAL_V6: Prefix = Prefix::V6 {
    bits: 0xfe80 << 112,
    mask: 0xffc0 << 112,
};

/// Addresses that stand for a host itself, for hosts on the same link, or for several hosts at
/// once. A host may itself receive the packets that it sends to such an address.
const SPECIAL: [Prefix; 7] = [
    // 127.0.0.0/8 and ::1: loopback.
    Prefix::V4 {
        bits: 0x7f00_0000,
        mask: 0xff00_0000,
    },
    Prefix::V6 {
        bits: 1,
        mask: u128::MAX,
    },
    // 169.254.0.0/16 and fe80::/10: link-local. Clouds have their metadata there.
    Prefix::V4 {
        bits: 0xa9fe_0000,
        mask: 0xffff_0000,
    },
    LINK_LOCAL_V6,
    GROUPS[0],
    GROUPS[1],
    // Broadcast.
    Prefix::V4 {
        bits: u32::MAX,
        mask: u32::MAX,
    },
];

impl Prefix {
    fn v4(ip: Ipv4Addr, len: u32) -> Result<Self, Unreadable> {
        let mask = match len {
            0 => 0,
            1..=32 => u32::MAX << (32 - len),
            _ => return Err(Unreadable),
        };
        let bits = u32::from(ip);
        if bits & !mask != 0 {
            return Err(Unreadable);
        }
        Ok(Self::V4 { bits, mask })
    }

    fn v6(ip: Ipv6Addr, len: u32) -> Result<Self, Unreadable> {
        if let (Some(v4), 96..=128) = (ip.to_ipv4_mapped(), len) {
            return Self::v4(v4, len - 96);
        }
        let mask = match len {
            0 => 0,
            1..=128 => u128::MAX << (128 - len),
            _ => return Err(Unreadable),
        };
        let bits = u128::from(ip);
        if bits & !mask != 0 {
            return Err(Unreadable);
        }
        Ok(Self::V6 { bits, mask })
    }

    /// Reads an address that may have a prefix length.
    fn parse<T: FromStr>(
        text: &str,
        whole: u32,
        new: fn(T, u32) -> Result<Self, Unreadable>,
    ) -> Result<Self, Unreadable> {
        let (ip, len) = match text.split_once('/') {
            Some((ip, len)) => (ip, number(len.as_bytes())?),
            None => (text, whole),
        };
        new(ip.parse().map_err(|_| Unreadable)?, len)
    }

    /// Returns `true` if the prefix contains an address, which must not be a mapped one.
    fn has(self, ip: IpAddr) -> bool {
        match (self, ip) {
            (Self::V4 { bits, mask }, IpAddr::V4(ip)) => u32::from(ip) & mask == bits,
            (Self::V6 { bits, mask }, IpAddr::V6(ip)) => u128::from(ip) & mask == bits,
            _ => false,
        }
    }

    /// Returns the length of the prefix in bits.
    fn len(self) -> u32 {
        match self {
            Self::V4 { mask, .. } => mask.count_ones(),
            Self::V6 { mask, .. } => mask.count_ones(),
        }
    }

    /// Returns `true` if the prefix is a single address.
    fn is_single(self) -> bool {
        match self {
            Self::V4 { mask, .. } => mask == u32::MAX,
            Self::V6 { mask, .. } => mask == u128::MAX,
        }
    }

    /// Returns `true` if `others` contains all addresses of this prefix.
    fn is_within(self, others: Self) -> bool {
        match (self, others) {
            (Self::V4 { bits, mask }, Self::V4 { mask: other, .. }) => {
                mask & other == other && others.has(IpAddr::V4(Ipv4Addr::from(bits)))
            }
            (Self::V6 { bits, mask }, Self::V6 { mask: other, .. }) => {
                mask & other == other && others.has(IpAddr::V6(Ipv6Addr::from(bits)))
            }
            _ => false,
        }
    }
}

/// A rule: one word of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    transport: Option<IpProtocol>,
    prefix: Option<Prefix>,
    first: u16,
    last: u16,
}

impl Rule {
    /// Covers all addresses and ports.
    pub const ALL: Self = Self {
        transport: None,
        prefix: None,
        first: 0,
        last: u16::MAX,
    };

    /// Returns `true` if the rule covers this address and port.
    pub fn covers(&self, transport: IpProtocol, ip: IpAddr, port: u16) -> bool {
        self.transport.is_none_or(|own| own == transport)
            && self
                .prefix
                .is_none_or(|prefix| prefix.has(ip.to_canonical()))
            && (self.first..=self.last).contains(&port)
    }

    /// Returns `true` if the rule covers this address and port, or port 0 there while the port is one
    /// that the system might choose, as `is_any` says.
    pub fn covers_bind(&self, transport: IpProtocol, ip: IpAddr, port: u16, is_any: bool) -> bool {
        self.covers(transport, ip, port) || is_any && self.covers(transport, ip, 0)
    }

    /// Returns `true` if the rule covers a single address, or only special addresses of one kind:
    /// its author meant exactly these.
    pub fn is_explicit(&self) -> bool {
        self.prefix.is_some_and(|prefix| {
            prefix.is_single() || SPECIAL.into_iter().any(|kind| prefix.is_within(kind))
        })
    }

    /// Returns `true` if the rule covers only multicast groups, with all ports.
    pub fn is_about_groups(&self) -> bool {
        self.transport != Some(IpProtocol::Tcp)
            && (self.first, self.last) == (0, u16::MAX)
            && self
                .prefix
                .is_some_and(|prefix| GROUPS.into_iter().any(|kind| prefix.is_within(kind)))
    }
}

/// Returns `true` if an address is special in every network: loopback, link-local, multicast or
/// broadcast.
pub fn is_special(ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    SPECIAL.into_iter().any(|kind| kind.has(ip))
}

/// Returns `true` if Linux takes any such address for that of a neighbour, in every namespace and
/// without an address of the same network. Each takes an entry of the table of neighbours, which all
/// namespaces share.
///
/// That is true of link-local addresses of IPv6 alone. Those of IPv4 need a route, as other
/// addresses do, and entries for multicast give way to others.
pub fn is_always_on_link(ip: IpAddr) -> bool {
    LINK_LOCAL_V6.has(ip)
}

impl FromStr for Rule {
    type Err = Unreadable;

    fn from_str(word: &str) -> Result<Self, Unreadable> {
        let (transport, rest) = match word.split_once(':') {
            Some(("tcp", rest)) => (Some(IpProtocol::Tcp), rest),
            Some(("udp", rest)) => (Some(IpProtocol::Udp), rest),
            _ => (None, word),
        };
        let (prefix, ports) = if let Some(rest) = rest.strip_prefix('[') {
            let (prefix, rest) = rest.split_once(']').ok_or(Unreadable)?;
            let ports = match rest {
                "" => None,
                _ => Some(rest.strip_prefix(':').ok_or(Unreadable)?),
            };
            (Some(Prefix::parse(prefix, 128, Prefix::v6)?), ports)
        } else if rest.contains('.') {
            let (prefix, ports) = match rest.split_once(':') {
                Some((prefix, ports)) => (prefix, Some(ports)),
                None => (rest, None),
            };
            (Some(Prefix::parse(prefix, 32, Prefix::v4)?), ports)
        } else {
            (None, Some(rest))
        };
        let (first, last) = ports.map_or(Ok((0, u16::MAX)), range)?;
        Ok(Self {
            transport,
            prefix,
            first,
            last,
        })
    }
}

/// Reads a port, or the first and last port of a range.
pub fn range(text: &str) -> Result<(u16, u16), Unreadable> {
    let port = |text: &str| u16::try_from(number(text.as_bytes())?).map_err(|_| Unreadable);
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (port(first)?, port(last)?);
    if first > last {
        return Err(Unreadable);
    }
    Ok((first, last))
}

/// Reads a number: only digits, and no leading zero. A number above 2^32 - 1 counts as 2^32 - 1.
pub fn number(text: &[u8]) -> Result<u32, Unreadable> {
    if text.is_empty() || (text.len() > 1 && text[0] == b'0') {
        return Err(Unreadable);
    }
    text.iter().try_fold(0u32, |number, byte| match byte {
        b'0'..=b'9' => Ok(number
            .saturating_mul(10)
            .saturating_add(u32::from(byte - b'0'))),
        _ => Err(Unreadable),
    })
}

/// Reads a list of rules, word by word. All words beyond [`MAX_RULES`] together yield one more
/// error.
///
/// # Examples
///
/// ```
/// # use std::net::IpAddr;
/// # use xensock_hosttest::proto::rule::{rules, Rule, IpProtocol};
/// let list: Vec<Rule> = rules(b"192.0.2.0/24:80 udp:53").flatten().collect();
/// let ip: IpAddr = "192.0.2.7".parse().unwrap();
///
/// assert!(list.iter().any(|rule| rule.covers(IpProtocol::Tcp, ip, 80)));
/// assert!(!list.iter().any(|rule| rule.covers(IpProtocol::Tcp, ip, 53)));
/// ```
pub fn rules(list: &[u8]) -> impl Iterator<Item = Result<Rule, Unreadable>> + '_ {
    words(list)
}

/// Reads a list of words of any type, like [`rules`].
pub fn words<T: FromStr<Err = Unreadable>>(
    list: &[u8],
) -> impl Iterator<Item = Result<T, Unreadable>> + '_ {
    list.split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty())
        .take(MAX_RULES + 1)
        .enumerate()
        .map(|(index, word)| {
            if index == MAX_RULES {
                return Err(Unreadable);
            }
            core::str::from_utf8(word).map_err(|_| Unreadable)?.parse()
        })
}
