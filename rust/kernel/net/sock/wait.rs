// SPDX-License-Identifier: GPL-2.0

//! Waiting for a socket.

use super::Sock;

use crate::{
    bindings,
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

/// How long a call may still wait.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Timeout(c_long);

impl Timeout {
    /// No time: the call does not block.
    pub const ZERO: Self = Self(0);

    /// As long as it takes.
    pub const FOREVER: Self = Self(MAX_SCHEDULE_TIMEOUT);

    /// A number of jiffies; as long as it takes if it is larger than any timeout can be.
    #[inline]
    pub fn from_jiffies(jiffies: Jiffies) -> Self {
        c_long::try_from(jiffies).map_or(Self::FOREVER, Self)
    }

    /// Takes over a number of jiffies from C code.
    #[inline]
    pub(super) fn from_raw(jiffies: c_long) -> Self {
        Self(jiffies)
    }

    /// Returns what a call fails with that is interrupted by a signal, with this much time left.
    pub fn interrupted(self) -> Error {
        // SAFETY: The function only looks at its argument.
        Error::from_errno(unsafe { bindings::sock_intr_errno(self.0) })
    }

    /// Returns whether there is no time left.
    #[inline]
    pub fn is_zero(self) -> bool {
        self.0 <= 0
    }
}

/// Why [`Sock::wait`], or one of its kind, has ended early.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum WaitError {
    /// There is no time left, or there was none to begin with.
    TimedOut,
    /// A signal is pending, or the socket was closed. The call has to fail with this error, unless
    /// it has something to show.
    Interrupted(Error),
}

impl From<WaitError> for Error {
    /// What recv(2) and send(2) fail with; other calls have other errors for a timeout.
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
    /// Sleeps until `cond` is true.
    ///
    /// `cond` is called at once and then each time after somebody has called [`Sock::data_ready`],
    /// [`Sock::write_space`], [`Sock::state_changed`] or [`Sock::error_report`] (who first has to
    /// make true what it looks at). It may sleep itself. What is left of the time is stored to
    /// `timeout`.
    ///
    /// Process context; no spinlock may be held, nor any lock that is needed to make the condition
    /// true. To be used in calls of a program's, and in
    /// [`Ops::release`](super::family::Ops::release).
    pub fn wait(&self, timeout: &mut Timeout, cond: impl FnMut() -> bool) -> Result<(), WaitError> {
        self.wait_until(Manner::Interruptible, timeout, cond)
    }

    /// Sleeps until `cond` is true, as [`Sock::wait`] does, and is not disturbed by signals other
    /// than those that kill the program.
    ///
    /// For what has to be known before the call can return anything at all.
    pub fn wait_killable(
        &self,
        timeout: &mut Timeout,
        cond: impl FnMut() -> bool,
    ) -> Result<(), WaitError> {
        self.wait_until(Manner::Killable, timeout, cond)
    }

    /// Sleeps until `cond` is true, as [`Sock::wait`] does, but is woken alone.
    ///
    /// Of all who wait in this way only one, that which has waited longest, is woken by
    /// [`Sock::data_ready`] and the like; by [`Sock::state_changed`] all are. So it is for programs
    /// that accept connections: `data_ready` is called once for each connection, and `cond` takes
    /// one. No wake-up is lost on who gives up.
    pub fn wait_exclusive(
        &self,
        timeout: &mut Timeout,
        cond: impl FnMut() -> bool,
    ) -> Result<(), WaitError> {
        self.wait_until(Manner::Exclusive, timeout, cond)
    }

    /// Calls `cond` over and over until it is true or the time is up that `SO_BUSY_POLL`, or
    /// `net.core.busy_read` when the socket was made, allows for that: none by default. It must look
    /// at something that changes without an interrupt. To be used before [`Sock::wait`].
    pub fn busy_poll(&self, mut cond: impl FnMut() -> bool) {
        let sk = self.as_raw();

        // SAFETY: The socket is valid by the type invariants, here and below.
        if !unsafe { bindings::sk_can_busy_loop(sk) } {
            return;
        }
        might_sleep();
        // SAFETY: No requirements.
        let start = unsafe { bindings::busy_loop_current_time() };
        // SAFETY: See above.
        while !cond() && unsafe { !bindings::sk_busy_loop_timeout(sk, start) } {
            if current!().signal_pending() {
                return;
            }
            // SAFETY: May sleep, as may the caller.
            unsafe { bindings::cond_resched() };
            cpu_relax();
        }
    }

    /// Returns whether [`Sock::busy_poll`] would do anything.
    pub fn busy_polls(&self) -> bool {
        // SAFETY: The socket is valid by the type invariants.
        unsafe { bindings::sk_can_busy_loop(self.as_raw()) }
    }

    fn wait_until(
        &self,
        manner: Manner,
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
            pin_init::stack_pin_init!(let waiter = Waiter::new(&inode, manner));

            loop {
                if cond() {
                    break Ok(());
                }
                if timeout.is_zero() {
                    break Err(WaitError::TimedOut);
                }
                if manner.is_signalled() {
                    break Err(WaitError::Interrupted(timeout.interrupted()));
                }
                timeout.0 = waiter.sleep(timeout.0);
            }
        };

