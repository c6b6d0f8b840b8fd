// SPDX-License-Identifier: GPL-2.0

//! What a connection shares with the backend: memory, and an event channel.

use crate::{
    budget::Share,
    conn::Conn,
    doorbell::Doorbell,
    link::Link,
    proto::{
        indexes,
        ring::Order,
        Feature,
        RingRef, //
    },
    ring::{
        DataRing,
        End, //
    }, //
};
use core::ops::Deref;
use kernel::{
    new_mutex,
    new_spinlock_irq,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        Mutex,
        SpinLockIrq, //
    },
    xen::{
        event::EventChannel,
        grant::GrantedPages,
        xenbus, //
    }, //
};

/// A data ring with its event channel, for one connection after another.
#[pin_data]
pub(crate) struct Shared {
    dev: ARef<xenbus::Device>,
    ring: DataRing<GrantedPages>,
    order: Order,
    doorbell: Arc<Doorbell<Conn>>,
    /// `None` before the first connection, and once nothing is shared any more.
    #[pin]
    channel: SpinLockIrq<Option<EventChannel<Doorbell<Conn>>>>,
    /// The backend may have it mapped though no connection has it.
    is_kept: Atomic<bool>,
    /// Held while the sharing is ended.
    #[pin]
    unsharing: Mutex<()>,
    _share: Share,
}

impl Shared {
    /// Allocates a ring, grants it to the backend and fills in its indexes page. May sleep.
    ///
    /// It is of a smaller order if the guest has many connections, see [`Share`].
    pub(crate) fn new(link: &Link, order: Order) -> Result<Arc<Self>> {
        let (share, order) = Share::take(order)?;
        let peer = link.dev.otherend_id();
        let data = GrantedPages::new(peer, order.pages(), GFP_KERNEL_ACCOUNT)?;
        let index = GrantedPages::new(peer, 1, GFP_KERNEL_ACCOUNT)?;

        for (i, grant) in data.refs().iter().enumerate() {
            index
                .word(indexes::ref_offset(i).ok_or(EINVAL)?)?
                .store(grant.as_raw(), Relaxed);
        }
        index.word(indexes::RING_ORDER)?.store(order.get(), Relaxed);
        let event_index = link.has(Feature::EventIndex);
        let ring = DataRing::new(index, data, order, End::Front, event_index)?;
        ring.reset_words();
        let doorbell = Doorbell::new()?;

        Arc::pin_init(
            pin_init!(Self {
                dev: link.dev.clone(),
                ring,
                order,
                doorbell,
                channel <- new_spinlock_irq!(None, "xensock_channel"),
                is_kept: Atomic::new(false),
                unsharing <- new_mutex!((), "xensock_unsharing"),
                _share: share,
            }),
            GFP_KERNEL,
        )
    }

    /// Makes it as if it were new. The backend has let go of it, and so has whoever used it.
    pub(crate) fn restart(&self) {
        self.ring.restart();
        self.ring.reset_words();
    }

    /// Has events concern `conn` from now on. May sleep.
    pub(crate) fn connect(&self, conn: Arc<Conn>) -> Result {
        self.doorbell.connect(conn);
        if self.channel.lock().is_none() {
            let channel = EventChannel::alloc(&self.dev, c"xensock", self.doorbell.clone())?;
            *self.channel.lock() = Some(channel);
        }
        Ok(())
    }

    /// Has events concern nobody. Process context.
    pub(crate) fn disconnect(&self) {
        self.doorbell.disconnect();
    }

    pub(crate) fn order(&self) -> Order {
        self.order
    }

    /// Whether the backend may have it mapped though no connection has it.
    pub(crate) fn is_kept(&self) -> bool {
        self.is_kept.load(Relaxed)
    }

    /// Notes whether the backend was asked to keep it.
    pub(crate) fn set_kept(&self, is_kept: bool) {
        self.is_kept.store(is_kept, Relaxed);
    }

    /// What the backend has to know to use it. `ENETDOWN` once it is no longer shared.
    pub(crate) fn reference(&self) -> Result<RingRef> {
        // The indexes page, by which the backend finds the rest.
        let grant = self.ring.index_pages().refs().first().ok_or(EINVAL)?;
        let channel = self.channel.lock();
        Ok(RingRef {
            grant: grant.as_raw(),
            port: channel.as_ref().ok_or(ENETDOWN)?.port().as_raw(),
        })
    }

    /// Tells the backend that the ring has moved. Any context.
    pub(crate) fn notify(&self) {
        if let Some(channel) = self.channel.lock().as_ref() {
            channel.notify();
        }
    }

    /// Closes the event channel and revokes the grants. May sleep; idempotent.
    ///
    /// The memory itself stays for as long as the socket may be reading it.
    pub(crate) fn unshare(&self) {
        let _guard = self.unsharing.lock();
        let channel = self.channel.lock().take();
        // Outside the lock: waits for a running handler.
        drop(channel);
        self.doorbell.disconnect();
        self.ring.data_pages().revoke();
        self.ring.index_pages().revoke();
    }
}

impl Deref for Shared {
    type Target = DataRing<GrantedPages>;

    fn deref(&self) -> &Self::Target {
        &self.ring
    }
}
