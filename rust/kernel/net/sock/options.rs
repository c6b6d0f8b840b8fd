// SPDX-License-Identifier: GPL-2.0

//! What programs have set on a socket, and what tools show of it.

use super::{
    Sock,
    SockFlag,
    Timeout, //
};

use crate::{
    bindings,
    error::to_result,
    net::{
        addr::{
            SockAddrBuf,
            AF_INET,
            AF_INET6, //
        },
        msghdr::MsgHdr, //
    },
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
    task::Kuid, //
};

use core::net::SocketAddr;

/// The options of a socket.
impl Sock {
    /// Returns how long receiving may wait (`SO_RCVTIMEO`). Any context.
    #[inline]
    pub fn rcv_timeout(&self, nonblock: bool) -> Timeout {
        // SAFETY: The socket is valid by the type invariants.
        Timeout::from_raw(unsafe { bindings::sock_rcvtimeo(self.as_raw(), nonblock) })
    }

    /// Returns how long sending, and connecting, may wait (`SO_SNDTIMEO`). Any context.
    #[inline]
    pub fn snd_timeout(&self, nonblock: bool) -> Timeout {
        // SAFETY: The socket is valid by the type invariants.
        Timeout::from_raw(unsafe { bindings::sock_sndtimeo(self.as_raw(), nonblock) })
    }

    /// Returns how many bytes, of the `len` that a call asks for, it is worth waking up for
    /// (`SO_RCVLOWAT`, `MSG_WAITALL`). At least one. Any context.
    pub fn rcv_lowat(&self, waitall: bool, len: usize) -> usize {
        let len = c_int::try_from(len).unwrap_or(c_int::MAX);
        // SAFETY: The socket is valid by the type invariants.
        let lowat = unsafe { bindings::sock_rcvlowat(self.as_raw(), c_int::from(waitall), len) };

        usize::try_from(lowat).unwrap_or(1)
    }

    /// Returns from which byte on a call looks at data that it leaves where they are
    /// (`SO_PEEK_OFF`), if the program has said so. Any context.
    pub fn peek_offset(&self) -> Option<u32> {
        u32::try_from(self.raw_peek_offset().load(Relaxed)).ok()
    }

    /// Notes from which byte on the next call looks, or that the program says nothing of it. Any
    /// context.
    pub fn set_peek_offset(&self, offset: Option<u32>) {
        let raw = offset.map_or(-1, |offset| i32::try_from(offset).unwrap_or(i32::MAX));
        self.raw_peek_offset().store(raw, Relaxed);
    }

    fn raw_peek_offset(&self) -> &Atomic<i32> {
        // SAFETY: The socket is valid by the type invariants; C code writes to this aligned word in
        // one piece.
        unsafe { Atomic::from_ptr(&raw mut (*self.as_raw()).sk_peek_off) }
    }

    /// Returns how long closing may wait for data to be sent (`SO_LINGER`), if the program asked for
    /// it. No time at all stands for a reset of the connection. Any context.
    pub fn linger(&self) -> Option<Timeout> {
        if !self.is_flag(SockFlag::Linger) {
            return None;
        }
        // SAFETY: The socket is valid by the type invariants; C code writes to this aligned word in
        // one piece.
        let linger = unsafe { Atomic::from_ptr(&raw mut (*self.as_raw()).sk_lingertime) };
        Some(Timeout::from_jiffies(linger.load(Relaxed)))
    }

    /// Returns the size of the buffer to send from that the program has asked for (`SO_SNDBUF`), if
    /// it has. Any context.
    ///
    /// It is within the limits of the system. The kernel gives, and shows, twice as much, since it
    /// takes its own overhead into account; a protocol without any can go by what was asked for.
    pub fn snd_buf_asked(&self) -> Option<usize> {
        // SAFETY: The socket is valid by the type invariants; C code writes to this aligned word in
        // one piece.
        let size = unsafe { Atomic::from_ptr(&raw mut (*self.as_raw()).sk_sndbuf) };
        self.buf_asked(bindings::SOCK_SNDBUF_LOCK, size)
    }

    /// Returns the size of the buffer to receive into that the program has asked for (`SO_RCVBUF`),
    /// if it has, as [`Sock::snd_buf_asked`] does. Any context.
    pub fn rcv_buf_asked(&self) -> Option<usize> {
        // SAFETY: The socket is valid by the type invariants; C code writes to this aligned word in
        // one piece.
        let size = unsafe { Atomic::from_ptr(&raw mut (*self.as_raw()).sk_rcvbuf) };
        self.buf_asked(bindings::SOCK_RCVBUF_LOCK, size)
    }

    fn buf_asked(&self, lock: u32, size: &Atomic<i32>) -> Option<usize> {
        // SAFETY: The socket is valid by the type invariants.
        if unsafe { bindings::sk_userlocks(self.as_raw()) } & lock == 0 {
            return None;
        }
        Some(usize::try_from(size.load(Relaxed)).unwrap_or(0) / 2)
    }

    /// Returns how many connections may wait to be accepted. Any context.
    pub fn max_ack_backlog(&self) -> u32 {
        self.raw_max_ack_backlog().load(Relaxed)
    }

