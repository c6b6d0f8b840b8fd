// SPDX-License-Identifier: GPL-2.0

//! Sockets used by the kernel itself.
//!
//! C headers: [`include/linux/net.h`](srctree/include/linux/net.h),
//! [`include/net/sock.h`](srctree/include/net/sock.h)

mod callbacks;
mod data;
mod listen;
mod locked;
mod memory;
mod options;
mod owner;
mod protocol;
mod tally;
#[cfg(CONFIG_RUST_SOCKET_KUNIT_TEST)]
mod tests;
mod urgent;

pub(super) use self::options::is_safe_to_set;

pub use self::{
    callbacks::{
        Callbacks,
        CallbacksPlace, //
    },
    data::ReceivedDatagram,
    locked::Locked,
    memory::{
        tcp_memory,
        udp_memory,
        Buffers, //
    },
    owner::Owner,
    protocol::{
        Protocol,
        Tcp,
        Udp, //
    },
    tally::{
        tcp_max_closed,
        Tally,
        TallyPlace, //
    },
    urgent::{
        UrgentByte,
        UrgentChange,
        UrgentState, //
    }, //
};

use crate::{
    bindings,
    error::to_result,
    net::{
        addr::{
            AddrStorage,
            Domain,
            SockAddrBuf,
            AF_UNSPEC, //
        },
        namespace::Namespace,
        sock::{
            Sock,
            TcpState, //
        },
        socket::{
            How,
            NativeSocket, //
        }, //
    },
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Full, //
        },
        Arc, //
    }, //
};

use core::{
    marker::PhantomData,
    net::SocketAddr,
    ptr::NonNull, //
};

/// A socket of the protocol [`Tcp`] or [`Udp`] that the kernel uses itself.
///
/// No operation waits for the peer: an operation that can't finish at once fails with `EAGAIN` or,
/// when connecting, `EINPROGRESS`, and the [`Callbacks`] tell when to try again. Nevertheless all
/// methods, and dropping, require process context, since they may have to wait for the lock of the
/// socket, unless their documentation says that they may be called from any context.
///
/// Operations run with the privileges of the current task or, if the socket has an [`Owner`], of
/// the owner. Sending and receiving need no privileges.
///
/// The socket holds a reference to its network namespace, as a program's socket does, until TCP has
/// closed the connection, possibly long after this object was dropped: the `struct sock` holds the
/// reference.
///
/// If the callbacks own the socket, [`KernelSocket::clear_callbacks`] must be called for either to
/// be freed.
///
/// # Invariants
///
/// - `socket` points to a valid `struct socket` of `P` (over IPv4 or IPv6) that this object owns,
///   and that has no file, but has a `struct sock`.
/// - Its `sk_user_data`, if it has the flag `SK_USER_DATA_NOCOPY` and no other, points to an
///   `Installed` that this object owns.
/// - `reserves_backlog` is only set for a TCP socket that listens, or did so until others destroyed
///   it, and that counts one connection more than there are in its queue.
/// - The callbacks of the socket are `RawCallbacks::OURS` if an `Installed` is set, and those of
///   its protocol otherwise, except that BPF may have put others in front of them.
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
pub struct KernelSocket<P: Protocol> {
    socket: NonNull<bindings::socket>,
    counted: Option<KBox<tally::Counted>>,
    owner: Option<Arc<Owner>>,
    /// See [`KernelSocket::reserve_backlog`].
    reserves_backlog: Atomic<bool>,
    protocol: PhantomData<P>,
}

impl KernelSocket<Tcp> {
    /// Creates a TCP socket in a network namespace.
    pub fn stream(net: &Namespace, domain: Domain) -> Result<Self> {
        Self::new(net, domain)
    }

    /// Shuts down one or both directions.
    pub fn shutdown(&self, how: How) -> Result {
        self.release_backlog();
        to_result(self.as_owner(|| {
            // SAFETY: The socket is valid by the type invariants.
            unsafe { bindings::kernel_sock_shutdown(self.as_raw(), how as u32) }
        }))
    }

