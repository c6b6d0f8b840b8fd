// SPDX-License-Identifier: GPL-2.0

//! Spare rings of a link: rings that were not reused for a while are given up.

use super::Link;
use crate::{
    conn_ring::ConnRing,
    proto::ring::Order, //
};
use kernel::{
    net::sock::Sock,
    prelude::*,
    sync::Arc,
    time::{
        msecs_to_jiffies,
        Msecs, //
    },
    workqueue::{
        owned::enqueue_delayed,
        WorkItem, //
    }, //
};

/// The work item [`Link::reclaim`].
pub(super) const RECLAIM: u64 = 1;

/// Period of the work item in milliseconds. An unused ring is given up after one to two periods.
const IDLE_TIME: Msecs = 1000;

impl Link {
    /// Returns a data ring of this order for a connection of `sk` whose user is `owner`: a spare
    /// one if there is one, or a new one. May sleep.
    pub(crate) fn new_ring(&self, sk: &Sock, owner: u64, order: Order) -> Result<Arc<ConnRing>> {
        match self.ring_pool.take_for(sk, owner, order) {
            Some(ring) => {
                self.counters.ring_reused();
                Ok(ring)
            }
            None => ConnRing::new(self, sk, owner, order),
        }
    }

    /// Leaves a ring that was [entered](crate::ring_pool::RingPool::enter) to another connection.
    /// May sleep.
    pub(crate) fn offer(self: &Arc<Self>, ring: &Arc<ConnRing>) {
        // The backend has unmapped the extensions.
        ring.restart();
        self.ring_pool.offer(ring, || self.reclaim_later());
    }

    fn reclaim_later(self: &Arc<Self>) {
        // One queued item looks after all rings.
        let _ = enqueue_delayed::<_, RECLAIM>(self.clone(), msecs_to_jiffies(IDLE_TIME));
    }
}

impl WorkItem<RECLAIM> for Link {
    type Pointer = Arc<Link>;

    /// Gives up the rings that were not reused for a while.
    fn run(this: Arc<Link>) {
        while let Some(ring) = this.ring_pool.next_old() {
            ring.give_up(&this);
            this.ring_pool.remove(&ring);
        }
        this.ring_pool.age(|| this.reclaim_later());
    }
}
