// SPDX-License-Identifier: GPL-2.0

//! The data rings that connections have left to the next ones.
//!
//! The backend keeps them mapped, so that a short connection costs neither grants nor an event
//! channel. What nobody has wanted for a while is given up.

use crate::{
    budget,
    conn_ring::{
        payer,
        ConnRing, //
    },
    proto::ring::Order, //
};
use kernel::{
    net::sock::Sock,
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        Mutex, //
    },
    xen::grant, //
};

/// How many there are at most; the backend keeps no more than 32 for a guest.
const MAX_RINGS: usize = 16;

/// The part of the guest's grant table that they may have.
const MAX_PART: usize = 16;

/// What becomes of a spare ring.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SpareState {
    /// Somebody may still read from it, or it is given up.
    Busy,
    /// It is there for the next connection.
    Idle,
    /// So it has been for a while.
    Old,
}

struct PooledRing {
    ring: Arc<ConnRing>,
    state: SpareState,
}

/// The spare rings of a link. Unless said otherwise, all of this may sleep.
#[pin_data]
pub(crate) struct RingPool {
    /// How many there are, or will be: those of connections that are about to end count.
    count: Atomic<usize>,
    /// How many grants they have.
    grants: Atomic<usize>,
    /// How many they may have.
    max_grants: usize,
    /// `None` once the link is down.
    #[pin]
    rings: Mutex<Option<KVec<PooledRing>>>,
}

impl RingPool {
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            count: Atomic::new(0),
            grants: Atomic::new(0),
            max_grants: grant::max_grants() / MAX_PART,
            rings <- new_mutex!(Some(KVec::new()), "xensock_spares"),
        })
    }

    /// Keeps a place for a ring, if there is one. Any context.
    pub(crate) fn reserve(&self, ring: &ConnRing) -> bool {
        let needed = ring.order().grants();
        // OVERFLOW: There are no more rings than fit into memory.
        let count = self.count.fetch_add(1, Relaxed) + 1;
        let grants = self.grants.fetch_add(needed, Relaxed) + needed;
        let fits = count <= MAX_RINGS && grants <= self.max_grants;
        if !fits {
            self.give_back(ring);
        }
        fits
    }

    fn give_back(&self, ring: &ConnRing) {
        self.count.fetch_sub(1, Relaxed);
        self.grants.fetch_sub(ring.order().grants(), Relaxed);
    }

    /// Puts a ring into the place that it has. It is no spare until it is [offered](Self::offer),
    /// but no longer shared once the link is down. Returns `false` if it is, or there is no memory.
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

    /// Makes a ring that was entered a spare one, and does `then`, unless the link is down.
    pub(crate) fn offer(&self, ring: &Arc<ConnRing>, then: impl FnOnce()) {
        let mut rings = self.rings.lock();
        if let Some(spare) = (*rings).as_mut().and_then(|rings| find(rings, ring)) {
            spare.state = SpareState::Idle;
            then();
        }
    }

    /// Takes one out of this order for a connection of `sk`'s, which is `owner`'s. If a new one would
    /// be smaller, for want of grants, it may be, too.
    pub(crate) fn take_for(&self, sk: &Sock, owner: u64, order: Order) -> Option<Arc<ConnRing>> {
        let payer = payer(sk);
        let take = |least: Option<Order>| {
            self.take(|ring| {
                Some(ring.order()) >= least
                    && ring.order() <= order
                    && ring.is_paid_by(payer, owner)
            })
        };
        // How many grants there are is a question to the hypervisor.
        take(Some(order)).or_else(|| take(budget::affordable(owner, order)))
    }

    /// Takes one out, the last that came, if `suits` says so.
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

    /// Chooses one to be given up, which nobody has wanted for a while. It stays until it is
    /// [removed](Self::remove).
    pub(crate) fn next_old(&self) -> Option<Arc<ConnRing>> {
        let mut rings = self.rings.lock();
        let mut rings = (*rings).as_mut()?.iter_mut();
        let spare = rings.find(|spare| spare.state == SpareState::Old)?;
        spare.state = SpareState::Busy;
        Some(spare.ring.clone())
    }

    /// Notes that time has passed, and if there are any does `then`, unless the link is down.
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

    /// Forgets a ring that was given up.
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

    /// Ends the sharing of all of them, and has no more.
    pub(crate) fn close(&self) {
        let rings = self.rings.lock().take();
        for spare in rings.iter().flatten() {
            spare.ring.unshare();
        }
    }
}

/// Returns the place of a ring.
fn find<'a>(rings: &'a mut [PooledRing], ring: &Arc<ConnRing>) -> Option<&'a mut PooledRing> {
    rings
        .iter_mut()
        .find(|spare| Arc::ptr_eq(&spare.ring, ring))
}
