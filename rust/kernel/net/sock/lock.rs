// SPDX-License-Identifier: GPL-2.0

//! The lock of a socket, and what only its holder may change.

use super::{
    Sock,
    SockFlag, //
};

use crate::{
    bindings,
    types::NotThreadSafe, //
};

use core::ops::Deref;

impl Sock {
    /// Locks the socket. May sleep, for as long as any other call holds the lock.
    ///
    /// The lock must not be held by the caller already, and can't be taken where the callbacks of
    /// a socket are called.
    pub fn lock(&self) -> SockGuard<'_> {
        // SAFETY: The socket is valid by the type invariants.
        unsafe { bindings::lock_sock(self.as_raw()) };

        // INVARIANT: The lock was just taken.
        SockGuard {
            sk: self,
            _not_send: NotThreadSafe,
        }
    }
}

/// Proof that the lock of a socket is held, until it is dropped.
///
/// # Invariants
///
/// The lock of `sk` is held by the current task, and released by nobody but this object.
#[must_use = "the lock is released as soon as the guard is dropped"]
pub struct SockGuard<'a> {
    sk: &'a Sock,
    _not_send: NotThreadSafe,
}

impl SockGuard<'_> {
    /// Sets a flag.
    pub fn set_flag(&mut self, flag: SockFlag) {
        // SAFETY: The socket is valid by the type invariants of `Sock`, and its lock, which guards
        // changes of the flags, is held by those of `Self`.
        unsafe { bindings::sock_set_flag(self.sk.as_raw(), flag as u32) };
    }

    /// Resets a flag.
    pub fn reset_flag(&mut self, flag: SockFlag) {
        // SAFETY: As above.
        unsafe { bindings::sock_reset_flag(self.sk.as_raw(), flag as u32) };
    }

    /// Sets what `SO_REUSEPORT` shows. The kernel does it for internet sockets only.
    pub fn set_reuse_port(&mut self, on: bool) {
        // SAFETY: The socket is valid by the type invariants of `Sock`, and its lock, which guards
        // this bit and its neighbours, is held by those of `Self`.
        unsafe { bindings::sk_set_reuseport(self.sk.as_raw(), on) };
    }
}

impl Deref for SockGuard<'_> {
    type Target = Sock;

    #[inline]
    fn deref(&self) -> &Sock {
        self.sk
    }
}

impl Drop for SockGuard<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants the lock is held, and ours to release.
        unsafe { bindings::release_sock(self.sk.as_raw()) };
    }
}
