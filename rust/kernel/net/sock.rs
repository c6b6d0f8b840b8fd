// SPDX-License-Identifier: GPL-2.0

//! The half of a socket that protocols work on: `struct sock`.
//!
//! # Who may call what
//!
//! Nothing here needs the socket's lock unless it says so, and nothing takes it but
//! [`Sock::lock`]. All that can change from several sides at once (state, pending error, shutdown
//! mask) is kept in atomics, so that an interrupt handler can report what the peer has done while
//! programs are in the middle of their calls. Each method says where it may be called.
//!
//! C header: [`include/net/sock.h`](srctree/include/net/sock.h)

mod errors;
mod lock;
mod options;
mod wait;
mod wake;

pub use self::errors::{
    CopyNotice,
    NetworkError, //
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

// `bindgen` does not understand all that a `struct sock` is made of, see `rust/bindgen_parameters`.
static_assert!(size_of::<bindings::sock>() == bindings::SOCK_SIZE);

/// The states of TCP, which other stream protocols use as well so that tools can show them.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[repr(u8)]
#[expect(missing_docs, reason = "the names are those of RFC 9293")]
pub enum TcpState {
    Established = bindings::TCP_ESTABLISHED as u8,
    SynSent = bindings::TCP_SYN_SENT as u8,
    SynRecv = bindings::TCP_SYN_RECV as u8,
    FinWait1 = bindings::TCP_FIN_WAIT1 as u8,
    FinWait2 = bindings::TCP_FIN_WAIT2 as u8,
    TimeWait = bindings::TCP_TIME_WAIT as u8,
    Close = bindings::TCP_CLOSE as u8,
    CloseWait = bindings::TCP_CLOSE_WAIT as u8,
    LastAck = bindings::TCP_LAST_ACK as u8,
    Listen = bindings::TCP_LISTEN as u8,
    Closing = bindings::TCP_CLOSING as u8,
    NewSynRecv = bindings::TCP_NEW_SYN_RECV as u8,
}

impl TcpState {
    fn from_raw(state: u8) -> Self {
        match u32::from(state) {
            bindings::TCP_ESTABLISHED => Self::Established,
            bindings::TCP_SYN_SENT => Self::SynSent,
            bindings::TCP_SYN_RECV => Self::SynRecv,
            bindings::TCP_FIN_WAIT1 => Self::FinWait1,
            bindings::TCP_FIN_WAIT2 => Self::FinWait2,
            bindings::TCP_TIME_WAIT => Self::TimeWait,
            bindings::TCP_CLOSE_WAIT => Self::CloseWait,
            bindings::TCP_LAST_ACK => Self::LastAck,
            bindings::TCP_LISTEN => Self::Listen,
            bindings::TCP_CLOSING => Self::Closing,
            bindings::TCP_NEW_SYN_RECV => Self::NewSynRecv,
            _ => Self::Close,
        }
    }
}

impl_flags!(
    /// Which directions of a socket are shut down.
    #[derive(Debug, Clone, Default, Copy, PartialEq, Eq)]
    pub struct ShutdownMask(u8);

    /// A direction of a socket that is shut down.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Shutdown {
        /// Nothing more will be received.
        Recv = bindings::RCV_SHUTDOWN as u8,
        /// Nothing more will be sent.
        Send = bindings::SEND_SHUTDOWN as u8,
    }
);

/// A flag of a socket.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum SockFlag {
    /// No program holds the socket any more.
    Dead = bindings::sock_flags_SOCK_DEAD,
    /// A program is told by a signal what happens (`O_ASYNC`).
    Async = bindings::sock_flags_SOCK_FASYNC,
    /// The peer will send nothing more, and the program has been told so.
    Done = bindings::sock_flags_SOCK_DONE,
    /// Closing waits for data that were not sent yet.
    Linger = bindings::sock_flags_SOCK_LINGER,
    /// Urgent data are part of the stream.
    UrgInline = bindings::sock_flags_SOCK_URGINLINE,
    /// The connection is probed when it is idle.
    KeepOpen = bindings::sock_flags_SOCK_KEEPOPEN,
    /// Datagrams may go to everybody.
    Broadcast = bindings::sock_flags_SOCK_BROADCAST,
    /// `MSG_ZEROCOPY` is answered.
    ZeroCopy = bindings::sock_flags_SOCK_ZEROCOPY,
}

