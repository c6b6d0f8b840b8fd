// SPDX-License-Identifier: GPL-2.0

//! How the directions of a connection grow and shrink.
//!
//! A connection begins small. A direction that is met full again and again gets an extension, see
//! [`crate::ring`]; and gives it back when little has gone through it for some seconds, or when memory
//! is short. Whatever fails on the way leaves the direction as it was.
//!
//! All steps are those of one work item. It waits for nobody: it goes on when an answer has come, and
//! what cannot be done now is tried again when the link looks after it, see
//! [`Link::look_after`](crate::link::Link::look_after).

mod steps;

use super::Conn;
use crate::proto::{
    ring::{
        Memory,
        Order, //
    },
    Feature,
    Way, //
};
use kernel::{
    net::sock::{
        Sock,
        Timeout,
        WaitError, //
    },
    new_mutex,
    new_spinlock_irq,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        Mutex,
        SpinLockIrq, //
    },
    time::{
        msecs_to_jiffies,
        Instant,
        Monotonic,
        Msecs, //
    }, //
};

/// The work item [`Conn::growing`].
pub(super) const GROWTH: u64 = 2;

/// So often a direction is met full, within [`FULL_TIME`], before it grows.
const FULL_TIMES: u32 = 8;

/// In milliseconds. Long enough for a peer that acknowledges late.
const FULL_TIME: i64 = 1000;

/// As little goes through a direction that is quiet, from one look at it to the next.
const QUIET: u32 = 64 << 10;

/// So often it is quiet before it shrinks.
const QUIET_TIMES: u32 = 3;

/// How long a direction does not try to grow after that was in vain, in milliseconds.
const REST: i64 = 10_000;

/// How long a call that does not wait may wait for a direction to grow, in milliseconds: much longer
/// than a backend takes that answers at all.
const MOMENT: Msecs = 100;

/// How far a direction is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum GrowthStage {
    /// It has its base.
    Small,
    /// GROW was sent.
    Growing(Order),
    /// It has an extension.
    Large,
    /// Of `out`: what is sent goes into the base again, and the backend has yet to take what was sent
    /// before.
    Returning,
    /// SHRINK was sent.
    Shrinking,
    /// The backend has nothing of the extension, and the program has yet to take what is there.
    Leaving,
}

/// What a direction is to become.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wish {
    Large,
    Small,
}

/// A direction.
struct DirectionGrowth {
    /// Changed by the work item only.
    stage: GrowthStage,
    /// What was answered to GROW or SHRINK.
    answer: Option<Result>,
    wish: Option<Wish>,
    /// How often it was met full since `full_since`, and the last time up to which byte.
    full: u32,
    full_since: Option<Instant<Monotonic>>,
    full_at: u32,
    /// When it was in vain, or memory was short.
    rests_since: Option<Instant<Monotonic>>,
    /// The backend does not allow more.
    limit: Order,
    /// Up to where bytes had gone through it at the last look.
    index: u32,
    /// How often it was quiet since.
    quiet: u32,
}

impl DirectionGrowth {
    const NEW: Self = Self {
        stage: GrowthStage::Small,
        answer: None,
        wish: None,
        full: 0,
        full_since: None,
        full_at: 0,
        rests_since: None,
        limit: Order::MAX,
        index: 0,
        quiet: 0,
    };

    /// Notes that it was met full, with bytes up to `index`; returns whether it is to grow.
    ///
    /// Half of its `size` has to be new to count: who reads little by little meets the same bytes.
    fn note_full(&mut self, index: u32, size: u32) -> bool {
        if index.wrapping_sub(self.full_at) < size / 2 {
            return false;
        }
        self.full_at = index;
        match self.full_since {
            Some(since) if !is_past(since, FULL_TIME) => self.full += 1,
            _ => {
                self.full = 1;
                self.full_since = Some(Instant::now());
            }
        }
        self.full >= FULL_TIMES && self.want_more()
    }

