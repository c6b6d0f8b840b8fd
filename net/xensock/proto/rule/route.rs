// SPDX-License-Identifier: GPL-2.0

//! Rules that choose the device for an address, as the guest's administrator writes them.
//!
//! A list consists of words separated by blanks, [`MAX_RULES`](super::MAX_RULES) at most:
//!
//! ```text
//! ADDRESS[/LENGTH]=DEVICE     10.0.0.0/8=xensock-1     [2001:db8::/32]=pvcalls-2
//! default=DEVICE              default=pvcalls-0
//! ```
//!
//! Addresses are written as in other rules. A device has the name that the kernel gives it.

use super::super::Dialect;
use super::{
    number,
    Prefix,
    Unreadable, //
};
use core::{
    cmp::Reverse,
    net::IpAddr,
    str::FromStr, //
};

/// The name of a device in the guest: its type, and its number among those of the type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceName {
    kind: Dialect,
    number: u32,
}

impl DeviceName {
    /// Returns the rank of the device among all devices: a lower number comes first.
    pub fn rank(self) -> (u32, bool) {
        (self.number, self.kind == Dialect::PvCalls)
    }
}

impl FromStr for DeviceName {
    type Err = Unreadable;

    fn from_str(text: &str) -> Result<Self, Unreadable> {
        let (kind, digits) = text.split_once('-').ok_or(Unreadable)?;
        let kind = Dialect::ALL
            .into_iter()
            .find(|dialect| dialect.device_name().to_bytes() == kind.as_bytes())
            .ok_or(Unreadable)?;
        let number = number(digits.as_bytes())?;
        Ok(Self { kind, number })
    }
}

/// A word of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// `None` for all addresses.
    prefix: Option<Prefix>,
    device: DeviceName,
}

impl Route {
    /// Returns `true` if the route covers this address, or a socket without an address.
    fn covers(&self, ip: Option<IpAddr>) -> bool {
        match (self.prefix, ip) {
            (None, _) => true,
            (Some(prefix), Some(ip)) => prefix.has(ip.to_canonical()),
            (Some(_), None) => false,
        }
    }

    /// Returns the length of the prefix. That of `default` is less than any other.
    fn bits(&self) -> Option<u32> {
        self.prefix.map(Prefix::len)
    }
}

impl FromStr for Route {
    type Err = Unreadable;

    fn from_str(word: &str) -> Result<Self, Unreadable> {
        let (prefix, device) = word.split_once('=').ok_or(Unreadable)?;
        let prefix = match prefix {
            "default" => None,
            _ => Some(match prefix.strip_prefix('[') {
                Some(rest) => {
                    let prefix = rest.strip_suffix(']').ok_or(Unreadable)?;
                    Prefix::parse(prefix, 128, Prefix::v6)?
                }
                None => Prefix::parse(prefix, 32, Prefix::v4)?,
            }),
        };
        let device = device.parse()?;
        Ok(Self { prefix, device })
    }
}

/// Returns the result of `find` for the device for an address, or for a socket without an address.
/// Of the routes for which `find` has a result, the one with the longest prefix counts, and of
/// several such routes the first one.
pub fn route<T>(
    routes: &[Route],
    ip: Option<IpAddr>,
    find: impl Fn(DeviceName) -> Option<T>,
) -> Option<T> {
    routes
        .iter()
        .enumerate()
        .filter(|(_, route)| route.covers(ip))
        .filter_map(|(index, route)| Some(((route.bits(), Reverse(index)), find(route.device)?)))
        .max_by_key(|(rank, _)| *rank)
        .map(|(_, found)| found)
}
