// SPDX-License-Identifier: GPL-2.0

//! The queue of errors, and what it says of data that were sent without being copied.

use super::{
    Sock,
    SockFlag, //
};

use crate::{
    bindings,
    error::to_result,
    net::{
        addr::SockAddrBuf,
        msghdr::{
            msg,
            MsgHdr, //
        }, //
    },
    prelude::*, //
};

use core::{
    mem::ManuallyDrop,
    net::SocketAddr,
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

/// What the network says of a datagram that was sent.
pub struct NetworkError<'a> {
    /// The error.
    pub error: Error,
    /// Where it comes from: `SO_EE_ORIGIN_LOCAL`, `SO_EE_ORIGIN_ICMP` or `SO_EE_ORIGIN_ICMP6`.
    pub origin: u8,
    /// The type of the message.
    pub kind: u8,
    /// Its code.
    pub code: u8,
    /// What belongs to that.
    pub info: u32,
    /// More of that.
    pub data: u32,
    /// Who has sent the message. Nobody, if it is not of the family of `to`.
    pub offender: Option<SocketAddr>,
    /// Where the datagram was sent to.
    pub to: SocketAddr,
    /// What came back of it.
    pub payload: &'a [u8],
}

/// Errors.
impl Sock {
    /// Puts an error into the queue of errors, for [`Sock::recv_error`], if the receive buffer has
    /// room for it. Any context.
    pub fn queue_error(&self, error: &NetworkError<'_>) -> Result {
        if !matches!(
            u32::from(error.origin),
            bindings::SO_EE_ORIGIN_LOCAL
                | bindings::SO_EE_ORIGIN_ICMP
                | bindings::SO_EE_ORIGIN_ICMP6
        ) {
            return Err(EINVAL);
        }
        let ee = bindings::sock_extended_err {
            // CAST: A positive number.
            ee_errno: -error.error.to_errno() as u32,
            ee_origin: error.origin,
            ee_type: error.kind,
            ee_code: error.code,
            ee_info: error.info,
            __bindgen_anon_1: bindings::sock_extended_err__bindgen_ty_1 {
                ee_data: error.data,
            },
            ..pin_init::zeroed()
        };
        let to = SockAddrBuf::from(error.to);
        let is_alike = |addr: &SocketAddr| addr.is_ipv4() == error.to.is_ipv4();
        let offender = error.offender.filter(is_alike).map(SockAddrBuf::from);
        let offender = offender
            .as_ref()
            .map_or(core::ptr::null(), |addr| addr.as_ptr());

        // SAFETY: The socket is valid by the type invariants. The addresses are valid for reading,
        // and of one family; the payload has that length.
        to_result(unsafe {
            bindings::sk_queue_network_error(
                self.as_raw(),
                &raw const ee,
                offender.cast(),
                to.as_ptr().cast(),
                error.payload.as_ptr().cast(),
                error.payload.len(),
            )
        })
    }

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

    /// Takes the errors of the network out of the queue of errors.
    pub fn purge_network_errors(&self) {
        // SAFETY: The socket is valid by the type invariants.
        unsafe { bindings::skb_errqueue_purge(&raw mut (*self.as_raw()).sk_error_queue) };
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
