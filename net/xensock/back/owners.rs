// SPDX-License-Identifier: GPL-2.0

//! The owners of a guest's sockets in this domain.
//!
//! Each guest has its own users here, so that no two guests share a port, and no guest shares one
//! with a program of this domain. A guest gives each socket an owner, which is any number; all
//! sockets with the same number belong to one user, whatever device of the guest they use. The
//! sockets of each user are counted for each device, so that no user takes all that the guest may
//! have there.

mod guests;
mod users;

use crate::{
    keeper::Keeper,
    sockets::{
        Sockets,
        UserSockets, //
    }, //
};
use guests::GUESTS;
use kernel::{
    net::kernel_socket::Owner,
    prelude::*,
    sync::Arc,
    xen::DomId, //
};
use users::Users;

pub(crate) use guests::Guests;

/// Creates the list of the guests that have a device. May sleep.
pub(crate) fn keep() -> Result<Keeper<Guests>> {
    Ok(Keeper::new(&GUESTS, Guests::new()?))
}

/// The users of a guest, for one of its devices.
pub(crate) struct Owners {
    guest: DomId,
    users: Arc<Users>,
    sockets: Arc<Sockets>,
}

impl Owners {
    /// Returns the users of a guest for a device with these sockets. May sleep.
    pub(crate) fn new(guest: DomId, sockets: Arc<Sockets>) -> Result<Arc<Self>> {
        let owners = Self {
            guest,
            users: GUESTS.get().ok_or(ENODEV)?.join(guest)?,
            sockets,
        };
        // If this fails, dropping the value leaves the guest again.
        Ok(Arc::new(owners, GFP_KERNEL)?)
    }

    /// Returns a new tenant for the user with that number. `EMFILE` if there are too many users.
    pub(crate) fn get(&self, number: u64) -> Result<Arc<Tenant>> {
        let user = self.users.enter(number, &self.sockets)?;
        let tenant = Tenant {
            users: self.users.clone(),
            index: user.index,
            number,
            owner: user.owner,
            user_sockets: user.user_sockets,
        };
        // If this fails, dropping the value leaves the users again.
        Ok(Arc::new(tenant, GFP_KERNEL)?)
    }
}

impl Drop for Owners {
    fn drop(&mut self) {
        self.users.forget(&self.sockets);
        if let Some(guests) = GUESTS.get() {
            guests.leave(self.guest);
        }
    }
}

/// A socket's claim on a user, shared with its entry in the table and with the connections and
/// places that are accepted from it. Dropping sleeps.
pub(crate) struct Tenant {
    users: Arc<Users>,
    index: usize,
    number: u64,
    owner: Arc<Owner>,
    user_sockets: Arc<UserSockets>,
}

impl Tenant {
    /// Returns the number that the guest uses for the user.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Returns the counts of the user's sockets.
    pub(crate) fn user_sockets(&self) -> &UserSockets {
        &self.user_sockets
    }

    /// Returns the owner for sockets.
    pub(crate) fn owner(&self) -> Arc<Owner> {
        self.owner.clone()
    }
}

impl Drop for Tenant {
    fn drop(&mut self) {
        self.users.leave(self.index);
    }
}
