// SPDX-License-Identifier: GPL-2.0

//! Sending and receiving with kernel sockets.

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

/// Sending.
impl<P: Protocol> KernelSocket<P> {
    /// Sends as much as there is room for, and returns the number of bytes.
    ///
    /// The data is copied, and no longer in use when this returns. If not everything was sent, or
    /// if this fails with `EAGAIN`, [`Callbacks::write_space`] is called once there is room.
    ///
    /// A datagram is sent as a whole, to the peer that the socket was connected to.
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
        // SAFETY: The socket is valid by the type invariants. The message is fully initialised, and
        // the memory that it refers to may be read while `from`, `to` and `control` are borrowed. C
        // code makes a copy of the address, and of the control messages that it keeps.
        bytes(unsafe { bindings::sock_sendmsg(self.as_raw(), &raw mut msg) })
    }
}

/// Stream data.
impl KernelSocket<Tcp> {
    /// Like [`KernelSocket::send`], but the last packet may wait until it is full (`MSG_MORE`). To be
    /// followed by another call that sends, at once or when there is room.
    pub fn send_part(&self, from: &BioVecs<'_>) -> Result<usize> {
        self.sendmsg(from, None, None, bindings::MSG_MORE)
    }

    /// Like [`KernelSocket::send`], but the last byte sent is urgent (`MSG_OOB`).
    pub fn send_urgent(&self, from: &BioVecs<'_>) -> Result<usize> {
        self.sendmsg(from, None, None, bindings::MSG_OOB)
    }

    /// Receives available data into `into`, and returns the number of bytes.
    ///
    /// Returns 0 (unless `into` is empty) at the end of the stream: the peer will not send more.
    /// Fails with `EAGAIN` if there is no data yet.
    pub fn recv(&self, into: &BioVecs<'_>) -> Result<usize> {
        let mut msg = bindings::msghdr::default();

        // SAFETY: The iterator is valid for writing.
        unsafe { into.init_iter(&raw mut msg.msg_iter, bindings::ITER_DEST) };
        // SAFETY: The socket is valid by the type invariants. The message is fully initialised, and
        // the memory that it refers to may be written to while `into` is borrowed.
        bytes(unsafe {
            bindings::sock_recvmsg(self.as_raw(), &raw mut msg, bindings::MSG_DONTWAIT as c_int)
        })
    }
}

/// Datagrams.
impl KernelSocket<Udp> {
    /// Sends a datagram to `addr`.
    ///
    /// The data is copied, and no longer in use when this returns.
    ///
    /// # Errors
    ///
    /// - `EAGAIN` if there is no room; [`Callbacks::write_space`] is called when to try again.
    ///   `EMSGSIZE` if the data is too large for any datagram.
    /// - The pending error of an earlier datagram, which is cleared by this, for example
    ///   `ECONNREFUSED` if no socket has received it. Only connected sockets get such errors.
    pub fn send_to(&self, from: &BioVecs<'_>, addr: SocketAddr) -> Result<usize> {
        self.sendmsg(from, Some(&SockAddrBuf::from(addr)), None, 0)
    }

    /// Sends a datagram with control messages to `addr` or to the peer. The errors are those of
    /// sendmsg(2) for the control messages, and those of [`KernelSocket::send_to`].
    ///
    /// Some control messages require privileges: the caller must decide which ones to allow.
    pub fn send_with(
        &self,
        from: &BioVecs<'_>,
        addr: Option<SocketAddr>,
        control: &mut ControlBuf,
    ) -> Result<usize> {
        let addr = addr.map(SockAddrBuf::from);
        self.sendmsg(from, addr.as_ref(), Some(control), 0)
    }

    /// Receives the next datagram. If it does not fit, the rest of it is lost.
    ///
    /// # Errors
    ///
    /// - `EAGAIN` if there is none; [`Callbacks::data_ready`] is called once there is.
    /// - The pending error of an earlier datagram, see [`KernelSocket::send_to`].
    pub fn recv_from(&self, into: &BioVecs<'_>) -> Result<ReceivedDatagram> {
        self.recvmsg(into, None, 0)
    }

    /// Like [`KernelSocket::recv_from`], and also receives the control messages that options have
    /// enabled, as far as there is room.
    pub fn recv_with(
        &self,
        into: &BioVecs<'_>,
        control: &mut ControlBuf,
    ) -> Result<ReceivedDatagram> {
        self.recvmsg(into, Some(control), 0)
    }

    /// Receives from the error queue the returned part of a datagram that caused an error.
    ///
    /// Stores as much as fits; `from` of the result is the address that the datagram was sent to.
    /// The control messages describe the error, which is no longer pending afterwards.
    ///
    /// Fails with `EAGAIN` if the queue is empty; [`Callbacks::error_report`] is called once it is
    /// not, if the option `IP_RECVERR` or `IPV6_RECVERR` is set.
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
            control.attach_for_receive(&mut msg);
        }
        // SAFETY: The iterator is valid for writing.
        unsafe { into.init_iter(&raw mut msg.msg_iter, bindings::ITER_DEST) };
        // SAFETY: The socket is valid by the type invariants. The message is fully initialised and
        // has room for any address. The memory that it refers to may be written to while `into` and
        // `control` are borrowed, up to the lengths in the message.
        let len = bytes(unsafe {
            bindings::sock_recvmsg(
                self.as_raw(),
                &raw mut msg,
                (bindings::MSG_DONTWAIT | bindings::MSG_TRUNC | flags) as c_int,
            )
        })?;
        if let Some(control) = control {
            control.set_received_len(&msg);
        }
        Ok(ReceivedDatagram {
            len,
            copied: len.min(into.len_bytes()),
            from: addr.parse(msg.msg_namelen)?,
        })
    }

    /// Counts a datagram that was received and then dropped. Any context.
    ///
    /// UDP uses the same counters if the receive buffer is full: the drops of the socket, and the
    /// statistics of its namespace.
    pub fn count_drop(&self) {
        // SAFETY: By the type invariants, this is a valid UDP socket.
        unsafe { bindings::udp_count_drop(self.sk().as_raw()) };
    }
}

/// A datagram received by [`KernelSocket::recv_from`].
#[derive(Copy, Clone, Debug)]
pub struct ReceivedDatagram {
    /// Length of the datagram in bytes.
    pub len: usize,
    /// Number of bytes that were stored.
    pub copied: usize,
    /// Source address of the datagram.
    pub from: SocketAddr,
}

/// Converts the result of sending or receiving in C.
pub(super) fn bytes(ret: c_int) -> Result<usize> {
    to_result(ret)?;
    usize::try_from(ret).map_err(|_| EINVAL)
}
