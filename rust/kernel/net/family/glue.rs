// SPDX-License-Identifier: GPL-2.0

//! What C code calls, and the tables in which it finds it.

use super::{
    typed_sock::{
        alloc,
        complete, //
    },
    Head,
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
            OptionOut,
            SOL_SOCKET, //
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
            // They are replaced by the same function, after the `struct sock`.
            core::hint::spin_loop();
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
            if Self::CUSTOM_SOL_SOCKET {
                // SAFETY: The caller has just allocated the socket by `sock_alloc`.
                unsafe { Socket::from_raw(socket) }.set_custom_sockopt();
            }
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
            if Self::CUSTOM_SOL_SOCKET {
                socket.set_custom_sockopt();
            }
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

    /// # Safety
    ///
    /// Only called through `OPS`.
    unsafe extern "C" fn bind(
        socket: *mut bindings::socket,
        addr: *mut bindings::sockaddr_unsized,
        len: c_int,
    ) -> c_int {
        let operation = |socket: &_, sk: &_| {
            // SAFETY: The caller passes the length of the address, of which it has a copy.
            let addr = unsafe { RawAddr::from_raw(addr.cast(), len) }?;
            T::bind(socket, sk, &addr)?;
            Ok(0)
        };
        // SAFETY: The caller passes a socket of this family; and what it has passed to us.
        unsafe {
            Self::perform(socket, operation, |ops| {
                checked(bindings::sock_may_bind(socket, addr.cast(), len), || {
                    Some(ops.bind?(socket, addr, len))
                })
            })
        }
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
        let operation = |socket: &_, sk: &_| {
            // SAFETY: The caller passes the length of the address, of which it has a copy.
            let raw = unsafe { RawAddr::from_raw(addr.cast(), len) }?;
            T::connect(socket, sk, &raw, is_nonblock(flags))?;
            Ok(0)
        };
        // SAFETY: The caller passes a socket of this family; and what it has passed to us.
        unsafe {
            Self::perform(socket, operation, |ops| {
                checked(bindings::sock_may_connect(socket, addr.cast(), len), || {
                    Some(ops.connect?(socket, addr, len, flags))
                })
            })
        }
    }

    /// # Safety
    ///
    /// Only called through `OPS`.
    unsafe extern "C" fn accept(
        socket: *mut bindings::socket,
        new: *mut bindings::socket,
        arg: *mut bindings::proto_accept_arg,
    ) -> c_int {
        let operation = |socket: &_, sk: &_| {
            // SAFETY: The caller passes valid arguments.
            let nonblock = is_nonblock(unsafe { (*arg).flags });
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
        };
        // The new socket has our operations, so that those of another cannot fill it. What gives
        // way does not listen: it is too early to accept.

        // SAFETY: The caller passes a socket of this family.
        unsafe { Self::perform(socket, operation, |_| Some(EINVAL.to_errno())) }
    }

    /// # Safety
    ///
    /// Only called through `OPS`.
    unsafe extern "C" fn getname(
        socket: *mut bindings::socket,
        addr: *mut bindings::sockaddr,
        peer: c_int,
    ) -> c_int {
        let operation = |_: &_, sk: &_| {
            let name = SockAddrBuf::from(T::getname(sk, Name::from_raw(peer))?);
            let bytes = name.as_bytes();

            // SAFETY: The caller passes room for a `struct sockaddr_storage`, which is larger than
            // any `SockAddrBuf`.
            unsafe {
                core::ptr::copy_nonoverlapping(bytes.as_ptr(), addr.cast::<u8>(), bytes.len())
            };
            Ok(name.c_len())
        };
        // SAFETY: The caller passes a socket of this family; and what it has passed to us.
        unsafe {
            Self::perform(socket, operation, |ops| {
                Some(ops.getname?(socket, addr, peer))
            })
        }
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
        if let Some(sk) = unsafe { Self::sk(socket) } {
            return T::poll(sk);
        }
        // Who waits is woken by the other, whose wait queue is the same.

        // SAFETY: It has given way.
        match unsafe { Self::successor(socket) }.poll {
            // SAFETY: All arguments are the caller's, who has one entry to wait with.
            Some(poll) => unsafe { poll(file, socket, core::ptr::null_mut()) },
            None => 0,
        }
    }

    /// # Safety
    ///
    /// Only called through `OPS`.
    unsafe extern "C" fn ioctl(socket: *mut bindings::socket, cmd: c_uint, arg: c_ulong) -> c_int {
        let operation = |_: &_, sk: &_| match T::ioctl(sk, cmd, IoctlArg::new(arg)) {
            Err(ENOIOCTLCMD) if T::Head::INET => {
                // Addresses, routes and neighbours are for all sockets of these families.
                // SAFETY: It is one of them, and the arguments are what the caller has passed.
                Ok(unsafe { bindings::inet_any_ioctl(socket, cmd, arg) })
            }
            result => result,
        };

        // SAFETY: The caller passes a socket of this family; and what it has passed to us.
        unsafe { Self::perform(socket, operation, |ops| Some(ops.ioctl?(socket, cmd, arg))) }
    }

    /// # Safety
    ///
    /// Only called through `OPS`.
    unsafe extern "C" fn listen(socket: *mut bindings::socket, backlog: c_int) -> c_int {
        let operation = |socket: &_, sk: &_| {
            // CAST: What a program says is not negative here any more, and what the kernel says is
            // taken in the same way by TCP.
            T::listen(socket, sk, backlog as u32)?;
            Ok(0)
        };
        // SAFETY: The caller passes a socket of this family; and what it has passed to us.
        unsafe {
            Self::perform(socket, operation, |ops| {
                checked(bindings::sock_may_listen(socket, backlog), || {
                    Some(ops.listen?(socket, backlog))
                })
            })
        }
    }

    /// # Safety
    ///
    /// Only called through `OPS`.
    unsafe extern "C" fn shutdown(socket: *mut bindings::socket, how: c_int) -> c_int {
        let operation = |socket: &_, sk: &_| {
            T::shutdown(socket, sk, How::try_from(how)?)?;
            Ok(0)
        };
        // SAFETY: The caller passes a socket of this family; and what it has passed to us.
        unsafe { Self::perform(socket, operation, |ops| Some(ops.shutdown?(socket, how))) }
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
        let operation = |socket: &_, sk: &_| {
            // SAFETY: The caller passes where the value is, and its length.
            let value = unsafe { OptionIn::from_raw(value, len) };
            T::setsockopt(socket, sk, level, name, &value)?;
            Ok(0)
        };
        let pass_on = |ops: &bindings::proto_ops| {
            if level == SOL_SOCKET {
                // SAFETY: The arguments are the caller's.
                return Some(unsafe { bindings::sock_setsockopt(socket, level, name, value, len) });
            }
            // SAFETY: As above.
            Some(unsafe { ops.setsockopt?(socket, level, name, value, len) })
        };
        // SAFETY: The caller passes a socket of this family.
        unsafe { Self::perform(socket, operation, pass_on) }
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
        let operation = |socket: &_, sk: &_| {
            // SAFETY: The caller passes this for nobody but us while it waits.
            let value = unsafe { OptionOut::from_raw(opt) };
            T::getsockopt(socket, sk, level, name, value)?;
            Ok(0)
        };
        // Others do not take their arguments in this form. So this call has come too early.

        // SAFETY: The caller passes a socket of this family.
        unsafe { Self::perform(socket, operation, |_| Some(ENOPROTOOPT.to_errno())) }
    }

    /// # Safety
    ///
    /// Only called through `OPS`.
    unsafe extern "C" fn sendmsg(
        socket: *mut bindings::socket,
        msg: *mut bindings::msghdr,
        len: usize,
    ) -> c_int {
        let operation = |socket: &_, sk: &_| {
            // SAFETY: This is `sendmsg`, and the message is for nobody but us while it runs.
            T::sendmsg(socket, sk, unsafe { MsgHdr::from_raw(msg) }, len).map(c_len)
        };
        // SAFETY: The caller passes a socket of this family; and what it has passed to us.
        unsafe {
            Self::perform(socket, operation, |ops| {
                checked(bindings::sock_may_send(socket, msg, c_len(len)), || {
                    Some(ops.sendmsg?(socket, msg, len))
                })
            })
        }
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
        let operation = |_: &_, sk: &_| {
            // SAFETY: This is `recvmsg`, and the message is for nobody but us while it runs.
            let msg = unsafe { MsgHdr::from_raw(msg) };
            // CAST: The bits remain the same.
            T::recvmsg(sk, msg, len, flags as u32).map(c_len)
        };
        // SAFETY: The caller passes a socket of this family; and what it has passed to us.
        unsafe {
            Self::perform(socket, operation, |ops| {
                Some(ops.recvmsg?(socket, msg, len, flags))
            })
        }
    }
}

/// Performs a call unless a security module forbids it, which was asked about the former socket and
/// goes by the protocol.
fn checked(verdict: c_int, call: impl FnOnce() -> Option<c_int>) -> Option<c_int> {
    match verdict {
        0 => call(),
        error => Some(error),
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
