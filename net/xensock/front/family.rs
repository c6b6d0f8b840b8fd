// SPDX-License-Identifier: GPL-2.0

//! The face of a stream as a socket of the family AF_XENSOCK.

use crate::{
    conn::Conn,
    stream::Stream, //
};
use kernel::{
    net::{
        addr::RawAddr,
        family::{
            Ops,
            Proto,
            TypedSock,
            EPOLLERR,
            EPOLLHUP,
            EPOLLIN,
            EPOLLOUT,
            EPOLLRDHUP,
            EPOLLRDNORM,
            EPOLLWRNORM, //
        },
        msghdr::MsgHdr,
        namespace::Namespace,
        sock::{
            Shutdown,
            ShutdownMask,
            Sock,
            TcpState, //
        },
        socket::Socket, //
    },
    prelude::*, //
};

/// The family's entry in the kernel's table of protocols.
pub(crate) static PROTO: Proto<Family> = Proto::new(c"XENSOCK");

/// The number of the family, see `include/linux/socket.h`.
const AF_XENSOCK: i32 = 46;

/// The family of an address that is none.
const AF_UNSPEC: u16 = 0;

/// The type of a stream, as `struct socket` has it.
const SOCK_STREAM: i32 = 1;

/// TCP by name, rather than as the usual protocol of the type.
const IPPROTO_TCP: i32 = 6;

/// AF_XENSOCK.
pub(crate) struct Family;

type Sk = TypedSock<Stream>;

#[vtable]
impl Ops for Family {
    const FAMILY: i32 = AF_XENSOCK;
    type Data = Stream;

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

    fn connect(socket: &Socket, sk: &Sk, addr: &RawAddr<'_>, nonblock: bool) -> Result {
        let stream = sk.data();
        match addr.family().ok_or(EINVAL)? {
            AF_UNSPEC => stream.disconnect(socket, sk),
            // An address that cannot be read matters only to a socket that has none yet.
            _ => stream.connect(socket, sk, ipv4(addr), nonblock),
        }
    }

    fn poll(sk: &Sk) -> u32 {
        let (state, shutdown) = (sk.state(), sk.shutdown_mask());
        let mut mask = 0;

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

    fn sendmsg(sk: &Sk, msg: &mut MsgHdr, _len: usize) -> Result<usize> {
        let flags = msg.flags();
        sk.data().send(sk, msg, flags)
    }

    fn recvmsg(sk: &Sk, msg: &mut MsgHdr, len: usize, flags: u32) -> Result<usize> {
        sk.data().recv(sk, msg, len, flags)
    }
}

/// The address of a peer. IPv4 is what this version carries.
fn ipv4(addr: &RawAddr<'_>) -> Result<core::net::SocketAddr> {
    let addr = addr.parse()?;
    if addr.is_ipv4() {
        Ok(addr)
    } else {
        Err(EAFNOSUPPORT)
    }
}

/// What the ring lets a program do, and the arrangement to be woken for what it does not.
fn poll_ring(sk: &Sock, conn: &Conn, shutdown: ShutdownMask) -> u32 {
    // No more than the ring can hold while the backend waits for room.
    let target = conn.max_wait().min(sk.rcv_lowat(false, conn.max_wait()));
    let mut mask = 0;

    conn.set_polled();
    if conn.ring.peek_readable() as usize >= target || conn.expect_data() as usize >= target {
        mask |= EPOLLIN | EPOLLRDNORM;
    }
    sk.want_space();
    if shutdown.contains(Shutdown::Send) || conn.poll_writable() {
        mask |= EPOLLOUT | EPOLLWRNORM;
    }
    mask
}
