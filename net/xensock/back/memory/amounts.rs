// SPDX-License-Identifier: GPL-2.0

//! The amounts of memory that sockets hold, and the shares of their users.

use crate::{
    proto::owner::{
        floor_of,
        left_to,
        share_of, //
    },
    quota::{
        GlobalUsage,
        Sum, //
    },
    recount::Recounter, //
};
use kernel::{
    net::kernel_socket::{
        tcp_max_closed,
        tcp_memory,
        udp_memory,
        Tally,
        Tcp,
        Udp, //
    },
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Full,
            Relaxed, //
        },
        Arc, //
    }, //
};

/// The minimum size of a buffer: TCP needs so much to make progress.
const MIN_BUFFER: usize = 4608;

/// A pool of memory that this domain has for the sockets of all, and what the open sockets of all
/// guests have of it.
pub(crate) struct Pool {
    open: GlobalUsage,
    /// Returns the bytes of the pool.
    size: fn() -> usize,
    /// Returns the bytes that closed sockets hold.
    closed: fn(&Tally) -> usize,
}

/// The pool of TCP.
pub(crate) static TCP: Pool = Pool::new(tcp_memory, Tally::memory::<Tcp>);

/// The pool of UDP. The guests have their own limit here: otherwise datagrams would have to wait
/// for connections.
pub(crate) static UDP: Pool = Pool::new(udp_memory, Tally::memory::<Udp>);

impl Pool {
    const fn new(size: fn() -> usize, closed: fn(&Tally) -> usize) -> Self {
        Self {
            open: GlobalUsage::new(),
            size,
            closed,
        }
    }
}

/// Sockets, of which each [`Tally`] knows what those hold that were closed and not freed yet.
#[derive(Clone)]
pub(crate) struct GuestTallies {
    /// All sockets of the guest.
    pub(crate) sockets: Arc<Tally>,
    /// The sockets of all guests.
    pub(crate) of_all_guests: Arc<Tally>,
}

/// The memory of a guest's sockets in a pool.
pub(crate) struct GuestMemory {
    pool: &'static Pool,
    open: Sum,
    tallies: GuestTallies,
    max: Atomic<usize>,
    floor: Atomic<usize>,
}

impl GuestMemory {
    /// Creates the count for the sockets of a guest.
    pub(crate) fn new(pool: &'static Pool, tallies: GuestTallies) -> Result<Arc<Self>> {
        pool.open.join();
        let memory = Self {
            pool,
            open: Sum::new(),
            tallies,
            max: Atomic::new(usize::MAX),
            floor: Atomic::new(MIN_BUFFER),
        };
        // If this fails, dropping the value leaves the pool again.
        Ok(Arc::new(memory, GFP_KERNEL)?)
    }

    /// Sets the limit of the guest in bytes, for `max_sockets` sockets.
    ///
    /// With the share, half of the limit, with what [`UserMemory::send_floor`] adds and with the
    /// floors, one user has three quarters of the limit at most, unless [`MIN_BUFFER`] is larger than
    /// the floors.
    pub(crate) fn set_max(&self, bytes: usize, max_sockets: usize) {
        self.max.store(bytes, Relaxed);
        let floor = floor_of(bytes, max_sockets);
        self.floor.store(MIN_BUFFER.max(floor), Relaxed);
    }

    /// Returns the number of bytes that the guest's sockets hold.
    pub(crate) fn used(&self) -> usize {
        let closed = (self.pool.closed)(&self.tallies.sockets);
        self.open.get().saturating_add(closed)
    }

    /// Returns the limit of the guest in bytes: that of its policy or its part, for all guests may
    /// have half of the pool.
    fn limit(&self) -> usize {
        let Pool { open, size, closed } = self.pool;
        let closed = closed(&self.tallies.of_all_guests);
        open.share(closed, size() / 2, self.max.load(Relaxed))
    }

    /// Returns how many of the guest's connections may stay after they are closed, if its policy
    /// allows `own`: all guests may have half of those from which on TCP resets all closed
    /// connections of this domain.
    pub(crate) fn most_closed(&self, own: usize) -> usize {
        let closed = self.tallies.of_all_guests.closed::<Tcp>();
        let limit = tcp_max_closed() / 2;
        // Sockets of a guest that is gone can stay for long, and a guest can come again and again.
        // So the parts alone do not keep within the limit.
        if closed >= limit {
            return 0;
        }
        self.pool.open.share_of(closed, limit, own)
    }

    /// Returns `true` if the closed sockets of all guests hold no more than a quarter of the
    /// pool.
    fn may_keep_more(&self) -> bool {
        let Pool { size, closed, .. } = self.pool;
        closed(&self.tallies.of_all_guests) <= size() / 4
    }

    fn change(&self, before: usize, now: usize) {
        self.open.change(before, now);
        self.pool.open.change(before, now);
    }
}

impl Drop for GuestMemory {
    fn drop(&mut self) {
        // No socket is open any more.
        self.pool.open.leave();
    }
}

