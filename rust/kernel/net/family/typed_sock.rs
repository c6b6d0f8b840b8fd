// SPDX-License-Identifier: GPL-2.0

//! Sockets of a family, with the family's data.

use super::{
    glue::Glue,
    native::Native,
    new_socket::NewSocket,
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

/// A socket of a family, with the family's data.
///
/// # Invariants
///
/// - The object was allocated by `sk_alloc` with a [`Proto`](super::Proto) that has its size. So
///   all of it belongs to the `struct sock` that it begins with, and is freed with it. The object
///   is aligned.
/// - All fields are initialised, and they do not move until `sk_destruct` drops `data`.
/// - The invariants of [`Sock`] hold for the `struct sock` at the beginning.
#[repr(C)]
pub struct TypedSock<T: Ops> {
    head: T::Head,
    native: Native,
    data: T::Data,
}

impl<T: Ops> TypedSock<T> {
    /// Returns the family's data.
    #[inline]
    pub fn data(&self) -> Pin<&T::Data> {
        // SAFETY: By the type invariants the data does not move.
        unsafe { Pin::new_unchecked(&self.data) }
    }

    /// Converts a socket to a socket of the family, if it is one.
    pub fn of(sk: &Sock) -> Option<&Self> {
        // SAFETY: The socket is valid by the type invariants of `Sock`. Its protocol is set on
        // allocation and does not change.
        let proto = unsafe { (*sk.as_raw()).__sk_common.skc_prot };

        if !core::ptr::eq(proto, T::Proto::get().as_raw()) {
            return None;
        }
        // SAFETY: Sockets of this protocol are allocated by `alloc` or `Child::new`, or by the
        // internet families with `Proto`; all of them establish the type invariants before a `Sock`
        // can refer to the socket. The returned reference lives as long as the reference to the
        // `Sock`, so the data is not dropped.
        Some(unsafe { Self::from_raw(sk.as_raw()) })
    }

    /// Returns the place of the native socket.
    #[inline]
    pub(super) fn native(&self) -> &Native {
        &self.native
    }

    /// Returns the place of the native socket of an object that may be incomplete.
    ///
    /// # Safety
    ///
    /// For the duration of `'a`, `sk` must point to an object that was allocated as the type
    /// invariants say. Such an object is zeroed at first, which is a valid [`Native`].
    pub(super) unsafe fn native_of<'a>(sk: *mut bindings::sock) -> &'a Native {
        // SAFETY: The safety requirements guarantee that the object is allocated and that its
        // `Native` is valid.
        unsafe { &(*sk.cast::<Self>()).native }
    }

    /// # Safety
    ///
    /// `sk` must point to an object that fulfils the type invariants for the duration of `'a`.
    #[inline]
    pub(super) unsafe fn from_raw<'a>(sk: *mut bindings::sock) -> &'a Self {
        // SAFETY: The safety requirements guarantee that the object fulfils the type invariants.
        unsafe { &*sk.cast() }
    }

    /// Drops the family's data.
    ///
    /// # Safety
    ///
    /// `sk` must point to an object that fulfils the type invariants. Its data must not be used any
    /// more, and must not be dropped again.
    pub(super) unsafe fn drop_data(sk: *mut bindings::sock) {
        // SAFETY: By the type invariants the data is initialised; the safety requirements guarantee
        // the rest.
        unsafe { core::ptr::drop_in_place(addr_of_mut!((*sk.cast::<Self>()).data)) };
    }
}

impl<T: Ops> Deref for TypedSock<T> {
    type Target = Sock;

    #[inline]
    fn deref(&self) -> &Sock {
        // SAFETY: By the requirements of `Head` the object begins with a `Sock`, whose invariants
        // hold by the type invariants.
        unsafe { &*(&raw const self.head).cast() }
    }
}

// SAFETY: The reference count is that of the `struct sock` at the beginning, which is valid by the
// type invariants. The data is dropped when the `struct sock` is freed.
unsafe impl<T: Ops> AlwaysRefCounted for TypedSock<T> {
    #[inline]
    fn inc_ref(&self) {
        (**self).inc_ref();
    }

    #[inline]
    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: This `repr(C)` type begins with a `Sock`, and the requirements are the same.
        unsafe { Sock::dec_ref(obj.cast()) };
    }
}

/// The origin of the socket that accept(2) returns.
pub enum Accepted<T: Ops> {
    /// A new socket of the family.
    Child(Child<T>),
    /// The next connection of this listening socket, which has the same address family. The program
    /// gets the connection as it is.
    From(Arc<KernelSocket<Tcp>>),
}

/// A socket that does not belong to a file yet, to be returned by [`Ops::accept`].
///
/// If this is dropped, the socket is freed without a call of [`Ops::release`].
///
/// # Invariants
///
/// The socket has never had a `struct socket`.
pub struct Child<T: Ops>(ARef<TypedSock<T>>);

