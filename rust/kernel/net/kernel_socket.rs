// SPDX-License-Identifier: GPL-2.0

//! Sockets that the kernel uses itself.
//!
//! C headers: [`include/linux/net.h`](srctree/include/linux/net.h),
//! [`include/net/sock.h`](srctree/include/net/sock.h)

mod callbacks;
mod data;
mod memory;
mod options;
mod owner;
mod tally;
#[cfg(CONFIG_RUST_SOCKET_KUNIT_TEST)]
mod tests;
mod urgent;

pub(super) use self::options::is_plain;

pub use self::{
    callbacks::Callbacks,
    data::Datagram,
    memory::{
        tcp_memory,
        Buffers, //
    },
    owner::Owner,
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
    sync::Arc, //
};

use core::{
    net::SocketAddr,
    ptr::NonNull, //
};

/// A TCP or UDP socket that belongs to the kernel.
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
/// - `socket` points to a valid `struct socket` of TCP or UDP (over IPv4 or IPv6) that belongs to
///   this object, has no file, and has a `struct sock`.
/// - Its `sk_user_data`, if it has the flag `SK_USER_DATA_NOCOPY` and no other, points to an
///   `Installed` that belongs to this object.
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
pub struct KernelSocket {
    socket: NonNull<bindings::socket>,
    counted: Option<KBox<tally::Counted>>,
    owner: Option<Arc<Owner>>,
}

impl KernelSocket {
    /// Creates a TCP socket in a network namespace.
    pub fn stream(net: &Namespace, domain: Domain) -> Result<Self> {
        Self::new(
            net,
            domain,
            bindings::sock_type_SOCK_STREAM,
            bindings::IPPROTO_TCP as c_int,
        )
    }

    /// Creates a UDP socket in a network namespace.
    pub fn datagram(net: &Namespace, domain: Domain) -> Result<Self> {
        Self::new(
            net,
            domain,
            bindings::sock_type_SOCK_DGRAM,
            bindings::IPPROTO_UDP as c_int,
        )
    }

