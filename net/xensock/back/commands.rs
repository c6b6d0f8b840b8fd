// SPDX-License-Identifier: GPL-2.0

//! The commands ring of a link, and its event channel.

use kernel::{
    new_spinlock,
    new_spinlock_irq,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Full,
            Relaxed,
            Release, //
        },
        SpinLock,
        SpinLockIrq, //
    },
    xen::{
        event::{
            EventChannel,
            Handler, //
        },
        ring::{
            BackRing,
            SLOT, //
        }, //
    }, //
};

/// The event channel of the commands ring, independent of the type of its handler.
pub(crate) trait Channel: Send {
    /// Notifies the guest of responses. Any context.
    fn notify(&self);

    /// Lets the guest send the next event, with a delay if the last one was spurious. Any context.
    fn eoi(&self, spurious: bool);
}

impl<T: Handler> Channel for EventChannel<T> {
    fn notify(&self) {
        EventChannel::notify(self);
    }

    fn eoi(&self, spurious: bool) {
        EventChannel::eoi(self, spurious);
    }
}

/// The commands ring and its channel.
#[pin_data]
pub(crate) struct Commands {
    /// `None` once the link is down.
    #[pin]
    ring: SpinLock<Option<BackRing>>,
    /// `None` before it is open, and once the link is down.
    #[pin]
    channel: SpinLockIrq<Option<KBox<dyn Channel>>>,
    /// Set while the event channel is masked, until the requests are served.
    owes_eoi: Atomic<bool>,
    /// Set if requests were served since the last EOI.
    has_served: Atomic<bool>,
}

impl Commands {
    pub(crate) fn new(ring: BackRing) -> impl PinInit<Self> {
        pin_init!(Self {
            ring <- new_spinlock!(Some(ring), "xensock_ring"),
            channel <- new_spinlock_irq!(None, "xensock_channel"),
            owes_eoi: Atomic::new(false),
            has_served: Atomic::new(false),
        })
    }

    /// Sets the channel that announces responses. May sleep.
    pub(crate) fn open<T: Handler>(&self, channel: EventChannel<T>) -> Result {
        let channel = KBox::new(channel, GFP_KERNEL)?;
        *self.channel.lock() = Some(channel);
        Ok(())
    }

    /// Ends the events, and takes the ring out of use. May sleep.
    pub(crate) fn close(&self) {
        let channel = self.channel.lock().take();
        // Outside the lock: dropping the channel waits for its handler.
        drop(channel);
        let ring = self.ring.lock().take();
        drop(ring);
    }

    /// Takes the next request. Returns `None` if there is none; then an event will announce the
    /// next one. Fails if an index is impossible.
    pub(crate) fn next(&self) -> Result<Option<[u8; SLOT]>> {
        let slot = {
            let mut ring = self.ring.lock();
            let Some(ring) = (*ring).as_mut() else {
                return Ok(None);
            };
            match ring.pop()? {
                None if ring.final_check()? => ring.pop()?,
                slot => slot,
            }
        };
        if slot.is_some() {
            self.has_served.store(true, Relaxed);
        }
        Ok(slot)
    }

    /// Sends a response, unless the link is down. Calls `note` before the guest can see the
    /// response.
    pub(crate) fn respond(&self, response: &[u8], note: impl FnOnce()) {
        let notify = {
            let mut ring = self.ring.lock();
            let Some(ring) = (*ring).as_mut() else {
                return;
            };
            note();
            // Each request has a slot for its response.
            ring.push(response).is_ok() && ring.publish()
        };
        if notify {
            if let Some(channel) = self.channel.lock().as_ref() {
                channel.notify();
            }
        }
    }

    /// Notes that an event has come; [`Self::eoi`] acknowledges it. Any context.
    pub(crate) fn note_event(&self) {
        self.owes_eoi.store(true, Release);
    }

    /// Lets the guest send the next event, as there are no more requests.
    pub(crate) fn eoi(&self) {
        let channel = self.channel.lock();
        // The first event may come before `channel` is set; it is acknowledged later.
        let Some(channel) = &*channel else {
            return;
        };
        if self.owes_eoi.xchg(false, Full) {
            // A spurious event delays the next one.
            channel.eoi(!self.has_served.xchg(false, Full));
        }
    }
}
