// SPDX-License-Identifier: GPL-2.0

//! The protocol's side of a socket: `struct sock`.
//!
//! # Locking
//!
//! No method needs the socket's lock unless its documentation says so, and only [`Sock::lock`]
//! takes it. The fields that may change concurrently (state, pending error, shutdown mask) are
//! accessed atomically, so that an interrupt handler can report the peer's actions while programs
//! are inside calls. Each method documents the contexts from which it may be called.
//!
//! C header: [`include/net/sock.h`](srctree/include/net/sock.h)

mod errors;
mod lock;
mod options;
mod wait;
mod wake;

pub use self::errors::{
    NetworkError,
    ZerocopyNotification, //
};
pub use self::lock::SockGuard;
pub use self::wait::{
    Timeout,
    WaitError, //
};

use crate::{
    bindings,
    impl_flags,
    net::namespace::Namespace,
    prelude::*,
    sync::{
        aref::{
            ARef,
            AlwaysRefCounted, //
        },
        atomic::{
            Acquire,
            Atomic,
            Full,
            Relaxed,
            Release, //
        }, //
    },
    types::Opaque, //
};

use core::ptr::NonNull;

// `bindgen` does not understand all members of `struct sock`, see `rust/bindgen_parameters`.
static_assert!(size_of::<bindings::sock>() == bindings::SOCK_SIZE);

/// The states of TCP. Other stream protocols use them as well, so that tools can show them.
///
/// `TIME_WAIT` and `NEW_SYN_RECV` are missing: no [`Sock`] has them. To the kernel they mean that
/// the object is not a `struct sock`, but a smaller one that begins in the same way.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[repr(u8)]
#[expect(missing_docs, reason = "the names are those of RFC 9293")]
pub enum TcpState {
    Established = bindings::TCP_ESTABLISHED as u8,
    SynSent = bindings::TCP_SYN_SENT as u8,
    SynRecv = bindings::TCP_SYN_RECV as u8,
    FinWait1 = bindings::TCP_FIN_WAIT1 as u8,
    FinWait2 = bindings::TCP_FIN_WAIT2 as u8,
    Close = bindings::TCP_CLOSE as u8,
    CloseWait = bindings::TCP_CLOSE_WAIT as u8,
    LastAck = bindings::TCP_LAST_ACK as u8,
    Listen = bindings::TCP_LISTEN as u8,
    Closing = bindings::TCP_CLOSING as u8,
}

impl TcpState {
    fn from_raw(state: u8) -> Self {
        match u32::from(state) {
            bindings::TCP_ESTABLISHED => Self::Established,
            bindings::TCP_SYN_SENT => Self::SynSent,
            bindings::TCP_SYN_RECV => Self::SynRecv,
            bindings::TCP_FIN_WAIT1 => Self::FinWait1,
            bindings::TCP_FIN_WAIT2 => Self::FinWait2,
            bindings::TCP_CLOSE_WAIT => Self::CloseWait,
            bindings::TCP_LAST_ACK => Self::LastAck,
            bindings::TCP_LISTEN => Self::Listen,
            bindings::TCP_CLOSING => Self::Closing,
            _ => Self::Close,
        }
    }
}

impl_flags!(
    /// Directions of a socket that are shut down.
    #[derive(Debug, Clone, Default, Copy, PartialEq, Eq)]
    pub struct ShutdownMask(u8);

    /// One direction of a socket that is shut down.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Shutdown {
        /// No more data will be received.
        Recv = bindings::RCV_SHUTDOWN as u8,
        /// No more data will be sent.
        Send = bindings::SEND_SHUTDOWN as u8,
    }
);

/// A flag of a socket.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum SockFlag {
    /// A program is notified of events by a signal (`O_ASYNC`).
    Async = bindings::sock_flags_SOCK_FASYNC,
    /// Closing waits until all data has been sent (`SO_LINGER`).
    Linger = bindings::sock_flags_SOCK_LINGER,
    /// Urgent data is part of the stream.
    UrgInline = bindings::sock_flags_SOCK_URGINLINE,
    /// Datagrams may be sent to broadcast addresses.
    Broadcast = bindings::sock_flags_SOCK_BROADCAST,
    /// The program gets notifications for `MSG_ZEROCOPY`.
    ZeroCopy = bindings::sock_flags_SOCK_ZEROCOPY,
    /// A pending error also counts as exceptional data (`SO_SELECT_ERR_QUEUE`).
    SelectErrQueue = bindings::sock_flags_SOCK_SELECT_ERR_QUEUE,
    /// The arrival time of a datagram is stored (`SIOCGSTAMP`).
    Timestamp = bindings::sock_flags_SOCK_TIMESTAMP,
}

