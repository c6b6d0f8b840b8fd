// SPDX-License-Identifier: GPL-2.0

//! The face of streams and datagrams as sockets of the family AF_XENSOCK.

use crate::{
    datagram::Datagram,
    endpoint::Endpoint,
    proto::Feature,
    stream::Stream,
    LINK, //
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
            SIOCATMARK,
            SIOCINQ,
            SIOCOUTQ,
            SIOCOUTQNSD, //
        },
        msghdr::MsgHdr,
        namespace::Namespace,
        socket::{
            How,
            Socket,
            SOCK_DGRAM,
            SOCK_STREAM, //
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

/// TCP by name, rather than as the usual protocol of the type.
const IPPROTO_TCP: i32 = 6;

/// UDP likewise.
const IPPROTO_UDP: i32 = 17;

/// AF_XENSOCK.
pub(crate) struct Family;

/// What a socket of the family does, by its type.
pub(crate) enum Engine {
    Stream(Pin<KBox<Stream>>),
    Datagram(Pin<KBox<Datagram>>),
}

impl Engine {
    /// A new stream.
    pub(crate) fn stream() -> Result<Self> {
        Ok(Self::Stream(KBox::pin_init(
            Stream::new(),
            GFP_KERNEL_ACCOUNT,
        )?))
    }

    fn datagram() -> Result<Self> {
        Ok(Self::Datagram(KBox::pin_init(
            Datagram::new(),
            GFP_KERNEL_ACCOUNT,
        )?))
    }

    fn endpoint(&self) -> &Endpoint {
        match self {
            Self::Stream(stream) => &stream.endpoint,
            Self::Datagram(datagram) => &datagram.endpoint,
        }
    }
}

/// A socket of the family.
pub(crate) type Sk = TypedSock<Engine>;

#[vtable]
impl Ops for Family {
    const FAMILY: i32 = AF_XENSOCK;
    type Data = Engine;
    // Some of them concern the backend.
    const CUSTOM_SOL_SOCKET: bool = true;

    fn proto() -> &'static Proto<Self> {
        &PROTO
    }

    fn create(
        net: &Namespace,
        socket: &Socket,
        protocol: i32,
    ) -> Result<impl PinInit<Engine, Error>> {
        // A namespace of its own is how a program is kept off the network.
        if net != Namespace::init() {
            return Err(EAFNOSUPPORT);
        }
        match (socket.kind(), protocol) {
            (SOCK_STREAM, 0 | IPPROTO_TCP) => Ok(Engine::stream()),
            (SOCK_DGRAM, 0 | IPPROTO_UDP) if may_have_datagrams() => Ok(Engine::datagram()),
            (SOCK_STREAM, _) => Err(EPROTONOSUPPORT),
            (SOCK_DGRAM, _) if may_have_datagrams() => Err(EPROTONOSUPPORT),
            _ => Err(ESOCKTNOSUPPORT),
        }
    }

    fn release(sk: &Sk) {
        match sk.data().get_ref() {
            Engine::Stream(stream) => stream.release(sk),
            Engine::Datagram(datagram) => datagram.release(sk),
        }
    }

    fn bind(socket: &Socket, sk: &Sk, addr: &RawAddr<'_>) -> Result {
        let addr = addr_to_bind(addr)?;
        match sk.data().get_ref() {
            Engine::Stream(stream) => stream.bind(socket, sk, addr),
            Engine::Datagram(datagram) => datagram.bind(sk, addr),
        }
    }

    fn connect(socket: &Socket, sk: &Sk, addr: &RawAddr<'_>, nonblock: bool) -> Result {
        let is_none = addr.family().ok_or(EINVAL)? == AF_UNSPEC;
        match sk.data().get_ref() {
            Engine::Stream(stream) if is_none => stream.disconnect(socket, sk),
            // An address that cannot be read matters only to a socket that has none yet.
            Engine::Stream(stream) => stream.connect(socket, sk, addr.parse(), nonblock),
            Engine::Datagram(datagram) if is_none => datagram.disconnect(sk),
            Engine::Datagram(datagram) => datagram.connect(sk, addr.parse()?),
        }
    }

    fn listen(socket: &Socket, sk: &Sk, backlog: u32) -> Result {
        match sk.data().get_ref() {
            Engine::Stream(stream) => stream.listen(socket, sk, backlog),
            Engine::Datagram(_) => Err(EOPNOTSUPP),
        }
    }

    fn accept(_socket: &Socket, sk: &Sk, nonblock: bool) -> Result<Child<Engine>> {
        match sk.data().get_ref() {
            Engine::Stream(stream) => stream.accept(sk, nonblock),
            Engine::Datagram(_) => Err(EOPNOTSUPP),
        }
    }

    fn shutdown(socket: &Socket, sk: &Sk, how: How) -> Result {
        match sk.data().get_ref() {
            Engine::Stream(stream) => stream.shutdown(socket, sk, how),
            Engine::Datagram(datagram) => datagram.shutdown(sk, how),
        }
    }

    fn setsockopt(socket: &Socket, sk: &Sk, level: i32, name: i32, value: &OptionIn<'_>) -> Result {
        let endpoint = sk.data().get_ref().endpoint();
        endpoint.set_option(socket, sk, level, name, value)
    }

    fn getsockopt(
        _socket: &Socket,
        sk: &Sk,
        level: i32,
        name: i32,
        value: OptionOut<'_>,
    ) -> Result {
        let endpoint = sk.data().get_ref().endpoint();
        endpoint.get_option(level, name, value)
    }

    fn getname(sk: &Sk, name: Name) -> Result<SocketAddr> {
        match sk.data().get_ref() {
            Engine::Stream(stream) => stream.name(sk, name),
            Engine::Datagram(datagram) => datagram.name(name),
        }
    }

    fn poll(sk: &Sk) -> u32 {
        match sk.data().get_ref() {
            Engine::Stream(stream) => stream.poll(sk),
            Engine::Datagram(datagram) => datagram.poll(sk),
        }
    }

    fn ioctl(sk: &Sk, cmd: u32, arg: IoctlArg) -> Result<i32> {
        let number = match (sk.data().get_ref(), cmd) {
            (Engine::Stream(stream), SIOCINQ) => stream.unread(sk)?,
            (Engine::Stream(stream), SIOCOUTQ) => stream.unacknowledged(sk)?,
            (Engine::Stream(stream), SIOCOUTQNSD) => stream.unsent(sk)?,
            // There are no urgent data.
            (Engine::Stream(_), SIOCATMARK) => 0,
            (Engine::Datagram(datagram), SIOCINQ) => datagram.unread(),
            (Engine::Datagram(datagram), SIOCOUTQ) => datagram.unsent(),
            _ => return Err(ENOIOCTLCMD),
        };
        arg.put_int(i32::try_from(number).unwrap_or(i32::MAX))
    }

    fn sendmsg(sk: &Sk, msg: &mut MsgHdr, len: usize) -> Result<usize> {
        let flags = msg.flags();
        match sk.data().get_ref() {
            Engine::Stream(stream) => stream.send(sk, msg, flags),
            Engine::Datagram(datagram) => datagram.send(sk, msg, len, flags),
        }
    }

    fn recvmsg(sk: &Sk, msg: &mut MsgHdr, len: usize, flags: u32) -> Result<usize> {
        match sk.data().get_ref() {
            Engine::Stream(stream) => stream.recv(sk, msg, len, flags),
            Engine::Datagram(datagram) => datagram.recv(sk, msg, len, flags),
        }
    }
}

/// Whether the backend may have datagrams; without a link it cannot be said that it has not.
fn may_have_datagrams() -> bool {
    LINK.get().is_none_or(|link| link.has(Feature::Datagram))
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
