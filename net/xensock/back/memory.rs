// SPDX-License-Identifier: GPL-2.0

//! The memory of this domain's TCP that a guest's sockets hold.
//!
//! TCP has one pool of memory for all sockets, and lets the buffers of each connection grow to
//! megabytes. So the actual memory in the buffers of a guest's sockets is counted. Once a user's
//! sockets hold the user's share of the guest's limit, each of them keeps to the memory that it
//! holds, or to its floor, until the share is larger or the sum is smaller. As long as the sum is
//! not much larger than the share, the floor of a send buffer is an equal part of the share.
//! Otherwise a few connections that were the first to send would go on with nearly all the memory.

mod amounts;
mod datagrams;

pub(crate) use amounts::{
    GuestMemory,
    GuestTallies,
    UserMemory,
    TCP,
    UDP, //
};

use amounts::MemoryCharge;
use kernel::{
    net::kernel_socket::{
        Buffers,
        KernelSocket,
        Locked,
        Tcp, //
    },
    new_spinlock_irq,
    page::PAGE_SIZE,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        SpinLockIrq, //
    }, //
};

/// The size with which a receive buffer begins, as `SO_RCVBUF` names it: the half of what the second
/// number of `net.ipv4.tcp_rmem` is by default.
const FIRST_RCVBUF: i32 = 1 << 16;

/// The limits of a socket while it is not held back.
#[derive(Clone, Copy)]
pub(crate) struct Usual {
    pub(crate) sizes: Buffers,
    /// The limit of the receive window of a connection.
    pub(crate) window: Option<u32>,
}

/// Decisions on the buffers of one socket.
struct Choice {
    /// The limits before the buffers were last held back.
    usual: Option<Usual>,
    /// The number of changes by the program that are under way.
    changes: u32,
}

/// The memory of one socket, as a part of its user's.
#[pin_data]
pub(crate) struct SocketMemory {
    bytes: MemoryCharge,
    /// Set while the buffers are held back.
    is_held_back: Atomic<bool>,
    /// Set if the program has chosen a small receive buffer.
    is_small: Atomic<bool>,
    /// Set while TCP may not enlarge the receive buffer, as far as this is known.
    is_fixed: Atomic<bool>,
    /// Also taken in callbacks of the socket.
    #[pin]
    choice: SpinLockIrq<Choice>,
}

impl SocketMemory {
    pub(crate) fn new(user: Arc<UserMemory>) -> impl PinInit<Self> {
        pin_init!(Self {
            bytes: MemoryCharge::new(user),
            is_held_back: Atomic::new(false),
            is_small: Atomic::new(false),
            is_fixed: Atomic::new(false),
            choice <- new_spinlock_irq!(
                Choice {
                    usual: None,
                    changes: 0,
                },
                "xensock_held"
            ),
        })
    }

    /// Counts the memory that a socket holds now, and holds its buffers back if its user has used
    /// up its share. Any context but callbacks of the socket.
    pub(crate) fn update(&self, tcp: &KernelSocket<Tcp>) {
        self.count(tcp);
        if self.is_fixed.load(Relaxed) != self.should_be_fixed() {
            // While a process has the lock, this is left to the next update.
            let _ = tcp.with_lock(|locked| self.fix(locked));
        }
    }

    /// As [`Self::update`], in a callback of the socket, with what the callback has got.
    pub(crate) fn update_in_callback(&self, tcp: &KernelSocket<Tcp>, locked: Option<&Locked<'_>>) {
        self.count(tcp);
        if let Some(locked) = locked {
            self.fix(locked);
        }
    }

    /// Counts the memory that a socket holds now, and holds its buffers back or restores them.
    fn count(&self, tcp: &KernelSocket<Tcp>) {
        let (now, left) = self.charge(tcp);
        if left == 0 {
            self.hold_back(now, tcp);
        } else if self.is_held_back.load(Relaxed) {
            self.restore(tcp);
        }
    }

    /// Counts the memory that a socket holds now, without an event of the socket. Any context.
    ///
    /// If its buffers are held back, they stay so until its next event: all sockets of a user at once
    /// would take much more than is free.
    pub(crate) fn count_again(&self, tcp: &KernelSocket<Tcp>) {
        self.charge(tcp);
    }

    /// Counts the memory that a socket holds now. Returns it, and how much more the user may have, in
    /// KiB.
    ///
    /// Changes of less than a page are not counted, so that sockets seldom contend for the count.
    fn charge(&self, tcp: &KernelSocket<Tcp>) -> (Buffers, usize) {
        let user = self.bytes.user();
        let now = tcp.buffered();
        let bytes = now.received.saturating_add(now.sent);
        if bytes.abs_diff(self.bytes.bytes()) >= PAGE_SIZE {
            self.bytes.change(bytes);
        }
        let (left, is_little) = user.left();
        if is_little {
            // Some of what is counted may be gone.
            user.ask_for_recount();
        }
        (now, left)
    }

    /// Returns `true` if the buffers are held back. Any context.
    pub(crate) fn is_held_back(&self) -> bool {
        self.is_held_back.load(Relaxed)
    }

