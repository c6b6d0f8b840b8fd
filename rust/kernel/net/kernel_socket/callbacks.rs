// SPDX-License-Identifier: GPL-2.0

//! Notification of a kernel socket's owner about events.

mod raw;

pub(super) use self::raw::RawCallbacks;

use self::raw::Callback;

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
        UniqueArc, //
    },
    task::might_sleep, //
};

use core::mem::MaybeUninit;

/// Notifications of events of a [`KernelSocket`].
///
/// TCP or UDP call these in soft interrupts or in process context, with a spinlock held
/// (`sk_callback_lock`, for reading): **they must not sleep, nor allocate with `GFP_KERNEL`**.
/// Usually the socket's lock is held as well, so they must not call methods of the socket, except
/// those that may be called in any context. Usually they queue work.
///
/// A call means that an event *may* have happened: there can be more calls than events, and one
/// call for several events.
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
    /// There is data to receive, or a datagram, or the end of the stream.
    ///
    /// For a listening socket, there is a connection to accept. The socket's lock is not held for
    /// datagrams and listening sockets.
    ///
    /// If `tcp` is [`Some`], it can be used to receive from the connection at once.
    fn data_ready(&self, tcp: Option<&Locked<'_>>);

    /// There is room to send, after [`KernelSocket::send`] has sent less than it was given.
    ///
    /// Until a third of the send buffer is free, TCP calls this again each time that more is free.
    /// For datagrams, called whenever one has left the send buffer, even if nothing waits for room.
    fn write_space(&self);

    /// The state of a connection has changed: it has been established or closed, or the peer will
    /// not send more, see [`KernelSocket::tcp_state`].
    ///
    /// If an error is the cause, as when a connection was refused, the error is pending already,
    /// and [`Callbacks::error_report`] is called afterwards.
    fn state_change(&self);

    /// An error is pending, which the next operation or [`KernelSocket::take_error`] returns: for
    /// example, a connection was reset, or a datagram could not be delivered.
    fn error_report(&self);
}

/// The target of `sk_user_data` for a socket with [`Callbacks`].
#[repr(align(8))]
struct Installed {
    /// The previous callbacks of the socket.
    original: RawCallbacks,
    target: Arc<dyn Callbacks>,
}

// The lowest bits of `sk_user_data` are flags.
static_assert!(align_of::<Installed>() >= 8);

/// The memory for callbacks of type `T`, for [`KernelSocket::set_callbacks_in`].
pub struct CallbacksPlace<T> {
    target: UniqueArc<MaybeUninit<T>>,
    installed: KBox<MaybeUninit<Installed>>,
}

impl<T: Callbacks + 'static> CallbacksPlace<T> {
    /// Allocates the memory. May sleep.
    pub fn new() -> Result<Self> {
        Ok(Self {
            target: UniqueArc::new_uninit(GFP_KERNEL)?,
            installed: KBox::new_uninit(GFP_KERNEL)?,
        })
    }
}

/// Holds `sk_callback_lock` of a socket for reading, with soft interrupts disabled.
///
/// # Invariants
///
/// We hold the lock of the socket, which is valid.
struct CallbackReadGuard(*mut bindings::sock);

impl CallbackReadGuard {
    /// # Safety
    ///
    /// `sk` must be valid until the guard is dropped. The guard must be dropped on the same CPU.
    unsafe fn new(sk: *mut bindings::sock) -> Self {
        // SAFETY: The safety requirements guarantee that the socket is valid.
        unsafe { bindings::sk_callback_read_lock_bh(sk) };
        // INVARIANT: The lock was taken just above.
        Self(sk)
    }

    /// Returns the object installed on the socket, if any.
    ///
    /// # Safety
    ///
    /// Only this module may set the `sk_user_data` of the socket with the flag
    /// `SK_USER_DATA_NOCOPY` and no other.
    unsafe fn installed(&self) -> Option<&Installed> {
        // SAFETY: By the type invariants, the socket is valid and its lock is held. By the safety
        // requirements, the pointer was stored by this module, so it points to an `Installed`. That
        // is freed only after it was removed with the lock held for writing.
        unsafe {
            bindings::sk_user_data_nocopy_locked(self.0)
                .cast::<Installed>()
                .as_ref()
        }
    }
}

impl Drop for CallbackReadGuard {
    fn drop(&mut self) {
        // SAFETY: By the type invariants, we hold the lock.
        unsafe { bindings::sk_callback_read_unlock_bh(self.0) };
    }
}

/// Calls the socket's previous callback, then ours.
///
/// There may be no installed object. A socket created by a listener has the listener's callbacks,
/// but not its installed object, until [`KernelSocket::accept`] restores the original callbacks;
/// TCP may have moved it to another listener; BPF may have saved our callbacks and restored them
/// later; or the callbacks may just have been cleared. The protocol's own callback is called then.
///
/// # Safety
///
/// Must only be called from a callback of `sk` that was set by this module.
unsafe fn dispatch(
    sk: *mut bindings::sock,
    original: impl FnOnce(&RawCallbacks) -> Callback,
    event: impl FnOnce(&dyn Callbacks),
) {
    // SAFETY: The caller of a callback of a socket makes sure that the socket is valid.
    let guard = unsafe { CallbackReadGuard::new(sk) };

    // SAFETY: These callbacks are only set for sockets which belong to a `KernelSocket`, or which a
    // listening one has created. Nothing else uses their `sk_user_data` with this flag alone: BPF
    // uses another flag.
    let installed = unsafe { guard.installed() };
    let raw = installed.map(|installed| &installed.original);
    // SAFETY: As above, the socket is valid, and a `KernelSocket` is of TCP or UDP.
    let defaults = unsafe { RawCallbacks::defaults(sk) };
    if let Some(original) = raw.or(defaults.as_ref()).and_then(original) {
        // SAFETY: The socket's protocol has set this function as the callback for the same event of
        // this socket or, if nothing is installed, of another socket of the protocol.
        unsafe { original(sk) };
    }
    if let Some(installed) = installed {
        event(&*installed.target);
    }
}

