// SPDX-License-Identifier: GPL-2.0

//! What a connection, or a datagram socket, shares with its guest: memory, and an event channel.

use crate::{
    active::Active,
    doorbell::Doorbell,
    guest::Guest,
    proto::{
        indexes,
        ring::Order,
        Feature,
        RingRef, //
    },
    quota::Charge,
    ring::{
        DataRing,
        End, //
    }, //
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Full, //
        },
        Arc, //
    },
    xen::{
        event::{
            EventChannel,
            Handler, //
        },
        grant::MappedPages,
        GrantRef,
        Port, //
    }, //
};

/// The event channel and the data ring of a connection, or of another owner.
///
/// Dropped in this order: no more events, then the memory of the guest. Dropping sleeps.
pub(crate) struct Share<T: Handler = Active> {
    pub(crate) channel: EventChannel<Doorbell<T>>,
    pub(crate) ring: DataRing<MappedPages>,
    /// Where the guest has it.
    at: RingRef,
    /// The guest's indexes when it was last let send an event.
    seen: (u32, u32),
    _charge: Charge,
}

impl<T: Handler> Share<T> {
    /// Maps the ring of `owner` and binds its channel. Each word of the indexes page that describes
    /// the ring is read once. May sleep.
    pub(crate) fn new(guest: &Arc<Guest>, at: RingRef, owner: &Arc<T>) -> Result<Self> {
        let from = guest.dev.otherend_id();
        let index = MappedPages::new(from, &[GrantRef::new(at.grant)])?;
        let order = index.word(indexes::RING_ORDER)?.load(Acquire);
        let order = Order::new(order).ok_or(EINVAL)?;
        let policy = guest.policy();
        policy.may_have_ring(order)?;
        let pages = order.pages() + 1;
        if guest.account.pages.used().saturating_add(pages) > policy.max_ring_pages() {
            // What is kept is the first to go.
            guest.kept.clear();
        }
        let charge = guest
            .account
            .pages
            .take(pages, |sum| policy.may_have_pages(sum))?;

        let mut refs = KVec::with_capacity(order.pages(), GFP_KERNEL)?;
        for i in 0..order.pages() {
            let offset = indexes::ref_offset(i).ok_or(EINVAL)?;
            let grant = GrantRef::new(index.word(offset)?.load(Acquire));
            refs.push(grant, GFP_KERNEL)?;
        }
        let data = MappedPages::new(from, &refs)?;
        let event_index = guest.features.has(Feature::EventIndex);
        let ring = DataRing::new(index, data, order, End::Back, event_index)?;
        let port = Port::new(at.port);
        let doorbell = Doorbell::new()?;
        doorbell.connect(owner.clone());
        let channel = EventChannel::bind(&guest.dev, port, c"xensock", doorbell)?;
        Ok(Self {
            channel,
            ring,
            at,
            seen: (0, 0),
            _charge: charge,
        })
    }

    /// Whether that is where the guest has it.
    pub(crate) fn is_at(&self, at: RingRef) -> bool {
        self.at == at
    }

    /// The guest's indexes.
    pub(crate) fn indexes(&self) -> (u32, u32) {
        (self.ring.arrived(), self.ring.taken())
    }

    /// Lets the guest send the next event, later if the last was for nothing: if its indexes, when
    /// the turn began, were those of the last time.
    pub(crate) fn eoi(&mut self, indexes: (u32, u32)) {
        self.channel.eoi(indexes == self.seen);
        self.seen = indexes;
    }
}

impl Share {
    /// What the guest has at `at`, for `owner`: kept from another connection, or mapped. May sleep.
    pub(crate) fn for_connection(
        guest: &Arc<Guest>,
        at: RingRef,
        owner: &Arc<Active>,
    ) -> Result<Self> {
        let Some(mut share) = guest.kept.take(at) else {
            return Self::new(guest, at, owner);
        };
        // Both may have been lowered.
        let policy = guest.policy();
        policy.may_have_ring(share.ring.order())?;
        if guest.account.pages.used() > policy.max_ring_pages() {
            guest.kept.clear();
        }
        policy.may_have_pages(guest.account.pages.used())?;
        share.ring.restart();
        share.seen = (0, 0);
        share.channel.handler().connect(owner.clone());
        Ok(share)
    }

    /// Ends the events of the connection, which may owe an EOI, and keeps the rest for another one.
    /// May sleep.
    pub(crate) fn keep(mut self, guest: &Guest, owes_eoi: &Atomic<bool>) {
        self.channel.handler().disconnect();
        if owes_eoi.xchg(false, Full) {
            self.eoi(self.indexes());
        }
        guest.kept.put(self);
    }
}