/// A socket as protocols see it.
///
/// # Invariants
///
/// - The `struct sock` is valid and was initialised by `sock_init_data`, and its reference count is
///   not zero.
/// - Its `struct socket`, if it has one, was allocated by `sock_alloc` or `sock_create_lite`.
///
/// # Examples
///
/// What a `recvmsg` has to do before it can copy anything:
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
        // INVARIANT: So do the safety requirements guarantee the type invariants.
        unsafe { &*ptr.cast() }
    }

    /// Returns the raw `struct sock`.
    #[inline]
    pub fn as_raw(&self) -> *mut bindings::sock {
        self.0.get()
    }

    /// Calls `f`, which allocates memory for the socket: what it allocates with
    /// [`GFP_KERNEL_ACCOUNT`] is charged to the memory cgroup that the socket belongs to, rather than
    /// to that of the thread. Process context.
    ///
    /// [`GFP_KERNEL_ACCOUNT`]: crate::alloc::flags::GFP_KERNEL_ACCOUNT
    pub fn charged<R>(&self, f: impl FnOnce() -> R) -> R {
        // SAFETY: The socket is valid by the type invariants, and has a reference to its memory
        // cgroup, if any, until it is freed; it is borrowed for longer than `f` runs.
        let old = unsafe { bindings::sock_enter_memcg(self.as_raw()) };
        let result = f();

        // SAFETY: That is what the same thread had before, and whoever has set it still keeps it.
        unsafe { bindings::sock_leave_memcg(old) };
        result
    }

    /// Takes a reference to the network namespace of the socket, unless it is going away: that of a
    /// socket that the kernel has created for itself can. Any context.
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

    /// Returns which directions are shut down. Any context.
    #[inline]
    pub fn shutdown_mask(&self) -> ShutdownMask {
        // CAST: The bits remain the same.
        ShutdownMask::from_raw(self.raw_shutdown().load(Acquire) as u8)
    }

    /// Shuts down directions. Any context.
    pub fn add_shutdown(&self, mask: impl Into<ShutdownMask>) {
        // CAST: The bits remain the same.
        let mask = u8::from(mask.into()) as i8;
        let shutdown = self.raw_shutdown();
        let mut old = shutdown.load(Relaxed);

        while let Err(current) = shutdown.cmpxchg(old, old | mask, Full) {
            old = current;
        }
    }

    /// Opens both directions again, for a socket that is about to be connected anew. Process context,
    /// may sleep.
    pub fn clear_shutdown(&self) {
        let _guard = self.lock();
        self.raw_shutdown().store(0, Release);
        // SAFETY: The socket is valid by the type invariants, and its lock held.
        unsafe { bindings::sock_reset_flag(self.as_raw(), SockFlag::Done as u32) };
    }

    /// Sets the pending error, which the next call reports. Any context.
    ///
    /// It wakes nobody: see [`Sock::error_report`].
    #[inline]
    pub fn set_error(&self, err: Error) {
        // NO-OVERFLOW: An `Error` is between `-MAX_ERRNO` and -1.
        self.raw_error().store(-err.to_errno(), Release);
    }

    /// Looks at the pending error. Any context.
    #[inline]
    pub fn error(&self) -> Option<Error> {
        Self::error_from_raw(self.raw_error().load(Acquire))
    }

    /// Takes the pending error: no other call will see it. Any context.
    #[inline]
    pub fn take_error(&self) -> Option<Error> {
        // Spares the common case, in which there is none, the atomic operation.
        self.error()?;
        Self::error_from_raw(self.raw_error().xchg(0, Full))
    }

    fn error_from_raw(err: i32) -> Option<Error> {
        match err {
            0 => None,
            err => Some(Error::from_errno(err.wrapping_neg())),
        }
    }

    /// Returns whether a flag is set. Any context.
    #[inline]
    pub fn is_flag(&self, flag: SockFlag) -> bool {
        // SAFETY: The socket is valid by the type invariants.
        unsafe { bindings::sock_flag(self.as_raw(), flag as u32) }
    }

    fn raw_state(&self) -> &Atomic<i8> {
        // SAFETY: By the type invariants the pointer is valid for as long as `self` is. C code
        // writes to the state, a byte, in one piece.
        unsafe { Atomic::from_ptr((&raw mut (*self.as_raw()).__sk_common.skc_state).cast()) }
    }

    fn raw_shutdown(&self) -> &Atomic<i8> {
        // SAFETY: By the type invariants the pointer is valid for as long as `self` is. C code
        // writes to the mask, a byte, in one piece.
        unsafe { Atomic::from_ptr((&raw mut (*self.as_raw()).sk_shutdown).cast()) }
    }

    fn raw_error(&self) -> &Atomic<i32> {
        // SAFETY: By the type invariants the pointer is valid for as long as `self` is. C code
        // writes to the error in ways that are atomic.
        unsafe { Atomic::from_ptr(&raw mut (*self.as_raw()).sk_err) }
    }
}

impl ShutdownMask {
    #[inline]
    fn from_raw(mask: u8) -> Self {
        Self(mask & (Shutdown::Recv as u8 | Shutdown::Send as u8))
    }
}

// SAFETY: The reference count of `struct sock` is what `sock_hold` and `sock_put` work on, and the
// type invariants guarantee that it is not zero while there is a reference.
unsafe impl AlwaysRefCounted for Sock {
    #[inline]
    fn inc_ref(&self) {
        // SAFETY: The existence of a shared reference means that the reference count is not zero.
        unsafe { bindings::sock_hold(self.as_raw()) };
    }

    #[inline]
    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: The safety requirements guarantee that the reference count is not zero and that
        // one reference is ours to give up.
        unsafe { bindings::sock_put(obj.cast().as_ptr()) };
    }
}

// SAFETY: `Sock::dec_ref` can be called from any thread.
unsafe impl Send for Sock {}

// SAFETY: The methods that take a shared reference access the socket atomically, under its locks,
// or only read what does not change.
unsafe impl Sync for Sock {}
