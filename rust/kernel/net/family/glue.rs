// SPDX-License-Identifier: GPL-2.0

//! What C code calls, and the tables in which it finds it.

mod calls;

use super::{
    typed_sock::{
        alloc,
        complete, //
    },
    Head,
    Ops,
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
    prelude::*, //
};

use core::marker::PhantomData;

/// The functions that C code calls, and the tables in which it finds them.
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
        // Without these the socket layer answers with `EOPNOTSUPP`.
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
        set_peek_off: if T::PEEK_OFFSET {
            Some(bindings::sk_set_peek_off)
        } else {
            None
        },
        ..pin_init::zeroed()
    };

    const CUSTOM_SOL_SOCKET: bool = T::HAS_SETSOCKOPT && T::CUSTOM_SOL_SOCKET;

    /// Returns the `struct sock` of a socket that was made with these operations, or [`None`] if it
    /// has given way to another.
    ///
    /// # Safety
    ///
    /// `socket` must be a valid socket that has a `struct sock`, for as long as `'a`, and have or
    /// have had these operations.
    #[inline]
    unsafe fn sk<'a>(socket: *mut bindings::socket) -> Option<&'a TypedSock<T>> {
        // SAFETY: The socket is valid. What is read may be changed by `sock_give_way`, once.
        let sk = unsafe { (&raw const (*socket).sk).read_volatile() };

        // SAFETY: A socket refers to a valid `struct sock`, and to the former one as well, both for
        // as long as it lives. The protocol of ours never changes.
        if T::PROTOCOL.is_some() && unsafe { (*sk).__sk_common.skc_prot } != T::proto().as_raw() {
            return None;
        }
        // SAFETY: The protocol is this one, or cannot be another, so the object was made by `alloc`,
        // or by `complete`.
        Some(unsafe { TypedSock::from_raw(sk) })
    }

    /// Performs an operation, or passes it on if the socket has given way, be it on the way.
    ///
    /// # Safety
    ///
    /// As for [`Self::sk`]. Also, it must have been allocated by `sock_alloc` or `sock_create_lite`,
    /// which those of all operations were.
    #[inline]
    unsafe fn perform<'a>(
        socket: *mut bindings::socket,
        operation: impl FnOnce(&'a Socket, &'a TypedSock<T>) -> Result<c_int>,
        pass_on: impl FnOnce(&'static bindings::proto_ops) -> Option<c_int>,
    ) -> c_int {
        // SAFETY: This is required of the caller.
        if let Some(sk) = unsafe { Self::sk(socket) } {
            // SAFETY: So is this.
            let result = from_result(|| operation(unsafe { Socket::from_raw(socket) }, sk));
            // SAFETY: And this.
            if result >= 0 || unsafe { Self::sk(socket) }.is_some() {
                return result;
            }
        }
        // SAFETY: It has given way.
        pass_on(unsafe { Self::successor(socket) }).unwrap_or(EOPNOTSUPP.to_errno())
    }

    /// Returns the operations of a socket that has given way.
    ///
    /// # Safety
    ///
    /// `socket` must be a valid socket, and have given way.
    unsafe fn successor(socket: *mut bindings::socket) -> &'static bindings::proto_ops {
        loop {
            // SAFETY: The socket is valid.
            let ops = unsafe { (&raw const (*socket).ops).read_volatile() };

            if !core::ptr::eq(ops, T::proto().ops) {
                // SAFETY: The module that they belong to is not unloaded before the socket is
                // released.
                return unsafe { &*ops };
            }
            // They are replaced by the same function, after the `struct sock`; in between it may
            // wait for a grace period of RCU, which is not to be held up.
            // SAFETY: An operation runs in process context.
            unsafe { bindings::cond_resched() };
        }
    }

    /// Tells the socket layer what the operations of a new socket can do.
    fn prepare(socket: &Socket) {
        if Self::CUSTOM_SOL_SOCKET {
            socket.set_custom_sockopt();
        }
        if T::HAS_SENDMSG && T::ZEROCOPY {
            socket.set_support_zerocopy();
        }
    }

    /// # Safety
    ///
    /// Only called by `__sock_create`.
    unsafe extern "C" fn create(
        net: *mut bindings::net,
        socket: *mut bindings::socket,
        protocol: c_int,
        kern: c_int,
    ) -> c_int {
        from_result(|| {
            let init = T::create(
                // SAFETY: The caller guarantees that the namespace is valid.
                unsafe { Namespace::from_raw(net) },
                // SAFETY: The caller has just allocated the socket by `sock_alloc`.
                unsafe { Socket::from_raw(socket) },
                protocol,
            )?;

            // SAFETY: The caller guarantees that the namespace is valid, and the socket is new.
            unsafe { alloc::<T>(net, socket, protocol, kern != 0, init) }?;
            // SAFETY: The socket is valid and nobody else knows of it.
            unsafe { (*socket).ops = T::proto().ops };
            // SAFETY: The caller has just allocated the socket by `sock_alloc`.
            Self::prepare(unsafe { Socket::from_raw(socket) });
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Only called by `inet_create` and `inet6_create`.
    pub(super) unsafe extern "C" fn init_sock(sk: *mut bindings::sock) -> c_int {
        from_result(|| {
            // SAFETY: The caller has initialised the `struct sock`, but nobody else knows of it.
            let raw = unsafe { (*sk).sk_socket };
            // SAFETY: The caller has a socket for it, which was allocated by `sock_alloc`.
            let socket = unsafe { Socket::from_raw(raw) };
            // SAFETY: As in `create`.
            let net = unsafe { Namespace::from_raw(bindings::sock_net(sk)) };
            // SAFETY: As above.
            let protocol = c_int::from(unsafe { (*sk).sk_protocol });

            let init = T::create(net, socket, protocol)?;
            // SAFETY: The caller has allocated it by what `T::proto` says.
            unsafe { complete::<T>(sk, init) }?;
            Self::prepare(socket);
            Ok(0)
        })
    }

    /// Called by `sk_common_release` if a socket that was just made is not to be after all.
    ///
    /// # Safety
    ///
    /// Does nothing.
    pub(super) unsafe extern "C" fn unhash(_sk: *mut bindings::sock) {}

    /// # Safety
    ///
    /// Only called for a socket that was made by `alloc`, when its last reference has gone.
    pub(super) unsafe extern "C" fn destruct(sk: *mut bindings::sock) {
        // SAFETY: The socket is valid until this function returns.
        unsafe { bindings::sock_prot_inuse_add(bindings::sock_net(sk), (*sk).sk_prot_creator, -1) };
        // SAFETY: Nobody can use the socket any more, and its queues were initialised.
        unsafe { bindings::sk_purge_errors(sk) };
        // SAFETY: The data were initialised before this function became the destructor, nobody can
        // use them any more, and they are dropped once: here.
        unsafe { TypedSock::<T>::drop_data(sk) };
        if T::Head::INET {
            // SAFETY: By the requirements of `Head` it is one of IPv4 or IPv6.
            unsafe { bindings::inet_sock_end(sk) };
        }
    }

    /// # Safety
    ///
    /// Only called through `OPS`, as the last operation of all.
    unsafe extern "C" fn release(socket: *mut bindings::socket) -> c_int {
        // SAFETY: The caller passes a valid socket.
        let sk = unsafe { (*socket).sk };
        if sk.is_null() {
            // One that was going to be accepted, and came to nothing.
            return 0;
        }

        // SAFETY: The `struct sock` of a socket of this family was made by `alloc`.
        T::release(unsafe { TypedSock::from_raw(sk) });
        if T::Head::INET {
            // SAFETY: By the requirements of `Head` it is one of IPv4 or IPv6.
            unsafe { bindings::inet_sock_released(sk) };
        }

        // TCP makes an orphan of the socket before it is through with closing since the connection
        // outlives it. Here the protocol is through, and may have needed the wait queue to be.

        // SAFETY: The reference that the socket had is given up here, and it forgets about it.
        unsafe {
            bindings::sock_orphan(sk);
            (*socket).sk = core::ptr::null_mut();
            bindings::sock_put(sk);
        }
        0
    }
}
