// SPDX-License-Identifier: GPL-2.0

//! The program's side of a socket: `struct socket`.
//!
//! The protocol's side is a [`Sock`](super::sock::Sock).
//!
//! C header: [`include/linux/net.h`](srctree/include/linux/net.h)

use crate::{
    bindings,
    error::to_result,
    net::{
        addr::SockAddrBuf,
        kernel_socket::is_safe_to_set,
        sockopt::{
            OptionIn,
            SOL_SOCKET, //
        }, //
    },
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
    types::Opaque, //
};

use core::net::SocketAddr;

/// `SOCK_STREAM`: a reliable stream of bytes.
pub const SOCK_STREAM: i32 = bindings::sock_type_SOCK_STREAM as i32;

/// `SOCK_DGRAM`: datagrams.
pub const SOCK_DGRAM: i32 = bindings::sock_type_SOCK_DGRAM as i32;

/// The connection state of a socket as the program sees it: `enum socket_state`.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum SocketState {
    /// Not allocated.
    Free = bindings::socket_state_SS_FREE,
    /// Not connected to anything.
    Unconnected = bindings::socket_state_SS_UNCONNECTED,
    /// In the process of connecting.
    Connecting = bindings::socket_state_SS_CONNECTING,
    /// Connected.
    Connected = bindings::socket_state_SS_CONNECTED,
    /// In the process of disconnecting.
    Disconnecting = bindings::socket_state_SS_DISCONNECTING,
}

/// The directions of a connection to shut down.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum How {
    /// No more data will be received.
    Read = bindings::sock_shutdown_cmd_SHUT_RD,
    /// No more data will be sent.
    Write = bindings::sock_shutdown_cmd_SHUT_WR,
    /// Both of the above.
    Both = bindings::sock_shutdown_cmd_SHUT_RDWR,
}

impl TryFrom<i32> for How {
    type Error = Error;

    /// Parses the argument of shutdown(2). Returns `EINVAL` if it is not valid.
    fn try_from(how: i32) -> Result<Self> {
        [How::Read, How::Write, How::Both]
            .into_iter()
            .find(|known| *known as i32 == how)
            .ok_or(EINVAL)
    }
}

/// A `struct socket`, owned by a file or by another part of the kernel.
///
/// # Invariants
///
/// The `struct socket` is valid, and was allocated by `sock_alloc` or `sock_create_lite`.
#[repr(transparent)]
pub struct Socket(Opaque<bindings::socket>);

impl Socket {
    /// Creates a reference to a [`Socket`] from a valid pointer.
    ///
    /// # Safety
    ///
    /// For the duration of `'a`, `ptr` must point to a valid `struct socket` that was allocated by
    /// `sock_alloc` or `sock_create_lite`.
    #[inline]
    pub unsafe fn from_raw<'a>(ptr: *mut bindings::socket) -> &'a Self {
        // SAFETY: The pointer is valid by the safety requirements and `Self` has the same layout.
        //
        // INVARIANT: The safety requirements guarantee the type invariants.
        unsafe { &*ptr.cast() }
    }

    /// Returns the raw `struct socket`.
    #[inline]
    pub fn as_raw(&self) -> *mut bindings::socket {
        self.0.get()
    }

    /// Returns the type of the socket, for example [`SOCK_STREAM`].
    #[inline]
    pub fn sock_type(&self) -> i32 {
        // SAFETY: The socket is valid by the type invariants. Its type was set before the socket
        // became visible to anyone else, and never changes.
        i32::from(unsafe { (*self.as_raw()).type_ })
    }

    /// Returns the connection state. Any context.
    pub fn state(&self) -> SocketState {
        match self.raw_state().load(Relaxed) {
            bindings::socket_state_SS_UNCONNECTED => SocketState::Unconnected,
            bindings::socket_state_SS_CONNECTING => SocketState::Connecting,
            bindings::socket_state_SS_CONNECTED => SocketState::Connected,
            bindings::socket_state_SS_DISCONNECTING => SocketState::Disconnecting,
            _ => SocketState::Free,
        }
    }

    /// Sets the connection state. Any context.
    ///
    /// This has no memory ordering and no mutual exclusion: calls that check the state before they
    /// change it need a lock of the family.
    pub fn set_state(&self, state: SocketState) {
        self.raw_state().store(state as u32, Relaxed);
    }