impl<T: Ops> Child<T> {
    /// Creates a socket like `parent`, in the same network namespace.
    ///
    /// The socket inherits the options of [`SOL_SOCKET`](crate::net::sockopt::SOL_SOCKET) that the
    /// children of a listening TCP socket inherit, except `SO_PRIORITY`, as far as they mean
    /// anything to such a socket: buffer sizes, `SO_RCVLOWAT`, timeouts, `SO_LINGER`,
    /// `SO_KEEPALIVE`, `SO_OOBINLINE`, `SO_REUSEADDR`, `SO_REUSEPORT`, `SO_MARK`, `SO_BINDTODEVICE`
    /// and so on. It has the security label of `parent`. It is accounted to the control group of
    /// the current task, and will belong to the user who accepts it.
    ///
    /// Process context; takes the lock of `parent`.
    pub fn new(parent: &TypedSock<T>, init: impl PinInit<T::Data, Error>) -> Result<Self> {
        let raw = parent.as_raw();

        // SAFETY:
        // - `parent` is a valid socket, and keeps its network namespace alive, or, if it belongs to
        //   the kernel, the memory of the namespace. The new socket does the same.
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
            // SAFETY: Nothing else refers to the new socket, and `parent` is locked.
            unsafe { bindings::sk_inherit(sk.as_ptr(), raw) };
        }

        // SAFETY: `alloc` has returned a complete socket with one reference, whose ownership passes
        // to the `ARef`.
        //
        // INVARIANT: The socket was allocated without a `struct socket`.
        Ok(Self(unsafe { ARef::from_raw(sk.cast()) }))
    }
}

impl<T: Ops> Child<T> {
    /// Returns the socket with its reference. It has no `struct socket`.
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
/// - `net` must be valid, and must be alive unless `kern` is set.
/// - `socket` must be null, or valid and without a `struct sock`; on success it refers to the new
///   one.
pub(super) unsafe fn alloc<T: Ops>(
    net: *mut bindings::net,
    socket: *mut bindings::socket,
    protocol: c_int,
    kern: bool,
    native: Option<NewSocket>,
    init: impl PinInit<T::Data, Error>,
) -> Result<NonNull<bindings::sock>> {
    let proto = T::Proto::get().as_raw();

    // SAFETY: By the safety requirements `net` is valid, and alive if the socket is to keep it so.
    // `proto` is valid by its type invariants.
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

    // SAFETY: `sk` was just allocated, and by the safety requirements `socket` is null, or valid
    // and without a `struct sock`.
    unsafe { bindings::sock_init_data(socket, sk) };

    // SAFETY: Nothing else refers to the socket. The origin of `protocol` truncates it in the same
    // way, if at all.
    unsafe { (*sk).sk_protocol = protocol as u16 };
    if T::Head::INET {
        // SAFETY: By the requirements of `Head`, the socket begins with a `struct inet_sock`.
        unsafe { bindings::inet_sock_init(sk) };
    }

    // SAFETY: The socket is complete except for its data, and nothing else refers to it.
    if let Err(err) = unsafe { complete::<T>(sk, native, init) } {
        // SAFETY: `sk` is valid and we own the reference to it. `socket` is null, or valid and ours
        // to change by the safety requirements.
        unsafe {
            bindings::sock_orphan(sk);
            if !socket.is_null() {
                (*socket).sk = core::ptr::null_mut();
            }
            bindings::sock_put(sk);
        }
        return Err(err);
    }

    // SAFETY: It was checked above that `sk` is not null.
    Ok(unsafe { NonNull::new_unchecked(sk) })
}

/// Initialises the data of a socket, and sets its destructor. On failure the native socket is
/// closed.
///
/// # Safety
///
/// `sk` must have been allocated with the [`Proto`](super::Proto) of `T` and be initialised except
/// for the data, and nothing else must refer to it.
pub(super) unsafe fn complete<T: Ops>(
    sk: *mut bindings::sock,
    native: Option<NewSocket>,
    init: impl PinInit<T::Data, Error>,
) -> Result {
    let this = sk.cast::<TypedSock<T>>();
    // SAFETY: By the type invariants of `Proto`, there is aligned room for a `TypedSock`.
    let slot = unsafe { addr_of_mut!((*this).data) };

    // SAFETY:
    // - `slot` is valid and uninitialised, and the socket does not move.
    // - On failure the socket is only freed: `sk_destruct` does not drop the data yet.
    unsafe { pin_init::raw_try_init(slot, init) }?;
    // SAFETY: As above; nothing can fail any more.
    unsafe { addr_of_mut!((*this).native).write(Native::new(native)) };

    // SAFETY: Nothing else refers to the socket, and its data was initialised above.
    unsafe { (*sk).sk_destruct = Some(Glue::<T>::destruct) };
    // SAFETY: The socket keeps the memory of its namespace, and the protocol is valid.
    unsafe { bindings::sock_prot_inuse_add(bindings::sock_net(sk), T::Proto::get().as_raw(), 1) };
    T::Proto::get().live.add(1, Relaxed);
    Ok(())
}
