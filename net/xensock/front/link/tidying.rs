// SPDX-License-Identifier: GPL-2.0

//! How spare rings come and go: those that nobody has wanted for a while are given up.

use super::Link;
use crate::{
    proto::ring::Order,
    shared::Shared, //
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

/// The work item [`Link::tidying`].
pub(super) const TIDYING: u64 = 1;

/// How long a ring stays unused: so long, or twice that. In milliseconds.
const IDLE_TIME: Msecs = 1000;

impl Link {
    /// Returns a data ring of this order for a connection of `sk`'s, which is `owner`'s: a spare one,
    /// or a new one. May sleep.
    pub(crate) fn new_ring(&self, sk: &Sock, owner: u64, order: Order) -> Result<Arc<Shared>> {
        match self.spares.take_for(sk, owner, order) {
            Some(ring) => {
                self.counters.ring_reused();
                Ok(ring)
            }
            None => Shared::new(self, sk, owner, order),
        }
    }

    /// Leaves a ring that was [entered](crate::spares::Spares::enter) to another connection. May sleep.
    pub(crate) fn offer(self: &Arc<Self>, ring: &Arc<Shared>) {
        // The backend has nothing of extensions any more.
        ring.restart();
        self.spares.offer(ring, || self.tidy_later());
    }

    fn tidy_later(self: &Arc<Self>) {
        // An item that is queued already does all there is to do.
        let _ = enqueue_delayed::<_, TIDYING>(self.clone(), msecs_to_jiffies(IDLE_TIME));
    }
}

impl WorkItem<TIDYING> for Link {
    type Pointer = Arc<Link>;

    /// Gives up the rings that nobody has wanted for a while.
    fn run(this: Arc<Link>) {
        while let Some(ring) = this.spares.next_old() {
            ring.give_up(&this);
            this.spares.remove(&ring);
        }
        this.spares.age(|| this.tidy_later());
    }
}
