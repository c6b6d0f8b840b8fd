// SPDX-License-Identifier: GPL-2.0

//! The socket of the kernel's own protocol behind one that stands in for it.
//!
//! A program asks for TCP or UDP, and policy looks for TCP or UDP: control groups, security modules.
//! So a socket that stands in for one of these has such a socket behind it, its native socket. That
//! is what policy is asked about ([`policy`](super::policy)), and what the program has if the other
//! falls back.

use super::{
    glue::Glue,
    typed_sock::alloc,
    Ops,
    StaticProto,
    TypedSock, //
};

use crate::{
    bindings,
    error::to_result,
    net::{
        kernel_socket::{
            KernelSocket,
            Tcp, //
        },
        namespace::Namespace,
        socket::Socket, //
    },
    prelude::*,
    sync::atomic::{
        Acquire,
        Atomic,
        Full,
        Relaxed,
        Release, //
    },
    types::Opaque, //
};

use core::{
    cell::UnsafeCell,
    mem::ManuallyDrop,
    net::SocketAddr,
    ptr::NonNull, //
};

/// A socket that nobody else knows of, closed when it is dropped. Process context, may sleep then.
///
/// # Invariants
///
/// The `struct socket` is valid, was made by `__sock_create` or [`NewSocket::stand_in`], and is ours
/// alone.
pub struct NewSocket(NonNull<bindings::socket>);

impl Drop for NewSocket {
    fn drop(&mut self) {
        // SAFETY: By the type invariants it is ours to close.
        unsafe { bindings::sock_release(self.as_raw()) };
    }
}

impl NewSocket {
    /// Creates a socket for the current program, as socket(2) does it.
    pub fn new(net: &Namespace, family: i32, kind: i32, protocol: i32) -> Result<Self> {
        Self::create(net.as_raw(), family, kind, protocol, false)
    }

    fn create(
        net: *mut bindings::net,
        family: i32,
        kind: i32,
        protocol: i32,
        is_kernel: bool,
    ) -> Result<Self> {
        let mut new = core::ptr::null_mut();

        // SAFETY: The callers pass a valid namespace, and `new` is valid for a pointer.
        to_result(unsafe {
            bindings::__sock_create(
                net,
                family,
                kind,
                protocol,
                &raw mut new,
                c_int::from(is_kernel),
            )
        })?;
        // INVARIANT: It was created just now, with success.
        NonNull::new(new).map(Self).ok_or(ENFILE)
    }

    /// Creates a socket of `T` that stands in for this one, for the same program.
    ///
    /// # Errors
    ///
    /// What [`Ops::create`] returns; `EINVAL` if this socket is of another family.
    pub fn stand_in<T: Ops>(self) -> Result<Self> {
        let protocol = c_int::from(T::PROTOCOL.ok_or(EINVAL)?);
        let native = self.as_raw();
        // SAFETY: Both halves are valid by the type invariants.
        let (sk, kind) = unsafe { ((*native).sk, (*native).type_) };
        // SAFETY: As above.
        let (net, family) = unsafe { (bindings::sock_net(sk), (*sk).__sk_common.skc_family) };
        if i32::from(family) != T::FAMILY {
            return Err(EINVAL);
        }

        // SAFETY: It may always be called in process context.
        let socket = NonNull::new(unsafe { bindings::sock_alloc() }).ok_or(ENFILE)?;
        // INVARIANT: Nobody else knows of it, and without operations it may be closed as well.
        let socket = Self(socket);
        let raw = socket.as_raw();
        // SAFETY: It is ours alone.
        unsafe { (*raw).type_ = kind };

        let init = T::create(
            // SAFETY: The native socket keeps its namespace.
            unsafe { Namespace::from_raw(net) },
            // SAFETY: It was allocated by `sock_alloc`.
            unsafe { Socket::from_raw(raw) },
            protocol,
        )?;
        // SAFETY: The namespace is valid, and the socket is new.
        unsafe { alloc::<T>(net, raw, protocol, false, Some(self), init) }?;
        // SAFETY: The socket is complete but for its operations, which come with a reference to
        // their module: that is running this code.
        unsafe {
            (*raw).ops = T::Proto::get().ops;
            bindings::__module_get(T::Proto::get().ops.owner);
        }
        // SAFETY: It was allocated by `sock_alloc`.
        Glue::<T>::prepare(unsafe { Socket::from_raw(raw) });
        // SAFETY: Both are complete, and nobody else knows of them.
        to_result(unsafe { bindings::sock_stand_in(raw, native) })?;
        Ok(socket)
    }

