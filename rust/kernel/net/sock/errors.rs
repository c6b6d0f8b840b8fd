// SPDX-License-Identifier: GPL-2.0

//! The error queue of a socket, and completion notifications for `MSG_ZEROCOPY`.

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
    net::SocketAddr,
    ptr::NonNull, //
};

/// A pending notification to a program that has sent with `MSG_ZEROCOPY`.
///
/// It tells the program that it may reuse its memory. Since the data has been copied, the
/// notification can be sent right after the call.
///
/// If this is dropped, no notification is sent: nothing has been sent from the program's memory, and
/// the call is not counted.
///
/// # Invariants
///
/// `sk_zerocopy_begin` returned `pending` for `sk`, and it has yet to be passed to
/// `sk_zerocopy_end`.
#[must_use = "the program waits for it"]
pub struct ZerocopyNotification<'a> {
    sk: &'a Sock,
    pending: NonNull<bindings::ubuf_info>,
    was_sent: bool,
}

impl ZerocopyNotification<'_> {
    /// Notifies the program, through the error queue. May sleep.
    pub fn complete(mut self) {
        self.was_sent = true;
    }
}

impl Drop for ZerocopyNotification<'_> {
    fn drop(&mut self) {
        let (sk, pending) = (self.sk.as_raw(), self.pending.as_ptr());

        // SAFETY: The socket is valid by its type invariants. By ours, `pending` belongs to it and
        // may be ended, which happens once.
        unsafe { bindings::sk_zerocopy_end(sk, pending, self.was_sent) };
    }
}

/// A network error for a datagram that was sent.
pub struct NetworkError<'a> {
    /// The error.
    pub error: Error,
    /// Origin of the error: `SO_EE_ORIGIN_LOCAL`, `SO_EE_ORIGIN_ICMP` or `SO_EE_ORIGIN_ICMP6`.
    pub origin: u8,
    /// Type of the ICMP message.
    pub kind: u8,
    /// Code of the ICMP message.
    pub code: u8,
    /// Additional information (`ee_info`).
    pub info: u32,
    /// Further information (`ee_data`).
    pub data: u32,
    /// Sender of the ICMP message. Ignored if its family is not that of `to`.
    pub offender: Option<SocketAddr>,
    /// Destination of the datagram.
    pub to: SocketAddr,
    /// The part of the datagram that was returned with the error.
    pub payload: &'a [u8],
}

/// Errors.
impl Sock {
    /// Appends an error to the error queue, for [`Sock::recv_error`]. Fails if the receive buffer
    /// has no room for it, and with `EINVAL` for another `origin` than those listed. Any context.
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

        // SAFETY: The socket is valid by the type invariants. The addresses are valid for reading
        // and of the same family, and `payload` has the given length.
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

    /// Prepares the notification for a message that is sent with `MSG_ZEROCOPY`.
    ///
    /// Returns [`None`] if no notification is needed: `len` is 0, the message does not have the
    /// flag or has its own notification, or the program has not enabled `SO_ZEROCOPY`. The caller
    /// must copy the data when sending it.
    ///
    /// Only in a call by the program. Fails with `ENOBUFS` if there is no room for the
    /// notification, or if the program has reached its limit on pages in use.
    pub fn zerocopy_notification(
        &self,
        msg: &MsgHdr,
        len: usize,
    ) -> Result<Option<ZerocopyNotification<'_>>> {
        let is_wanted = msg.flags() & msg::ZEROCOPY != 0
            && len > 0
            && !msg.has_ubuf()
            && self.is_flag(SockFlag::ZeroCopy);
        if !is_wanted {
            return Ok(None);
        }
        // SAFETY: The socket is valid by the type invariants.
        let pending = unsafe { bindings::sk_zerocopy_begin(self.as_raw(), len) };
        // INVARIANT: `sk_zerocopy_begin` returned the pointer just above.
        Ok(Some(ZerocopyNotification {
            sk: self,
            pending: NonNull::new(pending).ok_or(ENOBUFS)?,
            was_sent: false,
        }))
    }

    /// Removes the network errors from the error queue.
    pub fn purge_network_errors(&self) {
        // SAFETY: The socket is valid by the type invariants.
        unsafe { bindings::skb_errqueue_purge(&raw mut (*self.as_raw()).sk_error_queue) };
    }

    /// Receives from the error queue, as recvmsg(2) does with `MSG_ERRQUEUE`. Fails with `EAGAIN`
    /// if the queue is empty. Only in a call by the program.
    pub fn recv_error(&self, msg: &mut MsgHdr, len: usize) -> Result<usize> {
        let len = c_int::try_from(len).unwrap_or(c_int::MAX);

        // SAFETY: The socket and the message are valid by their type invariants, and the message is
        // being received.
        let ret = unsafe { bindings::sk_recv_error(self.as_raw(), msg.as_raw(), len) };
        to_result(ret)?;
        usize::try_from(ret).map_err(|_| EINVAL)
    }

    /// Returns `true` if the error queue is not empty. Any context.
    pub fn has_queued_error(&self) -> bool {
        // SAFETY: The socket is valid by the type invariants.
        unsafe { bindings::sk_has_queued_error(self.as_raw()) }
    }
}
