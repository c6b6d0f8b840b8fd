// SPDX-License-Identifier: GPL-2.0

//! The options of sockets that are carried to the backend.
//!
//! Both ends go by this one table. The frontend asks it what a program may set and get, and makes
//! the value for the wire ([`to_set`], [`to_get`]); the backend checks again what it is asked
//! ([`may_set`], [`may_get`]). Levels, names and values are those of Linux; numbers are little
//! endian. Errors are positive numbers, those which TCP gives.
//!
//! A program may pass more bytes than an option has, and for some options fewer. On the wire each
//! value has one form, see [`Kind`].

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

/// What may be done with an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It can only be read.
    Get,
    /// It can only be set: the frontend knows itself what it is set to.
    Set,
    /// Both.
    Both,
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
    /// 16 bytes: a name of at most 15 and zeroes.
    Name,
    /// A structure of so many bytes at the most, as the backend's Linux lays it out.
    Struct(u32),
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

/// An option that is carried.
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

        /// Every option that is carried, with its name in C; all others are
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

// Other options of the level SOL_SOCKET, and reading these, are the frontend's own business.
options! {
    SO_REUSEADDR = SOL_SOCKET 2, Set, Kind::Flag;
    SO_BROADCAST = SOL_SOCKET 6, Set, Kind::Flag;
    SO_KEEPALIVE = SOL_SOCKET 9, Set, Kind::Flag;
    SO_REUSEPORT = SOL_SOCKET 15, Set, Kind::Flag;
    IP_TOS = SOL_IP 1, Both, ANY;
    IP_TTL = SOL_IP 2, Both, range_or(1, 255, -1);
    IP_MTU_DISCOVER = SOL_IP 10, Both, range(0, 5);
    IP_MTU = SOL_IP 14, Get, ANY;
    IP_MULTICAST_TTL = SOL_IP 33, Both, range(-1, 255);
    IP_MULTICAST_LOOP = SOL_IP 34, Both, Kind::Flag;
    TCP_NODELAY = SOL_TCP 1, Both, Kind::Flag;
    TCP_MAXSEG = SOL_TCP 2, Both, range_or(88, 32767, 0);
    TCP_CORK = SOL_TCP 3, Both, Kind::Flag;
    TCP_KEEPIDLE = SOL_TCP 4, Both, range(1, 32767);
    TCP_KEEPINTVL = SOL_TCP 5, Both, range(1, 32767);
    TCP_KEEPCNT = SOL_TCP 6, Both, range(1, 127);
    TCP_DEFER_ACCEPT = SOL_TCP 9, Both, ANY;
    TCP_INFO = SOL_TCP 11, Get, Kind::Struct(1024);
    TCP_QUICKACK = SOL_TCP 12, Both, ANY;
    TCP_CONGESTION = SOL_TCP 13, Both, Kind::Name;
    TCP_USER_TIMEOUT = SOL_TCP 18, Both, range(0, i32::MAX);
    TCP_NOTSENT_LOWAT = SOL_TCP 25, Both, ANY;
    IPV6_UNICAST_HOPS = SOL_IPV6 16, Both, range(-1, 255);
    IPV6_MULTICAST_HOPS = SOL_IPV6 18, Both, range(-1, 255);
    IPV6_MULTICAST_LOOP = SOL_IPV6 19, Both, range(0, 1);
    IPV6_MTU_DISCOVER = SOL_IPV6 23, Both, range(0, 5);
    IPV6_MTU = SOL_IPV6 24, Get, ANY;
    IPV6_V6ONLY = SOL_IPV6 26, Both, Kind::Flag;
    IPV6_TCLASS = SOL_IPV6 67, Both, range(-1, 255);
    XS_OUTQ = SOL_XS 1, Get, ANY;
    XS_SNDBUF = SOL_XS 2, Set, range(0, i32::MAX);
    XS_RCVBUF = SOL_XS 3, Set, range(0, i32::MAX);
}

impl SockOpt {
    /// Returns whether the option exists on IPv6 sockets only.
    pub const fn needs_ipv6(&self) -> bool {
        self.level == SOL_IPV6
    }

