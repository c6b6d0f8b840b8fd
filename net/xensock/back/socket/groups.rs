// SPDX-License-Identifier: GPL-2.0

//! The multicast groups of a guest's socket.

use super::{
    from_number,
    GuestSocket, //
};
use crate::{
    proto::{
        errno,
        option::{
            self,
            group,
            SockOpt, //
        },
        value::Value, //
    }, //
};
use kernel::{
    net::kernel_socket::Udp,
    prelude::*, //
};

impl GuestSocket<Udp> {
    /// Returns the option if it joins or leaves a group. `EPERM` if the guest may not join the
    /// group.
    pub(crate) fn group_option(
        &self,
        level: u32,
        name: u32,
        value: &Value,
    ) -> Result<Option<&'static SockOpt>> {
        let option = option::may_set(level, name, value).map_err(from_number)?;
        self.check_has(option)?;
        if !option.is_group() {
            return Ok(None);
        }
        if !option.leaves() {
            let ip = group(level, value.as_bytes()).ok_or(from_number(errno::EINVAL))?;
            self.check(|policy| policy.may_join(ip))?;
        }
        Ok(Some(option))
    }

    /// Joins or leaves a group, by an option that [`Self::group_option`] has returned. Linux
    /// chooses the interface by the value. Waits for RTNL.
    pub(crate) fn set_group(&self, option: &SockOpt, value: &Value) -> Result {
        let (level, name) = (i32::try_from(option.level)?, i32::try_from(option.name)?);
        let set = || self.inner.set_option(level, name, value.as_bytes());
        let mut groups = self.groups.lock();
        if option.leaves() {
            set()?;
            // All charges are alike.
            drop(groups.pop());
            return Ok(());
        }
        groups.reserve(1, GFP_KERNEL)?;
        let (owner, own) = (self.tenant.number(), &self.tenant.user_sockets().groups);
        let charges = self.sockets.groups.take_for(owner, own, 1, |groups| {
            self.in_force.get().may_have_group(groups)
        })?;
        set()?;
        Ok(groups.push(charges, GFP_KERNEL)?)
    }
}
