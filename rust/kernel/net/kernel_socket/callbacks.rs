// SPDX-License-Identifier: GPL-2.0

//! How the owner of a kernel socket learns of events.

use super::{
    KernelSocket,
    Locked,
    Protocol, //
};

use crate::{
    bindings,
    prelude::*,
    sync::{
        Arc,
        SetOnce, //
    },
    task::might_sleep, //
};

/// What the owner of a [`KernelSocket`] is told.
///
/// These are called by TCP or UDP, in soft interrupts or in process context, and with a spinlock
/// held (`sk_callback_lock`, for reading): **none may sleep or allocate with `GFP_KERNEL`**. In most
/// cases the socket's lock is held as well, so none may call a method of the socket, other than
/// those that can be called in any context. The usual thing to do is to queue work.
///
/// They say that something *may* have happened: there can be more calls than events, and one call
/// for several.
///
/// # Examples
///
/// ```
/// use kernel::{
///     net::kernel_socket::{
///         Callbacks,
///         Locked, //
///     },
///     sync::atomic::{
///         Atomic,
///         Relaxed, //
///     },
/// };
///
/// struct Counter(Atomic<usize>);
///
/// impl Callbacks for Counter {
///     fn data_ready(&self, _tcp: Option<&Locked<'_>>) {
///         self.0.add(1, Relaxed);
///     }
///     fn write_space(&self) {}
///     fn state_change(&self) {}
///     fn error_report(&self) {}
/// }
/// ```
pub trait Callbacks: Send + Sync {
    /// There are data to receive, or the end of them, or a datagram; for a listening socket, a
    /// connection to accept. Of the latter two it is not the case that the socket's lock is held.
    ///
    /// By `tcp`, if it is there, a connection can receive at once.
    fn data_ready(&self, tcp: Option<&Locked<'_>>);

    /// There is room to send, after [`KernelSocket::send`] has sent less than it was given. For
    /// datagrams, one that was sent is out of the way, whether or not somebody waits for that.
    fn write_space(&self);

    /// The state of a connection has changed: connected, or closed, or the peer will send nothing
    /// more, see [`KernelSocket::tcp_state`].
    ///
    /// If that is because of an error, as when a connection was refused, then the error is pending
    /// already, and [`Callbacks::error_report`] is called afterwards.
    fn state_change(&self);

    /// There is an error, which the next operation or [`KernelSocket::take_error`] returns: that a
    /// connection was reset, or that a datagram could not be delivered.
    fn error_report(&self);
}

type Callback = Option<unsafe extern "C" fn(*mut bindings::sock)>;

/// The callbacks of a socket, as they are in its `struct sock`.
#[derive(Copy, Clone)]
pub(super) struct RawCallbacks {
    state_change: Callback,
    data_ready: Callback,
    write_space: Callback,
    error_report: Callback,
}

impl RawCallbacks {
    /// Those that call the [`Callbacks`] of a socket.
    const OURS: Self = Self {
        state_change: Some(state_change_callback),
        data_ready: Some(data_ready_callback),
        write_space: Some(write_space_callback),
        error_report: Some(error_report_callback),
    };

    /// Those to use in place of `found`: ours only become these, what others have put there stays.
    fn in_place_of(&self, found: &Self) -> Self {
        fn one(ours: Callback, original: Callback, found: Callback) -> Callback {
            match (ours, found) {
                (Some(ours), Some(found)) if core::ptr::fn_addr_eq(ours, found) => original,
                _ => found,
            }
        }
        let ours = &Self::OURS;

        Self {
            state_change: one(ours.state_change, self.state_change, found.state_change),
            data_ready: one(ours.data_ready, self.data_ready, found.data_ready),
            write_space: one(ours.write_space, self.write_space, found.write_space),
            error_report: one(ours.error_report, self.error_report, found.error_report),
        }
    }

    /// Gives a socket these in the place of ours.
    ///
    /// # Safety
    ///
    /// As for [`Self::set`].
    pub(super) unsafe fn set_in_place_of_ours(&self, sk: *mut bindings::sock) {
        // SAFETY: The socket is valid, and its lock held.
        let found = unsafe { Self::of(sk) };
        // SAFETY: These are the requirements.
        unsafe { self.in_place_of(&found).set(sk) };
    }

    /// Reads the callbacks of a socket.
    ///
    /// # Safety
    ///
    /// `sk` must be valid, and its `sk_callback_lock` held, or nobody else may change them.
    pub(super) unsafe fn of(sk: *mut bindings::sock) -> Self {
        // SAFETY: The socket is valid, and its callbacks do not change now.
        unsafe {
            Self {
                state_change: (*sk).sk_state_change,
                data_ready: (*sk).sk_data_ready,
                write_space: (*sk).sk_write_space,
                error_report: (*sk).sk_error_report,
            }
        }
    }

