// SPDX-License-Identifier: GPL-2.0

//! The memory of this domain's TCP that the sockets of a guest hold.
//!
//! TCP has one pool of memory for everybody, and lets the buffers of each connection grow to
//! megabytes. So what the buffers of a guest's sockets really hold is counted, and when it is as
//! much as the guest may have, each of them keeps to what it holds, or to its floor, until it is
//! less.

use crate::quota::Common;
use kernel::{
    net::kernel_socket::{
        tcp_memory,
        Buffers,
        KernelSocket,
        Tally,
        Tcp, //
    },
    new_spinlock_irq,
    page::PAGE_SIZE,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Full,
            Relaxed, //
        },
        Arc,
        SpinLockIrq, //
    }, //
};

/// The least size of a buffer: TCP needs so much to go on.
const LEAST: usize = 4608;

/// What the open sockets of all guests hold.
static ALL: Common = Common::new();

/// What the sockets of a guest hold.
pub(crate) struct TcpMemory {
    open: Atomic<usize>,
    /// Those that were closed.
    closed: Arc<Tally>,
    max: Atomic<usize>,
    floor: Atomic<usize>,
}

impl TcpMemory {
    pub(crate) fn new(closed: Arc<Tally>) -> Result<Arc<Self>> {
        ALL.join();
        let memory = Self {
            open: Atomic::new(0),
            closed,
            max: Atomic::new(usize::MAX),
            floor: Atomic::new(LEAST),
        };
        // If this fails, it leaves again.
        Ok(Arc::new(memory, GFP_KERNEL)?)
    }

    /// Changes how many bytes the guest may have, with so many sockets.
    pub(crate) fn set_max(&self, bytes: usize, max_sockets: usize) {
        self.max.store(bytes, Relaxed);
        self.floor
            .store(LEAST.max(bytes / max_sockets.max(1)), Relaxed);
    }

    /// Returns how many bytes it has.
    pub(crate) fn used(&self) -> usize {
        self.open.load(Relaxed).saturating_add(self.closed.memory())
    }

    /// Returns whether that is all it may have: what its policy says or, while all guests have half
    /// of what TCP may take, its part of that.
    pub(crate) fn is_used_up(&self) -> bool {
        self.used() >= ALL.share(tcp_memory() / 2, self.max.load(Relaxed))
    }

    fn change(&self, before: usize, now: usize) {
        self.open.add(now.wrapping_sub(before), Relaxed);
        ALL.change(before, now);
    }
}

impl Drop for TcpMemory {
    fn drop(&mut self) {
        // Nothing is open any more.
        ALL.leave();
    }
}

/// What one socket holds, of what its guest has.
#[pin_data]
pub(crate) struct SocketMemory {
    bytes: MemoryCharge,
    /// Its buffers are held back.
    is_back: Atomic<bool>,
    /// The sizes that they had before. Taken in callbacks of the socket, too.
    #[pin]
    before: SpinLockIrq<Option<Buffers>>,
}

/// The bytes of one socket, counted with those of its guest until this is dropped.
struct MemoryCharge {
    memory: Arc<TcpMemory>,
    bytes: Atomic<usize>,
}

impl SocketMemory {
    pub(crate) fn new(memory: Arc<TcpMemory>) -> impl PinInit<Self> {
        let bytes = MemoryCharge {
            memory,
            bytes: Atomic::new(0),
        };
        pin_init!(Self {
            bytes,
            is_back: Atomic::new(false),
            before <- new_spinlock_irq!(None, "xensock_held"),
        })
    }

    /// Counts what a socket holds now, and holds its buffers back if the guest has used up what it
    /// may have. Any context.
    ///
    /// What is less than a page different is not counted: then no two sockets meet here.
    pub(crate) fn note(&self, tcp: &KernelSocket<Tcp>) {
        let memory = &self.bytes.memory;
        let now = tcp.buffered();
        let bytes = now.received.saturating_add(now.sent);
        if bytes.abs_diff(self.bytes.bytes.load(Relaxed)) >= PAGE_SIZE {
            self.bytes.change(bytes);
        }
        if memory.is_used_up() {
            self.hold_back(memory.floor.load(Relaxed), now, tcp);
        } else if self.is_back.load(Relaxed) {
            self.let_go(tcp);
        }
    }

    /// Returns whether the buffers are held back. Any context.
    pub(crate) fn is_back(&self) -> bool {
        self.is_back.load(Relaxed)
    }

    /// Lets no buffer hold more than it does now, or than the floor.
    fn hold_back(&self, floor: usize, now: Buffers, tcp: &KernelSocket<Tcp>) {
        let mut before = self.before.lock();
        let sizes = tcp.buffer_sizes();
        before.get_or_insert(sizes);
        self.is_back.store(true, Relaxed);
        tcp.set_buffer_sizes(Buffers {
            received: sizes.received.min(now.received.max(floor)),
            sent: sizes.sent.min(now.sent.max(floor)),
        });
    }

    /// Gives the buffers back the sizes that they had.
    fn let_go(&self, tcp: &KernelSocket<Tcp>) {
        let mut before = self.before.lock();
        let Some(before) = before.take() else {
            return;
        };
        let sizes = tcp.buffer_sizes();
        self.is_back.store(false, Relaxed);
        tcp.set_buffer_sizes(Buffers {
            received: sizes.received.max(before.received),
            sent: sizes.sent.max(before.sent),
        });
    }

    /// Forgets how large the buffers were: they have got other sizes.
    pub(crate) fn forget_sizes(&self) {
        *self.before.lock() = None;
    }
}

impl MemoryCharge {
    fn change(&self, bytes: usize) {
        let before = self.bytes.xchg(bytes, Full);
        self.memory.change(before, bytes);
    }
}

impl Drop for MemoryCharge {
    fn drop(&mut self) {
        // The socket is closed.
        self.change(0);
    }
}
