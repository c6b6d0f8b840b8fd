// SPDX-License-Identifier: GPL-2.0

//! The kinds of options' values: what a program may give, and what goes over the wire.

use super::{
    super::{
        errno,
        value::{
            Value,
            INT_LEN,
            NAME_LEN, //
        }, //
    },
    group,
    table::*,
    SockOpt,
    SOL_IP,
    SOL_IPV6, //
};

/// The type of an option's value, and its form on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A number that is 0 or 1. Any other number from a program counts as 1.
    Flag,
    /// A signed number.
    Int {
        /// The smallest number that can be set.
        min: i32,
        /// The largest number that can be set.
        max: i32,
        /// One more number that can be set; `min` if there is none.
        or: i32,
    },
    /// A signed number that only the backend's Linux can check.
    AnyInt,
    /// A name of at most 15 bytes, padded with zeroes to 16.
    Name,
    /// A structure of at most so many bytes, in the layout of the backend's Linux.
    Struct(u32),
    /// A multicast group, see [`group`].
    Group,
}

/// Any number.
pub(super) const ANY: Kind = range(i32::MIN, i32::MAX);

/// A number in a range.
pub(super) const fn range(min: i32, max: i32) -> Kind {
    Kind::Int { min, max, or: min }
}

/// A number in a range, or another one.
pub(super) const fn range_or(min: i32, max: i32, or: i32) -> Kind {
    Kind::Int { min, max, or }
}

impl SockOpt {
    /// Returns `true` if the value is a number.
    pub const fn is_number(&self) -> bool {
        matches!(self.kind, Kind::Flag | Kind::Int { .. } | Kind::AnyInt)
    }

    /// Returns `true` if a value that was read can have this length. The frontend checks
    /// [`super::value::Piece::total`] by it.
    pub const fn has_len(&self, total: u32) -> bool {
        match self.kind {
            // CAST: Both are small constants.
            Kind::Flag | Kind::Int { .. } | Kind::AnyInt => total == INT_LEN as u32,
            Kind::Name => total == NAME_LEN as u32,
            Kind::Struct(max) => total <= max,
            // Groups are not read.
            Kind::Group => false,
        }
    }

    /// Returns the number that a program has given, by the rules for this option: Linux accepts one
    /// byte at the level of IPv4, and for some options an empty value as 0.
    pub(super) fn number(&self, given: &[u8]) -> Option<i32> {
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

    /// Makes the value for the wire from the bytes that a program has given.
    pub(super) fn value(&self, given: &[u8]) -> Result<Value, i32> {
        let value = match (self.kind, self.number(given)) {
            (Kind::Flag, Some(number)) => Value::int(i32::from(number != 0)),
            (Kind::Int { .. } | Kind::AnyInt, Some(number)) => Value::int(number),
            (Kind::Name, _) if !given.is_empty() => Value::name(given),
            _ => return Err(errno::EINVAL),
        };
        self.check(&value)?;
        Ok(value)
    }

    /// Checks a value from the wire.
    pub(super) fn check(&self, value: &Value) -> Result<(), i32> {
        let good = match self.kind {
            Kind::Flag => matches!(value.to_int(), Some(0 | 1)),
            Kind::Int { min, max, or } => value
                .to_int()
                .is_some_and(|number| (min..=max).contains(&number) || number == or),
            Kind::AnyInt => value.to_int().is_some(),
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
}

/// Checks a name with its padding.
///
/// Linux makes a module name of it, so odd characters are refused here, whatever else keeps a guest
/// from loading modules. No algorithm has such a name.
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
