// SPDX-License-Identifier: GPL-2.0

//! The operations that programs perform.

use super::{
    super::{
        Accepted,
        Head,
        Name,
        Ops,
        StaticProto,
        TypedSock,
        EPOLLIN, //
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
        },
        sockopt::{
            OptionIn,
            OptionOut,
            SOL_SOCKET, //
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
    /// Only called through `OPS`.
    pub(super) unsafe extern "C" fn bind(
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
    /// Only called through `OPS`.
    pub(super) unsafe extern "C" fn connect(
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
    /// Only called through `OPS`.
    pub(super) unsafe extern "C" fn accept(
        socket: *mut bindings::socket,
        new: *mut bindings::socket,
        arg: *mut bindings::proto_accept_arg,
    ) -> c_int {
        let operation = |socket: &_, sk: &_| {
            // SAFETY: The caller passes valid arguments.
            let nonblock = is_nonblock(unsafe { (*arg).flags });
            // Whether there is another connection, which io_uring tells.
            let note_rest = || {
                if T::HAS_POLL {
                    // SAFETY: The caller passes valid arguments.
                    unsafe { (*arg).is_empty = c_int::from(T::poll(sk) & EPOLLIN == 0) };
                }
            };
            let child = loop {
                match T::accept(socket, sk, nonblock)? {
                    Accepted::Child(child) => break child.into_raw(),
                    Accepted::From(listener) => {
                        // Without a protocol nobody looks whose a socket is. A socket that the
                        // kernel accepts gets its operations later.
                        // SAFETY: The caller passes valid arguments.
                        let is_kernel = unsafe { (*arg).kern };
                        if T::PROTOCOL.is_none() || listener.family() != T::FAMILY || is_kernel {
                            return Err(EOPNOTSUPP);
                        }
                        // SAFETY: `new` was just allocated by accept(2) and has no `struct sock`. It
                        // has a reference to the module of its operations.
                        match unsafe { listener.accept_into(new) } {
                            // Another thread was faster, or the peer has changed its mind.
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
            // `Child` the other one has no `struct socket`. The reference goes to `new`.
            unsafe { bindings::sock_graft(child.as_ptr(), new) };
            // SAFETY: The caller passes a socket that was allocated by `sock_alloc` or
            // `sock_create_lite`.
            let new = unsafe { Socket::from_raw(new) };
            Self::prepare(new);
            new.set_state(SocketState::Connected);
            note_rest();
            Ok(0)
        };
        // What falls back does not listen: it is too early to accept.

        // SAFETY: The caller passes a socket of this family.
        unsafe { Self::perform(socket, operation, |_, _| Some(EINVAL.to_errno())) }
    }

    /// # Safety
    ///
    /// Only called through `OPS`.
    pub(super) unsafe extern "C" fn getname(
        socket: *mut bindings::socket,
        addr: *mut bindings::sockaddr,
        peer: c_int,
    ) -> c_int {
        // accept(2) asks those who have accepted, and that may be a connection of the native protocol.
        // SAFETY: The caller passes a valid socket.
        let ops = unsafe { (*socket).ops };
        if !core::ptr::eq(ops, T::Proto::get().ops) {
            // SAFETY: A socket has operations from when it is accepted until it is released.
            return match unsafe { (*ops).getname } {
                // SAFETY: It is one of these, and the arguments are the caller's.
                Some(getname) => unsafe { getname(socket, addr, peer) },
                None => EOPNOTSUPP.to_errno(),
            };
        }
        let operation = |socket: &_, sk: &TypedSock<T>| {
            let name = Name::from_raw(peer);
            let name = SockAddrBuf::from(sk.ask_name(socket, name, T::getname(sk, name)?));
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
            Self::perform(socket, operation, |native, ops| {
                Some(ops.getname?(native, addr, peer))
            })
        }
    }

    /// # Safety
    ///
    /// Only called through `OPS`.
    pub(super) unsafe extern "C" fn poll(
        file: *mut bindings::file,
        socket: *mut bindings::socket,
        wait: *mut bindings::poll_table_struct,
    ) -> bindings::__poll_t {
        // SAFETY: All arguments are the caller's.
        unsafe { bindings::sock_poll_wait(file, socket, wait) };
        // SAFETY: The caller passes a socket of this family.
        let sk = unsafe { Self::sk(socket) };
        let Some(native) = sk.native().in_use() else {
            return T::poll(sk);
        };
        // Whoever has come by the file before that waits with this one.
        // SAFETY: It is the socket that the native one is behind.
        unsafe { sk.native().forward(socket) };
        // SAFETY: It is valid until the other one is released, as are its operations.
        match unsafe { (*(*native).ops).poll } {
            // SAFETY: All arguments are the caller's, who waits already.
            Some(poll) => unsafe { poll(file, native, core::ptr::null_mut()) },
            None => 0,
        }
    }

    /// # Safety
    ///
    /// Only called through `OPS`.
    pub(super) unsafe extern "C" fn ioctl(
        socket: *mut bindings::socket,
        cmd: c_uint,
        arg: c_ulong,
    ) -> c_int {
        let operation = |_: &_, sk: &_| match T::ioctl(sk, cmd) {
            Err(ENOIOCTLCMD) if T::Head::INET => {
                // Addresses, routes and neighbours are for all sockets of these families.
                // SAFETY: It is one of them, and the arguments are what the caller has passed.
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

        // SAFETY: The caller passes a socket of this family; and what it has passed to us.
        unsafe {
            Self::perform(socket, operation, |native, ops| {
                Some(ops.ioctl?(native, cmd, arg))
            })
        }
    }

    /// # Safety
    ///
    /// Only called as `ioctl` of a `struct proto`: `sk` is a socket of this family, and `number` valid
    /// for writing.
    pub(in super::super) unsafe extern "C" fn sk_ioctl(
        sk: *mut bindings::sock,
        cmd: c_int,
        number: *mut c_int,
    ) -> c_int {
        from_result(|| {
            // CAST: The bits remain the same.
            // SAFETY: These are the requirements.
            let value = T::ioctl(unsafe { TypedSock::from_raw(sk) }, cmd as u32)?;
            // SAFETY: So are these.
            unsafe { *number = value };
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Only called through `OPS`.
    pub(super) unsafe extern "C" fn listen(socket: *mut bindings::socket, backlog: c_int) -> c_int {
        let operation = |socket: &_, sk: &_| {
            // CAST: What a program says is not negative here any more, and what the kernel says is
            // taken in the same way by TCP.
            T::listen(socket, sk, backlog as u32)?;
            Ok(0)
        };
        // SAFETY: The caller passes a socket of this family; and what it has passed to us.
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
    /// Only called through `OPS`.
    pub(super) unsafe extern "C" fn shutdown(socket: *mut bindings::socket, how: c_int) -> c_int {
        let operation = |socket: &_, sk: &_| {
            T::shutdown(socket, sk, How::try_from(how)?)?;
            Ok(0)
        };
        // SAFETY: The caller passes a socket of this family; and what it has passed to us.
        unsafe {
            Self::perform(socket, operation, |native, ops| {
                Some(ops.shutdown?(native, how))
            })
        }
    }

    /// # Safety
    ///
    /// Only called through `OPS`.
    pub(super) unsafe extern "C" fn setsockopt(
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
        let natively = |native: *mut bindings::socket, ops: &bindings::proto_ops| {
            if level == SOL_SOCKET {
                // SAFETY: The native socket is valid, the other arguments are the caller's.
                return Some(unsafe { bindings::sock_setsockopt(native, level, name, value, len) });
            }
            // SAFETY: As above.
            Some(unsafe { ops.setsockopt?(native, level, name, value, len) })
        };
        // SAFETY: The caller passes a socket of this family.
        unsafe { Self::perform(socket, operation, natively) }
    }

    /// # Safety
    ///
    /// Only called through `OPS`.
    pub(super) unsafe extern "C" fn getsockopt(
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
        unsafe { Self::perform(socket, operation, |_, _| Some(ENOPROTOOPT.to_errno())) }
    }
}

/// Performs a call unless a security module forbids it.
#[inline]
pub(super) fn checked(verdict: c_int, call: impl FnOnce() -> c_int) -> c_int {
    match verdict {
        0 => call(),
        error => error,
    }
}

/// Returns whether a call with these flags (of the file) shall not block.
#[inline]
pub(super) fn is_nonblock(flags: c_int) -> bool {
    // CAST: The bits remain the same.
    flags as u32 & bindings::O_NONBLOCK != 0
}
