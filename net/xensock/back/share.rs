// SPDX-License-Identifier: GPL-2.0

//! What a connection, or a datagram socket, shares with its guest: memory, and how they notify each
//! other.

use crate::{
    active::Active,
    doorbell::Doorbell,
    guest::Guest,
    notifier::Notifier,
    policy::Policy,
    proto::{
        indexes,
        ring::{
            Memory,
            Order,
            Violation, //
        },
        RingRef,
        Way, //
    },
    quota::Charge,
    ring::{
        DataRing,
        End, //
    }, //
};
use core::ops::Deref;
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Relaxed, //
        },
        Arc, //
    },
    xen::{
        event::Handler,
        grant::MappedPages,
        shared::SharedPages,
        GrantRef, //
    }, //
};

/// Memory of the guest that is mapped. Dropping sleeps.
pub(crate) struct Mapped {
    pages: MappedPages,
    /// What it takes of the guest's pages, unless its ring does. Goes last.
    _charge: Option<Charge>,
}

impl Mapped {
    /// Maps what the guest has granted. May sleep.
    fn new(guest: &Guest, refs: &[GrantRef], charge: Option<Charge>) -> Result<Self> {
        Ok(Self {
            pages: MappedPages::new(guest.dev.otherend_id(), refs)?,
            _charge: charge,
        })
    }
}

impl Deref for Mapped {
    type Target = SharedPages;

    fn deref(&self) -> &Self::Target {
        &self.pages
    }
}

/// A data ring of the guest's.
pub(crate) type Ring = DataRing<Mapped>;

/// The data ring of a connection, or of another owner.
///
/// Dropped in this order: no more events, then the memory of the guest. Dropping sleeps.
pub(crate) struct Share<T: Handler = Active> {
    pub(crate) notifier: Notifier<T, MappedPages>,
    pub(crate) ring: Arc<Ring>,
    /// Where the guest has it.
    at: RingRef,
    /// The guest's indexes when it was last let send an event. For who moves bytes.
    seen: [Atomic<u32>; 2],
    _charge: Charge,
}

/// How a turn of the owner's work item begins.
pub(crate) struct Turn {
    indexes: [u32; 2],
    owes_eoi: bool,
}

impl<T: Handler> Share<T> {
    /// Maps the ring of `owner` and binds to its notifier. Each word of the indexes page that describes
    /// the ring is read once. May sleep.
    pub(crate) fn new(guest: &Arc<Guest>, at: RingRef, owner: &Arc<T>) -> Result<Self> {
        let index = Mapped::new(guest, &[GrantRef::new(at.grant)], None)?;
        let order = index.word(indexes::RING_ORDER)?.load(Acquire);
        let order = Order::new(order).ok_or(EINVAL)?;
        let policy = guest.policy();
        policy.may_have_ring(order)?;
        let charge = charge(guest, order.pages() + 1, Policy::max_ring_pages)?;
        let refs = refs(&index, order.pages(), indexes::ref_offset)?;
        let (input, output) = refs.split_at_checked(order.half_pages()).ok_or(EINVAL)?;
        // Those of one half are looked at when they are mapped.
        if output.iter().any(|grant| input.contains(grant)) {
            return Err(EINVAL);
        }
        let input = Mapped::new(guest, input, None)?;
        let output = Mapped::new(guest, output, None)?;
        let ring = DataRing::new(index, input, output, End::Back, guest.features)?;
        let ring = Arc::pin_init(ring, GFP_KERNEL)?;
        let doorbell = Doorbell::new()?;
        doorbell.connect(owner.clone());
        let shared = guest.shared_channel()?;
        let notifier = Notifier::bind(&guest.dev, shared.as_ref(), at.port, doorbell)?;
        Ok(Self {
            notifier,
            ring,
            at,
            seen: [Atomic::new(0), Atomic::new(0)],
            _charge: charge,
        })
    }

    /// Whether that is where the guest has it.
    pub(crate) fn is_at(&self, at: RingRef) -> bool {
        self.at == at
    }

    /// The guest's indexes.
    fn indexes(&self) -> [u32; 2] {
        [self.ring.arrived(), self.ring.taken()]
    }

    /// Begins a turn: looks at the ring.
    pub(crate) fn begin_turn(&self) -> Turn {
        let owes_eoi = self.notifier.doorbell().owes_eoi();
        let indexes = self.indexes();
        if owes_eoi && self.notifier.is_shared() {
            self.eoi(indexes);
        }
        Turn { indexes, owes_eoi }
    }

    /// Ends a turn that leaves nothing to do.
    pub(crate) fn end_turn(&self, turn: Turn) {
        if turn.owes_eoi && !self.notifier.is_shared() {
            self.eoi(turn.indexes);
        }
    }

