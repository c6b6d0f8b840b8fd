// SPDX-License-Identifier: GPL-2.0

//! Sockets of a family, with the family's data.

use super::{
    glue::Glue,
    native::{
        Native,
        NewSocket, //
    },
    Head,
    Ops,
    StaticProto, //
};

use crate::{
    bindings,
    net::{
        kernel_socket::{
            KernelSocket,
            Tcp, //
        },
        sock::Sock, //
    },
    prelude::*,
    sync::{
        aref::{
            ARef,
            AlwaysRefCounted, //
        },
        atomic::Relaxed,
        Arc, //
    }, //
};

use core::{
    ops::Deref,
    ptr::{
        addr_of_mut,
        NonNull, //
    },
};

/// A socket of a family, with the data that the family keeps for it.
///
/// # Invariants
///
/// - The object was allocated by `sk_alloc` with a [`Proto`](super::Proto) that has its size, so
///   that all of it belongs to the `struct sock` that it begins with and is freed with it.
/// - All fields are initialised, and they do not move until `data` is dropped by `sk_destruct`.
/// - The invariants of [`Sock`] hold for what it begins with.
#[repr(C)]
pub struct TypedSock<T: Ops> {
    head: T::Head,
    native: Native,
    data: T::Data,
}

impl<T: Ops> TypedSock<T> {
    /// Returns the data of the family.
    #[inline]
    pub fn data(&self) -> Pin<&T::Data> {
        // SAFETY: By the type invariants the data do not move.
        unsafe { Pin::new_unchecked(&self.data) }
    }

    /// Returns a socket as one of the family, if it is one.
    pub fn of(sk: &Sock) -> Option<&Self> {
        // SAFETY: The socket is valid by the type invariants of `Sock`, and its protocol is set when
        // it is allocated and stays.
        let proto = unsafe { (*sk.as_raw()).__sk_common.skc_prot };

        if !core::ptr::eq(proto, T::Proto::get().as_raw()) {
            return None;
        }
        // SAFETY: Sockets of this protocol are allocated by `alloc` or by `Child::new`, or with
        // `Proto` by the internet families, which fulfil the type invariants before anybody can have
        // a `Sock` of them. The reference lives as long as that to the `Sock`, and so the data are
        // not dropped.
        Some(unsafe { Self::from_raw(sk.as_raw()) })
    }

    /// Returns where the native socket is, if there is one.
    #[inline]
    pub(super) fn native(&self) -> &Native {
        &self.native
    }

    /// Returns the same of an object that need not be complete.
    ///
    /// # Safety
    ///
    /// For as long as `'a`, `sk` must point to an object that was allocated as the type invariants
    /// say, by which it is zero at first: that is a [`Native`] too.
    pub(super) unsafe fn native_of<'a>(sk: *mut bindings::sock) -> &'a Native {
        // SAFETY: This is required of the caller.
        unsafe { &(*sk.cast::<Self>()).native }
    }

    /// # Safety
    ///
    /// `sk` must point to an object that fulfils the type invariants for as long as `'a`.
    #[inline]
    pub(super) unsafe fn from_raw<'a>(sk: *mut bindings::sock) -> &'a Self {
        // SAFETY: This is required of the caller.
        unsafe { &*sk.cast() }
    }

    /// Drops the data of the family.
    ///
    /// # Safety
    ///
    /// `sk` must point to an object that fulfils the type invariants. Nobody must use its data any
    /// more, nor drop them again.
    pub(super) unsafe fn drop_data(sk: *mut bindings::sock) {
        // SAFETY: By the type invariants the data are initialised; the rest is required of the
        // caller.
        unsafe { core::ptr::drop_in_place(addr_of_mut!((*sk.cast::<Self>()).data)) };
    }
}

impl<T: Ops> Deref for TypedSock<T> {
    type Target = Sock;

    #[inline]
    fn deref(&self) -> &Sock {
        // SAFETY: By the requirements of `Head` the object begins with a `Sock`, for which the
        // invariants hold by those of the type.
        unsafe { &*(&raw const self.head).cast() }
    }
}

// SAFETY: The reference count is that of the `struct sock` at the beginning, which is valid by the
// type invariants and takes the data along when it is freed.
unsafe impl<T: Ops> AlwaysRefCounted for TypedSock<T> {
    #[inline]
    fn inc_ref(&self) {
        (**self).inc_ref();
    }

    #[inline]
    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: A `Sock` is what this `repr(C)` type begins with, and the requirements are the
        // same.
        unsafe { Sock::dec_ref(obj.cast()) };
    }
}

/// Where the socket comes from that accept(2) returns.
pub enum Accepted<T: Ops> {
    /// One of the family.
    Child(Child<T>),
    /// The next connection of this listening socket, whose address family is the same. It becomes
    /// the program's as it is.
    From(Arc<KernelSocket<Tcp>>),
}

/// A socket that does not belong to any file yet: what [`Ops::accept`] may return.
///
/// If it is dropped instead then the socket is freed, without a call of [`Ops::release`].
///
/// # Invariants
///
/// The socket has no `struct socket`, and has never had one.
pub struct Child<T: Ops>(ARef<TypedSock<T>>);