    /// Changes the callbacks of a socket.
    ///
    /// # Safety
    ///
    /// `sk` must be valid, and its `sk_callback_lock` held for writing. The callbacks must be fit
    /// for it.
    pub(super) unsafe fn set(&self, sk: *mut bindings::sock) {
        // Protocols fetch them without any lock, so each is written in one piece.

        // SAFETY: The socket is valid, and we may change its callbacks.
        unsafe {
            (&raw mut (*sk).sk_state_change).write_volatile(self.state_change);
            (&raw mut (*sk).sk_data_ready).write_volatile(self.data_ready);
            (&raw mut (*sk).sk_write_space).write_volatile(self.write_space);
            (&raw mut (*sk).sk_error_report).write_volatile(self.error_report);
        }
    }
}

/// What `sk_user_data` of a socket with [`Callbacks`] points to.
#[repr(align(8))]
struct Installed {
    /// The callbacks that the socket had before.
    original: RawCallbacks,
    target: Arc<dyn Callbacks>,
}

// The lowest bits of `sk_user_data` are flags.
static_assert!(align_of::<Installed>() >= 8);

/// The callbacks that TCP gives to its sockets. Set before ours are given to any that listens.
static TCP: SetOnce<RawCallbacks> = SetOnce::new();

/// Holds `sk_callback_lock` of a socket for reading, with soft interrupts disabled.
///
/// # Invariants
///
/// The lock of the socket, which is valid, is held by us.
struct CallbackReadGuard(*mut bindings::sock);

impl CallbackReadGuard {
    /// # Safety
    ///
    /// `sk` must be valid until the guard is dropped, which must be on the same CPU.
    unsafe fn new(sk: *mut bindings::sock) -> Self {
        // SAFETY: The socket is valid.
        unsafe { bindings::sk_callback_read_lock_bh(sk) };
        // INVARIANT: The lock was just taken.
        Self(sk)
    }

    /// Returns what is installed on the socket, if anything.
    ///
    /// # Safety
    ///
    /// Nobody but this module may set the `sk_user_data` of the socket with the flag
    /// `SK_USER_DATA_NOCOPY` and no other.
    unsafe fn installed(&self) -> Option<&Installed> {
        // SAFETY: By the type invariants the socket is valid, and its lock held. What was stored
        // there by this module is an `Installed`, which is freed only by who has taken it out while
        // holding the lock for writing.
        unsafe {
            bindings::sk_user_data_nocopy_locked(self.0)
                .cast::<Installed>()
                .as_ref()
        }
    }
}

impl Drop for CallbackReadGuard {
    fn drop(&mut self) {
        // SAFETY: By the type invariants the lock is held by us.
        unsafe { bindings::sk_callback_read_unlock_bh(self.0) };
    }
}

/// Calls what the socket had as its callback before ours, and then ours.
///
/// Nothing may be installed: a socket that a listener has made has got its callbacks, but not what is
/// installed there, until [`KernelSocket::accept`] gives it the original ones; TCP may have moved it
/// to another listener, or BPF have kept our callbacks and put them back; and they may just have been
/// cleared. What TCP has is called then.
///
/// # Safety
///
/// Only to be called from a callback of `sk` that was set by this module.
unsafe fn dispatch(
    sk: *mut bindings::sock,
    original: impl FnOnce(&RawCallbacks) -> Callback,
    event: impl FnOnce(&dyn Callbacks),
) {
    // SAFETY: Who calls a callback of a socket makes sure that it is valid.
    let guard = unsafe { CallbackReadGuard::new(sk) };

    // SAFETY: These callbacks are set for sockets which belong to a `KernelSocket`, or which a
    // listening one has made, and nobody else uses their `sk_user_data` with that flag alone: BPF's
    // have another.
    let installed = unsafe { guard.installed() };
    let raw = installed.map(|installed| &installed.original);
    // One of UDP makes no others.
    if let Some(original) = raw.or(TCP.as_ref()).and_then(original) {
        // SAFETY: This is what the socket's protocol had set, for the same event, or would have.
        unsafe { original(sk) };
    }
    if let Some(installed) = installed {
        event(&*installed.target);
    }
}

/// # Safety
///
/// Only called as `sk_state_change` of a socket.
unsafe extern "C" fn state_change_callback(sk: *mut bindings::sock) {
    // SAFETY: This was set by this module.
    unsafe { dispatch(sk, |raw| raw.state_change, |target| target.state_change()) };
}

/// # Safety
///
/// Only called as `sk_data_ready` of a socket.
unsafe extern "C" fn data_ready_callback(sk: *mut bindings::sock) {
    // SAFETY: This was set by this module.
    unsafe {
        dispatch(
            sk,
            |raw| raw.data_ready,
            // SAFETY: TCP calls this with the lock of a socket that does not listen.
            |target| target.data_ready(Locked::in_callback(sk).as_ref()),
        )
    };
}

/// # Safety
///
/// Only called as `sk_write_space` of a socket.
unsafe extern "C" fn write_space_callback(sk: *mut bindings::sock) {
    // SAFETY: This was set by this module.
    unsafe { dispatch(sk, |raw| raw.write_space, |target| target.write_space()) };
}

/// # Safety
///
/// Only called as `sk_error_report` of a socket.
unsafe extern "C" fn error_report_callback(sk: *mut bindings::sock) {
    // SAFETY: This was set by this module.
    unsafe { dispatch(sk, |raw| raw.error_report, |target| target.error_report()) };
}

/// The callbacks.
impl<P: Protocol> KernelSocket<P> {
    /// Asks for being told of events. Fails with `EBUSY` if somebody has done so already.
    ///
    /// Calls may come before this function returns. They do not come for what has happened before
    /// it was called, so the caller has to look then.
    pub fn set_callbacks<T: Callbacks + 'static>(&self, callbacks: Arc<T>) -> Result {
        let sk = self.sk().as_raw();
        let mut installed = KBox::new(
            Installed {
                original: RawCallbacks::OURS,
                target: callbacks,
            },
            GFP_KERNEL,
        )?;

