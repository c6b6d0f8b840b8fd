// SPDX-License-Identifier: GPL-2.0

//! The options of sockets: those that are carried to the backend, and those that it need not know.
//!
//! Both ends go by this one [`TABLE`]. The frontend asks it what a program may set and get, and makes
//! the value for the wire ([`to_set`], [`to_get`]); the backend checks again what it is asked
//! ([`may_set`], [`may_get`]). Levels, names and values are those of Linux; numbers are little
//! endian. Errors are positive numbers, those which TCP gives.
//!
//! A program may pass more bytes than an option has, and for some options fewer. On the wire each
//! value has one form, see [`Kind`].

mod datagram;
mod groups;
mod table;

pub use groups::{
    group,
    is_group_of,
    is_kept_group, //
};
pub use table::*;

use super::{
    errno,
    value::{
        Value,
        INT_LEN,
        NAME_LEN, //
    }, //
};

/// Level of the socket itself.
pub const SOL_SOCKET: u32 = 1;
/// Level of IPv4, on sockets of both families.
pub const SOL_IP: u32 = 0;
/// Level of TCP.
pub const SOL_TCP: u32 = 6;
/// Level of UDP.
pub const SOL_UDP: u32 = 17;
/// Level of IPv6.
pub const SOL_IPV6: u32 = 41;
/// Level of the protocol itself, for frontends and not for programs. Its [`XS_OUTQ`] is how many
/// bytes the backend has taken from `out` and the peer has not acknowledged; [`XS_SNDBUF`] and
/// [`XS_RCVBUF`] are the sizes that a program has set for its buffers.
pub const SOL_XS: u32 = 0x5853;

/// Where [`TCP_INFO`] of a listening socket says how many connections wait (`tcpi_unacked`).
pub const INFO_WAITING: usize = 24;
/// Where it says how many may wait (`tcpi_sacked`).
pub const INFO_BACKLOG: usize = 28;

/// Changes a number in the value of [`TCP_INFO`], if that has it.
pub fn change_info(value: &mut [u8], offset: usize, change: impl FnOnce(u32) -> u32) {
    if let Some(number) = value.get_mut(offset..).and_then(|v| v.first_chunk_mut()) {
        *number = change(u32::from_le_bytes(*number)).to_le_bytes();
    }
}

/// Most bytes that matter of what a program gives.
pub const GIVEN_LEN: usize = 136;

/// What may be done with an option, and who knows of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// The backend's can be read.
    Get,
    /// The backend's can be set: the frontend knows itself what it is set to.
    Set,
    /// Both.
    Both,
    /// It is the frontend's own, to be set and read. At first it is 0, but see [`SockOpt::unset`].
    Own,
    /// It can be read, and is always 0 or empty: there is nothing of its kind.
    Fixed,
}

/// What the value of an option is, and its form on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A number that is 0 or 1. What a program gives counts as 1 if it is not 0.
    Flag,
    /// A signed number.
    Int {
        /// The smallest that can be set.
        min: i32,
        /// The largest that can be set.
        max: i32,
        /// One more that can be set; `min` if there is none.
        or: i32,
    },
    /// A signed number, of which only the backend's Linux can say whether it is good.
    Judged,
    /// 16 bytes: a name of at most 15 and zeroes.
    Name,
    /// A structure of so many bytes at the most, as the backend's Linux lays it out.
    Struct(u32),
    /// A group of multicast, see [`group`].
    Group,
}

/// Any number.
const ANY: Kind = range(i32::MIN, i32::MAX);

/// A number in a range.
const fn range(min: i32, max: i32) -> Kind {
    Kind::Int { min, max, or: min }
}

/// A number in a range, or another one.
const fn range_or(min: i32, max: i32, or: i32) -> Kind {
    Kind::Int { min, max, or }
}

/// An option that sockets have.
#[derive(Debug, PartialEq, Eq)]
pub struct SockOpt {
    /// Its level.
    pub level: u32,
    /// Its number.
    pub name: u32,
    /// What may be done with it.
    pub access: Access,
    /// What its value is.
    pub kind: Kind,
}

