// SPDX-License-Identifier: GPL-2.0

//! How much of the guest's grant table connections may take.
//!
//! Any program may have as many sockets as it has files, with rings as large as it likes, while the
//! disk and the console of the guest take their grants from the same table. So all connections
//! together have a part of it, and each user has a share of that: see [`left_to`]. Rings become
//! smaller as it runs out. A connection that is closed and has not sent everything counts still.

use crate::{
    keeper::Keeper,
    proto::{
        owner::{
            left_to,
            part_of, //
        },
        ring::Order, //
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

/// What users have, for as long as the module is.
static BUDGET: GlobalArc<Budget> = GlobalArc::new();

/// The grants that the connections of all links have.
#[pin_data]
pub(crate) struct Budget {
    used: Atomic<usize>,
    /// How many directions have grown.
    grown: Atomic<usize>,
    /// Those who have something, or had. Held while somebody takes more.
    #[pin]
    users: Mutex<KVec<User>>,
}

/// A user of the guest.
struct User {
    number: u64,
    used: Arc<Atomic<usize>>,
}

impl Budget {
    /// Begins with nothing that is used. May sleep.
    pub(crate) fn keep() -> Result<Keeper<Self>> {
        let budget = Arc::pin_init(
            pin_init!(Self {
                used: Atomic::new(0),
                grown: Atomic::new(0),
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
    user: Arc<Atomic<usize>>,
}

/// Returns the order of a ring that there are grants for, of the order that is `wanted` or less:
/// there may be others that take them first. May sleep.
pub(crate) fn affordable(owner: u64, wanted: Order) -> Option<Order> {
    let budget = BUDGET.get()?;
    let users = budget.users.lock();
    let own = users.iter().find(|user| user.number == owner);
    let own = own.map_or(0, |user| user.used.load(Relaxed));
    wanted.affordable(left_to(owner, limit(), budget.used.load(Relaxed), own))
}

/// Returns up to how many grants all connections may have: a quarter is left to others than
/// connections.
fn limit() -> u32 {
    // CAST: A grant's number has 32 bits.
    (grant::max_grants() / 4 * 3) as u32
}

impl Share {
    /// Takes the grants of a data ring of `owner`'s, of the order that is `wanted`, or less: of the order that is
    /// returned. `ENOBUFS` if there are too few for any. May sleep.
    pub(crate) fn take(owner: u64, wanted: Order) -> Result<(Self, Order)> {
        take(owner, false, |_, left| {
            let order = wanted.affordable(left)?;
            Some((order.grants(), order))
        })
    }

    /// Takes the grants for a direction to grow from the order of its ring to the order that is
    /// `wanted`, or less: to the order that is returned. `ENOBUFS` if there are too few. May sleep.
    ///
    /// The more have grown, the less the next may: of hundreds that are busy at once, those that
    /// come last would find nothing otherwise, here or in what the backend allows.
    pub(crate) fn take_growth(owner: u64, base: Order, wanted: Order) -> Result<(Self, Order)> {
        // CAST: Widens.
        let part = part_of(owner, limit()) as usize / 4;
        take(owner, true, |grown, left| {
            let order = wanted.affordable_growth(base, left, part / (grown + 1))?;
            Some((order.half_pages(), order))
        })
    }
}

/// Takes as many grants as `choose` says, which is told how many directions have grown, and how many
/// grants are left.
fn take(
    owner: u64,
    is_growth: bool,
    choose: impl FnOnce(usize, usize) -> Option<(usize, Order)>,
) -> Result<(Share, Order)> {
    let budget = BUDGET.get().ok_or(ENOBUFS)?;
    let limit = limit();
    let mut users = budget.users.lock();
    let user = find(&mut users, owner)?;
    let (used, own) = (budget.used.load(Relaxed), user.load(Relaxed));
    let grown = budget.grown.load(Relaxed);
    let (grants, order) = choose(grown, left_to(owner, limit, used, own)).ok_or(ENOBUFS)?;
    // Nobody else takes any meanwhile.
    budget.used.add(grants, Relaxed);
    budget.grown.add(usize::from(is_growth), Relaxed);
    user.add(grants, Relaxed);
    drop(users);
    let share = Share {
        grants,
        is_growth,
        budget,
        user,
    };
    Ok((share, order))
}

/// Finds the user of that number, or gives it the place of one who has nothing.
fn find(users: &mut KVec<User>, number: u64) -> Result<Arc<Atomic<usize>>> {
    let own = users.iter().position(|user| user.number == number);
    let free = || users.iter().position(|user| user.used.load(Relaxed) == 0);
    if let Some(user) = own.or_else(free).and_then(|index| users.get_mut(index)) {
        user.number = number;
        return Ok(user.used.clone());
    }
    let used = Arc::new(Atomic::new(0), GFP_KERNEL)?;
    let user = User {
        number,
        used: used.clone(),
    };
    users.push(user, GFP_KERNEL)?;
    Ok(used)
}

impl Drop for Share {
    fn drop(&mut self) {
        self.user.fetch_sub(self.grants, Relaxed);
        self.budget.used.fetch_sub(self.grants, Relaxed);
        self.budget
            .grown
            .fetch_sub(usize::from(self.is_growth), Relaxed);
    }
}
