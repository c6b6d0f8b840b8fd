// SPDX-License-Identifier: GPL-2.0

//! Functions that C code calls, and the tables that refer to them.

mod calls;
mod options;
mod transfer;

use super::{
    native::Native,
    typed_sock::{
        alloc,
        complete, //
    },
    Head,
    Ops,
    StaticProto,
    TypedSock, //
};

use crate::{
    bindings,
    error::from_result,
    module::this_module,
    net::{
        namespace::Namespace,
        socket::Socket, //
    },
    prelude::*,
    sync::atomic::Release, //
};

use core::marker::PhantomData;

/// The functions that C code calls, and the tables that refer to them.
pub(super) struct Glue<T: Ops>(PhantomData<T>);

impl<T: Ops> Glue<T> {
    pub(super) const FAMILY: &'static bindings::net_proto_family = &bindings::net_proto_family {
        family: T::FAMILY,
        create: Some(Self::create),
        owner: this_module::<T::OwnerModule>().as_ptr(),
    };

    pub(super) const OPS: &'static bindings::proto_ops = &bindings::proto_ops {
        family: T::FAMILY,
        owner: this_module::<T::OwnerModule>().as_ptr(),
        release: Some(Self::release),
        bind: if T::HAS_BIND {
            Some(Self::bind)
        } else {
            Some(bindings::sock_no_bind)
        },
        connect: if T::HAS_CONNECT {
            Some(Self::connect)
        } else {
            Some(bindings::sock_no_connect)
        },
        socketpair: Some(bindings::sock_no_socketpair),
        accept: if T::HAS_ACCEPT {
            Some(Self::accept)
        } else {
            Some(bindings::sock_no_accept)
        },
        getname: if T::HAS_GETNAME {
            Some(Self::getname)
        } else {
            Some(bindings::sock_no_getname)
        },
        poll: if T::HAS_POLL { Some(Self::poll) } else { None },
        ioctl: if T::HAS_IOCTL {
            Some(Self::ioctl)
        } else {
            Some(bindings::sock_no_ioctl)
        },
        gettstamp: Some(bindings::sock_gettstamp),
        listen: if T::HAS_LISTEN {
            Some(Self::listen)
        } else {
            Some(bindings::sock_no_listen)
        },
        shutdown: if T::HAS_SHUTDOWN {
            Some(Self::shutdown)
        } else {
            Some(bindings::sock_no_shutdown)
        },
        // If these are not set, the socket layer returns `EOPNOTSUPP`.
        setsockopt: if T::HAS_SETSOCKOPT {
            Some(Self::setsockopt)
        } else {
            None
        },
        getsockopt_iter: if T::HAS_GETSOCKOPT {
            Some(Self::getsockopt)
        } else {
            None
        },
        sendmsg: if T::HAS_SENDMSG {
            Some(Self::sendmsg)
        } else {
            Some(bindings::sock_no_sendmsg)
        },
        recvmsg: if T::HAS_RECVMSG {
            Some(Self::recvmsg)
        } else {
            Some(bindings::sock_no_recvmsg)
        },
        mmap: Some(bindings::sock_no_mmap),
        splice_read: if T::HAS_SPLICE_LEN {
            Some(Self::splice_read)
        } else {
            None
        },
        splice_eof: if T::HAS_SPLICE_EOF {
            Some(Self::splice_eof)
        } else {
            None
        },
        set_peek_off: if T::PEEK_OFFSET {
            Some(bindings::sk_set_peek_off)
        } else {
            None
        },
        ..pin_init::zeroed()
    };

    const CUSTOM_SOL_SOCKET: bool = T::HAS_SETSOCKOPT && T::CUSTOM_SOL_SOCKET;

    /// Returns the `TypedSock` of a socket that has these operations.
    ///
    /// # Safety
    ///
    /// For the duration of `'a`, `socket` must be a valid socket that has these operations and a
    /// `struct sock`.
    #[inline]
    unsafe fn sk<'a>(socket: *mut bindings::socket) -> &'a TypedSock<T> {
        // SAFETY: The socket is valid. Since it has these operations, its `struct sock` was
        // initialised by `alloc` or `complete`.
        unsafe { TypedSock::from_raw((*socket).sk) }
    }

    /// Performs an operation, or performs it with the native socket if the socket has fallen back.
    ///
    /// The fallback may happen during the operation: calls that came through the file before still
    /// arrive here.
    ///
    /// # Safety
    ///
    /// As for [`Self::sk`]. Also, `socket` must have been allocated by `sock_alloc` or
    /// `sock_create_lite`, as all sockets passed to operations are.
    #[inline]
    unsafe fn perform<'a>(
        socket: *mut bindings::socket,
        operation: impl FnOnce(&'a Socket, &'a TypedSock<T>) -> Result<c_int>,
        native_operation: impl FnOnce(
            *mut bindings::socket,
            &'static bindings::proto_ops,
        ) -> Option<c_int>,
    ) -> c_int {
        // SAFETY: The requirements of `sk` are those of this function.
        let sk = unsafe { Self::sk(socket) };
        if !sk.has_fallen_back() {
            // SAFETY: The safety requirements guarantee that `socket` was allocated so.
            let result = from_result(|| operation(unsafe { Socket::from_raw(socket) }, sk));
            if result >= 0 || !sk.has_fallen_back() {
                return result;
            }
        }
        sk.native()
            .in_use()
            // SAFETY: The native socket is valid until `socket` is released, and its module stays
            // loaded as long.
            .and_then(|native| native_operation(native, unsafe { &*(*native).ops }))
            .unwrap_or(EOPNOTSUPP.to_errno())
    }

    /// Asks the security modules about the native socket, in a family that has such sockets. The
    /// socket layer has asked them about the socket in front, but they decide by the protocol. An
    /// accepted socket gets its native socket now, so that policy is asked about that one.
    ///
    /// # Safety
    ///
    /// As for [`Self::perform`].
    #[inline]
    unsafe fn ask_security(
        socket: *mut bindings::socket,
        ask: impl FnOnce(*mut bindings::socket) -> c_int,
    ) -> c_int {
        if T::PROTOCOL.is_none() {
            return 0;
        }
        // SAFETY: The safety requirements are those of `sk` and `from_raw`.
        let (sk, socket) = unsafe { (Self::sk(socket), Socket::from_raw(socket)) };
        from_result(|| sk.native_or_new(socket).map(ask))
    }

    /// Sets the flags of a new socket that tell the socket layer what its operations support.
    pub(super) fn prepare(socket: &Socket) {
        if Self::CUSTOM_SOL_SOCKET {
            socket.set_custom_sockopt();
        }
        if T::HAS_SENDMSG && T::ZEROCOPY {
            socket.set_support_zerocopy();
        }
    }

    /// # Safety
    ///
    /// Must only be called by `__sock_create`.
    unsafe extern "C" fn create(
        net: *mut bindings::net,
        socket: *mut bindings::socket,
        protocol: c_int,
        kern: c_int,
    ) -> c_int {
        from_result(|| {
            // SAFETY: The caller has just allocated the socket by `sock_alloc`.
            let new = unsafe { Socket::from_raw(socket) };
            // The namespace of a program is alive. But one where the kernel creates a socket for
            // itself may be in the process of being destroyed.
            // SAFETY: The caller guarantees that the memory of the namespace is valid.
            let net = unsafe { Namespace::try_get(net) }.ok_or(EAFNOSUPPORT)?;
            let init = T::create(&net, new.sock_type(), protocol)?;

            // SAFETY: The namespace is alive, and the socket is new.
            unsafe { alloc::<T>(net.as_raw(), socket, protocol, kern != 0, None, init) }?;
            // SAFETY: The socket is valid and nothing else refers to it.
            unsafe { (*socket).ops = T::Proto::get().ops };
            Self::prepare(new);
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Must only be called by `inet_create` and `inet6_create`.
    pub(super) unsafe extern "C" fn init_sock(sk: *mut bindings::sock) -> c_int {
        from_result(|| {
            // SAFETY: The caller has initialised the `struct sock`, and nothing else refers to it.
            let raw = unsafe { (*sk).sk_socket };
            // SAFETY: The caller has a `struct socket` for it, which was allocated by `sock_alloc`.
            let socket = unsafe { Socket::from_raw(raw) };
            // SAFETY: The `struct sock` keeps at least the memory of its namespace. See `create`.
            let net = unsafe { Namespace::try_get(bindings::sock_net(sk)) }.ok_or(EAFNOSUPPORT)?;
            // SAFETY: As above.
            let protocol = c_int::from(unsafe { (*sk).sk_protocol });

            let kind = socket.sock_type();
            let init = T::create(&net, kind, protocol)?;
            // SAFETY: The caller has initialised the `struct sock`.
            let is_kernel = unsafe {
                bindings::sock_common::skc_net_refcnt_raw(&raw const (*sk).__sk_common) == 0
            };
            // SAFETY: The namespace is alive.
            let native = unsafe { Native::create(net.as_raw(), T::FAMILY, kind, is_kernel) }?;
            // SAFETY: The caller has allocated and initialised `sk` with `T::Proto`, and nothing
            // else refers to it.
            unsafe { complete::<T>(sk, Some(native), init) }?;
            Self::prepare(socket);
            Ok(0)
        })
    }

    /// Called by `sk_common_release` if the creation of a socket fails.
    ///
    /// # Safety
    ///
    /// No requirements: the function does nothing.
    pub(super) unsafe extern "C" fn unhash(_sk: *mut bindings::sock) {}

    /// Called by `sk_common_release` as well.
    ///
    /// # Safety
    ///
    /// Must only be called for a socket that nothing else refers to.
    pub(super) unsafe extern "C" fn destroy(sk: *mut bindings::sock) {
        // SAFETY: The socket was allocated with `T::Proto`, which has this function, and nothing
        // uses its native socket. No program has ever had it.
        unsafe { TypedSock::<T>::native_of(sk).close(core::ptr::null_mut()) };
    }

    /// # Safety
    ///
    /// Must only be called for a socket made by `alloc` or `complete`, when its last reference is
    /// gone.
    pub(super) unsafe extern "C" fn destruct(sk: *mut bindings::sock) {
        // SAFETY: The socket is valid until this function returns.
        unsafe { bindings::sock_prot_inuse_add(bindings::sock_net(sk), (*sk).sk_prot_creator, -1) };
        // SAFETY: The socket is not in use any more, and its queues were initialised.
        unsafe { bindings::sk_purge_errors(sk) };
        // SAFETY: The data was initialised before this function became the destructor. It is not in
        // use any more, and only this function drops it, once.
        unsafe { TypedSock::<T>::drop_data(sk) };
        if T::Head::INET {
            // SAFETY: By the requirements of `Head`, the socket begins with a `struct inet_sock`.
            unsafe { bindings::inet_sock_end(sk) };
        }
        // The caller frees the memory, and puts the module after that.
        T::Proto::get().live.fetch_sub(1, Release);
    }

    /// # Safety
    ///
    /// Must only be called through `OPS`, as the last operation of the socket.
    unsafe extern "C" fn release(socket: *mut bindings::socket) -> c_int {
        // SAFETY: The caller passes a valid socket.
        let sk = unsafe { (*socket).sk };
        if sk.is_null() {
            // A socket for accept(2), which has failed.
            return 0;
        }

        // SAFETY: The `struct sock` of a socket of this family was made by `alloc` or `complete`.
        let this = unsafe { TypedSock::<T>::from_raw(sk) };
        T::release(this);
        // SAFETY: This is the last operation, so nothing uses the native socket any more.
        unsafe { this.native().close(socket) };
        if T::Head::INET {
            // SAFETY: By the requirements of `Head`, the socket begins with a `struct inet_sock`.
            unsafe { bindings::inet_sock_released(sk) };
        }

        // TCP orphans the socket before it has finished closing, since the connection outlives the
        // socket. Here the protocol has finished, and may have needed the wait queue for that.

        // SAFETY: We give up the reference that the socket had, and clear its pointer.
        unsafe {
            bindings::sock_orphan(sk);
            (*socket).sk = core::ptr::null_mut();
            bindings::sock_put(sk);
        }
        0
    }
}
