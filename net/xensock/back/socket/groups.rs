// SPDX-License-Identifier: GPL-2.0

//! The groups of multicast that a guest's socket is in.

use super::{
    options::from_number,
    Carried,
    Socket, //
};
use crate::proto::{
    errno,
    option::{
        group,
        SockOpt, //
    },
    value::Value, //
};
use kernel::prelude::*;

impl<P: Carried> Socket<P> {
    /// Joins or leaves a group, if the guest may. Its Linux says on which interface.
    pub(super) fn set_group(&self, option: &SockOpt, value: &Value) -> Result {
        let (level, name) = (i32::try_from(option.level)?, i32::try_from(option.name)?);
        let set = || self.inner.set_option(level, name, value.as_bytes());
        let mut groups = self.groups.lock();
        if option.leaves() {
            // Nor does a guest that may join none take the lock that all network devices share.
            if groups.is_empty() {
                return Err(from_number(errno::EADDRNOTAVAIL));
            }
            set()?;
            // One is like the other.
            drop(groups.pop());
            return Ok(());
        }
        let ip = group(option.level, value.as_bytes()).ok_or(from_number(errno::EINVAL))?;
        self.check(|policy| policy.may_join(ip))?;
        groups.reserve(1, GFP_KERNEL)?;
        let (policy, owner) = (self.in_force.get(), self.tenant.number());
        let charge = self
            .sockets
            .groups
            .take(1, |count| policy.may_have_groups(count, owner))?;
        set()?;
        Ok(groups.push(charge, GFP_KERNEL)?)
    }
}