    /// Has it grow, unless it does already, or rests; returns whether it is to.
    fn want_more(&mut self) -> bool {
        if self.stage != GrowthStage::Small || self.wish.is_some() {
            return false;
        }
        if self.rests_since.is_some_and(|since| !is_past(since, REST)) {
            return false;
        }
        self.full_since = None;
        self.wish = Some(Wish::Large);
        true
    }

    /// Returns whether it is on its way to an extension.
    fn is_growing(&self) -> bool {
        match self.stage {
            GrowthStage::Growing(_) => true,
            GrowthStage::Small | GrowthStage::Leaving => self.wish == Some(Wish::Large),
            GrowthStage::Large | GrowthStage::Returning | GrowthStage::Shrinking => false,
        }
    }

    fn rest(&mut self) {
        self.rests_since = Some(Instant::now());
        self.limit = Order::MAX;
        self.wish = None;
    }
}

/// Whether it is as many milliseconds ago.
fn is_past(since: Instant<Monotonic>, millis: i64) -> bool {
    since.elapsed().as_millis() >= millis
}

/// The directions of a connection.
struct Sides([DirectionGrowth; 2]);

impl Sides {
    fn side(&mut self, way: Way) -> &mut DirectionGrowth {
        let [input, output] = &mut self.0;
        match way {
            Way::In => input,
            Way::Out => output,
        }
    }
}

/// How far the directions of a connection are that grow.
#[pin_data]
pub(super) struct Growth {
    #[pin]
    sides: SpinLockIrq<Sides>,
    /// `in` and `out` may grow: whether it is worth a look at `sides`, for each call that moves bytes.
    may_grow: [Atomic<bool>; 2],
    /// What is sent goes into the extension of `out`. Read by each `send()`, which has `tx` but not
    /// `sides`.
    sends_large: Atomic<bool>,
    /// Whether the directions do not grow or shrink any more; held by the work item that has them do so.
    #[pin]
    has_ended: Mutex<bool>,
}

impl Growth {
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            sides <- new_spinlock_irq!(Sides([DirectionGrowth::NEW, DirectionGrowth::NEW]), "xensock_growth"),
            may_grow: [Atomic::new(false), Atomic::new(false)],
            sends_large: Atomic::new(false),
            has_ended <- new_mutex!(false, "xensock_resizing"),
        })
    }
}

/// What the calls of programs and the handlers do.
impl Conn {
    /// Whether a direction may grow, as far as that is known without a lock.
    fn may_grow(&self, way: Way) -> bool {
        match way {
            Way::In => self.growth.may_grow[0].load(Relaxed),
            Way::Out => self.growth.may_grow[1].load(Relaxed),
        }
    }

    fn set_may_grow(&self, way: Way, may_grow: bool) {
        match way {
            Way::In => self.growth.may_grow[0].store(may_grow, Relaxed),
            Way::Out => self.growth.may_grow[1].store(may_grow, Relaxed),
        }
    }

    /// Begins to look for directions that are met full, for a connection that stands.
    pub(super) fn let_grow(&self) {
        if self.remote.link.has(Feature::RingResize) {
            Way::ALL
                .iter()
                .for_each(|way| self.set_may_grow(*way, true));
        }
    }

    fn set_stage(&self, way: Way, stage: GrowthStage) {
        self.growth.sides.lock().side(way).stage = stage;
        self.set_may_grow(way, stage == GrowthStage::Small);
    }

    /// Notes that a direction was met full. Any context.
    pub(crate) fn note_full(this: &Arc<Self>, way: Way) {
        if !this.may_grow(way) {
            return;
        }
        let (index, size) = match way {
            Way::In => (this.ring.arrived(), this.ring.rx_size()),
            Way::Out => (this.ring.produced(), this.ring.tx_size()),
        };
        if this.growth.sides.lock().side(way).note_full(index, size) {
            Self::grow_later(this);
        }
    }

