// SPDX-License-Identifier: GPL-2.0

//! The link to a backend: one for each time that the device comes up.

use crate::{
    ageing::AGEING,
    commands::{
        Commands,
        Releases, //
    },
    conn::Conn,
    counters::Counters,
    exchange::Exchange,
    listener::Listener,
    proto::{
        node::{
            self,
            Offer, //
        },
        ring::Order,
        Call,
        Dialect,
        Feature,
        Features,
        Request, //
    },
    shared_channel::{
        Opened,
        SharedChannel, //
    },
    spares::{
        Spares,
        TIDYING, //
    }, //
};
use kernel::{
    device::Bound,
    impl_has_delayed_work,
    impl_has_work,
    new_delayed_work,
    new_mutex,
    new_spinlock_irq,
    new_work,
    prelude::*,
    rbtree::{
        RBTree,
        RBTreeNode, //
    },
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Full,
            Relaxed, //
        },
        Arc,
        ArcBorrow,
        Mutex,
        SpinLockIrq, //
    },
    workqueue::{
        owned::{
            cancel_delayed_sync,
            OnQueue,
            OwnedQueue, //
        },
        DelayedWork,
        Work,
        WorkItem, //
    },
    xen::{
        event::{
            Eoi,
            EventChannel,
            Handler, //
        },
        grant::GrantedPages,
        ring::{
            FrontRing,
            SLOTS, //
        },
        trace::xensock_front as trace,
        xenbus::{
            self,
            Dir, //
        }, //
    }, //
};

/// The features that this frontend takes up, if they are offered.
const KNOWN: Features = Features::NONE
    .with(Feature::EventIndex)
    .with(Feature::Status)
    .with(Feature::Datagram)
    .with(Feature::RingReuse)
    .with(Feature::Urgent)
    .with(Feature::Waiting)
    .with(Feature::RingResize)
    .with(Feature::SharedChannel)
    .with(Feature::Info);

/// How many slots of the commands ring may be taken by listeners that wait in POLL, or be lost with
/// them, at the most.
const MAX_POLLS: usize = SLOTS as usize - 8;

/// Reads what the backend offers, of which we keep what we know, and the dialect that both ends
/// have. A backend that we cannot work with is `EOPNOTSUPP`.
fn read_offer(dev: &xenbus::Device<Bound>, device: Dialect) -> Result<(Dialect, Offer)> {
    let number = |node| match dev.read_u32(Dir::Otherend, node) {
        Ok(number) => Ok(Some(number)),
        Err(ENOENT) => Ok(None),
        Err(error) => Err(error),
    };
    let dialect = Dialect::of_link(device, number(node::NATIVE_OFFERED)?);
    let offer = Offer::read(
        dialect,
        &dev.read(Dir::Otherend, node::VERSIONS)?,
        dev.read_u32(Dir::Otherend, node::MAX_PAGE_ORDER)?,
        number(node::FUNCTION_CALLS)?,
        Features::read(dialect, |feature| number(feature.offered()))?.and(KNOWN),
    )
    .ok_or(EOPNOTSUPP)?;
    Ok((dialect, offer))
}

/// Who has to hear that the link goes down.
pub(crate) enum Member {
    /// A connection: it shares memory with the backend.
    Conn(Arc<Conn>),
    /// A listening socket: a program may wait for it.
    Listener(Arc<Listener>),
}

impl Member {
    fn is_listener(&self) -> bool {
        matches!(self, Self::Listener(_))
    }
}