    /// Returns whether programs of its control group want to see its packets.
    pub fn has_packet_filter(&self) -> bool {
        // SAFETY: By the type invariants it is valid, and so has a `struct sock`.
        unsafe { bindings::sk_has_packet_filter((*self.as_raw()).sk) }
    }

    fn as_raw(&self) -> *mut bindings::socket {
        self.0.as_ptr()
    }

    /// Gives the socket away.
    pub(in crate::net) fn into_raw(self) -> NonNull<bindings::socket> {
        ManuallyDrop::new(self).0
    }
}

/// The native socket of one of a family, if it has one.
///
/// # Invariants
///
/// - `socket` is [`None`], or was made by `__sock_create` with the family and type of that which it
///   is behind. It is valid then until [`Native::close`] begins, which nobody else uses it after.
/// - `entry` is in the wait queue of that socket if `is_forwarded` is set, and waits then on behalf
///   of those in the queue of the other one, which outlives it there.
pub(super) struct Native {
    socket: UnsafeCell<Option<NonNull<bindings::socket>>>,
    is_in_use: Atomic<bool>,
    is_forwarded: Atomic<bool>,
    entry: Opaque<bindings::wait_queue_entry>,
}

impl Native {
    pub(super) fn new(socket: Option<NewSocket>) -> Self {
        // INVARIANT: Only those from `__sock_create` are passed here; its owner is gone.
        Self {
            socket: UnsafeCell::new(socket.map(NewSocket::into_raw)),
            is_in_use: Atomic::new(false),
            is_forwarded: Atomic::new(false),
            entry: Opaque::zeroed(),
        }
    }

    /// Creates the native socket for one that was found by its protocol's number.
    ///
    /// # Safety
    ///
    /// `net` must be valid.
    pub(super) unsafe fn create(
        net: *mut bindings::net,
        family: i32,
        kind: i32,
        is_kernel: bool,
    ) -> Result<NewSocket> {
        // The usual protocol of the type.
        NewSocket::create(net, family, kind, 0, is_kernel)
    }

    #[inline]
    fn get(&self) -> Option<NonNull<bindings::socket>> {
        // SAFETY: It is changed by `close` only, when nobody else uses it.
        unsafe { *self.socket.get() }
    }

    /// Returns the native socket.
    #[inline]
    pub(super) fn as_raw(&self) -> Option<*mut bindings::socket> {
        self.get().map(NonNull::as_ptr)
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

    /// Wakes those who wait with the other socket whenever the native one wakes somebody.
    ///
    /// # Safety
    ///
    /// `socket` must be valid, and the one that this is behind.
    pub(super) unsafe fn forward(&self, socket: *mut bindings::socket) {
        let Some(native) = self.as_raw() else {
            return;
        };
        if self.is_forwarded.cmpxchg(false, true, Full).is_ok() {
            // SAFETY: Both are valid. The entry is not in use, and will be removed by `close`,
            // before `socket` ends.
            // INVARIANT: It was added, this once.
            unsafe { bindings::sock_forward_wakes(native, socket, self.entry.get()) };
        }
    }

    /// Closes the native socket. May sleep.
    ///
    /// # Safety
    ///
    /// Nobody must use it any more, or call this at the same time. `socket` must be the one that it
    /// is behind; it may be null if no program has had that.
    pub(super) unsafe fn close(&self, socket: *mut bindings::socket) {
        // SAFETY: This is required of the caller.
        let Some(native) = (unsafe { (*self.socket.get()).take() }) else {
            return;
        };
        if self.is_forwarded.load(Relaxed) {
            // SAFETY: By the type invariants it is in this queue.
            unsafe { bindings::sock_forward_end(native.as_ptr(), self.entry.get()) };
        }
        // SAFETY: By the type invariants it is valid, and `socket` is as required.
        unsafe { bindings::sock_release_native(native.as_ptr(), socket) };
    }
}

impl<T: Ops> TypedSock<T> {
    /// Returns whether the native socket has taken over. In an operation.
    #[inline]
    pub(super) fn has_fallen_back(&self) -> bool {
        T::PROTOCOL.is_some() && self.native().in_use().is_some()
    }

