// SPDX-License-Identifier: GPL-2.0

//! Options that programs have set on a socket, and fields that tools show.

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
    /// Returns the timeout for receiving (`SO_RCVTIMEO`). Any context.
    #[inline]
    pub fn rcv_timeout(&self, nonblock: bool) -> Timeout {
        // SAFETY: The socket is valid by the type invariants.
        Timeout::from_raw(unsafe { bindings::sock_rcvtimeo(self.as_raw(), nonblock) })
    }

    /// Returns the timeout for sending and connecting (`SO_SNDTIMEO`). Any context.
    #[inline]
    pub fn snd_timeout(&self, nonblock: bool) -> Timeout {
        // SAFETY: The socket is valid by the type invariants.
        Timeout::from_raw(unsafe { bindings::sock_sndtimeo(self.as_raw(), nonblock) })
    }

    /// Returns the minimum number of bytes, at least 1, for which a receive call for `len` bytes
    /// should wake up (`SO_RCVLOWAT`, `MSG_WAITALL`). Any context.
    pub fn rcv_lowat(&self, waitall: bool, len: usize) -> usize {
        let len = c_int::try_from(len).unwrap_or(c_int::MAX);
        // SAFETY: The socket is valid by the type invariants.
        let lowat = unsafe { bindings::sock_rcvlowat(self.as_raw(), c_int::from(waitall), len) };

        usize::try_from(lowat).unwrap_or(1)
    }

    /// Returns the offset at which `MSG_PEEK` starts to read (`SO_PEEK_OFF`), if the program has
    /// set one. Any context.
    pub fn peek_offset(&self) -> Option<u32> {
        u32::try_from(self.raw_peek_offset().load(Relaxed)).ok()
    }

    /// Sets the offset for the next `MSG_PEEK`; [`None`] disables it. Any context.
    pub fn set_peek_offset(&self, offset: Option<u32>) {
        let raw = offset.map_or(-1, |offset| i32::try_from(offset).unwrap_or(i32::MAX));
        self.raw_peek_offset().store(raw, Relaxed);
    }

    /// Moves this offset, if the program has set one, to where `moved` says for the offset by now.
    /// Any context.
    pub fn move_peek_offset(&self, moved: impl Fn(u32) -> u32) {
        let raw = self.raw_peek_offset();
        let mut old = raw.load(Relaxed);
        while let Ok(offset) = u32::try_from(old) {
            let new = i32::try_from(moved(offset)).unwrap_or(i32::MAX);
            match raw.cmpxchg(old, new, Relaxed) {
                Ok(_) => return,
                Err(now) => old = now,
            }
        }
    }

    fn raw_peek_offset(&self) -> &Atomic<i32> {
        // SAFETY: The socket is valid by the type invariants; C code writes this aligned word with
        // single stores.
        unsafe { Atomic::from_ptr(&raw mut (*self.as_raw()).sk_peek_off) }
    }

    /// Returns the time that closing may wait for data to be sent (`SO_LINGER`), if the program has
    /// set it. A time of zero requests a reset of the connection. Any context.
    pub fn linger(&self) -> Option<Timeout> {
        if !self.is_flag(SockFlag::Linger) {
            return None;
        }
        // SAFETY: The socket is valid by the type invariants; C code writes this aligned word with
        // single stores.
        let linger = unsafe { Atomic::from_ptr(&raw mut (*self.as_raw()).sk_lingertime) };
        Some(Timeout::from_jiffies(linger.load(Relaxed)))
    }

    /// Returns the size of the send buffer that the program has requested (`SO_SNDBUF`), if any.
    /// Any context.
    ///
    /// The size is within the system's limits. The kernel stores and reports twice the requested
    /// size, to account for its own overhead; a protocol without overhead can use the requested
    /// size.
    pub fn snd_buf_asked(&self) -> Option<usize> {
        // SAFETY: The socket is valid by the type invariants; C code writes this aligned word with
        // single stores.
        let size = unsafe { Atomic::from_ptr(&raw mut (*self.as_raw()).sk_sndbuf) };
        self.buf_asked(bindings::SOCK_SNDBUF_LOCK, size)
    }

    /// Returns the size of the receive buffer that the program has requested (`SO_RCVBUF`), if any.
    /// See [`Sock::snd_buf_asked`]. Any context.
    pub fn rcv_buf_asked(&self) -> Option<usize> {
        // SAFETY: The socket is valid by the type invariants; C code writes this aligned word with
        // single stores.
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

    /// Returns the maximum number of connections that may wait to be accepted. Any context.
    pub fn max_ack_backlog(&self) -> u32 {
        self.raw_max_ack_backlog().load(Relaxed)
    }

    /// Sets the maximum number of connections that may wait to be accepted. Any context.
    ///
    /// This does not make the socket a listening one (also for `SO_ACCEPTCONN`): its state
    /// [`TcpState::Listen`](super::TcpState::Listen) does.
    pub fn set_max_ack_backlog(&self, backlog: u32) {
        self.raw_max_ack_backlog().store(backlog, Relaxed);
    }

    /// Returns the number of connections that wait to be accepted. Any context.
    pub(in crate::net) fn ack_backlog(&self) -> u32 {
        // SAFETY: The socket is valid by the type invariants; C code writes this aligned word with
        // single stores.
        unsafe { Atomic::from_ptr(&raw mut (*self.as_raw()).sk_ack_backlog) }.load(Relaxed)
    }

    fn raw_max_ack_backlog(&self) -> &Atomic<u32> {
        // SAFETY: The socket is valid by the type invariants; C code writes this aligned word with
        // single stores.
        unsafe { Atomic::from_ptr(&raw mut (*self.as_raw()).sk_max_ack_backlog) }
    }

    /// Returns `true` if the program has requested receive timestamps (`SO_TIMESTAMP` and similar
    /// options). Any context.
    pub fn wants_timestamp(&self) -> bool {
        // SAFETY: The socket is valid by the type invariants.
        unsafe { bindings::sk_wants_timestamp(self.as_raw()) }
    }

    /// Returns the time of day in nanoseconds, for [`Sock::put_timestamp`]. Any context.
    pub fn time_of_day() -> i64 {
        // SAFETY: This only reads clocks.
        unsafe { bindings::ktime_get_real_ns() }
    }

    /// Notes the current CPU as the one where something has arrived (`SO_INCOMING_CPU`). Any
    /// context.
    #[inline]
    pub fn update_incoming_cpu(&self) {
        // SAFETY: The socket is valid by the type invariants; this writes an aligned word with a
        // single store.
        unsafe { bindings::sk_incoming_cpu_update(self.as_raw()) };
    }

    /// Adds the arrival time to a message that is being received, in the form that the program has
    /// requested, if any.
    pub fn put_timestamp(&self, msg: &mut MsgHdr, arrived: i64) {
        // SAFETY: The socket and the message are valid by their type invariants.
        unsafe { bindings::sk_put_timestamp(msg.as_raw(), self.as_raw(), arrived) };
    }

    /// Returns `true` if the program has asked for the arrival time of a datagram (`SIOCGSTAMP`).
    /// Any context.
    pub fn keeps_timestamp(&self) -> bool {
        self.is_flag(SockFlag::Timestamp)
    }

    /// Stores the arrival time of a datagram for `SIOCGSTAMP`, if [`Self::keeps_timestamp`]. If
    /// not, stores only that a datagram has arrived. Any context.
    pub fn store_timestamp(&self, arrived: i64) {
        // SAFETY: The socket is valid by the type invariants.
        unsafe { bindings::sk_store_timestamp(self.as_raw(), arrived) };
    }

    /// Checks the control messages of level `SOL_SOCKET` in a message that is being sent, as all
    /// protocols do, and the format of all control messages.
    ///
    /// # Errors
    ///
    /// Returns `EINVAL` for an unknown or malformed control message, and `EPERM` for one that the
    /// current task may not send.
    pub fn check_controls(&self, msg: &MsgHdr) -> Result {
        let mut cookie = bindings::sockcm_cookie::default();

        if msg.control_bytes().is_empty() {
            return Ok(());
        }
        // SAFETY: The socket and the message are valid by their type invariants, and
        // `control_bytes()` has shown that the control messages are in the kernel's memory.
        // `cookie` is valid for writing.
        to_result(unsafe { bindings::sock_cmsg_send(self.as_raw(), msg.as_raw(), &raw mut cookie) })
    }

    /// Enables (1) or disables (0) a change of path when packets seem to be lost (`SO_TXREHASH`);
    /// -1 selects the namespace's default. Any context.
    pub fn set_txrehash(&self, value: i32) {
        // SAFETY: The socket is valid by the type invariants.
        unsafe { bindings::sk_set_txrehash(self.as_raw(), value) };
    }

    /// Returns the user that owns the socket. Any context.
    pub fn uid(&self) -> Kuid {
        // SAFETY: The socket is valid by the type invariants.
        Kuid::from_raw(unsafe { bindings::sk_uid(self.as_raw()) })
    }

    /// Returns `true` if the socket is bound to an interface or has a routing mark. Any context.
    pub fn has_route(&self) -> bool {
        // SAFETY: The socket is valid by the type invariants.
        unsafe { bindings::sk_has_route(self.as_raw()) }
    }

    /// Returns the inode number of the socket's file, or 0 if there is none. Any context.
    pub fn inode(&self) -> u64 {
        // SAFETY: The socket is valid by the type invariants.
        unsafe { bindings::sock_i_ino(self.as_raw()) }
    }

    /// Returns the address family of the socket. Any context.
    pub fn family(&self) -> u16 {
        // SAFETY: The socket is valid by the type invariants. C code changes the family of a socket
        // only from `AF_INET6` to `AF_INET` (`IPV6_ADDRFORM`), with a single store, and never that
        // of a socket of our own families.
        unsafe { (&raw const (*self.as_raw()).__sk_common.skc_family).read_volatile() }
    }

    /// Stores the addresses of the socket and its peer where the rest of the kernel looks for them,
    /// if the socket is of IPv4 or IPv6. Any context.
    ///
    /// Does nothing if the protocol gives its sockets ports itself, as TCP and UDP do: its hash
    /// tables depend on these addresses.
    pub fn set_names(&self, local: &SocketAddr, peer: &SocketAddr) {
        let sk = self.as_raw();
        // BPF or an upper layer may replace the protocol, with single stores.
        // SAFETY: The socket is valid by the type invariants.
        let proto = unsafe { (&raw const (*sk).__sk_common.skc_prot).read_volatile() };
        // SAFETY: A socket has a valid protocol at any time.
        let has_ports = unsafe { (*proto).put_port }.is_some();
        if has_ports || !matches!(self.family(), AF_INET | AF_INET6) {
            return;
        }
        let (local, peer) = (SockAddrBuf::mapped(local), SockAddrBuf::mapped(peer));

        // SAFETY: The socket is valid by the type invariants. By its family, it begins with a
        // `struct inet_sock`, and it is in no hash table. Both addresses are IPv6 addresses.
        unsafe { bindings::inet_sock_set_names(sk, local.as_ptr().cast(), peer.as_ptr().cast()) };
    }
}
