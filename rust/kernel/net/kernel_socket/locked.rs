// SPDX-License-Identifier: GPL-2.0

//! TCP connections whose lock is held, in soft interrupts.

use super::{
    data::bytes,
    KernelSocket,
    Tcp, //
};

use crate::{
    bindings,
    bvec::BioVecs,
    prelude::*, //
};

#[cfg(doc)]
use super::Callbacks;

use core::{
    marker::PhantomData,
    mem::MaybeUninit, //
};

/// A TCP connection whose lock is held, so that data can be moved without a thread that waits for
/// it.
///
/// Operations that need more than that fail with `EBUSY` without any effect, and have to be done
/// with the methods of [`KernelSocket`]. Nothing here sleeps. Security modules are not asked, since
/// the current task is unrelated to the socket: ask them in advance, when the connection is made.
///
/// # Invariants
///
/// `sk` points to a valid TCP socket that has never listened. Its spinlock is held on this CPU as
/// long as this object exists, and no process context owns its lock.
pub struct Locked<'a> {
    sk: *mut bindings::sock,
    _held: PhantomData<&'a mut bindings::sock>,
}

impl Locked<'_> {
    /// Returns the socket that a callback was called for, if it is a locked TCP connection in a
    /// soft interrupt.
    ///
    /// # Safety
    ///
    /// `sk` must be valid. If it is a TCP socket that has never listened, the caller must hold its
    /// lock, and keep it until the result has been dropped.
    pub(super) unsafe fn in_callback(sk: *mut bindings::sock) -> Option<Self> {
        // SAFETY: The safety requirements guarantee that the socket is valid.
        let is_unowned = unsafe { bindings::tcp_is_unowned(sk) };

        // INVARIANT: `tcp_is_unowned` has checked that this is a TCP socket that never listened, so
        // the caller holds its lock. No process context owns it, so it is the spinlock that is held.
        is_unowned.then_some(Self {
            sk,
            _held: PhantomData,
        })
    }

    /// Receives available data into `into`, and returns the number of bytes.
    ///
    /// # Errors
    ///
    /// `EAGAIN` if there is no data, or at the end of the stream. `EBUSY` if there is an urgent
    /// byte.
    pub fn recv(&self, into: &BioVecs<'_>) -> Result<usize> {
        let mut iter = MaybeUninit::uninit();

        // SAFETY: The iterator is valid for writing.
        unsafe { into.init_iter(iter.as_mut_ptr(), bindings::ITER_DEST) };
        // SAFETY: By the type invariants, this is a TCP socket whose lock is held. The memory
        // behind the iterator may be written to while `into` is borrowed.
        match bytes(unsafe { bindings::tcp_recv_locked(self.sk, iter.as_mut_ptr()) })? {
            0 => Err(EAGAIN),
            n => Ok(n),
        }
    }

    /// Sends as much as there is room for, and returns the number of bytes. The data is copied. If
    /// `is_part` is set, see [`KernelSocket::send_part`].
    ///
    /// # Errors
    ///
    /// `EAGAIN` if there is no room, or no memory available without sleeping. As after
    /// [`KernelSocket::send`], [`Callbacks::write_space`] is called when there is room; if nothing
    /// is in the send queue, TCP calls it at once, before this returns. `EBUSY` if the connection
    /// is not established, is shut down for sending, or has failed.
    pub fn send(&self, from: &BioVecs<'_>, is_part: bool) -> Result<usize> {
        let more = if is_part { bindings::MSG_MORE } else { 0 };
        let mut msg = bindings::msghdr {
            msg_flags: bindings::MSG_DONTWAIT | bindings::MSG_NOSIGNAL | more,
            ..Default::default()
        };

        // SAFETY: The iterator is valid for writing.
        unsafe { from.init_iter(&raw mut msg.msg_iter, bindings::ITER_SOURCE) };
        // SAFETY: By the type invariants, this is a TCP socket whose lock is held. The message is
        // fully initialised, and the memory behind it may be read while `from` is borrowed.
        bytes(unsafe { bindings::tcp_send_locked(self.sk, &raw mut msg) })
    }
}

impl Locked<'_> {
    /// Returns `true` if there is something to look at: bytes, the end, or an error. If not,
    /// [`Self::recv`] would fail with `EAGAIN`. More may arrive only while the lock is not held.
    pub fn has_input(&self) -> bool {
        // SAFETY: By the type invariants, this is a TCP socket.
        unsafe { bindings::tcp_has_input(self.sk) }
    }

    /// Returns `true` if the send buffer has room.
    pub fn has_room(&self) -> bool {
        // SAFETY: By the type invariants, the socket is valid.
        unsafe { bindings::sk_stream_memory_free(self.sk) }
    }

    /// Makes TCP keep to the size of the receive buffer, as `SO_RCVBUF` does, or choose it again.
    /// Returns `true` if TCP now keeps to it. A socket that has not connected does not begin to.
    pub fn fix_receive_buffer(&self, fixed: bool) -> bool {
        // SAFETY: By the type invariant, this is a TCP socket whose lock is held.
        unsafe { bindings::tcp_fix_rcvbuf(self.sk, fixed) }
    }
}

impl KernelSocket<Tcp> {
    /// Calls `what` with the locked connection. Returns [`None`] if a process context owns its
    /// lock, or if the socket listens or has listened.
    ///
    /// For soft interrupts and threads. Must not be called in [`Callbacks`].
    pub fn with_lock<R>(&self, what: impl FnOnce(&Locked<'_>) -> R) -> Option<R> {
        let sk = self.sk().as_raw();

        // SAFETY: By the type invariants, this is a valid TCP socket.
        if !unsafe { bindings::tcp_trylock_bh(sk) } {
            return None;
        }
        // INVARIANT: The lock was taken just above.
        let result = what(&Locked {
            sk,
            _held: PhantomData,
        });
        // SAFETY: As above; the lock is held.
        unsafe { bindings::tcp_unlock_bh(sk) };
        Some(result)
    }
}
