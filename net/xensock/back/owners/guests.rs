// SPDX-License-Identifier: GPL-2.0

//! The guests that have a device, each with its users.

use super::users::Users;
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        GlobalArc,
        Mutex, //
    },
    xen::DomId, //
};

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

pub(super) static GUESTS: GlobalArc<Guests> = GlobalArc::new();

impl Guests {
    /// Creates the list, which is empty. May sleep.
    pub(super) fn new() -> Result<Arc<Self>> {
        let list = KVec::new();
        Arc::pin_init(
            pin_init!(Self {
                list <- new_mutex!(list, "xensock_guests"),
            }),
            GFP_KERNEL,
        )
    }

    /// Counts one more device of a guest. Returns the users of the guest.
    pub(super) fn join(&self, guest: DomId) -> Result<Arc<Users>> {
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
    pub(super) fn leave(&self, guest: DomId) {
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
