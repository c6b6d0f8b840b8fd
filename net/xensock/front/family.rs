// SPDX-License-Identifier: GPL-2.0

//! What programs do with the sockets of any face.

use crate::{
    choice::{
        self,
        First,
        Reason, //
    },
    datagram::Datagram,
    endpoint::{
        in_domain,
        may_bind,
        owner,
        Endpoint, //
    },
    face::{
        Face,
        Inet,
        Inet6,
        XenSock, //
    },
    proto::{
        native,
        Feature, //
    },
    stream::Stream,
    survivors::Survivors,
    LINK, //
};
use core::{
    marker::PhantomData,
    net::SocketAddr, //
};
use kernel::{
    net::{
        addr::{
            Domain,
            RawAddr,
            AF_INET,
            AF_INET6,
            AF_UNSPEC, //
        },
        family::{
            Accepted,
            Name,
            Ops,
            Registration,
            TypedSock,
            EPOLLERR,
            SIOCATMARK,
            SIOCINQ,
            SIOCOUTQ,
            SIOCOUTQNSD, //
        },
        msghdr::{
            msg,
            MsgHdr, //
        },
        namespace::Namespace,
        sock::Sock,
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

/// The number of the protocol under AF_INET and AF_INET6, see `include/uapi/linux/in.h`.
pub(crate) const IPPROTO_XENSOCK: u16 = 257;

/// TCP by name, rather than as the usual protocol of the type.
pub(crate) const IPPROTO_TCP: i32 = 6;

/// UDP likewise.
pub(crate) const IPPROTO_UDP: i32 = 17;

/// The sockets of a face.
pub(crate) struct Family<F>(PhantomData<F>);

/// All families. Dropped when no socket of them is left.
pub(crate) struct Families {
    _xensock: Registration<Family<XenSock>>,
    _inet: Registration<Family<Inet>>,
    _inet6: Registration<Family<Inet6>>,
}

impl Families {
    /// Lets programs create sockets.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            _xensock: Registration::new()?,
            _inet: Registration::new()?,
            _inet6: Registration::new()?,
        })
    }
}

/// What a socket of the family does, by its type.
pub(crate) enum Engine {
    Stream(Pin<KBox<Stream>>),
    Datagram(Pin<KBox<Datagram>>),
}

impl Engine {
    /// A new stream.
    pub(crate) fn stream(domain: Option<Domain>, owner: u64) -> Result<Self> {
        Ok(Self::Stream(KBox::pin_init(
            Stream::new(domain, owner),
            GFP_KERNEL_ACCOUNT,
        )?))
    }

    fn datagram(domain: Option<Domain>, owner: u64) -> Result<Self> {
        Ok(Self::Datagram(KBox::pin_init(
            Datagram::new(domain, owner),
            GFP_KERNEL_ACCOUNT,
        )?))
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        match self {
            Self::Stream(stream) => &stream.endpoint,
            Self::Datagram(datagram) => &datagram.endpoint,
        }
    }
}

impl Engine {
    /// Has the backend make anew what it had for a socket before the link was lost. `ENETDOWN` if
    /// there is no link again. Waits for the backend.
    pub(crate) fn revive(&self, sk: &Sock) -> Result {
        match self {
            Self::Stream(stream) => stream.revive(sk),
            Self::Datagram(datagram) => datagram.revive(sk),
        }
    }

    /// Tells a program that nothing comes of that.
    pub(crate) fn give_up(&self, sk: &Sock, error: Error) {
        match self {
            Self::Stream(stream) => stream.give_up(error),
            Self::Datagram(datagram) => datagram.give_up(sk, error),
        }
    }
}

/// What a socket does, if it is of one of the families.
pub(crate) fn engine(sk: &Sock) -> Option<&Engine> {
    fn of<F: Face>(sk: &Sock) -> Option<&Engine> {
        Sk::<F>::of(sk).map(|sk| sk.data().get_ref())
    }
    of::<XenSock>(sk)
        .or_else(|| of::<Inet>(sk))
        .or_else(|| of::<Inet6>(sk))
}

