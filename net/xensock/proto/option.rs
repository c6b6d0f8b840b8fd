// SPDX-License-Identifier: GPL-2.0

//! The options of sockets: those that are carried to the backend, and those that the frontend
//! keeps.
//!
//! Both ends use this one [`TABLE`]. The frontend looks up what a program may set and get, and
//! makes the value for the wire ([`to_set`], [`to_get`]). The backend checks each request again
//! ([`may_set`], [`may_get`]). Levels, names and values are those of Linux; numbers are little
//! endian. Errors are positive numbers, the same that TCP gives.
//!
//! A program may pass more bytes than an option has, and for some options fewer. On the wire each
//! value has one form, see [`Kind`].

mod datagram;
mod groups;
mod kind;
mod packet;
mod table;

pub use groups::{
    group,
    is_group_of,
    is_kept_group,
    Interface, //
};
pub use kind::Kind;
pub use table::*;

use super::{
    errno,
    level,
    value::{
        Value,
        INT_LEN, //
    }, //
};
use kind::{
    range,
    range_or,
    ANY, //
};

// CAST: Small constants.
/// [`level::SOL_SOCKET`] on the wire.
pub const SOL_SOCKET: u32 = level::SOL_SOCKET as u32;
/// [`level::SOL_IP`] on the wire.
pub const SOL_IP: u32 = level::SOL_IP as u32;
/// [`level::SOL_TCP`] on the wire.
pub const SOL_TCP: u32 = level::SOL_TCP as u32;
/// [`level::SOL_UDP`] on the wire.
pub const SOL_UDP: u32 = level::SOL_UDP as u32;
/// [`level::SOL_IPV6`] on the wire.
pub const SOL_IPV6: u32 = level::SOL_IPV6 as u32;
/// Level of the protocol itself, for frontends and not for programs. [`XS_OUTQ`] is the number of
/// bytes that the backend has taken from `out` and the peer has not acknowledged. [`XS_SNDBUF`] and
/// [`XS_RCVBUF`] are the sizes that a program has set for its buffers.
pub const SOL_XS: u32 = 0x5853;

/// Offset in [`TCP_INFO`] of a listening socket: the number of waiting connections
/// (`tcpi_unacked`).
pub const INFO_WAITING: usize = 24;
/// Offset there of the number of connections that may wait (`tcpi_sacked`).
pub const INFO_BACKLOG: usize = 28;

/// Changes a number in the value of [`TCP_INFO`], if the value is long enough.
pub fn change_info(value: &mut [u8], offset: usize, change: impl FnOnce(u32) -> u32) {
    if let Some(number) = value.get_mut(offset..).and_then(|v| v.first_chunk_mut()) {
        *number = change(u32::from_le_bytes(*number)).to_le_bytes();
    }
}

/// Maximum number of bytes that matter of the value that a program passes.
pub const GIVEN_LEN: usize = 136;

/// The permitted operations on an option, and the end that keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Can be read from the backend.
    Get,
    /// Can be set at the backend. The frontend itself knows the present value.
    Set,
    /// Can be read from the backend and set there.
    Both,
    /// Kept by the frontend alone; can be set and read. Initially 0, but see [`SockOpt::unset`].
    Own,
    /// Can be read, and is always 0 or empty: XenSock has no such thing.
    Fixed,
}

/// An option of sockets.
#[derive(Debug, PartialEq, Eq)]
pub struct SockOpt {
    /// Level of the option.
    pub level: u32,
    /// Number of the option.
    pub name: u32,
    /// The permitted operations.
    pub access: Access,
    /// The type of the value.
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
    /// Returns `true` if the option exists on IPv6 sockets only.
    pub const fn needs_ipv6(&self) -> bool {
        self.level == SOL_IPV6
    }

    /// Returns `true` if the option exists on streams only.
    ///
    /// A datagram leaves the socket when it is sent. With a low rate it would wait in a queue of the
    /// interface, with those of others, where nobody counts it for the guest.
    pub const fn needs_stream(&self) -> bool {
        matches!(
            (self.level, self.name),
            (SOL_TCP | SOL_XS, _) | (SOL_SOCKET, SO_MAX_PACING_RATE)
        )
    }

    /// Returns `true` if the option is carried to the backend.
    pub const fn is_carried(&self) -> bool {
        matches!(self.access, Access::Get | Access::Set | Access::Both)
    }

    /// Returns the number of bytes of a value, from the first one on, that a program with `room`
    /// bytes gets.
    pub fn program_len(&self, value: &[u8], room: usize) -> usize {
        // Linux returns a small number of these options in one byte.
        if self.level == SOL_IP && self.is_number() && (1..INT_LEN).contains(&room) {
            if let [_, 0, 0, 0] = *value {
                return 1;
            }
        }
        value.len().min(room)
    }

