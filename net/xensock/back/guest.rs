// SPDX-License-Identifier: GPL-2.0

//! A link with a guest: its commands ring, its sockets, and what it may use.

use crate::{
    account::Account,
    active::Active,
    commands,
    kept::Kept,
    log::LogLimit,
    policy::{
        InForce,
        Policy, //
    },
    proto::{
        errno,
        node,
        Body,
        Command,
        Dialect,
        Feature,
        Features,
        Response, //
    },
    shared_channel::{
        Opened,
        SharedChannel, //
    },
    table::{
        Entry,
        Table, //
    }, //
};
use kernel::{
    device::Bound,
    impl_has_work,
    new_mutex,
    new_spinlock,
    new_spinlock_irq,
    new_work,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Full,
            Relaxed,
            Release, //
        },
        Arc,
        ArcBorrow,
        Mutex,
        SpinLock,
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
        grant::MappedPages,
        ring::{
            BackRing,
            SLOTS, //
        },
        trace::xensock_back as trace,
        xenbus::{
            self,
            Dir, //
        },
        GrantRef,
        Port, //
    }, //
};

/// The features that this backend offers.
pub(crate) const OFFERED: Features = Features::ALL;

/// Where a guest has its commands ring.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Address {
    ring_ref: u32,
    port: u32,
}

impl Address {
    pub(crate) fn read(dev: &xenbus::Device<Bound>) -> Result<Self> {
        Ok(Self {
            ring_ref: dev.read_u32(Dir::Otherend, node::RING_REF)?,
            port: dev.read_u32(Dir::Otherend, node::PORT)?,
        })
    }
}

/// A link with a guest.
#[pin_data]
pub(crate) struct Guest {
    pub(crate) dev: ARef<xenbus::Device>,
    pub(crate) dialect: Dialect,
    pub(crate) features: Features,
    pub(crate) address: Address,
    pub(crate) queue: Arc<OwnedQueue>,
    /// `None` once the link is down.
    #[pin]
    ring: SpinLock<Option<BackRing>>,
    #[pin]
    channel: SpinLockIrq<Option<EventChannel<Guest>>>,
    /// What the data rings share, with [`Feature::SharedChannel`]. `None` once the link is down.
    #[pin]
    news: Mutex<Option<Opened<MappedPages>>>,
    /// `None` once the link is down.
    #[pin]
    table: Mutex<Option<Table>>,
    /// The event channel is masked until the work item has run.
    owes_eoi: Atomic<bool>,
    /// Requests were served since the last event was let in.
    has_served: Atomic<bool>,
    pub(crate) account: Arc<Account>,
    #[pin]
    pub(crate) kept: Kept,
    pub(crate) in_force: Arc<InForce>,
    log: Arc<LogLimit>,
    has_warned: Atomic<bool>,
    #[pin]
    work: Work<Guest>,
}

impl_has_work! {
    impl HasWork<Self> for Guest { self.work }
}

impl Guest {
    /// Maps the commands ring of a guest and begins to serve it. May sleep.
    pub(crate) fn new(
        dev: &xenbus::Device<Bound>,
        queue: Arc<OwnedQueue>,
        log: Arc<LogLimit>,
        in_force: Arc<InForce>,
        account: Arc<Account>,
    ) -> Result<Arc<Self>> {
        let device = Dialect::from_device_name(dev.devicetype()).ok_or(ENODEV)?;
        let native = dev.read_u32_or(Dir::Otherend, node::NATIVE_TAKEN, 0)?;
        let dialect = Dialect::of_link(device, Some(native));
        let address = Address::read(dev)?;
        let features = Features::read(dialect, |feature| {
            dev.read_u32_or(Dir::Otherend, feature.taken(), 0).map(Some)
        })?;
        if !OFFERED.includes(features) {
            return Err(EPROTO);
        }
        let page = MappedPages::new(dev.otherend_id(), &[GrantRef::new(address.ring_ref)])?;
        let ring = BackRing::new(page)?;
        let news = if features.has(Feature::SharedChannel) {
            let news_ref = dev.read_u32(Dir::Otherend, node::NEWS_REF)?;
            let port = Port::new(dev.read_u32(Dir::Otherend, node::NEWS_PORT)?);
            let page = MappedPages::new(dev.otherend_id(), &[GrantRef::new(news_ref)])?;
            Some(Opened::bind(dev, port, page, queue.clone())?)
        } else {
            None
        };

        let guest = Arc::pin_init(
            try_pin_init!(Self {
                dev: dev.normal().into(),
                dialect,
                features,
                address,
                queue,
                ring <- new_spinlock!(Some(ring), "xensock_ring"),
                channel <- new_spinlock_irq!(None, "xensock_channel"),
                news <- new_mutex!(news, "xensock_news"),
                table <- new_mutex!(Some(Table::new()), "xensock_table"),
                owes_eoi: Atomic::new(false),
                has_served: Atomic::new(false),
                account,
                kept <- Kept::new(),
                in_force,
                log,
                has_warned: Atomic::new(false),
                work <- new_work!("xensock_commands"),
            }),
            GFP_KERNEL,
        )?;
        let port = Port::new(address.port);
        let channel = EventChannel::bind(dev, port, c"xensock-commands", guest.clone())?;
        *guest.channel.lock() = Some(channel);
        // What came before the channel was bound brought no event.
        let _ = guest.queue.enqueue(guest.clone());
        Ok(guest)
    }