/// A socket of a face.
pub(crate) type Sk<F> = TypedSock<Family<F>>;

#[vtable]
impl<F: Face> Ops for Family<F> {
    const FAMILY: i32 = F::FAMILY;
    const PROTOCOL: Option<u16> = F::PROTOCOL;
    const KINDS: &'static [u16] = F::KINDS;
    type Head = F::Head;
    type Data = Engine;
    type Proto = F;
    // Some of them concern the backend.
    const CUSTOM_SOL_SOCKET: bool = true;
    const ZEROCOPY: bool = true;
    const PEEK_OFFSET: bool = true;

    fn create(
        net: &Namespace,
        socket: &Socket,
        protocol: i32,
    ) -> Result<impl PinInit<Engine, Error>> {
        // A namespace of its own is how a program is kept off the network, unless the administrator
        // says otherwise.
        if net != Namespace::init() && !choice::is_wanted(net) {
            return Err(EAFNOSUPPORT);
        }
        let protocol = match F::PROTOCOL {
            // It is found by its number only.
            Some(_) => 0,
            None => protocol,
        };
        match (socket.kind(), protocol) {
            (SOCK_STREAM, 0 | IPPROTO_TCP) => Ok(Engine::stream(F::DOMAIN, owner(net))),
            (SOCK_DGRAM, 0 | IPPROTO_UDP) if may_have_datagrams() => {
                Ok(Engine::datagram(F::DOMAIN, owner(net)))
            }
            (SOCK_STREAM, _) => Err(EPROTONOSUPPORT),
            (SOCK_DGRAM, _) if may_have_datagrams() => Err(EPROTONOSUPPORT),
            _ => Err(ESOCKTNOSUPPORT),
        }
    }

    fn release(sk: &Sk<F>) {
        match sk.data().get_ref() {
            Engine::Stream(stream) => stream.release(sk),
            Engine::Datagram(datagram) => datagram.release(sk),
        }
    }

    fn bind(socket: &Socket, sk: &Sk<F>, addr: &RawAddr<'_>) -> Result {
        let addr = addr_to_bind(F::DOMAIN, addr)?;
        let (addr, is_free) = sk.ask_bind(socket, addr)?;
        if !is_free {
            may_bind(sk, &addr)?;
        }
        let may_keep = |local: &SocketAddr| sk.ask_post_bind(socket, local);
        choice::first(socket, sk, First::Bind(addr), || {
            await_link(sk, false)?;
            match sk.data().get_ref() {
                Engine::Stream(stream) => stream.bind(socket, sk, addr, may_keep),
                Engine::Datagram(datagram) => datagram.bind(sk, addr, may_keep),
            }
        })
    }

    fn connect(socket: &Socket, sk: &Sk<F>, addr: &RawAddr<'_>, nonblock: bool) -> Result {
        let is_none = addr.family().ok_or(EINVAL)? == AF_UNSPEC;
        if is_none {
            return match sk.data().get_ref() {
                Engine::Stream(stream) => stream.disconnect(socket, sk),
                Engine::Datagram(datagram) => {
                    let has_port = datagram.disconnect(sk)?;
                    if !has_port {
                        sk.forget_port(socket);
                    }
                    Ok(())
                }
            };
        }
        let peer = match sk.data().get_ref() {
            Engine::Stream(stream) => {
                let peer = addr_to_connect(F::DOMAIN, addr);
                if stream.can_start(socket, sk) {
                    Ok(sk.ask_connect(socket, peer?)?)
                } else {
                    peer
                }
            }
            Engine::Datagram(_) => Ok(sk.ask_connect(socket, addr.parse()?)?),
        };
        let first = First::Connect(peer);
        choice::first(socket, sk, first, || {
            await_link(sk, nonblock)?;
            match sk.data().get_ref() {
                // An address that cannot be read matters only to a socket that has none yet.
                Engine::Stream(stream) => stream.connect(socket, sk, peer, nonblock),
                Engine::Datagram(datagram) => {
                    datagram.connect(sk, peer?)?;
                    sk.note_port(socket);
                    Ok(())
                }
            }
        })
    }

