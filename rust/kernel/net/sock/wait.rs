// SPDX-License-Identifier: GPL-2.0

//! Waiting for a socket.

use super::Sock;

use crate::{
    bindings,
    net::family::{
        EPOLLERR,
        EPOLLIN, //
    },
    prelude::*,
    processor::cpu_relax,
    sync::barrier::{
        self,
        smp_mb, //
    },
    task::{
        might_sleep,
        MAX_SCHEDULE_TIMEOUT, //
    },
    time::Jiffies,
    types::Opaque, //
};

use core::ptr::NonNull;

/// Remaining time for which a call may wait.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Timeout(c_long);

impl Timeout {
    /// No limit.
    pub const FOREVER: Self = Self(MAX_SCHEDULE_TIMEOUT);

    /// Creates a timeout from a number of jiffies. If the number is larger than any timeout can be,
    /// there is no limit.
    #[inline]
    pub fn from_jiffies(jiffies: Jiffies) -> Self {
        c_long::try_from(jiffies).map_or(Self::FOREVER, Self)
    }

    /// Creates a timeout from a number of jiffies passed by C code.
    #[inline]
    pub(super) fn from_raw(jiffies: c_long) -> Self {
        Self(jiffies)
    }

    /// Returns the error of a call that is interrupted by a signal with this much time left.
    pub fn interrupted(self) -> Error {
        // SAFETY: The function only uses its argument.
        Error::from_errno(unsafe { bindings::sock_intr_errno(self.0) })
    }

    /// Returns `true` if no time is left.
    #[inline]
    pub fn is_zero(self) -> bool {
        self.0 <= 0
    }
}

/// Reason for [`Sock::wait`] and its variants to end without the condition being true.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum WaitError {
    /// The time has run out, or there was none to begin with.
    TimedOut,
    /// A signal is pending, or the socket was closed. The call has to fail with this error, unless
    /// it can return a partial result.
    Interrupted(Error),
}

impl From<WaitError> for Error {
    /// Returns the error that recv(2) and send(2) return. Other calls have other errors for a
    /// timeout.
    #[inline]
    fn from(err: WaitError) -> Self {
        match err {
            WaitError::TimedOut => EAGAIN,
            WaitError::Interrupted(err) => err,
        }
    }
}

/// Waiting.
impl Sock {
    /// Sleeps until `cond` returns `true`.
    ///
    /// Calls `cond` first and then after each call of [`Sock::data_ready`], [`Sock::write_space`],
    /// [`Sock::state_changed`] or [`Sock::error_report`]; the caller of these has to change what
    /// `cond` checks beforehand. `cond` may sleep. Stores the remaining time in `timeout`.
    ///
    /// Process context. The caller must not hold a spinlock, nor any lock that is needed to make
    /// the condition true. To be used in calls by a program, and in
    /// [`Ops::release`](crate::net::family::Ops::release).
    pub fn wait(&self, timeout: &mut Timeout, cond: impl FnMut() -> bool) -> Result<(), WaitError> {
        self.wait_until(WaitMode::Interruptible, timeout, cond)
    }

    /// Sleeps until `cond` returns `true`, like [`Sock::wait`], but only fatal signals interrupt
    /// the sleep.
    ///
    /// For conditions that must be known before the call can return anything at all.
    pub fn wait_killable(
        &self,
        timeout: &mut Timeout,
        cond: impl FnMut() -> bool,
    ) -> Result<(), WaitError> {
        self.wait_until(WaitMode::Killable, timeout, cond)
    }

    /// Sleeps until `cond` returns `true`, like [`Sock::wait`], as an exclusive waiter.
    ///
    /// [`Sock::data_ready`] and [`Sock::error_report`] wake only one exclusive waiter, the one that
    /// has slept longest; [`Sock::wake_all`] and [`Sock::state_changed`] wake all, and
    /// [`Sock::write_space`] none. For programs that take what there is once, such as connections
    /// or datagrams: `data_ready` is called for each, and the waiter takes one. A wake-up of a
    /// waiter that gives up is not lost.
    pub fn wait_exclusive(
        &self,
        timeout: &mut Timeout,
        cond: impl FnMut() -> bool,
    ) -> Result<(), WaitError> {
        self.wait_until(WaitMode::Exclusive, timeout, cond)
    }

