// SPDX-License-Identifier: GPL-2.0

//! What a guest holds of this domain, counted.

use crate::counts::Peak;
use kernel::{
    net::kernel_socket::{
        KernelSocket,
        Tally, //
    },
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
    /// What [`Self::take`] has made it at most.
    most: Peak,
}

impl Quota {
    pub(crate) fn new() -> Result<Arc<Self>> {
        let (used, most) = (Atomic::new(0), Peak::new());
        Ok(Arc::new(Self { used, most }, GFP_KERNEL)?)
    }

    /// How much it is.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Relaxed)
    }

    /// How much it was at most, of what was taken as a whole.
    pub(crate) fn most(&self) -> usize {
        self.most.get()
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
        let sum = self.used.fetch_add(amount, Relaxed) + amount;
        allows(sum)?;
        self.most.note(sum);
        Ok(charge)
    }
}

/// The sockets of a guest, of all its links.
pub(crate) struct Sockets {
    /// Those included that were closed and that TCP is not done with.
    all: Arc<Tally>,
    open: Arc<Quota>,
}

impl Sockets {
    pub(crate) fn new() -> Result<Arc<Self>> {
        let all = Arc::new(Tally::new(), GFP_KERNEL)?;
        let open = Quota::new()?;
        Ok(Arc::new(Self { all, open }, GFP_KERNEL)?)
    }

    /// Counts a socket: as one that is open until the result is dropped, and then for as long as
    /// TCP needs it.
    pub(crate) fn enter(&self, socket: &mut KernelSocket) -> Result<Charge> {
        socket.count_in(&self.all)?;
        self.open.take(1, |_| Ok(()))
    }

    /// Those that are open.
    pub(crate) fn open(&self) -> &Quota {
        &self.open
    }

    /// How many there are, open or not.
    pub(crate) fn count(&self) -> usize {
        self.all.count()
    }

    /// How many were closed and are not gone.
    pub(crate) fn closed(&self) -> usize {
        self.count().saturating_sub(self.open.used())
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