    /// Notes that a program waits for more than a direction can hold. Any context.
    pub(crate) fn note_too_small(this: &Arc<Self>, way: Way) {
        if this.may_grow(way) && this.growth.sides.lock().side(way).want_more() {
            Self::grow_later(this);
        }
    }

    /// Has `out` grow if it can, and waits for that a moment, killably, as the call is one that does
    /// not wait. Returns whether there may be more room.
    ///
    /// Only who begins it waits: a backend that never answers costs one call that moment, not each.
    pub(crate) fn grow_now(this: &Arc<Self>, sk: &Sock) -> Result<bool> {
        let is_growing = || this.growth.sides.lock().side(Way::Out).is_growing();
        if is_growing() {
            return Ok(false);
        }
        Self::note_too_small(this, Way::Out);
        if !is_growing() {
            return Ok(false);
        }
        let mut moment = Timeout::from_jiffies(msecs_to_jiffies(MOMENT));
        match sk.wait_killable(&mut moment, || this.death().is_some() || !is_growing()) {
            Err(WaitError::TimedOut) => Ok(false),
            waited => Ok(waited.map(|()| true)?),
        }
    }

    /// Has what is sent go where it should go by now. For the holder of `tx`.
    pub(crate) fn choose_memory(&self) {
        let memory = if self.growth.sends_large.load(Relaxed) {
            Memory::Extension
        } else {
            Memory::Base
        };
        // If the backend has not followed the last change, later.
        if self.ring.produce_into(memory) {
            self.notify();
        }
    }

    /// The backend's answer to GROW or SHRINK. Hard IRQ.
    pub(crate) fn resized(this: &Arc<Self>, way: Way, answer: Result) {
        this.growth.sides.lock().side(way).answer = Some(answer);
        Self::grow_later(this);
    }

    fn grow_later(this: &Arc<Self>) {
        // An item that is queued already sees what there is to do.
        let _ = this.remote.link.workers.enqueue::<_, GROWTH>(this.clone());
    }

    /// Has the directions neither grow nor shrink any more. May sleep.
    pub(super) fn end_growth(&self) {
        *self.growth.has_ended.lock() = true;
    }

    /// Returns whether what comes is in the extension of `in`. Any context.
    pub(crate) fn receives_large(&self) -> bool {
        self.ring.rx_size() > self.ring.order().half_size()
    }

    /// Looks at the directions that are large: has those shrink that are quiet, or all if memory is
    /// short, and goes on with what could not be done before. Returns whether there are any.
    pub(super) fn look_at_growth(this: &Arc<Self>, is_short: bool) -> bool {
        if this.receives_large() {
            this.expect_more();
        }
        let (mut is_any, mut has_work) = (false, false);
        {
            let mut growth = this.growth.sides.lock();
            for way in Way::ALL {
                let side = growth.side(way);
                let index = match way {
                    Way::In => this.ring.consumed(),
                    Way::Out => this.ring.produced(),
                };
                let moved = index.wrapping_sub(side.index);
                side.index = index;
                is_any |= side.stage != GrowthStage::Small;
                match side.stage {
                    GrowthStage::Large => {
                        side.quiet = if moved < QUIET { side.quiet + 1 } else { 0 };
                        if is_short {
                            side.rest();
                        }
                        if is_short || side.quiet >= QUIET_TIMES {
                            side.wish = Some(Wish::Small);
                            has_work = true;
                        }
                    }
                    GrowthStage::Returning | GrowthStage::Leaving => has_work = true,
                    GrowthStage::Small | GrowthStage::Growing(_) | GrowthStage::Shrinking => (),
                }
            }
        }
        if has_work {
            Self::grow_later(this);
        }
        is_any
    }
}

/// Whether an error says that there is too little of something.
pub(super) fn is_shortage(error: Error) -> bool {
    matches!(error, ENOBUFS | ENOMEM | ENOSPC)
}
