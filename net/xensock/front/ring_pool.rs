// SPDX-License-Identifier: GPL-2.0

//! The data rings that connections have left for later ones.
//!
//! The backend keeps these rings mapped, so that a short connection needs neither new grants nor a
//! new event channel. Rings that are not reused for a while are given up.

use crate::{
    budget,
    conn_ring::{
        payer,
        ConnRing, //
    },
    proto::{
        ring::Order,
        spare::Places, //
    }, //
};
use kernel::{
    net::sock::Sock,
    new_mutex,
    new_spinlock_irq,
    prelude::*,
    sync::{
        Arc,
        Mutex,
        SpinLockIrq, //
    },
    xen::grant, //
};

/// Divisor for the pool's part of the guest's grant table.
const MAX_PART: usize = 16;

/// The state of a spare ring.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SpareState {
    /// A task may still read from the ring, or the ring is being given up.
    Busy,
    /// The next connection can take the ring.
    Idle,
    /// The ring has been idle for a while.
    Old,
}

struct PooledRing {
    ring: Arc<ConnRing>,
    state: SpareState,
}

/// The spare rings of a link. All methods may sleep unless noted otherwise.
#[pin_data]
pub(crate) struct RingPool {
    /// The places for rings, also those of connections that are about to end. Taken in any context.
    #[pin]
    places: SpinLockIrq<Places>,
    /// `None` once the link is down.
    #[pin]
    rings: Mutex<Option<KVec<PooledRing>>>,
}

impl RingPool {
    pub(crate) fn new() -> impl PinInit<Self> {
        // CAST: A grant's number has 32 bits.
        let max_grants = (grant::max_grants() / MAX_PART) as u32;
        pin_init!(Self {
            places <- new_spinlock_irq!(Places::new(max_grants), "xensock_places"),
            rings <- new_mutex!(Some(KVec::new()), "xensock_spares"),
        })
    }

    /// Reserves a place for a ring. Returns `false` if there is none for its user. Any context.
    pub(crate) fn reserve(&self, ring: &ConnRing) -> bool {
        let mut places = self.places.lock();
        places.take(ring.owner(), ring.order().grants())
    }

    fn give_back(&self, ring: &ConnRing) {
        let mut places = self.places.lock();
        places.uncharge(ring.owner(), ring.order().grants());
    }

    /// Puts a ring into its reserved place. The ring is no spare until it is
    /// [offered](Self::offer), but its sharing ends with the link. Returns `false` if the link is
    /// down or there is no memory.
    pub(crate) fn enter(&self, ring: &Arc<ConnRing>) -> bool {
        let spare = PooledRing {
            ring: ring.clone(),
            state: SpareState::Busy,
        };
        let mut rings = self.rings.lock();
        let entered = (*rings)
            .as_mut()
            .is_some_and(|rings| rings.push(spare, GFP_KERNEL).is_ok());
        if !entered {
            self.give_back(ring);
        }
        entered
    }

    /// Makes an entered ring a spare one and calls `then`, unless the link is down.
    pub(crate) fn offer(&self, ring: &Arc<ConnRing>, then: impl FnOnce()) {
        let mut rings = self.rings.lock();
        if let Some(spare) = (*rings).as_mut().and_then(|rings| find(rings, ring)) {
            spare.state = SpareState::Idle;
            then();
        }
    }

    /// Takes out a ring of this order for a connection of `sk` and its user `owner`. If a new ring
    /// would be smaller for lack of grants, this one may be smaller too.
    pub(crate) fn take_for(&self, sk: &Sock, owner: u64, order: Order) -> Option<Arc<ConnRing>> {
        let payer = payer(sk);
        let take = |least: Option<Order>| {
            self.take(|ring| {
                Some(ring.order()) >= least
                    && ring.order() <= order
                    && ring.is_paid_by(payer, owner)
            })
        };
        // Second, because `affordable` makes a hypercall.
        take(Some(order)).or_else(|| take(budget::affordable(owner, order)))
    }

    /// Takes out the ring that was added last, of those that `suits` accepts.
    fn take(&self, suits: impl Fn(&ConnRing) -> bool) -> Option<Arc<ConnRing>> {
        let mut rings = self.rings.lock();
        let rings = (*rings).as_mut()?;
        let found = rings
            .iter()
            .rposition(|spare| spare.state != SpareState::Busy && suits(&spare.ring))?;
        let ring = rings.remove(found).ok()?.ring;
        self.give_back(&ring);
        Some(ring)
    }

    /// Selects a ring to give up that was idle for a while. The ring stays until it is
    /// [removed](Self::remove).
    pub(crate) fn next_old(&self) -> Option<Arc<ConnRing>> {
        let mut rings = self.rings.lock();
        let mut rings = (*rings).as_mut()?.iter_mut();
        let spare = rings.find(|spare| spare.state == SpareState::Old)?;
        spare.state = SpareState::Busy;
        Some(spare.ring.clone())
    }

    /// Notes that a period has passed. Calls `then` if there are idle rings, unless the link is
    /// down.
    pub(crate) fn age(&self, then: impl FnOnce()) {
        let mut rings = self.rings.lock();
        let mut any = false;
        for spare in (*rings).iter_mut().flatten() {
            if spare.state == SpareState::Idle {
                spare.state = SpareState::Old;
                any = true;
            }
        }
        if any {
            then();
        }
    }

    /// Removes a ring that was given up.
    pub(crate) fn remove(&self, ring: &Arc<ConnRing>) {
        let mut rings = self.rings.lock();
        if let Some(rings) = (*rings).as_mut() {
            let found = rings
                .iter()
                .position(|spare| Arc::ptr_eq(&spare.ring, ring));
            if let Some(spare) = found.and_then(|found| rings.remove(found).ok()) {
                self.give_back(&spare.ring);
            }
        }
    }

    /// Ends the sharing of all rings, and accepts no more.
    pub(crate) fn close(&self) {
        let rings = self.rings.lock().take();
        for spare in rings.iter().flatten() {
            spare.ring.unshare();
        }
    }
}

/// Returns the entry of a ring.
fn find<'a>(rings: &'a mut [PooledRing], ring: &Arc<ConnRing>) -> Option<&'a mut PooledRing> {
    rings
        .iter_mut()
        .find(|spare| Arc::ptr_eq(&spare.ring, ring))
}
