// SPDX-License-Identifier: GPL-2.0

//! What a guest holds of this domain, counted.

use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    }, //
};

/// How much a guest has of something.
pub(crate) struct Quota {
    used: Atomic<usize>,
}

impl Quota {
    pub(crate) fn new() -> Result<Arc<Self>> {
        let used = Atomic::new(0);
        Ok(Arc::new(Self { used }, GFP_KERNEL)?)
    }

    /// Takes some of it, if the sum is one that `allows` does not refuse.
    pub(crate) fn take(
        self: &Arc<Self>,
        amount: usize,
        allows: impl FnOnce(usize) -> Result,
    ) -> Result<Charge> {
        // Gives it back, if it is refused.
        let charge = Charge {
            quota: self.clone(),
            amount,
        };
        // OVERFLOW: Both are small: what was taken is what was allowed.
        allows(self.used.fetch_add(amount, Relaxed) + amount)?;
        Ok(charge)
    }
}

/// What was taken from a quota. Dropping gives it back.
pub(crate) struct Charge {
    quota: Arc<Quota>,
    amount: usize,
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.quota.used.fetch_sub(self.amount, Relaxed);
    }
}
