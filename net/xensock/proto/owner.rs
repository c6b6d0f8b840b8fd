// SPDX-License-Identifier: GPL-2.0

//! The users of a guest, by the numbers that it has for them.

/// The guest's root, and nobody else.
pub const ROOT: u64 = 0;

/// The part of a limit that is left to the guest's root.
const RESERVE: u32 = 16;

/// Returns how much of a limit of the guest a user may use up: the last sixteenth is left to root, as
/// file systems do it, so that root can still see what there is, and mend it.
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

/// Returns how much more of something a user may have, who has `own` of `used` in all: as much as
/// leaves at least the same to others. So one user has half at the most, two have a third each,
/// and there is something left for one more. Root may have all.
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
    // CAST: Widens.
    let left = (part_of(owner, limit) as usize).saturating_sub(used);
    match owner {
        ROOT => left,
        _ => left.saturating_sub(own).div_ceil(2),
    }
}