    /// Returns how many of `len` bytes may be sent at once. Any context.
    ///
    /// TCP takes a packet of up to 64 KiB as long as there is any room. A socket that is held back
    /// sends only what fits, or all if nothing does: then TCP refuses it, and tells when there is
    /// room. Another socket sends no more than is left of the share. If nothing is, it is held back.
    pub(crate) fn sendable(&self, len: u32, tcp: &KernelSocket<Tcp>) -> u32 {
        let (now, left) = self.charge(tcp);
        if left == 0 {
            // Also if it is held back: TCP may have enlarged the buffer since.
            self.hold_back(now, tcp);
        } else if !self.is_held_back() {
            return len.min(u32::try_from(left << 10).unwrap_or(u32::MAX));
        }
        let room = tcp.buffer_sizes().sent.saturating_sub(tcp.buffered().sent);
        match u32::try_from(room) {
            Ok(room) if room != 0 => len.min(room),
            _ => len,
        }
    }

    /// Returns `true` if TCP should keep to the size of the receive buffer: if the program has chosen
    /// a small one, and while the buffer is held back. TCP would enlarge it when more arrives than
    /// fits, as long as TCP has enough memory, and the peer may have been promised much.
    fn should_be_fixed(&self) -> bool {
        self.is_small.load(Relaxed) || self.is_held_back()
    }

    /// Makes TCP keep to the size of the receive buffer if it should.
    fn fix(&self, locked: &Locked<'_>) {
        let wanted = self.should_be_fixed();
        if self.is_fixed.load(Relaxed) != wanted && locked.fix_receive_buffer(wanted) {
            self.is_fixed.store(wanted, Relaxed);
        }
    }

    /// Limits each buffer to its present contents, or to its floor if that is more.
    fn hold_back(&self, now: Buffers, tcp: &KernelSocket<Tcp>) {
        let user = self.bytes.user();
        let floor = user.floor();
        let mut choice = self.choice.lock();
        if choice.changes != 0 {
            return;
        }
        let sizes = tcp.buffer_sizes();
        if !self.is_held_back.xchg(true, Relaxed) {
            let window = tcp.window_limit();
            choice.usual = Some(Usual { sizes, window });
        }
        let mut usual = sizes.sent;
        if let Some(kept) = &mut choice.usual {
            // TCP enlarges the send buffer of a new connection.
            kept.sizes.sent = kept.sizes.sent.max(usual);
            usual = kept.sizes.sent;
        }
        tcp.set_buffer_sizes(Buffers {
            received: sizes.received.min(now.received.max(floor)),
            // The floor may have risen.
            sent: usual.min(now.sent.max(user.send_floor())),
        });
    }

    /// Restores the usual limits.
    fn restore(&self, tcp: &KernelSocket<Tcp>) {
        let choice = self.choice.lock();
        if choice.changes != 0 {
            return;
        }
        self.is_held_back.store(false, Relaxed);
        let Some(usual) = choice.usual else {
            return;
        };
        let sizes = tcp.buffer_sizes();
        tcp.set_buffer_sizes(Buffers {
            received: sizes.received.max(usual.sizes.received),
            sent: sizes.sent.max(usual.sizes.sent),
        });
        // TCP limits the window of a new connection by the size of its buffer.
        tcp.raise_window_limit(usual.window);
    }

    /// Takes over the usual limits of the listening socket from which the socket was accepted. If
    /// that was held back when the connection arrived, so is this one.
    pub(crate) fn inherit(&self, listener: &Self) {
        let usual = listener.choice.lock().usual;
        if usual.is_some() {
            self.choice.lock().usual = usual;
            self.is_held_back.store(true, Relaxed);
        }
        self.is_small
            .store(listener.is_small.load(Relaxed), Relaxed);
        // The connection has come before the listener's buffer was fixed, or after: nothing tells. So
        // note the opposite of what it should be, and the next update sets it.
        if listener.is_fixed.load(Relaxed) {
            self.is_fixed.store(!self.should_be_fixed(), Relaxed);
        }
    }

    /// Returns the size of TCP's receive buffer when the program has chosen `wanted`, both as
    /// `SO_RCVBUF` names them; `None` if TCP goes on choosing.
    ///
    /// A program can have a smaller buffer, not a larger one. What TCP receives ahead of a program
    /// is not always counted: not for a connection that waits to be accepted, nor while a part is
    /// missing. If the program reads, TCP enlarges the buffer by itself.
    pub(crate) fn received_size(&self, wanted: i32) -> Option<i32> {
        let is_small = wanted < FIRST_RCVBUF;
        let was_small = self.is_small.xchg(is_small, Relaxed);
        (is_small || was_small).then_some(wanted.min(FIRST_RCVBUF))
    }

    /// Notes that `SO_RCVBUF` has fixed the receive buffer. If that is not small any more, the next
    /// update has TCP choose its size again.
    pub(crate) fn note_fixed(&self) {
        self.is_fixed.store(true, Relaxed);
    }

    /// Changes a limit by `set`, as the program has chosen it, and has `note` change the usual limit
    /// to the new one.
    ///
    /// Meanwhile the buffers are neither held back nor restored, which `set` itself would cause by a
    /// callback.
    pub(crate) fn change_limit(
        &self,
        set: impl FnOnce() -> Result,
        note: impl FnOnce(&mut Usual),
    ) -> Result {
        self.choice.lock().changes += 1;
        let result = set();
        let mut choice = self.choice.lock();
        choice.changes -= 1;
        if let (Ok(()), Some(usual)) = (result, &mut choice.usual) {
            note(usual);
        }
        result
    }
}
