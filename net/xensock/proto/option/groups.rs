// SPDX-License-Identifier: GPL-2.0

//! Multicast groups: the options by which programs join and leave them.
//!
//! On the wire a group has the form of `struct ip_mreq` or `struct ipv6_mreq`. It names no
//! interface, except as the scope of an IPv6 address that is valid on one link only. All other
//! interfaces are those of the backend, whose routes choose among them.

use core::net::{
    IpAddr,
    Ipv4Addr,
    Ipv6Addr, //
};

use super::{
    super::{
        addr::{
            AF_INET,
            AF_INET6, //
        },
        control::is_link_local,
        errno,
        value::Value, //
    },
    table::*,
    Kind,
    SockOpt,
    SOL_IP,
    SOL_IPV6, //
};

/// These do the same as `IP_ADD_MEMBERSHIP` and `IP_DROP_MEMBERSHIP` and their IPv6 counterparts,
/// with an address of any family.
const MCAST_JOIN_GROUP: u32 = 42;
const MCAST_LEAVE_GROUP: u32 = 45;

/// Size of a `struct group_req` and the offset of its address, for 64-bit and 32-bit programs.
const GROUP_REQ: (usize, usize) = (136, 8);
const COMPAT_GROUP_REQ: (usize, usize) = (132, 4);

impl SockOpt {
    /// Returns `true` if the option joins or leaves a group.
    pub const fn is_group(&self) -> bool {
        matches!(self.kind, Kind::Group)
    }

    /// Returns `true` if the option leaves a group.
    pub const fn leaves(&self) -> bool {
        matches!(
            (self.level, self.name),
            (SOL_IP, IP_DROP_MEMBERSHIP) | (SOL_IPV6, IPV6_DROP_MEMBERSHIP)
        )
    }

    /// Returns the name under which the option is kept: for an option that leaves a group, the
    /// option that joins it; for any other, its own name.
    pub const fn kept_as(&self) -> u32 {
        match (self.level, self.name) {
            (SOL_IP, IP_DROP_MEMBERSHIP) => IP_ADD_MEMBERSHIP,
            (SOL_IPV6, IPV6_DROP_MEMBERSHIP) => IPV6_ADD_MEMBERSHIP,
            (_, name) => name,
        }
    }
}

/// Returns `true` if this is the [`SockOpt::kept_as`] name of an option that joins a group.
pub const fn is_kept_group(level: u32, name: u32) -> bool {
    matches!(
        (level, name),
        (SOL_IP, IP_ADD_MEMBERSHIP) | (SOL_IPV6, IPV6_ADD_MEMBERSHIP)
    )
}

/// Returns `true` if a value of `option` concerns the group that the value `joined` has joined. The
/// values must be equal; a value to leave a group may also omit the interface.
pub fn is_group_of(option: &SockOpt, value: &[u8], joined: &[u8]) -> bool {
    let names_interface = !value.ends_with(&[0; 4]);
    let has_its_address = || group(option.level, value) == group(option.level, joined);
    value == joined || (option.leaves() && !names_interface && has_its_address())
}

/// Returns the group that a value names, at a level; [`None`] if it is not a multicast group.
pub fn group(level: u32, value: &[u8]) -> Option<IpAddr> {
    let group = match (level, value) {
        (SOL_IP, &[a, b, c, d, 0, 0, 0, 0]) => IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
        (SOL_IPV6, _) => {
            let (octets, scope) = value.split_first_chunk::<16>()?;
            let (ip, scope): (_, [u8; 4]) = (Ipv6Addr::from(*octets), scope.try_into().ok()?);
            if scope != [0; 4] && !is_link_local(&ip) {
                return None;
            }
            IpAddr::V6(ip)
        }
        _ => return None,
    };
    group.is_multicast().then_some(group)
}

/// Frontend: returns the name and value to send for an option that a program sets at a level.
/// [`None`] if the option does not concern a group. The interface is left out, see above.
pub(super) fn encode(level: u32, name: u32, given: &[u8]) -> Option<Result<(u32, Value), i32>> {
    let value = match (level, name) {
        (SOL_IP, IP_ADD_MEMBERSHIP | IP_DROP_MEMBERSHIP) => {
            given.first_chunk::<8>().and_then(|mreq| v4(mreq))
        }
        (SOL_IPV6, IPV6_ADD_MEMBERSHIP | IPV6_DROP_MEMBERSHIP) => {
            given.first_chunk::<20>().and_then(|mreq| {
                let (address, interface) = mreq.split_first_chunk()?;
                v6(address, interface.try_into().ok()?)
            })
        }
        (SOL_IP | SOL_IPV6, MCAST_JOIN_GROUP | MCAST_LEAVE_GROUP) => group_req(level, given),
        _ => return None,
    };
    let name = carried_name(level, name);
    Some(value.map(|value| (name, value)).ok_or(errno::EINVAL))
}

