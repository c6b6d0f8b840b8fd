// SPDX-License-Identifier: GPL-2.0

//! The queue of errors, and what it says of data that were sent without being copied.

use super::{
    Sock,
    SockFlag, //
};

use crate::{
    bindings,
    error::to_result,
    net::msghdr::{
        msg,
        MsgHdr, //
    },
    prelude::*, //
};

use core::{
    mem::ManuallyDrop,
    ptr::NonNull, //
};

/// What will tell a program which has sent with `MSG_ZEROCOPY` that it may use its memory again: the
/// data were copied, so that can be right after the call.
///
/// If it is dropped the program is told nothing: it has sent nothing.
///
/// # Invariants
///
/// The pointer is what `sk_zerocopy_begin` has returned, for us to give to `sk_zerocopy_end`.
#[must_use = "the program waits for it"]
pub struct CopyNotice(NonNull<bindings::ubuf_info>);

impl CopyNotice {
    /// Tells the program, by the queue of errors.
    pub fn complete(self) {
        let notice = ManuallyDrop::new(self);

        // SAFETY: By the type invariants it is ours to end, which is done once.
        unsafe { bindings::sk_zerocopy_end(notice.0.as_ptr(), true) };
    }
}

impl Drop for CopyNotice {
    fn drop(&mut self) {
        // SAFETY: By the type invariants it is ours to end, which is done once.
        unsafe { bindings::sk_zerocopy_end(self.0.as_ptr(), false) };
    }
}

/// Errors.
impl Sock {
    /// Prepares the answer to a message of `len` bytes that is sent with `MSG_ZEROCOPY`, if the
    /// program has asked for that by `SO_ZEROCOPY`. Whoever sends it copies the data.
    ///
    /// In a call of the program's. `ENOBUFS` if there is no room for it, or the program has as many
    /// pages in use as it may.
    pub fn copy_notice(&self, msg: &MsgHdr, len: usize) -> Result<Option<CopyNotice>> {
        let is_wanted = msg.flags() & msg::ZEROCOPY != 0
            && len > 0
            && !msg.has_notice()
            && self.is_flag(SockFlag::ZeroCopy);
        if !is_wanted {
            return Ok(None);
        }
        // SAFETY: The socket is valid by the type invariants.
        let notice = unsafe { bindings::sk_zerocopy_begin(self.as_raw(), len) };
        // INVARIANT: It was returned just now.
        Ok(Some(CopyNotice(NonNull::new(notice).ok_or(ENOBUFS)?)))
    }

    /// Receives from the queue of errors, as recvmsg(2) does with `MSG_ERRQUEUE`. `EAGAIN` if there is
    /// nothing. In a call of the program's.
    pub fn recv_error(&self, msg: &mut MsgHdr, len: usize) -> Result<usize> {
        let len = c_int::try_from(len).unwrap_or(c_int::MAX);

        // SAFETY: Socket and message are valid by the type invariants, and the latter is being
        // received.
        let ret = unsafe { bindings::sk_recv_error(self.as_raw(), msg.as_raw(), len) };
        to_result(ret)?;
        usize::try_from(ret).map_err(|_| EINVAL)
    }

    /// Returns whether there is anything in the queue of errors. Any context.
    pub fn has_queued_error(&self) -> bool {
        // SAFETY: The socket is valid by the type invariants.
        unsafe { bindings::sk_has_queued_error(self.as_raw()) }
    }
}