    /// Notes how many connections may wait to be accepted. Any context.
    ///
    /// What makes a socket a listening one, to `SO_ACCEPTCONN` as well, is its state:
    /// [`TcpState::Listen`](super::TcpState::Listen).
    pub fn set_max_ack_backlog(&self, backlog: u32) {
        self.raw_max_ack_backlog().store(backlog, Relaxed);
    }

    /// Returns how many connections wait to be accepted. Any context.
    pub fn ack_backlog(&self) -> u32 {
        self.raw_ack_backlog().load(Relaxed)
    }

    /// Notes how many connections wait to be accepted, for tools to see. Any context.
    pub fn set_ack_backlog(&self, waiting: u32) {
        self.raw_ack_backlog().store(waiting, Relaxed);
    }

    fn raw_ack_backlog(&self) -> &Atomic<u32> {
        // SAFETY: The socket is valid by the type invariants; C code writes to this aligned word in
        // one piece.
        unsafe { Atomic::from_ptr(&raw mut (*self.as_raw()).sk_ack_backlog) }
    }

    fn raw_max_ack_backlog(&self) -> &Atomic<u32> {
        // SAFETY: The socket is valid by the type invariants; C code writes to this aligned word in
        // one piece.
        unsafe { Atomic::from_ptr(&raw mut (*self.as_raw()).sk_max_ack_backlog) }
    }

    /// Returns whether the program wants to know when data arrived (`SO_TIMESTAMP` and its like). Any
    /// context.
    pub fn wants_timestamp(&self) -> bool {
        // SAFETY: The socket is valid by the type invariants.
        unsafe { bindings::sk_wants_timestamp(self.as_raw()) }
    }

    /// Returns the time of day, as [`Sock::put_timestamp`] takes it: nanoseconds. Any context.
    pub fn time_of_day() -> i64 {
        // SAFETY: It only reads clocks.
        unsafe { bindings::ktime_get_real_ns() }
    }

    /// Tells the receiver of a message when its data arrived, in the form that the program has asked
    /// for, if it has.
    pub fn put_timestamp(&self, msg: &mut MsgHdr, arrived: i64) {
        // SAFETY: The socket and the message are valid by their type invariants.
        unsafe { bindings::sk_put_timestamp(msg.as_raw(), self.as_raw(), arrived) };
    }

    /// Checks the control messages of level `SOL_SOCKET` in a message that is being sent, as all
    /// protocols do, and that each is one.
    ///
    /// # Errors
    ///
    /// `EINVAL` for one that there is not, or not in this form; `EPERM` for one that the current task
    /// may not send.
    pub fn check_controls(&self, msg: &MsgHdr) -> Result {
        let mut cookie = bindings::sockcm_cookie::default();

        if msg.control_bytes().is_empty() {
            return Ok(());
        }
        // SAFETY: The socket and the message are valid by their type invariants, and the control
        // messages were just seen to be in memory of the kernel's own. `cookie` is valid for writing.
        to_result(unsafe { bindings::sock_cmsg_send(self.as_raw(), msg.as_raw(), &raw mut cookie) })
    }

    /// Notes whether the socket takes another path when packets seem to be lost (`SO_TXREHASH`): 0
    /// or 1, or -1 for what the namespace has. Any context.
    pub fn set_txrehash(&self, value: i32) {
        // SAFETY: The socket is valid by the type invariants.
        unsafe { bindings::sk_set_txrehash(self.as_raw(), value) };
    }

    /// Returns the user that the socket belongs to. Any context.
    pub fn uid(&self) -> Kuid {
        // SAFETY: The socket is valid by the type invariants.
        Kuid::from_raw(unsafe { bindings::sk_uid(self.as_raw()) })
    }

    /// Returns whether an interface, or a mark for routing, was chosen for the socket. Any context.
    pub fn has_route(&self) -> bool {
        // SAFETY: The socket is valid by the type invariants.
        unsafe { bindings::sk_has_route(self.as_raw()) }
    }

    /// Returns the number of the inode of the file that the socket belongs to, or zero. Any context.
    pub fn inode(&self) -> u64 {
        // SAFETY: The socket is valid by the type invariants.
        unsafe { bindings::sock_i_ino(self.as_raw()) }
    }

    /// Returns the number of the family that the socket belongs to. Any context.
    pub fn family(&self) -> u16 {
        // SAFETY: The socket is valid by the type invariants, and its family does not change.
        unsafe { (*self.as_raw()).__sk_common.skc_family }
    }

    /// Notes the addresses of the socket and of its peer, where the rest of the kernel looks for
    /// them if it is one of IPv4 or IPv6. Any context.
    pub fn note_names(&self, local: &SocketAddr, peer: &SocketAddr) {
        if !matches!(self.family(), AF_INET | AF_INET6) {
            return;
        }
        let mapped = |addr: &SocketAddr| match addr {
            SocketAddr::V4(addr) => {
                SockAddrBuf::from(SocketAddr::from((addr.ip().to_ipv6_mapped(), addr.port())))
            }
            SocketAddr::V6(addr) => SockAddrBuf::from(SocketAddr::V6(*addr)),
        };
        let (local, peer) = (mapped(local), mapped(peer));

        // SAFETY: The socket is valid by the type invariants, and begins with a `struct inet_sock`
        // as all of these families do. Both addresses are of IPv6.
        unsafe {
            bindings::inet_sock_set_names(
                self.as_raw(),
                local.as_ptr().cast(),
                peer.as_ptr().cast(),
            )
        };
    }
}
