// SPDX-License-Identifier: GPL-2.0

//! Shortages of sockets, pages, grants and memory, by user.

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

/// The users who were refused something since the last look.
///
/// # Examples
///
/// ```
/// use xensock_hosttest::proto::shortage::{Shortage, Shortages};
/// let mut shortages = Shortages::NONE;
/// shortages.note(Shortage::OfUser(1000));
/// assert!(shortages.concern(1000));
/// assert!(!shortages.concern(0) && !shortages.concern(1001));
/// shortages.note(Shortage::OfAll);
/// assert!(shortages.concern(0) && shortages.concern(1001));
/// ```
#[derive(Debug)]
pub struct Shortages {
    is_of_all: bool,
    users: [Option<u64>; MAX_USERS],
}

impl Shortages {
    /// No shortages.
    pub const NONE: Self = Self {
        is_of_all: false,
        users: [None; MAX_USERS],
    };

    /// Notes a shortage. Does nothing if other users have all places: then a later refusal of this
    /// user is noted.
    pub fn note(&mut self, shortage: Shortage) {
        match shortage {
            Shortage::OfAll => self.is_of_all = true,
            Shortage::OfUser(user) => {
                let mut users = self.users.iter_mut();
                if let Some(place) = users.find(|place| place.is_none_or(|other| other == user)) {
                    *place = Some(user);
                }
            }
        }
    }

    /// Returns `true` if a user has to give back what it can do without.
    pub fn concern(&self, user: u64) -> bool {
        self.is_of_all || self.users.contains(&Some(user))
    }
}
