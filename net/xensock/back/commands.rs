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

/// The event channel of the commands ring, whoever handles its events.
pub(crate) trait Channel: Send {
    /// Tells the guest that there are responses. Any context.
    fn notify(&self);

    /// Lets the guest send the next event, later if the last was for nothing. Any context.
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
    /// The event channel is masked until the requests are served.
    owes_eoi: Atomic<bool>,
    /// Requests were served since the last event was let in.
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

    /// Has the responses announced by `channel`. May sleep.
    pub(crate) fn open<T: Handler>(&self, channel: EventChannel<T>) -> Result {
        let channel = KBox::new(channel, GFP_KERNEL)?;
        *self.channel.lock() = Some(channel);
        Ok(())
    }

    /// Ends the events, and takes the ring out of use. May sleep.
    pub(crate) fn close(&self) {
        let channel = self.channel.lock().take();
        // Outside the lock: waits for the handler.
        drop(channel);
        let ring = self.ring.lock().take();
        drop(ring);
    }

    /// Takes the next request. If there is none, an event tells of the next. An impossible index is an
    /// error.
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

    /// Sends a response, unless the link is down. `note` is called before the guest can see it.
    pub(crate) fn respond(&self, response: &[u8], note: impl FnOnce()) {
        let notify = {
            let mut ring = self.ring.lock();
            let Some(ring) = (*ring).as_mut() else {
                return;
            };
            note();
            // There is a slot for each request.
            ring.push(response).is_ok() && ring.publish()
        };
        if notify {
            if let Some(channel) = self.channel.lock().as_ref() {
                channel.notify();
            }
        }
    }

    /// Notes that an event has come, which [`Self::eoi`] ends. Any context.
    pub(crate) fn note_event(&self) {
        self.owes_eoi.store(true, Release);
    }

    /// Lets the guest send the next event, as there are no more requests.
    pub(crate) fn eoi(&self) {
        let channel = self.channel.lock();
        // The first event may come before the channel is known here; then it is let in later.
        let Some(channel) = &*channel else {
            return;
        };
        if self.owes_eoi.xchg(false, Full) {
            // Events for nothing delay the next.
            channel.eoi(!self.has_served.xchg(false, Full));
        }
    }
}
