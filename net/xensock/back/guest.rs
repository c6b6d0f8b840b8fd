// SPDX-License-Identifier: GPL-2.0

//! A guest during a link: its transport, its policy and counters, and the spare rings.

use crate::{
    conn_ring::{
        extend,
        ConnRing,
        Ring,
        RingUser, //
    },
    counters::Counters,
    log::LogLimit,
    owners::Tenant,
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
    quota::{
        Charge,
        Holding, //
    },
    ring_pool::RingPool,
    transport::Transport, //
};
use kernel::{
    prelude::*,
    sync::{
        Arc,
        Completion, //
    },
    xen::xenbus, //
};

/// Completes when it is dropped.
struct CompleteOnDrop(Arc<Completion>);

impl Drop for CompleteOnDrop {
    fn drop(&mut self) {
        self.0.complete_all();
    }
}

/// A guest during a link. All objects that have memory of the guest mapped, or a work item, have a
/// reference until they are taken apart.
#[pin_data]
pub(crate) struct Guest {
    #[pin]
    pub(crate) transport: Transport,
    pub(crate) counters: Arc<Counters>,
    pub(crate) in_force: Arc<InForce>,
    #[pin]
    pool: RingPool,
    /// Dropped last.
    _gone: CompleteOnDrop,
}

impl Guest {
    /// Maps the commands ring of a guest. `gone` is completed when the result is dropped. May sleep.
    pub(crate) fn new(
        dev: &xenbus::Device,
        queues: Arc<Queues>,
        log: Arc<LogLimit>,
        in_force: Arc<InForce>,
        counters: Arc<Counters>,
        gone: Arc<Completion>,
    ) -> Result<Arc<Self>> {
        Arc::pin_init(
            try_pin_init!(Self {
                transport <- Transport::new(dev, queues, log, in_force.clone(), counters.clone()),
                pool <- RingPool::new(counters.clone()),
                counters,
                in_force,
                _gone: CompleteOnDrop(gone),
            }),
            GFP_KERNEL,
        )
    }

    /// Takes the commands ring out of use, and unmaps the spare rings. May sleep.
    pub(crate) fn close(&self) {
        self.transport.close();
        self.pool.close();
    }

    /// Returns the policy for new sockets, and for the limits of the whole guest.
    pub(crate) fn policy(&self) -> Arc<Policy> {
        self.in_force.get()
    }

    /// Returns `true` if TCP may keep a socket of `tenant` that is being closed, to deliver the
    /// `sent` bytes that it holds. Peers can make that last long, so it ends before nothing is left
    /// for new sockets, or for others of this domain.
    pub(crate) fn may_linger(&self, tenant: &Tenant, sent: usize) -> bool {
        let (own, all) = (tenant.user_sockets(), &self.counters.sockets);
        let closed = Holding {
            owner: tenant.number(),
            own: own.closed(),
            used: all.closed(),
        };
        self.policy().may_linger(closed, all) && own.memory.may_keep(sent)
    }

    /// Charges the pages of a ring or an extension of this order to the guest, whose limit then is
    /// `most`, and to the user. May sleep.
    fn charge(
        &self,
        tenant: &Tenant,
        order: Order,
        pages: usize,
        most: impl FnOnce(&Policy) -> usize,
    ) -> Result<[Charge; 2]> {
        let policy = self.policy();
        policy.may_have_ring(order)?;
        let most = most(&policy);
        let (all, own) = (&self.counters.pages, &tenant.user_sockets().pages);
        let now = Holding {
            owner: tenant.number(),
            own: own.used(),
            used: all.used(),
        };
        if now.left(most) < pages {
            // Spare rings go first: only those of the user, if other users could have more pages.
            let is_of_all = now.left_to_others(most) < pages;
            self.pool.clear(|ring| is_of_all || ring.is_of(now.owner));
        }
        all.take_for(now.owner, own, pages, |held| {
            policy.may_have_pages(pages, most, held)
        })
    }

    /// Maps the ring that the guest has at `at`, for `user`, a socket of `tenant`. May sleep.
    pub(crate) fn map(
        &self,
        at: RingRef,
        user: Arc<dyn RingUser>,
        tenant: &Tenant,
    ) -> Result<ConnRing> {
        ConnRing::new(&self.transport, at, user, tenant.number(), |order| {
            self.charge(tenant, order, order.pages() + 1, Policy::max_ring_pages)
        })
    }

    /// Returns the ring that the guest has at `at`, for `user`, a socket of `tenant`: a spare ring, or
    /// one that is mapped now. May sleep.
    pub(crate) fn ring_for(
        &self,
        at: RingRef,
        user: Arc<dyn RingUser>,
        tenant: &Tenant,
    ) -> Result<Arc<ConnRing>> {
        let Some(shared) = self.pool.take(at) else {
            return Ok(Arc::new(self.map(at, user, tenant)?, GFP_KERNEL)?);
        };
        // The limits may have been lowered since the ring was mapped.
        let policy = self.policy();
        policy.may_have_ring(shared.ring.order())?;
        let pages = &self.counters.pages;
        if pages.used() > policy.max_ring_pages() {
            self.pool.clear(|_| true);
        }
        policy.may_keep_pages(pages.used())?;
        shared.connect(user);
        Ok(shared)
    }

    /// Ends the events of a connection, and keeps its ring for another connection. May sleep.
    pub(crate) fn keep(&self, shared: Arc<ConnRing>) {
        shared.disconnect();
        self.pool.put(shared);
    }

    /// Unmaps the spare ring that the guest has at `at`, if there is one. May sleep.
    pub(crate) fn unmap(&self, at: RingRef) {
        let spare = self.pool.take(at);
        drop(spare);
    }

    /// Maps an extension for a direction of a ring. `EINVAL` if it would not be larger than the
    /// base of the direction, `EALREADY` if there is an extension. May sleep.
    pub(crate) fn extend(&self, ring: &Ring, way: Way, order: Order, tenant: &Tenant) -> Result {
        extend(&self.transport, ring, way, order, || {
            self.charge(tenant, order, order.half_pages(), Policy::max_grown_pages)
        })
    }
}
