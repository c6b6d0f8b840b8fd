// SPDX-License-Identifier: GPL-2.0

//! Listening kernel sockets.

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
    /// Like [`Self::listen`], if the security modules allow it to the current task.
    pub(in crate::net) fn listen_permitted(&self, backlog: i32) -> Result {
        // SAFETY: The socket is valid by the type invariants.
        to_result(unsafe { bindings::sock_may_listen(self.as_raw(), backlog) })?;
        self.listen(backlog)
    }

    /// Starts to accept connections, up to `backlog` of them in the queue. On a listening socket,
    /// changes the backlog.
    pub fn listen(&self, backlog: i32) -> Result {
        to_result(self.as_owner(|| {
            // SAFETY: The socket is valid by the type invariants.
            unsafe { bindings::kernel_listen(self.as_raw(), backlog) }
        }))
    }

    /// Returns `true` if there is a connection for [`KernelSocket::accept`]. Any context.
    pub fn has_connection(&self) -> bool {
        if self.tcp_state() != TcpState::Listen {
            return false;
        }
        // SAFETY: By the type invariants, this is a valid TCP socket.
        unsafe { bindings::inet_csk_listen_poll(self.sk().as_raw()) != 0 }
    }

    /// Returns the number of connections that wait to be accepted. Any context.
    pub fn waiting(&self) -> usize {
        // CAST: Widening.
        self.sk().ack_backlog() as usize
    }

    /// Changes the backlog of a listening socket, see [`KernelSocket::listen`]. Any context.
    pub fn set_backlog(&self, backlog: u32) {
        if self.tcp_state() == TcpState::Listen {
            self.sk().set_max_ack_backlog(backlog);
        }
    }

    /// Makes a listening socket count one connection more than there are in its queue, or ends
    /// this.
    ///
    /// Lets a connection that was accepted keep its place in the backlog. Ends when the socket
    /// stops listening. If others destroy the socket meanwhile (`ss -K`), TCP warns that its queue
    /// seems not to be empty.
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
    /// socket.reserve_backlog(true);
    /// assert_eq!(socket.waiting(), 0);
    /// socket.listen(0)?;
    /// socket.reserve_backlog(true);
    /// socket.reserve_backlog(true);
    /// assert_eq!(socket.waiting(), 1);
    /// socket.reserve_backlog(false);
    /// assert_eq!(socket.waiting(), 0);
    /// socket.reserve_backlog(true);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn reserve_backlog(&self, is_reserved: bool) {
        if !is_reserved {
            self.release_backlog();
        } else if self.tcp_state() == TcpState::Listen && !self.reserves_backlog.xchg(true, Full) {
            // SAFETY: By the type invariants, this is a valid TCP socket.
            //
            // INVARIANT: The socket counts one connection more from now on.
            unsafe { bindings::inet_csk_count_waiting(self.sk().as_raw(), true) };
        }
    }

    /// Returns `true` while [`KernelSocket::reserve_backlog`] is in effect. Any context.
    pub fn reserves_backlog(&self) -> bool {
        self.reserves_backlog.load(Relaxed)
    }

    /// Accepts the next connection from the queue, and returns it with the address of its peer.
    ///
    /// The connection has no callbacks. If the peer has already reset it, its first use fails.
    /// Fails with `EAGAIN` if the queue is empty.
    pub fn accept(&self) -> Result<(Self, SocketAddr)> {
        let mut socket = core::ptr::null_mut();

        to_result(self.as_owner(|| {
            // SAFETY: The socket is valid by the type invariants, and `socket` is valid for
            // writing.
            unsafe {
                bindings::kernel_accept(
                    self.as_raw(),
                    &raw mut socket,
                    bindings::O_NONBLOCK as c_int,
                )
            }
        }))?;
        let socket = NonNull::new(socket).ok_or(ENOMEM)?;

        // SAFETY: An accepted socket has a `struct sock`, and this one is ours.
        unsafe { self.restore_callbacks((*socket.as_ptr()).sk) };

        // INVARIANT: The socket is new and ours, nothing is installed, and its callbacks were set
        // to the original ones just above.
        let accepted = Self {
            socket,
            counted: None,
            owner: self.owner.clone(),
            reserves_backlog: Atomic::new(false),
            protocol: PhantomData,
        };
        let peer = accepted.name(2)?;
        Ok((accepted, peer))
    }

    /// Accepts the next connection from the queue into `new`, which becomes an ordinary TCP socket.
    /// Fails with `EAGAIN` if the queue is empty.
    ///
    /// # Safety
    ///
    /// `new` must point to a `struct socket` that was allocated for accept(2), has no `struct
    /// sock`, and holds a reference to the module of its operations.
    pub(in crate::net) unsafe fn accept_into(&self, new: *mut bindings::socket) -> Result {
        let mut arg = bindings::proto_accept_arg {
            flags: bindings::O_NONBLOCK as c_int,
            ..pin_init::zeroed()
        };
        // SAFETY: The socket is valid by the type invariants, and since it has no file, its
        // operations do not change.
        let ops = unsafe { &*(*self.as_raw()).ops };
        let accept = ops.accept.ok_or(EOPNOTSUPP)?;

        // SAFETY: The socket is valid by the type invariants, and by the safety requirements `new`
        // was allocated for accept(2).
        to_result(unsafe { accept(self.as_raw(), new, &raw mut arg) })?;
        // SAFETY: An accepted socket has a `struct sock`, and this one is not in use yet.
        unsafe { self.restore_callbacks((*new).sk) };

        // SAFETY: `new` is valid, and only the caller uses it. The module of TCP stays loaded as
        // long as `self` exists, and through the new reference as long as `new` exists. `new` held
        // the reference to the other module that is dropped here.
        unsafe {
            bindings::__module_get(ops.owner);
            let former = (*new).ops;
            (*new).ops = ops;
            bindings::module_put((*former).owner);
        }
        Ok(())
    }

    /// Sets the callbacks of an accepted socket to those that TCP gives its sockets.
    ///
    /// The accepted socket was created as a copy of the listening one, including its callbacks, but
    /// without its user data. It has its own reference to the namespace.
    ///
    /// # Safety
    ///
    /// `sk` must be a valid socket that was accepted from this one and is not in use yet.
    unsafe fn restore_callbacks(&self, sk: *mut bindings::sock) {
        let original = self.original_callbacks();

        // SAFETY: The socket is valid. The callbacks are those that TCP gives sockets of this kind.
        unsafe {
            bindings::sk_callback_write_lock_bh(sk);
            original.restore(sk);
            bindings::sk_callback_write_unlock_bh(sk);
        }
    }
}
