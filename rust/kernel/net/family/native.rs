// SPDX-License-Identifier: GPL-2.0

//! The native socket behind a socket that stands in for it.
//!
//! A program asks for a TCP or UDP socket, and policy (control groups, security modules) checks TCP
//! and UDP sockets. So a socket that stands in for one of these has a real TCP or UDP socket behind
//! it, its native socket. Policy is asked about the native socket ([`policy`](super::policy)), and
//! the program gets it if the socket in front of it falls back.

use super::{
    new_socket::{
        NewSocket,
        IPPROTO_TCP,
        IPPROTO_UDP, //
    },
    Ops,
    TypedSock, //
};

use crate::{
    bindings,
    net::{
        kernel_socket::{
            KernelSocket,
            Tcp, //
        },
        socket::{
            NativeSocket,
            Socket,
            SOCK_DGRAM,
            SOCK_STREAM, //
        },
        sockopt::{
            SOL_SOCKET,
            SO_REUSEADDR, //
        }, //
    },
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Full,
            Relaxed,
            Release, //
        },
        barrier::smp_mb, //
    },
    types::Opaque, //
};

use core::net::SocketAddr;

/// The native socket of a socket of a family, if there is one.
///
/// # Invariants
///
/// - `socket` is null, or a socket of TCP or UDP that was created by `__sock_create` with the
///   family and type of the socket that it is behind. Until [`Native::close`] starts, it is valid
///   and does not change any more. It is not used after that.
/// - If `is_forwarded` is set, `entry` is in the wait queue of the native socket, and forwards
///   wake-ups to the wait queue of the socket in front, which outlives this membership.
pub(super) struct Native {
    socket: Atomic<*mut bindings::socket>,
    /// Set before the options of the socket in front are copied, by the only task that has it take
    /// over. Stays set if that succeeds.
    is_taking_over: Atomic<bool>,
    is_in_use: Atomic<bool>,
    is_forwarded: Atomic<bool>,
    entry: Opaque<bindings::wait_queue_entry>,
}

impl Native {
    pub(super) fn new(socket: Option<NewSocket>) -> Self {
        // INVARIANT: Callers only pass sockets from `Native::create`, or such as `stand_in` has
        // checked. `into_raw` gives up their ownership.
        Self {
            socket: Atomic::new(socket.map_or(core::ptr::null_mut(), |s| s.into_raw().as_ptr())),
            is_taking_over: Atomic::new(false),
            is_in_use: Atomic::new(false),
            is_forwarded: Atomic::new(false),
            entry: Opaque::zeroed(),
        }
    }

    /// Creates the native socket for a socket that was found by its protocol number. Fails with
    /// `ESOCKTNOSUPPORT` if there is none of this type.
    ///
    /// # Safety
    ///
    /// As for [`NewSocket::create`].
    pub(super) unsafe fn create(
        net: *mut bindings::net,
        family: i32,
        kind: i32,
        is_kernel: bool,
    ) -> Result<NewSocket> {
        let protocol = match kind {
            SOCK_STREAM => IPPROTO_TCP,
            SOCK_DGRAM => IPPROTO_UDP,
            _ => return Err(ESOCKTNOSUPPORT),
        };
        // SAFETY: The requirements are those of this function.
        unsafe { NewSocket::create(net, family, kind, protocol, is_kernel) }
    }

    /// Returns the native socket, if there is one.
    #[inline]
    pub(super) fn as_raw(&self) -> Option<*mut bindings::socket> {
        let socket = self.socket.load(Acquire);
        (!socket.is_null()).then_some(socket)
    }

    /// Stores the native socket of an accepted socket, unless it has one. Returns that socket.
    fn populate(&self, new: NewSocket) -> *mut bindings::socket {
        // INVARIANT: Callers only pass sockets from `Native::create`, and nothing is replaced.
        match self
            .socket
            .cmpxchg(core::ptr::null_mut(), new.as_raw(), Full)
        {
            Ok(_) => new.into_raw().as_ptr(),
            Err(socket) => socket,
        }
    }

    /// Returns the native socket if it takes over, or has done so: then it may have got its options
    /// before the caller set one on the socket in front.
    pub(super) fn taking_over(&self) -> Option<*mut bindings::socket> {
        // Pairs with the barrier of `fall_back`: either the new value of the option is copied, or
        // the flag is seen.
        smp_mb(Full);
        if self.is_taking_over.load(Acquire) {
            self.as_raw()
        } else {
            None
        }
    }