/// Defines the numbers of the options and the table.
macro_rules! options {
    ($($symbol:ident = $level:ident $name:literal, $access:ident, $kind:expr;)*) => {
        $(
            #[doc = concat!("`", stringify!($symbol), "`, of [`", stringify!($level), "`].")]
            pub const $symbol: u32 = $name;
        )*

        /// Every option that sockets have, with its name in C; all others are
        /// [`errno::ENOPROTOOPT`].
        pub const TABLE: &[(&str, SockOpt)] = &[$((
            stringify!($symbol),
            SockOpt {
                level: $level,
                name: $symbol,
                access: Access::$access,
                kind: $kind,
            },
        ),)*];
    };
}
use options;

impl SockOpt {
    /// Returns whether the option exists on IPv6 sockets only.
    pub const fn needs_ipv6(&self) -> bool {
        self.level == SOL_IPV6
    }

    /// Returns whether the option exists on streams only.
    pub const fn needs_stream(&self) -> bool {
        matches!(self.level, SOL_TCP | SOL_XS)
    }

    /// Returns whether the backend has a part in the option.
    pub const fn is_carried(&self) -> bool {
        matches!(self.access, Access::Get | Access::Set | Access::Both)
    }

    /// Returns whether the value is a number.
    pub const fn is_number(&self) -> bool {
        matches!(self.kind, Kind::Flag | Kind::Int { .. } | Kind::Judged)
    }

    /// Returns whether a value that was read can have this length: so the frontend checks
    /// [`super::value::Piece::total`].
    pub const fn has_len(&self, total: u32) -> bool {
        match self.kind {
            // CAST: Both are small constants.
            Kind::Flag | Kind::Int { .. } | Kind::Judged => total == INT_LEN as u32,
            Kind::Name => total == NAME_LEN as u32,
            Kind::Struct(max) => total <= max,
            // It is not read.
            Kind::Group => false,
        }
    }

    /// Returns how many bytes of a value that was read a program gets, from the first on, if it
    /// has room for `room`.
    pub fn program_len(&self, value: &[u8], room: usize) -> usize {
        // A byte is enough for a small number, and for these options Linux says so.
        if self.level == SOL_IP && self.is_number() && (1..INT_LEN).contains(&room) {
            if let [_, 0, 0, 0] = *value {
                return 1;
            }
        }
        value.len().min(room)
    }

    /// Returns the value of an option that the backend has no part in, if it was not set.
    pub fn unset(&self, is_ipv6: bool) -> Value {
        match (self.level, self.name, self.kind) {
            (_, _, Kind::Struct(len)) => Value::zeroes(len),
            // A socket of IPv6 is made without that of IPv4.
            (SOL_IP, IP_MULTICAST_ALL, _) => Value::int(i32::from(!is_ipv6)),
            (SOL_IPV6, IPV6_MULTICAST_ALL, _) => Value::int(1),
            _ => Value::int(0),
        }
    }

    /// Returns whether it says nothing of any byte that is sent or received, so that it makes no
    /// difference to a connection when exactly it is set.
    pub fn is_timeless(&self) -> bool {
        match self.level {
            SOL_SOCKET => self.name == SO_KEEPALIVE,
            SOL_TCP => matches!(
                self.name,
                TCP_NODELAY | TCP_KEEPIDLE | TCP_KEEPINTVL | TCP_KEEPCNT
            ),
            _ => false,
        }
    }

    /// Returns whether it matters to nothing but what the program sends after it was set.
    pub fn is_for_sending(&self) -> bool {
        (self.level, self.name) == (SOL_TCP, TCP_NODELAY)
    }

