// SPDX-License-Identifier: GPL-2.0

//! The operations of programs.

use super::{
    super::{
        Accepted,
        Head,
        Name,
        Ops,
        StaticProto,
        TypedSock, //
    },
    Glue, //
};

use crate::{
    bindings,
    error::from_result,
    net::{
        addr::{
            RawAddr,
            SockAddrBuf, //
        },
        socket::{
            How,
            Socket,
            SocketState, //
        }, //
    },
    prelude::*,
    uaccess::{
        UserPtr,
        UserSlice, //
    }, //
};

impl<T: Ops> Glue<T> {
    /// # Safety
    ///
    /// Must only be called through `OPS`.
    pub(super) unsafe extern "C" fn bind(
        socket: *mut bindings::socket,
        addr: *mut bindings::sockaddr_unsized,
        len: c_int,
    ) -> c_int {
        let operation = |socket: &_, sk: &_| {
            // SAFETY: The caller passes a copy of the address with its length.
            let addr = unsafe { RawAddr::from_raw(addr.cast(), len) }?;
            T::bind(socket, sk, &addr)?;
            Ok(0)
        };
        // SAFETY: The caller passes a socket of this family, and valid arguments, which are passed
        // on.
        unsafe {
            checked(
                Self::ask_security(socket, |sock| {
                    bindings::sock_may_bind(sock, addr.cast(), len)
                }),
                || {
                    Self::perform(socket, operation, |native, ops| {
                        Some(ops.bind?(native, addr, len))
                    })
                },
            )
        }
    }

    /// # Safety
    ///
    /// Must only be called through `OPS`.
    pub(super) unsafe extern "C" fn connect(
        socket: *mut bindings::socket,
        addr: *mut bindings::sockaddr_unsized,
        len: c_int,
        flags: c_int,
    ) -> c_int {
        let operation = |socket: &_, sk: &_| {
            // SAFETY: The caller passes a copy of the address with its length.
            let raw = unsafe { RawAddr::from_raw(addr.cast(), len) }?;
            T::connect(socket, sk, &raw, is_nonblock(flags))?;
            Ok(0)
        };
        // SAFETY: The caller passes a socket of this family, and valid arguments, which are passed
        // on.
        unsafe {
            checked(
                Self::ask_security(socket, |sock| {
                    bindings::sock_may_connect(sock, addr.cast(), len)
                }),
                || {
                    Self::perform(socket, operation, |native, ops| {
                        Some(ops.connect?(native, addr, len, flags))
                    })
                },
            )
        }
    }

    /// # Safety
    ///
    /// Must only be called through `OPS`.
    pub(super) unsafe extern "C" fn accept(
        socket: *mut bindings::socket,
        new: *mut bindings::socket,
        arg: *mut bindings::proto_accept_arg,
    ) -> c_int {
        let operation = |socket: &_, sk: &_| {
            // SAFETY: The caller passes valid arguments.
            let nonblock = is_nonblock(unsafe { (*arg).flags });
            // Reports to io_uring if there is another connection.
            let note_rest = || {
                if T::HAS_CAN_ACCEPT {
                    // SAFETY: The caller passes valid arguments.
                    unsafe { (*arg).is_empty = c_int::from(!T::can_accept(sk)) };
                }
            };
            let child = loop {
                match T::accept(socket, sk, nonblock)? {
                    Accepted::Child(child) => break child.into_raw(),
                    Accepted::From(listener) => {
                        // Families without a protocol number do not check if a socket has their own
                        // operations. kernel_accept() sets the operations of the new socket only
                        // later.
                        // SAFETY: The caller passes valid arguments.
                        let is_kernel = unsafe { (*arg).kern };
                        if T::PROTOCOL.is_none() || listener.family() != T::FAMILY || is_kernel {
                            return Err(EOPNOTSUPP);
                        }
                        // SAFETY: `new` was just allocated by accept(2) and has no `struct sock`.
                        // It has a reference to the module of its operations.
                        match unsafe { listener.accept_into(new) } {
                            // Another thread has accepted the connection, or the peer has reset it.
                            Err(EAGAIN) => continue,
                            result => {
                                note_rest();
                                return result.map(|()| 0);
                            }
                        }
                    }
                }
            };

            // SAFETY: `new` was just allocated and has no `struct sock`; by the type invariants of
            // `Child`, `child` has no `struct socket`. `new` gets the reference.
            unsafe { bindings::sock_graft(child.as_ptr(), new) };
            // SAFETY: The caller passes a socket that was allocated by `sock_alloc` or
            // `sock_create_lite`.
            let new = unsafe { Socket::from_raw(new) };
            Self::prepare(new);
            new.set_state(SocketState::Connected);
            note_rest();
            Ok(0)
        };
        // A socket that falls back does not listen yet, so it can't accept.

        // SAFETY: The caller passes a socket of this family.
        unsafe { Self::perform(socket, operation, |_, _| Some(EINVAL.to_errno())) }
    }