    /// Returns the value of an option that the frontend keeps, if it was not set.
    pub fn unset(&self, is_ipv6: bool) -> Value {
        match (self.level, self.name, self.kind) {
            (_, _, Kind::Struct(len)) => Value::zeroes(len),
            // A new IPv6 socket does not have the IPv4 option set.
            (SOL_IP, IP_MULTICAST_ALL, _) => Value::int(i32::from(!is_ipv6)),
            (SOL_IPV6, IPV6_MULTICAST_ALL, _) => Value::int(1),
            _ => Value::int(0),
        }
    }

    /// Returns `true` if the option does not affect any byte that is sent or received, so that the
    /// time when it is set makes no difference to a connection.
    pub fn is_order_independent(&self) -> bool {
        match self.level {
            SOL_SOCKET => self.name == SO_KEEPALIVE,
            SOL_TCP => matches!(
                self.name,
                TCP_NODELAY | TCP_KEEPIDLE | TCP_KEEPINTVL | TCP_KEEPCNT
            ),
            _ => false,
        }
    }

    /// Returns `true` if the option affects only the bytes that the program sends later.
    pub fn is_for_sending(&self) -> bool {
        (self.level, self.name) == (SOL_TCP, TCP_NODELAY)
    }

    /// Returns `true` if a program cannot set the option to any value. For options that are
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

    /// Checks that a program sets an option that is always 0 or empty to that value.
    fn check_fixed(&self, given: &[u8]) -> Result<(), i32> {
        let is_none = match self.kind {
            // Linux does not let a program set these at all.
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

/// Returns the option, if sockets have it.
fn find(level: u32, name: u32) -> Option<&'static SockOpt> {
    TABLE
        .iter()
        .map(|(_, option)| option)
        .find(|option| option.level == level && option.name == name)
}

/// Returns the option, if programs can use it.
fn find_for_program(level: u32, name: u32) -> Option<&'static SockOpt> {
    find(level, name).filter(|option| option.level != SOL_XS)
}

/// Returns the error for setting an option that programs cannot set: that of Linux for an
/// unprivileged program, or `ENOPROTOOPT`.
fn refusal(level: u32, name: u32, given: &[u8]) -> i32 {
    const TCP_REPAIR_QUEUE: u32 = 20;
    const TCP_REPAIR_WINDOW: u32 = 29;
    const TCP_AO_REPAIR: u32 = 42;
    const IP_XFRM_POLICIES: [u32; 2] = [16, 17];
    const IPV6_XFRM_POLICIES: [u32; 2] = [34, 35];

    match (level, name) {
        (SOL_TCP, TCP_ULP) if !given.is_empty() => errno::ENOENT,
        // TCP, UDP and the socket itself check the length before the name.
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

/// Frontend: returns the value to send when a program sets an option to `given`, of which the first
/// [`GIVEN_LEN`] bytes are enough. If the option is not [carried], the frontend keeps the value.
///
/// [`errno::ENOPROTOOPT`] or [`errno::EPERM`] if programs cannot set the option, [`errno::EINVAL`]
/// for a value that is too short or out of range, [`errno::ENOENT`] for an unknown name.
///
/// [carried]: SockOpt::is_carried
pub fn to_set(level: u32, name: u32, given: &[u8]) -> Result<(&'static SockOpt, Value), i32> {
    if let Some(encoded) = groups::encode(level, name, given) {
        let (name, value) = encoded?;
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

/// Frontend: returns the option that a program sets, if there is one. Options of the socket level
/// are not included.
pub fn for_setting(level: u32, name: u32) -> Option<&'static SockOpt> {
    find_for_program(level, groups::carried_name(level, name))
        .filter(|option| option.level != SOL_SOCKET)
}

/// Frontend: returns the option that a program reads, or [`errno::ENOPROTOOPT`]. The kernel itself
/// answers for options of the socket level.
pub fn to_get(level: u32, name: u32) -> Result<&'static SockOpt, i32> {
    find_for_program(level, name)
        .filter(|option| option.level != SOL_SOCKET && !option.is_group())
        .ok_or(errno::ENOPROTOOPT)
}

/// Frontend: returns the option of the socket level, if it is carried to the backend.
pub fn of_socket(name: u32) -> Option<&'static SockOpt> {
    find(SOL_SOCKET, name)
}

/// Backend: returns the option if a frontend may set it to `value`; otherwise the error of
/// [`to_set`].
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