    /// Returns the number that a program has given, by the rules for this option: Linux takes a byte
    /// at the level of IPv4, and for some options nothing for 0.
    fn number(&self, given: &[u8]) -> Option<i32> {
        match (self.level, self.name, given) {
            (SOL_IP, IP_LOCAL_PORT_RANGE, [_, _, _, _, _, ..]) => None,
            (_, _, &[a, b, c, d, ..]) => Some(i32::from_ne_bytes([a, b, c, d])),
            (SOL_IP, IP_LOCAL_PORT_RANGE, _) => None,
            (SOL_IP, _, &[byte, ..]) => Some(i32::from(byte)),
            (
                SOL_IP,
                IP_TTL | IP_MINTTL | IP_FREEBIND | IP_MULTICAST_TTL | IP_MULTICAST_LOOP
                | IP_MULTICAST_ALL | IP_TRANSPARENT,
                [],
            ) => None,
            (SOL_IP, _, []) => Some(0),
            (SOL_IPV6, IPV6_AUTOFLOWLABEL | IPV6_DONTFRAG | IPV6_RECVFRAGSIZE, _) => Some(0),
            _ => None,
        }
    }

    /// Makes the value for the wire of what a program has given.
    fn value(&self, given: &[u8]) -> Result<Value, i32> {
        let value = match (self.kind, self.number(given)) {
            (Kind::Flag, Some(number)) => Value::int(i32::from(number != 0)),
            (Kind::Int { .. } | Kind::Judged, Some(number)) => Value::int(number),
            (Kind::Name, _) if !given.is_empty() => Value::name(given),
            _ => return Err(errno::EINVAL),
        };
        self.check(&value)?;
        Ok(value)
    }

    /// Checks a value as it is on the wire.
    fn check(&self, value: &Value) -> Result<(), i32> {
        let good = match self.kind {
            Kind::Flag => matches!(value.to_int(), Some(0 | 1)),
            Kind::Int { min, max, or } => value
                .to_int()
                .is_some_and(|number| (min..=max).contains(&number) || number == or),
            Kind::Judged => value.to_int().is_some(),
            Kind::Name => return check_name(value.as_bytes()),
            Kind::Struct(_) => false,
            Kind::Group => group(self.level, value.as_bytes()).is_some(),
        };
        if good {
            Ok(())
        } else {
            Err(errno::EINVAL)
        }
    }

    /// Returns whether no program can set the option, to whatever it is, of those that are
    /// [`Access::Fixed`].
    const fn is_never_set(&self) -> bool {
        match self.level {
            SOL_IP => matches!(self.name, IP_HDRINCL | IP_ROUTER_ALERT | IP_NODEFRAG),
            SOL_TCP => matches!(
                self.name,
                TCP_REPAIR | TCP_SAVED_SYN | TCP_ULP | TCP_FASTOPEN_KEY | TCP_IS_MPTCP
            ),
            SOL_IPV6 => matches!(self.name, IPV6_ROUTER_ALERT),
            _ => false,
        }
    }

    /// Checks that a program sets an option that is always 0 or empty to just that.
    fn check_fixed(&self, given: &[u8]) -> Result<(), i32> {
        let is_none = match self.kind {
            // Linux does not let these be set at all.
            _ if self.is_never_set() => false,
            Kind::Struct(_) => given.iter().all(|&byte| byte == 0),
            _ => self.number(given).ok_or(errno::EINVAL)? == 0,
        };
        if is_none {
            Ok(())
        } else {
            Err(refusal(self.level, self.name, given))
        }
    }
}

/// Checks a name with its padding.
///
/// Linux makes the name of a module of it, so it has no odd characters, whatever else keeps a guest
/// from having one loaded. There is nothing of such a name.
fn check_name(bytes: &[u8]) -> Result<(), i32> {
    if bytes.len() != NAME_LEN {
        return Err(errno::EINVAL);
    }
    let len = bytes.iter().position(|&b| b == 0).ok_or(errno::EINVAL)?;
    let (name, padding) = bytes.split_at(len);
    if padding.iter().any(|&b| b != 0) {
        return Err(errno::EINVAL);
    }
    let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    if name.is_empty() || !name.iter().all(plain) {
        return Err(errno::ENOENT);
    }
    Ok(())
}

/// Returns the option, if sockets have it.
fn find(level: u32, name: u32) -> Option<&'static SockOpt> {
    TABLE
        .iter()
        .map(|(_, option)| option)
        .find(|option| option.level == level && option.name == name)
}

/// Returns the option, if programs have it.
fn find_for_program(level: u32, name: u32) -> Option<&'static SockOpt> {
    find(level, name).filter(|option| option.level != SOL_XS)
}

