// SPDX-License-Identifier: GPL-2.0

//! Limits on the part of the guest's grant table that connections may take.
//!
//! A program may have as many sockets as files, with rings of any size, while the guest's disk and
//! console take grants from the same table. So all connections together get a part of the table,
//! and each user a share of this part: see [`left_to`]. Rings become smaller as the part runs out.
//! A closed connection counts until the backend has taken all bytes sent.

use crate::{
    keeper::Keeper,
    proto::{
        owner::{
            left_to,
            share_of, //
        },
        ring::Order,
        shortage::Shortage, //
    }, //
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        GlobalArc,
        Mutex, //
    },
    xen::grant, //
};

/// The budget, as long as the module is loaded.
static BUDGET: GlobalArc<Budget> = GlobalArc::new();

/// The grants that the connections of all links have.
#[pin_data]
pub(crate) struct Budget {
    used: Atomic<usize>,
    /// Users that have or had grants. Held while a task takes grants.
    #[pin]
    users: Mutex<KVec<User>>,
}

/// A user of the guest.
struct User {
    number: u64,
    grants: Arc<UserGrants>,
}

/// The grants of a user.
struct UserGrants {
    used: Atomic<usize>,
    /// Number of directions that have grown.
    grown: Atomic<usize>,
}

impl Budget {
    /// Creates a budget without used grants. May sleep.
    pub(crate) fn keep() -> Result<Keeper<Self>> {
        let budget = Arc::pin_init(
            pin_init!(Self {
                used: Atomic::new(0),
                users <- new_mutex!(KVec::new(), "xensock_budget"),
            }),
            GFP_KERNEL,
        )?;
        Ok(Keeper::new(&BUDGET, budget))
    }
}

/// The grants of one ring, or of an extension. Dropping gives them back.
pub(crate) struct Share {
    grants: usize,
    is_growth: bool,
    budget: Arc<Budget>,
    user: Arc<UserGrants>,
}

/// Returns the largest order up to `wanted` for which there are grants. Others may take them first.
/// May sleep.
pub(crate) fn affordable(owner: u64, wanted: Order) -> Option<Order> {
    let budget = BUDGET.get()?;
    let users = budget.users.lock();
    let own = users.iter().find(|user| user.number == owner);
    let own = own.map_or(0, |user| user.grants.used.load(Relaxed));
    wanted.affordable(left_to(owner, limit(), budget.used.load(Relaxed), own))
}

/// Returns who is short of grants if a ring of `owner`'s cannot be of the `wanted` order: only that
/// user, if a user without any connection could have one. May sleep.
pub(crate) fn shortage(owner: u64, wanted: Order) -> Shortage {
    let used = BUDGET.get().map_or(0, |budget| budget.used.load(Relaxed));
    match wanted.affordable(left_to(owner, limit(), used, 0)) {
        Some(order) if order == wanted => Shortage::OfUser(owner),
        _ => Shortage::OfAll,
    }
}

/// Returns the number of directions of a user that have grown, or wait for the backend's response.
/// May sleep.
pub(crate) fn grown(owner: u64) -> usize {
    let Some(budget) = BUDGET.get() else {
        return 0;
    };
    let users = budget.users.lock();
    let own = users.iter().find(|user| user.number == owner);
    own.map_or(0, |user| user.grants.grown.load(Relaxed))
}

/// Returns the largest number of grants for all connections: a quarter of the table is left to
/// others.
fn limit() -> u32 {
    // CAST: A grant's number has 32 bits.
    (grant::max_grants() / 4 * 3) as u32
}

impl Share {
    /// Takes the grants for a data ring of `owner`, of the order `wanted` or less. Returns the
    /// order. Fails with `ENOBUFS` if there are too few grants for any order. May sleep.
    pub(crate) fn take(owner: u64, wanted: Order) -> Result<(Self, Order)> {
        take(owner, false, |_, left| {
            let order = wanted.affordable(left)?;
            Some((order.grants(), order))
        })
    }

    /// Takes the grants for a direction to grow from the order of its ring to the order `wanted` or
    /// less. Returns the order. Fails with `ENOBUFS` if there are too few grants. May sleep.
    ///
    /// The more directions of the user have grown, the less the next one gets. If hundreds are busy
    /// at once, the last ones would otherwise get nothing, here or within the backend's limits. By
    /// default, with an eighth of the user's share, 768 directions of root stay within both, and 268
    /// of another user; further ones do not grow.
    pub(crate) fn take_growth(owner: u64, base: Order, wanted: Order) -> Result<(Self, Order)> {
        let part = share_of(owner, limit(), 0, 0) / 8;
        take(owner, true, |grown, left| {
            let order = wanted.affordable_growth(base, left, part / (grown + 1))?;
            Some((order.half_pages(), order))
        })
    }
}

/// Takes the number of grants that `choose` returns. Its arguments are the number of the user's
/// directions that have grown, and the number of grants left.
fn take(
    owner: u64,
    is_growth: bool,
    choose: impl FnOnce(usize, usize) -> Option<(usize, Order)>,
) -> Result<(Share, Order)> {
    let budget = BUDGET.get().ok_or(ENOBUFS)?;
    let limit = limit();
    let mut users = budget.users.lock();
    let user = find(&mut users, owner)?;
    let (used, own) = (budget.used.load(Relaxed), user.used.load(Relaxed));
    let grown = user.grown.load(Relaxed);
    let (grants, order) = choose(grown, left_to(owner, limit, used, own)).ok_or(ENOBUFS)?;
    // The lock keeps other tasks from taking grants meanwhile.
    budget.used.add(grants, Relaxed);
    user.used.add(grants, Relaxed);
    user.grown.add(usize::from(is_growth), Relaxed);
    drop(users);
    let share = Share {
        grants,
        is_growth,
        budget,
        user,
    };
    Ok((share, order))
}

/// Returns the entry of a user, and reuses the entry of a user without grants if needed.
fn find(users: &mut KVec<User>, number: u64) -> Result<Arc<UserGrants>> {
    let own = users.iter().position(|user| user.number == number);
    let free = || {
        users
            .iter()
            .position(|user| user.grants.used.load(Relaxed) == 0)
    };
    if let Some(user) = own.or_else(free).and_then(|index| users.get_mut(index)) {
        user.number = number;
        return Ok(user.grants.clone());
    }
    let grants = UserGrants {
        used: Atomic::new(0),
        grown: Atomic::new(0),
    };
    let grants = Arc::new(grants, GFP_KERNEL)?;
    let user = User {
        number,
        grants: grants.clone(),
    };
    users.push(user, GFP_KERNEL)?;
    Ok(grants)
}

impl Drop for Share {
    fn drop(&mut self) {
        // In this order: the entry of a user without grants is reused.
        self.user
            .grown
            .fetch_sub(usize::from(self.is_growth), Relaxed);
        self.user.used.fetch_sub(self.grants, Relaxed);
        self.budget.used.fetch_sub(self.grants, Relaxed);
    }
}
