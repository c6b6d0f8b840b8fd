// SPDX-License-Identifier: GPL-2.0

//! Counting the memory of all connections of a guest once more.
//!
//! TCP tells nobody when the peer acknowledges bytes that were all taken. So the memory of a
//! connection that is idle since then is counted too high. That matters only to a user who has
//! little left, so only then all connections are counted again, after a while.

use kernel::{
    new_spinlock_irq,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        SpinLockIrq, //
    }, //
};

/// The connections of a guest, during a link.
pub(crate) trait Recount: Send + Sync {
    /// Counts the memory of all connections later, once, and then calls [`Recounter::begin`] first.
    /// Any context.
    fn recount_later(self: Arc<Self>);
}

/// Counts the connections of a guest again, when asked to.
#[pin_data]
pub(crate) struct Recounter {
    /// Set while a count is due, so that further ones who ask take no lock.
    is_due: Atomic<bool>,
    #[pin]
    target: SpinLockIrq<Option<Arc<dyn Recount>>>,
}

impl Recounter {
    pub(crate) fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                is_due: Atomic::new(false),
                target <- new_spinlock_irq!(None, "xensock_recount"),
            }),
            GFP_KERNEL,
        )
    }

    /// Sets the connections to count: those of the link that begins, or none when it ends. `ask`
    /// reaches the former ones no more when this returns.
    pub(crate) fn set(&self, target: Option<Arc<dyn Recount>>) {
        let former = {
            let mut slot = self.target.lock();
            self.is_due.store(false, Relaxed);
            core::mem::replace(&mut *slot, target)
        };
        // Outside the lock.
        drop(former);
    }

    /// Asks for a count, unless one is due. Any context.
    pub(crate) fn ask(&self) {
        if self.is_due.load(Relaxed) {
            return;
        }
        let slot = self.target.lock();
        if let Some(target) = &*slot {
            self.is_due.store(true, Relaxed);
            target.clone().recount_later();
        }
    }

    /// Notes that the count begins that was due.
    pub(crate) fn begin(&self) {
        self.is_due.store(false, Relaxed);
    }
}