/// The interface that a program names with a group: by an address of its own or by a number, both
/// in the form of `struct ip_mreqn`. The backend does not hear of it, but the guest's own UDP does if
/// the socket falls back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    address: [u8; 4],
    index: [u8; 4],
}

impl Interface {
    /// Returns the interface in the value that a program gives for an option, if the option concerns
    /// a group and names one.
    pub fn of(level: u32, name: u32, given: &[u8]) -> Self {
        let word = |at: usize| {
            let bytes = given.get(at..).and_then(|rest| rest.first_chunk());
            bytes.copied().unwrap_or_default()
        };
        match (level, name) {
            (SOL_IP, IP_ADD_MEMBERSHIP | IP_DROP_MEMBERSHIP) => Self {
                address: word(4),
                index: word(8),
            },
            (SOL_IPV6, IPV6_ADD_MEMBERSHIP | IPV6_DROP_MEMBERSHIP) => Self {
                index: word(16),
                ..Self::default()
            },
            (SOL_IP | SOL_IPV6, MCAST_JOIN_GROUP | MCAST_LEAVE_GROUP) => Self {
                index: word(0),
                ..Self::default()
            },
            _ => Self::default(),
        }
    }

    /// Returns the value by which the guest's own UDP joins the group that `value` names, at this
    /// interface. Any other value stays.
    pub fn restore_in(&self, level: u32, name: u32, value: &Value) -> Value {
        let mut bytes = [0; 20];
        let restored = match (level, value.as_bytes()) {
            (SOL_IP, &[a, b, c, d, ..]) if is_kept_group(level, name) => {
                bytes[..4].copy_from_slice(&[a, b, c, d]);
                bytes[4..8].copy_from_slice(&self.address);
                bytes[8..12].copy_from_slice(&self.index);
                Value::of(&bytes[..12])
            }
            (SOL_IPV6, group) if is_kept_group(level, name) && group.len() == bytes.len() => {
                bytes.copy_from_slice(group);
                bytes[16..].copy_from_slice(&self.index);
                Value::of(&bytes)
            }
            _ => None,
        };
        restored.unwrap_or(*value)
    }
}

/// Returns the name of the carried option that stands for an option of programs, at a level.
pub(super) const fn carried_name(level: u32, name: u32) -> u32 {
    match (level, name) {
        (SOL_IP, MCAST_JOIN_GROUP) => IP_ADD_MEMBERSHIP,
        (SOL_IP, MCAST_LEAVE_GROUP) => IP_DROP_MEMBERSHIP,
        (SOL_IPV6, MCAST_JOIN_GROUP) => IPV6_ADD_MEMBERSHIP,
        (SOL_IPV6, MCAST_LEAVE_GROUP) => IPV6_DROP_MEMBERSHIP,
        (_, name) => name,
    }
}

/// Makes the value of an IPv4 group, with whose address `given` begins.
fn v4(given: &[u8]) -> Option<Value> {
    let &[a, b, c, d] = given.first_chunk()?;
    Value::of(&[a, b, c, d, 0, 0, 0, 0])
}

/// Makes the value of an IPv6 group.
fn v6(address: &[u8; 16], interface: [u8; 4]) -> Option<Value> {
    let scope = match is_link_local(&Ipv6Addr::from(*address)) {
        true => u32::from_ne_bytes(interface),
        false => 0,
    };
    let mut mreq = [0; 20];
    mreq[..16].copy_from_slice(address);
    mreq[16..].copy_from_slice(&scope.to_le_bytes());
    Value::of(&mreq)
}

/// Makes the value of the group in a `struct group_req`, whose address must have the family of the
/// level.
fn group_req(level: u32, given: &[u8]) -> Option<Value> {
    let (_, start) = match given.len() {
        len if len >= GROUP_REQ.0 => GROUP_REQ,
        len if len == COMPAT_GROUP_REQ.0 => COMPAT_GROUP_REQ,
        _ => return None,
    };
    let (interface, group) = (given.first_chunk()?, given.get(start..)?);
    let (family, rest) = group.split_first_chunk()?;
    match (level, u16::from_ne_bytes(*family)) {
        // After the port.
        (SOL_IP, AF_INET) => v4(rest.get(2..)?),
        // After the port and the flow label.
        (SOL_IPV6, AF_INET6) => v6(rest.get(6..)?.first_chunk()?, *interface),
        _ => None,
    }
}
