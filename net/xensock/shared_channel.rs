// SPDX-License-Identifier: GPL-2.0

//! One event channel for all data rings of a link.
//!
//! An event says that rings have news, and the [news page](crate::proto::news) says which. The
//! handler goes through these rings once, and makes the user of each look at it. In the frontend
//! that completes the work; in the backend the user queues a work item. Each ring has a slot in the
//! channel.
//!
//! The event ends (late EOI) when the pass is complete and, in the backend, when one of the work
//! items has begun and found news, or all have begun and found none. So a peer has at most one
//! event until something is done for it, and events without news are delayed. The end of an event
//! does not wait for work to be completed: rings with much work do not keep other rings waiting.
//!
//! The owner of the channel can also poll: it rings the bells of rings that have news all the time,
//! and the peer sends no events meanwhile.

#[path = "shared_channel/slots.rs"]
mod slots;

use crate::{
    proto::news::{
        self,
        Bits,
        NewsWords,
        Pass,
        Slot, //
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
        atomic::Relaxed,
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
pub(crate) use slots::Bell;
use slots::{
    BellGroup,
    Slots, //
};

/// Maximum number of bells that are rung before other work has its turn.
const BUDGET: usize = 32;

/// The news page, at either end.
pub trait NewsPage: Deref<Target = SharedPages> + Send + Sync + 'static {}

impl<T: Deref<Target = SharedPages> + Send + Sync + 'static> NewsPage for T {}

impl Bits for SharedPages {
    fn set(&self, n: usize) -> bool {
        self.set_bit(n).unwrap_or(true)
    }

    fn take(&self, offset: usize) -> u32 {
        self.take_word(offset).unwrap_or(0)
    }

    fn load(&self, offset: usize) -> u32 {
        self.word(offset).map_or(0, |word| word.load(Relaxed))
    }
}

/// The state of the current event.
struct EventState {
    slots: Slots,
    pass: Pass,
    /// Set while the owner of the channel polls, so that the peer sends no events.
    is_polled: bool,
    /// Set if the owner has polled since the last event. It may have found the news of the next
    /// event, which then counts as one with news.
    was_polled: bool,
    /// Set while the work item has to continue the pass.
    must_continue: bool,
    /// Number of users that were told and have not looked yet, including those told by earlier
    /// events.
    pending_looks: usize,
    /// Set if a user that has looked since the event came has found news.
    has_news: bool,
    /// Set until the event is ended.
    owes_eoi: bool,
}

impl EventState {
    /// Returns the way in which the event ends, or `None` if it ends later.
    fn end(&mut self) -> Option<Eoi> {
        let is_open = self.must_continue || !self.has_news && self.pending_looks > 0;
        if is_open || !core::mem::take(&mut self.owes_eoi) {
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
    /// The words of the news page for the peer.
    ours: NewsWords,
    /// The words of the peer for this end.
    theirs: NewsWords,
    queue: Arc<OwnedQueue>,
    /// Held while the bells are rung.
    #[pin]
    state: SpinLockIrq<EventState>,
    /// `None` before the channel is open, and once it was closed.
    #[pin]
    channel: SpinLockIrq<Option<EventChannel<SharedChannel<P>>>>,
    #[pin]
    work: Work<SharedChannel<P>>,
}

impl_has_work! {
    impl{P: NewsPage} HasWork<SharedChannel<P>> for SharedChannel<P> { self.work }
}

/// An open [`SharedChannel`]. Dropping it closes the channel, which may sleep.
pub struct Opened<P: NewsPage>(Arc<SharedChannel<P>>);

impl<P: NewsPage> Opened<P> {
    /// Opens a channel, with a page of zeroes. The peer has to be told of both. Long passes
    /// continue on `queue`. May sleep. For the frontend.
    pub fn alloc(
        dev: &xenbus::Device<impl DeviceContext>,
        page: P,
        queue: Arc<OwnedQueue>,
    ) -> Result<Self> {
        Self::new(page, End::Front, queue, |this| {
            EventChannel::alloc(dev, c"xensock", this)
        })
    }

    /// Binds to the channel that the peer has opened. For the backend; otherwise as
    /// [`Self::alloc`].
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
            is_polled: false,
            was_polled: false,
            must_continue: false,
            pending_looks: 0,
            has_news: false,
            owes_eoi: false,
        };
        let this = Arc::pin_init(
            pin_init!(SharedChannel {
                page,
                ours,
                theirs,
                queue,
                state <- new_spinlock_irq!(state, "xensock_slots"),
                channel <- new_spinlock_irq!(None, "xensock_shared_channel"),
                work <- new_work!("xensock_news"),
            }),
            GFP_KERNEL,
        )?;
        // While no slot is in use, each event ends at once.
        let channel = open(this.clone())?;
        *this.channel.lock() = Some(channel);
        Ok(Self(this))
    }

    /// Closes the channel. Afterwards there are no events in either direction. May sleep.
    /// Idempotent.
    pub fn close(&self) {
        let channel = self.0.channel.lock().take();
        // Outside the lock: dropping the channel waits for its handler.
        drop(channel);
    }

    /// Returns the port number of the channel, or 0 once it was closed.
    pub fn port(&self) -> u32 {
        let channel = self.0.channel.lock();
        channel
            .as_ref()
            .map_or(0, |channel| channel.port().as_raw())
    }

    /// Returns the news page.
    pub fn page(&self) -> &P {
        &self.0.page
    }

    /// Returns the channel, for a user of a slot.
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
    /// Assigns a slot to `bell`: the `wanted` one, or any. `EINVAL` if the wanted slot is in use,
    /// `ENOBUFS` if all are. May sleep.
    pub(crate) fn claim(&self, wanted: Option<Slot>, bell: Arc<dyn Bell>) -> Result<Slot> {
        let mut spare = None;
        loop {
            if let Some(slot) = self.state.lock().slots.add(wanted, &bell, &mut spare)? {
                return Ok(slot);
            }
            spare = Some(BellGroup::new()?);
        }
    }

    /// Frees a slot; its bell does not ring any more. Any context, unless this drops the last
    /// reference to the bell.
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

    /// Notes that a user that was told has looked, and if it has found news. Any context.
    pub(crate) fn note_look(&self, has_news: bool) {
        let end = {
            let mut state = self.state.lock();
            state.pending_looks = state.pending_looks.saturating_sub(1);
            state.has_news |= has_news;
            state.end()
        };
        self.eoi(end);
    }

    /// Keeps the peer from sending events, until [`Self::end_polling`]. The caller has to call
    /// [`Self::poll`] all the time, and so must not be preempted meanwhile. Any context.
    pub fn begin_polling(&self) {
        let mut state = self.state.lock();
        state.is_polled = true;
        state.was_polled = true;
        for group in state.slots.used_groups() {
            self.theirs.silence(&*self.page, group);
        }
    }

    /// Returns `true` if a ring has news. Any context.
    pub fn has_news(&self) -> bool {
        self.theirs.has_news(&*self.page)
    }

    /// Rings the bells of the rings that have news, without an event. Any context.
    pub fn poll(this: ArcBorrow<'_, Self>) {
        let end = {
            let mut state = this.state.lock();
            if state.must_continue {
                // The work item continues this pass, which might not end if polling added to it.
                return;
            }
            state.pass.begin_polled(&*this.page);
            Self::continue_pass(this, &mut state)
        };
        this.eoi(end);
    }

    /// Lets the peer send events again, and looks for the news that it has not sent one for. Any
    /// context.
    pub fn end_polling(this: ArcBorrow<'_, Self>) {
        let end = {
            let mut state = this.state.lock();
            state.is_polled = false;
            state.pass.begin(&*this.page);
            Self::continue_pass(this, &mut state)
        };
        this.eoi(end);
    }

    /// Continues a pass, for at most one turn. Returns the way in which the event ends, or `None`
    /// if it ends later.
    fn continue_pass(this: ArcBorrow<'_, Self>, state: &mut EventState) -> Option<Eoi> {
        let mut rung = 0;
        state.must_continue = false;
        while let Some(group) = state.pass.next(&*this.page) {
            for bell in group.filter_map(|slot| state.slots.get(slot)) {
                match bell.ring() {
                    Eoi::Done => state.has_news = true,
                    // OVERFLOW: There are no more than slots.
                    Eoi::Later => state.pending_looks += 1,
                    Eoi::Spurious => (),
                }
                rung += 1;
            }
            if rung >= BUDGET {
                state.must_continue = true;
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
        state.owes_eoi = true;
        state.has_news = core::mem::take(&mut state.was_polled);
        match state.is_polled {
            // An event for a group without slots in use when polling began, or sent before that.
            true => state.pass.begin_polled(&*this.page),
            false => state.pass.begin(&*this.page),
        }
        Self::continue_pass(this, &mut state).unwrap_or(Eoi::Later)
    }
}

impl<P: NewsPage> WorkItem for SharedChannel<P> {
    type Pointer = Arc<Self>;

    /// Continues a pass that was too long for one turn, unless the channel is closed.
    fn run(this: Arc<Self>) {
        if this.channel.lock().is_none() {
            return;
        }
        let end = Self::continue_pass(this.as_arc_borrow(), &mut this.state.lock());
        this.eoi(end);
    }
}
