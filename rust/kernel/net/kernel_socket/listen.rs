// SPDX-License-Identifier: GPL-2.0

//! Kernel sockets that listen.

use super::{
    KernelSocket,
    Tcp, //
};

use crate::{
    bindings,
    error::to_result,
    net::sock::TcpState,
    prelude::*,
    sync::atomic::{
        Atomic,
        Full,
        Relaxed, //
    }, //
};

use core::{
    marker::PhantomData,
    net::SocketAddr,
    ptr::NonNull, //
};

/// Listening.
impl KernelSocket<Tcp> {
    /// As [`Self::listen`], if a security module allows that to the current task.
    pub(in crate::net) fn listen_permitted(&self, backlog: i32) -> Result {
        // SAFETY: The socket is valid by the type invariants.
        to_result(unsafe { bindings::sock_may_listen(self.as_raw(), backlog) })?;
        self.listen(backlog)
    }

    /// Begins to take in connections, `backlog` of them before the first is accepted. On a listening
    /// socket it changes how many.
    pub fn listen(&self, backlog: i32) -> Result {
        to_result(self.as_owner(|| {
            // SAFETY: The socket is valid by the type invariants.
            unsafe { bindings::kernel_listen(self.as_raw(), backlog) }
        }))
    }

    /// Returns whether a connection has come in that [`KernelSocket::accept`] would take. Any context.
    pub fn has_connection(&self) -> bool {
        if self.tcp_state() != TcpState::Listen {
            return false;
        }
        // SAFETY: The socket is valid, and by the type invariants one of TCP.
        unsafe { bindings::inet_csk_listen_poll(self.sk().as_raw()) != 0 }
    }

    /// Returns how many connections have come in that nobody has accepted. Any context.
    pub fn waiting(&self) -> usize {
        // CAST: Widens.
        self.sk().ack_backlog() as usize
    }

    /// Changes how many connections may wait at a listening socket, see [`KernelSocket::listen`]. Any
    /// context.
    pub fn set_backlog(&self, backlog: u32) {
        if self.tcp_state() == TcpState::Listen {
            self.sk().set_max_ack_backlog(backlog);
        }
    }

    /// Has a listening socket count one connection more than there are in its queue, or no longer
    /// so: one that was accepted, and by which it is as full as before. Ends with the listening.
    ///
    /// # Examples
    ///
    /// ```
    /// use kernel::net::{
    ///     addr::Domain,
    ///     kernel_socket::KernelSocket,
    ///     namespace::Namespace, //
    /// };
    ///
    /// let socket = KernelSocket::stream(Namespace::init(), Domain::Inet)?;
    ///
    /// socket.hold_place(true);
    /// assert_eq!(socket.waiting(), 0);
    /// socket.listen(0)?;
    /// socket.hold_place(true);
    /// socket.hold_place(true);
    /// assert_eq!(socket.waiting(), 1);
    /// socket.hold_place(false);
    /// assert_eq!(socket.waiting(), 0);
    /// socket.hold_place(true);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn hold_place(&self, is_held: bool) {
        if !is_held {
            self.leave_place();
        } else if self.tcp_state() == TcpState::Listen && !self.holds_place.xchg(true, Full) {
            // SAFETY: The socket is valid, and by the type invariants one of TCP.
            //
            // INVARIANT: It counts one more from now on.
            unsafe { bindings::inet_csk_count_waiting(self.sk().as_raw(), true) };
        }
    }

    /// Returns whether it does what [`KernelSocket::hold_place`] has begun. Any context.
    pub fn holds_place(&self) -> bool {
        self.holds_place.load(Relaxed)
    }

    /// Takes the next connection that has come in, and returns it with the address of its peer.
    ///
    /// It has no callbacks. It may have been reset by its peer already, which is an error for those
    /// who use it then. `EAGAIN` if there is none.
    pub fn accept(&self) -> Result<(Self, SocketAddr)> {
        let mut socket = core::ptr::null_mut();

        to_result(self.as_owner(|| {
            // SAFETY: The socket is valid by the type invariants, and `socket` is valid for writing.
            unsafe {
                bindings::kernel_accept(
                    self.as_raw(),
                    &raw mut socket,
                    bindings::O_NONBLOCK as c_int,
                )
            }
        }))?;
        let socket = NonNull::new(socket).ok_or(ENOMEM)?;

        // SAFETY: A socket that was accepted has a `struct sock`, and this one is ours.
        unsafe { self.restore_callbacks((*socket.as_ptr()).sk) };

        // INVARIANT: The socket is new: it is ours, nothing is installed, and its callbacks have
        // just been made the original ones.
        let accepted = Self {
            socket,
            counted: None,
            owner: self.owner.clone(),
            holds_place: Atomic::new(false),
            protocol: PhantomData,
        };
        let peer = accepted.name(2)?;
        Ok((accepted, peer))
    }

    /// Takes the next connection that has come in, and makes it that of `new`, which becomes a
    /// socket of TCP with all that belongs to it. `EAGAIN` if there is none.
    ///
    /// # Safety
    ///
    /// `new` must point to a `struct socket` that was allocated for accept(2), has no `struct sock`,
    /// and holds a reference to the module of its operations.
    pub(in crate::net) unsafe fn accept_into(&self, new: *mut bindings::socket) -> Result {
        let mut arg = bindings::proto_accept_arg {
            flags: bindings::O_NONBLOCK as c_int,
            ..pin_init::zeroed()
        };
        // SAFETY: The socket is valid by the type invariants, and as one without a file it keeps its
        // operations.
        let ops = unsafe { &*(*self.as_raw()).ops };
        let accept = ops.accept.ok_or(EOPNOTSUPP)?;

        // SAFETY: The socket is valid by the type invariants, and `new` one for accept(2), as is
        // required.
        to_result(unsafe { accept(self.as_raw(), new, &raw mut arg) })?;
        // SAFETY: A socket that was accepted has a `struct sock`, and this one no user yet.
        unsafe { self.restore_callbacks((*new).sk) };

        // SAFETY: `new` is valid, and the caller's alone. The module of TCP stays while there is
        // `self`, and with the reference for as long as there is `new`; the other module's reference
        // is that which `new` held.
        unsafe {
            bindings::__module_get(ops.owner);
            let former = (*new).ops;
            (*new).ops = ops;
            bindings::module_put((*former).owner);
        }
        Ok(())
    }

    /// Gives a socket that was accepted the callbacks that TCP gives to its like: it was made as a
    /// copy of the listening one, with its callbacks (but without its user data). Its reference to
    /// the namespace is its own.
    ///
    /// # Safety
    ///
    /// `sk` must be a valid socket that was accepted from this one, and that nobody uses yet.
    unsafe fn restore_callbacks(&self, sk: *mut bindings::sock) {
        let original = self.original_callbacks();

        // SAFETY: The socket is valid. The callbacks are those that TCP has given to its like.
        unsafe {
            bindings::sk_callback_write_lock_bh(sk);
            original.set_in_place_of_ours(sk);
            bindings::sk_callback_write_unlock_bh(sk);
        }
    }
}