    /// # Safety
    ///
    /// Must only be called through `OPS`.
    pub(super) unsafe extern "C" fn getname(
        socket: *mut bindings::socket,
        addr: *mut bindings::sockaddr,
        peer: c_int,
    ) -> c_int {
        // For accept(2), the caller calls this function of the listening socket, but `socket` may
        // be a connection of the native protocol.
        // SAFETY: The caller passes a valid socket.
        let ops = unsafe { (*socket).ops };
        if !core::ptr::eq(ops, T::Proto::get().ops) {
            // SAFETY: A socket has operations from when it is accepted until it is released.
            return match unsafe { (*ops).getname } {
                // SAFETY: The socket has these operations, and the arguments come from the caller.
                Some(getname) => unsafe { getname(socket, addr, peer) },
                None => EOPNOTSUPP.to_errno(),
            };
        }
        let operation = |socket: &_, sk: &TypedSock<T>| {
            let name = Name::from_raw(peer);
            let name = SockAddrBuf::from(sk.ask_name(socket, name, T::getname(sk, name)?));
            let bytes = name.as_bytes();

            // SAFETY: The caller passes a buffer for a `struct sockaddr_storage`, which is larger
            // than any `SockAddrBuf`.
            unsafe {
                core::ptr::copy_nonoverlapping(bytes.as_ptr(), addr.cast::<u8>(), bytes.len())
            };
            Ok(name.c_len())
        };
        // SAFETY: The caller passes a socket of this family, and valid arguments, which are passed
        // on.
        unsafe {
            Self::perform(socket, operation, |native, ops| {
                Some(ops.getname?(native, addr, peer))
            })
        }
    }

    /// # Safety
    ///
    /// Must only be called through `OPS`.
    pub(super) unsafe extern "C" fn poll(
        file: *mut bindings::file,
        socket: *mut bindings::socket,
        wait: *mut bindings::poll_table_struct,
    ) -> bindings::__poll_t {
        // SAFETY: All arguments come from the caller.
        unsafe { bindings::sock_poll_wait(file, socket, wait) };
        // SAFETY: The caller passes a socket of this family.
        let sk = unsafe { Self::sk(socket) };
        let Some(native) = sk.native().in_use() else {
            return T::poll(sk);
        };
        // Calls that came through the file before the fallback wait with this socket.
        // SAFETY: `socket` is the socket in front of the native one.
        unsafe { sk.native().forward(socket) };
        // SAFETY: The native socket and its operations are valid until `socket` is released.
        match unsafe { (*(*native).ops).poll } {
            // SAFETY: All arguments come from the caller, which is in the wait queue already.
            Some(poll) => unsafe { poll(file, native, core::ptr::null_mut()) },
            None => 0,
        }
    }

    /// # Safety
    ///
    /// Must only be called through `OPS`.
    pub(super) unsafe extern "C" fn ioctl(
        socket: *mut bindings::socket,
        cmd: c_uint,
        arg: c_ulong,
    ) -> c_int {
        let operation = |_: &_, sk: &_| match T::ioctl(sk, cmd) {
            Err(ENOIOCTLCMD) if T::Head::INET => {
                // Ioctls for addresses, routes and neighbours work on all sockets of these
                // families.
                // SAFETY: By `Head::INET`, the socket is of IPv4 or IPv6, and the arguments come
                // from the caller.
                Ok(unsafe { bindings::inet_any_ioctl(socket, cmd, arg) })
            }
            Ok(number) => {
                UserSlice::new(UserPtr::from_addr(arg), size_of::<c_int>())
                    .writer()
                    .write(&number)?;
                Ok(0)
            }
            Err(error) => Err(error),
        };

        // SAFETY: The caller passes a socket of this family, and valid arguments, which are passed
        // on.
        unsafe {
            Self::perform(socket, operation, |native, ops| {
                Some(ops.ioctl?(native, cmd, arg))
            })
        }
    }

    /// # Safety
    ///
    /// Must only be called as `ioctl` of a `struct proto`: `sk` must be a socket of this family,
    /// and `number` must be valid for writing.
    pub(in super::super) unsafe extern "C" fn sk_ioctl(
        sk: *mut bindings::sock,
        cmd: c_int,
        number: *mut c_int,
    ) -> c_int {
        from_result(|| {
            // CAST: The bits remain the same.
            // SAFETY: The safety requirements guarantee that `sk` is a socket of this family.
            let value = T::ioctl(unsafe { TypedSock::from_raw(sk) }, cmd as u32)?;
            // SAFETY: The safety requirements guarantee that `number` is valid for writing.
            unsafe { *number = value };
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Must only be called through `OPS`.
    pub(super) unsafe extern "C" fn listen(socket: *mut bindings::socket, backlog: c_int) -> c_int {
        let operation = |socket: &_, sk: &_| {
            // CAST: The socket layer has made sure that a program's value is not negative. TCP
            // treats a value from the kernel in the same way.
            T::listen(socket, sk, backlog as u32)?;
            Ok(0)
        };
        // SAFETY: The caller passes a socket of this family, and valid arguments, which are passed
        // on.
        unsafe {
            checked(
                Self::ask_security(socket, |sock| bindings::sock_may_listen(sock, backlog)),
                || {
                    Self::perform(socket, operation, |native, ops| {
                        Some(ops.listen?(native, backlog))
                    })
                },
            )
        }
    }

    /// # Safety
    ///
    /// Must only be called through `OPS`.
    pub(super) unsafe extern "C" fn shutdown(socket: *mut bindings::socket, how: c_int) -> c_int {
        let operation = |socket: &_, sk: &_| {
            T::shutdown(socket, sk, How::try_from(how)?)?;
            Ok(0)
        };
        // SAFETY: The caller passes a socket of this family, and valid arguments, which are passed
        // on.
        unsafe {
            Self::perform(socket, operation, |native, ops| {
                Some(ops.shutdown?(native, how))
            })
        }
    }
}

/// Performs a call unless a security module denies it.
#[inline]
pub(super) fn checked(verdict: c_int, call: impl FnOnce() -> c_int) -> c_int {
    match verdict {
        0 => call(),
        error => error,
    }
}

/// Returns `true` if these file flags request a non-blocking call.
#[inline]
pub(super) fn is_nonblock(flags: c_int) -> bool {
    // CAST: The bits remain the same.
    flags as u32 & bindings::O_NONBLOCK != 0
}
