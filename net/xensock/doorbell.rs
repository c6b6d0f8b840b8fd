// SPDX-License-Identifier: GPL-2.0

//! Who hears of the events of a data ring: one connection after another.
//!
//! A new event channel costs each end an interrupt of its own, which Linux sets up with much ado. So
//! the channel stays, like the data ring that it belongs to, while those who hear of its events come
//! and go. So does a slot of a [shared channel](crate::shared_channel).

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

/// Whom events concern.
enum BellOwner<T: ?Sized> {
    Nobody,
    One(Arc<T>),
    /// Nobody for good.
    Never,
}

/// Passes events on to whom they concern.
#[pin_data]
pub struct Doorbell<T: Handler + ?Sized> {
    /// Held while the handler runs.
    #[pin]
    owner: SpinLockIrq<BellOwner<T>>,
    /// The handler has said that an event ends later, and it has not ended yet.
    owes_eoi: Atomic<bool>,
}

impl<T: Handler + ?Sized> Doorbell<T> {
    /// One that concerns nobody yet.
    pub fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                owner <- new_spinlock_irq!(BellOwner::Nobody, "xensock_doorbell"),
                owes_eoi: Atomic::new(false),
            }),
            GFP_KERNEL,
        )
    }

    /// Has the events concern `owner` from now on, of whom there is a reference here until
    /// [`Self::disconnect`]. Nobody has them before that. The first may be one that was meant for
    /// another. Any context.
    ///
    /// Does nothing after [`Self::close`].
    pub fn connect(&self, owner: Arc<T>) {
        let mut current = self.owner.lock();
        if let BellOwner::Nobody = *current {
            *current = BellOwner::One(owner);
        }
    }

    /// As [`Self::connect`], and has the handler look for what events before that would have told.
    /// Does nothing if `is_over` says that [`Self::disconnect`] has been there first.
    pub fn connect_and_look(&self, owner: Arc<T>, is_over: impl FnOnce(&T) -> bool) {
        let mut current = self.owner.lock();
        if matches!(*current, BellOwner::Nobody) && !is_over(&owner) {
            // No event waits for its end.
            let _ = T::handle(owner.as_arc_borrow());
            *current = BellOwner::One(owner);
        }
    }

    /// Has the events concern nobody. The handler of who was there does not run after this.
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

    /// As [`Self::disconnect`], and for good.
    pub fn close(&self) {
        let old = replace(&mut *self.owner.lock(), BellOwner::Never);
        drop(old);
    }
}

impl<T: Handler + ?Sized> Doorbell<T> {
    /// Returns whether an event waits for its end.
    pub fn owes_eoi(&self) -> bool {
        self.owes_eoi.load(Acquire)
    }

    /// Notes that the event ends now. Returns whether there was one that did not.
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
        // Before the handler: whoever it has look may be there at once.
        let did_owe = self.owes_eoi.xchg(true, Full);
        match T::handle(owner.as_arc_borrow()) {
            Eoi::Later if !did_owe => Eoi::Later,
            // It looks once, for all that came before.
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
