// SPDX-License-Identifier: GPL-2.0

//! Sending and receiving by kernel sockets.

use super::{
    KernelSocket,
    Protocol,
    Tcp,
    Udp, //
};

use crate::{
    bindings,
    bvec::BioVecs,
    error::to_result,
    net::{
        addr::{
            AddrStorage,
            SockAddrBuf, //
        },
        msghdr::ControlBuf, //
    },
    prelude::*, //
};

#[cfg(doc)]
use super::Callbacks;

use core::net::SocketAddr;

/// Data.
impl<P: Protocol> KernelSocket<P> {
    /// Sends what there is room for, and returns how many bytes that were.
    ///
    /// The data are copied, and no longer in use when this returns. If it is less than all, or if
    /// it fails with `EAGAIN`, then [`Callbacks::write_space`] is called when there is room.
    ///
    /// A datagram goes to the peer that the socket was connected to, as a whole.
    pub fn send(&self, from: &BioVecs<'_>) -> Result<usize> {
        self.sendmsg(from, None, None, 0)
    }

    fn sendmsg(
        &self,
        from: &BioVecs<'_>,
        to: Option<&SockAddrBuf>,
        control: Option<&mut ControlBuf>,
        flags: u32,
    ) -> Result<usize> {
        let mut msg = bindings::msghdr {
            msg_flags: bindings::MSG_DONTWAIT | bindings::MSG_NOSIGNAL | flags,
            ..Default::default()
        };

        if let Some(to) = to {
            msg.msg_name = to.as_ptr().cast_mut().cast();
            msg.msg_namelen = to.c_len();
        }
        if let Some(control) = control {
            control.attach_to(&mut msg);
        }
        // SAFETY: The iterator is valid for writing.
        unsafe { from.init_iter(&raw mut msg.msg_iter, bindings::ITER_SOURCE) };
        // SAFETY: The socket is valid by the type invariants. The message is complete, and what it
        // refers to may be read while `from`, `to` and `control` are borrowed. C code makes a copy of
        // the address, and of what it keeps of the control messages.
        bytes(unsafe { bindings::sock_sendmsg(self.as_raw(), &raw mut msg) })
    }
}

/// Data of a stream.
impl KernelSocket<Tcp> {
    /// As [`KernelSocket::send`], with the last of the bytes that are sent being urgent (`MSG_OOB`).
    pub fn send_urgent(&self, from: &BioVecs<'_>) -> Result<usize> {
        self.sendmsg(from, None, None, bindings::MSG_OOB)
    }

    /// Receives what is there, as far as it fits, and returns how many bytes that were.
    ///
    /// Zero (when there was room for anything) is the end: the peer will send no more. If nothing
    /// is there yet it fails with `EAGAIN`.
    pub fn recv(&self, into: &BioVecs<'_>) -> Result<usize> {
        let mut msg = bindings::msghdr::default();

        // SAFETY: The iterator is valid for writing.
        unsafe { into.init_iter(&raw mut msg.msg_iter, bindings::ITER_DEST) };
        // SAFETY: The socket is valid by the type invariants. The message is complete, and what it
        // refers to may be written to while `into` is borrowed.
        bytes(unsafe {
            bindings::sock_recvmsg(self.as_raw(), &raw mut msg, bindings::MSG_DONTWAIT as c_int)
        })
    }
}

/// Datagrams.
impl KernelSocket<Udp> {
    /// Sends a datagram to `addr`.
    ///
    /// The data are copied, and no longer in use when this returns.
    ///
    /// # Errors
    ///
    /// - `EAGAIN` if there is no room for it: [`Callbacks::write_space`] is called when it is worth
    ///   trying again. `EMSGSIZE` if it is too large for any datagram.
    /// - An error of a datagram that was sent before, which is over with this. `ECONNREFUSED`, for
    ///   example, if nobody has taken it; only connected sockets are told.
    pub fn send_to(&self, from: &BioVecs<'_>, addr: SocketAddr) -> Result<usize> {
        self.sendmsg(from, Some(&SockAddrBuf::from(addr)), None, 0)
    }

