// SPDX-License-Identifier: GPL-2.0

//! Notification between the two ends of a data ring, by the ring's own event channel or by the
//! channel that the rings of the link share.

use crate::{
    doorbell::Doorbell,
    proto::news::Slot,
    shared_channel::{
        NewsPage,
        SharedChannel, //
    }, //
};
use kernel::{
    device::DeviceContext,
    prelude::*,
    sync::Arc,
    xen::{
        event::{
            EventChannel,
            Handler, //
        },
        xenbus,
        Port, //
    }, //
};

/// The slot of a data ring in a [`SharedChannel`].
pub struct Slotted<T: Handler + ?Sized, P: NewsPage> {
    channel: Arc<SharedChannel<P>>,
    slot: Slot,
    doorbell: Arc<Doorbell<T>>,
}

impl<T: Handler + ?Sized, P: NewsPage> Slotted<T, P> {
    fn new(
        channel: &Arc<SharedChannel<P>>,
        wanted: Option<Slot>,
        doorbell: Arc<Doorbell<T>>,
    ) -> Result<Self> {
        let slot = channel.claim(wanted, doorbell.clone())?;
        let channel = channel.clone();
        Ok(Self {
            channel,
            slot,
            doorbell,
        })
    }
}

impl<T: Handler + ?Sized, P: NewsPage> Drop for Slotted<T, P> {
    fn drop(&mut self) {
        self.channel.release(self.slot);
        if self.doorbell.take_eoi() {
            // The work item will not look any more. The end of its user counts as news.
            self.channel.note_look(true);
        }
    }
}

/// Notification between the two ends of a data ring. Dropping it ends the events, and may sleep.
pub enum Notifier<T: Handler + ?Sized, P: NewsPage> {
    /// An event channel of the ring's own.
    Own(EventChannel<Doorbell<T>>),
    /// A slot in the channel of the link.
    Shared(Slotted<T, P>),
}

impl<T: Handler + ?Sized, P: NewsPage> Notifier<T, P> {
    /// Allocates a notifier, whose [number](Self::number) the peer has to know. Uses the shared
    /// channel if the link has one. May sleep. For the frontend.
    pub fn alloc(
        dev: &xenbus::Device<impl DeviceContext>,
        shared: Option<&Arc<SharedChannel<P>>>,
        doorbell: Arc<Doorbell<T>>,
    ) -> Result<Self> {
        match shared {
            Some(channel) => Slotted::new(channel, None, doorbell).map(Self::Shared),
            None => EventChannel::alloc(dev, c"xensock", doorbell).map(Self::Own),
        }
    }

    /// Binds to the peer's notifier with this number, which may come straight from the peer. May
    /// sleep. For the backend.
    pub fn bind(
        dev: &xenbus::Device<impl DeviceContext>,
        shared: Option<&Arc<SharedChannel<P>>>,
        number: u32,
        doorbell: Arc<Doorbell<T>>,
    ) -> Result<Self> {
        match shared {
            Some(channel) => {
                let slot = Slot::new(number).ok_or(EINVAL)?;
                Slotted::new(channel, Some(slot), doorbell).map(Self::Shared)
            }
            None => EventChannel::bind(dev, Port::new(number), c"xensock", doorbell).map(Self::Own),
        }
    }

    /// Returns the number of the notifier for the peer: a port, or a slot.
    pub fn number(&self) -> u32 {
        match self {
            Self::Own(channel) => channel.port().as_raw(),
            Self::Shared(slotted) => slotted.slot.number(),
        }
    }

    /// Returns the doorbell, which receives the events.
    pub fn doorbell(&self) -> &Arc<Doorbell<T>> {
        match self {
            Self::Own(channel) => channel.handler(),
            Self::Shared(slotted) => &slotted.doorbell,
        }
    }

    /// Notifies the peer to look at the ring. Any context.
    pub fn notify(&self) {
        match self {
            Self::Own(channel) => channel.notify(),
            Self::Shared(slotted) => slotted.channel.announce(slotted.slot),
        }
    }

    /// Returns `true` if other rings wait for the end of an event. Then the event is ended as soon
    /// as it is known if there is work to do, and not when that work is done.
    pub fn is_shared(&self) -> bool {
        matches!(self, Self::Shared(_))
    }

    /// Ends the event for which the handler has returned [`Later`](kernel::xen::event::Eoi::Later),
    /// if there is one. `spurious` says that there was nothing to do. Any context.
    pub fn eoi(&self, spurious: bool) {
        if !self.doorbell().take_eoi() {
            return;
        }
        match self {
            Self::Own(channel) => channel.eoi(spurious),
            Self::Shared(slotted) => slotted.channel.note_look(!spurious),
        }
    }
}
