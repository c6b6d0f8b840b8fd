// SPDX-License-Identifier: GPL-2.0

//! Growth and shrinking of the directions of a data ring.
//!
//! A connection begins small. A direction that is repeatedly found full gets an extension, see
//! [`crate::ring`]. It gives the extension back after some quiet seconds, or when grants, pages or
//! memory are short.
//! A failed step leaves the direction as it was.
//!
//! One work item does all steps. It never waits: it continues when a response has arrived. A step
//! that is not possible now is tried again when the link checks the connection, see
//! [`Link::start_expiry`](crate::link::Link::start_expiry).

mod direction;
mod steps;

use super::Conn;
use crate::{
    budget,
    proto::{
        ring::Memory,
        Feature,
        Way, //
    }, //
};
use direction::{
    DirectionGrowth,
    GrowthStage,
    WantedSize, //
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
        Msecs, //
    }, //
};

/// The work item [`Conn::growing`].
pub(super) const GROWTH: u64 = 2;

/// A direction is quiet if fewer bytes than this pass between two checks. `in` is not quiet
/// while it has unread bytes: the program may wait for more of them than the base holds.
const QUIET: u32 = 8 << 10;

/// Number of quiet checks before a direction shrinks.
const QUIET_TIMES: u32 = 3;

/// Longest wait of a nonblocking call for a direction to grow, in milliseconds. A working backend
/// answers much sooner.
const MAX_GROW_WAIT: Msecs = 100;

/// Number of a user's grown directions from which on a nonblocking call does not wait for another
/// to grow.
///
/// The memory for many directions is small anyway, and a program with one thread for hundreds of
/// connections would wait once for each.
const MANY: usize = 64;

/// The two directions of a connection.
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

/// The growth of a connection's directions.
#[pin_data]
pub(super) struct Growth {
    #[pin]
    sides: SpinLockIrq<Sides>,
    /// Set if `in` or `out` may grow. Calls that move bytes read this before they take `sides`.
    may_grow: [Atomic<bool>; 2],
    /// Set while the backend has the extension of `in` and is not asked to give it back. Tasks that
    /// wait for bytes read this without a lock.
    is_in_large: Atomic<bool>,
    /// Set if bytes are sent into the extension of `out`. Read by each `send()`, which holds `tx`
    /// but not `sides`.
    sends_large: Atomic<bool>,
    /// Set once the directions no longer grow or shrink. The work item holds the lock while it
    /// runs.
    #[pin]
    has_ended: Mutex<bool>,
}

impl Growth {
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            sides <- new_spinlock_irq!(Sides([DirectionGrowth::NEW, DirectionGrowth::NEW]), "xensock_growth"),
            may_grow: [Atomic::new(false), Atomic::new(false)],
            is_in_large: Atomic::new(false),
            sends_large: Atomic::new(false),
            has_ended <- new_mutex!(false, "xensock_resizing"),
        })
    }
}

/// Operations of programs' calls and of handlers.
impl Conn {
    /// Returns `true` if a direction may grow, as far as is known without a lock.
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

    /// Begins to look for full directions, once the connection is established.
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
        if way == Way::In {
            let is_large = stage == GrowthStage::Large;
            self.growth.is_in_large.store(is_large, Relaxed);
        }
    }

    /// Notes that a direction was found full. Any context.
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

    /// Notes that a program waits for more bytes than a direction can hold. Any context.
    pub(crate) fn note_too_small(this: &Arc<Self>, way: Way) {
        if this.may_grow(way) && this.growth.sides.lock().side(way).want_more() {
            Self::grow_later(this);
        }
    }

    /// Grows `out` if possible, and waits killably for that, briefly, since the call is
    /// nonblocking. Returns `true` if there may be more room.
    ///
    /// Only the call that begins the growth waits. A backend that never answers delays one call,
    /// not each. A program that waits for events is told of the room by one: it has other
    /// connections to serve meanwhile. If [`MANY`] directions of the user have grown, this one grows
    /// later, see [`Self::note_full`].
    pub(crate) fn grow_now(this: &Arc<Self>, sk: &Sock) -> Result<bool> {
        let is_growing = || this.growth.sides.lock().side(Way::Out).is_growing();
        if !this.may_grow(Way::Out) || is_growing() || budget::grown(this.remote.owner) >= MANY {
            return Ok(false);
        }
        Self::note_too_small(this, Way::Out);
        if this.is_polled() || !is_growing() {
            return Ok(false);
        }
        let mut timeout = Timeout::from_jiffies(msecs_to_jiffies(MAX_GROW_WAIT));
        match sk.wait_killable(&mut timeout, || this.death().is_some() || !is_growing()) {
            Err(WaitError::TimedOut) => Ok(false),
            waited => Ok(waited.map(|()| true)?),
        }
    }

    /// Chooses the memory for the bytes sent next. The caller holds `tx`.
    pub(crate) fn choose_memory(&self) {
        let memory = if self.growth.sends_large.load(Relaxed) {
            Memory::Extension
        } else {
            Memory::Base
        };
        // If the backend has not followed the last change yet, this is tried again later.
        if self.ring.produce_into(memory) {
            self.notify();
            // There may be more room. If there is less, a sender that waits has asked for an event
            // by the former size, which the backend may have passed.
            self.update_socket();
        }
    }

    /// Handles the response to GROW or SHRINK. Any context.
    pub(crate) fn resized(this: &Arc<Self>, way: Way, response: Result) {
        this.growth.sides.lock().side(way).response = Some(response);
        Self::grow_later(this);
    }

    fn grow_later(this: &Arc<Self>) {
        // One queued item does all pending work.
        let _ = this.remote.link.workers.enqueue::<_, GROWTH>(this.clone());
    }

    /// Stops growth and shrinking of the directions. May sleep.
    pub(super) fn end_growth(&self) {
        *self.growth.has_ended.lock() = true;
    }

    /// Returns `true` if bytes are received in the extension of `in`. Any context.
    pub(crate) fn receives_large(&self) -> bool {
        self.ring.rx_size() > self.ring.order().half_size()
    }

    /// Returns the number of bytes that `in` can hold if the program reads nothing more. Any context.
    ///
    /// This is not the size of the memory that the program reads from: the backend may be ahead in
    /// the other memory.
    pub(crate) fn rx_capacity(&self) -> u32 {
        if self.growth.is_in_large.load(Relaxed) {
            self.ring.largest_rx_size()
        } else {
            self.ring.order().half_size()
        }
    }

    /// Checks the directions that have an extension. Shrinks the quiet ones, or all if the user
    /// `is_short` of anything, and continues steps that were not possible before. Returns `true` if
    /// there are such directions.
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
                let is_unread = way == Way::In && this.has_unread();
                let is_quiet = index.wrapping_sub(side.index) < QUIET && !is_unread;
                side.index = index;
                is_any |= side.stage != GrowthStage::Small;
                match side.stage {
                    GrowthStage::Large => {
                        side.quiet = if is_quiet { side.quiet + 1 } else { 0 };
                        if is_short {
                            side.pause();
                        }
                        if is_short || side.quiet >= QUIET_TIMES {
                            side.wanted = Some(WantedSize::Small);
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
