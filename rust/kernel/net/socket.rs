// SPDX-License-Identifier: GPL-2.0

//! The half of a socket that programs hold: `struct socket`.
//!
//! Its other half, the one of the protocol, is a [`Sock`](super::sock::Sock).
//!
//! C header: [`include/linux/net.h`](srctree/include/linux/net.h)

use crate::{
    bindings,
    error::to_result,
    net::{
        addr::SockAddrBuf,
        kernel_socket::is_plain,
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

/// `SOCK_SEQPACKET`: a reliable sequence of packets.
pub const SOCK_SEQPACKET: i32 = bindings::sock_type_SOCK_SEQPACKET as i32;

/// `enum socket_state`: how far a program has come with a socket.
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

/// Which directions of a connection to shut down.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum How {
    /// Nothing will be received any more.
    Read = bindings::sock_shutdown_cmd_SHUT_RD,
    /// Nothing will be sent any more.
    Write = bindings::sock_shutdown_cmd_SHUT_WR,
    /// Neither of them.
    Both = bindings::sock_shutdown_cmd_SHUT_RDWR,
}

impl TryFrom<i32> for How {
    type Error = Error;

    /// Understands the argument of shutdown(2); `EINVAL` if it has no meaning.
    fn try_from(how: i32) -> Result<Self> {
        [How::Read, How::Write, How::Both]
            .into_iter()
            .find(|known| *known as i32 == how)
            .ok_or(EINVAL)
    }
}

/// A `struct socket`, that a file (or another part of the kernel) owns.
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
        // INVARIANT: This too is guaranteed by the safety requirements.
        unsafe { &*ptr.cast() }
    }

    /// Returns the raw `struct socket`.
    #[inline]
    pub fn as_raw(&self) -> *mut bindings::socket {
        self.0.get()
    }

    /// Returns the kind of socket that was asked for, [`SOCK_STREAM`] for example.
    #[inline]
    pub fn kind(&self) -> i32 {
        // SAFETY: The socket is valid by the type invariants; its type was set before anybody else
        // has seen it, and never changes.
        i32::from(unsafe { (*self.as_raw()).type_ })
    }

    /// Returns how far the program has come. Any context.
    pub fn state(&self) -> SocketState {
        match self.raw_state().load(Relaxed) {
            bindings::socket_state_SS_UNCONNECTED => SocketState::Unconnected,
            bindings::socket_state_SS_CONNECTING => SocketState::Connecting,
            bindings::socket_state_SS_CONNECTED => SocketState::Connected,
            bindings::socket_state_SS_DISCONNECTING => SocketState::Disconnecting,
            _ => SocketState::Free,
        }
    }

    /// Notes how far the program has come. Any context.
    ///
    /// This orders nothing and excludes nobody: calls that decide by the state and then change it
    /// need a lock of the family's.
    pub fn set_state(&self, state: SocketState) {
        self.raw_state().store(state as u32, Relaxed);
    }

    /// Sets an option of [`SOL_SOCKET`] in the way that it is done for most families: it takes
    /// effect on the `struct sock`, and the protocol is not asked.
    ///
    /// Process context, takes the lock of the socket. Meant for
    /// [`Ops::setsockopt`](super::family::Ops::setsockopt); where it matters the current task must
    /// be allowed to set the option.
    ///
    /// # Errors
    ///
    /// What setsockopt(2) returns: `ENOPROTOOPT` if there is no such option, `EOPNOTSUPP` if it is
    /// one that only other families have (for instance `SO_REUSEPORT`, see
    /// [`SockGuard::set_reuse_port`](super::sock::SockGuard::set_reuse_port)). `EINVAL` if the
    /// socket is just being created.
    pub fn set_option(&self, name: i32, value: &OptionIn<'_>) -> Result {
        let socket = self.as_raw();
        let (value, len) = value.as_raw();

        // SAFETY: The socket is valid by the type invariants. From when it has got a `struct sock`
        // it has that until it is released, while there is no reference to it any more.
        if unsafe { (*socket).sk }.is_null() {
            return Err(EINVAL);
        }
        // SAFETY: As above; so both halves exist, and refer to each other. By the invariants of
        // `OptionIn` the value is readable, or in user space.
        to_result(unsafe { bindings::sock_setsockopt(socket, SOL_SOCKET, name, value, len) })
    }

    /// Sets an option of any level, as setsockopt(2) does it, if its value is plain data.
    ///
    /// Process context, may sleep; takes the lock of the socket.
    ///
    /// # Errors
    ///
    /// What setsockopt(2) returns. `ENOPROTOOPT` also for options that need a program to call it.
    /// `EINVAL` if the socket is just being created.
    pub fn set_plain_option(&self, level: i32, name: i32, value: &[u8]) -> Result {
        if !is_plain(level, name) {
            return Err(ENOPROTOOPT);
        }
        // SAFETY: The socket is valid by the type invariants.
        if unsafe { (*self.as_raw()).sk }.is_null() {
            return Err(EINVAL);
        }
        let len = c_uint::try_from(value.len()).map_err(|_| EINVAL)?;

        // SAFETY: The socket is valid by the type invariants, and there are so many bytes. The
        // option is one that does nothing with them but to read them.
        to_result(unsafe {
            bindings::sock_setsockopt_kernel(self.as_raw(), level, name, value.as_ptr().cast(), len)
        })
    }

    /// Gives the socket an address of its own, whose port it may have whatever it is: somebody else
    /// was asked.
    ///
    /// Process context, may sleep; takes the lock of the socket.
    ///
    /// # Errors
    ///
    /// What bind(2) returns; what a security module says to it, for the current task.
    pub fn bind_permitted(&self, addr: SocketAddr) -> Result {
        let addr = SockAddrBuf::from(addr);
        let raw = addr.as_ptr().cast_mut();

        // SAFETY: The socket is valid by the type invariants, and the address has that length. C
        // code does not change it.
        to_result(unsafe { bindings::sock_may_bind(self.as_raw(), raw.cast(), addr.c_len()) })?;
        // SAFETY: As above.
        to_result(unsafe { bindings::sock_bind_permitted(self.as_raw(), raw.cast(), addr.c_len()) })
    }

    /// Lets the family's `setsockopt` see the options of [`SOL_SOCKET`].
    pub(super) fn set_custom_sockopt(&self) {
        // SAFETY: The socket is valid by the type invariants.
        let flags = unsafe { &raw mut (*self.as_raw()).flags };

        // CAST: The number of a bit.
        // SAFETY: The flags are valid; they are changed atomically.
        unsafe { bindings::set_bit(bindings::socket_flags_SOCK_CUSTOM_SOCKOPT as usize, flags) };
    }

    /// Lets io_uring send with `MSG_ZEROCOPY`.
    pub(super) fn set_support_zerocopy(&self) {
        // SAFETY: The socket is valid by the type invariants.
        let flags = unsafe { &raw mut (*self.as_raw()).flags };

        // CAST: The number of a bit.
        // SAFETY: The flags are valid; they are changed atomically.
        unsafe { bindings::set_bit(bindings::socket_flags_SOCK_SUPPORT_ZC as usize, flags) };
    }

    fn raw_state(&self) -> &Atomic<u32> {
        // SAFETY: By the type invariants the pointer is valid for as long as `self` is. C code
        // writes to the state in ways that are atomic in practice (aligned words).
        unsafe { Atomic::from_ptr(&raw mut (*self.as_raw()).state) }
    }
}

// SAFETY: A shared reference gives access to a constant and to the state, which is atomic.
unsafe impl Sync for Socket {}
