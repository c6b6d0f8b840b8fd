// SPDX-License-Identifier: GPL-2.0

//! Waking who waits for a socket, and the signals that programs have asked for.

use super::{
    Shutdown,
    Sock,
    TcpState, //
};

use crate::{
    bindings,
    prelude::*, //
};

/// What has happened to the socket.
impl Sock {
    /// Wakes all who wait for the socket: its state has changed.
    ///
    /// Any context, hard interrupts included, as long as nobody has replaced `sk_state_change`, and
    /// so for all sockets that belong to programs.
    pub fn state_changed(&self) {
        let sk = self.as_raw();

        // SAFETY: The socket is valid by the type invariants, and its callbacks have been set by
        // `sock_init_data`.
        if let Some(state_change) = unsafe { (&raw const (*sk).sk_state_change).read_volatile() } {
            // SAFETY: This is what the callback is for.
            unsafe { state_change(sk) };
        }

        // What programs that asked for a signal (`F_SETSIG`) are told, as TCP does it.
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

    /// Wakes those who wait for data, or for a connection to accept.
    ///
    /// Any context, with the restriction of [`Sock::state_changed`].
    pub fn data_ready(&self) {
        let sk = self.as_raw();

        // SAFETY: The socket is valid by the type invariants, and its callbacks have been set by
        // `sock_init_data`.
        if let Some(data_ready) = unsafe { (&raw const (*sk).sk_data_ready).read_volatile() } {
            // SAFETY: This is what the callback is for.
            unsafe { data_ready(sk) };
        }
    }

    /// Wakes those who wait for room to send.
    ///
    /// Any context, with the restriction of [`Sock::state_changed`].
    ///
    /// Who waits by way of a signal is told only after [`Sock::want_space`].
    pub fn write_space(&self) {
        let sk = self.as_raw();

        // The default callback tells nobody unless half of the send buffer is free. A protocol that
        // has a buffer of its own charges nothing to this one, so that it is always empty.

        // SAFETY: The socket is valid by the type invariants, and its callbacks have been set by
        // `sock_init_data`.
        if let Some(write_space) = unsafe { (&raw const (*sk).sk_write_space).read_volatile() } {
            // SAFETY: This is what the callback is for.
            unsafe { write_space(sk) };
        }
    }

    /// Wakes those who wait for anything at all: there is an error pending.
    ///
    /// Any context, with the restriction of [`Sock::state_changed`].
    pub fn error_report(&self) {
        // SAFETY: The socket is valid by the type invariants, and its callbacks have been set by
        // `sock_init_data`.
        unsafe { bindings::sk_error_report(self.as_raw()) };
    }

    /// Notes that a program has found no room to send, and wants a signal when there is some.
    ///
    /// The caller must look again afterwards. In a call of the program's, or in
    /// [`Ops::poll`](super::family::Ops::poll).
    pub fn want_space(&self) {
        // SAFETY: The socket is valid by the type invariants.
        unsafe { bindings::sk_want_space(self.as_raw()) };
    }

    /// Sends `SIGURG` to who has asked for signals (`F_SETOWN`): an urgent byte is on its way.
    ///
    /// Any context, hard interrupts included.
    pub fn send_sigurg(&self) {
        // SAFETY: The socket is valid by the type invariants, and its `struct socket`, if it has one,
        // is part of an inode, by the same.
        unsafe { bindings::sk_send_sigurg(self.as_raw()) };
    }

    fn wake_async(&self, how: u32, band: u32) {
        // CAST: Both are small constants.
        // SAFETY: The socket is valid by the type invariants.
        unsafe { bindings::sk_wake_async(self.as_raw(), how as c_int, band as c_int) };
    }

    /// Sends `SIGPIPE` to the calling program, which has sent to a socket that can send nothing
    /// any more (and has not said `MSG_NOSIGNAL`). Process context.
    pub fn send_sigpipe() {
        // SAFETY: The current task is valid.
        unsafe { bindings::send_sig(bindings::SIGPIPE as c_int, bindings::get_current(), 0) };
    }
}
