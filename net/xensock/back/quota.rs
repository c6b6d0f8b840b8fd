// SPDX-License-Identifier: GPL-2.0

//! Counts of the resources of this domain that a guest holds.

use crate::{
    counts::Peak,
    proto::owner::left_to, //
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Full,
            Relaxed, //
        },
        Arc, //
    }, //
};

/// A sum of amounts that change.
///
/// Changes of one amount may be added in another order than they were made, so the sum of all
/// differences may be less than 0 for a moment. It counts as 0 then.
pub(crate) struct Sum(Atomic<isize>);

impl Sum {
    pub(crate) const fn new() -> Self {
        Self(Atomic::new(0))
    }

    /// Replaces the amount `before` by `now`.
    pub(crate) fn change(&self, before: usize, now: usize) {
        // CAST: The bits of a difference that wraps are those of the negative number.
        self.0.add(now.wrapping_sub(before) as isize, Relaxed);
    }

    pub(crate) fn get(&self) -> usize {
        usize::try_from(self.0.load(Relaxed)).unwrap_or(0)
    }
}

/// The use of a resource by all guests, of which this domain has one pool.
///
/// As long as this use is below half of a limit, each guest may have as much as its policy says.
/// Beyond that, each guest may have its part of the other half, if that is less: other guests do not
/// affect a guest that keeps to its part, and the parts of all guests still fit below the limit.
pub(crate) struct GlobalUsage {
    used: Sum,
    guests: Atomic<usize>,
}

impl GlobalUsage {
    pub(crate) const fn new() -> Self {
        Self {
            used: Sum::new(),
            guests: Atomic::new(0),
        }
    }

    /// Counts one more guest.
    pub(crate) fn join(&self) {
        self.guests.add(1, Relaxed);
    }

    /// Counts one guest less.
    pub(crate) fn leave(&self) {
        self.guests.fetch_sub(1, Relaxed);
    }

    /// Replaces the amount `before` of a guest by `now`.
    pub(crate) fn change(&self, before: usize, now: usize) {
        self.used.change(before, now);
    }

    /// Returns the amount that a guest may have: `own`, or its part once all guests together have
    /// half of `limit`, of which `besides` is not counted here.
    pub(crate) fn share(&self, besides: usize, limit: usize, own: usize) -> usize {
        self.share_of(self.used.get().saturating_add(besides), limit, own)
    }

    /// As [`Self::share`], for another resource of the same guests, which have `used` of it.
    pub(crate) fn share_of(&self, used: usize, limit: usize, own: usize) -> usize {
        if used < limit / 2 {
            return own;
        }
        own.min(limit / 2 / self.guests.load(Relaxed).max(1))
    }
}

/// The guests' pages that are mapped for data rings. Xen's table of mappings has 262,144 entries
/// for this domain unless configured otherwise.
pub(crate) static MAPPED_PAGES: GlobalUsage = GlobalUsage::new();

/// How much of a resource an owner has, and the guest in all.
#[derive(Clone, Copy)]
pub(crate) struct Holding {
    pub(crate) owner: u64,
    pub(crate) own: usize,
    pub(crate) used: usize,
}

impl Holding {
    /// Returns how much more the owner may have if the limit of the guest is `most`.
    pub(crate) fn left(&self, most: usize) -> usize {
        let most = u32::try_from(most).unwrap_or(u32::MAX);
        left_to(self.owner, most, self.used, self.own)
    }

    /// Returns how much another owner may have that has nothing.
    pub(crate) fn left_to_others(&self, most: usize) -> usize {
        Self { own: 0, ..*self }.left(most)
    }
}

/// The amount of a resource that a guest has, or one of its users.
pub(crate) struct Quota {
    /// The amount of all guests, if it is limited too.
    global: Option<&'static GlobalUsage>,
    used: Atomic<usize>,
    /// The largest sum that was allowed.
    most: Peak,
}

impl Quota {
    pub(crate) fn new() -> Result<Arc<Self>> {
        Self::with_global(None)
    }

    /// Creates the quota of one more guest, as a part of `global`.
    pub(crate) fn part_of(global: &'static GlobalUsage) -> Result<Arc<Self>> {
        Self::with_global(Some(global))
    }

    fn with_global(global: Option<&'static GlobalUsage>) -> Result<Arc<Self>> {
        if let Some(global) = global {
            global.join();
        }
        let quota = Self {
            global,
            used: Atomic::new(0),
            most: Peak::new(),
        };
        // If this fails, dropping the quota leaves `global` again.
        Ok(Arc::new(quota, GFP_KERNEL)?)
    }

    /// Replaces the amount `before` by `now` in the amount of all guests.
    fn change_global(&self, before: usize, now: usize) {
        if let Some(global) = self.global {
            global.change(before, now);
        }
    }

    /// Returns the amount.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Relaxed)
    }

    /// Returns the largest amount so far.
    pub(crate) fn most(&self) -> usize {
        self.most.get()
    }

    /// Takes `amount`, which the caller has checked.
    pub(crate) fn take(self: &Arc<Self>, amount: usize) -> Charge {
        let charge = self.add(amount);
        self.most.note(self.used());
        charge
    }

    /// Takes `amount` of this quota of a guest and of that of one of its users, if `allows` accepts
    /// what they have besides.
    ///
    /// Both amounts are taken first. So of several callers, the last one finds what the others have
    /// taken, and no two of them get the same rest.
    pub(crate) fn take_for(
        self: &Arc<Self>,
        owner: u64,
        of_user: &Arc<Self>,
        amount: usize,
        allows: impl FnOnce(Holding) -> Result,
    ) -> Result<[Charge; 2]> {
        // Dropping them gives the amounts back, if they are refused.
        let charges = [self.add(amount), of_user.add(amount)];
        allows(Holding {
            owner,
            own: of_user.used().saturating_sub(amount),
            used: self.used().saturating_sub(amount),
        })?;
        self.most.note(self.used());
        Ok(charges)
    }

    fn add(self: &Arc<Self>, amount: usize) -> Charge {
        // Ordered before the checks of `take_for`.
        self.used.fetch_add(amount, Full);
        self.change_global(0, amount);
        Charge {
            quota: self.clone(),
            amount,
        }
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        if let Some(global) = self.global {
            global.leave();
        }
    }
}

/// An amount taken from a quota. Dropping it gives the amount back.
pub(crate) struct Charge {
    quota: Arc<Quota>,
    amount: usize,
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.quota.used.fetch_sub(self.amount, Relaxed);
        self.quota.change_global(self.amount, 0);
    }
}
