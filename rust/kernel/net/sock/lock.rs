// SPDX-License-Identifier: GPL-2.0

//! The lock of a socket, and the fields that only its holder may change.

use super::Sock;

use crate::{
    bindings,
    types::NotThreadSafe, //
};

use core::ops::Deref;

impl Sock {
    /// Locks the socket. May sleep as long as another call holds the lock.
    ///
    /// The caller must not hold the lock already. The callbacks of a socket can't take the lock.
    pub fn lock(&self) -> SockGuard<'_> {
        // SAFETY: The socket is valid by the type invariants.
        unsafe { bindings::lock_sock(self.as_raw()) };

        // INVARIANT: The lock was taken just above.
        SockGuard {
            sk: self,
            _not_send: NotThreadSafe,
        }
    }
}

/// A guard that holds the lock of a socket until it is dropped.
///
/// # Invariants
///
/// The current task holds the lock of `sk`, and only this object releases it.
#[must_use = "the lock is released as soon as the guard is dropped"]
pub struct SockGuard<'a> {
    sk: &'a Sock,
    _not_send: NotThreadSafe,
}

impl SockGuard<'_> {
    /// Sets if the program gets notifications for `MSG_ZEROCOPY` (`SO_ZEROCOPY`). The kernel's own
    /// code does so only for protocols that it knows.
    pub fn set_zerocopy(&mut self, on: bool) {
        // SAFETY: The socket is valid by the type invariants of `Sock`. By the type invariants of
        // `Self`, its lock is held, which protects changes to the flags.
        unsafe { bindings::sk_set_zerocopy(self.sk.as_raw(), on) };
    }

    /// Sets the value that `SO_REUSEPORT` returns. The kernel's own code does so only for internet
    /// sockets.
    pub fn set_reuse_port(&mut self, on: bool) {
        // SAFETY: The socket is valid by the type invariants of `Sock`. By the type invariants of
        // `Self`, its lock is held, which protects this bit and its neighbours.
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
        // SAFETY: By the type invariants, the lock is held and ours to release.
        unsafe { bindings::release_sock(self.sk.as_raw()) };
    }
}
