// SPDX-License-Identifier: GPL-2.0

//! What a connection, or a datagram socket, shares with its guest: memory, and how they notify each
//! other.

use crate::{
    doorbell::Doorbell,
    notifier::Notifier,
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
    },
    transport::Transport, //
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
        Arc,
        ArcBorrow, //
    },
    xen::{
        event::{
            Eoi,
            Handler, //
        },
        grant::MappedPages,
        shared::SharedPages,
        DomId,
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
    fn new(peer: DomId, refs: &[GrantRef], charge: Option<Charge>) -> Result<Self> {
        Ok(Self {
            pages: MappedPages::new(peer, refs)?,
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

/// Who has a data ring: a connection, or a datagram socket.
pub(crate) trait RingUser: Send + Sync {
    /// The guest says that the ring has news: has the ring looked at, in a turn that
    /// [begins](ConnRing::begin_turn) then. Any context.
    fn ring_has_news(self: ArcBorrow<'_, Self>);
}

impl Handler for dyn RingUser {
    fn handle(this: ArcBorrow<'_, Self>) -> Eoi {
        this.ring_has_news();
        Eoi::Later
    }
}

/// A data ring with its notifier: of a datagram socket, or of one connection after another.
///
/// Dropped in this order: no more events, then the memory of the guest. Dropping sleeps.
pub(crate) struct ConnRing {
    pub(crate) notifier: Notifier<dyn RingUser, MappedPages>,
    pub(crate) ring: Arc<Ring>,
    /// Where the guest has it.
    at: RingRef,
    /// The guest's indexes when it was last let send an event. For who moves bytes.
    seen: [Atomic<u32>; 2],
    _charge: Charge,
}

/// How a turn of the user's work item begins.
pub(crate) struct Turn {
    indexes: [u32; 2],
    owes_eoi: bool,
}

impl ConnRing {
    /// Maps the ring of `user`, whose order `charge` knows first, and binds to its notifier. Each word
    /// of the indexes page that describes the ring is read once. May sleep.
    pub(crate) fn new(
        transport: &Transport,
        at: RingRef,
        user: Arc<dyn RingUser>,
        charge: impl FnOnce(Order) -> Result<Charge>,
    ) -> Result<Self> {
        let peer = transport.peer();
        let index = Mapped::new(peer, &[GrantRef::new(at.grant)], None)?;
        let order = index.word(indexes::RING_ORDER)?.load(Acquire);
        let order = Order::new(order).ok_or(EINVAL)?;
        let charge = charge(order)?;
        let refs = refs(&index, order.pages(), indexes::ref_offset)?;
        let (input, output) = refs.split_at_checked(order.half_pages()).ok_or(EINVAL)?;
        // Those of one half are looked at when they are mapped.
        if output.iter().any(|grant| input.contains(grant)) {
            return Err(EINVAL);
        }
        let input = Mapped::new(peer, input, None)?;
        let output = Mapped::new(peer, output, None)?;
        let ring = DataRing::new(index, input, output, End::Back, transport.features())?;
        let ring = Arc::pin_init(ring, GFP_KERNEL)?;
        let doorbell = Doorbell::new()?;
        doorbell.connect(user);
        let shared = transport.shared_channel()?;
        let notifier = Notifier::bind(transport.dev(), shared.as_ref(), at.port, doorbell)?;
        Ok(Self {
            notifier,
            ring,
            at,
            seen: [Atomic::new(0), Atomic::new(0)],
            _charge: charge,
        })
    }

    /// Returns whether that is where the guest has it.
    pub(crate) fn is_at(&self, at: RingRef) -> bool {
        self.at == at
    }

    /// Returns the guest's indexes.
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

    /// Has events concern `user` from now on, as if the ring were new. Any context.
    pub(crate) fn connect(&self, user: Arc<dyn RingUser>) {
        for seen in &self.seen {
            seen.store(0, Relaxed);
        }
        self.notifier.doorbell().connect(user);
    }

    /// Has events concern nobody, and makes the ring as if it were new. Sleeps.
    pub(crate) fn disconnect(&self) {
        self.notifier.doorbell().disconnect();
        if self.notifier.doorbell().owes_eoi() {
            self.eoi(self.indexes());
        }
        self.ring.restart();
    }

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

/// Maps an extension for a direction of a ring, once `charge` allows it. `EINVAL` if it would be no
/// larger than what the direction has, `EALREADY` if there is one. May sleep.
pub(crate) fn extend(
    transport: &Transport,
    ring: &Ring,
    way: Way,
    order: Order,
    charge: impl FnOnce() -> Result<Charge>,
) -> Result {
    if order <= ring.order() {
        return Err(EINVAL);
    }
    if ring.is_extended(way) {
        return Err(EALREADY);
    }
    let charge = charge()?;
    let direction = indexes::direction(way);
    let refs = refs(ring.index_pages(), order.half_pages(), |i| {
        direction.extension_offset(i)
    })?;
    ring.extend(way, Mapped::new(transport.peer(), &refs, Some(charge))?)
}
