// SPDX-License-Identifier: GPL-2.0

//! One event channel for all data rings of a link.
//!
//! An event says that rings have news, and the [news page](crate::proto::news) says which. The
//! handler goes through these once, and has who uses each of them look: in the frontend that is all
//! there is to do, in the backend it has a work item run. A ring is found by its slot.
//!
//! An event ends, as late EOI has it, when all of that was done; in the backend when one of the work
//! items has begun and has found news, or all have and there were none. So a peer cannot have more
//! than one event until something is done for it, and events without any news are delayed. Nobody
//! waits for the end of somebody's work: those that have much to do are no reason to keep the others
//! waiting.

use crate::{
    proto::news::{
        self,
        Bits,
        NewsWords,
        Pass,
        Slot,
        GROUPS, //
    },
    ring::End, //
};
use core::ops::Deref;
use kernel::{
    device::DeviceContext,
    impl_has_work,
    new_spinlock_irq,
    new_work,
    prelude::*,
    sync::{
        Arc,
        ArcBorrow,
        SpinLockIrq, //
    },
    workqueue::{
        owned::OwnedQueue,
        Work,
        WorkItem, //
    },
    xen::{
        event::{
            Eoi,
            EventChannel,
            Handler, //
        },
        shared::SharedPages,
        xenbus,
        Port, //
    }, //
};

/// How many are told before other work has its turn.
const BUDGET: usize = 32;

/// Slots that have one word of bits.
const GROUP: usize = news::SLOTS / GROUPS;

/// Who hears that a ring has news.
pub trait Bell: Send + Sync {
    /// Has whoever it concerns look. Any context. With [`Eoi::Later`],
    /// [`SharedChannel::has_looked`] follows, once.
    fn ring(&self) -> Eoi;
}

/// The news page, from either end.
pub trait NewsPage: Deref<Target = SharedPages> + Send + Sync + 'static {}

impl<T: Deref<Target = SharedPages> + Send + Sync + 'static> NewsPage for T {}

impl Bits for SharedPages {
    fn set(&self, n: usize) -> bool {
        self.set_bit(n).unwrap_or(true)
    }

    fn take(&self, offset: usize) -> u32 {
        self.take_word(offset).unwrap_or(0)
    }
}

/// Those who use the slots of one word.
struct BellGroup {
    bells: [Option<Arc<dyn Bell>>; GROUP],
    count: usize,
}

/// Those who use the slots.
struct Slots(KVec<Option<KBox<BellGroup>>>);

impl Slots {
    fn new() -> Result<Self> {
        let mut groups = KVec::with_capacity(GROUPS, GFP_KERNEL)?;
        for _ in 0..GROUPS {
            groups.push(None, GFP_KERNEL)?;
        }
        Ok(Self(groups))
    }

    fn get(&self, slot: Slot) -> Option<&Arc<dyn Bell>> {
        let group = self.0.get(slot.group())?.as_ref()?;
        group.bells.get(slot.bit())?.as_ref()
    }

    /// The lowest one that nobody uses.
    fn first_free(&self) -> Option<Slot> {
        self.0.iter().enumerate().find_map(|(i, group)| {
            let bit = match group {
                None => 0,
                Some(group) if group.count == GROUP => return None,
                Some(group) => group.bells.iter().position(Option::is_none)?,
            };
            Slot::of(i, bit)
        })
    }

    /// The group of a slot, which `spare` is if there was none. [`None`] if there is none.
    fn group(&mut self, slot: Slot, spare: &mut Option<KBox<BellGroup>>) -> Option<&mut BellGroup> {
        let group = self.0.get_mut(slot.group())?;
        if group.is_none() {
            *group = spare.take();
        }
        group.as_deref_mut()
    }

    fn remove(&mut self, slot: Slot) -> Option<Arc<dyn Bell>> {
        let group = self.group(slot, &mut None)?;
        let bell = group.bells.get_mut(slot.bit())?.take()?;
        // OVERFLOW: It was counted.
        group.count -= 1;
        Some(bell)
    }
}