    /// Lets the guest send the next event, later if the last was for nothing: if its indexes, when
    /// the turn began, were those of the last time.
    fn eoi(&self, indexes: [u32; 2]) {
        let is_same = |(seen, index): (&Atomic<u32>, u32)| seen.xchg(index, Relaxed) == index;
        // Each of them.
        let same = self
            .seen
            .iter()
            .zip(indexes)
            .filter(|pair| is_same(*pair))
            .count();
        self.notifier.eoi(same == indexes.len());
    }
}

/// Charges pages to the guest, which may then have as many as `most` says. May sleep.
fn charge(guest: &Guest, pages: usize, most: impl Fn(&Policy) -> usize) -> Result<Charge> {
    let policy = guest.policy();
    let most = most(&policy);
    if guest.account.pages.used().saturating_add(pages) > most {
        // What is kept is the first to go.
        guest.kept.clear();
    }
    let allows = |sum| policy.may_have_pages(sum, most);
    guest.account.pages.take(pages, allows)
}

/// Reads as many grants from the indexes page, each once.
fn refs(
    index: &SharedPages,
    count: usize,
    offset: impl Fn(usize) -> Option<usize>,
) -> Result<KVec<GrantRef>> {
    let mut refs = KVec::with_capacity(count, GFP_KERNEL)?;
    for i in 0..count {
        let word = index.word(offset(i).ok_or(EINVAL)?)?;
        refs.push(GrantRef::new(word.load(Acquire)), GFP_KERNEL)?;
    }
    Ok(refs)
}

/// Maps an extension for a direction of a ring. `EINVAL` if it would be no larger than what the
/// direction has, `EALREADY` if there is one. May sleep.
pub(crate) fn extend(guest: &Guest, ring: &Ring, way: Way, order: Order) -> Result {
    if order <= ring.order() {
        return Err(EINVAL);
    }
    if ring.is_extended(way) {
        return Err(EALREADY);
    }
    guest.policy().may_have_ring(order)?;
    let charge = charge(guest, order.half_pages(), Policy::max_grown_pages)?;
    let direction = indexes::direction(way);
    let refs = refs(ring.index_pages(), order.half_pages(), |i| {
        direction.extension_offset(i)
    })?;
    ring.extend(way, Mapped::new(guest, &refs, Some(charge))?)
}

impl Share {
    /// Goes on with what is mapped for the directions: what the guest is sent goes into the extension
    /// that there is, and one that is `unwanted` is unmapped. Returns whether that is done; if not, it
    /// is in use still. For the work item. Sleeps.
    pub(crate) fn resize(&self, unwanted: impl Fn(Way) -> bool) -> Result<[bool; 2], Violation> {
        let is_large = !unwanted(Way::In) && self.ring.is_extended(Way::In);
        let memory = if is_large {
            Memory::Extension
        } else {
            Memory::Base
        };
        // If the guest has not followed the last change, later.
        if self.ring.produce_into(memory) {
            self.notifier.notify();
        }
        let mut done = [true; 2];
        for (way, done) in Way::ALL.into_iter().zip(&mut done) {
            if unwanted(way) {
                let extension = self.ring.take_extension(way)?;
                drop(extension);
                *done = !self.ring.is_extended(way);
            }
        }
        Ok(done)
    }

    /// Returns whether the guest is sent what is new in the memory that [`Self::resize`] has it for, so
    /// that this need not be tried again. For who moves bytes.
    pub(crate) fn is_settled(&self) -> bool {
        (self.ring.tx_memory() == Memory::Extension) == self.ring.is_extended(Way::In)
    }

    /// What the guest has at `at`, for `owner`: kept from another connection, or mapped. May sleep.
    pub(crate) fn for_connection(
        guest: &Arc<Guest>,
        at: RingRef,
        owner: &Arc<Active>,
    ) -> Result<Arc<Self>> {
        let Some(share) = guest.kept.take(at) else {
            return Ok(Arc::new(Self::new(guest, at, owner)?, GFP_KERNEL)?);
        };
        // Both may have been lowered.
        let policy = guest.policy();
        policy.may_have_ring(share.ring.order())?;
        if guest.account.pages.used() > policy.max_ring_pages() {
            guest.kept.clear();
        }
        policy.may_have_pages(guest.account.pages.used(), policy.max_ring_pages())?;
        for seen in &share.seen {
            seen.store(0, Relaxed);
        }
        share.notifier.doorbell().connect(owner.clone());
        Ok(share)
    }

    /// Ends the events of the connection, and keeps the rest for another one. May sleep.
    pub(crate) fn keep(self: Arc<Self>, guest: &Guest) {
        self.notifier.doorbell().disconnect();
        if self.notifier.doorbell().owes_eoi() {
            self.eoi(self.indexes());
        }
        self.ring.restart();
        guest.kept.put(self);
    }
}