/// The memory of the sockets of one user of a guest in a pool.
pub(crate) struct UserMemory {
    number: u64,
    guest: Arc<GuestMemory>,
    open: Sum,
    /// All sockets of the user.
    sockets: Arc<Tally>,
    /// Counts the memory of sockets again for which no event may follow.
    recounter: Option<Arc<Recounter>>,
}

impl UserMemory {
    /// Creates the count of the user with that number.
    pub(crate) fn new(
        number: u64,
        guest: &Arc<GuestMemory>,
        sockets: &Arc<Tally>,
        recounter: Option<Arc<Recounter>>,
    ) -> Result<Arc<Self>> {
        let memory = Self {
            number,
            guest: guest.clone(),
            open: Sum::new(),
            sockets: sockets.clone(),
            recounter,
        };
        Ok(Arc::new(memory, GFP_KERNEL)?)
    }

    /// Returns the limit of the guest, what its sockets hold, and what those of the user hold, in
    /// KiB.
    fn now(&self) -> (u32, usize, usize) {
        let closed = (self.guest.pool.closed)(&self.sockets);
        let own = self.open.get().saturating_add(closed);
        let limit = u32::try_from(self.guest.limit() >> 10).unwrap_or(u32::MAX);
        (limit, self.guest.used() >> 10, own >> 10)
    }

    /// Returns how much more the user may have, in KiB, and whether that is little.
    pub(super) fn left(&self) -> (usize, bool) {
        let (limit, used, own) = self.now();
        let left = left_to(self.number, limit, used, own);
        // A user begins with half of the limit.
        (left, left <= limit as usize / 4)
    }

    /// Returns the floor of a send buffer in bytes: an equal part of the user's share, as long as
    /// the user's sockets hold less than the share and an eighth of the limit.
    pub(super) fn send_floor(&self) -> usize {
        let floor = self.floor();
        let (limit, used, own) = self.now();
        let share = share_of(self.number, limit, used, own);
        if own >= share + limit as usize / 8 {
            return floor;
        }
        floor.max((share << 10) / self.sockets.count().max(1))
    }

    /// Returns the floor of a receive buffer in bytes.
    pub(super) fn floor(&self) -> usize {
        self.guest.floor.load(Relaxed)
    }

    /// Asks for a new count of the memory of the guest's connections.
    pub(super) fn ask_for_recount(&self) {
        if let Some(recounter) = &self.recounter {
            recounter.ask();
        }
    }

    /// Returns `true` if the user has used up its share of the guest's limit.
    pub(super) fn is_used_up(&self) -> bool {
        self.left().0 == 0
    }

    /// Returns `true` if closed sockets alone use up the share of the user, and more than the floor
    /// of a socket: others of the guest may have left no share.
    pub(super) fn is_used_up_by_closed(&self) -> bool {
        let closed = (self.guest.pool.closed)(&self.sockets);
        if closed <= self.floor() {
            return false;
        }
        let (limit, used, own) = self.now();
        closed >> 10 >= share_of(self.number, limit, used, own)
    }

    /// Returns `true` if a socket that is closed may keep `bytes` until they are delivered: what it
    /// was allowed to take, as long as the sockets of the user exceed the share, and those of the
    /// guest the limit, by no more than all floors, see [`GuestMemory::set_max`]. Beyond that each
    /// socket may have its floor, and the last packet may exceed it. If the closed sockets of all
    /// guests hold too much, the smallest floor counts.
    pub(crate) fn may_keep(&self, bytes: usize) -> bool {
        let is_within = |floor| bytes / 2 <= floor;
        let is_bounded = || {
            let (limit, used, own) = self.now();
            let floors = limit as usize / 4;
            own < share_of(self.number, limit, used, own) + floors && used < limit as usize + floors
        };
        is_within(MIN_BUFFER)
            || (self.guest.may_keep_more() && (is_within(self.floor()) || is_bounded()))
    }

    fn change(&self, before: usize, now: usize) {
        self.open.change(before, now);
        self.guest.change(before, now);
    }
}

/// The bytes of one socket. They count for its user and its guest until this is dropped.
pub(super) struct MemoryCharge {
    user: Arc<UserMemory>,
    bytes: Atomic<usize>,
}

impl MemoryCharge {
    pub(super) fn new(user: Arc<UserMemory>) -> Self {
        Self {
            user,
            bytes: Atomic::new(0),
        }
    }

    /// Returns the user whose socket it is.
    pub(super) fn user(&self) -> &UserMemory {
        &self.user
    }

    /// Returns the number of bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Relaxed)
    }

    /// Changes the number of bytes.
    pub(super) fn change(&self, bytes: usize) {
        let before = self.bytes.xchg(bytes, Full);
        self.user.change(before, bytes);
    }
}

impl Drop for MemoryCharge {
    fn drop(&mut self) {
        // The socket is closed.
        self.change(0);
    }
}
