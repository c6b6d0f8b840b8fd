// SPDX-License-Identifier: GPL-2.0

//! What programs can do with the sockets of a family.

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

/// Which of the addresses of a socket is asked for.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// Its own, for getsockname(2).
    Local,
    /// That of its peer, for getpeername(2): `ENOTCONN` if it has none, or none any more.
    Peer,
    /// That of the peer which it has or has had, for accept(2) and `SO_PEERNAME`. A connection that
    /// was reset before anybody has accepted it is accepted nevertheless.
    LastPeer,
}

impl Name {
    /// Understands the last argument of `getname` in a `struct proto_ops`.
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
/// [`Ops::release`] is alone. All are called in process context and may sleep; none is called with
/// the socket's lock held. What is not implemented fails with `EOPNOTSUPP`.
///
/// An operation that fails after the socket has fallen back
/// ([`TypedSock::fall_back`]) is repeated with the native socket.
///
/// # Examples
///
/// A family whose sockets swallow all that is sent to them:
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
///         socket: &Socket,
///         protocol: i32,
///     ) -> Result<impl PinInit<Self::Data, Error>> {
///         if socket.kind() != SOCK_STREAM {
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

    /// The number of the protocol (`IPPROTO_..`) under which sockets of these operations are found
    /// in `AF_INET` or `AF_INET6`. Other families are a protocol of their own.
    const PROTOCOL: Option<u16> = None;

    /// The types of those sockets: [`SOCK_STREAM`](crate::net::socket::SOCK_STREAM) and so on.
    const KINDS: &'static [u16] = &[];

    /// What the sockets begin with: [`Sock`](crate::net::sock::Sock), unless the family is
    /// `AF_INET` or `AF_INET6`.
    type Head: Head;

    /// What the family keeps for each socket. Dropped in any context: its destructor must not
    /// sleep.
    type Data: Send + Sync + 'static;

    /// Whether [`Ops::setsockopt`] wants to see the options of [`SOL_SOCKET`](crate::net::sockopt::SOL_SOCKET) as well.
    ///
    /// If so it has to pass those to [`Socket::set_option`] for which it has no better idea.
    /// getsockopt(2) does not ask the family about them in any case.
    const CUSTOM_SOL_SOCKET: bool = false;

    /// Whether [`Ops::sendmsg`] knows what [`MSG_ZEROCOPY`](crate::net::msghdr::msg::ZEROCOPY) means:
    /// if not, io_uring does not send in this way.
    const ZEROCOPY: bool = false;

    /// Whether [`Ops::recvmsg`] looks at [`Sock::peek_offset`](crate::net::sock::Sock::peek_offset),
    /// so that programs can set it (`SO_PEEK_OFF`).
    const PEEK_OFFSET: bool = false;

    /// Has the protocol that sockets are made of, see [`socket_proto!`](crate::socket_proto).
    type Proto: StaticProto<Self>;

    /// Prepares a new socket: checks type and protocol, and returns an initialiser for the data.
    ///
    /// `net` is the network namespace of the program. Should fail with `ESOCKTNOSUPPORT` or
    /// `EPROTONOSUPPORT` if there is no such thing.
    fn create(
        net: &Namespace,
        socket: &Socket,
        protocol: i32,
    ) -> Result<impl PinInit<Self::Data, Error>>;

    /// Ends the work of a socket that is being closed. No other operation will be called for it.
    ///
    /// The socket still has its wait queue, so that this may wait for data to be sent. It becomes
    /// an orphan right afterwards.
    fn release(sk: &TypedSock<Self>);

    /// Gives the socket an address of its own.
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

    /// Returns the next connection that has come in.
    ///
    /// Its peer's address is what [`Ops::getname`] of the new socket returns for [`Name::LastPeer`].
    /// Called again if it names a socket to which nobody has connected, or not any more.
    fn accept(_socket: &Socket, _sk: &TypedSock<Self>, _nonblock: bool) -> Result<Accepted<Self>> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Lets the socket take in connections, or changes how many may wait to be accepted.
    ///
    /// `backlog` is what the program says, but no more than `net.core.somaxconn`.
    fn listen(_socket: &Socket, _sk: &TypedSock<Self>, _backlog: u32) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Shuts down one or both directions.
    fn shutdown(_socket: &Socket, _sk: &TypedSock<Self>, _how: How) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Sets an option: `name` of `level`, both as the program says.
    ///
    /// `ENOPROTOOPT` if there is no such option. Those of `SOL_SOCKET` only come here with
    /// [`Ops::CUSTOM_SOL_SOCKET`].
    fn setsockopt(
        _socket: &Socket,
        _sk: &TypedSock<Self>,
        _level: i32,
        _name: i32,
        _value: &OptionIn<'_>,
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Reads an option: `name` of `level`, both as the program says, but none of `SOL_SOCKET`.
    ///
    /// `ENOPROTOOPT` if there is no such option.
    fn getsockopt(
        _socket: &Socket,
        _sk: &TypedSock<Self>,
        _level: i32,
        _name: i32,
        _value: OptionOut<'_>,
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Returns the address of the socket, or of its peer.
    fn getname(_sk: &TypedSock<Self>, _name: Name) -> Result<SocketAddr> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Returns what the socket is ready for, a mask of [`EPOLLIN`] and so on.
    ///
    /// The caller has registered for being woken already, and ordered that before this call. Must
    /// not sleep.
    fn poll(_sk: &TypedSock<Self>) -> u32 {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Returns the number that an ioctl(2) asks for, [`SIOCINQ`](super::SIOCINQ) for example, or the
    /// command of the same name that io_uring has.
    ///
    /// `ENOIOCTLCMD` if this one is not known; it is tried on network devices then. Time stamps, and
    /// what all files have (`FIONBIO`, `FIOASYNC`), do not come here.
    fn ioctl(_sk: &TypedSock<Self>, _cmd: u32) -> Result<i32> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Sends `len` bytes from `msg`, or the beginning of them, and returns how many were sent.
    ///
    /// It is up to this function to send `SIGPIPE` ([`Sock::send_sigpipe`]).
    fn sendmsg(
        _socket: &Socket,
        _sk: &TypedSock<Self>,
        _msg: &mut MsgHdr,
        _len: usize,
    ) -> Result<usize> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Waits for data that splice(2) can take, unless `nonblock` is set, and returns how many of `len`
    /// bytes [`Ops::recvmsg`] is to be asked for: so many pages are allocated for them.
    ///
    /// `len` if that makes no difference, at least 1 in any case. `EAGAIN` if there is nothing.
    fn splice_len(_sk: &TypedSock<Self>, _len: usize, _nonblock: bool) -> Result<usize> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Receives up to `len` bytes into `msg` and returns how many there were; zero at the end.
    fn recvmsg(
        _sk: &TypedSock<Self>,
        _msg: &mut MsgHdr,
        _len: usize,
        _flags: u32,
    ) -> Result<usize> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}
