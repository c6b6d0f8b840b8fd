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
mod options;
mod wait;

pub use self::errors::{
    CopyNotice,
    NetworkError, //
};
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
    types::{
        NotThreadSafe,
        Opaque, //
    }, //
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

    /// Locks the socket. May sleep, for as long as any other call holds the lock.
    ///
    /// The lock must not be held by the caller already, and can't be taken where the callbacks of
    /// a socket are called.
    pub fn lock(&self) -> SockGuard<'_> {
        // SAFETY: The socket is valid by the type invariants.
        unsafe { bindings::lock_sock(self.as_raw()) };

        // INVARIANT: The lock was just taken.
        SockGuard {
            sk: self,
            _not_send: NotThreadSafe,
        }
    }

    /// Wakes all who wait for the socket: its state has changed.
    ///
    /// Any context, hard interrupts included, as long as nobody has replaced `sk_state_change`, and
    /// so for all sockets that belong to programs.
    pub fn state_changed(&self) {
        let sk = self.as_raw();

        // SAFETY: The socket is valid by the type invariants, and its callbacks have been set by
        // `sock_init_data`.
        if let Some(state_change) = unsafe { (&raw const (*sk).sk_state_change).read_volatile() } {
            // SAFETY: This is what the callback is for.
            unsafe { state_change(sk) };
        }

        // What programs that asked for a signal (`F_SETSIG`) are told, as TCP does it.
        let mask = self.shutdown_mask();
        let state = self.state();

        if mask == Shutdown::Recv | Shutdown::Send || state == TcpState::Close {
            self.wake_async(bindings::SOCK_WAKE_WAITD, bindings::POLL_HUP);
        } else if mask.contains(Shutdown::Recv) {
            self.wake_async(bindings::SOCK_WAKE_WAITD, bindings::POLL_IN);
        } else if state == TcpState::Established {
            self.wake_async(bindings::SOCK_WAKE_IO, bindings::POLL_OUT);
        }
    }

    /// Wakes those who wait for data, or for a connection to accept.
    ///
    /// Any context, with the restriction of [`Sock::state_changed`].
    pub fn data_ready(&self) {
        let sk = self.as_raw();

        // SAFETY: The socket is valid by the type invariants, and its callbacks have been set by
        // `sock_init_data`.
        if let Some(data_ready) = unsafe { (&raw const (*sk).sk_data_ready).read_volatile() } {
            // SAFETY: This is what the callback is for.
            unsafe { data_ready(sk) };
        }
    }

    /// Wakes those who wait for room to send.
    ///
    /// Any context, with the restriction of [`Sock::state_changed`].
    ///
    /// Who waits by way of a signal is told only after [`Sock::want_space`].
    pub fn write_space(&self) {
        let sk = self.as_raw();

        // The default callback tells nobody unless half of the send buffer is free. A protocol that
        // has a buffer of its own charges nothing to this one, so that it is always empty.

        // SAFETY: The socket is valid by the type invariants, and its callbacks have been set by
        // `sock_init_data`.
        if let Some(write_space) = unsafe { (&raw const (*sk).sk_write_space).read_volatile() } {
            // SAFETY: This is what the callback is for.
            unsafe { write_space(sk) };
        }
    }

    /// Wakes those who wait for anything at all: there is an error pending.
    ///
    /// Any context, with the restriction of [`Sock::state_changed`].
    pub fn error_report(&self) {
        // SAFETY: The socket is valid by the type invariants, and its callbacks have been set by
        // `sock_init_data`.
        unsafe { bindings::sk_error_report(self.as_raw()) };
    }

    /// Notes that a program has found no room to send, and wants a signal when there is some.
    ///
    /// The caller must look again afterwards. In a call of the program's, or in
    /// [`Ops::poll`](super::family::Ops::poll).
    pub fn want_space(&self) {
        // SAFETY: The socket is valid by the type invariants.
        unsafe { bindings::sk_want_space(self.as_raw()) };
    }

    /// Sends `SIGURG` to who has asked for signals (`F_SETOWN`): an urgent byte is on its way.
    ///
    /// Any context, hard interrupts included.
    pub fn send_sigurg(&self) {
        // SAFETY: The socket is valid by the type invariants, and its `struct socket`, if it has one,
        // is part of an inode, by the same.
        unsafe { bindings::sk_send_sigurg(self.as_raw()) };
    }

    fn wake_async(&self, how: u32, band: u32) {
        // CAST: Both are small constants.
        // SAFETY: The socket is valid by the type invariants.
        unsafe { bindings::sk_wake_async(self.as_raw(), how as c_int, band as c_int) };
    }

    /// Sends `SIGPIPE` to the calling program, which has sent to a socket that can send nothing
    /// any more (and has not said `MSG_NOSIGNAL`). Process context.
    pub fn send_sigpipe() {
        // SAFETY: The current task is valid.
        unsafe { bindings::send_sig(bindings::SIGPIPE as c_int, bindings::get_current(), 0) };
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

/// Proof that the lock of a socket is held, until it is dropped.
///
/// # Invariants
///
/// The lock of `sk` is held by the current task, and released by nobody but this object.
#[must_use = "the lock is released as soon as the guard is dropped"]
pub struct SockGuard<'a> {
    sk: &'a Sock,
    _not_send: NotThreadSafe,
}

impl SockGuard<'_> {
    /// Sets a flag.
    pub fn set_flag(&mut self, flag: SockFlag) {
        // SAFETY: The socket is valid by the type invariants of `Sock`, and its lock, which guards
        // changes of the flags, is held by those of `Self`.
        unsafe { bindings::sock_set_flag(self.sk.as_raw(), flag as u32) };
    }

    /// Resets a flag.
    pub fn reset_flag(&mut self, flag: SockFlag) {
        // SAFETY: As above.
        unsafe { bindings::sock_reset_flag(self.sk.as_raw(), flag as u32) };
    }

    /// Sets what `SO_REUSEPORT` shows. The kernel does it for internet sockets only.
    pub fn set_reuse_port(&mut self, on: bool) {
        // SAFETY: The socket is valid by the type invariants of `Sock`, and its lock, which guards
        // this bit and its neighbours, is held by those of `Self`.
        unsafe { bindings::sk_set_reuseport(self.sk.as_raw(), on) };
    }
}

impl core::ops::Deref for SockGuard<'_> {
    type Target = Sock;

    #[inline]
    fn deref(&self) -> &Sock {
        self.sk
    }
}

impl Drop for SockGuard<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants the lock is held, and ours to release.
        unsafe { bindings::release_sock(self.sk.as_raw()) };
    }
}
