// SPDX-License-Identifier: GPL-2.0

//! Places for spare data rings, which the users of a guest share.

use super::owner::left_to;

/// Largest number of spare rings. The backend keeps no more for a guest.
pub const MAX_RINGS: usize = 32;

/// The spare rings of one user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    owner: u64,
    rings: usize,
    grants: usize,
}

/// The places that are taken, and by whom.
///
/// # Examples
///
/// ```
/// use xensock_hosttest::proto::spare::{Places, MAX_RINGS};
/// let mut places = Places::new(1000);
/// let taken = (0..MAX_RINGS).take_while(|_| places.take(1000, 5)).count();
/// assert_eq!(taken, 15);
/// assert!(places.take(1001, 5));
/// places.uncharge(1000, 5);
/// ```
#[derive(Debug)]
pub struct Places {
    max_grants: u32,
    /// An entry without rings is free.
    held: [Held; MAX_RINGS],
}

impl Places {
    /// Creates places of which none is taken, for rings of at most `max_grants` grants in all.
    pub const fn new(max_grants: u32) -> Self {
        const NOTHING: Held = Held {
            owner: 0,
            rings: 0,
            grants: 0,
        };
        Self {
            max_grants,
            held: [NOTHING; MAX_RINGS],
        }
    }

    /// Takes a place for a ring of `owner` that has this number of grants. Returns `false` if there
    /// is none, or if the user has its share of the places or of their grants.
    pub fn take(&mut self, owner: u64, grants: usize) -> bool {
        let sum = |what: fn(&Held) -> usize| self.held.iter().map(what).sum::<usize>();
        let (rings, all_grants) = (sum(|held| held.rings), sum(|held| held.grants));
        let free = self.held.iter().position(|held| held.rings == 0);
        let Some(index) = self.find(owner).or(free) else {
            return false;
        };
        let Some(held) = self.held.get_mut(index) else {
            return false;
        };
        if held.rings == 0 {
            *held = Held {
                owner,
                rings: 0,
                grants: 0,
            };
        }
        // CAST: A small number.
        let may = left_to(owner, MAX_RINGS as u32, rings, held.rings) > 0
            && left_to(owner, self.max_grants, all_grants, held.grants) >= grants;
        if may {
            held.rings += 1;
            held.grants += grants;
        }
        may
    }

    /// Takes back what [`Self::take`] has charged for the same arguments.
    pub fn uncharge(&mut self, owner: u64, grants: usize) {
        if let Some(held) = self.find(owner).and_then(|index| self.held.get_mut(index)) {
            held.rings -= 1;
            held.grants = held.grants.saturating_sub(grants);
        }
    }

    fn find(&self, owner: u64) -> Option<usize> {
        self.held
            .iter()
            .position(|held| held.rings > 0 && held.owner == owner)
    }
}
