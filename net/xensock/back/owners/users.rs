// SPDX-License-Identifier: GPL-2.0

//! The users of a guest.

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

/// The counts of a user's sockets on a device.
struct DeviceCounts {
    device: Arc<Sockets>,
    of_user: Arc<UserSockets>,
}

/// A user of a guest.
struct User {
    number: u64,
    owner: Arc<Owner>,
    /// One for each device that has had sockets of the user.
    counts: KVec<DeviceCounts>,
    /// Number of [`Tenant`](super::Tenant)s of this user.
    tenants: usize,
}

impl User {
    fn new(number: u64, user: u32) -> Result<Self> {
        Ok(Self {
            number,
            owner: Arc::new(Owner::new(user)?, GFP_KERNEL)?,
            counts: KVec::new(),
            tenants: 0,
        })
    }

    /// Returns `true` if no socket of the user is left, open or closed.
    fn is_gone(&self) -> bool {
        self.tenants == 0 && self.counts.iter().all(|it| it.of_user.count() == 0)
    }

    /// Returns the counts of the user's sockets on a device.
    fn counts_on(&mut self, device: &Arc<Sockets>) -> Result<Arc<UserSockets>> {
        let is_of = |counts: &&DeviceCounts| Arc::ptr_eq(&counts.device, device);
        if let Some(counts) = self.counts.iter().find(is_of) {
            return Ok(counts.of_user.clone());
        }
        let of_user = UserSockets::new(self.number, device)?;
        let counts = DeviceCounts {
            device: device.clone(),
            of_user: of_user.clone(),
        };
        self.counts.push(counts, GFP_KERNEL)?;
        Ok(of_user)
    }
}

/// The users of a guest, of all its devices.
#[pin_data]
pub(super) struct Users {
    first: u32,
    /// The first user always exists and has the number 0.
    #[pin]
    list: Mutex<KVec<User>>,
}

impl Users {
    /// Creates the users of a guest, of which there is the first. May sleep.
    pub(super) fn new(guest: DomId) -> Result<Arc<Self>> {
        let first = FIRST_USER + u32::from(guest.as_raw());
        let mut users = KVec::new();
        users.push(User::new(0, first)?, GFP_KERNEL)?;
        Arc::pin_init(
            pin_init!(Self {
                first,
                list <- new_mutex!(users, "xensock_owners"),
            }),
            GFP_KERNEL,
        )
    }

    /// Counts one more tenant of the user with that number. `EMFILE` if there are too many users.
    /// May sleep.
    pub(super) fn enter(&self, number: u64, sockets: &Arc<Sockets>) -> Result<Entered> {
        let mut users = self.list.lock();
        let found = users.iter().position(|user| user.number == number);
        // The place of a user without tenants is free, except for the first one.
        let free = |is_free: fn(&User) -> bool| {
            let index = users.iter().skip(1).position(is_free)?;
            Some(index + 1)
        };
        // While the list is not full, a user keeps its place until the last of its sockets is freed.
        let is_full = users.len() >= MAX_USERS;
        let lingering = || is_full.then(|| free(|user| user.tenants == 0)).flatten();
        let index = match found.or_else(|| free(User::is_gone)).or_else(lingering) {
            Some(index) => index,
            None if !is_full => {
                // CAST: A small number.
                let user = self.first + users.len() as u32 * APART;
                users.push(User::new(number, user)?, GFP_KERNEL)?;
                users.len() - 1
            }
            None => return Err(EMFILE),
        };
        let user = users.get_mut(index).ok_or(EMFILE)?;
        if user.number != number {
            user.number = number;
            // The former user's sockets that are not freed yet do not count for the new user.
            user.counts.clear();
        }
        let user_sockets = user.counts_on(sockets)?;
        user.tenants += 1;
        Ok(Entered {
            index,
            owner: user.owner.clone(),
            user_sockets,
        })
    }

    /// Counts one tenant of the user at that place less. May sleep.
    pub(super) fn leave(&self, index: usize) {
        if let Some(user) = self.list.lock().get_mut(index) {
            user.tenants -= 1;
        }
    }

    /// Forgets what the users had on a device. May sleep.
    pub(super) fn forget(&self, sockets: &Arc<Sockets>) {
        for user in self.list.lock().iter_mut() {
            user.counts
                .retain(|counts| !Arc::ptr_eq(&counts.device, sockets));
        }
    }
}

/// The place of a user, with what its sockets need.
pub(super) struct Entered {
    pub(super) index: usize,
    pub(super) owner: Arc<Owner>,
    pub(super) user_sockets: Arc<UserSockets>,
}