    /// Returns the native socket if it has taken over.
    #[inline]
    pub(super) fn in_use(&self) -> Option<*mut bindings::socket> {
        if self.is_in_use.load(Acquire) {
            self.as_raw()
        } else {
            None
        }
    }

    /// Forwards wake-ups from the native socket to the waiters of the socket in front.
    ///
    /// # Safety
    ///
    /// `socket` must be valid, and must be the socket in front of this one.
    pub(super) unsafe fn forward(&self, socket: *mut bindings::socket) {
        let Some(native) = self.as_raw() else {
            return;
        };
        if self.is_forwarded.load(Acquire) {
            return;
        }
        // SAFETY: Both sockets are valid. The entry is zeroed, or in this queue already. `close`
        // removes it before `socket` is freed.
        unsafe { bindings::sock_forward_wakes(native, socket, self.entry.get()) };
        // INVARIANT: The entry is in the queue. Only now may others rely on it.
        self.is_forwarded.store(true, Release);
    }

    /// Closes the native socket. May sleep.
    ///
    /// # Safety
    ///
    /// The native socket must not be in use any more, and this must not be called concurrently.
    /// `socket` must be the socket in front of it; it may be null if no program has ever had that
    /// socket.
    pub(super) unsafe fn close(&self, socket: *mut bindings::socket) {
        let Some(native) = self.as_raw() else {
            return;
        };
        self.socket.store(core::ptr::null_mut(), Relaxed);
        if self.is_forwarded.load(Relaxed) {
            // SAFETY: By the type invariants the entry is in this queue.
            unsafe { bindings::sock_forward_end(native, self.entry.get()) };
        }
        // SAFETY: By the type invariants the native socket is valid, and the safety requirements
        // allow the use of `socket`.
        unsafe { bindings::sock_release_native(native, socket) };
    }
}

impl<T: Ops> TypedSock<T> {
    /// Returns `true` if the native socket has taken over. To be used in operations.
    #[inline]
    pub(super) fn has_fallen_back(&self) -> bool {
        T::PROTOCOL.is_some() && self.native().in_use().is_some()
    }

    /// Returns the native socket. An accepted socket has none until it needs one: it gets one now,
    /// as if the program had called socket(2). `socket` is the `struct socket` of this socket.
    ///
    /// Process context, may sleep. Fails with the errors of socket(2) for an accepted socket.
    pub(super) fn native_or_new(&self, socket: &Socket) -> Result<*mut bindings::socket> {
        if let Some(native) = self.native().as_raw() {
            return Ok(native);
        }
        let sk = self.as_raw();
        // SAFETY: The socket is valid.
        let (net, is_kernel) = unsafe { (bindings::sock_net(sk), is_kernel(sk)) };
        // SAFETY: The socket keeps its namespace alive, or its memory if it belongs to the kernel.
        let new = unsafe { Native::create(net, T::FAMILY, socket.sock_type(), is_kernel) }?;
        Ok(self.native().populate(new))
    }

