// SPDX-License-Identifier: GPL-2.0

//! Sockets that the kernel uses itself.
//!
//! C headers: [`include/linux/net.h`](srctree/include/linux/net.h),
//! [`include/net/sock.h`](srctree/include/net/sock.h)

use crate::{
    bindings,
    bvec::BioVecs,
    error::to_result,
    net::{
        addr::{
            AddrStorage,
            Domain,
            SockAddrBuf, //
        },
        namespace::Namespace,
        sock::{
            Sock,
            TcpState, //
        },
        socket::How,
    },
    prelude::*,
    sync::Arc,
    task::might_sleep, //
};

use core::{
    net::SocketAddr,
    ptr::NonNull, //
};

/// What the owner of a [`KernelSocket`] is told.
///
/// These are called by TCP, in soft interrupts or in process context, and with a spinlock held
/// (`sk_callback_lock`, for reading): **none may sleep or allocate with `GFP_KERNEL`**. In most cases
/// the socket's lock is held as well, so none may call a method of the socket, other than those
/// that can be called in any context. The usual thing to do is to queue work.
///
/// They say that something *may* have happened: there can be more calls than events, and one call
/// for several.
///
/// # Examples
///
/// ```
/// use kernel::{
///     net::kernel_socket::Callbacks,
///     sync::atomic::{
///         Atomic,
///         Relaxed, //
///     },
/// };
///
/// struct Counter(Atomic<usize>);
///
/// impl Callbacks for Counter {
///     fn data_ready(&self) {
///         self.0.add(1, Relaxed);
///     }
///     fn write_space(&self) {}
///     fn state_change(&self) {}
///     fn error_report(&self) {}
/// }
/// ```
pub trait Callbacks: Send + Sync {
    /// There are data to receive, or the end of them; for a listening socket, a connection to
    /// accept (and then its lock is not held).
    fn data_ready(&self);

    /// There is room to send, after [`KernelSocket::send`] has sent less than it was given.
    fn write_space(&self);

    /// The state has changed: connected, or closed, or the peer will send nothing more, see
    /// [`KernelSocket::tcp_state`].
    ///
    /// If that is because of an error, as when a connection was refused, then the error is pending
    /// already, and [`Callbacks::error_report`] is called afterwards.
    fn state_change(&self);

    /// There is an error, which the next operation or [`KernelSocket::take_error`] returns.
    fn error_report(&self);
}

type Callback = Option<unsafe extern "C" fn(*mut bindings::sock)>;

/// The callbacks of a socket, as they are in its `struct sock`.
#[derive(Copy, Clone)]
struct RawCallbacks {
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

