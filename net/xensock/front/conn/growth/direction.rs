// SPDX-License-Identifier: GPL-2.0

//! The growth of one direction: when it has to grow, and how far it has come.

use crate::proto::ring::Order;
use kernel::{
    prelude::*,
    time::{
        Instant,
        Monotonic, //
    }, //
};

/// Number of times that a direction must be found full before it grows, with less than [`FULL_GAP`]
/// between two of them.
const FULL_TIMES: u32 = 8;

/// In milliseconds. Long enough for a peer that acknowledges late, and for a program that serves
/// hundreds of connections in turn.
const FULL_GAP: i64 = 500;

/// Time without further attempts to grow after a failed one, in milliseconds.
const PAUSE: i64 = 10_000;

/// The stage of a direction's growth.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum GrowthStage {
    /// The direction has only its base.
    Small,
    /// GROW was sent.
    Growing(Order),
    /// The direction has an extension.
    Large,
    /// Only for `out`: new bytes go into the base again, and the backend has yet to take the bytes
    /// sent before.
    Returning,
    /// SHRINK was sent.
    Shrinking,
    /// The backend has unmapped the extension, and the program has yet to read the bytes in it.
    Leaving,
}

/// A change of size that a direction waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum WantedSize {
    Large,
    Small,
}

/// The growth of one direction.
pub(super) struct DirectionGrowth {
    /// Changed by the work item only.
    pub(super) stage: GrowthStage,
    /// The response to GROW or SHRINK.
    pub(super) response: Option<Result>,
    pub(super) wanted: Option<WantedSize>,
    /// Number of times the direction was found full in succession, and when and at which index the
    /// last time.
    full: u32,
    full_last: Option<Instant<Monotonic>>,
    full_at: u32,
    /// Time when an attempt to grow failed, or something was short.
    paused_since: Option<Instant<Monotonic>>,
    /// Largest order to try: the backend has refused larger ones.
    pub(super) limit: Order,
    /// Index at the last check.
    pub(super) index: u32,
    /// Number of successive quiet checks.
    pub(super) quiet: u32,
}

impl DirectionGrowth {
    pub(super) const NEW: Self = Self {
        stage: GrowthStage::Small,
        response: None,
        wanted: None,
        full: 0,
        full_last: None,
        full_at: 0,
        paused_since: None,
        limit: Order::MAX,
        index: 0,
        quiet: 0,
    };

    /// Notes that the direction was found full, with bytes up to `index`. Returns `true` if it has
    /// to grow.
    ///
    /// At least half of `size` must have passed since the last time: a program that reads in small
    /// pieces finds the same bytes again.
    pub(super) fn note_full(&mut self, index: u32, size: u32) -> bool {
        if index.wrapping_sub(self.full_at) < size / 2 {
            return false;
        }
        self.full_at = index;
        self.full = match self.full_last {
            Some(last) if !is_past(last, FULL_GAP) => self.full.saturating_add(1),
            _ => 1,
        };
        self.full_last = Some(Instant::now());
        self.full >= FULL_TIMES && self.want_more()
    }

    /// Requests growth, unless the direction grows already or is paused. Returns `true` if it has
    /// to grow.
    pub(super) fn want_more(&mut self) -> bool {
        if self.stage != GrowthStage::Small || self.wanted.is_some() {
            return false;
        }
        if self
            .paused_since
            .is_some_and(|since| !is_past(since, PAUSE))
        {
            return false;
        }
        self.full_last = None;
        self.wanted = Some(WantedSize::Large);
        true
    }

    /// Returns `true` if the direction waits for an extension.
    pub(super) fn is_growing(&self) -> bool {
        match self.stage {
            GrowthStage::Growing(_) => true,
            GrowthStage::Small | GrowthStage::Leaving => self.wanted == Some(WantedSize::Large),
            GrowthStage::Large | GrowthStage::Returning | GrowthStage::Shrinking => false,
        }
    }

    pub(super) fn pause(&mut self) {
        self.paused_since = Some(Instant::now());
        self.limit = Order::MAX;
        self.wanted = None;
    }
}

/// Returns `true` if `since` is at least `millis` milliseconds ago.
fn is_past(since: Instant<Monotonic>, millis: i64) -> bool {
    since.elapsed().as_millis() >= millis
}
