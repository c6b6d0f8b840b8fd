// SPDX-License-Identifier: GPL-2.0

//! The owners of a guest's sockets in this domain.
//!
//! Each guest has its own users here, so that no two guests share a port, and no guest shares one
//! with a program of this domain. A guest gives each socket an owner, which is any number; all
//! sockets with the same number belong to one user, whatever device of the guest they use. The
//! sockets of each user are counted for each device, so that no user takes all that the guest may
//! have there.

use crate::{
    keeper::Keeper,
    sockets::{
        Sockets,
        UserSockets, //
    }, //
};
use kernel::{
    net::kernel_socket::Owner,
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        GlobalArc,
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
    /// Number of [`Tenant`]s of this user.
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
struct Users {
    first: u32,
    /// The first user always exists and has the number 0.
    #[pin]
    list: Mutex<KVec<User>>,
}

impl Users {
    fn new(guest: DomId) -> Result<Arc<Self>> {
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
}

/// A guest that has a device.
struct GuestEntry {
    guest: DomId,
    users: Arc<Users>,
    devices: usize,
}

/// The guests that have a device.
#[pin_data]
pub(crate) struct Guests {
    #[pin]
    list: Mutex<KVec<GuestEntry>>,
}

static GUESTS: GlobalArc<Guests> = GlobalArc::new();

/// Creates the list of the guests. May sleep.
pub(crate) fn keep() -> Result<Keeper<Guests>> {
    let list = KVec::new();
    let guests = Arc::pin_init(
        pin_init!(Guests {
            list <- new_mutex!(list, "xensock_guests"),
        }),
        GFP_KERNEL,
    )?;
    Ok(Keeper::new(&GUESTS, guests))
}

impl Guests {
    /// Counts one more device of a guest. Returns the users of the guest.
    fn join(&self, guest: DomId) -> Result<Arc<Users>> {
        let mut list = self.list.lock();
        if let Some(entry) = list.iter_mut().find(|entry| entry.guest == guest) {
            entry.devices += 1;
            return Ok(entry.users.clone());
        }
        let users = Users::new(guest)?;
        let entry = GuestEntry {
            guest,
            users: users.clone(),
            devices: 1,
        };
        list.push(entry, GFP_KERNEL)?;
        Ok(users)
    }

    /// Counts one device of a guest less.
    fn leave(&self, guest: DomId) {
        let mut list = self.list.lock();
        let Some(at) = list.iter().position(|entry| entry.guest == guest) else {
            return;
        };
        if let Some(entry) = list.get_mut(at) {
            entry.devices -= 1;
            if entry.devices > 0 {
                return;
            }
        }
        let entry = list.remove(at);
        drop(list);
        // Outside the lock.
        drop(entry);
    }
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
        let mut users = self.users.list.lock();
        let found = users.iter().position(|user| user.number == number);
        // The place of a user without tenants is free, except for the first one.
        let free = |is_free: fn(&User) -> bool| {
            let index = users.iter().skip(1).position(is_free)?;
            Some(index + 1)
        };
        // While the list is not full, a user keeps its place as long as TCP needs one of its
        // sockets.
        let is_full = users.len() >= MAX_USERS;
        let lingering = || is_full.then(|| free(|user| user.tenants == 0)).flatten();
        let index = match found.or_else(|| free(User::is_gone)).or_else(lingering) {
            Some(index) => index,
            None if !is_full => {
                // CAST: A small number.
                let user = self.users.first + users.len() as u32 * APART;
                users.push(User::new(number, user)?, GFP_KERNEL)?;
                users.len() - 1
            }
            None => return Err(EMFILE),
        };
        let user = users.get_mut(index).ok_or(EMFILE)?;
        if user.number != number {
            user.number = number;
            // The former user's sockets that TCP still needs do not count for the new user.
            user.counts.clear();
        }
        let tenant = Tenant {
            users: self.users.clone(),
            index,
            number,
            owner: user.owner.clone(),
            user_sockets: user.counts_on(&self.sockets)?,
        };
        user.tenants += 1;
        // If this fails, the tenant is dropped, which takes the lock.
        drop(users);
        Ok(Arc::new(tenant, GFP_KERNEL)?)
    }
}

impl Drop for Owners {
    fn drop(&mut self) {
        for user in self.users.list.lock().iter_mut() {
            user.counts
                .retain(|counts| !Arc::ptr_eq(&counts.device, &self.sockets));
        }
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
        if let Some(user) = self.users.list.lock().get_mut(self.index) {
            user.tenants -= 1;
        }
    }
}
