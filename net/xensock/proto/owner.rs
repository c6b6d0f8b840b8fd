// SPDX-License-Identifier: GPL-2.0

//! The users of a guest, by the guest's own numbers for them.

/// The guest's root user, and no other.
pub const ROOT: u64 = 0;

/// The divisor that gives root's reserve of a limit.
const RESERVE: u32 = 16;

/// The divisor that gives the part of a limit that the floors of one user have.
const FLOORS: usize = 8;

/// Returns the part of a limit of the guest that a user may use up. The last sixteenth is reserved
/// for root, as in file systems, so that root can still examine and repair the system.
///
/// # Examples
///
/// ```
/// # use xensock_hosttest::proto::owner::{part_of, ROOT};
/// assert_eq!(part_of(ROOT, 64), 64);
/// assert_eq!(part_of(1000, 64), 60);
/// assert_eq!(part_of(1000, 15), 15);
/// assert_eq!(part_of(1000, u32::MAX), u32::MAX / 16 * 15 + 15);
/// ```
pub fn part_of(owner: u64, limit: u32) -> u32 {
    match owner {
        ROOT => limit,
        _ => limit - limit / RESERVE,
    }
}

/// Returns the amount of a resource that a user, who has `own` of `used` in all, may have in
/// addition: an amount that leaves at least the same to other users. So one user has at most half,
/// two users have a third each, and there is something left for one more. Root may have all.
///
/// # Examples
///
/// ```
/// use xensock_hosttest::proto::owner::{left_to, ROOT};
/// assert_eq!(left_to(ROOT, 64, 60, 0), 4);
/// assert_eq!(left_to(1000, 64, 0, 0), 30);
/// assert_eq!(left_to(1000, 64, 30, 30), 0);
/// assert_eq!(left_to(1001, 64, 30, 0), 15);
/// assert_eq!(left_to(1001, 64, 70, 0), 0);
/// assert_eq!(left_to(1000, 1, 0, 0), 1);
/// ```
pub fn left_to(owner: u64, limit: u32, used: usize, own: usize) -> usize {
    share_of(owner, limit, used, own).saturating_sub(own)
}

/// Returns the amount of a resource, of which `own` of `used` in all are the user's, from which on
/// the user may have no more: see [`left_to`].
///
/// # Examples
///
/// ```
/// use xensock_hosttest::proto::owner::{share_of, ROOT};
/// assert_eq!(share_of(ROOT, 64, 60, 0), 4);
/// assert_eq!(share_of(ROOT, 64, 70, 70), 64);
/// assert_eq!(share_of(1000, 64, 30, 30), 30);
/// assert_eq!(share_of(1000, 64, 50, 40), 25);
/// assert_eq!(share_of(1001, 64, 70, 0), 0);
/// ```
pub fn share_of(owner: u64, limit: u32, used: usize, own: usize) -> usize {
    let others = used.saturating_sub(own);
    // CAST: Widens.
    let share = (part_of(owner, limit) as usize).saturating_sub(others);
    match owner {
        ROOT => share,
        _ => share.div_ceil(2),
    }
}

/// Returns the size of a receive buffer with the size `usual` that holds `received` bytes, while the
/// user may have `left` more. It has its `floor` in any case.
///
/// # Examples
///
/// ```
/// use xensock_hosttest::proto::owner::fitted;
/// assert_eq!(fitted(100, 20, 500, 10), 100);
/// assert_eq!(fitted(100, 20, 30, 10), 50);
/// assert_eq!(fitted(100, 20, 0, 10), 20);
/// assert_eq!(fitted(100, 0, 0, 10), 10);
/// assert_eq!(fitted(5, 0, 0, 10), 5);
/// assert_eq!(fitted(100, 20, usize::MAX, 10), 100);
/// ```
pub fn fitted(usual: usize, received: usize, left: usize, floor: usize) -> usize {
    usual.min(received.saturating_add(left).max(floor))
}

/// Returns the floor of each of the two buffers of a socket, if all buffers may have `limit` and the
/// guest may have so many sockets. It is granted even when the share of the user is used up.
///
/// One user has half of the sockets at most, whose floors are an eighth of the limit together.
///
/// # Examples
///
/// ```
/// use xensock_hosttest::proto::owner::{floor_of, left_to};
/// assert_eq!(floor_of(8 << 20, 64), 16 << 10);
/// assert_eq!(floor_of(8 << 20, 0), 1 << 20);
///
/// // A user has a share, an eighth of the limit in addition, and the floors.
/// let used = 30 + 64 / 8 + floor_of(64 << 10, 8) * 2 * 4 / 1024;
/// assert_eq!(left_to(1001, 64, used, 0), 7);
/// ```
pub fn floor_of(limit: usize, sockets: usize) -> usize {
    limit / sockets.max(1) / FLOORS
}