/// Returns the error for setting an option that programs cannot set: what Linux says to an
/// unprivileged program, or that there is none.
fn refusal(level: u32, name: u32, given: &[u8]) -> i32 {
    const TCP_REPAIR_QUEUE: u32 = 20;
    const TCP_REPAIR_WINDOW: u32 = 29;
    const TCP_AO_REPAIR: u32 = 42;
    const IP_XFRM_POLICIES: [u32; 2] = [16, 17];
    const IPV6_XFRM_POLICIES: [u32; 2] = [34, 35];

    match (level, name) {
        // TCP, UDP and the socket itself look at the length before the name.
        (SOL_SOCKET | SOL_TCP | SOL_UDP, _) if given.len() < INT_LEN => errno::EINVAL,
        (
            SOL_TCP,
            TCP_REPAIR | TCP_REPAIR_QUEUE | TCP_TIMESTAMP | TCP_REPAIR_WINDOW | TCP_AO_REPAIR,
        )
        | (SOL_IP, IP_TRANSPARENT)
        | (SOL_IPV6, IPV6_TRANSPARENT) => errno::EPERM,
        (SOL_IP, name) if IP_XFRM_POLICIES.contains(&name) => errno::EPERM,
        (SOL_IPV6, name) if IPV6_XFRM_POLICIES.contains(&name) => errno::EPERM,
        _ => errno::ENOPROTOOPT,
    }
}

/// Frontend: returns what to send when a program sets an option to `given`, of which the first
/// [`GIVEN_LEN`] bytes are enough; or to keep, if the option is not [carried].
///
/// [`errno::ENOPROTOOPT`] or [`errno::EPERM`] if programs cannot set it, [`errno::EINVAL`] for a
/// value that is too short or out of range, [`errno::ENOENT`] for a name that nothing has.
///
/// [carried]: SockOpt::is_carried
pub fn to_set(level: u32, name: u32, given: &[u8]) -> Result<(&'static SockOpt, Value), i32> {
    if let Some(said) = groups::said(level, name, given) {
        let (name, value) = said?;
        return Ok((may_set(level, name, &value)?, value));
    }
    match find_for_program(level, name).filter(|option| option.access != Access::Get) {
        Some(option) if option.access == Access::Fixed => {
            option.check_fixed(given)?;
            Ok((option, option.unset(false)))
        }
        Some(option) => Ok((option, option.value(given)?)),
        None => Err(refusal(level, name, given)),
    }
}

/// Frontend: returns the option that a program sets, of any level but that of the socket itself, if
/// there is one.
pub fn for_setting(level: u32, name: u32) -> Option<&'static SockOpt> {
    find_for_program(level, groups::plain(level, name)).filter(|option| option.level != SOL_SOCKET)
}

/// Frontend: returns the option that a program reads, or [`errno::ENOPROTOOPT`]. Of those of the
/// socket itself the kernel knows what they are set to.
pub fn to_get(level: u32, name: u32) -> Result<&'static SockOpt, i32> {
    find_for_program(level, name)
        .filter(|option| option.level != SOL_SOCKET && !option.is_group())
        .ok_or(errno::ENOPROTOOPT)
}

/// Frontend: returns the option of the socket itself that the backend has a part in.
pub fn of_socket(name: u32) -> Option<&'static SockOpt> {
    find(SOL_SOCKET, name)
}

/// Backend: returns the option if a frontend may set it to `value`; otherwise the error, as
/// [`to_set`] has it.
pub fn may_set(level: u32, name: u32, value: &Value) -> Result<&'static SockOpt, i32> {
    let option = find(level, name)
        .filter(|option| matches!(option.access, Access::Set | Access::Both))
        .ok_or(errno::ENOPROTOOPT)?;

    option.check(value)?;
    Ok(option)
}

/// Backend: returns the option if a frontend may read it, or [`errno::ENOPROTOOPT`].
pub fn may_get(level: u32, name: u32) -> Result<&'static SockOpt, i32> {
    find(level, name)
        .filter(|option| matches!(option.access, Access::Get | Access::Both))
        .ok_or(errno::ENOPROTOOPT)
}
