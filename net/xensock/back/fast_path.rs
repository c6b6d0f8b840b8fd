// SPDX-License-Identifier: GPL-2.0

//! The fast path of a connection: moves bytes in soft interrupts.
//!
//! This saves a switch to the work item of the connection and back, which costs more than moving a
//! few bytes. The guest's event and TCP's callbacks for arrived bytes and for room come here. The
//! fast path moves only bytes. The work item handles the beginning and the end of a connection,
//! errors, urgent bytes, a socket that a thread has locked, and more bytes than one turn takes.

use crate::{
    conn_ring::ConnRing,
    guest::Guest,
    proto::{
        indexes::OUT_URGENT_END,
        mover::{
            self,
            TurnWord, //
        },
        ring::Violation,
        stream::SharedWords,
        Feature, //
    },
    socket::GuestSocket, //
};
use core::mem::MaybeUninit;
use kernel::{
    net::kernel_socket::{
        Locked,
        Tcp, //
    },
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        Arc,
        UniqueArc, //
    }, //
};

/// Maximum number of passes over each direction before other work has its turn.
const BUDGET: usize = 4;

impl TurnWord for Atomic<u32> {
    fn new(value: u32) -> Self {
        Self::new(value)
    }

    fn load(&self) -> u32 {
        Atomic::load(self, Relaxed)
    }

    fn load_acquire(&self) -> u32 {
        Atomic::load(self, Acquire)
    }

    fn store_release(&self, value: u32) {
        Atomic::store(self, value, Release);
    }

    fn replace_acquire(&self, old: u32, new: u32) -> Result<(), u32> {
        self.cmpxchg(old, new, Acquire).map(drop)
    }

    fn replace_release(&self, old: u32, new: u32) -> Result<(), u32> {
        self.cmpxchg(old, new, Release).map(drop)
    }
}

/// Tells who moves the bytes of a connection.
pub(crate) type Mover = mover::Mover<Atomic<u32>>;

/// The objects needed to move the bytes of a connection.
///
/// References are dropped where sleeping is allowed, or by the holder of the [`Mover`]: the work
/// item keeps a reference until it has the `Mover`.
pub(crate) struct FastPath {
    pub(crate) socket: Arc<GuestSocket<Tcp>>,
    pub(crate) shared: Arc<ConnRing>,
    /// The last word for urgent bytes that the work item has handled, if the link has them.
    urgent: Option<Atomic<u32>>,
}

impl FastPath {
    /// Allocates the memory for [`Self::put`].
    pub(crate) fn place() -> Result<UniqueArc<MaybeUninit<Self>>> {
        Ok(UniqueArc::new_uninit(GFP_KERNEL)?)
    }

    /// Makes the fast path of a connection in memory that was allocated for it.
    pub(crate) fn put(
        place: UniqueArc<MaybeUninit<Self>>,
        guest: &Guest,
        socket: Arc<GuestSocket<Tcp>>,
        shared: Arc<ConnRing>,
    ) -> Arc<Self> {
        let has_urgent = guest.transport.has(Feature::Urgent);
        place
            .write(Self {
                socket,
                shared,
                urgent: has_urgent.then(|| Atomic::new(0)),
            })
            .into()
    }

    /// Notes the word for urgent bytes that the work item has handled.
    pub(crate) fn set_urgent_done(&self, done: u32) {
        if let Some(urgent) = &self.urgent {
            urgent.store(done, Relaxed);
        }
    }

    /// Receives arrived bytes. Returns `true` if nothing is left to do.
    fn receive(&self, tcp: &Locked<'_>) -> bool {
        repeat(|| self.receive_some(tcp))
    }

    /// Receives arrived bytes as soon as they arrive. Returns `true` if nothing is left to do.
    ///
    /// Does nothing while the socket is held back: its receive buffer is small, so that the peer
    /// waits, and the work item moves all that has come in one go.
    pub(crate) fn receive_at_once(&self, tcp: &Locked<'_>) -> bool {
        !self.socket.is_held_back() && self.receive(tcp)
    }

    /// Sends the bytes of the guest. Returns `true` if nothing is left to do.
    fn transmit(&self, tcp: &Locked<'_>) -> bool {
        repeat(|| self.transmit_some(tcp))
    }

    /// Moves bytes both ways after an event of the guest. Returns `true` if nothing is left to do.
    pub(crate) fn run(&self) -> bool {
        let turn = self.shared.begin_turn();
        let both = |tcp: &Locked<'_>| self.transmit(tcp) && self.receive(tcp);
        let is_done = self.socket.tcp().with_lock(both) == Some(true);
        if is_done {
            self.shared.end_turn(turn);
        }
        self.socket.update_memory();
        is_done
    }

    /// Returns `true` if there may be more to receive.
    fn receive_some(&self, tcp: &Locked<'_>) -> Result<bool> {
        let ring = &self.shared.ring;
        // First, so that an impossible index is noticed also if nothing arrives.
        let room = ring.writable_or_ask().map_err(leave_to_work_item)?;
        if !tcp.has_input() {
            // Bytes that arrive later have a callback of their own.
            return Ok(false);
        }
        // Done even without room: there may be an urgent byte.
        let mut offered = 0;
        let received = ring.with_writable(0, room, |vecs| {
            offered = vecs.len_bytes();
            tcp.recv(vecs)
        });
        match received {
            Ok(n) => {
                // CAST: No more than `room`.
                if ring.produce(n as u32) {
                    self.shared.notifier.notify();
                }
                // Nothing arrives while the connection is locked.
                Ok(n == offered)
            }
            Err(EAGAIN) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Returns `true` if there may be more to send.
    fn transmit_some(&self, tcp: &Locked<'_>) -> Result<bool> {
        let ring = &self.shared.ring;
        let len = ring.readable_or_ask().map_err(leave_to_work_item)?;
        if len == 0 {
            return Ok(false);
        }
        if let Some(done) = &self.urgent {
            if ring.load(OUT_URGENT_END) != done.load(Relaxed) {
                return Err(EBUSY);
            }
        }
        let len = self.socket.sendable(len);
        let sent = ring.with_readable(0, len, |from| {
            // The next pass or the work item sends the rest.
            let is_part = from.len_bytes() < len as usize;
            tcp.send(from, is_part)
        });
        match sent {
            Ok(n) => {
                // CAST: No more than `len`.
                if ring.consume(n as u32) {
                    self.shared.notifier.notify();
                }
                Ok(true)
            }
            // TCP tells when there is room.
            Err(EAGAIN) if !tcp.has_room() => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Repeats a step until it says that nothing is left to do. Returns `true` if it has said so.
fn repeat(step: impl Fn() -> Result<bool>) -> bool {
    for _ in 0..BUDGET {
        match step() {
            Ok(true) => (),
            Ok(false) => return true,
            Err(_) => return false,
        }
    }
    false
}

/// Leaves a violation to the work item, which finds it too and ends the connection.
fn leave_to_work_item(_: Violation) -> Error {
    EBUSY
}
