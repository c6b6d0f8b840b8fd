// SPDX-License-Identifier: GPL-2.0

//! Memory and notifier that a connection shares with the backend.

use crate::{
    budget::Share,
    commands::Exchange,
    doorbell::Doorbell,
    notifier::Notifier,
    proto::{
        indexes,
        ring::Order,
        Call,
        Feature,
        RingRef,
        Way, //
    },
    ring::{
        DataRing,
        End, //
    },
    transport::Transport, //
};
use core::ops::Deref;
use kernel::{
    net::sock::Sock,
    new_mutex,
    new_spinlock_irq,
    prelude::*,
    sync::{
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
    xen::{
        event::{
            Eoi,
            Handler, //
        },
        grant::GrantedPages,
        shared::SharedPages,
        DomId, //
    }, //
};

/// Memory that is granted to the backend.
pub(crate) struct Granted {
    pages: GrantedPages,
    /// The grants that it takes of the budget, unless its ring accounts for them.
    _share: Option<Share>,
}

impl Granted {
    /// Allocates pages of a ring. May sleep.
    fn new(peer: DomId, pages: usize) -> Result<Self> {
        Ok(Self {
            pages: GrantedPages::new(peer, pages, GFP_KERNEL_ACCOUNT)?,
            _share: None,
        })
    }

    /// Allocates pages of an extension. May sleep.
    fn extension(peer: DomId, pages: usize, share: Share) -> Result<Self> {
        Ok(Self {
            pages: GrantedPages::new_optional(peer, pages)?,
            _share: Some(share),
        })
    }

    /// Revokes the backend's access, except for pages it has mapped. May sleep.
    pub(crate) fn revoke(&self) {
        self.pages.revoke();
    }
}

impl Deref for Granted {
    type Target = SharedPages;

    fn deref(&self) -> &Self::Target {
        &self.pages
    }
}

/// The user of a data ring: a connection, from its first request until it has left the ring.
pub(crate) trait RingUser: Send + Sync {
    /// Called when the ring may have news, with a spinlock of its doorbell held. Any context. The
    /// result is as for [`Handler::handle`].
    fn handle(self: ArcBorrow<'_, Self>) -> Eoi;

    /// Returns `true` if the user has left the ring, or is about to. It must receive no further
    /// events.
    fn is_gone(&self) -> bool;
}

impl Handler for dyn RingUser {
    fn handle(this: ArcBorrow<'_, Self>) -> Eoi {
        this.handle()
    }
}

/// A data ring with its notifier, for one connection after another.
#[pin_data]
pub(crate) struct ConnRing {
    #[pin]
    ring: DataRing<Granted>,
    at: RingRef,
    /// The network namespace that pays for the ring, see [`payer`].
    payer: usize,
    /// The user that the ring was created for.
    owner: u64,
    doorbell: Arc<Doorbell<dyn RingUser>>,
    /// `None` once nothing is shared any more.
    #[pin]
    notifier: SpinLockIrq<Option<Notifier<dyn RingUser, GrantedPages>>>,
    /// Set if the backend was asked to keep the ring mapped, and may have done so since.
    is_kept: Atomic<bool>,
    /// UNMAP, with [`Feature::RingReuse`]. Allocated in advance, so that sending it cannot fail.
    unmap: Option<Arc<Exchange>>,
    /// Held while the sharing is ended.
    #[pin]
    unsharing: Mutex<()>,
    _share: Share,
}

/// Returns the namespace that pays for the memory of a ring. Containers have their own network
/// namespaces, and may have a memory cgroup of their own, to which the ring is charged. This is
/// only a number, so that it does not keep the namespace alive.
pub(crate) fn payer(sk: &Sock) -> usize {
    let namespace = sk.namespace();
    namespace.map_or(0, |namespace| core::ptr::from_ref(&*namespace).addr())
}

impl ConnRing {
    /// Allocates a ring for `sk`, grants it to the backend and fills in its indexes page. May
    /// sleep.
    ///
    /// The ring has a smaller order if the guest has many connections, see [`Share`].
    pub(crate) fn new(
        transport: &Transport,
        sk: &Sock,
        owner: u64,
        order: Order,
    ) -> Result<Arc<Self>> {
        let (share, order) = Share::take(owner, order)?;
        let peer = transport.dev.otherend_id();
        let input = Granted::new(peer, order.half_pages())?;
        let output = Granted::new(peer, order.half_pages())?;
        let index = Granted::new(peer, 1)?;

        let halves = [&input, &output].into_iter();
        for (i, grant) in halves.flat_map(|half| half.pages.refs()).enumerate() {
            index
                .word(indexes::ref_offset(i).ok_or(EINVAL)?)?
                .store(grant.as_raw(), Relaxed);
        }
        index.word(indexes::RING_ORDER)?.store(order.get(), Relaxed);
        // The backend finds the other pages by the indexes page.
        let grant = index.pages.refs().first().ok_or(EINVAL)?.as_raw();
        let ring = DataRing::new(index, input, output, End::Front, transport.features())?;
        let doorbell = Doorbell::new()?;
        let notifier =
            Notifier::alloc(&transport.dev, transport.shared_channel(), doorbell.clone())?;
        let port = notifier.number();
        let at = RingRef { grant, port };
        let unmap = if transport.has(Feature::RingReuse) {
            Some(transport.exchange(owner, Call::Unmap { id: 0, ring: at })?)
        } else {
            None
        };

        let shared = Arc::pin_init(
            pin_init!(Self {
                ring <- ring,
                at,
                payer: payer(sk),
                owner,
                doorbell,
                notifier <- new_spinlock_irq!(Some(notifier), "xensock_notifier"),
                is_kept: Atomic::new(false),
                unmap,
                unsharing <- new_mutex!((), "xensock_unsharing"),
                _share: share,
            }),
            GFP_KERNEL_ACCOUNT,
        )?;
        shared.ring.reset_words();
        Ok(shared)
    }

    /// Allocates an extension for a direction, of at most this order, grants it to the backend, and
    /// writes its grants into the indexes page. Returns the order of the extension. May sleep.
    ///
    /// The extension is smaller if the guest has many connections. Fails with `ENOBUFS` if it would
    /// be no larger than the direction's base.
    pub(crate) fn extend(
        &self,
        transport: &Transport,
        owner: u64,
        way: Way,
        order: Order,
    ) -> Result<Order> {
        let (share, order) = Share::take_growth(owner, self.ring.order(), order)?;
        let peer = transport.dev.otherend_id();
        let extension = Granted::extension(peer, order.half_pages(), share)?;
        for (i, grant) in extension.pages.refs().iter().enumerate() {
            let offset = indexes::direction(way).extension_offset(i).ok_or(EINVAL)?;
            let word = self.ring.index_pages().word(offset)?;
            word.store(grant.as_raw(), Relaxed);
        }
        self.ring.extend(way, extension)?;
        Ok(order)
    }

    /// Resets the ring to the state of a new one. The backend and the last user no longer use it.
    pub(crate) fn restart(&self) {
        self.ring.restart();
        self.ring.reset_words();
    }

    /// Delivers events to `user` from now on, unless it has left the ring already. Looks once for
    /// events that came before. Any context.
    pub(crate) fn connect(&self, user: Arc<dyn RingUser>) {
        self.doorbell.connect_and_look(user, |user| user.is_gone());
    }

    /// Stops the delivery of events. Process context.
    pub(crate) fn disconnect(&self) {
        self.doorbell.disconnect();
    }

    /// Returns `true` if the ring was created for this network namespace, see [`payer`], and this
    /// user.
    pub(crate) fn is_paid_by(&self, payer: usize, owner: u64) -> bool {
        self.payer == payer && self.owner == owner
    }

    /// Returns the user that the ring was created for.
    pub(crate) fn owner(&self) -> u64 {
        self.owner
    }

    /// Returns UNMAP if the backend may have the ring mapped for no connection. Returns it only
    /// once.
    fn unmap(&self) -> Option<&Arc<Exchange>> {
        let is_kept = self.is_kept.xchg(false, Full);
        self.unmap.as_ref().filter(|_| is_kept)
    }

    /// Stores if the backend was asked to keep the ring, with the RELEASE of a connection that was
    /// established. Not called for other connections: the backend may have refused such a
    /// connection before it looked at the ring, and still keep the ring for an earlier one.
    pub(crate) fn set_kept(&self, is_kept: bool) {
        self.is_kept.store(is_kept, Relaxed);
    }

    /// Returns the numbers by which the backend finds the ring.
    pub(crate) fn reference(&self) -> RingRef {
        self.at
    }

    /// Notifies the backend that indexes of the ring have changed. Any context.
    pub(crate) fn notify(&self) {
        if let Some(notifier) = self.notifier.lock().as_ref() {
            notifier.notify();
        }
    }

    /// Ends the sharing of a ring without a connection, once the backend has unmapped it. Waits for
    /// the backend.
    pub(crate) fn give_up(&self, transport: &Transport) {
        if let Some(unmap) = self.unmap() {
            transport.submit(unmap, None);
            // The response does not matter, and neither does its absence: nothing else can be done.
            let _ = unmap.wait();
        }
        self.unshare();
    }

    /// Ends the events and revokes the grants. May sleep. Idempotent.
    ///
    /// The memory stays as long as the socket may be reading it.
    pub(crate) fn unshare(&self) {
        let _guard = self.unsharing.lock();
        let notifier = self.notifier.lock().take();
        // Outside the spinlock: this waits for a running handler.
        drop(notifier);
        self.doorbell.close();
        for extension in self.ring.extensions().into_iter().flatten() {
            extension.revoke();
        }
        for base in self.ring.bases() {
            base.revoke();
        }
        self.ring.index_pages().revoke();
    }
}

impl Deref for ConnRing {
    type Target = DataRing<Granted>;

    fn deref(&self) -> &Self::Target {
        &self.ring
    }
}