    /// Calls `cond` repeatedly until it returns `true` or the time for busy polling is over.
    ///
    /// The time is `SO_BUSY_POLL`, or `net.core.busy_read` when the socket was created; none by
    /// default. `cond` must check something that changes without an interrupt. To be called before
    /// [`Sock::wait`].
    pub fn busy_poll(&self, mut cond: impl FnMut() -> bool) {
        let sk = self.as_raw();

        // SAFETY: The socket is valid by the type invariants, here and below.
        if !unsafe { bindings::sk_can_busy_loop(sk) } {
            return;
        }
        might_sleep();
        // SAFETY: The function has no requirements.
        let start = unsafe { bindings::busy_loop_current_time() };
        // SAFETY: See above.
        while !cond() && unsafe { !bindings::sk_busy_loop_timeout(sk, start) } {
            if current!().signal_pending() {
                return;
            }
            // SAFETY: This may sleep, as may the caller.
            unsafe { bindings::cond_resched() };
            cpu_relax();
        }
    }

    /// Returns `true` if a task sleeps in a call on the socket, or polls it. Any context.
    pub fn has_sleeper(&self) -> bool {
        // SAFETY: The socket is valid by the type invariants.
        unsafe { bindings::sk_has_sleeper(self.as_raw()) }
    }

    /// Returns `true` if busy polling is enabled for the socket.
    pub fn busy_polls(&self) -> bool {
        // SAFETY: The socket is valid by the type invariants.
        unsafe { bindings::sk_can_busy_loop(self.as_raw()) }
    }

    fn wait_until(
        &self,
        mode: WaitMode,
        timeout: &mut Timeout,
        mut cond: impl FnMut() -> bool,
    ) -> Result<(), WaitError> {
        if cond() {
            return Ok(());
        }
        if timeout.is_zero() {
            return Err(WaitError::TimedOut);
        }
        might_sleep();

        let inode = SocketInode::of(self).ok_or(WaitError::Interrupted(EBADF))?;
        let result = {
            pin_init::stack_pin_init!(let waiter = Waiter::new(&inode, mode));

            loop {
                if cond() {
                    break Ok(());
                }
                if timeout.is_zero() {
                    break Err(WaitError::TimedOut);
                }
                if mode.is_signalled() {
                    break Err(WaitError::Interrupted(timeout.interrupted()));
                }
                timeout.0 = waiter.sleep(timeout.0);
            }
        };

        // A waiter that gives up may have been woken instead of another one after its last check.
        // It has left the queue, and must not leave behind what it was woken for.
        if mode == WaitMode::Exclusive && result.is_err() && cond() {
            return Ok(());
        }
        result
    }
}

/// The manner of sleeping.
#[derive(Copy, Clone, PartialEq, Eq)]
enum WaitMode {
    /// Any signal interrupts the sleep.
    Interruptible,
    /// Only a fatal signal interrupts the sleep.
    Killable,
    /// Any signal interrupts the sleep, and waiters are woken one at a time.
    Exclusive,
}

impl WaitMode {
    fn task_state(self) -> c_uint {
        match self {
            Self::Interruptible | Self::Exclusive => bindings::TASK_INTERRUPTIBLE,
            Self::Killable => bindings::TASK_KILLABLE,
        }
    }

    fn wake_function(
        self,
    ) -> unsafe extern "C" fn(*mut WaitEntry, c_uint, c_int, *mut c_void) -> c_int {
        match self {
            Self::Interruptible => bindings::woken_wake_function,
            Self::Killable => wake_killable,
            Self::Exclusive => wake_receiver,
        }
    }

    /// Returns `true` if a signal is pending that interrupts the sleep.
    fn is_signalled(self) -> bool {
        match self {
            Self::Interruptible | Self::Exclusive => current!().signal_pending(),
            Self::Killable => current!().fatal_signal_pending(),
        }
    }
}

type WaitEntry = bindings::wait_queue_entry;

/// Wakes a task in uninterruptible sleep, too: the callbacks of sockets only wake interruptible
/// tasks.
///
/// # Safety
///
/// Must only be called for an entry in a wait queue whose task waits with `wait_woken`.
unsafe extern "C" fn wake_killable(
    entry: *mut WaitEntry,
    _mode: c_uint,
    sync: c_int,
    key: *mut c_void,
) -> c_int {
    // SAFETY: The arguments come from the caller; the mode only says which tasks to wake.
    unsafe { bindings::woken_wake_function(entry, bindings::TASK_NORMAL, sync, key) }
}

