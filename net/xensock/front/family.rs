// SPDX-License-Identifier: GPL-2.0

//! The face of a stream as a socket of the family AF_XENSOCK.

use crate::{
    conn::Conn,
    stream::Stream, //
};
use core::net::SocketAddr;
use kernel::{
    net::{
        addr::{
            RawAddr,
            AF_INET,
            AF_INET6,
            AF_UNSPEC, //
        },
        family::{
            Child,
            IoctlArg,
            Name,
            Ops,
            Proto,
            TypedSock,
            EPOLLERR,
            EPOLLHUP,
            EPOLLIN,
            EPOLLOUT,
            EPOLLRDHUP,
            EPOLLRDNORM,
            EPOLLWRNORM,
            SIOCATMARK,
            SIOCINQ,
            SIOCOUTQ,
            SIOCOUTQNSD, //
        },
        msghdr::MsgHdr,
        namespace::Namespace,
        sock::{
            Shutdown,
            ShutdownMask,
            Sock,
            TcpState, //
        },
        socket::{
            How,
            Socket, //
        },
        sockopt::{
            OptionIn,
            OptionOut, //
        },
    },
    prelude::*, //
};

/// The family's entry in the kernel's table of protocols.
pub(crate) static PROTO: Proto<Family> = Proto::new(c"XENSOCK");

/// The number of the family, see `include/linux/socket.h`.
const AF_XENSOCK: i32 = 46;

/// The type of a stream, as `struct socket` has it.
const SOCK_STREAM: i32 = 1;

/// TCP by name, rather than as the usual protocol of the type.
const IPPROTO_TCP: i32 = 6;

/// AF_XENSOCK.
pub(crate) struct Family;

/// A socket of the family.
pub(crate) type Sk = TypedSock<Stream>;

#[vtable]
impl Ops for Family {
    const FAMILY: i32 = AF_XENSOCK;
    type Data = Stream;
    // Some of them concern the backend.
    const CUSTOM_SOL_SOCKET: bool = true;