/// What events are about.
struct EventState {
    slots: Slots,
    pass: Pass,
    /// The work item goes on with the pass.
    goes_on: bool,
    /// How many were told and have not looked yet, also those of events before.
    looking: usize,
    /// Since the event came, somebody who has looked has found something.
    has_news: bool,
    /// It has not ended yet.
    is_due: bool,
}

impl EventState {
    /// How the event ends, unless it ends later.
    fn end(&mut self) -> Option<Eoi> {
        let is_open = self.goes_on || !self.has_news && self.looking > 0;
        if is_open || !core::mem::take(&mut self.is_due) {
            return None;
        }
        match self.has_news {
            true => Some(Eoi::Done),
            false => Some(Eoi::Spurious),
        }
    }
}

/// The event channel that the rings of a link share.
#[pin_data]
pub struct SharedChannel<P: NewsPage> {
    page: P,
    /// What we have for the peer.
    ours: NewsWords,
    queue: Arc<OwnedQueue>,
    /// Held while those who have news are told.
    #[pin]
    state: SpinLockIrq<EventState>,
    /// `None` before it is open, and once it was closed.
    #[pin]
    channel: SpinLockIrq<Option<EventChannel<SharedChannel<P>>>>,
    #[pin]
    work: Work<SharedChannel<P>>,
}

impl_has_work! {
    impl{P: NewsPage} HasWork<SharedChannel<P>> for SharedChannel<P> { self.work }
}

/// A [`SharedChannel`] that is open. Dropping closes it, which may sleep.
pub struct Opened<P: NewsPage>(Arc<SharedChannel<P>>);

impl<P: NewsPage> Opened<P> {
    /// Opens a channel, with a page of zeroes, which the peer is told of. What is left to do of an
    /// event is done on `queue`. May sleep. For the frontend.
    pub fn alloc(
        dev: &xenbus::Device<impl DeviceContext>,
        page: P,
        queue: Arc<OwnedQueue>,
    ) -> Result<Self> {
        Self::new(page, End::Front, queue, |this| {
            EventChannel::alloc(dev, c"xensock", this)
        })
    }

    /// Binds to the channel that the peer has opened. For the backend; as [`Self::alloc`].
    pub fn bind(
        dev: &xenbus::Device<impl DeviceContext>,
        port: Port,
        page: P,
        queue: Arc<OwnedQueue>,
    ) -> Result<Self> {
        Self::new(page, End::Back, queue, |this| {
            EventChannel::bind(dev, port, c"xensock", this)
        })
    }

    fn new(
        page: P,
        end: End,
        queue: Arc<OwnedQueue>,
        open: impl FnOnce(Arc<SharedChannel<P>>) -> Result<EventChannel<SharedChannel<P>>>,
    ) -> Result<Self> {
        let (ours, theirs) = match end {
            End::Front => (news::OUT, news::IN),
            End::Back => (news::IN, news::OUT),
        };
        let state = EventState {
            slots: Slots::new()?,
            pass: Pass::new(theirs),
            goes_on: false,
            looking: 0,
            has_news: false,
            is_due: false,
        };
        let this = Arc::pin_init(
            pin_init!(SharedChannel {
                page,
                ours,
                queue,
                state <- new_spinlock_irq!(state, "xensock_slots"),
                channel <- new_spinlock_irq!(None, "xensock_shared_channel"),
                work <- new_work!("xensock_news"),
            }),
            GFP_KERNEL,
        )?;
        // As long as no slot is used, each event ends at once.
        let channel = open(this.clone())?;
        *this.channel.lock() = Some(channel);
        Ok(Self(this))
    }

    /// Closes the channel. There are no events after this, in neither direction. May sleep;
    /// idempotent.
    pub fn close(&self) {
        let channel = self.0.channel.lock().take();
        // Outside the lock: waits for the handler.
        drop(channel);
    }

    /// The number of the port that was opened; 0 once it was closed.
    pub fn port(&self) -> u32 {
        let channel = self.0.channel.lock();
        channel
            .as_ref()
            .map_or(0, |channel| channel.port().as_raw())
    }

    /// The news page.
    pub fn page(&self) -> &P {
        &self.0.page
    }

