// SPDX-License-Identifier: GPL-2.0

//! Shortages of sockets, pages, grants and memory, by user.

use core::mem::replace;

/// The users that are short of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortage {
    /// A user who has used up its share.
    OfUser(u64),
    /// Everybody.
    OfAll,
}

/// Number of users that are noted at a time.
const MAX_USERS: usize = 8;

/// The users who were refused something since the last check began.
///
/// # Examples
///
/// ```
/// use xensock_hosttest::proto::shortage::{Shortage, Shortages};
/// let mut shortages = Shortages::NONE;
/// assert!(shortages.note(Shortage::OfUser(1000)));
///
/// let checked = shortages.begin_check();
/// assert!(checked.concern(1000));
/// assert!(!checked.concern(0) && !checked.concern(1001));
///
/// // The check meets a shortage itself.
/// assert!(!shortages.note(Shortage::OfAll));
/// assert!(shortages.end_check());
/// let checked = shortages.begin_check();
/// assert!(checked.concern(0) && checked.concern(1001));
/// assert!(!shortages.end_check());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shortages {
    is_of_all: bool,
    users: [Option<u64>; MAX_USERS],
    is_checking: bool,
}

impl Shortages {
    /// No shortages.
    pub const NONE: Self = Self {
        is_of_all: false,
        users: [None; MAX_USERS],
        is_checking: false,
    };

    /// Notes a shortage. Does nothing if other users have all places: then a later refusal of this
    /// user is noted.
    ///
    /// Returns `true` if it is to be checked at once. A check that is going on may have met the
    /// shortage itself, and would meet it again: then the next check is early enough.
    pub fn note(&mut self, shortage: Shortage) -> bool {
        match shortage {
            Shortage::OfAll => self.is_of_all = true,
            Shortage::OfUser(user) => {
                let mut users = self.users.iter_mut();
                if let Some(place) = users.find(|place| place.is_none_or(|other| other == user)) {
                    *place = Some(user);
                }
            }
        }
        !self.is_checking
    }

    /// Begins a check. Returns the shortages noted so far.
    pub fn begin_check(&mut self) -> Self {
        let checking = Self {
            is_checking: true,
            ..Self::NONE
        };
        replace(self, checking)
    }

    /// Ends a check. Returns `true` if another is needed.
    pub fn end_check(&mut self) -> bool {
        self.is_checking = false;
        *self != Self::NONE
    }

    /// Returns `true` if a user has to give back what it can do without.
    pub fn concern(&self, user: u64) -> bool {
        self.is_of_all || self.users.contains(&Some(user))
    }
}