/// Wakes a task for input or an error, or if the caller does not say for what. Room to send must not
/// be the one wake-up that an exclusive waiter gets: another waiter would miss it.
///
/// # Safety
///
/// As [`wake_killable`].
unsafe extern "C" fn wake_receiver(
    entry: *mut WaitEntry,
    mode: c_uint,
    sync: c_int,
    key: *mut c_void,
) -> c_int {
    // The key is no pointer: see `poll_to_key()`.
    let events = key.addr();
    // CAST: Widens.
    if events != 0 && events & (EPOLLIN | EPOLLERR) as usize == 0 {
        return 0;
    }
    // SAFETY: The arguments come from the caller.
    unsafe { bindings::woken_wake_function(entry, mode, sync, key) }
}

/// A reference to the inode that a `struct socket` is part of.
///
/// # Invariants
///
/// The inode belongs to sockfs, and this object owns one reference to it.
struct SocketInode(NonNull<bindings::inode>);

impl SocketInode {
    /// Returns the inode of the `struct socket` of `sk`, or [`None`] if the socket has been closed.
    fn of(sk: &Sock) -> Option<Self> {
        // SAFETY: The socket is valid by the type invariants, which also say that its `struct
        // socket`, if it has one, is part of an inode.
        let inode = unsafe { bindings::sk_get_inode(sk.as_raw()) };

        // INVARIANT: `sk_get_inode` returns a reference that we own.
        NonNull::new(inode).map(Self)
    }

    fn wait_queue(&self) -> *mut bindings::wait_queue_head {
        // SAFETY: By the type invariants this is an inode of sockfs, and these contain a `struct
        // socket`.
        unsafe { &raw mut (*bindings::SOCKET_I(self.0.as_ptr())).wq.wait }
    }
}

impl Drop for SocketInode {
    fn drop(&mut self) {
        // SAFETY: By the type invariants we own a reference. This is process context.
        unsafe { bindings::iput(self.0.as_ptr()) };
    }
}

/// An entry in the wait queue of a socket.
///
/// # Invariants
///
/// `entry` is in `queue`, and its wake function ends in `woken_wake_function`.
#[pin_data(PinnedDrop)]
struct Waiter<'a> {
    #[pin]
    entry: Opaque<bindings::wait_queue_entry>,
    queue: *mut bindings::wait_queue_head,
    mode: WaitMode,
    _inode: &'a SocketInode,
}

impl<'a> Waiter<'a> {
    fn new(inode: &'a SocketInode, mode: WaitMode) -> impl PinInit<Self> + 'a {
        let queue = inode.wait_queue();

        // INVARIANT: The entry is initialised for the current task, gets its wake function, and is
        // added to the queue.
        pin_init!(Self {
            entry <- Opaque::ffi_init(move |entry: *mut bindings::wait_queue_entry| {
                // SAFETY: `entry` is valid for writing, and pinned; it stays so until the drop of
                // this object removes it from the queue. The queue exists as long as the inode,
                // which outlives this object.
                unsafe {
                    bindings::init_wait(entry);
                    (*entry).func = Some(mode.wake_function());
                    match mode {
                        WaitMode::Exclusive => bindings::add_wait_queue_exclusive(queue, entry),
                        _ => bindings::add_wait_queue(queue, entry),
                    }
                }
                // The waiter checks the condition without the socket's lock. Pairs with the barrier
                // in `skwq_has_sleeper()`.
                smp_mb(barrier::Full);
            }),
            queue,
            mode,
            _inode: inode,
        })
    }

    /// Sleeps until the entry is woken, or returns at once if it has been woken since the last
    /// call. Returns the remaining time.
    fn sleep(&self, timeout: c_long) -> c_long {
        // SAFETY: By the type invariants the entry is initialised and in its queue. It belongs to
        // the current task, since this type does not leave the stack frame that it was created in.
        unsafe { bindings::wait_woken(self.entry.get(), self.mode.task_state(), timeout) }
    }
}

#[pinned_drop]
impl PinnedDrop for Waiter<'_> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariants the entry is in the queue, which still exists.
        unsafe { bindings::remove_wait_queue(self.queue, self.entry.get()) };
    }
}
