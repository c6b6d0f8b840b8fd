// SPDX-License-Identifier: GPL-2.0

//! How much of the guest's grant table connections may take.
//!
//! Any program may have as many sockets as it has files, with rings as large as it likes, while the
//! disk and the console of the guest take their grants from the same table. So all connections
//! together have a part of it, and rings become smaller as that runs out.

use crate::proto::{
    owner::part_of,
    ring::Order, //
};
use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
    xen::grant, //
};

/// Grants that the connections of all links have.
static USED: Atomic<usize> = Atomic::new(0);

/// How many directions have grown.
static GROWN: Atomic<usize> = Atomic::new(0);

/// The grants of one ring, or of an extension. Dropping gives them back.
pub(crate) struct Share {
    grants: usize,
    is_growth: bool,
}

/// The order of a ring that there are grants for, of the order that is `wanted` or less: there may
/// be others that take them first.
pub(crate) fn affordable(owner: u64, wanted: Order) -> Option<Order> {
    wanted.affordable(limit(owner).saturating_sub(USED.load(Relaxed)))
}

/// Up to how many grants all connections may have when one of `owner`'s takes more: a quarter is left to others than
/// connections, and some to root.
fn limit(owner: u64) -> usize {
    let limit = grant::max_grants() / 4 * 3;
    // CAST: Widens, and a grant's number has 32 bits.
    part_of(owner, limit as u32) as usize
}

impl Share {
    /// Takes the grants of a data ring of `owner`'s, of the order that is `wanted`, or less: of the order that is
    /// returned. `ENOBUFS` if there are too few for any.
    pub(crate) fn take(owner: u64, wanted: Order) -> Result<(Self, Order)> {
        let (grants, order) = take(owner, |left| {
            let order = wanted.affordable(left)?;
            Some((order.grants(), order))
        })?;
        let share = Self {
            grants,
            is_growth: false,
        };
        Ok((share, order))
    }

    /// Takes the grants for a direction to grow from the order of its ring to the order that is
    /// `wanted`, or less: to the order that is returned. `ENOBUFS` if there are too few.
    ///
    /// The more have grown, the less the next may: of hundreds that are busy at once, those that
    /// come last would find nothing otherwise, here or in what the backend allows.
    pub(crate) fn take_growth(owner: u64, base: Order, wanted: Order) -> Result<(Self, Order)> {
        let grown = GROWN.fetch_add(1, Relaxed) + 1;
        let fair = limit(owner) / 4 / grown;
        let taken = take(owner, |left| {
            let order = wanted.affordable_growth(base, left, fair)?;
            Some((order.half_pages(), order))
        });
        let (grants, order) = taken.inspect_err(|_| {
            GROWN.fetch_sub(1, Relaxed);
        })?;
        let share = Self {
            grants,
            is_growth: true,
        };
        Ok((share, order))
    }
}

/// Takes as many grants as `choose` says, which is told how many are left.
fn take(owner: u64, choose: impl Fn(usize) -> Option<(usize, Order)>) -> Result<(usize, Order)> {
    let limit = limit(owner);
    let mut used = USED.load(Relaxed);
    loop {
        let (grants, chosen) = choose(limit.saturating_sub(used)).ok_or(ENOBUFS)?;
        // OVERFLOW: No more than what is left.
        match USED.cmpxchg(used, used + grants, Relaxed) {
            Ok(_) => return Ok((grants, chosen)),
            Err(now) => used = now,
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        USED.fetch_sub(self.grants, Relaxed);
        if self.is_growth {
            GROWN.fetch_sub(1, Relaxed);
        }
    }
}
