// SPDX-License-Identifier: GPL-2.0

//! The callbacks of a `struct sock`: the protocol's and ours.

use super::{
    data_ready_callback,
    error_report_callback,
    state_change_callback,
    write_space_callback, //
};

use crate::{
    bindings,
    sync::SetOnce, //
};

pub(super) type Callback = Option<unsafe extern "C" fn(*mut bindings::sock)>;

/// The callbacks of a socket, as stored in its `struct sock`.
#[derive(Copy, Clone)]
pub(in super::super) struct RawCallbacks {
    pub(super) state_change: Callback,
    pub(super) data_ready: Callback,
    pub(super) write_space: Callback,
    pub(super) error_report: Callback,
}

impl RawCallbacks {
    /// The functions that call the [`Callbacks`] of a socket.
    pub(in super::super) const OURS: Self = Self {
        state_change: Some(state_change_callback),
        data_ready: Some(data_ready_callback),
        write_space: Some(write_space_callback),
        error_report: Some(error_report_callback),
    };

    /// Returns the callbacks to use in place of `found`: replaces our functions by those in `self`,
    /// and keeps callbacks that others have set.
    fn merged_with(&self, found: &Self) -> Self {
        fn one(ours: Callback, original: Callback, found: Callback) -> Callback {
            match (ours, found) {
                (Some(ours), Some(found)) if core::ptr::fn_addr_eq(ours, found) => original,
                _ => found,
            }
        }
        let ours = &Self::OURS;

        Self {
            state_change: one(ours.state_change, self.state_change, found.state_change),
            data_ready: one(ours.data_ready, self.data_ready, found.data_ready),
            write_space: one(ours.write_space, self.write_space, found.write_space),
            error_report: one(ours.error_report, self.error_report, found.error_report),
        }
    }

    /// Returns the place of the callbacks that the protocol gives a socket.
    ///
    /// # Safety
    ///
    /// `sk` must be a valid socket of TCP or UDP.
    pub(super) unsafe fn defaults(sk: *mut bindings::sock) -> &'static SetOnce<Self> {
        // SAFETY: The safety requirements guarantee that the socket is valid. The number of its
        // protocol does not change.
        match u32::from(unsafe { (*sk).sk_protocol }) {
            bindings::IPPROTO_TCP => &TCP,
            _ => &UDP,
        }
    }

    /// Returns the callbacks that a socket has without ours.
    ///
    /// A socket may have some of our functions although nothing is installed: a listener gave them
    /// to it, or BPF had saved them and has put them back.
    ///
    /// # Safety
    ///
    /// As for [`Self::of`]; the socket must be of TCP or UDP.
    pub(super) unsafe fn without_ours(sk: *mut bindings::sock) -> Self {
        // SAFETY: The safety requirements are those of both functions.
        let (found, defaults) = unsafe { (Self::of(sk), Self::defaults(sk)) };
        defaults
            .as_ref()
            .map_or(found, |original| original.merged_with(&found))
    }

    /// Replaces our functions by these among the callbacks of a socket.
    ///
    /// # Safety
    ///
    /// As for [`Self::set`].
    pub(in super::super) unsafe fn restore(&self, sk: *mut bindings::sock) {
        // SAFETY: The safety requirements guarantee that the socket is valid, and its lock is held.
        let found = unsafe { Self::of(sk) };
        // SAFETY: The requirements of `set` are those of this function.
        unsafe { self.merged_with(&found).set(sk) };
    }

    /// Reads the callbacks of a socket.
    ///
    /// # Safety
    ///
    /// `sk` must be valid. Its `sk_callback_lock` must be held, or its callbacks must not be
    /// changed concurrently for another reason.
    pub(in super::super) unsafe fn of(sk: *mut bindings::sock) -> Self {
        // SAFETY: The safety requirements guarantee that the socket is valid, and that its
        // callbacks do not change during this call.
        unsafe {
            Self {
                state_change: (*sk).sk_state_change,
                data_ready: (*sk).sk_data_ready,
                write_space: (*sk).sk_write_space,
                error_report: (*sk).sk_error_report,
            }
        }
    }

    /// Sets the callbacks of a socket.
    ///
    /// # Safety
    ///
    /// `sk` must be valid, and its `sk_callback_lock` must be held for writing. The callbacks must
    /// be suitable for the socket.
    pub(in super::super) unsafe fn set(&self, sk: *mut bindings::sock) {
        // Protocols read the callbacks without any lock, so each is written with a single store.

        // SAFETY: The safety requirements guarantee that the socket is valid, and that we may
        // change its callbacks.
        unsafe {
            (&raw mut (*sk).sk_state_change).write_volatile(self.state_change);
            (&raw mut (*sk).sk_data_ready).write_volatile(self.data_ready);
            (&raw mut (*sk).sk_write_space).write_volatile(self.write_space);
            (&raw mut (*sk).sk_error_report).write_volatile(self.error_report);
        }
    }
}

/// The callbacks that TCP gives its sockets. Set before any of them gets ours.
static TCP: SetOnce<RawCallbacks> = SetOnce::new();

/// The callbacks that UDP gives its sockets. Set before any of them gets ours.
static UDP: SetOnce<RawCallbacks> = SetOnce::new();
