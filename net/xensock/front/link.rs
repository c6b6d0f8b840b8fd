// SPDX-License-Identifier: GPL-2.0

//! The link to a backend. A new link is created each time the device comes up.

mod expiry;
mod member;
mod reclaim;
mod responses;
mod revival;

use crate::{
    counters::Counters,
    proto::shortage::Shortages,
    ring_pool::RingPool,
    transport::Transport, //
};
use core::ops::Deref;
use expiry::EXPIRY;
use kernel::{
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
        Arc,
        ArcBorrow,
        Mutex,
        SpinLockIrq, //
    },
    time::{
        Instant,
        Monotonic, //
    },
    workqueue::{
        owned::{
            cancel_delayed_sync,
            cancel_sync,
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
            Handler, //
        },
        trace::xensock_front as trace,
        xenbus, //
    }, //
};
pub(crate) use member::{
    Member,
    Summary, //
};
use reclaim::RECLAIM;
use responses::{
    RESPONSES,
    TAKING, //
};
pub(crate) use revival::Revive;
use revival::{
    NEXT_REVIVAL,
    REVIVAL, //
};

/// The members of a link, by the handle of their socket.
type Members = RBTree<u64, Arc<dyn Member>>;

/// A link to a backend.
#[pin_data]
pub(crate) struct Link {
    #[pin]
    transport: Transport,
    /// Runs work items that may wait for this backend.
    pub(crate) workers: Arc<OwnedQueue>,
    failures: Arc<OwnedQueue>,
    revive: Revive,
    /// Called when the link has ended by itself. May sleep.
    on_failure: fn(),
    /// Members that are notified when the link ends. `None` marks a link that is down or going
    /// down.
    #[pin]
    members: Mutex<Option<Members>>,
    #[pin]
    pub(crate) ring_pool: RingPool,
    /// Set once both ends are connected. The lock is held while the link is taken down.
    #[pin]
    connected: Mutex<bool>,
    #[pin]
    failure: Work<Link>,
    /// Sets up lost sockets again.
    #[pin]
    revival: Work<Link, REVIVAL>,
    /// Tries the sockets again that could not be set up.
    #[pin]
    next_revival: DelayedWork<Link, NEXT_REVIVAL>,
    /// The time when the link was created.
    birth: Instant<Monotonic>,
    /// Gives up spare rings.
    #[pin]
    reclaim: DelayedWork<Link, RECLAIM>,
    /// The users that have to give back what they can do without.
    #[pin]
    shortages: SpinLockIrq<Shortages>,
    /// Checks the members each second: grown rings, posted connections, groups that have to be joined
    /// again.
    #[pin]
    expiry: DelayedWork<Link, EXPIRY>,
    /// Takes responses that no task waits for.
    #[pin]
    responses: DelayedWork<Link, RESPONSES>,
    /// Goes on with taking responses.
    #[pin]
    taking: Work<Link, TAKING>,
}

impl_has_work! {
    impl HasWork<Self> for Link { self.failure }
    impl HasWork<Self, REVIVAL> for Link { self.revival }
    impl HasWork<Self, TAKING> for Link { self.taking }
}
impl_has_delayed_work! {
    impl HasDelayedWork<Self, NEXT_REVIVAL> for Link { self.next_revival }
    impl HasDelayedWork<Self, RECLAIM> for Link { self.reclaim }
    impl HasDelayedWork<Self, EXPIRY> for Link { self.expiry }
    impl HasDelayedWork<Self, RESPONSES> for Link { self.responses }
}

impl Link {
    /// Sets up the commands ring and announces it to the backend. `revive` sets up lost sockets
    /// again. `on_failure` is called when the link has ended by itself. May sleep.
    pub(crate) fn new(
        dev: &xenbus::Device,
        workers: Arc<OwnedQueue>,
        failures: Arc<OwnedQueue>,
        counters: Arc<Counters>,
        revive: Revive,
        on_failure: fn(),
    ) -> Result<Arc<Self>> {
        let link = Arc::pin_init(
            try_pin_init!(Self {
                transport <- Transport::new(dev, failures.clone(), counters),
                workers,
                failures,
                revive,
                on_failure,
                members <- new_mutex!(Some(RBTree::new()), "xensock_members"),
                ring_pool <- RingPool::new(),
                connected <- new_mutex!(false, "xensock_connected"),
                failure <- new_work!("xensock_failure"),
                revival <- new_work!("xensock_revival"),
                next_revival <- new_delayed_work!("xensock_next_revival"),
                birth: Instant::now(),
                reclaim <- new_delayed_work!("xensock_reclaim"),
                shortages <- new_spinlock_irq!(Shortages::NONE, "xensock_shortages"),
                expiry <- new_delayed_work!("xensock_expiry"),
                responses <- new_delayed_work!("xensock_answers"),
                taking <- new_work!("xensock_taking"),
            }),
            GFP_KERNEL,
        )?;
        if let Err(error) = link.open(dev, link.clone()) {
            link.take_down();
            return Err(error);
        }
        Ok(link)
    }