/// A link to a backend.
#[pin_data]
pub(crate) struct Link {
    pub(crate) dev: ARef<xenbus::Device>,
    pub(crate) dialect: Dialect,
    offer: Offer,
    pub(crate) workers: Arc<OwnedQueue>,
    failures: Arc<OwnedQueue>,
    pub(crate) counters: Arc<Counters>,
    #[pin]
    commands: SpinLockIrq<Commands>,
    /// What the data rings share, with [`Feature::SharedChannel`].
    news: Option<Opened<GrantedPages>>,
    /// Those who have to hear of its end, by the handle of their socket; `None` once it is down.
    #[pin]
    members: Mutex<Option<RBTree<u64, Member>>>,
    #[pin]
    pub(crate) spares: Spares,
    last_id: Atomic<u64>,
    has_warned: Atomic<bool>,
    /// Changed under `down`.
    was_up: Atomic<bool>,
    /// Whether the link is down; held while it is taken down.
    #[pin]
    down: Mutex<bool>,
    #[pin]
    failure: Work<Link>,
    /// Gives up spare rings.
    #[pin]
    tidying: DelayedWork<Link, TIDYING>,
    /// Memory is short: what has grown is to shrink.
    pub(crate) is_short: Atomic<bool>,
    /// Looks after connections that have grown.
    #[pin]
    ageing: DelayedWork<Link, AGEING>,
}

impl_has_work! {
    impl HasWork<Self> for Link { self.failure }
}
impl_has_delayed_work! {
    impl HasDelayedWork<Self, TIDYING> for Link { self.tidying }
    impl HasDelayedWork<Self, AGEING> for Link { self.ageing }
}

impl Link {
    /// Sets up the commands ring and tells the backend of it. May sleep.
    pub(crate) fn new(
        dev: &xenbus::Device<Bound>,
        workers: Arc<OwnedQueue>,
        failures: Arc<OwnedQueue>,
        counters: Arc<Counters>,
    ) -> Result<Arc<Self>> {
        let device = Dialect::from_device_name(dev.devicetype()).ok_or(ENODEV)?;
        let (dialect, offer) = read_offer(dev, device)?;
        let page = GrantedPages::new(dev.otherend_id(), 1, GFP_KERNEL)?;
        let commands = Commands::new(dialect, FrontRing::new(page)?, counters.clone());
        let grant = commands.grant();
        let news = if offer.features.has(Feature::SharedChannel) {
            let page = GrantedPages::new(dev.otherend_id(), 1, GFP_KERNEL)?;
            Some(Opened::alloc(dev, page, failures.clone())?)
        } else {
            None
        };

        let link = Arc::pin_init(
            try_pin_init!(Self {
                dev: dev.normal().into(),
                dialect,
                offer,
                workers,
                failures,
                counters,
                commands <- new_spinlock_irq!(commands, "xensock_commands"),
                news,
                members <- new_mutex!(Some(RBTree::new()), "xensock_members"),
                spares <- Spares::new(),
                last_id: Atomic::new(0),
                has_warned: Atomic::new(false),
                was_up: Atomic::new(false),
                down <- new_mutex!(false, "xensock_down"),
                failure <- new_work!("xensock_failure"),
                tidying <- new_delayed_work!("xensock_tidying"),
                is_short: Atomic::new(false),
                ageing <- new_delayed_work!("xensock_ageing"),
            }),
            GFP_KERNEL,
        )?;
        let channel = EventChannel::alloc(dev, c"xensock-commands", link.clone())?;
        let port = channel.port();
        link.commands.lock().channel = Some(channel);

        let published = dev.transaction(|t| {
            t.write(node::VERSION, fmt!("1"))?;
            t.write(node::RING_REF, fmt!("{grant}"))?;
            t.write(node::PORT, fmt!("{port}"))?;
            if let Some(news) = &link.news {
                let grant = news.page().refs().first().ok_or(EINVAL)?;
                t.write(node::NEWS_REF, fmt!("{grant}"))?;
                t.write(node::NEWS_PORT, fmt!("{}", news.port()))?;
            }
            if device == Dialect::PvCalls {
                let is_native = u32::from(dialect == Dialect::XenSock);
                t.write(node::NATIVE_TAKEN, fmt!("{is_native}"))?;
            }
            if dialect == Dialect::XenSock {
                for feature in Feature::ALL {
                    let uses = u32::from(offer.features.has(feature));
                    t.write(feature.taken(), fmt!("{uses}"))?;
                }
            }
            Ok(())
        });
        if let Err(error) = published {
            link.take_down();
            return Err(error);
        }
        Ok(link)
    }

    /// The features that the link has.
    pub(crate) fn features(&self) -> Features {
        self.offer.features
    }

    /// Whether the link has a feature.
    pub(crate) fn has(&self, feature: Feature) -> bool {
        self.offer.features.has(feature)
    }