    fn listen(socket: &Socket, sk: &Sk<F>, backlog: u32) -> Result {
        choice::first(socket, sk, First::Listen, || match sk.data().get_ref() {
            Engine::Stream(stream) => {
                await_link(sk, false)?;
                stream.listen(socket, sk, backlog, |name| {
                    choice::beside(sk, name, backlog)
                })
            }
            Engine::Datagram(_) => Err(EOPNOTSUPP),
        })
    }

    fn accept(_socket: &Socket, sk: &Sk<F>, nonblock: bool) -> Result<Accepted<Self>> {
        match sk.data().get_ref() {
            Engine::Stream(stream) => stream.accept(sk, nonblock),
            Engine::Datagram(_) => Err(EOPNOTSUPP),
        }
    }

    fn shutdown(socket: &Socket, sk: &Sk<F>, how: How) -> Result {
        match sk.data().get_ref() {
            Engine::Stream(stream) => stream.shutdown(socket, sk, how),
            Engine::Datagram(datagram) => datagram.shutdown(sk, how),
        }
    }

    fn setsockopt(
        socket: &Socket,
        sk: &Sk<F>,
        level: i32,
        name: i32,
        value: &OptionIn<'_>,
    ) -> Result {
        // To turn one off is to have none.
        let kind = socket.kind() == SOCK_STREAM;
        if native::is_needed(level, name, kind, F::DOMAIN == Some(Domain::Inet6))
            && native::is_asked_for(level, name, value.read_int().ok())
        {
            choice::fall_back(socket, sk, Reason::Option, None)?;
        }
        let endpoint = sk.data().get_ref().endpoint();
        endpoint.set_option(socket, sk, level, name, value)
    }

    fn getsockopt(
        _socket: &Socket,
        sk: &Sk<F>,
        level: i32,
        name: i32,
        value: OptionOut<'_>,
    ) -> Result {
        let endpoint = sk.data().get_ref().endpoint();
        endpoint.get_option(level, name, value)
    }

    fn getname(sk: &Sk<F>, name: Name) -> Result<SocketAddr> {
        let name = match sk.data().get_ref() {
            Engine::Stream(stream) => stream.name(sk, name),
            Engine::Datagram(datagram) => datagram.name(name),
        }?;
        in_domain(F::DOMAIN, name)
    }

    fn poll(sk: &Sk<F>) -> u32 {
        let mask = match sk.data().get_ref() {
            Engine::Stream(stream) => stream.poll(sk),
            Engine::Datagram(datagram) => datagram.poll(sk),
        };
        if sk.has_queued_error() {
            return mask | EPOLLERR;
        }
        mask
    }

    fn ioctl(sk: &Sk<F>, cmd: u32) -> Result<i32> {
        let number = match (sk.data().get_ref(), cmd) {
            (Engine::Stream(stream), SIOCINQ) => stream.unread(sk)?,
            (Engine::Stream(stream), SIOCOUTQ) => stream.unacknowledged(sk)?,
            (Engine::Stream(stream), SIOCOUTQNSD) => stream.unsent(sk)?,
            (Engine::Stream(stream), SIOCATMARK) => u32::from(stream.is_at_mark(sk)),
            (Engine::Datagram(datagram), SIOCINQ) => datagram.unread(),
            (Engine::Datagram(datagram), SIOCOUTQ) => datagram.unsent(),
            _ => return Err(ENOIOCTLCMD),
        };
        Ok(i32::try_from(number).unwrap_or(i32::MAX))
    }

