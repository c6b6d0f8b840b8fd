// SPDX-License-Identifier: GPL-2.0

//! Arithmetic of data rings.
//!
//! Indexes are free-running 32-bit counts of bytes; the byte with index `i` is at `i` modulo the
//! size of its half. An end trusts its own indexes, which it keeps in private memory, and checks
//! the other end's indexes at every read.

/// The order of the number of data pages of a data ring: 1 to 9.
///
/// The first half of the pages is `in`, the second half `out`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Order(u8);

impl Order {
    /// One page each way.
    pub const MIN: Self = Self(1);
    /// 1 MiB each way, the maximum of the protocol.
    pub const MAX: Self = Self(9);

    /// Checks an order.
    pub const fn new(order: u32) -> Option<Self> {
        if order < 1 || order > 9 {
            return None;
        }
        // CAST: At most 9.
        Some(Self(order as u8))
    }

    /// Returns the smallest order with at least `bytes` bytes each way, or the largest order.
    pub fn for_size(bytes: usize) -> Self {
        let mut order = Self::MIN;
        while order < Self::MAX && order.half_len() < bytes {
            order = Self(order.0 + 1);
        }
        order
    }

    /// Returns the number for the wire.
    pub const fn get(self) -> u32 {
        // CAST: Widens; `From` is not usable in a `const fn`.
        self.0 as u32
    }

    /// Returns the bytes of each direction, a power of two.
    pub const fn half_size(self) -> u32 {
        2048 << self.0
    }

    /// Returns the bytes of each direction, as a length.
    pub const fn half_len(self) -> usize {
        2048 << self.0
    }

    /// Returns the number of pages of data.
    pub const fn pages(self) -> usize {
        1 << self.0
    }

    /// Returns the number of pages of each direction.
    pub const fn half_pages(self) -> usize {
        self.pages() / 2
    }

    /// Returns the number of grants that a ring needs: for its pages and for the indexes page.
    pub const fn grants(self) -> usize {
        self.pages() + 1
    }

    /// Returns the largest order, up to this one, of which `left` grants are enough for another 32
    /// rings, so that no ring takes all that is left. For the smallest order, `left` need only be
    /// enough for one.
    pub fn affordable(self, left: usize) -> Option<Self> {
        let mut order = self;
        while order > Self::MIN && order.grants() > left / 32 {
            order = Self(order.0 - 1);
        }
        (order.grants() <= left).then_some(order)
    }

    /// Returns the largest order, up to this one and above `base`, to which another 32 directions
    /// could grow with `left` grants, and which takes no more than `fair` grants.
    pub fn affordable_growth(self, base: Self, left: usize, fair: usize) -> Option<Self> {
        let mut order = self;
        while order > base && order.half_pages() > fair.min(left / 32) {
            order = Self(order.0 - 1);
        }
        (order > base).then_some(order)
    }
}

/// The other end's index is impossible: there would be more bytes than the ring holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation;

/// Returns the number of bytes in the ring.
pub const fn queued(prod: u32, cons: u32, size: u32) -> Result<u32, Violation> {
    let queued = prod.wrapping_sub(cons);
    if queued > size {
        return Err(Violation);
    }
    Ok(queued)
}

/// A run of bytes within a half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Offset of the run from the start of the half.
    pub offset: u32,
    /// Length of the run.
    pub len: u32,
}

/// Returns the places of the `len` bytes from `index` on; the second span is empty unless they
/// wrap.
///
/// `size` is a power of two; a `len` beyond it is cut to it.
pub fn spans(index: u32, len: u32, size: u32) -> [Span; 2] {
    let len = len.min(size);
    let offset = index & size.wrapping_sub(1);
    let first = len.min(size.wrapping_sub(offset));

    [
        Span { offset, len: first },
        Span {
            offset: 0,
            // OVERFLOW: `first` is at most `len`.
            len: len - first,
        },
    ]
}

/// One of the two memories that a direction can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// The memory that the direction begins with, and keeps.
    Base,
    /// The additional memory while the direction is grown, larger than the base.
    Extension,
}

impl Memory {
    /// Returns the memory, given its size and that of the base.
    pub(super) const fn of(size: u32, base: u32) -> Self {
        if size == base {
            Self::Base
        } else {
            Self::Extension
        }
    }
}

/// A run of bytes of a direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemorySpan {
    /// The memory that it is in.
    pub memory: Memory,
    /// Its place in that memory.
    pub span: Span,
}

/// Returns `true` if an index that went from `old` to `new` has reached `event`.
///
/// That is, if `event` lies in `(old, new]`, with wrap. An end that moves an index notifies the
/// other if this is true of the event index read after the move, with a full barrier between.
///
/// # Examples
///
/// ```
/// # use xensock_hosttest::proto::ring::crossed;
/// assert!(crossed(5, 4, 5));
/// assert!(!crossed(4, 4, 5));
/// assert!(!crossed(5, 5, 5));
/// assert!(crossed(1, u32::MAX, 2));
/// ```
pub const fn crossed(event: u32, old: u32, new: u32) -> bool {
    new.wrapping_sub(event) < new.wrapping_sub(old)
}
