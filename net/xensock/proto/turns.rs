// SPDX-License-Identifier: GPL-2.0

//! Turns of the users of a guest, whose requests wait for slots of the commands ring.

/// Number of queues.
pub const QUEUES: usize = 64;

/// Returns the queue for the requests of a user. The guest's root has one to itself.
pub fn queue_of(owner: u64) -> usize {
    /// Spreads numbers that follow each other, and those of one namespace.
    const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

    match owner {
        super::owner::ROOT => 0,
        // CAST: Less than 63.
        _ => 1 + ((owner.wrapping_mul(SPREAD) >> 32) % (QUEUES as u64 - 1)) as usize,
    }
}

/// The queues that have requests, and the next of them.
///
/// # Examples
///
/// ```
/// use xensock_hosttest::proto::turns::Turns;
/// let mut turns = Turns::new();
/// turns.fill(5);
/// turns.fill(9);
/// // One request of each, as long as both have more.
/// for queue in [5, 9, 5, 9] {
///     assert_eq!(turns.next(), Some(queue));
///     turns.pass(queue, true);
/// }
/// turns.pass(5, false);
/// assert_eq!(turns.next(), Some(9));
/// ```
#[derive(Debug, Default)]
pub struct Turns {
    /// A bit for each queue that has requests.
    full: u64,
    /// The queue that the search for the next one starts at.
    first: u32,
}

impl Turns {
    /// Creates the turns of empty queues.
    pub const fn new() -> Self {
        Self { full: 0, first: 0 }
    }

    /// Notes that a queue has requests.
    pub fn fill(&mut self, queue: usize) {
        self.full |= bit(queue);
    }

    /// Returns the queue whose turn it is. `None` if all are empty.
    pub fn next(&self) -> Option<usize> {
        let ahead = self.full.rotate_right(self.first).trailing_zeros();
        if self.full == 0 {
            return None;
        }
        // CAST: Widens.
        Some(((self.first + ahead) % u64::BITS) as usize)
    }

    /// Notes that a queue has had its turn. `has_more` says if it has further requests.
    pub fn pass(&mut self, queue: usize, has_more: bool) {
        if !has_more {
            self.full &= !bit(queue);
        }
        // CAST: Less than 64.
        self.first = (queue + 1) as u32 % u64::BITS;
    }

    /// Gives the turn back to a queue whose request could not be sent.
    pub fn return_turn(&mut self, queue: usize) {
        self.fill(queue);
        // CAST: Less than 64.
        self.first = queue as u32 % u64::BITS;
    }

    /// Returns `true` if all queues are empty.
    pub fn is_over(&self) -> bool {
        self.full == 0
    }
}

fn bit(queue: usize) -> u64 {
    1 << (queue % QUEUES)
}
