// SPDX-License-Identifier: GPL-2.0

//! Sockets that the kernel uses itself.
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

pub(super) use self::options::is_plain;

pub use self::{
    callbacks::Callbacks,
    data::ReceivedDatagram,
    locked::Locked,
    memory::{
        tcp_memory,
        Buffers, //
    },
    owner::Owner,
    protocol::{
        Protocol,
        Tcp,
        Udp, //
    },
    tally::Tally,
    urgent::{
        UrgentByte,
        UrgentNews,
        UrgentSeen, //
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
        socket::How,
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

/// A socket of a protocol, [`Tcp`] or [`Udp`], that belongs to the kernel.
///
/// No operation waits for the peer: what can't be done at once fails with `EAGAIN` or, to connect,
/// `EINPROGRESS`, and the [`Callbacks`] say when it is worth trying again. All the same, all methods
/// (and dropping) are for process context, since the lock of the socket may have to be waited for,
/// except where it is said that they are for any.
///
/// What is done with a socket is done with the privileges of the current task, or with those of its
/// [`Owner`], if it has one. To send and to receive takes none.
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
/// - `socket` points to a valid `struct socket` of `P` (over IPv4 or IPv6) that belongs to this
///   object, has no file, and has a `struct sock`.
/// - Its `sk_user_data`, if it has the flag `SK_USER_DATA_NOCOPY` and no other, points to an
///   `Installed` that belongs to this object.
/// - Only a socket of TCP has `holds_place` set, and it listens then and counts one connection more
///   than there are in its queue.
/// - The callbacks of the socket are `RawCallbacks::OURS` in that case, and those of its protocol
///   else, but that BPF may have put others in front of them.
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
    /// See [`KernelSocket::hold_place`].
    holds_place: Atomic<bool>,
    protocol: PhantomData<P>,
}

impl KernelSocket<Tcp> {
    /// Creates a TCP socket in a network namespace.
    pub fn stream(net: &Namespace, domain: Domain) -> Result<Self> {
        Self::new(net, domain)
    }

    /// Shuts down one or both directions.
    pub fn shutdown(&self, how: How) -> Result {
        self.leave_place();
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
    fn new(net: &Namespace, domain: Domain) -> Result<Self> {
        let mut socket = core::ptr::null_mut();

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

        // A kernel socket has no reference to its namespace by default. TCP would have to forget
        // about the peer at the moment of closing then.

        // SAFETY: The socket was just created, has a `struct sock`, and nobody else knows of it. Its
        // namespace is alive.
        unsafe { bindings::sk_net_refcnt_upgrade((*socket.as_ptr()).sk) };

        // INVARIANT: The socket is new and of the protocol asked for: it is ours and nothing is
        // installed.
        Ok(Self {
            socket,
            counted: None,
            owner: None,
            holds_place: Atomic::new(false),
            protocol: PhantomData,
        })
    }

    /// Takes over a socket that was made for a program, and which none will get.
    ///
    /// # Safety
    ///
    /// `socket` must point to a valid `struct socket` of `P` which nobody else knows of, with a
    /// `struct sock` of which nobody, but BPF, has changed callbacks or user data.
    pub(in crate::net) unsafe fn from_raw(socket: NonNull<bindings::socket>) -> Self {
        // INVARIANT: These are the safety requirements.
        Self {
            socket,
            counted: None,
            owner: None,
            holds_place: Atomic::new(false),
            protocol: PhantomData,
        }
    }

    /// Begins to connect. For datagrams it sets, or changes, the peer, and is done at once.
    ///
    /// # Errors
    ///
    /// `EINPROGRESS` is the usual one: the state changes when it is known what has become of it.
    pub fn connect(&self, addr: SocketAddr) -> Result {
        let addr = SockAddrBuf::from(addr);

        to_result(self.as_owner(|| {
            // SAFETY: The socket is valid by the type invariants, and the address has that length. C
            // code makes a copy of it.
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

    /// Dissolves a connection, which resets it, or forgets the peer of datagrams.
    pub fn disconnect(&self) -> Result {
        self.leave_place();
        let mut addr: bindings::sockaddr = pin_init::zeroed();

        addr.sa_family = AF_UNSPEC;
        to_result(self.as_owner(|| {
            // SAFETY: The socket is valid by the type invariants, and the address has that length. C
            // code makes a copy of it.
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

    /// Gives the socket an address of its own.
    ///
    /// With an [`Owner`] it may have any port: that some are for those who have
    /// `CAP_NET_BIND_SERVICE` in the socket's network namespace tells nothing of who asks for it
    /// here, so the caller decides who may have which.
    pub fn bind(&self, addr: SocketAddr) -> Result {
        let addr = SockAddrBuf::from(addr);

        to_result(self.as_binder(|| {
            // SAFETY: The socket is valid by the type invariants, and the address has that length. C
            // code makes a copy of it.
            unsafe {
                bindings::kernel_bind(self.as_raw(), addr.as_ptr().cast_mut().cast(), addr.c_len())
            }
        }))
    }

    /// Gives the socket an address of its own, whose port it may have whatever it is: somebody else
    /// was asked.
    ///
    /// # Errors
    ///
    /// What bind(2) returns; what a security module says to it, for the current task.
    pub(in crate::net) fn bind_permitted(&self, addr: SocketAddr) -> Result {
        // SAFETY: By the type invariants the socket is valid, and it was allocated by `sock_alloc`.
        unsafe { super::socket::Socket::from_raw(self.as_raw()) }.bind_permitted(addr)
    }

    /// Returns the address of the socket.
    pub fn local_addr(&self) -> Result<SocketAddr> {
        self.name(0)
    }

    /// Returns the address of the peer; `ENOTCONN` if there is none (any more).
    pub fn peer_addr(&self) -> Result<SocketAddr> {
        self.name(1)
    }

    /// Returns an address of the socket: its own (0), that of its peer (1), or that of the peer it
    /// has or has had (2).
    fn name(&self, which: c_int) -> Result<SocketAddr> {
        let mut addr = AddrStorage::new();

        // SAFETY: The socket is valid by the type invariants, and any address fits into `addr`.
        let len = unsafe { bindings::sock_getname(self.as_raw(), addr.as_mut_ptr(), which) };
        to_result(len)?;
        addr.parse(len)
    }

    /// Returns whether an error is pending. Any context.
    pub fn has_error(&self) -> bool {
        self.sk().error().is_some()
    }

    /// Takes the pending error, which no other operation will return then. Any context.
    pub fn take_error(&self) -> Option<Error> {
        self.sk().take_error()
    }

    /// Returns the address family, `AF_INET` for example.
    pub(super) fn family(&self) -> i32 {
        // SAFETY: The socket is valid by the type invariants, has a `struct sock`, and its family
        // changes in one way only: from `AF_INET6` to `AF_INET`, which is for programs.
        i32::from(unsafe { (*self.sk().as_raw()).__sk_common.skc_family })
    }

    /// Ends what `KernelSocket::hold_place` has begun, if it has.
    fn leave_place(&self) {
        if self.holds_place.xchg(false, Full) {
            // SAFETY: By the type invariants the socket is valid, one of TCP, and has counted one more.
            //
            // INVARIANT: It does not any more.
            unsafe { bindings::inet_csk_count_waiting(self.sk().as_raw(), false) };
        }
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

impl<P: Protocol> Drop for KernelSocket<P> {
    fn drop(&mut self) {
        self.clear_callbacks();
        self.leave_place();
        // SAFETY: They were just cleared, and the socket is closed now.
        unsafe { self.leave_counted() };
        // SAFETY: By the type invariants the socket is valid and ours.
        unsafe { bindings::sock_release(self.as_raw()) };
    }
}

// SAFETY: A socket may be used and released by any thread; the callbacks, which are dropped along,
// are `Send`.
unsafe impl<P: Protocol> Send for KernelSocket<P> {}

// SAFETY: All operations on sockets are synchronised by C code, and those on the callbacks by
// `sk_callback_lock`.
unsafe impl<P: Protocol> Sync for KernelSocket<P> {}