    /// The channel, for somebody who uses a slot.
    pub fn channel(&self) -> &Arc<SharedChannel<P>> {
        &self.0
    }
}

impl<P: NewsPage> Drop for Opened<P> {
    fn drop(&mut self) {
        self.close();
    }
}

impl<P: NewsPage> SharedChannel<P> {
    /// Has `bell` ring for the news of a slot: of the one that is `wanted`, or of any. `EINVAL` if
    /// that is in use, `ENOBUFS` if all are. May sleep.
    pub(crate) fn claim(&self, wanted: Option<Slot>, bell: Arc<dyn Bell>) -> Result<Slot> {
        let mut spare = None;
        loop {
            {
                let mut state = self.state.lock();
                let slot = wanted.or_else(|| state.slots.first_free()).ok_or(ENOBUFS)?;
                if let Some(group) = state.slots.group(slot, &mut spare) {
                    let place = group.bells.get_mut(slot.bit()).ok_or(EINVAL)?;
                    if place.is_some() {
                        return Err(EINVAL);
                    }
                    *place = Some(bell);
                    // OVERFLOW: There are that many places.
                    group.count += 1;
                    return Ok(slot);
                }
            }
            let group = BellGroup {
                bells: [const { None }; GROUP],
                count: 0,
            };
            spare = Some(KBox::new(group, GFP_KERNEL)?);
        }
    }

    /// Has nobody hear of a slot any more. Any context, unless that was the last who knows the bell.
    pub(crate) fn release(&self, slot: Slot) {
        let bell = self.state.lock().slots.remove(slot);
        // Outside the lock.
        drop(bell);
    }

    /// Tells the peer that a ring has news. Any context.
    pub(crate) fn announce(&self, slot: Slot) {
        if self.ours.announce(&*self.page, slot) {
            if let Some(channel) = self.channel.lock().as_ref() {
                channel.notify();
            }
        }
    }

    /// Says that one of those who were told has looked, and whether it has found anything. Any
    /// context.
    pub(crate) fn has_looked(&self, has_news: bool) {
        let end = {
            let mut state = self.state.lock();
            state.looking = state.looking.saturating_sub(1);
            state.has_news |= has_news;
            state.end()
        };
        self.eoi(end);
    }

    /// Goes on with a pass, as long as a turn may last. Returns how the event ends, unless it ends
    /// later.
    fn go_on(this: ArcBorrow<'_, Self>, state: &mut EventState) -> Option<Eoi> {
        let mut told = 0;
        state.goes_on = false;
        while let Some(group) = state.pass.next(&*this.page) {
            for bell in group.filter_map(|slot| state.slots.get(slot)) {
                match bell.ring() {
                    Eoi::Done => state.has_news = true,
                    // OVERFLOW: There are no more than slots.
                    Eoi::Later => state.looking += 1,
                    Eoi::Spurious => (),
                }
                told += 1;
            }
            if told >= BUDGET {
                state.goes_on = true;
                let _ = this.queue.enqueue(Arc::from(this));
                break;
            }
        }
        state.end()
    }

    /// Ends the event, if it ends now.
    fn eoi(&self, end: Option<Eoi>) {
        let Some(end) = end else {
            return;
        };
        if let Some(channel) = self.channel.lock().as_ref() {
            channel.eoi(end == Eoi::Spurious);
        }
    }
}

impl<P: NewsPage> Handler for SharedChannel<P> {
    fn handle(this: ArcBorrow<'_, Self>) -> Eoi {
        let mut state = this.state.lock();
        state.is_due = true;
        state.has_news = false;
        state.pass.begin(&*this.page);
        Self::go_on(this, &mut state).unwrap_or(Eoi::Later)
    }
}

impl<P: NewsPage> WorkItem for SharedChannel<P> {
    type Pointer = Arc<Self>;

    /// Goes on with a pass that was too long for one turn, unless the channel is closed.
    fn run(this: Arc<Self>) {
        if this.channel.lock().is_none() {
            return;
        }
        let end = Self::go_on(this.as_arc_borrow(), &mut this.state.lock());
        this.eoi(end);
    }
}