/// A socket as seen by protocols.
///
/// # Invariants
///
/// - The `struct sock` is valid and was initialised by `sock_init_data`, and its reference count is
///   not zero.
/// - Its `struct socket`, if it has one, was allocated by `sock_alloc` or `sock_create_lite`.
///
/// # Examples
///
/// The preparations of a `recvmsg` before it copies data:
///
/// ```
/// use kernel::net::sock::{
///     Shutdown,
///     Sock, //
/// };
///
/// fn wait_for_data(sk: &Sock, nonblock: bool, available: impl Fn() -> usize) -> Result<usize> {
///     let mut timeout = sk.rcv_timeout(nonblock);
///
///     sk.wait(&mut timeout, || {
///         available() > 0 || sk.error().is_some() || sk.shutdown_mask().contains(Shutdown::Recv)
///     })?;
///     match (available(), sk.take_error()) {
///         (0, Some(err)) => Err(err),
///         (available, _) => Ok(available),
///     }
/// }
/// ```
#[repr(transparent)]
pub struct Sock(Opaque<bindings::sock>);

impl Sock {
    /// Creates a reference to a [`Sock`] from a valid pointer.
    ///
    /// # Safety
    ///
    /// For the duration of `'a`, `ptr` must point to a valid `struct sock` that was initialised by
    /// `sock_init_data` and whose reference count is not zero. Its `struct socket`, if it ever has
    /// one, must be allocated by `sock_alloc` or `sock_create_lite`.
    #[inline]
    pub unsafe fn from_raw<'a>(ptr: *mut bindings::sock) -> &'a Self {
        // SAFETY: The pointer is valid by the safety requirements and `Self` has the same layout.
        //
        // INVARIANT: The safety requirements guarantee the type invariants.
        unsafe { &*ptr.cast() }
    }

    /// Returns the raw `struct sock`.
    #[inline]
    pub fn as_raw(&self) -> *mut bindings::sock {
        self.0.get()
    }

    /// Calls `f`, charging its allocations to the socket's memory cgroup. Process context.
    ///
    /// Allocations with [`GFP_KERNEL_ACCOUNT`] are charged to the cgroup that the socket belongs to
    /// instead of the thread's.
    ///
    /// [`GFP_KERNEL_ACCOUNT`]: crate::alloc::flags::GFP_KERNEL_ACCOUNT
    pub fn with_memcg<R>(&self, f: impl FnOnce() -> R) -> R {
        // SAFETY: The socket is valid by the type invariants, and holds a reference to its memory
        // cgroup, if any, until it is freed. The socket is borrowed until after `f` has returned.
        let old = unsafe { bindings::sock_enter_memcg(self.as_raw()) };
        let result = f();

        // SAFETY: `old` is what this thread had before, and the code that set it still keeps it
        // alive.
        unsafe { bindings::sock_leave_memcg(old) };
        result
    }

    /// Takes a reference to the network namespace of the socket. Any context.
    ///
    /// Returns [`None`] if the namespace is being destroyed, which can happen to sockets that the
    /// kernel has created for itself.
    pub fn namespace(&self) -> Option<ARef<Namespace>> {
        // SAFETY: The socket is valid by the type invariants, and keeps at least the memory of its
        // namespace.
        unsafe { Namespace::try_get(bindings::sock_net(self.as_raw())) }
    }

    /// Returns the state, with acquire ordering. Any context.
    #[inline]
    pub fn state(&self) -> TcpState {
        // CAST: The bits remain the same.
        TcpState::from_raw(self.raw_state().load(Acquire) as u8)
    }

    /// Changes the state, with release ordering. Any context.
    #[inline]
    pub fn set_state(&self, state: TcpState) {
        // CAST: The bits remain the same.
        self.raw_state().store(state as u8 as i8, Release);
    }