    /// Makes the native socket take over, as SMC does: the program uses the native socket from now
    /// on. All that remains of this socket is its memory.
    ///
    /// The native socket gets the options of [`SOL_SOCKET`](crate::net::sockopt::SOL_SOCKET) that
    /// were set, after which `prepare` can set further options. An accepted socket may get its
    /// native socket only now.
    ///
    /// Process context, may sleep. The caller must exclude other operations that change the socket,
    /// and make sure that none changes it afterwards. Such operations have to fail instead, with
    /// any error: they are then repeated with the native socket. Waiting operations are woken.
    ///
    /// # Errors
    ///
    /// The errors of `prepare`, and of socket(2) for an accepted socket: then the native socket has
    /// not taken over. `EINVAL` if this is not the `struct sock` of `socket`, or if the native
    /// socket has taken over already, or is just doing so.
    pub fn fall_back(
        &self,
        socket: &Socket,
        prepare: impl FnOnce(&NativeSocket) -> Result,
    ) -> Result {
        // The family is IPv4 or IPv6 then.
        build_assert!(T::PROTOCOL.is_some());

        let sk = self.as_raw();
        let outer = socket.as_raw();
        // SAFETY: The socket is valid.
        if !core::ptr::eq(unsafe { (*outer).sk }, sk) {
            return Err(EINVAL);
        }
        let native = self.native_or_new(socket)?;

        // The full barrier pairs with that of `Native::taking_over`.
        if self.native().is_taking_over.xchg(true, Full) {
            return Err(EINVAL);
        }
        {
            let _guard = self.lock();
            // SAFETY: The native socket is valid, and this socket is locked.
            // BPF programs may have given the native socket an interface or a mark.
            unsafe { bindings::sk_take_over((*native).sk, sk, true) };
        }
        // SAFETY: By the type invariants of `Native` this is a complete socket of TCP or UDP, and
        // it has not taken over yet.
        if let Err(error) = prepare(unsafe { NativeSocket::from_raw(native) }) {
            self.native().is_taking_over.store(false, Relaxed);
            return Err(error);
        }

        self.native().is_in_use.store(true, Release);
        // SAFETY: Both sockets are valid and belong together. The native socket is closed before
        // the file is gone.
        if unsafe { bindings::sock_fall_back(outer, native) } {
            // SAFETY: As above.
            unsafe { self.native().forward(outer) };
        }
        self.state_changed();
        Ok(())
    }

    /// Creates a TCP socket beside this one that listens at `addr`.
    ///
    /// The new socket has the same family, namespace and options of
    /// [`SOL_SOCKET`](crate::net::sockopt::SOL_SOCKET); `prepare` may set further options.
    ///
    /// Programs can get the connections that it accepts, see [`Accepted::From`]. These have
    /// [`SO_REUSEADDR`], so that they do not keep a later listener with this option from the port.
    ///
    /// Process context, may sleep. The caller must have checked that the program may use the port:
    /// security modules are asked only if the socket may be created and may listen.
    ///
    /// # Errors
    ///
    /// The errors of socket(2), bind(2) and listen(2), and those of `prepare`.
    ///
    /// [`Accepted::From`]: super::Accepted::From
    /// [`SO_REUSEADDR`]: crate::net::sockopt::SO_REUSEADDR
    pub fn create_native_listener(
        &self,
        addr: SocketAddr,
        backlog: i32,
        prepare: impl FnOnce(&NativeSocket) -> Result,
    ) -> Result<KernelSocket<Tcp>> {
        // The family is IPv4 or IPv6 then.
        build_assert!(T::PROTOCOL.is_some());

        let sk = self.as_raw();
        // SAFETY: The socket is valid.
        let (net, is_kernel) = unsafe { (bindings::sock_net(sk), is_kernel(sk)) };
        let (kind, protocol) = (SOCK_STREAM, IPPROTO_TCP);
        // SAFETY: The socket keeps its namespace alive, or its memory if it belongs to the kernel.
        let new = unsafe { NewSocket::create(net, T::FAMILY, kind, protocol, is_kernel) }?;
        {
            let _guard = self.lock();
            // SAFETY: Nothing else refers to the new socket, and this socket is locked.
            unsafe { bindings::sk_take_over((*new.as_raw()).sk, sk, false) };
        }
        // SAFETY: The new socket was created as a TCP socket, and is ours alone.
        prepare(unsafe { NativeSocket::from_raw(new.as_raw()) })?;
        // SAFETY: By its type invariants the new socket is valid and ours alone. It was created as
        // a TCP socket, with a `struct sock` where nothing has been installed.
        let listener: KernelSocket<Tcp> = unsafe { KernelSocket::from_raw(new.into_raw()) };
        listener.native().bind_permitted(addr)?;
        listener.set_option(SOL_SOCKET, SO_REUSEADDR, &1i32.to_ne_bytes())?;
        listener.listen_permitted(backlog)?;
        Ok(listener)
    }
}

/// Returns `true` if a socket belongs to the kernel: it does not keep its namespace.
///
/// # Safety
///
/// `sk` must be valid.
unsafe fn is_kernel(sk: *mut bindings::sock) -> bool {
    // SAFETY: The safety requirements guarantee that the socket is valid.
    unsafe { bindings::sock_common::skc_net_refcnt_raw(&raw const (*sk).__sk_common) == 0 }
}