    /// Has the native socket take over, as SMC does it: the program has that from now on. This one
    /// costs nothing any more but its memory.
    ///
    /// The native socket gets the options of [`SOL_SOCKET`](crate::net::sockopt::SOL_SOCKET) that
    /// were set, and `prepare` gives it others before.
    ///
    /// Process context, may sleep. The caller excludes other operations that change the socket, and
    /// sees to it that none does so afterwards. They have to fail instead, with any error: they are
    /// repeated with the native socket then. Those that wait are woken.
    ///
    /// # Errors
    ///
    /// What `prepare` returns; `EINVAL` if `socket` is not the one to which this belongs, there is no
    /// native socket, or it has taken over already. Nothing has changed in these cases.
    pub fn fall_back(&self, socket: &Socket, prepare: impl FnOnce(&Socket) -> Result) -> Result {
        let sk = self.as_raw();
        let outer = socket.as_raw();
        // SAFETY: The socket is valid.
        let is_ours = core::ptr::eq(unsafe { (*outer).sk }, sk);
        let native = self.native().as_raw().filter(|_| is_ours).ok_or(EINVAL)?;
        if self.has_fallen_back() {
            return Err(EINVAL);
        }

        {
            let _guard = self.lock();
            // SAFETY: Nobody uses the native one, and this one is locked.
            unsafe { bindings::sk_take_over((*native).sk, sk) };
        }
        // SAFETY: By its type invariants it is valid, and was allocated by `sock_alloc`.
        prepare(unsafe { Socket::from_raw(native) })?;

        self.native().is_in_use.store(true, Release);
        // SAFETY: Both are valid, and belong together. The native one ends before the file does.
        if unsafe { bindings::sock_fall_back(outer, native) } {
            // SAFETY: As above.
            unsafe { self.native().forward(outer) };
        }
        self.state_changed();
        Ok(())
    }

    /// Creates a TCP socket beside this one that listens at `addr`, of the same family, in the same
    /// namespace and with the same options of
    /// [`SOL_SOCKET`](crate::net::sockopt::SOL_SOCKET); `prepare` may set others.
    ///
    /// The connections that it accepts can become a program's, see [`Accepted::From`].
    ///
    /// Process context, may sleep. The caller has seen to it that the
    /// program may have the port: capabilities are not looked at, but security modules are asked.
    ///
    /// # Errors
    ///
    /// What socket(2), bind(2) and listen(2) return, or `prepare`.
    ///
    /// [`Accepted::From`]: super::Accepted::From
    pub fn beside(
        &self,
        addr: SocketAddr,
        backlog: i32,
        prepare: impl FnOnce(&Socket) -> Result,
    ) -> Result<KernelSocket<Tcp>> {
        // It is one of IPv4 or IPv6 then.
        build_assert!(T::PROTOCOL.is_some());

        let sk = self.as_raw();
        // SAFETY: The socket is valid and keeps its namespace.
        let (net, is_kernel) = unsafe {
            (
                bindings::sock_net(sk),
                bindings::sock_common::skc_net_refcnt_raw(&raw const (*sk).__sk_common) == 0,
            )
        };
        let (kind, protocol) = (bindings::sock_type_SOCK_STREAM, bindings::IPPROTO_TCP);
        // CAST: Small constants.
        let new = NewSocket::create(net, T::FAMILY, kind as i32, protocol as i32, is_kernel)?;
        {
            let _guard = self.lock();
            // SAFETY: Nobody else knows of the new one, and this one is locked.
            unsafe { bindings::sk_take_over((*new.as_raw()).sk, sk) };
        }
        // SAFETY: By its type invariants it is valid, and was allocated by `sock_alloc`.
        prepare(unsafe { Socket::from_raw(new.as_raw()) })?;
        // SAFETY: By its type invariants it is valid, and ours alone. It is one of TCP, as it was made
        // for that, with a `struct sock` where nothing was installed.
        let listener: KernelSocket<Tcp> = unsafe { KernelSocket::from_raw(new.into_raw()) };
        listener.bind_permitted(addr)?;
        listener.listen_permitted(backlog)?;
        Ok(listener)
    }
}