    /// Reads the callbacks of a socket.
    ///
    /// # Safety
    ///
    /// `sk` must be valid, and its `sk_callback_lock` held, or nobody else may change them.
    unsafe fn of(sk: *mut bindings::sock) -> Self {
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
    unsafe fn set(&self, sk: *mut bindings::sock) {
        // TCP fetches them without any lock, so each is written in one piece.

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
    /// `SK_USER_DATA_NOCOPY`.
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
/// There may be nothing to call: a socket that a listener has made has got its callbacks, but not
/// what is installed there, until [`KernelSocket::accept`] gives it the original ones; and callbacks
/// may just have been cleared. Nobody waits on such a socket, so the event is not lost on anybody.
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
    // listening one has made, and nobody else uses their `sk_user_data` with that flag.
    if let Some(installed) = unsafe { guard.installed() } {
        if let Some(original) = original(&installed.original) {
            // SAFETY: This is what the socket's protocol had set, for the same event.
            unsafe { original(sk) };
        }
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
    unsafe { dispatch(sk, |raw| raw.data_ready, |target| target.data_ready()) };
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

/// A TCP socket that belongs to the kernel.
///
/// No operation waits for the peer: what can't be done at once fails with `EAGAIN` or, to connect,
/// `EINPROGRESS`, and the [`Callbacks`] say when it is worth trying again. All the same, all methods
/// (and dropping) are for process context, since the lock of the socket may have to be waited for,
/// except where it is said that they are for any.
///
/// The socket holds a reference to its network namespace, as a socket of a program does, until TCP
/// has said good-bye to the peer, which can be long after it was dropped: it is the `struct sock`
/// that holds it, not this object.
///
/// If the callbacks own the socket, in turn, then [`KernelSocket::clear_callbacks`] has to be called
/// for either to be freed.
///
/// # Invariants
///
/// - `socket` points to a valid `struct socket` of TCP (over IPv4 or IPv6) that belongs to this
///   object, has no file, and has a `struct sock`.
/// - Its `sk_user_data` is null or points to an `Installed` that belongs to this object, with the
///   flag `SK_USER_DATA_NOCOPY`.
/// - The callbacks of the socket are `RawCallbacks::OURS` in the second case, and those of TCP in
///   the first.
///
/// # Examples
///
/// ```
/// use kernel::net::{
///     addr::Domain,
///     kernel_socket::KernelSocket,
///     namespace::Namespace, //
/// };
/// use core::net::{
///     Ipv4Addr,
///     SocketAddr, //
/// };
///
/// let listener = KernelSocket::stream(Namespace::init(), Domain::Inet)?;
///
/// listener.bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)))?;
/// listener.listen(16)?;
/// assert_ne!(listener.local_addr()?.port(), 0);
/// assert_eq!(listener.accept().err(), Some(EAGAIN));
/// # Ok::<(), Error>(())
/// ```
pub struct KernelSocket {
    socket: NonNull<bindings::socket>,
}

impl KernelSocket {
    /// Creates a TCP socket in a network namespace.
    pub fn stream(net: &Namespace, domain: Domain) -> Result<Self> {
        let mut socket = core::ptr::null_mut();

        // SAFETY: The namespace is alive by its type invariants, and `socket` is valid for writing.
        to_result(unsafe {
            bindings::sock_create_kern(
                net.as_raw(),
                domain as c_int,
                bindings::sock_type_SOCK_STREAM as c_int,
                bindings::IPPROTO_TCP as c_int,
                &raw mut socket,
            )
        })?;
        let socket = NonNull::new(socket).ok_or(ENOMEM)?;

        // A kernel socket has no reference to its namespace by default. TCP would have to forget
        // about the peer at the moment of closing then.

        // SAFETY: The socket was just created, has a `struct sock`, and nobody else knows of it. Its
        // namespace is alive.
        unsafe { bindings::sk_net_refcnt_upgrade((*socket.as_ptr()).sk) };

        // INVARIANT: The socket is new: it is ours and nothing is installed.
        Ok(Self { socket })
    }

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
            // SAFETY: The socket is valid and the lock held, and these callbacks are those that TCP
            // has given to it.
            //
            // INVARIANT: Nothing is installed any more.
            unsafe {
                installed.original.set(sk);
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

    /// Begins to connect.
    ///
    /// # Errors
    ///
    /// `EINPROGRESS` is the usual one: the state changes when it is known what has become of it.
    pub fn connect(&self, addr: SocketAddr) -> Result {
        let addr = SockAddrBuf::from(addr);

        // SAFETY: The socket is valid by the type invariants, and the address has that length. C
        // code makes a copy of it.
        to_result(unsafe {
            bindings::kernel_connect(
                self.as_raw(),
                addr.as_ptr().cast_mut().cast(),
                addr.c_len(),
                bindings::O_NONBLOCK as c_int,
            )
        })
    }

    /// Gives the socket an address of its own.
    pub fn bind(&self, addr: SocketAddr) -> Result {
        let addr = SockAddrBuf::from(addr);

        // SAFETY: The socket is valid by the type invariants, and the address has that length. C
        // code makes a copy of it.
        to_result(unsafe {
            bindings::kernel_bind(self.as_raw(), addr.as_ptr().cast_mut().cast(), addr.c_len())
        })
    }

    /// Begins to take in connections, `backlog` of them before the first is accepted.
    pub fn listen(&self, backlog: i32) -> Result {
        // SAFETY: The socket is valid by the type invariants.
        to_result(unsafe { bindings::kernel_listen(self.as_raw(), backlog) })
    }

    /// Takes the next connection that has come in. It has no callbacks.
    pub fn accept(&self) -> Result<Self> {
        let mut socket = core::ptr::null_mut();

        // SAFETY: The socket is valid by the type invariants, and `socket` is valid for writing.
        to_result(unsafe {
            bindings::kernel_accept(
                self.as_raw(),
                &raw mut socket,
                bindings::O_NONBLOCK as c_int,
            )
        })?;
        let socket = NonNull::new(socket).ok_or(ENOMEM)?;

        // TCP makes the new socket as a copy of the listening one, with its callbacks (but without
        // its user data). Its reference to the namespace is its own.

        let original = {
            let sk = self.sk().as_raw();
            // SAFETY: The socket is valid by the type invariants.
            let guard = unsafe { CallbackReadGuard::new(sk) };
            // SAFETY: By the type invariants this is how `sk_user_data` is used.
            match unsafe { guard.installed() } {
                Some(installed) => installed.original,
                // SAFETY: The socket is valid and the lock held.
                None => unsafe { RawCallbacks::of(sk) },
            }
        };

        // SAFETY: A socket that was accepted has a `struct sock`, and this one is ours. The
        // callbacks are those that TCP has given to its like.
        unsafe {
            let sk = (*socket.as_ptr()).sk;
            bindings::sk_callback_write_lock_bh(sk);
            original.set(sk);
            bindings::sk_callback_write_unlock_bh(sk);
        }

        // INVARIANT: The socket is new: it is ours, nothing is installed, and its callbacks have
        // just been made the original ones.
        Ok(Self { socket })
    }

    /// Shuts down one or both directions.
    pub fn shutdown(&self, how: How) -> Result {
        // SAFETY: The socket is valid by the type invariants.
        to_result(unsafe { bindings::kernel_sock_shutdown(self.as_raw(), how as u32) })
    }

    /// Returns the address of the socket.
    pub fn local_addr(&self) -> Result<SocketAddr> {
        let mut addr = AddrStorage::new();
        // SAFETY: The socket is valid by the type invariants, and any address fits into `addr`.
        let len = unsafe { bindings::kernel_getsockname(self.as_raw(), addr.as_mut_ptr()) };
        to_result(len)?;
        addr.parse(len)
    }

    /// Returns the address of the peer; `ENOTCONN` if there is none.
    pub fn peer_addr(&self) -> Result<SocketAddr> {
        let mut addr = AddrStorage::new();
        // SAFETY: The socket is valid by the type invariants, and any address fits into `addr`.
        let len = unsafe { bindings::kernel_getpeername(self.as_raw(), addr.as_mut_ptr()) };
        to_result(len)?;
        addr.parse(len)
    }

    /// Returns the state. Any context.
    pub fn tcp_state(&self) -> TcpState {
        self.sk().state()
    }

    /// Takes the pending error, which no other operation will return then. Any context.
    pub fn take_error(&self) -> Option<Error> {
        self.sk().take_error()
    }

    /// Lets small segments be sent at once (`TCP_NODELAY`).
    pub fn set_nodelay(&self) {
        // SAFETY: The socket is valid, and one of TCP, by the type invariants.
        unsafe { bindings::tcp_sock_set_nodelay(self.sk().as_raw()) };
    }

    /// Lets the socket be bound to an address that old connections have still (`SO_REUSEADDR`).
    pub fn set_reuse_address(&self) {
        // SAFETY: The socket is valid by the type invariants.
        unsafe { bindings::sock_set_reuseaddr(self.sk().as_raw()) };
    }

    /// Lets the connection be reset when the socket is dropped (`SO_LINGER` with no time).
    pub fn set_linger_abort(&self) {
        // SAFETY: The socket is valid by the type invariants.
        unsafe { bindings::sock_no_linger(self.sk().as_raw()) };
    }

    /// Sends what there is room for, and returns how many bytes that were.
    ///
    /// The data are copied, and no longer in use when this returns. If it is less than all, or if
    /// it fails with `EAGAIN`, then [`Callbacks::write_space`] is called when there is room.
    pub fn send(&self, from: &BioVecs<'_>) -> Result<usize> {
        let mut msg = bindings::msghdr {
            msg_flags: bindings::MSG_DONTWAIT | bindings::MSG_NOSIGNAL,
            ..Default::default()
        };

        // SAFETY: The iterator is valid for writing.
        unsafe { from.init_iter(&raw mut msg.msg_iter, bindings::ITER_SOURCE) };
        // SAFETY: The socket is valid by the type invariants. The message is complete, and what it
        // refers to may be read while `from` is borrowed.
        bytes(unsafe { bindings::sock_sendmsg(self.as_raw(), &raw mut msg) })
    }

    /// Receives what is there, as far as it fits, and returns how many bytes that were.
    ///
    /// Zero (when there was room for anything) is the end: the peer will send no more. If nothing
    /// is there yet it fails with `EAGAIN`.
    pub fn recv(&self, into: &BioVecs<'_>) -> Result<usize> {
        let mut msg = bindings::msghdr::default();

        // SAFETY: The iterator is valid for writing.
        unsafe { into.init_iter(&raw mut msg.msg_iter, bindings::ITER_DEST) };
        // SAFETY: The socket is valid by the type invariants. The message is complete, and what it
        // refers to may be written to while `into` is borrowed.
        bytes(unsafe {
            bindings::sock_recvmsg(self.as_raw(), &raw mut msg, bindings::MSG_DONTWAIT as c_int)
        })
    }

    fn as_raw(&self) -> *mut bindings::socket {
        self.socket.as_ptr()
    }

    fn sk(&self) -> &Sock {
        // SAFETY: By the type invariants the socket has a `struct sock`, to which it holds a
        // reference, and it was allocated by `sock_alloc` or (by accept) `sock_create_lite`.
        unsafe { Sock::from_raw((*self.as_raw()).sk) }
    }
}

impl Drop for KernelSocket {
    fn drop(&mut self) {
        self.clear_callbacks();
        // SAFETY: By the type invariants the socket is valid and ours.
        unsafe { bindings::sock_release(self.as_raw()) };
    }
}

// SAFETY: A socket may be used and released by any thread; the callbacks, which are dropped along,
// are `Send`.
unsafe impl Send for KernelSocket {}

// SAFETY: All operations on sockets are synchronised by C code, and those on the callbacks by
// `sk_callback_lock`.
unsafe impl Sync for KernelSocket {}

/// Understands what sending and receiving return.
fn bytes(ret: c_int) -> Result<usize> {
    to_result(ret)?;
    usize::try_from(ret).map_err(|_| EINVAL)
}
