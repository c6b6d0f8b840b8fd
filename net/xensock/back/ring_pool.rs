// SPDX-License-Identifier: GPL-2.0

//! The data rings that ended connections have left for later ones.
//!
//! Without a connection, a ring stays mapped, its event channel stays bound, and its pages count
//! for the guest. The guest has no right to a spare ring: if it names one that is no longer there,
//! the ring is mapped as a new one.

use crate::{
    conn_ring::ConnRing,
    counters::Counters,
    proto::{
        spare::MAX_RINGS,
        RingRef, //
    }, //
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    }, //
};

/// The spare rings of a link. All methods may sleep.
#[pin_data]
pub(crate) struct RingPool {
    /// `None` once the link is down.
    #[pin]
    rings: Mutex<Option<KVec<Arc<ConnRing>>>>,
    /// Count their pages.
    counters: Arc<Counters>,
}

impl RingPool {
    pub(crate) fn new(counters: Arc<Counters>) -> impl PinInit<Self> {
        pin_init!(Self {
            rings <- new_mutex!(Some(KVec::new()), "xensock_ring_pool"),
            counters,
        })
    }

    /// Keeps the ring that a connection has left, unless the pool is full.
    pub(crate) fn put(&self, ring: Arc<ConnRing>) {
        let mut rings = self.rings.lock();
        if let Some(rings) = (*rings).as_mut() {
            if rings.len() < MAX_RINGS && rings.reserve(1, GFP_KERNEL).is_ok() {
                let pages = ring.pages();
                // There is room; if not, the ring is dropped.
                if rings.push_within_capacity(ring).is_ok() {
                    self.counters.count_spare(pages);
                }
            }
        }
    }

    /// Removes and returns the spare ring that the guest has at `at`, if there is one.
    pub(crate) fn take(&self, at: RingRef) -> Option<Arc<ConnRing>> {
        self.take_first(|ring| ring.is_at(at))
    }

    fn take_first(&self, is_one: impl Fn(&ConnRing) -> bool) -> Option<Arc<ConnRing>> {
        let mut rings = self.rings.lock();
        let rings = (*rings).as_mut()?;
        let found = rings.iter().position(|ring| is_one(ring))?;
        let ring = rings.remove(found).ok()?;
        self.counters.count_no_spare(ring.pages());
        Some(ring)
    }

    /// Unmaps the spare rings for which `is_one` returns `true`.
    pub(crate) fn clear(&self, is_one: impl Fn(&ConnRing) -> bool) {
        while let Some(ring) = self.take_first(&is_one) {
            // Outside the lock.
            drop(ring);
        }
    }

    /// Unmaps all spare rings, and those that are put here later.
    pub(crate) fn close(&self) {
        let rings = self.rings.lock().take();
        for ring in rings.iter().flatten() {
            self.counters.count_no_spare(ring.pages());
        }
        // Outside the lock.
        drop(rings);
    }
}
