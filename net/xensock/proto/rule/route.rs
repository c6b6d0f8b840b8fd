// SPDX-License-Identifier: GPL-2.0

//! Which of its devices a guest reaches an address by, as its administrator writes it.
//!
//! A list is words separated by blanks, [`MAX_RULES`](super::MAX_RULES) at the most:
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
    /// Returns the place of the device among all: that with the lower number comes first.
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

/// What a word of the list stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// All addresses if there is none.
    prefix: Option<Prefix>,
    device: DeviceName,
}

impl Route {
    /// Whether it is about this address, or about what has none.
    fn covers(&self, ip: Option<IpAddr>) -> bool {
        match (self.prefix, ip) {
            (None, _) => true,
            (Some(prefix), Some(ip)) => prefix.has(ip.to_canonical()),
            (Some(_), None) => false,
        }
    }

    /// How many bits of an address it is about; `default` is about fewer than any other.
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

/// Returns what `find` makes of the device for an address, or for what has none: of those for which
/// it finds anything, that of the longest prefix, and of several that of the first word.
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
