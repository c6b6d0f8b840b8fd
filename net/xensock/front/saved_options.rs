// SPDX-License-Identifier: GPL-2.0

//! The options that a program has set on a socket: those that the backend has to know, and those
//! that are kept for the program.

use crate::{
    errors::is_shortage,
    proto::{
        option::{
            is_group_of,
            is_kept_group,
            may_set,
            Interface,
            SockOpt,
            SOL_IPV6,
            SOL_SOCKET,
            SO_REUSEADDR,
            SO_REUSEPORT, //
        },
        value::Value,
        Call, //
    }, //
};
use kernel::{
    net::addr::Domain,
    prelude::*,
    sync::Arc, //
};

/// Largest number of groups that a socket joins, of IPv4 and of IPv6 each, whatever the backend
/// allows.
const MAX_GROUPS: usize = 64;

/// An option that was set.
#[derive(Clone, Copy, PartialEq, Eq)]
struct SavedOption {
    level: u32,
    name: u32,
    value: Value,
    interface: Interface,
}

impl SavedOption {
    /// Returns `true` if this is the group that is joined or left with this value of `option`.
    fn is_group_of(&self, option: &SockOpt, value: &Value) -> bool {
        (self.level, self.name) == (option.level, option.kept_as())
            && is_group_of(option, value.as_bytes(), self.value.as_bytes())
    }
}

/// Calls `what` with a value in the format of the kernel's own protocols, where numbers have native
/// byte order.
pub(crate) fn with_bytes<T>(value: &Value, what: impl FnOnce(&[u8]) -> T) -> T {
    match value.to_int() {
        Some(number) => what(&number.to_ne_bytes()),
        None => what(value.as_bytes()),
    }
}

/// Returns the result of setting an option of the backend on a socket of this kernel. Most errors do
/// not count, as this kernel may not have the option; but a shortage does: the program believes that
/// the option is set.
pub(crate) fn unless_unknown(result: Result) -> Result {
    match result {
        Err(error) if is_shortage(error) => result,
        _ => Ok(()),
    }
}

/// The options that were set successfully. A further socket of the backend gets those that concern
/// it.
///
/// Immutable, so that a socket and the sockets accepted from it can share them.
pub(crate) struct SavedOptions(KVec<SavedOption>);

impl SavedOptions {
    /// Returns `true` if a group was joined.
    pub(crate) fn has_groups(&self) -> bool {
        self.0.iter().any(|s| is_kept_group(s.level, s.name))
    }

    /// Returns `true` if a group was joined that is left with this value of `option`.
    pub(crate) fn has_group_of(&self, option: &SockOpt, value: &Value) -> bool {
        option.leaves() && self.0.iter().any(|s| s.is_group_of(option, value))
    }

    /// Returns the `old` options with one option set, or one group joined or left. May sleep. Fails
    /// with `ENOBUFS` if there are too many groups.
    pub(crate) fn with(
        old: Option<&Self>,
        option: &SockOpt,
        value: Value,
        interface: Interface,
    ) -> Result<Arc<Self>> {
        let old = old.map_or(&[][..], |settings| &settings.0);
        let mut settings = KVec::with_capacity(old.len() + 1, GFP_KERNEL)?;
        let setting = SavedOption {
            level: option.level,
            name: option.kept_as(),
            value,
            interface,
        };
        let is_same = |s: &SavedOption| (s.level, s.name) == (setting.level, setting.name);
        let is_replaced = |s: &SavedOption| match option.is_group() {
            true => s.is_group_of(option, &value),
            false => is_same(s),
        };

        // At most one: if several groups match because they are left without an interface, Linux
        // leaves one.
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

    /// Iterates over all options: level, name and the value for a socket of this kernel.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, u32, Value)> + '_ {
        self.0.iter().map(|s| {
            let value = s.interface.restore_in(s.level, s.name, &s.value);
            (s.level, s.name, value)
        })
    }

    /// Returns the value of an option, if it was set.
    pub(crate) fn get(&self, option: &SockOpt) -> Option<Value> {
        self.find(option.level, option.name)
    }

    /// As [`Self::get`], by level and name.
    pub(crate) fn find(&self, level: u32, name: u32) -> Option<Value> {
        let is_it = |s: &&SavedOption| (s.level, s.name) == (level, name);
        self.0.iter().find(is_it).map(|setting| setting.value)
    }

    /// Returns the family of a socket that has all these options.
    pub(crate) fn domain(&self) -> Domain {
        if self.0.iter().any(|s| s.level == SOL_IPV6) {
            Domain::Inet6
        } else {
            Domain::Inet
        }
    }

    /// Returns the requests that set the inherited options of `SOL_SOCKET` on an accepted socket.
    /// The kernel reports these as set on the listening socket; other options are read from the
    /// backend.
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

    /// Returns the requests that set the options on a socket. An IPv4 socket gets no options of
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
