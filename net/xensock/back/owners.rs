// SPDX-License-Identifier: GPL-2.0

//! The owners of a guest's sockets in this domain.
//!
//! Each guest has its own users here, so that no two guests share a port, and no guest shares one
//! with a program of this domain. A guest gives each socket an owner, which is any number; all
//! sockets with the same number belong to one user. The sockets of each user are counted, so that
//! no user takes all that the guest may have.

use crate::sockets::{
    Sockets,
    UserSockets, //
};
use kernel::{
    net::kernel_socket::Owner,
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
    xen::DomId, //
};

/// The owner of the sockets of domain 0. Those of other domains follow.
///
/// Linux distributions leave these user ids alone.
const FIRST_USER: u32 = 0x7853_0000;

/// The distance between two users of a guest: the number of domain ids.
const APART: u32 = 1 << 16;

/// Maximum number of users of a guest at a time.
const MAX_USERS: usize = 1024;

/// A user of a guest.
struct User {
    number: u64,
    owner: Arc<Owner>,
    /// The counts of the user's sockets.
    user_sockets: Arc<UserSockets>,
    /// Number of [`Tenant`]s of this user.
    tenants: usize,
}

/// The users of a guest.
#[pin_data]
pub(crate) struct Owners {
    first: u32,
    sockets: Arc<Sockets>,
    /// The first user always exists and has the number 0.
    #[pin]
    users: Mutex<KVec<User>>,
}

impl Owners {
    pub(crate) fn new(guest: DomId, sockets: Arc<Sockets>) -> Result<Arc<Self>> {
        let first = FIRST_USER + u32::from(guest.as_raw());
        let mut users = KVec::new();
        users.push(User::new(0, first, &sockets)?, GFP_KERNEL)?;
        Arc::pin_init(
            pin_init!(Self {
                first,
                sockets,
                users <- new_mutex!(users, "xensock_owners"),
            }),
            GFP_KERNEL,
        )
    }

    /// Returns a new tenant for the user with that number. `EMFILE` if there are too many users.
    pub(crate) fn get(self: &Arc<Self>, number: u64) -> Result<Arc<Tenant>> {
        let mut users = self.users.lock();
        let found = users.iter().position(|user| user.number == number);
        // The place of a user without tenants is free, except for the first one.
        let free = |may_linger: bool| {
            let is_free =
                |user: &User| user.tenants == 0 && (may_linger || user.user_sockets.count() == 0);
            let index = users.iter().skip(1).position(is_free)?;
            Some(index + 1)
        };
        // While the list is not full, a user keeps its place as long as TCP needs one of its
        // sockets.
        let is_full = users.len() >= MAX_USERS;
        let lingering = || is_full.then(|| free(true)).flatten();
        let index = match found.or_else(|| free(false)).or_else(lingering) {
            Some(index) => index,
            None if !is_full => {
                // CAST: A small number.
                let user = self.first + users.len() as u32 * APART;
                let user = User::new(number, user, &self.sockets)?;
                users.push(user, GFP_KERNEL)?;
                users.len() - 1
            }
            None => return Err(EMFILE),
        };
        let user = users.get_mut(index).ok_or(EMFILE)?;
        if user.number != number {
            // The former user's sockets that TCP still needs do not count for the new user.
            user.user_sockets = UserSockets::new(number, &self.sockets)?;
        }
        let tenant = Tenant {
            owners: self.clone(),
            index,
            number,
            owner: user.owner.clone(),
            user_sockets: user.user_sockets.clone(),
        };
        user.number = number;
        user.tenants += 1;
        // If this fails, the tenant is dropped, which takes the lock.
        drop(users);
        Ok(Arc::new(tenant, GFP_KERNEL)?)
    }
}

impl User {
    fn new(number: u64, user: u32, sockets: &Sockets) -> Result<Self> {
        Ok(Self {
            number,
            owner: Arc::new(Owner::new(user)?, GFP_KERNEL)?,
            user_sockets: UserSockets::new(number, sockets)?,
            tenants: 0,
        })
    }
}

/// A socket's claim on a user, shared with its entry in the table and with the connections and
/// places that are accepted from it. Dropping sleeps.
pub(crate) struct Tenant {
    owners: Arc<Owners>,
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
        if let Some(user) = self.owners.users.lock().get_mut(self.index) {
            user.tenants -= 1;
        }
    }
}