    /// Takes the link down: closes all sockets and unmaps all memory of the guest. May sleep.
    ///
    /// Not to be called from a work item.
    pub(crate) fn take_down(&self) {
        self.close();
        // First the commands, if they are being served right now: they may have made another
        // connection. Then the last turn of each connection, in which its events and callbacks end.
        // Then what those have queued in the meantime, which finds nothing to do.
        for _ in 0..3 {
            self.queue.flush();
        }
    }

    /// Takes the commands ring out of use, and has all sockets close, each in its work item. May
    /// sleep.
    fn close(&self) {
        let channel = self.channel.lock().take();
        drop(channel);
        let ring = self.ring.lock().take();
        drop(ring);
        // Closes the channel; the page stays for as long as a ring is left.
        let news = self.news.lock().take();
        drop(news);
        self.kept.close();
        let table = self.table.lock().take();
        if let Some(table) = table {
            Active::abandon(|| table.iter().filter_map(Entry::active));
            for entry in table.iter() {
                match entry {
                    Entry::Listener(listener) => listener.close(),
                    Entry::Datagram(datagram) => datagram.abandon(),
                    _ => (),
                }
            }
        }
    }

    /// The channel that data rings share, if they do. `ENETDOWN` once the link is down.
    pub(crate) fn shared_channel(&self) -> Result<Option<Arc<SharedChannel<MappedPages>>>> {
        if !self.features.has(Feature::SharedChannel) {
            return Ok(None);
        }
        let news = self.news.lock();
        let news = (*news).as_ref().ok_or(ENETDOWN)?;
        Ok(Some(news.channel().clone()))
    }

    /// Says what the guest did wrong: to who traces it, and in the log once for each link at the
    /// most.
    pub(crate) fn warn_once(&self, what: &CStr) {
        trace::error(self.dev.otherend_id(), what);
        if !self.has_warned.xchg(true, Full) && self.log.allows() {
            dev_warn!(self.dev.as_ref(), "guest: {}\n", what);
        }
    }

    /// Sends a response.
    pub(crate) fn respond(&self, response: &Response) {
        let (slot, len) = response.encode(self.dialect);
        let notify = {
            let mut ring = self.ring.lock();
            let Some(ring) = (*ring).as_mut() else {
                return;
            };
            trace::command(
                self.dev.otherend_id(),
                response.req_id,
                || self.name_of(response.cmd),
                response.id,
                response.ret,
            );
            self.account.answered(response.ret);
            // There is a slot for each request.
            ring.push(slot.get(..len).unwrap_or(&slot)).is_ok() && ring.publish()
        };
        if notify {
            if let Some(channel) = self.channel.lock().as_ref() {
                channel.notify();
            }
        }
    }

