// SPDX-License-Identifier: GPL-2.0

//! The options that a program has set on a socket: those that the backend has to know, and those
//! that are kept for the program.

use crate::proto::{
    option::{
        is_group_of,
        is_kept_group,
        may_set,
        SockOpt,
        SOL_IPV6,
        SOL_SOCKET,
        SO_REUSEADDR,
        SO_REUSEPORT, //
    },
    value::Value,
    Call, //
};
use kernel::{
    net::addr::Domain,
    prelude::*,
    sync::Arc, //
};

/// Most groups of IPv4, and of IPv6, that a socket joins, whatever the backend allows.
const MAX_GROUPS: usize = 64;

/// An option that was set.
#[derive(Clone, Copy, PartialEq, Eq)]
struct SavedOption {
    level: u32,
    name: u32,
    value: Value,
}

/// Gives a value as the kernel's own protocols take it: numbers are not little-endian there.
pub(crate) fn with_bytes<T>(value: &Value, what: impl FnOnce(&[u8]) -> T) -> T {
    match value.to_int() {
        Some(number) => what(&number.to_ne_bytes()),
        None => what(value.as_bytes()),
    }
}

/// The options that were set with success. A further socket of the backend has to get those that
/// concern it.
///
/// They do not change, so that a socket and those that were accepted from it share them.
pub(crate) struct SavedOptions(KVec<SavedOption>);

impl SavedOptions {
    /// Returns whether there is a group that was joined.
    pub(crate) fn has_groups(&self) -> bool {
        self.0.iter().any(|s| is_kept_group(s.level, s.name))
    }

    /// Returns the `old` ones, with an option set anew, or a group joined or left. May sleep.
    /// `ENOBUFS` if these are too many groups.
    pub(crate) fn with(old: Option<&Self>, option: &SockOpt, value: Value) -> Result<Arc<Self>> {
        let old = old.map_or(&[][..], |settings| &settings.0);
        let mut settings = KVec::with_capacity(old.len() + 1, GFP_KERNEL)?;
        let setting = SavedOption {
            level: option.level,
            name: option.kept_as(),
            value,
        };
        let is_same = |s: &SavedOption| (s.level, s.name) == (setting.level, setting.name);
        let is_replaced = |s: &SavedOption| {
            is_same(s)
                && match option.is_group() {
                    true => is_group_of(option, setting.value.as_bytes(), s.value.as_bytes()),
                    false => true,
                }
        };

        // One at the most: of several that are left without their interface, Linux leaves one.
        let replaced = old.iter().position(is_replaced);
        for (i, other) in old.iter().enumerate() {
            if Some(i) != replaced {
                settings.push(*other, GFP_KERNEL)?;
            }
        }
        if !option.leaves() {
            if option.is_group() && settings.iter().filter(|s| is_same(s)).count() >= MAX_GROUPS {
                return Err(ENOBUFS);
            }
            settings.push(setting, GFP_KERNEL)?;
        }
        Ok(Arc::new(Self(settings), GFP_KERNEL)?)
    }

    /// All of them: level, name and value.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, u32, &Value)> {
        self.0.iter().map(|s| (s.level, s.name, &s.value))
    }

    /// Returns what an option was set to.
    pub(crate) fn get(&self, option: &SockOpt) -> Option<Value> {
        self.find(option.level, option.name)
    }

    /// The same, by the numbers of the option.
    pub(crate) fn find(&self, level: u32, name: u32) -> Option<Value> {
        let is_it = |s: &&SavedOption| (s.level, s.name) == (level, name);
        self.0.iter().find(is_it).map(|setting| setting.value)
    }

    /// Returns the kind of socket that has all these options.
    pub(crate) fn domain(&self) -> Domain {
        if self.0.iter().any(|s| s.level == SOL_IPV6) {
            Domain::Inet6
        } else {
            Domain::Inet
        }
    }

    /// Returns the requests that give an accepted socket the options of `SOL_SOCKET` that it
    /// inherits: the kernel shows them by what the listening socket has, and other options as the
    /// backend has them.
    pub(crate) fn calls_for_accepted(&self, id: u64) -> impl Iterator<Item = Call> + '_ {
        self.calls(id, Domain::Inet).filter(|call| {
            matches!(
                call,
                Call::SetSockOpt {
                    level: SOL_SOCKET,
                    name,
                    ..
                } if !matches!(*name, SO_REUSEADDR | SO_REUSEPORT)
            )
        })
    }

    /// Returns the requests that give the options to a socket. One of IPv4 has no use for those of
    /// IPv6.
    pub(crate) fn calls(&self, id: u64, domain: Domain) -> impl Iterator<Item = Call> + '_ {
        self.0
            .iter()
            .filter(move |s| domain == Domain::Inet6 || s.level != SOL_IPV6)
            .filter(|s| may_set(s.level, s.name, &s.value).is_ok())
            .map(move |s| Call::SetSockOpt {
                id,
                level: s.level,
                name: s.name,
                value: s.value,
            })
    }
}