    /// Sends a datagram to `addr`, or to the peer, with control messages: what sendmsg(2) returns
    /// for them, and the errors of [`KernelSocket::send_to`].
    ///
    /// There are some that only privileged programs may send: who uses this decides on that.
    pub fn send_with(
        &self,
        from: &BioVecs<'_>,
        addr: Option<SocketAddr>,
        control: &mut ControlBuf,
    ) -> Result<usize> {
        let addr = addr.map(SockAddrBuf::from);
        self.sendmsg(from, addr.as_ref(), Some(control), 0)
    }

    /// Receives the next datagram, as far as it fits; the rest of it is lost.
    ///
    /// # Errors
    ///
    /// - `EAGAIN` if there is none; [`Callbacks::data_ready`] is called when there is.
    /// - An error of a datagram that was sent before, see [`KernelSocket::send_to`].
    pub fn recv_from(&self, into: &BioVecs<'_>) -> Result<ReceivedDatagram> {
        self.recvmsg(into, None, 0)
    }

    /// As [`KernelSocket::recv_from`], with the control messages that options have asked for, as far
    /// as there is room.
    pub fn recv_with(
        &self,
        into: &BioVecs<'_>,
        control: &mut ControlBuf,
    ) -> Result<ReceivedDatagram> {
        self.recvmsg(into, Some(control), 0)
    }

    /// Receives from the queue of errors what came back of a datagram that was sent, as far as it
    /// fits, with the address that it was sent to. What is known of the error is among the control
    /// messages. It is no longer pending then.
    ///
    /// `EAGAIN` if there is none; [`Callbacks::error_report`] is called when there is, if the option
    /// `IP_RECVERR` or `IPV6_RECVERR` is set.
    pub fn recv_error(
        &self,
        into: &BioVecs<'_>,
        control: &mut ControlBuf,
    ) -> Result<ReceivedDatagram> {
        self.recvmsg(into, Some(control), bindings::MSG_ERRQUEUE)
    }

    fn recvmsg(
        &self,
        into: &BioVecs<'_>,
        mut control: Option<&mut ControlBuf>,
        flags: u32,
    ) -> Result<ReceivedDatagram> {
        let mut addr = AddrStorage::new();
        let mut msg = bindings::msghdr {
            msg_name: addr.as_mut_ptr(),
            ..Default::default()
        };

        if let Some(control) = &mut control {
            control.offer_to(&mut msg);
        }
        // SAFETY: The iterator is valid for writing.
        unsafe { into.init_iter(&raw mut msg.msg_iter, bindings::ITER_DEST) };
        // SAFETY: The socket is valid by the type invariants. The message is complete, there is
        // room for any address, and what the message refers to may be written to while `into` and
        // `control` are borrowed: the room that it says there is.
        let len = bytes(unsafe {
            bindings::sock_recvmsg(
                self.as_raw(),
                &raw mut msg,
                (bindings::MSG_DONTWAIT | bindings::MSG_TRUNC | flags) as c_int,
            )
        })?;
        if let Some(control) = control {
            control.filled_by(&msg);
        }
        Ok(ReceivedDatagram {
            len,
            copied: len.min(into.len_bytes()),
            from: addr.parse(msg.msg_namelen)?,
        })
    }

    /// Counts a datagram that was received and then dropped, as UDP counts one for which there is no
    /// room in the receive buffer: among the drops of the socket, and in the statistics of its
    /// namespace. Any context.
    pub fn count_drop(&self) {
        // SAFETY: The socket is valid, and by the type invariants one of UDP.
        unsafe { bindings::udp_count_drop(self.sk().as_raw()) };
    }
}

/// A datagram that [`KernelSocket::recv_from`] has received.
#[derive(Copy, Clone, Debug)]
pub struct ReceivedDatagram {
    /// How many bytes it had.
    pub len: usize,
    /// How many of them were stored.
    pub copied: usize,
    /// Where it came from.
    pub from: SocketAddr,
}

/// Understands what sending and receiving return.
pub(super) fn bytes(ret: c_int) -> Result<usize> {
    to_result(ret)?;
    usize::try_from(ret).map_err(|_| EINVAL)
}