    /// The name of a command, which may be none.
    fn name_of(&self, cmd: u32) -> &'static CStr {
        self.dialect.command(cmd).map_or(c"?", Command::name)
    }

    /// Answers a request.
    pub(crate) fn answer(&self, ticket: Response, result: Result<Body>) {
        let (ret, body) = match result {
            Ok(body) => (0, body),
            Err(error) => (errno::to_wire(-error.to_errno()), Body::Empty),
        };
        self.respond(&Response {
            ret,
            body,
            ..ticket
        });
    }

    /// The policy for new sockets, and for what the guest may have in all.
    pub(crate) fn policy(&self) -> Arc<Policy> {
        self.in_force.get()
    }

    /// Does something with the table. `ENETDOWN` once the link is down.
    fn with_table<R>(&self, what: impl FnOnce(&mut Table) -> Result<R>) -> Result<R> {
        what((*self.table.lock()).as_mut().ok_or(ENETDOWN)?)
    }

    /// Adds a new socket of that owner. `EEXIST` if the id is in use, `EMFILE` beyond the quota.
    ///
    /// Sockets that were released and that TCP is not done with count, too, and so do places for
    /// connections.
    pub(crate) fn add(&self, id: u64, owner: u64, policy: &Policy) -> Result {
        self.with_table(|table| {
            table.add(id, Entry::Spent)?;
            let sockets = &self.account.sockets;
            let known = table.len() + sockets.closed();
            policy
                .may_have_sockets(known.max(sockets.count() + 1), owner)
                .inspect_err(|_| {
                    let _ = table.remove(id);
                })
        })
    }

    /// Whether TCP may go on with a socket that is closed now, to deliver what was sent. Their peers
    /// can make that last: it has an end before there is nothing left for new sockets.
    pub(crate) fn may_linger(&self) -> bool {
        let sockets = &self.account.sockets;
        self.policy().may_linger(sockets.closed()) && !sockets.memory.is_used_up()
    }

    /// Takes out what [`Self::add`] has added: no socket comes of it.
    pub(crate) fn drop_new(&self, id: u64) {
        // Only the work item that serves the guest takes out anything else.
        let _ = self.remove(id);
    }

    pub(crate) fn entry(&self, id: u64) -> Result<Entry> {
        self.with_table(|table| table.get(id).cloned())
    }

    pub(crate) fn change(&self, id: u64, entry: Entry) -> Result {
        let old = self.with_table(|table| table.change(id, entry))?;
        // Outside the lock.
        drop(old);
        Ok(())
    }

    pub(crate) fn remove(&self, id: u64) -> Result<Entry> {
        self.with_table(|table| table.remove(id))
    }

    /// Has each listener look again how many connections may wait.
    pub(crate) fn wake_listeners(&self) {
        let _ = self.with_table(|table| {
            for entry in table.iter() {
                if let Entry::Listener(listener) = entry {
                    listener.wake();
                }
            }
            Ok(())
        });
    }

    /// Takes a place for a connection out, unless the guest has given the id to something else.
    pub(crate) fn forget(&self, id: u64, active: &Active) {
        let removed = self.with_table(|table| {
            let found = table.get(id)?.active().ok_or(EBADF)?;
            if !core::ptr::eq(&**found, active) {
                return Err(EBADF);
            }
            table.remove(id)
        });
        // Outside the lock.
        drop(removed);
    }

    /// Serves requests until there are none, or as many as the ring has slots were served.
    ///
    /// Returns whether there may be more.
    fn serve(this: &Arc<Self>) -> Result<bool> {
        for _ in 0..SLOTS {
            let slot = {
                let mut ring = this.ring.lock();
                let Some(ring) = (*ring).as_mut() else {
                    return Ok(false);
                };
                match ring.pop()? {
                    Some(slot) => Some(slot),
                    None if ring.final_check()? => continue,
                    None => None,
                }
            };
            match slot {
                Some(slot) => {
                    this.has_served.store(true, Relaxed);
                    commands::dispatch(this, &slot);
                }
                None => return Ok(false),
            }
        }
        Ok(true)
    }
}

impl Handler for Guest {
    fn handle(this: ArcBorrow<'_, Self>) -> Eoi {
        this.owes_eoi.store(true, Release);
        let _ = this.queue.enqueue(Arc::<Guest>::from(this));
        Eoi::Later
    }
}

impl WorkItem for Guest {
    type Pointer = Arc<Guest>;

    fn run(this: Arc<Guest>) {
        match Self::serve(&this) {
            Ok(true) => {
                // The others first.
                let queue = this.queue.clone();
                let _ = queue.enqueue(this);
                return;
            }
            Ok(false) => (),
            // Nothing but the end of the link is left to this guest.
            Err(_) => {
                let what = c"impossible index in the commands ring";
                trace::error(this.dev.otherend_id(), what);
                this.close();
                this.log.fatal(&this.dev, EPROTO, what);
                return;
            }
        }
        let channel = this.channel.lock();
        // The first event may come before the channel is known here; then it is let in later.
        let Some(channel) = &*channel else {
            return;
        };
        if this.owes_eoi.xchg(false, Full) {
            // Events for nothing delay the next.
            channel.eoi(!this.has_served.xchg(false, Full));
        }
    }
}
