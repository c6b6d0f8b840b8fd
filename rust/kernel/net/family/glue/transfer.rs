// SPDX-License-Identifier: GPL-2.0

//! The operations that transfer data.

use super::{
    super::{
        Ops,
        TypedSock, //
    },
    calls::{
        checked,
        is_nonblock, //
    },
    Glue, //
};

use crate::{
    bindings,
    net::{
        msghdr::MsgHdr,
        socket::{
            Socket,
            SOCK_DGRAM,
            SOCK_STREAM, //
        }, //
    },
    prelude::*, //
};

impl<T: Ops> Glue<T> {
    /// # Safety
    ///
    /// Must only be called through `OPS`.
    pub(super) unsafe extern "C" fn splice_read(
        socket: *mut bindings::socket,
        pos: *mut bindings::loff_t,
        pipe: *mut bindings::pipe_inode_info,
        len: usize,
        flags: c_uint,
    ) -> isize {
        // SAFETY: The caller passes a valid socket.
        let file = unsafe { (*socket).file };
        if file.is_null() {
            // A socket that the kernel uses itself.
            return EINVAL.to_errno() as isize;
        }
        // SAFETY: The file of a socket is valid as long as the socket is in use.
        let nonblock = is_nonblock(unsafe { (*file).f_flags } as c_int);
        // SAFETY: The caller passes a socket of this family.
        let sk = unsafe { Self::sk(socket) };
        let len = if sk.has_fallen_back() {
            // The native socket receives into the same pages.
            len
        } else {
            match T::splice_len(sk, len, nonblock) {
                Ok(wanted) => len.min(wanted),
                Err(error) => return error.to_errno() as isize,
            }
        };

        // SAFETY: All arguments come from the caller.
        unsafe { bindings::copy_splice_read(file, pos, pipe, len, flags) }
    }

    /// # Safety
    ///
    /// Must only be called through `OPS`.
    pub(super) unsafe extern "C" fn splice_eof(socket: *mut bindings::socket) {
        // SAFETY: The caller passes a socket of this family.
        let sk = unsafe { Self::sk(socket) };
        let Some(native) = sk.native().in_use() else {
            return T::splice_eof(sk);
        };
        // SAFETY: The native socket and its operations are valid until `socket` is released.
        if let Some(splice_eof) = unsafe { (*(*native).ops).splice_eof } {
            // SAFETY: The socket has these operations.
            unsafe { splice_eof(native) };
        }
    }

    /// # Safety
    ///
    /// Must only be called through `OPS`.
    pub(super) unsafe extern "C" fn sendmsg(
        socket: *mut bindings::socket,
        msg: *mut bindings::msghdr,
        len: usize,
    ) -> c_int {
        let operation = |socket: &_, sk: &_| {
            // SAFETY: The caller passes the arguments of `sendmsg`, and only we use the message
            // during this call.
            T::sendmsg(socket, sk, unsafe { MsgHdr::from_raw(msg) }, len).map(c_len)
        };
        // SAFETY: The caller passes a socket of this family, and valid arguments, which are passed
        // on.
        unsafe {
            // Permission for a connection includes permission to send.
            let is_asked = i32::from((*socket).type_) != SOCK_STREAM
                || (*msg).msg_flags & bindings::MSG_FASTOPEN != 0;
            checked(
                if is_asked {
                    Self::ask_security(socket, |sock| {
                        bindings::sock_may_send(sock, msg, c_len(len))
                    })
                } else {
                    0
                },
                || {
                    Self::perform(socket, operation, |native, ops| {
                        Some(ops.sendmsg?(native, msg, len))
                    })
                },
            )
        }
    }

    /// # Safety
    ///
    /// Must only be called through `OPS`.
    pub(super) unsafe extern "C" fn recvmsg(
        socket: *mut bindings::socket,
        msg: *mut bindings::msghdr,
        len: usize,
        flags: c_int,
    ) -> c_int {
        let operation = |socket: &Socket, sk: &TypedSock<T>| {
            // The system calls have set this, but not all of the kernel's own callers.
            // SAFETY: The caller passes the arguments of `recvmsg`.
            unsafe { (*msg).msg_namelen = 0 };
            // SAFETY: As above; only we use the message during this call. It has no address yet.
            let msg = unsafe { MsgHdr::from_raw(msg) };
            // CAST: The bits remain the same.
            let received = T::recvmsg(sk, msg, len, flags as u32)?;
            // CAST: As above.
            if socket.sock_type() == SOCK_DGRAM && flags as u32 & bindings::MSG_ERRQUEUE == 0 {
                sk.ask_recvmsg(socket, msg);
            }
            Ok(c_len(received))
        };
        // SAFETY: The caller passes a socket of this family, and valid arguments, which are passed
        // on.
        unsafe {
            Self::perform(socket, operation, |native, ops| {
                Some(ops.recvmsg?(native, msg, len, flags))
            })
        }
    }
}

/// Converts a number of bytes to the result of a system call. System calls never ask for more than
/// fits.
#[inline]
fn c_len(len: usize) -> c_int {
    c_int::try_from(len).unwrap_or(c_int::MAX)
}
