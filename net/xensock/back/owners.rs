// SPDX-License-Identifier: GPL-2.0

//! Whose the sockets of a guest are in this domain.
//!
//! Each guest has users of its own here, so that no two of them share a port, and none with a
//! program of this domain. A guest says of each socket whose it is in the guest, by any number, and
//! those of one number belong to one user. What each has is counted, so that none takes all that the
//! guest may have.

use crate::sockets::{
    OfUser,
    Sockets, //
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

/// The user that owns the sockets of the domain with the number 0; those of other domains follow.
///
/// The numbers are among those that Linux distributions leave alone.
const FIRST_USER: u32 = 0x7853_0000;

/// How far the users of one guest are apart: there are so many numbers of domains.
const APART: u32 = 1 << 16;

/// How many users a guest has at a time.
const MAX_USERS: usize = 1024;

/// A user of a guest.
struct User {
    number: u64,
    owner: Arc<Owner>,
    /// What is counted of the user.
    held: Arc<OfUser>,
    /// How many [`Tenant`]s are this user's.
    tenants: usize,
}

/// The users of a guest.
#[pin_data]
pub(crate) struct Owners {
    first: u32,
    sockets: Arc<Sockets>,
    /// The first is the one that there always is, with the number 0.
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

    /// Has one more socket belong to the user of that number. `EMFILE` if there are too many users.
    pub(crate) fn get(self: &Arc<Self>, number: u64) -> Result<Arc<Tenant>> {
        let mut users = self.users.lock();
        let found = users.iter().position(|user| user.number == number);
        // Of those who have nothing left, anybody may take the place, but for the first's.
        let free = |may_linger: bool| {
            let is_free = |user: &User| user.tenants == 0 && (may_linger || user.held.count() == 0);
            let index = users.iter().skip(1).position(is_free)?;
            Some(index + 1)
        };
        // Before there are too many, those keep theirs for whose sockets TCP has still to do something.
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
            // What TCP has still to do for sockets of the former one is not this one's.
            user.held = OfUser::new(&self.sockets)?;
        }
        let tenant = Tenant {
            owners: self.clone(),
            index,
            number,
            owner: user.owner.clone(),
            held: user.held.clone(),
        };
        user.number = number;
        user.tenants += 1;
        // If this fails, the socket is given back outside the lock.
        drop(users);
        Ok(Arc::new(tenant, GFP_KERNEL)?)
    }
}

impl User {
    fn new(number: u64, user: u32, sockets: &Sockets) -> Result<Self> {
        Ok(Self {
            number,
            owner: Arc::new(Owner::new(user)?, GFP_KERNEL)?,
            held: OfUser::new(sockets)?,
            tenants: 0,
        })
    }
}

/// A socket of a user, with its entry in the table, and with what is accepted from it or shall be.
/// Dropping sleeps.
pub(crate) struct Tenant {
    owners: Arc<Owners>,
    index: usize,
    number: u64,
    owner: Arc<Owner>,
    held: Arc<OfUser>,
}

impl Tenant {
    /// Returns the number that the guest has for the user.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// What is counted of the user.
    pub(crate) fn held(&self) -> &OfUser {
        &self.held
    }

    /// Who owns it.
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