        // Who gives up may have been woken instead of another since it has looked. No longer in the
        // queue, it must not leave behind what it was woken for.
        if manner == Manner::Exclusive && result.is_err() && cond() {
            return Ok(());
        }
        result
    }
}

/// How to sleep.
#[derive(Copy, Clone, PartialEq, Eq)]
enum Manner {
    /// Until there is a signal.
    Interruptible,
    /// Until there is a signal that kills.
    Killable,
    /// Until there is a signal, and woken one at a time.
    Exclusive,
}

impl Manner {
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
            Self::Interruptible | Self::Exclusive => bindings::woken_wake_function,
            Self::Killable => wake_killable,
        }
    }

    /// Returns whether there is a signal that ends the sleep.
    fn is_signalled(self) -> bool {
        match self {
            Self::Interruptible | Self::Exclusive => current!().signal_pending(),
            Self::Killable => current!().fatal_signal_pending(),
        }
    }
}

type WaitEntry = bindings::wait_queue_entry;

/// Wakes who sleeps uninterruptibly, which those who wake the waiters of a socket do not have in
/// mind.
///
/// # Safety
///
/// Only called for an entry in a wait queue whose task waits by `wait_woken`.
unsafe extern "C" fn wake_killable(
    entry: *mut WaitEntry,
    _mode: c_uint,
    sync: c_int,
    key: *mut c_void,
) -> c_int {
    // SAFETY: The arguments are the caller's; the mode says only which tasks to wake.
    unsafe { bindings::woken_wake_function(entry, bindings::TASK_NORMAL, sync, key) }
}

/// A reference to the inode that a `struct socket` is part of.
///
/// # Invariants
///
/// The inode is one of sockfs, and one reference to it is owned by this object.
struct SocketInode(NonNull<bindings::inode>);

impl SocketInode {
    /// Returns the inode of the socket that `sk` belongs to, unless that has been closed.
    fn of(sk: &Sock) -> Option<Self> {
        // SAFETY: The socket is valid by the type invariants. If it has a `struct socket` then that
        // is part of an inode, by the same.
        let inode = unsafe { bindings::sk_get_inode(sk.as_raw()) };

        // INVARIANT: `sk_get_inode` returns a reference for us to own.
        NonNull::new(inode).map(Self)
    }

    fn wait_queue(&self) -> *mut bindings::wait_queue_head {
        // SAFETY: By the type invariants this is an inode of sockfs, all of which contain a
        // `struct socket`.
        unsafe { &raw mut (*bindings::SOCKET_I(self.0.as_ptr())).wq.wait }
    }
}

impl Drop for SocketInode {
    fn drop(&mut self) {
        // SAFETY: By the type invariants we own a reference. This is in process context.
        unsafe { bindings::iput(self.0.as_ptr()) };
    }
}

/// An entry in the wait queue of a socket.
///
/// # Invariants
///
/// `entry` is in `queue`, and is woken by `woken_wake_function` in the end.
#[pin_data(PinnedDrop)]
struct Waiter<'a> {
    #[pin]
    entry: Opaque<bindings::wait_queue_entry>,
    queue: *mut bindings::wait_queue_head,
    manner: Manner,
    _inode: &'a SocketInode,
}

impl<'a> Waiter<'a> {
    fn new(inode: &'a SocketInode, manner: Manner) -> impl PinInit<Self> + 'a {
        let queue = inode.wait_queue();

        // INVARIANT: The entry is initialised for the current task, given the right function, and
        // added to the queue.
        pin_init!(Self {
            entry <- Opaque::ffi_init(move |entry: *mut bindings::wait_queue_entry| {
                // SAFETY: `entry` is valid for writing, and pinned; it remains so until it is taken
                // off the queue when this object is dropped. The queue exists for as long as the
                // inode, which outlives this object.
                unsafe {
                    bindings::init_wait(entry);
                    (*entry).func = Some(manner.wake_function());
                    match manner {
                        Manner::Exclusive => bindings::add_wait_queue_exclusive(queue, entry),
                        _ => bindings::add_wait_queue(queue, entry),
                    }
                }
                // Whoever waits looks at the condition without the socket's lock. Pairs with the
                // barrier in `skwq_has_sleeper()`.
                smp_mb(barrier::Full);
            }),
            queue,
            manner,
            _inode: inode,
        })
    }

    /// Sleeps until it is woken, or has been since the last time, and returns what is left of the
    /// timeout.
    fn sleep(&self, timeout: c_long) -> c_long {
        // SAFETY: By the type invariants the entry is initialised and in its queue. It belongs to
        // the current task, as this type does not leave the stack frame it was created in.
        unsafe { bindings::wait_woken(self.entry.get(), self.manner.task_state(), timeout) }
    }
}

#[pinned_drop]
impl PinnedDrop for Waiter<'_> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariants the entry is in the queue, which exists still.
        unsafe { bindings::remove_wait_queue(self.queue, self.entry.get()) };
    }
}
