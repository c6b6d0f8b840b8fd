// SPDX-License-Identifier: GPL-2.0

//! The link to a backend: one for each time that the device comes up.

use crate::{
    commands::{
        Commands,
        Intent, //
    },
    conn::Conn,
    proto::{
        node::{
            self,
            Offer, //
        },
        ring::Order,
        Dialect, //
    }, //
};
use kernel::{
    device::Bound,
    impl_has_work,
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
        grant::GrantedPages,
        ring::FrontRing,
        xenbus::{
            self,
            Dir, //
        }, //
    }, //
};

/// Reads what the backend offers. A backend that we cannot work with is `EOPNOTSUPP`.
fn read_offer(dev: &xenbus::Device<Bound>, dialect: Dialect) -> Result<Offer> {
    let number = |node| match dev.read_u32(Dir::Otherend, node) {
        Ok(number) => Ok(Some(number)),
        Err(ENOENT) => Ok(None),
        Err(error) => Err(error),
    };
    Offer::read(
        dialect,
        &dev.read(Dir::Otherend, node::VERSIONS)?,
        dev.read_u32(Dir::Otherend, node::MAX_PAGE_ORDER)?,
        number(node::FUNCTION_CALLS)?,
        number(node::FEATURE_EVENT_INDEX)?,
    )
    .ok_or(EOPNOTSUPP)
}

/// A link to a backend.
#[pin_data]
pub(crate) struct Link {
    pub(crate) dev: ARef<xenbus::Device>,
    pub(crate) offer: Offer,
    pub(crate) workers: Arc<OwnedQueue>,
    #[pin]
    commands: SpinLockIrq<Commands>,
    /// All connections that share memory with the backend; `None` once the link is down.
    #[pin]
    conns: Mutex<Option<RBTree<u64, Arc<Conn>>>>,
    last_id: Atomic<u64>,
    has_warned: Atomic<bool>,
    /// Whether the link is down; held while it is taken down.
    #[pin]
    down: Mutex<bool>,
    #[pin]
    failure: Work<Link>,
}

impl_has_work! {
    impl HasWork<Self> for Link { self.failure }
}

impl Link {
    /// Sets up the commands ring and tells the backend of it. May sleep.
    pub(crate) fn new(dev: &xenbus::Device<Bound>, workers: Arc<OwnedQueue>) -> Result<Arc<Self>> {
        let dialect = Dialect::from_device_name(dev.devicetype()).ok_or(ENODEV)?;
        let offer = read_offer(dev, dialect)?;
        let page = GrantedPages::new(dev.otherend_id(), 1, GFP_KERNEL)?;
        let commands = Commands::new(dialect, FrontRing::new(page)?);
        let grant = commands.grant();

        let link = Arc::pin_init(
            try_pin_init!(Self {
                dev: dev.normal().into(),
                offer,
                workers,
                commands <- new_spinlock_irq!(commands, "xensock_commands"),
                conns <- new_mutex!(Some(RBTree::new()), "xensock_conns"),
                last_id: Atomic::new(0),
                has_warned: Atomic::new(false),
                down <- new_mutex!(false, "xensock_down"),
                failure <- new_work!("xensock_failure"),
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
            if dialect == Dialect::XenSock {
                let event_index = u32::from(offer.event_index);
                t.write(node::EVENT_INDEX, fmt!("{event_index}"))?;
            }
            Ok(())
        });
        if let Err(error) = published {
            link.take_down();
            return Err(error);
        }
        Ok(link)
    }

    /// The order of a new ring: what the administrator chose, as far as the backend allows it.
    pub(crate) fn ring_order(&self) -> Order {
        crate::wanted_order().min(self.offer.max_order)
    }

    /// A handle for a new connection. 64 bits are never used up.
    pub(crate) fn new_id(&self) -> u64 {
        self.last_id.fetch_add(1, Relaxed).wrapping_add(1)
    }

    /// Makes a connection known and asks the backend for it. May sleep.
    ///
    /// `ENETDOWN` if the link has gone down.
    pub(crate) fn connect(&self, conn: &Arc<Conn>) -> Result {
        let node = RBTreeNode::new(conn.id, conn.clone(), GFP_KERNEL)?;
        let mut conns = self.conns.lock();
        (*conns).as_mut().ok_or(ENETDOWN)?.insert(node);

        let mut commands = self.commands.lock();
        commands.submit(conn.as_arc_borrow(), Intent::Socket);
        commands.submit(conn.as_arc_borrow(), Intent::Connect);
        Ok(())
    }

    /// Forgets a connection whose memory is no longer shared. May sleep.
    pub(crate) fn forget(&self, id: u64) {
        let gone = (*self.conns.lock())
            .as_mut()
            .and_then(|conns| conns.remove_node(&id));
        drop(gone);
    }

    /// Has `conn` ask the backend for `intent`. Any context.
    pub(crate) fn submit(conn: ArcBorrow<'_, Conn>, intent: Intent) {
        conn.link.commands.lock().submit(conn, intent);
    }

    /// Takes the link down: every socket sees a reset, and no memory is shared any longer.
    ///
    /// May sleep; idempotent. xenbus may tell the backend of Closed once this has returned.
    pub(crate) fn take_down(&self) {
        let mut down = self.down.lock();
        if !*down {
            *down = true;
            self.end();
        }
    }

    /// Takes the link down because the backend broke the rules, unless it is down already.
    fn fail(&self) {
        let mut down = self.down.lock();
        if !*down {
            *down = true;
            self.end();
            self.dev
                .fatal(EPROTO, c"impossible response or index in the commands ring");
        }
    }

    fn end(&self) {
        let conns = self.conns.lock().take();
        let closed = self.commands.lock().close();
        // Outside the locks: this waits for the handler of the channel, and revokes grants.
        drop(closed);
        for conn in conns.iter().flat_map(|c| c.values()) {
            Conn::link_down(conn);
        }
    }

    /// Says what the backend did wrong, once for each link.
    pub(crate) fn warn_once(&self, what: &CStr) {
        if !self.has_warned.xchg(true, Full) {
            dev_err!(self.dev.as_ref(), "backend: {}\n", what);
        }
    }

    /// Takes what the backend has answered. Hard IRQ.
    fn take_answers(&self) -> Result {
        loop {
            let answer = self.commands.lock().next_answer()?;
            match answer {
                Some(answer) => answer.deliver(),
                None => return Ok(()),
            }
        }
    }
}

impl Handler for Link {
    fn handle(this: ArcBorrow<'_, Self>) -> Eoi {
        if this.take_answers().is_err() {
            let _ = this.workers.enqueue(Arc::<Link>::from(this));
        }
        Eoi::Done
    }
}

impl WorkItem for Link {
    type Pointer = Arc<Link>;

    /// Ends a link whose backend broke the rules.
    fn run(this: Arc<Link>) {
        this.fail();
    }
}