    /// Sets an option of level [`SOL_SOCKET`] with the generic code that most families use: the
    /// option takes effect on the `struct sock`, without involving the protocol.
    ///
    /// Process context, takes the lock of the socket. Meant for
    /// [`Ops::setsockopt`](super::family::Ops::setsockopt). Options that need privileges require
    /// them from the current task.
    ///
    /// # Errors
    ///
    /// The errors of setsockopt(2): `ENOPROTOOPT` if there is no such option, and `EOPNOTSUPP` if
    /// only other families have it (for instance `SO_REUSEPORT`, see
    /// [`SockGuard::set_reuse_port`](super::sock::SockGuard::set_reuse_port)). `EINVAL` if the
    /// socket is still being created.
    pub fn set_option(&self, name: i32, value: &OptionIn<'_>) -> Result {
        let socket = self.as_raw();
        let (value, len) = value.as_raw();

        // SAFETY: The socket is valid by the type invariants. Once it has a `struct sock`, it keeps
        // that until it is released, and then there are no references to it any more.
        if unsafe { (*socket).sk }.is_null() {
            return Err(EINVAL);
        }
        // SAFETY: As above, so both the `struct socket` and its `struct sock` exist and refer to
        // each other. By the invariants of `OptionIn` the value is readable, or in user space.
        to_result(unsafe { bindings::sock_setsockopt(socket, SOL_SOCKET, name, value, len) })
    }

    /// Lets the kernel call the family's `setsockopt` for options of level [`SOL_SOCKET`].
    pub(super) fn set_custom_sockopt(&self) {
        // SAFETY: The socket is valid by the type invariants.
        let flags = unsafe { &raw mut (*self.as_raw()).flags };

        // CAST: The number of a bit.
        // SAFETY: The flags are valid, and are changed atomically.
        unsafe { bindings::set_bit(bindings::socket_flags_SOCK_CUSTOM_SOCKOPT as usize, flags) };
    }

    /// Allows io_uring to send with `MSG_ZEROCOPY`.
    pub(super) fn set_support_zerocopy(&self) {
        // SAFETY: The socket is valid by the type invariants.
        let flags = unsafe { &raw mut (*self.as_raw()).flags };

        // CAST: The number of a bit.
        // SAFETY: The flags are valid, and are changed atomically.
        unsafe { bindings::set_bit(bindings::socket_flags_SOCK_SUPPORT_ZC as usize, flags) };
    }

    fn raw_state(&self) -> &Atomic<u32> {
        // SAFETY: By the type invariants the pointer is valid for as long as `self` is. C code
        // writes the state, an aligned word, with what in practice are single stores.
        unsafe { Atomic::from_ptr(&raw mut (*self.as_raw()).state) }
    }
}

// SAFETY: A shared reference gives access to the type, which is constant, to the state and flags,
// which are atomic, and to C functions that take the socket's lock.
unsafe impl Sync for Socket {}

/// A socket of the kernel's own TCP or UDP, over IPv4 or IPv6.
///
/// # Invariants
///
/// - The `struct socket` is valid, is of TCP or UDP, and has a `struct sock`.
/// - No program uses it yet.
#[repr(transparent)]
pub struct NativeSocket(Opaque<bindings::socket>);

impl NativeSocket {
    /// Creates a reference to a [`NativeSocket`] from a valid pointer.
    ///
    /// # Safety
    ///
    /// For the duration of `'a`, `ptr` must point to a valid `struct socket` that fulfils the type
    /// invariants.
    #[inline]
    pub(super) unsafe fn from_raw<'a>(ptr: *mut bindings::socket) -> &'a Self {
        // SAFETY: The pointer is valid by the safety requirements and `Self` has the same layout.
        //
        // INVARIANT: The safety requirements guarantee the type invariants.
        unsafe { &*ptr.cast() }
    }

    /// Sets an option of any level as setsockopt(2) does, provided that its value is plain data.
    ///
    /// Process context, may sleep; takes the lock of the socket.
    ///
    /// # Errors
    ///
    /// The errors of setsockopt(2). `ENOPROTOOPT` also for options that have to be set by a
    /// program.
    pub fn set_safe_option(&self, level: i32, name: i32, value: &[u8]) -> Result {
        if !is_safe_to_set(level, name) {
            return Err(ENOPROTOOPT);
        }
        let len = c_uint::try_from(value.len()).map_err(|_| EINVAL)?;

        // SAFETY: By the type invariants this is a complete socket, and `value` has `len` bytes.
        // This option only reads them.
        to_result(unsafe {
            bindings::sock_setsockopt_kernel(self.0.get(), level, name, value.as_ptr().cast(), len)
        })
    }

    /// Binds the socket to an address without checking the privilege for its port, and without
    /// asking security modules: they were asked about the port that the program has named, and may
    /// allow no other although the program has named none.
    ///
    /// Process context, may sleep; takes the lock of the socket.
    ///
    /// # Errors
    ///
    /// The errors of bind(2).
    pub fn bind_permitted(&self, addr: SocketAddr) -> Result {
        let addr = SockAddrBuf::from(addr);
        let raw = addr.as_ptr().cast_mut();

        // SAFETY: By the type invariants this is a complete socket of IPv4 or IPv6, whose protocol
        // has ports. The address has the length `c_len()`, and C code does not change it.
        to_result(unsafe { bindings::sock_bind_permitted(self.0.get(), raw.cast(), addr.c_len()) })
    }
}
