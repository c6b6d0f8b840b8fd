// SPDX-License-Identifier: GPL-2.0

//! The ring that a connection or a datagram socket shares with its guest: memory, and the notifier.

use crate::{
    doorbell::Doorbell,
    notifier::Notifier,
    poller::Poller,
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
        End,
        TakenExtension, //
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

/// Mapped memory of the guest. Dropping sleeps.
pub(crate) struct Mapped {
    pages: MappedPages,
    /// The charges on the pages of the guest and of the user, unless the ring has them. Dropped last.
    _charges: Option<[Charge; 2]>,
}

impl Mapped {
    /// Maps granted pages of the guest. May sleep.
    fn new(peer: DomId, refs: &[GrantRef], charges: Option<[Charge; 2]>) -> Result<Self> {
        Ok(Self {
            pages: MappedPages::new(peer, refs)?,
            _charges: charges,
        })
    }
}

impl Deref for Mapped {
    type Target = SharedPages;

    fn deref(&self) -> &Self::Target {
        &self.pages
    }
}

/// A data ring of the guest.
pub(crate) type Ring = DataRing<Mapped>;

/// The user of a data ring: a connection or a datagram socket.
pub(crate) trait RingUser: Send + Sync {
    /// Called when the guest reports news in the ring. Arranges for a turn that looks at the ring
    /// and [begins](ConnRing::begin_turn) then. Any context.
    fn ring_has_news(self: ArcBorrow<'_, Self>);
}

impl Handler for dyn RingUser {
    fn handle(this: ArcBorrow<'_, Self>) -> Eoi {
        this.ring_has_news();
        Eoi::Later
    }
}

/// A data ring with its notifier. It belongs to a datagram socket, or to one connection after
/// another.
///
/// Dropped in this order: the notifier ends the events, then the memory of the guest is unmapped.
/// Dropping sleeps.
pub(crate) struct ConnRing {
    pub(crate) notifier: Notifier<dyn RingUser, MappedPages>,
    pub(crate) ring: Arc<Ring>,
    /// The location of the ring in the guest.
    at: RingRef,
    /// The guest's indexes at the last EOI. Only the task that moves bytes uses them.
    seen: [Atomic<u32>; 2],
    /// Told of news, if the ring shares its channel.
    poller: Option<Arc<Poller>>,
    /// The owner of the socket that it was mapped for, who is charged.
    owner: u64,
    _charges: [Charge; 2],
}

/// The start of a turn of the user's work item.
pub(crate) struct Turn {
    indexes: [u32; 2],
    owes_eoi: bool,
}

impl ConnRing {
    /// Maps the ring of `user`, a socket of `owner`, and binds to its notifier. Calls `charge` with
    /// the order of the ring before it maps the data pages. Reads each word of the indexes page that
    /// describes the ring once. May sleep.
    pub(crate) fn new(
        transport: &Transport,
        at: RingRef,
        user: Arc<dyn RingUser>,
        owner: u64,
        charge: impl FnOnce(Order) -> Result<[Charge; 2]>,
    ) -> Result<Self> {
        let peer = transport.peer();
        let index = Mapped::new(peer, &[GrantRef::new(at.grant)], None)?;
        let order = index.word(indexes::RING_ORDER)?.load(Acquire);
        let order = Order::new(order).ok_or(EINVAL)?;
        let charges = charge(order)?;
        let refs = refs(&index, order.pages(), indexes::ref_offset)?;
        let (input, output) = refs.split_at_checked(order.half_pages()).ok_or(EINVAL)?;
        // Duplicates within one half are found when it is mapped.
        if output.iter().any(|grant| input.contains(grant)) {
            return Err(EINVAL);
        }
        let input = Mapped::new(peer, input, None)?;
        let output = Mapped::new(peer, output, None)?;
        let ring = DataRing::new(index, input, output, End::Back, transport.features())?;
        let ring = Arc::pin_init(ring, GFP_KERNEL)?;
        let doorbell = Doorbell::new()?;
        doorbell.connect(user);
        let (channel, poller) = transport.shared_channel()?.unzip();
        let notifier = Notifier::bind(transport.dev(), channel.as_ref(), at.port, doorbell)?;
        Ok(Self {
            notifier,
            ring,
            at,
            seen: [Atomic::new(0), Atomic::new(0)],
            poller,
            owner,
            _charges: charges,
        })
    }

    /// Returns `true` if the ring was mapped for a socket of `owner`.
    pub(crate) fn is_of(&self, owner: u64) -> bool {
        self.owner == owner
    }

    /// Returns the number of its pages, without extensions.
    pub(crate) fn pages(&self) -> usize {
        self.ring.order().grants()
    }

    /// Returns `true` if the guest has the ring at `at`.
    pub(crate) fn is_at(&self, at: RingRef) -> bool {
        self.at == at
    }

    /// Returns the guest's indexes.
    fn indexes(&self) -> [u32; 2] {
        [self.ring.arrived(), self.ring.taken()]
    }

    /// Begins a turn, and notes the guest's indexes.
    pub(crate) fn begin_turn(&self) -> Turn {
        self.begin_pass();
        // First: a later event is for later indexes.
        let owes_eoi = self.notifier.doorbell().owes_eoi();
        let indexes = self.indexes();
        Turn { indexes, owes_eoi }
    }

    /// Ends an event that has come during a turn, if other rings of the guest wait for that. For
    /// each pass of a turn: the pass sees what the event was for.
    pub(crate) fn begin_pass(&self) {
        if self.notifier.is_shared() && self.notifier.doorbell().owes_eoi() {
            self.eoi(self.indexes());
        }
    }

    /// Ends a turn that leaves nothing to do.
    pub(crate) fn end_turn(&self, turn: Turn) {
        if turn.owes_eoi && !self.notifier.is_shared() {
            self.eoi(turn.indexes);
        }
    }

    /// Lets the guest send the next event. The event comes later if the last one was spurious: if
    /// the guest's indexes at the start of the turn were those of the previous EOI.
    fn eoi(&self, indexes: [u32; 2]) {
        let is_same = |(seen, index): (&Atomic<u32>, u32)| seen.xchg(index, Relaxed) == index;
        // Each index has to be exchanged, even after one that differs.
        let same = self
            .seen
            .iter()
            .zip(indexes)
            .filter(|pair| is_same(*pair))
            .count();
        let spurious = same == indexes.len();
        if let Some(poller) = self.poller.as_ref().filter(|_| !spurious) {
            poller.note_news();
        }
        self.notifier.eoi(spurious);
    }

    /// Passes events to `user` from now on, as if the ring were new. Any context.
    pub(crate) fn connect(&self, user: Arc<dyn RingUser>) {
        for seen in &self.seen {
            seen.store(0, Relaxed);
        }
        self.notifier.doorbell().connect(user);
    }

    /// Ends the events of the current user, and resets the ring as if it were new. Sleeps.
    pub(crate) fn disconnect(&self) {
        self.notifier.doorbell().disconnect();
        if self.notifier.doorbell().owes_eoi() {
            self.eoi(self.indexes());
        }
        self.ring.restart();
    }

    /// Changes the memory of the directions as far as possible: new data for the guest go into the
    /// extension if there is one, and an `unwanted` extension is unmapped. Returns `true` for each
    /// direction that is done; otherwise its extension is still in use. For the work item. Sleeps.
    pub(crate) fn resize(&self, unwanted: impl Fn(Way) -> bool) -> Result<[bool; 2], Violation> {
        let is_large = !unwanted(Way::In) && self.ring.is_extended(Way::In);
        let memory = if is_large {
            Memory::Extension
        } else {
            Memory::Base
        };
        // Tried again later, if the guest has not followed the last change.
        if self.ring.produce_into(memory) {
            self.notifier.notify();
        }
        let mut done = [true; 2];
        for (way, done) in Way::ALL.into_iter().zip(&mut done) {
            if unwanted(way) {
                // GROW may add another extension at once.
                *done = match self.ring.take_extension(way)? {
                    TakenExtension::InUse => false,
                    // This unmaps the extension.
                    TakenExtension::Removed(extension) => {
                        drop(extension);
                        true
                    }
                };
            }
        }
        Ok(done)
    }

    /// Returns `true` if new data for the guest already go into the memory that [`Self::resize`]
    /// chooses, so that `resize` need not be tried again. Only for the task that moves bytes.
    pub(crate) fn is_settled(&self) -> bool {
        (self.ring.tx_memory() == Memory::Extension) == self.ring.is_extended(Way::In)
    }
}

/// Reads `count` grants from the indexes page, each once.
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

/// Maps an extension for a direction of a ring, if `charge` allows it. `EINVAL` if it would not be
/// larger than the base of the direction, `EALREADY` if there is an extension. May sleep.
pub(crate) fn extend(
    transport: &Transport,
    ring: &Ring,
    way: Way,
    order: Order,
    charge: impl FnOnce() -> Result<[Charge; 2]>,
) -> Result {
    if order <= ring.order() {
        return Err(EINVAL);
    }
    if ring.is_extended(way) {
        return Err(EALREADY);
    }
    let charges = charge()?;
    let direction = indexes::direction(way);
    let refs = refs(ring.index_pages(), order.half_pages(), |i| {
        direction.extension_offset(i)
    })?;
    ring.extend(way, Mapped::new(transport.peer(), &refs, Some(charges))?)
}