    fn proto() -> &'static Proto<Self> {
        &PROTO
    }

    fn create(
        net: &Namespace,
        socket: &Socket,
        protocol: i32,
    ) -> Result<impl PinInit<Stream, Error>> {
        // A namespace of its own is how a program is kept off the network.
        if net != Namespace::init() {
            return Err(EAFNOSUPPORT);
        }
        if socket.kind() != SOCK_STREAM {
            return Err(ESOCKTNOSUPPORT);
        }
        if protocol != 0 && protocol != IPPROTO_TCP {
            return Err(EPROTONOSUPPORT);
        }
        Ok(Stream::new())
    }

    fn release(sk: &Sk) {
        sk.data().release(sk);
    }

    fn bind(socket: &Socket, sk: &Sk, addr: &RawAddr<'_>) -> Result {
        sk.data().bind(socket, sk, addr_to_bind(addr)?)
    }

    fn connect(socket: &Socket, sk: &Sk, addr: &RawAddr<'_>, nonblock: bool) -> Result {
        let stream = sk.data();
        match addr.family().ok_or(EINVAL)? {
            AF_UNSPEC => stream.disconnect(socket, sk),
            // An address that cannot be read matters only to a socket that has none yet.
            _ => stream.connect(socket, sk, addr.parse(), nonblock),
        }
    }

    fn listen(socket: &Socket, sk: &Sk, backlog: u32) -> Result {
        sk.data().listen(socket, sk, backlog)
    }

    fn accept(_socket: &Socket, sk: &Sk, nonblock: bool) -> Result<Child<Stream>> {
        sk.data().accept(sk, nonblock)
    }

    fn shutdown(socket: &Socket, sk: &Sk, how: How) -> Result {
        sk.data().shutdown(socket, sk, how)
    }

    fn setsockopt(socket: &Socket, sk: &Sk, level: i32, name: i32, value: &OptionIn<'_>) -> Result {
        sk.data().set_option(socket, sk, level, name, value)
    }

    fn getsockopt(
        _socket: &Socket,
        sk: &Sk,
        level: i32,
        name: i32,
        value: OptionOut<'_>,
    ) -> Result {
        sk.data().get_option(level, name, value)
    }

    fn getname(sk: &Sk, name: Name) -> Result<SocketAddr> {
        sk.data().name(sk, name)
    }

    fn poll(sk: &Sk) -> u32 {
        let (state, shutdown) = (sk.state(), sk.shutdown_mask());
        let mut mask = 0;

        if state == TcpState::Listen {
            return poll_listener(sk);
        }
        if shutdown == Shutdown::Recv | Shutdown::Send || state == TcpState::Close {
            mask |= EPOLLHUP;
        }
        if shutdown.contains(Shutdown::Recv) {
            mask |= EPOLLIN | EPOLLRDNORM | EPOLLRDHUP;
        }
        if state != TcpState::SynSent {
            mask |= match sk.data().conn() {
                Some(conn) => poll_ring(sk, &conn, shutdown),
                None => EPOLLOUT | EPOLLWRNORM,
            };
        }
        if sk.error().is_some() {
            mask |= EPOLLERR;
        }
        mask
    }

    fn ioctl(sk: &Sk, cmd: u32, arg: IoctlArg) -> Result<i32> {
        let stream = sk.data();
        let number = match cmd {
            SIOCINQ => stream.unread(sk)?,
            SIOCOUTQ => stream.unacknowledged(sk)?,
            SIOCOUTQNSD => stream.unsent(sk)?,
            // There are no urgent data.
            SIOCATMARK => 0,
            _ => return Err(ENOIOCTLCMD),
        };
        arg.put_int(i32::try_from(number).unwrap_or(i32::MAX))
    }

    fn sendmsg(sk: &Sk, msg: &mut MsgHdr, _len: usize) -> Result<usize> {
        let flags = msg.flags();
        sk.data().send(sk, msg, flags)
    }

    fn recvmsg(sk: &Sk, msg: &mut MsgHdr, len: usize, flags: u32) -> Result<usize> {
        sk.data().recv(sk, msg, len, flags)
    }
}

/// The address for `bind()`. As with internet sockets, one of no family may stand for that which
/// leaves the choice to the system.
fn addr_to_bind(addr: &RawAddr<'_>) -> Result<SocketAddr> {
    /// Bytes of the smallest address, and those of it that are the address proper.
    const MIN_LEN: usize = 16;

    let bytes = addr.as_bytes().first_chunk::<MIN_LEN>().ok_or(EINVAL)?;
    match (addr.family().ok_or(EINVAL)?, bytes) {
        (AF_INET | AF_INET6, _) => addr.parse(),
        (AF_UNSPEC, [_, _, port @ .., 0, 0, 0, 0, _, _, _, _, _, _, _, _]) => {
            let port: [u8; 2] = *port.first_chunk().ok_or(EINVAL)?;
            Ok((core::net::Ipv4Addr::UNSPECIFIED, u16::from_be_bytes(port)).into())
        }
        _ => Err(EAFNOSUPPORT),
    }
}

/// Whether there is a connection to accept.
fn poll_listener(sk: &Sk) -> u32 {
    match sk.data().listener() {
        Some(listener) if listener.is_ready() => EPOLLIN | EPOLLRDNORM,
        _ => 0,
    }
}

/// What the ring lets a program do, and the arrangement to be woken for what it does not.
fn poll_ring(sk: &Sock, conn: &Conn, shutdown: ShutdownMask) -> u32 {
    // No more than the ring can hold while the backend waits for room.
    let target = conn.max_wait().min(sk.rcv_lowat(false, conn.max_wait()));
    let mut mask = 0;

    conn.set_polled();
    if conn.ring.peek_readable() as usize >= target || conn.expect_data(sk) as usize >= target {
        mask |= EPOLLIN | EPOLLRDNORM;
    }
    sk.want_space();
    if shutdown.contains(Shutdown::Send) || conn.poll_writable() {
        mask |= EPOLLOUT | EPOLLWRNORM;
    }
    mask
}