    /// Returns the state of a TCP socket. Any context.
    pub fn tcp_state(&self) -> TcpState {
        self.sk().state()
    }
}

impl KernelSocket<Udp> {
    /// Creates a UDP socket in a network namespace.
    pub fn datagram(net: &Namespace, domain: Domain) -> Result<Self> {
        Self::new(net, domain)
    }
}

impl<P: Protocol> KernelSocket<P> {
    /// Creates a socket. `EAFNOSUPPORT` if the kernel does not have the domain.
    fn new(net: &Namespace, domain: Domain) -> Result<Self> {
        let mut socket = core::ptr::null_mut();

        // Without IPv6 (`ipv6.disable=1`), C code would have a program look for a module each time.
        // SAFETY: This may be called at any time.
        if domain == Domain::Inet6 && !unsafe { bindings::ipv6_mod_enabled() } {
            return Err(EAFNOSUPPORT);
        }
        // SAFETY: The namespace is alive by its type invariants, and `socket` is valid for writing.
        to_result(unsafe {
            bindings::sock_create_kern(
                net.as_raw(),
                domain as c_int,
                // CAST: Small constants.
                P::TYPE as c_int,
                P::NUMBER as c_int,
                &raw mut socket,
            )
        })?;
        let socket = NonNull::new(socket).ok_or(ENOMEM)?;

        // By default a kernel socket has no reference to its namespace. TCP would have to forget
        // the peer at the moment of closing then.

        // SAFETY: The socket was just created, has a `struct sock`, and nothing else refers to it.
        // Its namespace is alive.
        unsafe { bindings::sk_net_refcnt_upgrade((*socket.as_ptr()).sk) };

        // INVARIANT: The socket is new, of the requested protocol and owned by us, and nothing is
        // installed.
        Ok(Self {
            socket,
            counted: None,
            owner: None,
            reserves_backlog: Atomic::new(false),
            protocol: PhantomData,
        })
    }

    /// Takes ownership of a socket that was created for a program, but is not going to be passed to
    /// one.
    ///
    /// # Safety
    ///
    /// `socket` must point to a valid `struct socket` of `P` that nothing else refers to. It must
    /// have a `struct sock` whose callbacks and user data have not been changed, except by BPF.
    pub(in crate::net) unsafe fn from_raw(socket: NonNull<bindings::socket>) -> Self {
        // INVARIANT: The safety requirements guarantee the type invariants.
        Self {
            socket,
            counted: None,
            owner: None,
            reserves_backlog: Atomic::new(false),
            protocol: PhantomData,
        }
    }

    /// Starts connecting to `addr`. For datagrams, sets or changes the peer, which takes effect at
    /// once.
    ///
    /// # Errors
    ///
    /// Usually `EINPROGRESS`: [`Callbacks::state_change`] is called when the outcome is known.
    pub fn connect(&self, addr: SocketAddr) -> Result {
        let addr = SockAddrBuf::from(addr);

        to_result(self.as_owner(|| {
            // SAFETY: The socket is valid by the type invariants, and the address has the length
            // `c_len()`. C code makes a copy of it.
            unsafe {
                bindings::kernel_connect(
                    self.as_raw(),
                    addr.as_ptr().cast_mut().cast(),
                    addr.c_len(),
                    bindings::O_NONBLOCK as c_int,
                )
            }
        }))
    }

    /// Resets the connection of a stream socket, or dissolves the association of a datagram socket.
    pub fn disconnect(&self) -> Result {
        self.release_backlog();
        let mut addr: bindings::sockaddr = pin_init::zeroed();

        addr.sa_family = AF_UNSPEC;
        to_result(self.as_owner(|| {
            // SAFETY: The socket is valid by the type invariants, and the address has the given
            // length. C code makes a copy of it.
            unsafe {
                bindings::kernel_connect(
                    self.as_raw(),
                    (&raw mut addr).cast(),
                    size_of::<bindings::sockaddr>() as c_int,
                    bindings::O_NONBLOCK as c_int,
                )
            }
        }))
    }