    fn new(net: &Namespace, domain: Domain, kind: u32, protocol: c_int) -> Result<Self> {
        let mut socket = core::ptr::null_mut();

        // SAFETY: The namespace is alive by its type invariants, and `socket` is valid for writing.
        to_result(unsafe {
            bindings::sock_create_kern(
                net.as_raw(),
                domain as c_int,
                // CAST: A small constant.
                kind as c_int,
                protocol,
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
        Ok(Self {
            socket,
            counted: None,
            owner: None,
        })
    }

    /// Takes over a socket that was made for a program, and which none will get.
    ///
    /// # Safety
    ///
    /// `socket` must point to a valid `struct socket` of TCP or UDP which nobody else knows of, with
    /// a `struct sock` of which nobody, but BPF, has changed callbacks or user data.
    pub(in crate::net) unsafe fn from_raw(socket: NonNull<bindings::socket>) -> Self {
        // INVARIANT: These are the safety requirements.
        Self {
            socket,
            counted: None,
            owner: None,
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

    /// As [`Self::listen`], if a security module allows that to the current task.
    pub(in crate::net) fn listen_permitted(&self, backlog: i32) -> Result {
        // SAFETY: The socket is valid by the type invariants.
        to_result(unsafe { bindings::sock_may_listen(self.as_raw(), backlog) })?;
        self.listen(backlog)
    }

    /// Begins to take in connections, `backlog` of them before the first is accepted. On a listening
    /// socket it changes how many.
    pub fn listen(&self, backlog: i32) -> Result {
        to_result(self.as_owner(|| {
            // SAFETY: The socket is valid by the type invariants.
            unsafe { bindings::kernel_listen(self.as_raw(), backlog) }
        }))
    }

    /// Returns whether a connection has come in that [`KernelSocket::accept`] would take. Any context.
    pub fn has_connection(&self) -> bool {
        if self.tcp_state() != TcpState::Listen {
            return false;
        }
        // SAFETY: The socket is valid by the type invariants, and one of TCP since it listens.
        unsafe { bindings::inet_csk_listen_poll(self.sk().as_raw()) != 0 }
    }

    /// Returns how many connections have come in that nobody has accepted. Any context.
    pub fn waiting(&self) -> usize {
        // CAST: Widens.
        self.sk().ack_backlog() as usize
    }

    /// Changes how many connections may wait at a listening socket, see [`KernelSocket::listen`]. Any
    /// context.
    pub fn set_backlog(&self, backlog: u32) {
        if self.tcp_state() == TcpState::Listen {
            self.sk().set_max_ack_backlog(backlog);
        }
    }

    /// Takes the next connection that has come in, and returns it with the address of its peer.
    ///
    /// It has no callbacks. It may have been reset by its peer already, which is an error for those
    /// who use it then. `EAGAIN` if there is none.
    pub fn accept(&self) -> Result<(Self, SocketAddr)> {
        let mut socket = core::ptr::null_mut();

        to_result(self.as_owner(|| {
            // SAFETY: The socket is valid by the type invariants, and `socket` is valid for writing.
            unsafe {
                bindings::kernel_accept(
                    self.as_raw(),
                    &raw mut socket,
                    bindings::O_NONBLOCK as c_int,
                )
            }
        }))?;
        let socket = NonNull::new(socket).ok_or(ENOMEM)?;

        // SAFETY: A socket that was accepted has a `struct sock`, and this one is ours.
        unsafe { self.restore_callbacks((*socket.as_ptr()).sk) };

        // INVARIANT: The socket is new: it is ours, nothing is installed, and its callbacks have
        // just been made the original ones.
        let accepted = Self {
            socket,
            counted: None,
            owner: self.owner.clone(),
        };
        let peer = accepted.name(2)?;
        Ok((accepted, peer))
    }

    /// Takes the next connection that has come in, and makes it that of `new`, which becomes a
    /// socket of TCP with all that belongs to it. `EAGAIN` if there is none.
    ///
    /// # Safety
    ///
    /// `new` must point to a `struct socket` that was allocated for accept(2), has no `struct sock`,
    /// and holds a reference to the module of its operations.
    pub(in crate::net) unsafe fn accept_into(&self, new: *mut bindings::socket) -> Result {
        let mut arg = bindings::proto_accept_arg {
            flags: bindings::O_NONBLOCK as c_int,
            ..pin_init::zeroed()
        };
        // SAFETY: The socket is valid by the type invariants, and as one without a file it keeps its
        // operations.
        let ops = unsafe { &*(*self.as_raw()).ops };
        let accept = ops.accept.ok_or(EOPNOTSUPP)?;

        // SAFETY: The socket is valid by the type invariants, and `new` one for accept(2), as is
        // required.
        to_result(unsafe { accept(self.as_raw(), new, &raw mut arg) })?;
        // SAFETY: A socket that was accepted has a `struct sock`, and this one no user yet.
        unsafe { self.restore_callbacks((*new).sk) };

        // SAFETY: `new` is valid, and the caller's alone. The module of TCP stays while there is
        // `self`, and with the reference for as long as there is `new`; the other module's reference
        // is that which `new` held.
        unsafe {
            bindings::__module_get(ops.owner);
            let former = (*new).ops;
            (*new).ops = ops;
            bindings::module_put((*former).owner);
        }
        Ok(())
    }

    /// Gives a socket that was accepted the callbacks that TCP gives to its like: it was made as a
    /// copy of the listening one, with its callbacks (but without its user data). Its reference to
    /// the namespace is its own.
    ///
    /// # Safety
    ///
    /// `sk` must be a valid socket that was accepted from this one, and that nobody uses yet.
    unsafe fn restore_callbacks(&self, sk: *mut bindings::sock) {
        let original = self.original_callbacks();

        // SAFETY: The socket is valid. The callbacks are those that TCP has given to its like.
        unsafe {
            bindings::sk_callback_write_lock_bh(sk);
            original.set_in_place_of_ours(sk);
            bindings::sk_callback_write_unlock_bh(sk);
        }
    }

    /// Shuts down one or both directions.
    pub fn shutdown(&self, how: How) -> Result {
        to_result(self.as_owner(|| {
            // SAFETY: The socket is valid by the type invariants.
            unsafe { bindings::kernel_sock_shutdown(self.as_raw(), how as u32) }
        }))
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

    /// Returns the state of a TCP socket. Any context.
    pub fn tcp_state(&self) -> TcpState {
        self.sk().state()
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

    fn is_datagram(&self) -> bool {
        // SAFETY: The socket is valid by the type invariants, and its type never changes.
        u32::from(unsafe { (*self.as_raw()).type_ } as u16) == bindings::sock_type_SOCK_DGRAM
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
        // SAFETY: They were just cleared, and the socket is closed now.
        unsafe { self.leave_counted() };
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
