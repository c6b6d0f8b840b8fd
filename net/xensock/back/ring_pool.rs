// SPDX-License-Identifier: GPL-2.0

//! The data rings that connections have left to the next ones.
//!
//! They stay mapped, and their event channels bound, without a connection. They count as pages of
//! the guest. Nothing is promised to it: it can name a ring that is no longer there, which is then
//! mapped as a new one is.

use crate::{
    conn_ring::ConnRing,
    proto::RingRef, //
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    }, //
};

/// How many there are at most.
const MAX_RINGS: usize = 32;

/// The spare rings of a link. All of this may sleep.
#[pin_data]
pub(crate) struct RingPool {
    /// `None` once the link is down.
    #[pin]
    rings: Mutex<Option<KVec<Arc<ConnRing>>>>,
}

impl RingPool {
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            rings <- new_mutex!(Some(KVec::new()), "xensock_ring_pool"),
        })
    }

    /// Keeps what a connection has left, unless that is too much.
    pub(crate) fn put(&self, ring: Arc<ConnRing>) {
        let mut rings = self.rings.lock();
        if let Some(rings) = (*rings).as_mut() {
            if rings.len() < MAX_RINGS && rings.reserve(1, GFP_KERNEL).is_ok() {
                // It has a place, and if not it is dropped.
                let _ = rings.push(ring, GFP_KERNEL);
            }
        }
    }

    /// Takes out the ring that the guest has there, if it is a spare one.
    pub(crate) fn take(&self, at: RingRef) -> Option<Arc<ConnRing>> {
        let mut rings = self.rings.lock();
        let rings = (*rings).as_mut()?;
        let found = rings.iter().position(|ring| ring.is_at(at))?;
        rings.remove(found).ok()
    }

    /// Unmaps all of them.
    pub(crate) fn clear(&self) {
        let rings = (*self.rings.lock()).as_mut().map(core::mem::take);
        // Outside the lock.
        drop(rings);
    }

    /// Unmaps all of them, and those that come.
    pub(crate) fn close(&self) {
        let rings = self.rings.lock().take();
        // Outside the lock.
        drop(rings);
    }
}
