// SPDX-License-Identifier: GPL-2.0

//! The doorbell of a data ring: passes its events to one connection after another.
//!
//! A new event channel costs each end an interrupt, which Linux sets up slowly. So the channel
//! stays with its data ring while the users of the ring change. The same is true of a slot of a
//! [shared channel](crate::shared_channel).

use crate::shared_channel::Bell;
use core::mem::replace;
use kernel::{
    new_spinlock_irq,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Full, //
        },
        Arc,
        ArcBorrow,
        SpinLockIrq, //
    },
    xen::event::{
        Eoi,
        Handler, //
    }, //
};

/// The owner that receives the events.
enum BellOwner<T: ?Sized> {
    Nobody,
    One(Arc<T>),
    /// No owner, and none can be set any more.
    Closed,
}

/// Passes events to their owner.
#[pin_data]
pub struct Doorbell<T: Handler + ?Sized> {
    /// Held while the handler runs.
    #[pin]
    owner: SpinLockIrq<BellOwner<T>>,
    /// Set while an event waits for its end, after the handler has returned `Later`. Also set while
    /// the handler runs.
    owes_eoi: Atomic<bool>,
}

impl<T: Handler + ?Sized> Doorbell<T> {
    /// Creates a doorbell without an owner.
    pub fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                owner <- new_spinlock_irq!(BellOwner::Nobody, "xensock_doorbell"),
                owes_eoi: Atomic::new(false),
            }),
            GFP_KERNEL,
        )
    }

    /// Passes the events to `owner` from now on, and keeps a reference to it until
    /// [`Self::disconnect`]. There must be no other owner. The first event may be one that was
    /// meant for another owner. Any context.
    ///
    /// Does nothing after [`Self::close`].
    pub fn connect(&self, owner: Arc<T>) {
        let mut current = self.owner.lock();
        if let BellOwner::Nobody = *current {
            *current = BellOwner::One(owner);
        }
    }

    /// As [`Self::connect`], and runs the handler once, for news whose events came before there was
    /// an owner. Does nothing if there is an owner already, or if `is_over` says that
    /// [`Self::disconnect`] was called first.
    pub fn connect_and_look(&self, owner: Arc<T>, is_over: impl FnOnce(&T) -> bool) {
        let mut current = self.owner.lock();
        if matches!(*current, BellOwner::Nobody) && !is_over(&owner) {
            // No event waits for its end.
            let _ = T::handle(owner.as_arc_borrow());
            *current = BellOwner::One(owner);
        }
    }

    /// Removes the owner. Its handler does not run after this.
    ///
    /// Process context: the reference that is dropped may be the last.
    pub fn disconnect(&self) {
        let old = {
            let mut current = self.owner.lock();
            match *current {
                BellOwner::One(_) => replace(&mut *current, BellOwner::Nobody),
                _ => return,
            }
        };
        drop(old);
    }

    /// As [`Self::disconnect`]; no owner can be set afterwards.
    pub fn close(&self) {
        let old = replace(&mut *self.owner.lock(), BellOwner::Closed);
        drop(old);
    }
}

impl<T: Handler + ?Sized> Doorbell<T> {
    /// Returns `true` if an event waits for its end.
    pub fn owes_eoi(&self) -> bool {
        self.owes_eoi.load(Acquire)
    }

    /// Notes that the event ends now. Returns `true` if an event was waiting for its end.
    pub(crate) fn take_eoi(&self) -> bool {
        self.owes_eoi.xchg(false, Full)
    }
}

impl<T: Handler + ?Sized> Bell for Doorbell<T> {
    fn ring(&self) -> Eoi {
        let owner = self.owner.lock();
        let BellOwner::One(owner) = &*owner else {
            return Eoi::Spurious;
        };
        // Set before the handler runs: the work that it queues may start at once.
        let did_owe = self.owes_eoi.xchg(true, Full);
        match T::handle(owner.as_arc_borrow()) {
            Eoi::Later if !did_owe => Eoi::Later,
            // One look covers all earlier events.
            Eoi::Later => Eoi::Spurious,
            now => {
                self.owes_eoi.xchg(did_owe, Full);
                now
            }
        }
    }
}

impl<T: Handler + ?Sized> Handler for Doorbell<T> {
    fn handle(this: ArcBorrow<'_, Self>) -> Eoi {
        this.ring()
    }
}
