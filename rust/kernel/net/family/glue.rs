// SPDX-License-Identifier: GPL-2.0

//! What C code calls, and the tables in which it finds it.

use super::{
    typed_sock::alloc,
    IoctlArg,
    Name,
    Ops,
    TypedSock, //
};

use crate::{
    bindings,
    error::from_result,
    module::this_module,
    net::{
        addr::{
            RawAddr,
            SockAddrBuf, //
        },
        msghdr::MsgHdr,
        namespace::Namespace,
        socket::{
            How,
            Socket,
            SocketState, //
        },
        sockopt::{
            OptionIn,
            OptionOut, //
        }, //
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

    const OPS: &'static bindings::proto_ops = &bindings::proto_ops {
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
        ..pin_init::zeroed()
    };

    const CUSTOM_SOL_SOCKET: bool = T::HAS_SETSOCKOPT && T::CUSTOM_SOL_SOCKET;

    /// Returns the socket that an operation is about.
    ///
    /// # Safety
    ///
    /// `socket` must be a valid socket of this family that has a `struct sock`, for as long as `'a`.
    #[inline]
    unsafe fn sk<'a>(socket: *mut bindings::socket) -> &'a TypedSock<T::Data> {
        // SAFETY: The socket is of this family, so what it refers to, with a reference, was made by
        // `alloc`.
        unsafe { TypedSock::from_raw((*socket).sk) }
    }

    /// Returns both halves of the socket that an operation is about.
    ///
    /// # Safety
    ///
    /// As for [`Self::sk`]. Also, it must have been allocated by `sock_alloc` or `sock_create_lite`,
    /// which those of all operations were.
    #[inline]
    unsafe fn both<'a>(socket: *mut bindings::socket) -> (&'a Socket, &'a TypedSock<T::Data>) {
        // SAFETY: This is required of the caller.
        unsafe { (Socket::from_raw(socket), Self::sk(socket)) }
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
            unsafe { (*socket).ops = Self::OPS };
            if Self::CUSTOM_SOL_SOCKET {
                // SAFETY: The caller has just allocated the socket by `sock_alloc`.
                unsafe { Socket::from_raw(socket) }.set_custom_sockopt();
            }
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Only called for a socket that was made by `alloc`, when its last reference has gone.
    pub(super) unsafe extern "C" fn destruct(sk: *mut bindings::sock) {
        // SAFETY: The socket is valid until this function returns.
        unsafe { bindings::sock_prot_inuse_add(bindings::sock_net(sk), (*sk).sk_prot_creator, -1) };
        // SAFETY: The data were initialised before this function became the destructor, nobody can
        // use them any more, and they are dropped once: here.
        unsafe { TypedSock::<T::Data>::drop_data(sk) };
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

    /// # Safety
    ///
    /// Only called through `OPS`.
    unsafe extern "C" fn bind(
        socket: *mut bindings::socket,
        addr: *mut bindings::sockaddr_unsized,
        len: c_int,
    ) -> c_int {
        from_result(|| {
            // SAFETY: The caller passes the length of the address, of which it has a copy.
            let addr = unsafe { RawAddr::from_raw(addr.cast(), len) }?;
            // SAFETY: The caller passes a socket of this family.
            let (socket, sk) = unsafe { Self::both(socket) };
            T::bind(socket, sk, &addr)?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Only called through `OPS`.
    unsafe extern "C" fn connect(
        socket: *mut bindings::socket,
        addr: *mut bindings::sockaddr_unsized,
        len: c_int,
        flags: c_int,
    ) -> c_int {
        from_result(|| {
            // SAFETY: The caller passes the length of the address, of which it has a copy.
            let addr = unsafe { RawAddr::from_raw(addr.cast(), len) }?;
            // SAFETY: The caller passes a socket of this family.
            let (socket, sk) = unsafe { Self::both(socket) };
            T::connect(socket, sk, &addr, is_nonblock(flags))?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Only called through `OPS`.
    unsafe extern "C" fn accept(
        socket: *mut bindings::socket,
        new: *mut bindings::socket,
        arg: *mut bindings::proto_accept_arg,
    ) -> c_int {
        from_result(|| {
            // SAFETY: The caller passes valid arguments.
            let nonblock = is_nonblock(unsafe { (*arg).flags });
            // SAFETY: The caller passes a socket of this family.
            let (socket, sk) = unsafe { Self::both(socket) };
            let sk = T::accept(socket, sk, nonblock)?.into_raw();

            // SAFETY: `new` was just allocated and has no `struct sock`; by the type invariants of
            // `Child` the other one has no `struct socket`. The reference goes to `new`.
            unsafe { bindings::sock_graft(sk.as_ptr(), new) };
            // SAFETY: The caller passes a socket that was allocated by `sock_alloc` or
            // `sock_create_lite`.
            let new = unsafe { Socket::from_raw(new) };
            if Self::CUSTOM_SOL_SOCKET {
                new.set_custom_sockopt();
            }
            new.set_state(SocketState::Connected);
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Only called through `OPS`.
    unsafe extern "C" fn getname(
        socket: *mut bindings::socket,
        addr: *mut bindings::sockaddr,
        peer: c_int,
    ) -> c_int {
        from_result(|| {
            // SAFETY: The caller passes a socket of this family.
            let name = T::getname(unsafe { Self::sk(socket) }, Name::from_raw(peer))?;
            let name = SockAddrBuf::from(name);
            let bytes = name.as_bytes();

            // SAFETY: The caller passes room for a `struct sockaddr_storage`, which is larger than
            // any `SockAddrBuf`.
            unsafe {
                core::ptr::copy_nonoverlapping(bytes.as_ptr(), addr.cast::<u8>(), bytes.len())
            };
            Ok(name.c_len())
        })
    }

    /// # Safety
    ///
    /// Only called through `OPS`.
    unsafe extern "C" fn poll(
        file: *mut bindings::file,
        socket: *mut bindings::socket,
        wait: *mut bindings::poll_table_struct,
    ) -> bindings::__poll_t {
        // SAFETY: All arguments are the caller's.
        unsafe { bindings::sock_poll_wait(file, socket, wait) };
        // SAFETY: The caller passes a socket of this family.
        T::poll(unsafe { Self::sk(socket) })
    }

    /// # Safety
    ///
    /// Only called through `OPS`.
    unsafe extern "C" fn ioctl(socket: *mut bindings::socket, cmd: c_uint, arg: c_ulong) -> c_int {
        from_result(|| {
            // SAFETY: The caller passes a socket of this family.
            T::ioctl(unsafe { Self::sk(socket) }, cmd, IoctlArg::new(arg))
        })
    }

    /// # Safety
    ///
    /// Only called through `OPS`.
    unsafe extern "C" fn listen(socket: *mut bindings::socket, backlog: c_int) -> c_int {
        from_result(|| {
            // SAFETY: The caller passes a socket of this family.
            let (socket, sk) = unsafe { Self::both(socket) };
            // CAST: What a program says is not negative here any more, and what the kernel says is
            // taken in the same way by TCP.
            T::listen(socket, sk, backlog as u32)?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Only called through `OPS`.
    unsafe extern "C" fn shutdown(socket: *mut bindings::socket, how: c_int) -> c_int {
        from_result(|| {
            let how = How::try_from(how)?;
            // SAFETY: The caller passes a socket of this family.
            let (socket, sk) = unsafe { Self::both(socket) };
            T::shutdown(socket, sk, how)?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Only called through `OPS`.
    unsafe extern "C" fn setsockopt(
        socket: *mut bindings::socket,
        level: c_int,
        name: c_int,
        value: bindings::sockptr_t,
        len: c_uint,
    ) -> c_int {
        from_result(|| {
            // SAFETY: The caller passes a socket of this family.
            let (socket, sk) = unsafe { Self::both(socket) };
            // SAFETY: The caller passes where the value is, and its length.
            let value = unsafe { OptionIn::from_raw(value, len) };
            T::setsockopt(socket, sk, level, name, &value)?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Only called through `OPS`.
    unsafe extern "C" fn getsockopt(
        socket: *mut bindings::socket,
        level: c_int,
        name: c_int,
        opt: *mut bindings::sockopt_t,
    ) -> c_int {
        from_result(|| {
            // SAFETY: The caller passes a socket of this family.
            let (socket, sk) = unsafe { Self::both(socket) };
            // SAFETY: The caller passes this for nobody but us while it waits.
            let value = unsafe { OptionOut::from_raw(opt) };
            T::getsockopt(socket, sk, level, name, value)?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Only called through `OPS`.
    unsafe extern "C" fn sendmsg(
        socket: *mut bindings::socket,
        msg: *mut bindings::msghdr,
        len: usize,
    ) -> c_int {
        from_result(|| {
            // SAFETY: This is `sendmsg`, and the message is for nobody but us while it runs.
            let msg = unsafe { MsgHdr::from_raw(msg) };
            // SAFETY: The caller passes a socket of this family.
            T::sendmsg(unsafe { Self::sk(socket) }, msg, len).map(c_len)
        })
    }

    /// # Safety
    ///
    /// Only called through `OPS`.
    unsafe extern "C" fn recvmsg(
        socket: *mut bindings::socket,
        msg: *mut bindings::msghdr,
        len: usize,
        flags: c_int,
    ) -> c_int {
        from_result(|| {
            // SAFETY: This is `recvmsg`, and the message is for nobody but us while it runs.
            let msg = unsafe { MsgHdr::from_raw(msg) };
            // SAFETY: The caller passes a socket of this family.
            let sk = unsafe { Self::sk(socket) };
            // CAST: The bits remain the same.
            T::recvmsg(sk, msg, len, flags as u32).map(c_len)
        })
    }
}

/// Returns whether a call with these flags (of the file) shall not block.
#[inline]
fn is_nonblock(flags: c_int) -> bool {
    // CAST: The bits remain the same.
    flags as u32 & bindings::O_NONBLOCK != 0
}

/// Turns a number of bytes into what system calls return; they are never asked for more than that.
#[inline]
fn c_len(len: usize) -> c_int {
    c_int::try_from(len).unwrap_or(c_int::MAX)
}