    /// Adds a member to the link. May sleep. Fails with `ENETDOWN` if the link has gone down, with
    /// `ENOBUFS` if the commands ring has no slot for the POLL of another listener.
    pub(crate) fn enter(&self, id: u64, member: Arc<dyn Member>) -> Result {
        let is_listener = member.is_listener();
        let node = RBTreeNode::new(id, member, GFP_KERNEL)?;
        let lost = self.lost_slots();
        let mut members = self.members.lock();
        let members = (*members).as_mut().ok_or(ENETDOWN)?;
        if is_listener {
            self.check_polls(members, lost)?;
        }
        members.insert(node);
        self.counters.enter(is_listener);
        Ok(())
    }

    /// Checks if another listener can be added to the link at this moment. Fails with `ENETDOWN`
    /// and `ENOBUFS` as [`Self::enter`] does. May sleep.
    pub(crate) fn may_listen(&self) -> Result {
        let lost = self.lost_slots();
        let members = self.members.lock();
        self.check_polls((*members).as_ref().ok_or(ENETDOWN)?, lost)
    }

    /// Checks that the commands ring has a slot for another POLL. Fails with `ENOBUFS`.
    fn check_polls(&self, members: &Members, lost: usize) -> Result {
        let listeners = members.values().filter(|member| member.is_listener());
        let max_polls = self.quirks().max_polls();
        if listeners.count().saturating_add(lost) >= max_polls {
            return Err(ENOBUFS);
        }
        Ok(())
    }

    /// Removes a member that the end of the link no longer concerns. May sleep.
    pub(crate) fn forget(&self, id: u64) {
        let gone = (*self.members.lock())
            .as_mut()
            .and_then(|members| members.remove(&id));
        if let Some(member) = gone {
            self.counters.leave(member.is_listener());
        }
    }

    /// Calls `what` for each member of the link. May sleep; `what` must not sleep.
    pub(crate) fn for_each(&self, what: impl FnMut(&Arc<dyn Member>)) {
        if let Some(members) = (*self.members.lock()).as_ref() {
            members.values().for_each(what);
        }
    }

    /// Takes the link down. Connections of streams are reset. Listening and datagram sockets wait
    /// for another link, or fail. No memory is shared any longer.
    ///
    /// May sleep. Idempotent. xenbus may report Closed to the backend once this has returned.
    pub(crate) fn take_down(self: &Arc<Self>) {
        let connected = self.connected.lock();
        self.end(*connected, Ok(()));
    }

    /// Calls `connect` to connect both ends, unless the link is down. Returns `true` if the ends
    /// were connected. The link does not go down meanwhile. May sleep.
    pub(crate) fn connect(&self, connect: impl FnOnce() -> Result) -> Result<bool> {
        let mut connected = self.connected.lock();
        if self.members.lock().is_none() {
            return Ok(false);
        }
        connect()?;
        *connected = true;
        self.counters.link_up();
        trace::link(
            self.device_name(),
            self.dev.otherend_id(),
            c"connected",
            Ok(()),
        );
        Ok(true)
    }

    /// Takes the link down because the backend broke the rules, unless the link is down already.
    /// Such a backend may never react, so the lost sockets do not wait for the driver to see that.
    fn fail(self: &Arc<Self>) {
        {
            let connected = self.connected.lock();
            if !self.end(*connected, Err(EPROTO)) {
                return;
            }
            // Under the lock: the driver must not have set up another link by then.
            self.dev
                .fatal(EPROTO, c"impossible response or index in the commands ring");
        }
        (self.on_failure)();
    }

    /// Queues the work item that calls [`Self::fail`]. Any context.
    fn fail_later(self: &Arc<Self>) {
        let _ = self.failures.enqueue::<_, 0>(self.clone());
    }

    /// Ends the link, unless it is down. Returns `true` if this call has ended it. Called under
    /// `connected`.
    fn end(self: &Arc<Self>, was_up: bool, why: Result) -> bool {
        let Some(members) = self.members.lock().take() else {
            return false;
        };
        if was_up {
            self.counters.link_lost();
        }
        if was_up || why.is_err() {
            let state = if why.is_ok() { c"lost" } else { c"failed" };
            trace::link(self.device_name(), self.dev.otherend_id(), state, why);
        }
        self.close();
        // Listeners first: otherwise `accept()` would report the end of a posted connection as an
        // error.
        for listener in members.values().filter(|member| member.is_listener()) {
            listener.clone().link_down();
        }
        for member in members.values() {
            self.counters.leave(member.is_listener());
            if !member.is_listener() {
                member.clone().link_down();
            }
        }
        // After the members: a ring that a member moves to the pool is found in one of the two
        // places.
        self.ring_pool.close();
        self.end_unanswered();
        // The requests that running work items wait for have ended, and nothing queues the items
        // again.
        let _ = cancel_sync::<_, TAKING>(self);
        let _ = cancel_delayed_sync::<_, NEXT_REVIVAL>(self);
        let _ = cancel_delayed_sync::<_, RECLAIM>(self);
        let _ = cancel_delayed_sync::<_, EXPIRY>(self);
        let _ = cancel_delayed_sync::<_, RESPONSES>(self);
        true
    }
}

impl Deref for Link {
    type Target = Transport;

    fn deref(&self) -> &Transport {
        &self.transport
    }
}

impl Handler for Link {
    fn handle(this: ArcBorrow<'_, Self>) -> Eoi {
        match Link::take_responses(this) {
            Ok(true) => Eoi::Done,
            Ok(false) => Eoi::Spurious,
            Err(_) => {
                Arc::<Link>::from(this).fail_later();
                // No EOI, so that no further event arrives: the channel is about to be closed.
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