    /// The channel that data rings share, if they do.
    pub(crate) fn shared_channel(&self) -> Option<&Arc<SharedChannel<GrantedPages>>> {
        self.news.as_ref().map(Opened::channel)
    }

    /// The largest ring that the backend maps.
    pub(crate) fn max_order(&self) -> Order {
        self.offer.max_order
    }

    /// Whether the link has not gone down. Any context.
    pub(crate) fn is_up(&self) -> bool {
        self.commands.lock().is_open()
    }

    /// A handle for a new socket. 64 bits are never used up.
    pub(crate) fn new_id(&self) -> u64 {
        self.last_id.fetch_add(1, Relaxed).wrapping_add(1)
    }

    /// Makes a request that can be submitted. `EOPNOTSUPP` if the dialect does not have it.
    pub(crate) fn exchange(&self, call: Call) -> Result<Arc<Exchange>> {
        let request = Request { req_id: 0, call };
        request.encode(self.dialect).ok_or(EOPNOTSUPP)?;
        Exchange::new(&self.commands, call)
    }

    /// Sends a request, or queues it; `conn` will hear of the answer. Any context.
    ///
    /// If the link is down, the exchange ends with `ENETDOWN`, and a connection with its link.
    pub(crate) fn submit(&self, exchange: &Arc<Exchange>, conn: Option<Arc<Conn>>) {
        if !self.commands.lock().submit(exchange, conn) {
            exchange.finish(Err(ENETDOWN));
        }
    }

    /// Whether a POLL of this socket waits for its answer.
    pub(crate) fn is_polling(&self, id: u64) -> bool {
        self.commands.lock().is_polling(id)
    }

    /// The RELEASEs that the backend was sent and has not answered.
    pub(crate) fn releases(&self) -> Releases {
        self.commands.lock().releases()
    }

    /// Makes somebody known to the link. May sleep. `ENETDOWN` if the link has gone down, `ENOBUFS`
    /// if it has no slot for another listener's POLL.
    pub(crate) fn enter(&self, id: u64, member: Member) -> Result {
        let is_listener = member.is_listener();
        let node = RBTreeNode::new(id, member, GFP_KERNEL)?;
        let lost = self.commands.lock().lost_slots();
        let mut members = self.members.lock();
        let members = (*members).as_mut().ok_or(ENETDOWN)?;
        if is_listener {
            self.check_polls(members, lost)?;
        }
        members.insert(node);
        self.counters.enter(is_listener);
        Ok(())
    }

    /// Whether another listener can be made known to the link, as it looks now: `ENETDOWN` and
    /// `ENOBUFS` as [`Self::enter`] has them. May sleep.
    pub(crate) fn may_listen(&self) -> Result {
        let lost = self.commands.lock().lost_slots();
        let members = self.members.lock();
        self.check_polls((*members).as_ref().ok_or(ENETDOWN)?, lost)
    }

    /// Whether there is a slot for another POLL: `ENOBUFS`.
    fn check_polls(&self, members: &RBTree<u64, Member>, lost: usize) -> Result {
        let listeners = members.values().filter(|member| member.is_listener());
        match self.dialect {
            Dialect::PvCalls if listeners.count() + lost >= MAX_POLLS => Err(ENOBUFS),
            _ => Ok(()),
        }
    }

    /// Forgets somebody whom the end of the link no longer concerns. May sleep.
    pub(crate) fn forget(&self, id: u64) {
        let gone = (*self.members.lock())
            .as_mut()
            .and_then(|members| members.remove(&id));
        if let Some(member) = gone {
            self.counters.leave(member.is_listener());
        }
    }

    /// Does something unless the link has gone down. May sleep, but must not itself.
    pub(crate) fn if_open(&self, what: impl FnOnce()) {
        if self.members.lock().is_some() {
            what();
        }
    }

    /// Does something with each of those who are known to the link. May sleep, but must not itself.
    pub(crate) fn for_each(&self, what: impl FnMut(&Member)) {
        if let Some(members) = (*self.members.lock()).as_ref() {
            members.values().for_each(what);
        }
    }

