// SPDX-License-Identifier: GPL-2.0

//! A guest, as long as a link with it lasts: how it is spoken with, what it may have, and the rings
//! that it has mapped here.

use crate::{
    conn_ring::{
        extend,
        ConnRing,
        Ring,
        RingUser, //
    },
    counters::Counters,
    log::LogLimit,
    policy::{
        InForce,
        Policy, //
    },
    proto::{
        ring::Order,
        RingRef,
        Way, //
    },
    queues::Queues,
    quota::Charge,
    ring_pool::RingPool,
    transport::Transport, //
};
use kernel::{
    device::Bound,
    prelude::*,
    sync::Arc,
    xen::xenbus, //
};

/// A guest, as long as a link with it lasts.
#[pin_data]
pub(crate) struct Guest {
    #[pin]
    pub(crate) transport: Transport,
    pub(crate) counters: Arc<Counters>,
    pub(crate) in_force: Arc<InForce>,
    #[pin]
    pool: RingPool,
}

impl Guest {
    /// Maps the commands ring of a guest. May sleep.
    pub(crate) fn new(
        dev: &xenbus::Device<Bound>,
        queues: Arc<Queues>,
        log: Arc<LogLimit>,
        in_force: Arc<InForce>,
        counters: Arc<Counters>,
    ) -> Result<Arc<Self>> {
        Arc::pin_init(
            try_pin_init!(Self {
                transport <- Transport::new(dev, queues, log, counters.clone()),
                counters,
                in_force,
                pool <- RingPool::new(),
            }),
            GFP_KERNEL,
        )
    }

    /// Takes the commands ring out of use, and unmaps the rings that no connection has. May sleep.
    pub(crate) fn close(&self) {
        self.transport.close();
        self.pool.close();
    }

    /// Returns the policy for new sockets, and for what the guest may have in all.
    pub(crate) fn policy(&self) -> Arc<Policy> {
        self.in_force.get()
    }

    /// Returns whether TCP may go on with a socket that is closed now, to deliver what was sent. Their
    /// peers can make that last: it has an end before there is nothing left for new sockets. It is one
    /// of an owner who has `own` of those already.
    pub(crate) fn may_linger(&self, owner: u64, own: usize) -> bool {
        let sockets = &self.counters.sockets;
        self.policy().may_linger(sockets.closed(), owner, own) && !sockets.memory.is_used_up()
    }

    /// Charges the pages of a ring, or of an extension, of that order to the guest, which may then have
    /// as many as `most` says. May sleep.
    fn charge(
        &self,
        order: Order,
        pages: usize,
        most: impl FnOnce(&Policy) -> usize,
    ) -> Result<Charge> {
        let policy = self.policy();
        policy.may_have_ring(order)?;
        let most = most(&policy);
        if self.counters.pages.used().saturating_add(pages) > most {
            // What nobody uses is the first to go.
            self.pool.clear();
        }
        let allows = |sum| policy.may_have_pages(sum, most);
        self.counters.pages.take(pages, allows)
    }

    /// Maps the ring that the guest has at `at`, for `user`. May sleep.
    pub(crate) fn map(&self, at: RingRef, user: Arc<dyn RingUser>) -> Result<ConnRing> {
        ConnRing::new(&self.transport, at, user, |order| {
            self.charge(order, order.pages() + 1, Policy::max_ring_pages)
        })
    }

    /// Returns the ring that the guest has at `at`, for `user`: a spare one, or one that is mapped now.
    /// May sleep.
    pub(crate) fn ring_for(&self, at: RingRef, user: Arc<dyn RingUser>) -> Result<Arc<ConnRing>> {
        let Some(shared) = self.pool.take(at) else {
            return Ok(Arc::new(self.map(at, user)?, GFP_KERNEL)?);
        };
        // Both may have been lowered.
        let policy = self.policy();
        policy.may_have_ring(shared.ring.order())?;
        let pages = &self.counters.pages;
        if pages.used() > policy.max_ring_pages() {
            self.pool.clear();
        }
        policy.may_have_pages(pages.used(), policy.max_ring_pages())?;
        shared.connect(user);
        Ok(shared)
    }

    /// Ends the events of a connection, and keeps its ring for another one. May sleep.
    pub(crate) fn keep(&self, shared: Arc<ConnRing>) {
        shared.disconnect();
        self.pool.put(shared);
    }

    /// Unmaps the ring that the guest has at `at`, if it is a spare one. May sleep.
    pub(crate) fn unmap(&self, at: RingRef) {
        let spare = self.pool.take(at);
        drop(spare);
    }

    /// Maps an extension for a direction of a ring. `EINVAL` if it would be no larger than what the
    /// direction has, `EALREADY` if there is one. May sleep.
    pub(crate) fn extend(&self, ring: &Ring, way: Way, order: Order) -> Result {
        extend(&self.transport, ring, way, order, || {
            self.charge(order, order.half_pages(), Policy::max_grown_pages)
        })
    }
}