    /// Returns whether the option exists on streams only.
    pub const fn needs_stream(&self) -> bool {
        matches!(self.level, SOL_TCP | SOL_XS)
    }

    /// Returns whether a value that was read can have this length: so the frontend checks
    /// [`super::value::Piece::total`].
    pub const fn has_len(&self, total: u32) -> bool {
        match self.kind {
            // CAST: Both are small constants.
            Kind::Flag | Kind::Int { .. } => total == INT_LEN as u32,
            Kind::Name => total == NAME_LEN as u32,
            Kind::Struct(max) => total <= max,
        }
    }

    /// Returns how many bytes of a value that was read a program gets, from the first on, if it
    /// has room for `room`.
    pub fn program_len(&self, value: &[u8], room: usize) -> usize {
        // A byte is enough for a small number, and for these options Linux says so.
        if self.level == SOL_IP && (1..INT_LEN).contains(&room) {
            if let [_, 0, 0, 0] = *value {
                return 1;
            }
        }
        value.len().min(room)
    }

    /// Makes the value for the wire of what a program has given.
    fn value(&self, given: &[u8]) -> Result<Value, i32> {
        let number = match *given {
            [a, b, c, d, ..] => Some(i32::from_ne_bytes([a, b, c, d])),
            // Here Linux takes a byte too, and for IP_TOS nothing as 0.
            [byte, ..] if self.level == SOL_IP => Some(i32::from(byte)),
            [] if self.level == SOL_IP && self.name == IP_TOS => Some(0),
            _ => None,
        };
        let value = match (self.kind, number) {
            (Kind::Flag, Some(number)) => Value::int(i32::from(number != 0)),
            (Kind::Int { .. }, Some(number)) => Value::int(number),
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
            Kind::Name => return check_name(value.as_bytes()),
            Kind::Struct(_) => false,
        };
        if good {
            Ok(())
        } else {
            Err(errno::EINVAL)
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

/// Returns the option, if it is carried.
fn find(level: u32, name: u32) -> Option<&'static SockOpt> {
    TABLE
        .iter()
        .map(|(_, option)| option)
        .find(|option| option.level == level && option.name == name)
}

/// Returns the option, if it is carried for programs.
fn find_for_program(level: u32, name: u32) -> Option<&'static SockOpt> {
    find(level, name).filter(|option| option.level != SOL_XS)
}

/// Frontend: returns what to send when a program sets an option to `given`, of which the first
/// [`super::value::MAX_LEN`] bytes are enough.
///
/// [`errno::ENOPROTOOPT`] if programs cannot set it, [`errno::EINVAL`] for a value that is too
/// short or out of range, [`errno::ENOENT`] for a name that nothing has.
pub fn to_set(level: u32, name: u32, given: &[u8]) -> Result<(&'static SockOpt, Value), i32> {
    match find_for_program(level, name).filter(|option| option.access != Access::Get) {
        Some(option) => Ok((option, option.value(given)?)),
        // TCP and the socket itself look at the length before the name.
        None if matches!(level, SOL_SOCKET | SOL_TCP) && given.len() < INT_LEN => {
            Err(errno::EINVAL)
        }
        None => Err(errno::ENOPROTOOPT),
    }
}

/// Frontend: returns the option to ask for when a program reads it, or [`errno::ENOPROTOOPT`].
pub fn to_get(level: u32, name: u32) -> Result<&'static SockOpt, i32> {
    find_for_program(level, name)
        .filter(|option| option.access != Access::Set)
        .ok_or(errno::ENOPROTOOPT)
}

/// Backend: returns the option if a frontend may set it to `value`; otherwise the error, as
/// [`to_set`] has it.
pub fn may_set(level: u32, name: u32, value: &Value) -> Result<&'static SockOpt, i32> {
    let option = find(level, name)
        .filter(|option| option.access != Access::Get)
        .ok_or(errno::ENOPROTOOPT)?;

    option.check(value)?;
    Ok(option)
}

/// Backend: returns the option if a frontend may read it, or [`errno::ENOPROTOOPT`].
pub fn may_get(level: u32, name: u32) -> Result<&'static SockOpt, i32> {
    find(level, name)
        .filter(|option| option.access != Access::Set)
        .ok_or(errno::ENOPROTOOPT)
}