    /// Notes that both ends are connected. Called in [`Self::while_up`].
    pub(crate) fn connected(&self) {
        self.was_up.store(true, Relaxed);
        self.counters.link_up();
        trace::link(self.dev.otherend_id(), c"connected", Ok(()));
    }

    /// Takes the link down: every socket sees a reset, and no memory is shared any longer.
    ///
    /// May sleep; idempotent. xenbus may tell the backend of Closed once this has returned.
    pub(crate) fn take_down(self: &Arc<Self>) {
        let mut down = self.down.lock();
        if !*down {
            *down = true;
            self.end(Ok(()));
        }
    }

    /// Does something unless the link is down or goes down meanwhile; returns whether it was done.
    /// May sleep.
    pub(crate) fn while_up(
        self: &Arc<Self>,
        what: impl FnOnce(&Arc<Self>) -> Result,
    ) -> Result<bool> {
        let down = self.down.lock();
        if *down {
            return Ok(false);
        }
        what(self).map(|()| true)
    }

    /// Takes the link down because the backend broke the rules, unless it is down already.
    fn fail(self: &Arc<Self>) {
        let mut down = self.down.lock();
        if !*down {
            *down = true;
            self.end(Err(EPROTO));
            self.dev
                .fatal(EPROTO, c"impossible response or index in the commands ring");
        }
    }

    fn end(self: &Arc<Self>, why: Result) {
        let was_up = self.was_up.load(Relaxed);
        if was_up {
            self.counters.link_lost();
        }
        if was_up || why.is_err() {
            let state = if why.is_ok() { c"lost" } else { c"failed" };
            trace::link(self.dev.otherend_id(), state, why);
        }
        let members = self.members.lock().take();
        let closed = self.commands.lock().close();
        // Outside the locks: this waits for the handler of the channel, and revokes grants.
        drop(closed);
        if let Some(news) = &self.news {
            news.close();
            news.page().revoke();
        }
        let members = || members.iter().flat_map(|m| m.values());
        // First, so that nobody who accepts takes the end of what was posted for a failure of it.
        for member in members() {
            self.counters.leave(member.is_listener());
            if let Member::Listener(listener) = member {
                listener.link_down();
            }
        }
        for member in members() {
            if let Member::Conn(conn) = member {
                Conn::link_down(conn);
            }
        }
        // After the members: a ring that goes from those to the spares is found with either.
        self.spares.close();
        loop {
            let unanswered = self.commands.lock().next_unanswered();
            match unanswered {
                Some(answer) => answer.deliver(),
                None => break,
            }
        }
        // What they waited for has come, and they are not queued again.
        let _ = cancel_delayed_sync::<_, TIDYING>(self);
        let _ = cancel_delayed_sync::<_, AGEING>(self);
    }

    /// Says what the backend did wrong, once for each link.
    pub(crate) fn warn_once(&self, what: &CStr) {
        if !self.has_warned.xchg(true, Full) {
            dev_err!(self.dev.as_ref(), "backend: {}\n", what);
        }
    }

    /// Takes what the backend has answered, and says whether there was anything. Hard IRQ.
    fn take_answers(&self) -> Result<bool> {
        let mut any = false;
        loop {
            let answer = self.commands.lock().next_answer()?;
            match answer {
                Some(answer) => answer.deliver(),
                None => return Ok(any),
            }
            any = true;
        }
    }
}

impl Handler for Link {
    fn handle(this: ArcBorrow<'_, Self>) -> Eoi {
        match this.take_answers() {
            Ok(true) => Eoi::Done,
            Ok(false) => Eoi::Spurious,
            Err(_) => {
                let _ = this.failures.enqueue::<_, 0>(Arc::<Link>::from(this));
                // No further event is let in: the channel is going to be closed.
                Eoi::Later
            }
        }
    }
}

impl OnQueue for Link {
    fn queue(&self) -> &Arc<OwnedQueue> {
        &self.workers
    }
}

impl WorkItem for Link {
    type Pointer = Arc<Link>;

    /// Ends a link whose backend broke the rules.
    fn run(this: Arc<Link>) {
        this.fail();
    }
}
