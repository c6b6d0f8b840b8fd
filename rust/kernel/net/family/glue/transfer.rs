// SPDX-License-Identifier: GPL-2.0

//! The operations that move data.

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
    /// Only called through `OPS`.
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
            // One of the kernel's own.
            return EINVAL.to_errno() as isize;
        }
        // SAFETY: The file of a socket is valid for as long as that is in use.
        let nonblock = is_nonblock(unsafe { (*file).f_flags } as c_int);
        // SAFETY: The caller passes a socket of this family.
        let sk = unsafe { Self::sk(socket) };
        let len = if sk.has_fallen_back() {
            // The native one receives into the same pages.
            len
        } else {
            match T::splice_len(sk, len, nonblock) {
                Ok(wanted) => len.min(wanted),
                Err(error) => return error.to_errno() as isize,
            }
        };

        // SAFETY: All of these are the caller's.
        unsafe { bindings::copy_splice_read(file, pos, pipe, len, flags) }
    }

    /// # Safety
    ///
    /// Only called through `OPS`.
    pub(super) unsafe extern "C" fn sendmsg(
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
            checked(
                Self::ask_security(socket, |sock| {
                    // What was connected may be sent to.
                    let is_asked = i32::from((*sock).type_) != SOCK_STREAM
                        || (*msg).msg_flags & bindings::MSG_FASTOPEN != 0;
                    if is_asked {
                        bindings::sock_may_send(sock, msg, c_len(len))
                    } else {
                        0
                    }
                }),
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
    /// Only called through `OPS`.
    pub(super) unsafe extern "C" fn recvmsg(
        socket: *mut bindings::socket,
        msg: *mut bindings::msghdr,
        len: usize,
        flags: c_int,
    ) -> c_int {
        let operation = |socket: &Socket, sk: &TypedSock<T>| {
            // SAFETY: This is `recvmsg`, and the message is for nobody but us while it runs.
            let msg = unsafe { MsgHdr::from_raw(msg) };
            // CAST: The bits remain the same.
            let received = T::recvmsg(sk, msg, len, flags as u32)?;
            // CAST: As above.
            if socket.kind() == SOCK_DGRAM && flags as u32 & bindings::MSG_ERRQUEUE == 0 {
                sk.ask_recvmsg(socket, msg);
            }
            Ok(c_len(received))
        };
        // SAFETY: The caller passes a socket of this family; and what it has passed to us.
        unsafe {
            Self::perform(socket, operation, |native, ops| {
                Some(ops.recvmsg?(native, msg, len, flags))
            })
        }
    }
}

/// Turns a number of bytes into what system calls return; they are never asked for more than that.
#[inline]
fn c_len(len: usize) -> c_int {
    c_int::try_from(len).unwrap_or(c_int::MAX)
}
