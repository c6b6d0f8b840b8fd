// SPDX-License-Identifier: GPL-2.0

//! The operations of a family's sockets.

use super::{
    Accepted,
    Head,
    StaticProto,
    TypedSock, //
};

use crate::{
    error::VTABLE_DEFAULT_ERROR,
    net::{
        addr::RawAddr,
        msghdr::MsgHdr,
        namespace::Namespace,
        socket::{
            How,
            Socket, //
        },
        sockopt::{
            OptionIn,
            OptionOut, //
        }, //
    },
    prelude::*, //
};

use core::net::SocketAddr;

/// The requested address of a socket.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// The socket's own address, for getsockname(2).
    Local,
    /// The address of its peer, for getpeername(2): `ENOTCONN` if there is none (any more).
    Peer,
    /// The address of its current or former peer, for accept(2) and `SO_PEERNAME`. A connection
    /// that is reset before it is accepted is accepted nevertheless.
    LastPeer,
}

impl Name {
    /// Converts the last argument of `getname` in a `struct proto_ops`.
    pub(super) fn from_raw(peer: c_int) -> Self {
        match peer {
            0 => Self::Local,
            1 => Self::Peer,
            _ => Self::LastPeer,
        }
    }
}

/// The operations of a protocol family.
///
/// Any number of operations may run at the same time on the same socket, except that
/// [`Ops::release`] runs alone. Unless noted otherwise, operations are called in process context
/// and may sleep; none is called with the socket's lock held. Operations that are not implemented
/// fail with `EOPNOTSUPP`.
///
/// If an operation fails after the socket has fallen back ([`TypedSock::fall_back`]), it is
/// repeated with the native socket.
///
/// # Examples
///
/// A family whose sockets discard everything that is sent to them:
///
/// ```
/// use kernel::{
///     net::{
///         family::{
///             Ops,
///             TypedSock, //
///         },
///         msghdr::MsgHdr,
///         namespace::Namespace,
///         sock::Sock,
///         socket::{
///             Socket,
///             SOCK_STREAM, //
///         },
///     },
///     prelude::*,
///     sync::atomic::{
///         Atomic,
///         Relaxed, //
///     },
/// };
///
/// struct Swallow;
///
/// struct Swallowed {
///     bytes: Atomic<usize>,
/// }
///
/// kernel::socket_proto!(Swallow, Swallow, c"SWALLOW");
///
/// #[vtable]
/// impl Ops for Swallow {
///     const FAMILY: i32 = 45;
///     type Head = Sock;
///     type Data = Swallowed;
///     type Proto = Self;
///
///     fn create(
///         _net: &Namespace,
///         kind: i32,
///         protocol: i32,
///     ) -> Result<impl PinInit<Self::Data, Error>> {
///         if kind != SOCK_STREAM {
///             return Err(ESOCKTNOSUPPORT);
///         }
///         if protocol != 0 {
///             return Err(EPROTONOSUPPORT);
///         }
///         Ok(try_init!(Swallowed {
///             bytes: Atomic::new(0),
///         }))
///     }
///
///     fn release(sk: &TypedSock<Self>) {
///         pr_info!("swallowed {} bytes\n", sk.data().bytes.load(Relaxed));
///     }
///
///     fn sendmsg(
///         _socket: &Socket,
///         sk: &TypedSock<Self>,
///         msg: &mut MsgHdr,
///         len: usize,
///     ) -> Result<usize> {
///         msg.source().advance(len);
///         sk.data().bytes.add(len, Relaxed);
///         Ok(len)
///     }
/// }
/// ```
#[vtable]
pub trait Ops: Sized + 'static {
    /// The number of the family (`AF_..`).
    const FAMILY: i32;

    /// The protocol number (`IPPROTO_..`) under which `AF_INET` or `AF_INET6` find these sockets.
    /// [`None`] for other families.
    const PROTOCOL: Option<u16> = None;

    /// The types of the sockets found by [`Ops::PROTOCOL`], for example
    /// [`SOCK_STREAM`](crate::net::socket::SOCK_STREAM).
    const SOCK_TYPES: &'static [u16] = &[];

    /// The structure that the sockets begin with: [`Sock`](crate::net::sock::Sock), unless the
    /// family is `AF_INET` or `AF_INET6`.
    type Head: Head;

    /// The family's data of a socket. May be dropped in any context: its destructor must not sleep.
    type Data: Send + Sync + 'static;

    /// Set if [`Ops::setsockopt`] handles options of
    /// [`SOL_SOCKET`](crate::net::sockopt::SOL_SOCKET) as well.
    ///
    /// Then it has to pass the options that it does not handle itself to [`Socket::set_option`].
    /// getsockopt(2) never asks the family about options of this level.
    const CUSTOM_SOL_SOCKET: bool = false;

    /// Set if [`Ops::sendmsg`] supports [`MSG_ZEROCOPY`](crate::net::msghdr::msg::ZEROCOPY).
    /// Otherwise io_uring does not send with it.
    const ZEROCOPY: bool = false;

    /// Set if [`Ops::recvmsg`] supports [`Sock::peek_offset`](crate::net::sock::Sock::peek_offset),
    /// so that programs can set it (`SO_PEEK_OFF`).
    const PEEK_OFFSET: bool = false;

    /// The holder of the sockets' protocol, see [`socket_proto!`](crate::socket_proto).
    type Proto: StaticProto<Self>;

    /// Prepares a new socket: checks its type and protocol, and returns an initialiser for its
    /// data.
    ///
    /// `net` is the network namespace of the program. `kind` is the type of the socket, for example
    /// [`SOCK_STREAM`](crate::net::socket::SOCK_STREAM). Should fail with `ESOCKTNOSUPPORT` or
    /// `EPROTONOSUPPORT` for an unknown type or protocol.
    fn create(net: &Namespace, kind: i32, protocol: i32)
        -> Result<impl PinInit<Self::Data, Error>>;

    /// Ends the work of a socket that is being closed. No other operation is called for the socket.
    ///
    /// The socket still has its wait queue, so this may wait for data to be sent. It becomes an
    /// orphan right afterwards.
    fn release(sk: &TypedSock<Self>);

    /// Binds the socket to an address.
    fn bind(_socket: &Socket, _sk: &TypedSock<Self>, _addr: &RawAddr<'_>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Connects the socket.
    fn connect(
        _socket: &Socket,
        _sk: &TypedSock<Self>,
        _addr: &RawAddr<'_>,
        _nonblock: bool,
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Accepts the next incoming connection.
    ///
    /// [`Ops::getname`] of the new socket returns the peer's address for [`Name::LastPeer`]. Called
    /// again if the returned listening socket turns out to have no connection (any more).
    fn accept(_socket: &Socket, _sk: &TypedSock<Self>, _nonblock: bool) -> Result<Accepted<Self>> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Returns `true` if another [`Ops::accept`] would not wait now.
    ///
    /// Called when a connection was accepted, also by a non-blocking call. Must not sleep.
    fn can_accept(_sk: &TypedSock<Self>) -> bool {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Starts listening, or changes how many connections may wait to be accepted.
    ///
    /// `backlog` is the program's argument, limited to `net.core.somaxconn`.
    fn listen(_socket: &Socket, _sk: &TypedSock<Self>, _backlog: u32) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Shuts down one or both directions.
    fn shutdown(_socket: &Socket, _sk: &TypedSock<Self>, _how: How) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Sets the option `name` of `level`, both as passed by the program.
    ///
    /// Should fail with `ENOPROTOOPT` if there is no such option. Called for options of level
    /// `SOL_SOCKET` only with [`Ops::CUSTOM_SOL_SOCKET`].
    fn setsockopt(
        _socket: &Socket,
        _sk: &TypedSock<Self>,
        _level: i32,
        _name: i32,
        _value: &OptionIn<'_>,
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Reads the option `name` of `level`, both as passed by the program; never of `SOL_SOCKET`.
    ///
    /// Should fail with `ENOPROTOOPT` if there is no such option.
    fn getsockopt(
        _socket: &Socket,
        _sk: &TypedSock<Self>,
        _level: i32,
        _name: i32,
        _value: OptionOut<'_>,
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Returns the address of the socket or of its peer.
    fn getname(_sk: &TypedSock<Self>, _name: Name) -> Result<SocketAddr> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Returns the socket's readiness, a mask of `EPOLLIN` and similar flags.
    ///
    /// The caller is already in the wait queue, and a memory barrier orders that before this call.
    /// Must not sleep.
    fn poll(_sk: &TypedSock<Self>) -> u32 {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Returns the number that an ioctl(2), for example [`SIOCINQ`](super::SIOCINQ), or the
    /// io_uring command of the same name asks for.
    ///
    /// Should fail with `ENOIOCTLCMD` for an unknown ioctl, which is then tried on network devices.
    /// Not called for time stamps, nor for the ioctls of all files (`FIONBIO`, `FIOASYNC`).
    fn ioctl(_sk: &TypedSock<Self>, _cmd: u32) -> Result<i32> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Sends `len` bytes from `msg` or fewer, and returns the number of bytes sent.
    ///
    /// This function has to send `SIGPIPE` itself (`Sock::send_sigpipe`).
    fn sendmsg(
        _socket: &Socket,
        _sk: &TypedSock<Self>,
        _msg: &mut MsgHdr,
        _len: usize,
    ) -> Result<usize> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Waits for data for splice(2) unless `nonblock` is set, and returns how many bytes to
    /// request.
    ///
    /// The caller allocates pages for the result, and calls [`Ops::recvmsg`] for this number of
    /// bytes instead of `len`.
    ///
    /// At least 1; may always be `len`. Should fail with `EAGAIN` if there is no data.
    fn splice_len(_sk: &TypedSock<Self>, _len: usize, _nonblock: bool) -> Result<usize> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Sends what earlier calls with [`MSG_MORE`](crate::net::msghdr::msg::MORE) have held back:
    /// sendfile(2) expected more, but the file has ended.
    fn splice_eof(_sk: &TypedSock<Self>) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Receives up to `len` bytes into `msg` and returns the number of bytes; 0 at the end.
    fn recvmsg(
        _sk: &TypedSock<Self>,
        _msg: &mut MsgHdr,
        _len: usize,
        _flags: u32,
    ) -> Result<usize> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}