    /// Returns the directions that are shut down. Any context.
    #[inline]
    pub fn shutdown_mask(&self) -> ShutdownMask {
        // CAST: The bits remain the same.
        ShutdownMask::from_raw(self.raw_shutdown().load(Acquire) as u8)
    }

    /// Shuts down one or both directions. Any context.
    pub fn add_shutdown(&self, mask: impl Into<ShutdownMask>) {
        // CAST: The bits remain the same.
        let mask = u8::from(mask.into()) as i8;
        let shutdown = self.raw_shutdown();
        let mut old = shutdown.load(Relaxed);

        while let Err(current) = shutdown.cmpxchg(old, old | mask, Full) {
            old = current;
        }
    }

    /// Reopens both directions of a socket that is connected no longer. Any context.
    pub fn clear_shutdown(&self) {
        self.raw_shutdown().store(0, Release);
    }

    /// Sets the pending error, which the next call reports. Any context.
    ///
    /// Does not wake waiters: see [`Sock::error_report`].
    #[inline]
    pub fn set_error(&self, err: Error) {
        // OVERFLOW: An `Error` is between `-MAX_ERRNO` and -1.
        self.raw_error().store(-err.to_errno(), Release);
    }

    /// Returns the pending error without clearing it. Any context.
    #[inline]
    pub fn error(&self) -> Option<Error> {
        Self::error_from_raw(self.raw_error().load(Acquire))
    }

    /// Returns and clears the pending error, so that no other call will see it. Any context.
    #[inline]
    pub fn take_error(&self) -> Option<Error> {
        // In the common case there is no error. This avoids the atomic operation then.
        self.error()?;
        Self::error_from_raw(self.raw_error().xchg(0, Full))
    }

    fn error_from_raw(err: i32) -> Option<Error> {
        match err {
            0 => None,
            err => Some(Error::from_errno(err.wrapping_neg())),
        }
    }

    /// Returns `true` if a flag is set. Any context.
    #[inline]
    pub fn is_flag(&self, flag: SockFlag) -> bool {
        // SAFETY: The socket is valid by the type invariants.
        unsafe { bindings::sock_flag(self.as_raw(), flag as u32) }
    }

    fn raw_state(&self) -> &Atomic<i8> {
        // SAFETY: By the type invariants the pointer is valid for as long as `self` is. C code
        // writes the state, which is a byte, with single stores.
        unsafe { Atomic::from_ptr((&raw mut (*self.as_raw()).__sk_common.skc_state).cast()) }
    }

    fn raw_shutdown(&self) -> &Atomic<i8> {
        // SAFETY: By the type invariants the pointer is valid for as long as `self` is. C code
        // writes the mask, which is a byte, with single stores.
        unsafe { Atomic::from_ptr((&raw mut (*self.as_raw()).sk_shutdown).cast()) }
    }

    fn raw_error(&self) -> &Atomic<i32> {
        // SAFETY: By the type invariants the pointer is valid for as long as `self` is. C code
        // writes the error atomically.
        unsafe { Atomic::from_ptr(&raw mut (*self.as_raw()).sk_err) }
    }
}

impl ShutdownMask {
    #[inline]
    fn from_raw(mask: u8) -> Self {
        Self(mask & (Shutdown::Recv as u8 | Shutdown::Send as u8))
    }
}

// SAFETY: `sock_hold` and `sock_put` work on the reference count of `struct sock`, and the type
// invariants guarantee that it is not zero while there is a reference.
unsafe impl AlwaysRefCounted for Sock {
    #[inline]
    fn inc_ref(&self) {
        // SAFETY: The existence of a shared reference means that the reference count is not zero.
        unsafe { bindings::sock_hold(self.as_raw()) };
    }

    #[inline]
    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: The safety requirements guarantee that the reference count is not zero and that
        // we own one reference.
        unsafe { bindings::sock_put(obj.cast().as_ptr()) };
    }
}

// SAFETY: `Sock::dec_ref` can be called from any thread.
unsafe impl Send for Sock {}

// SAFETY: The methods that take a shared reference access the socket atomically or under its locks,
// or only read fields that do not change. The exception is `set_names`: like the internet
// protocols, it stores addresses that C code reads at any time without a lock, to show or to
// compare them, and there it does not matter if some are old and others new.
unsafe impl Sync for Sock {}
