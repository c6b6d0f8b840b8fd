// SPDX-License-Identifier: GPL-2.0

//! What a guest holds of this domain, counted.

use crate::counts::Peak;
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

/// What all guests have of something of which this domain has one pool for everybody.
///
/// As long as that is less than a limit, each guest may have as much as its policy says. Then it may
/// have its part of it, if that is less: a guest that keeps to its part is not touched by others.
pub(crate) struct Common {
    used: Atomic<usize>,
    guests: Atomic<usize>,
}

impl Common {
    pub(crate) const fn new() -> Self {
        Self {
            used: Atomic::new(0),
            guests: Atomic::new(0),
        }
    }

    /// There is one more guest.
    pub(crate) fn join(&self) {
        self.guests.add(1, Relaxed);
    }

    /// There is one less.
    pub(crate) fn leave(&self) {
        self.guests.fetch_sub(1, Relaxed);
    }

    /// A guest has `now` in place of `before`.
    pub(crate) fn change(&self, before: usize, now: usize) {
        self.used.add(now.wrapping_sub(before), Relaxed);
    }

    /// Returns how much a guest may have, which may have `own` unless all have `limit`.
    pub(crate) fn share(&self, limit: usize, own: usize) -> usize {
        if self.used.load(Relaxed) < limit {
            return own;
        }
        own.min(limit / self.guests.load(Relaxed).max(1))
    }
}

/// The pages of guests that are mapped for data rings. Xen has a table of them for this domain, of
/// 262,144 unless it is told otherwise.
pub(crate) static PAGES: Common = Common::new();

/// How much a guest has of something.
pub(crate) struct Quota {
    /// That of all guests, if it is limited too.
    common: Option<&'static Common>,
    used: Atomic<usize>,
    /// What [`Self::take`] has made it at most.
    most: Peak,
}

impl Quota {
    pub(crate) fn new() -> Result<Arc<Self>> {
        Self::of(None)
    }

    /// That of one more guest, of what all have.
    pub(crate) fn part_of(common: &'static Common) -> Result<Arc<Self>> {
        Self::of(Some(common))
    }

    fn of(common: Option<&'static Common>) -> Result<Arc<Self>> {
        if let Some(common) = common {
            common.join();
        }
        let quota = Self {
            common,
            used: Atomic::new(0),
            most: Peak::new(),
        };
        // If this fails, it leaves again.
        Ok(Arc::new(quota, GFP_KERNEL)?)
    }

    /// Has `used` be `now`, where it was `before`, with all guests.
    fn change_common(&self, before: usize, now: usize) {
        if let Some(common) = self.common {
            common.change(before, now);
        }
    }

    /// Returns how much it is.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Relaxed)
    }

    /// Returns how much it was at most, of what was taken as a whole.
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
        self.change_common(0, amount);
        allows(sum)?;
        self.most.note(sum);
        Ok(charge)
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        if let Some(common) = self.common {
            common.leave();
        }
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
        self.quota.change_common(self.amount, 0);
    }
}
