// SPDX-License-Identifier: GPL-2.0

//! Waking the waiters of a socket, and sending the signals that programs have requested.

use super::{
    Shutdown,
    Sock,
    TcpState, //
};

use crate::{
    bindings,
    prelude::*, //
};

/// Notifications of events.
impl Sock {
    /// Wakes all waiters, for whatever they wait.
    ///
    /// Any context, with the restriction of [`Sock::state_changed`].
    pub fn wake_all(&self) {
        let sk = self.as_raw();

        // SAFETY: The socket is valid by the type invariants, and `sock_init_data` has set its
        // callbacks.
        if let Some(state_change) = unsafe { (&raw const (*sk).sk_state_change).read_volatile() } {
            // SAFETY: This is the purpose of the callback.
            unsafe { state_change(sk) };
        }
    }

    /// Wakes all waiters after a change of the socket's state.
    ///
    /// Any context including hard interrupts, as long as `sk_state_change` has not been replaced,
    /// which holds for all sockets of programs.
    pub fn state_changed(&self) {
        self.wake_all();

        // The signals for programs that have requested them (`F_SETSIG`), as TCP sends them.
        let mask = self.shutdown_mask();
        let state = self.state();

        if mask == Shutdown::Recv | Shutdown::Send || state == TcpState::Close {
            self.wake_async(bindings::SOCK_WAKE_WAITD, bindings::POLL_HUP);
        } else if mask.contains(Shutdown::Recv) {
            self.wake_async(bindings::SOCK_WAKE_WAITD, bindings::POLL_IN);
        } else if state == TcpState::Established {
            self.wake_async(bindings::SOCK_WAKE_IO, bindings::POLL_OUT);
        }
    }

    /// Wakes the waiters for data or for a connection to accept.
    ///
    /// Any context, with the restriction of [`Sock::state_changed`].
    pub fn data_ready(&self) {
        let sk = self.as_raw();

        // SAFETY: The socket is valid by the type invariants, and `sock_init_data` has set its
        // callbacks.
        if let Some(data_ready) = unsafe { (&raw const (*sk).sk_data_ready).read_volatile() } {
            // SAFETY: This is the purpose of the callback.
            unsafe { data_ready(sk) };
        }
    }

    /// Wakes the waiters for room to send.
    ///
    /// Any context, with the restriction of [`Sock::state_changed`].
    ///
    /// Programs that use signals are notified only after [`Sock::want_space`].
    pub fn write_space(&self) {
        let sk = self.as_raw();

        // The default callback wakes waiters only if at least half of the send buffer is free. A
        // protocol with its own buffer charges nothing to the socket's, which is thus always empty.

        // SAFETY: The socket is valid by the type invariants, and `sock_init_data` has set its
        // callbacks.
        if let Some(write_space) = unsafe { (&raw const (*sk).sk_write_space).read_volatile() } {
            // SAFETY: This is the purpose of the callback.
            unsafe { write_space(sk) };
        }
    }

    /// Wakes the waiters, of the exclusive ones one, after an error has become pending.
    ///
    /// Any context, with the restriction of [`Sock::state_changed`].
    pub fn error_report(&self) {
        // SAFETY: The socket is valid by the type invariants, and `sock_init_data` has set its
        // callbacks.
        unsafe { bindings::sk_error_report(self.as_raw()) };
    }

    /// Requests a signal for the program, which has found no room to send, once there is room.
    ///
    /// The caller must check for room again afterwards. In a call by the program, or in
    /// `Ops::poll`.
    pub fn want_space(&self) {
        // SAFETY: The socket is valid by the type invariants.
        unsafe { bindings::sk_want_space(self.as_raw()) };
    }

    /// Sends `SIGURG` to the owner of the socket (`F_SETOWN`): an urgent byte is on its way.
    ///
    /// Any context, hard interrupts included.
    pub fn send_sigurg(&self) {
        // SAFETY: The socket is valid by the type invariants, which also say that its `struct
        // socket`, if it has one, is part of an inode.
        unsafe { bindings::sk_send_sigurg(self.as_raw()) };
    }

    fn wake_async(&self, how: u32, band: u32) {
        // CAST: Both are small constants.
        // SAFETY: The socket is valid by the type invariants.
        unsafe { bindings::sk_wake_async(self.as_raw(), how as c_int, band as c_int) };
    }

    /// Sends `SIGPIPE` to the current program, after it has tried to send to a socket that is shut
    /// down for sending, without `MSG_NOSIGNAL`. Process context.
    pub fn send_sigpipe() {
        // SAFETY: The current task is valid.
        unsafe { bindings::send_sig(bindings::SIGPIPE as c_int, bindings::get_current(), 0) };
    }
}