    fn sendmsg(socket: &Socket, sk: &Sk<F>, msg: &mut MsgHdr, len: usize) -> Result<usize> {
        let flags = msg.flags();
        // The data are copied into the ring: they are out of use as soon as they are sent.
        let notice = sk.copy_notice(msg, len)?;
        let sent = match sk.data().get_ref() {
            Engine::Stream(stream) => {
                if flags & msg::FASTOPEN != 0 {
                    connect_to_send(socket, sk, msg)?;
                }
                sk.check_controls(msg)?;
                stream.send(sk, msg, flags)
            }
            Engine::Datagram(datagram) => {
                sk.ask_sendmsg(socket, msg)?;
                let send = |msg: &mut MsgHdr| {
                    await_link(sk, flags & msg::DONTWAIT != 0)?;
                    datagram.send(sk, msg, len, flags)
                };
                let sent = match msg.name().map(|name| name.parse()) {
                    Some(peer) => choice::first(socket, sk, First::Send(peer), || send(msg)),
                    None => send(msg),
                }?;
                sk.note_port(socket);
                Ok(sent)
            }
        }?;
        if let Some(notice) = notice {
            notice.complete();
        }
        Ok(sent)
    }

    fn splice_len(sk: &Sk<F>, len: usize, nonblock: bool) -> Result<usize> {
        match sk.data().get_ref() {
            Engine::Stream(stream) => stream.splice_len(sk, len, nonblock),
            // One datagram, of whatever length.
            Engine::Datagram(_) => Ok(len),
        }
    }

    fn recvmsg(sk: &Sk<F>, msg: &mut MsgHdr, len: usize, flags: u32) -> Result<usize> {
        if flags & msg::ERRQUEUE != 0 {
            return sk.recv_error(msg, len);
        }
        match sk.data().get_ref() {
            Engine::Stream(stream) => stream.recv(sk, msg, len, flags),
            Engine::Datagram(datagram) => datagram.recv(sk, msg, len, flags),
        }
    }
}

/// Connects, as a program wants it that sends with MSG_FASTOPEN. That the data go along with the
/// first packet is a hint, which TCP does not follow either to a server that it does not know.
fn connect_to_send<F: Face>(socket: &Socket, sk: &Sk<F>, msg: &MsgHdr) -> Result {
    let nonblock = msg.flags() & msg::DONTWAIT != 0;
    let addr = msg.name().ok_or(EINVAL)?;
    if addr.family() == Some(AF_UNSPEC) {
        return Err(EOPNOTSUPP);
    }
    Family::<F>::connect(socket, sk, &addr, nonblock)
}

/// Waits for a link, in a call that needs one and may wait.
fn await_link<F: Face>(sk: &Sk<F>, nonblock: bool) -> Result {
    if nonblock || !sk.data().get_ref().endpoint().needs_link() {
        return Ok(());
    }
    Survivors::await_link(sk)
}

/// Whether the backend may have datagrams; without a link it cannot be said that it has not.
fn may_have_datagrams() -> bool {
    LINK.get().is_none_or(|link| link.has(Feature::Datagram))
}

/// The address for `bind()`. As with internet sockets, one of no family may stand for that which
/// leaves the choice to the system.
fn addr_to_bind(domain: Option<Domain>, addr: &RawAddr<'_>) -> Result<SocketAddr> {
    /// Bytes of the smallest address, and those of it that are the address proper.
    const MIN_LEN: usize = 16;

    let bytes = addr.as_bytes().first_chunk::<MIN_LEN>().ok_or(EINVAL)?;
    match (addr.family().ok_or(EINVAL)?, domain, bytes) {
        (AF_INET, None | Some(Domain::Inet), _) => addr.parse(),
        (AF_INET6, None | Some(Domain::Inet6), _) => addr.parse(),
        (
            AF_UNSPEC,
            None | Some(Domain::Inet),
            [_, _, port @ .., 0, 0, 0, 0, _, _, _, _, _, _, _, _],
        ) => {
            let port: [u8; 2] = *port.first_chunk().ok_or(EINVAL)?;
            Ok((core::net::Ipv4Addr::UNSPECIFIED, u16::from_be_bytes(port)).into())
        }
        _ => Err(EAFNOSUPPORT),
    }
}

/// The address for `connect()` of a stream: one of IPv6 takes an address of IPv4 in its mapped form
/// only.
fn addr_to_connect(domain: Option<Domain>, addr: &RawAddr<'_>) -> Result<SocketAddr> {
    let addr = addr.parse()?;
    match domain {
        Some(domain) if domain != Domain::from(&addr) => Err(EAFNOSUPPORT),
        _ => Ok(addr),
    }
}