impl<T: Ops> Child<T> {
    /// Creates a socket like `parent`, in the same network namespace.
    ///
    /// It inherits the options of [`SOL_SOCKET`](crate::net::sockopt::SOL_SOCKET) that the children
    /// of a listening TCP socket inherit, that is all but `SO_PRIORITY` that mean anything to such a
    /// socket: buffer sizes, `SO_RCVLOWAT`, timeouts, `SO_LINGER`, `SO_KEEPALIVE`, `SO_OOBINLINE`,
    /// `SO_REUSEADDR`, `SO_REUSEPORT`, `SO_MARK`, `SO_BINDTODEVICE` and so on. Its security label is
    /// the parent's. It is accounted to the control group of the current task, and will belong to
    /// the user who accepts it.
    ///
    /// Process context; takes the lock of `parent`.
    pub fn new(parent: &TypedSock<T>, init: impl PinInit<T::Data, Error>) -> Result<Self> {
        let raw = parent.as_raw();

        // SAFETY:
        // - `parent` is a valid socket, and keeps its network namespace.
        // - There is no `struct socket`.
        let sk = unsafe {
            alloc::<T>(
                bindings::sock_net(raw),
                core::ptr::null_mut(),
                c_int::from((*raw).sk_protocol),
                bindings::sock_common::skc_net_refcnt_raw(&raw const (*raw).__sk_common) == 0,
                None,
                init,
            )
        }?;

        {
            let _guard = parent.lock();
            // SAFETY: Nobody else knows of the new socket, and the other one is locked.
            unsafe { bindings::sk_inherit(sk.as_ptr(), raw) };
        }

        // SAFETY: `alloc` has returned a complete socket with one reference, which is handed over.
        //
        // INVARIANT: It was allocated without any `struct socket`.
        Ok(Self(unsafe { ARef::from_raw(sk.cast()) }))
    }
}

impl<T: Ops> Child<T> {
    /// Returns the socket, with the reference to it. It has no `struct socket`.
    pub(super) fn into_raw(self) -> NonNull<bindings::sock> {
        ARef::into_raw(self.0).cast()
    }
}

impl<T: Ops> Deref for Child<T> {
    type Target = ARef<TypedSock<T>>;

    #[inline]
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

/// Allocates a socket with its data, with one reference for the caller.
///
/// # Safety
///
/// - `net` must be valid.
/// - `socket` must be null, or valid and without a `struct sock`; then it refers to the new one, if
///   there is no error.
pub(super) unsafe fn alloc<T: Ops>(
    net: *mut bindings::net,
    socket: *mut bindings::socket,
    protocol: c_int,
    kern: bool,
    native: Option<NewSocket>,
    init: impl PinInit<T::Data, Error>,
) -> Result<NonNull<bindings::sock>> {
    let proto = T::Proto::get().as_raw();

    // SAFETY: `net` is valid by the safety requirements, and `proto` by its type invariants.
    let sk = NonNull::new(unsafe {
        bindings::sk_alloc(
            net,
            T::FAMILY,
            GFP_KERNEL_ACCOUNT.as_raw(),
            proto,
            c_int::from(kern),
        )
    })
    .ok_or(ENOBUFS)?
    .as_ptr();

    // SAFETY: `sk` was just allocated, and `socket` is as required.
    unsafe { bindings::sock_init_data(socket, sk) };

    // SAFETY: Nobody else knows of the socket. The protocol was truncated in the same way where
    // `protocol` comes from, if at all.
    unsafe { (*sk).sk_protocol = protocol as u16 };
    if T::Head::INET {
        // SAFETY: By the requirements of `Head` it is one of IPv4 or IPv6.
        unsafe { bindings::inet_sock_init(sk) };
    }

    // SAFETY: The socket is complete but for its data, and nobody else knows of it.
    if let Err(err) = unsafe { complete::<T>(sk, native, init) } {
        // SAFETY: `sk` is valid and the reference to it is ours. `socket` is as required.
        unsafe {
            bindings::sock_orphan(sk);
            if !socket.is_null() {
                (*socket).sk = core::ptr::null_mut();
            }
            bindings::sock_put(sk);
        }
        return Err(err);
    }

    // SAFETY: It was checked above that this is not null.
    Ok(unsafe { NonNull::new_unchecked(sk) })
}

/// Initialises the data of a socket, which has a destructor of its own from then on. A native socket
/// is closed if that fails.
///
/// # Safety
///
/// `sk` must have been allocated with the [`Proto`](super::Proto) of `T` and be initialised but for
/// the data, and nobody else must know of it.
pub(super) unsafe fn complete<T: Ops>(
    sk: *mut bindings::sock,
    native: Option<NewSocket>,
    init: impl PinInit<T::Data, Error>,
) -> Result {
    let this = sk.cast::<TypedSock<T>>();
    // SAFETY: By the type invariants of `Proto` there is room for a `TypedSock`.
    let slot = unsafe { addr_of_mut!((*this).data) };

    // SAFETY:
    // - `slot` is valid, and uninitialised; the socket does not move.
    // - In the case of an error it is only freed: `sk_destruct` does not know of the data so far.
    unsafe { pin_init::raw_try_init(slot, init) }?;
    // SAFETY: As above; nothing can fail any more.
    unsafe { addr_of_mut!((*this).native).write(Native::new(native)) };

    // SAFETY: Nobody else has seen the socket, and its data are initialised now.
    unsafe { (*sk).sk_destruct = Some(Glue::<T>::destruct) };
    // SAFETY: Both are valid.
    unsafe { bindings::sock_prot_inuse_add(bindings::sock_net(sk), T::Proto::get().as_raw(), 1) };
    T::Proto::get().live.add(1, Relaxed);
    Ok(())
}
