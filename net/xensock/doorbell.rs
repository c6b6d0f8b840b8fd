// SPDX-License-Identifier: GPL-2.0

//! The handler of an event channel that serves one connection after another.
//!
//! A new event channel costs each end an interrupt of its own, which Linux sets up with much ado. So
//! the channel stays, like the data ring that it belongs to, while those who hear of its events come
//! and go.

use kernel::{
    new_spinlock_irq,
    prelude::*,
    sync::{
        Arc,
        ArcBorrow,
        SpinLockIrq, //
    },
    xen::event::{
        Eoi,
        Handler, //
    }, //
};

/// Passes the events of a channel on to whom they concern.
#[pin_data]
pub struct Doorbell<T: Handler> {
    /// Held while the handler runs.
    #[pin]
    owner: SpinLockIrq<Option<Arc<T>>>,
}

impl<T: Handler> Doorbell<T> {
    /// One that concerns nobody yet.
    pub fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                owner <- new_spinlock_irq!(None, "xensock_doorbell"),
            }),
            GFP_KERNEL,
        )
    }

    /// Has the events concern `owner` from now on, who keeps a reference until
    /// [`Self::disconnect`]. The first may be one that was meant for another.
    pub fn connect(&self, owner: Arc<T>) {
        let old = self.owner.lock().replace(owner);
        drop(old);
    }

    /// Has the events concern nobody. The handler of who was there does not run after this.
    ///
    /// Process context: the reference that is dropped may be the last.
    pub fn disconnect(&self) {
        let old = self.owner.lock().take();
        drop(old);
    }
}

impl<T: Handler> Handler for Doorbell<T> {
    fn handle(this: ArcBorrow<'_, Self>) -> Eoi {
        match &*this.owner.lock() {
            Some(owner) => T::handle(owner.as_arc_borrow()),
            None => Eoi::Spurious,
        }
    }
}
