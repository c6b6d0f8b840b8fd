// SPDX-License-Identifier: GPL-2.0

//! Connections whose lock is held, in soft interrupts.

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

/// A TCP connection whose lock is held, so that bytes can be moved without a thread that waits for
/// it.
///
/// What takes more than that fails with `EBUSY`, changes nothing, and is left to the methods of
/// [`KernelSocket`]. Nothing here sleeps. No security module is asked, as the current task has nothing
/// to do with the socket: those who want that ask beforehand, when the connection is made.
///
/// # Invariants
///
/// `sk` points to a valid TCP socket that does not listen. Its spinlock is held on this CPU for as
/// long as this exists, and no program has the lock.
pub struct Locked<'a> {
    sk: *mut bindings::sock,
    _held: PhantomData<&'a mut bindings::sock>,
}

impl Locked<'_> {
    /// Returns the socket that a callback was called for, if that was in a soft interrupt.
    ///
    /// # Safety
    ///
    /// `sk` must be valid and, if it is a TCP socket that does not listen, its lock held by who has
    /// called us and does not go on before the result is gone.
    pub(super) unsafe fn in_callback(sk: *mut bindings::sock) -> Option<Self> {
        // SAFETY: The socket is valid.
        let is_so = unsafe { bindings::tcp_is_unowned(sk) };

        // INVARIANT: It was checked that it is such a socket, so its lock is held; not by a program,
        // so by its spinlock.
        is_so.then_some(Self {
            sk,
            _held: PhantomData,
        })
    }

    /// Receives what is there, as far as it fits, and returns how many bytes that were.
    ///
    /// # Errors
    ///
    /// `EAGAIN` if nothing is there, or nothing more will come. `EBUSY` if there is an urgent byte.
    pub fn recv(&self, into: &BioVecs<'_>) -> Result<usize> {
        let mut iter = MaybeUninit::uninit();

        // SAFETY: The iterator is valid for writing.
        unsafe { into.init_iter(iter.as_mut_ptr(), bindings::ITER_DEST) };
        // SAFETY: By the type invariants the socket is one of TCP, and its lock is held. What the
        // iterator refers to may be written to while `into` is borrowed.
        match bytes(unsafe { bindings::tcp_recv_locked(self.sk, iter.as_mut_ptr()) })? {
            0 => Err(EAGAIN),
            n => Ok(n),
        }
    }

    /// Sends what there is room for, and returns how many bytes that were. The data are copied.
    ///
    /// # Errors
    ///
    /// `EAGAIN` if there is no room, or no memory that can be had without sleeping: unlike after
    /// [`KernelSocket::send`], nobody tells when there is. `EBUSY` if the connection does not stand,
    /// was shut down, or has failed.
    pub fn send(&self, from: &BioVecs<'_>) -> Result<usize> {
        let mut msg = bindings::msghdr {
            msg_flags: bindings::MSG_DONTWAIT | bindings::MSG_NOSIGNAL,
            ..Default::default()
        };

        // SAFETY: The iterator is valid for writing.
        unsafe { from.init_iter(&raw mut msg.msg_iter, bindings::ITER_SOURCE) };
        // SAFETY: By the type invariants the socket is one of TCP, and its lock is held. The message
        // is complete, and what it refers to may be read while `from` is borrowed.
        bytes(unsafe { bindings::tcp_send_locked(self.sk, &raw mut msg) })
    }
}

impl KernelSocket<Tcp> {
    /// Does something with the connection now: `None` if a program has its lock, or it listens.
    ///
    /// For soft interrupts and threads, but not for [`Callbacks`].
    pub fn with_lock<R>(&self, what: impl FnOnce(&Locked<'_>) -> R) -> Option<R> {
        let sk = self.sk().as_raw();

        // SAFETY: The socket is valid, and of TCP, by the type invariants.
        if !unsafe { bindings::tcp_trylock_bh(sk) } {
            return None;
        }
        // INVARIANT: It was locked just now.
        let result = what(&Locked {
            sk,
            _held: PhantomData,
        });
        // SAFETY: As above; it is locked.
        unsafe { bindings::tcp_unlock_bh(sk) };
        Some(result)
    }
}