/// # Safety
///
/// Must only be called as `sk_state_change` of a socket.
unsafe extern "C" fn state_change_callback(sk: *mut bindings::sock) {
    // SAFETY: Only this module sets this function as a callback.
    unsafe { dispatch(sk, |raw| raw.state_change, |target| target.state_change()) };
}

/// # Safety
///
/// Must only be called as `sk_data_ready` of a socket.
unsafe extern "C" fn data_ready_callback(sk: *mut bindings::sock) {
    // SAFETY: Only this module sets this function as a callback.
    unsafe {
        dispatch(
            sk,
            |raw| raw.data_ready,
            // SAFETY: TCP calls this with the lock held, except for a socket that listens, or that
            // listened when TCP found it.
            |target| target.data_ready(Locked::in_callback(sk).as_ref()),
        )
    };
}

/// # Safety
///
/// Must only be called as `sk_write_space` of a socket.
unsafe extern "C" fn write_space_callback(sk: *mut bindings::sock) {
    // SAFETY: Only this module sets this function as a callback.
    unsafe { dispatch(sk, |raw| raw.write_space, |target| target.write_space()) };
}

/// # Safety
///
/// Must only be called as `sk_error_report` of a socket.
unsafe extern "C" fn error_report_callback(sk: *mut bindings::sock) {
    // SAFETY: Only this module sets this function as a callback.
    unsafe { dispatch(sk, |raw| raw.error_report, |target| target.error_report()) };
}

/// Callbacks.
impl<P: Protocol> KernelSocket<P> {
    /// Sets the callbacks of the socket. Fails with `EBUSY` if they have been set already.
    ///
    /// The callbacks may be called before this function returns. They are not called for earlier
    /// events, so the caller has to check for those afterwards.
    pub fn set_callbacks<T: Callbacks + 'static>(&self, callbacks: Arc<T>) -> Result {
        self.install(KBox::new_uninit(GFP_KERNEL)?, callbacks)
    }

    /// As [`KernelSocket::set_callbacks`], in memory that was allocated before.
    pub fn set_callbacks_in<T: Callbacks + 'static>(
        &self,
        place: CallbacksPlace<T>,
        callbacks: T,
    ) -> Result {
        let target: Arc<T> = place.target.write(callbacks).into();
        self.install(place.installed, target)
    }

    fn install(&self, place: KBox<MaybeUninit<Installed>>, target: Arc<dyn Callbacks>) -> Result {
        let sk = self.sk().as_raw();
        let mut installed = place.write(Installed {
            original: RawCallbacks::OURS,
            target,
        });

        // SAFETY: The socket is valid by the type invariants.
        unsafe { bindings::sk_callback_write_lock_bh(sk) };
        // SAFETY: The socket is valid and the lock held.
        let busy = !unsafe { (*sk).sk_user_data }.is_null();
        if !busy {
            // Only the first socket of the protocol counts, when none can have our functions yet.
            // SAFETY: The socket is valid and the lock held.
            let _ = unsafe { RawCallbacks::defaults(sk).populate(RawCallbacks::of(sk)) };
            // SAFETY: As above.
            installed.original = unsafe { RawCallbacks::without_ours(sk) };
            // SAFETY: The socket is valid and the lock held. The pointer is aligned such that the
            // flag bits are free.
            //
            // INVARIANT: The socket owns `installed` from now on, and the callbacks are set
            // together with it.
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

    /// Removes the callbacks set by [`KernelSocket::set_callbacks`].
    ///
    /// When this returns, no callback is running or will be called, and the reference to their
    /// owner has been dropped. Must not be called from a callback.
    pub fn clear_callbacks(&self) {
        might_sleep();
        let sk = self.sk().as_raw();

        // SAFETY: The socket is valid by the type invariants.
        unsafe { bindings::sk_callback_write_lock_bh(sk) };
        // SAFETY: The socket is valid and the lock held.
        let installed = unsafe { bindings::sk_user_data_nocopy_locked(sk) }.cast::<Installed>();
        // SAFETY: By the type invariants, this is null or a valid object.
        if let Some(installed) = unsafe { installed.as_ref() } {
            // SAFETY: The socket is valid and the lock held, and its protocol has given it these
            // callbacks.
            //
            // INVARIANT: Nothing is installed any more.
            unsafe {
                installed.original.restore(sk);
                bindings::sk_assign_user_data_nocopy(sk, core::ptr::null_mut());
            }
        }
        // SAFETY: The lock was taken above.
        unsafe { bindings::sk_callback_write_unlock_bh(sk) };

        if !installed.is_null() {
            // SAFETY: The pointer comes from `KBox::into_raw`. It could be reached only through the
            // socket, with the lock held; we have removed it while holding the lock for writing.
            drop(unsafe { KBox::from_raw(installed) });
        }
    }

    /// Returns the callbacks that the protocol gives to this socket, and to the sockets that a
    /// listening one creates.
    pub(super) fn original_callbacks(&self) -> RawCallbacks {
        let sk = self.sk().as_raw();

        // SAFETY: The socket is valid by the type invariants.
        let guard = unsafe { CallbackReadGuard::new(sk) };
        // SAFETY: By the type invariants, only this module sets `sk_user_data` with this flag
        // alone.
        match unsafe { guard.installed() } {
            Some(installed) => installed.original,
            // SAFETY: The socket is valid and the lock held.
            None => unsafe { RawCallbacks::without_ours(sk) },
        }
    }
}