        // SAFETY: The socket is valid by the type invariants.
        unsafe { bindings::sk_callback_write_lock_bh(sk) };
        // SAFETY: The socket is valid and the lock held.
        let busy = !unsafe { (*sk).sk_user_data }.is_null();
        if !busy {
            // SAFETY: The socket is valid and the lock held.
            installed.original = unsafe { RawCallbacks::of(sk) };
            if P::LISTENS {
                let _ = TCP.populate(installed.original);
            }
            // SAFETY: The socket is valid and the lock held. The pointer is aligned to leave the
            // flags free.
            //
            // INVARIANT: `installed` is handed over, and the callbacks are set with it.
            unsafe {
                bindings::sk_assign_user_data_nocopy(sk, KBox::into_raw(installed).cast());
                RawCallbacks::OURS.set(sk);
            }
        }
        // SAFETY: The lock was taken above.
        unsafe { bindings::sk_callback_write_unlock_bh(sk) };

        if busy {
            return Err(EBUSY);
        }
        Ok(())
    }

    /// Ends what [`KernelSocket::set_callbacks`] has begun.
    ///
    /// When this returns no callback is running, none will be called again, and the reference to
    /// their owner has been dropped. Must not be called from a callback.
    pub fn clear_callbacks(&self) {
        might_sleep();
        let sk = self.sk().as_raw();

        // SAFETY: The socket is valid by the type invariants.
        unsafe { bindings::sk_callback_write_lock_bh(sk) };
        // SAFETY: The socket is valid and the lock held.
        let installed = unsafe { bindings::sk_user_data_nocopy_locked(sk) }.cast::<Installed>();
        // SAFETY: By the type invariants this is null or a valid object.
        if let Some(installed) = unsafe { installed.as_ref() } {
            // SAFETY: The socket is valid and the lock held, and these callbacks are those that its
            // protocol has given to it.
            //
            // INVARIANT: Nothing is installed any more.
            unsafe {
                installed.original.set_in_place_of_ours(sk);
                bindings::sk_assign_user_data_nocopy(sk, core::ptr::null_mut());
            }
        }
        // SAFETY: The lock was taken above.
        unsafe { bindings::sk_callback_write_unlock_bh(sk) };

        if !installed.is_null() {
            // SAFETY: It was made by `KBox::into_raw`. It was reachable through the socket alone,
            // for who holds the lock; we have taken it out while nobody did.
            drop(unsafe { KBox::from_raw(installed) });
        }
    }

    /// Returns the callbacks that the protocol has given to this socket, and gives to those that a
    /// listening one makes.
    pub(super) fn original_callbacks(&self) -> RawCallbacks {
        let sk = self.sk().as_raw();

        // SAFETY: The socket is valid by the type invariants.
        let guard = unsafe { CallbackReadGuard::new(sk) };
        // SAFETY: By the type invariants this is how `sk_user_data` is used.
        match unsafe { guard.installed() } {
            Some(installed) => installed.original,
            // SAFETY: The socket is valid and the lock held.
            None => unsafe { RawCallbacks::of(sk) },
        }
    }
}