    /// Binds the socket to an address.
    ///
    /// A socket with an [`Owner`] may be bound to any port. The owner's lack of
    /// `CAP_NET_BIND_SERVICE` in the socket's network namespace says nothing about the remote user
    /// that requests the port, so the caller has to decide which ports are allowed.
    pub fn bind(&self, addr: SocketAddr) -> Result {
        let addr = SockAddrBuf::from(addr);

        to_result(self.as_binder(|| {
            // SAFETY: The socket is valid by the type invariants, and the address has the length
            // `c_len()`. C code makes a copy of it.
            unsafe {
                bindings::kernel_bind(self.as_raw(), addr.as_ptr().cast_mut().cast(), addr.c_len())
            }
        }))
    }

    /// Returns the socket as what it is apart from this object.
    pub(super) fn native(&self) -> &NativeSocket {
        // SAFETY: By the type invariants the socket is of `P`, which is TCP or UDP, and has a
        // `struct sock`. No program has it.
        unsafe { NativeSocket::from_raw(self.as_raw()) }
    }

    /// Returns the address of the socket.
    pub fn local_addr(&self) -> Result<SocketAddr> {
        self.name(0)
    }

    /// Returns the address of the peer. Fails with `ENOTCONN` if there is none (any more).
    pub fn peer_addr(&self) -> Result<SocketAddr> {
        self.name(1)
    }

    /// Returns an address of the socket: its own (0), its peer's (1), or that of its current or
    /// former peer (2).
    fn name(&self, which: c_int) -> Result<SocketAddr> {
        let mut addr = AddrStorage::new();

        // SAFETY: The socket is valid by the type invariants, and any address fits into `addr`.
        let len = unsafe { bindings::sock_getname(self.as_raw(), addr.as_mut_ptr(), which) };
        to_result(len)?;
        addr.parse(len)
    }

    /// Returns `true` if an error is pending. Any context.
    pub fn has_error(&self) -> bool {
        self.sk().error().is_some()
    }

    /// Returns and clears the pending error, so that no other operation returns it. Any context.
    pub fn take_error(&self) -> Option<Error> {
        self.sk().take_error()
    }

    /// Returns the address family, `AF_INET` for example.
    pub(super) fn family(&self) -> i32 {
        i32::from(self.sk().family())
    }

    /// Undoes `KernelSocket::reserve_backlog`, if it is in effect.
    fn release_backlog(&self) {
        if self.reserves_backlog.xchg(false, Full) {
            // SAFETY: By the type invariants, the socket is a valid TCP socket that has counted one
            // connection more.
            //
            // INVARIANT: The socket does not count it any more.
            unsafe { bindings::inet_csk_count_waiting(self.sk().as_raw(), false) };
        }
    }

    fn as_raw(&self) -> *mut bindings::socket {
        self.socket.as_ptr()
    }

    fn sk(&self) -> &Sock {
        // SAFETY: By the type invariants, the socket has a `struct sock` and holds a reference to
        // it, and was allocated by `sock_alloc` or (for accept) `sock_create_lite`.
        unsafe { Sock::from_raw((*self.as_raw()).sk) }
    }
}

impl<P: Protocol> Drop for KernelSocket<P> {
    fn drop(&mut self) {
        self.clear_callbacks();
        self.release_backlog();
        // SAFETY: The callbacks were cleared above, and the socket is closed below.
        unsafe { self.move_tally_to_socket() };
        // SAFETY: By the type invariants, the socket is valid and ours.
        unsafe { bindings::sock_release(self.as_raw()) };
    }
}

// SAFETY: Any thread may use and release the socket, and the callbacks, which are dropped with it,
// are `Send`.
unsafe impl<P: Protocol> Send for KernelSocket<P> {}

// SAFETY: C code synchronises all operations on sockets, and `sk_callback_lock` those on the
// callbacks.
unsafe impl<P: Protocol> Sync for KernelSocket<P> {}
