// SPDX-License-Identifier: GPL-2.0

//! The calls of programs on the sockets of all families.

use crate::{
    addresses::{
        addr_to_bind,
        addr_to_connect,
        in_domain, //
    },
    datagram::address::destination,
    devices::Devices,
    endpoint::{
        may_bind,
        owner, //
    },
    fallback,
    family::{
        AddressFamily,
        AnySocket,
        Family,
        Sk,
        IPPROTO_TCP,
        IPPROTO_UDP, //
    },
    hijack::{
        Decision,
        FirstUse, //
    },
    proto::{
        native,
        option::{
            GIVEN_LEN,
            SOL_UDP,
            UDP_CORK, //
        },
        Feature, //
    },
    stream::Acceptance,
    survivors::Survivors, //
};
use core::net::SocketAddr;
use kernel::{
    net::{
        addr::{
            Domain,
            RawAddr,
            AF_UNSPEC, //
        },
        family::{
            Accepted,
            Child,
            Name,
            Ops,
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
        socket::{
            How,
            Socket,
            SOCK_DGRAM,
            SOCK_STREAM, //
        },
        sockopt::{
            OptionIn,
            OptionOut,
            SOL_SOCKET, //
        },
    },
    prelude::*, //
};

/// The number of received bytes from which on a stream is readable.
const SO_RCVLOWAT: i32 = 18;

#[vtable]
impl<F: AddressFamily> Ops for Family<F> {
    const FAMILY: i32 = F::FAMILY;
    const PROTOCOL: Option<u16> = F::PROTOCOL;
    const SOCK_TYPES: &'static [u16] = F::SOCK_TYPES;
    type Head = F::Head;
    type Data = AnySocket;
    type Proto = F;
    // Some of these options concern the backend.
    const CUSTOM_SOL_SOCKET: bool = true;
    const ZEROCOPY: bool = true;
    const PEEK_OFFSET: bool = true;

    fn create(net: &Namespace, kind: i32, protocol: i32) -> Result<impl PinInit<AnySocket, Error>> {
        // A namespace of its own can keep a program off the network. So sockets are created there
        // only if the administrator allows it.
        if net != Namespace::init() && !fallback::is_wanted(net) {
            return Err(EAFNOSUPPORT);
        }
        let protocol = match F::PROTOCOL {
            // The socket is found by its protocol number only.
            Some(_) => 0,
            None => protocol,
        };
        match (kind, protocol) {
            (SOCK_STREAM, 0 | IPPROTO_TCP) => Ok(AnySocket::stream(F::DOMAIN, owner(net))),
            (SOCK_DGRAM, 0 | IPPROTO_UDP) if may_have_datagrams() => {
                Ok(AnySocket::datagram(F::DOMAIN, owner(net)))
            }
            (SOCK_STREAM, _) => Err(EPROTONOSUPPORT),
            (SOCK_DGRAM, _) if may_have_datagrams() => Err(EPROTONOSUPPORT),
            _ => Err(ESOCKTNOSUPPORT),
        }
    }

    fn release(sk: &Sk<F>) {
        match sk.data().get_ref() {
            AnySocket::Stream(stream) => stream.release(sk),
            AnySocket::Datagram(datagram) => datagram.release(sk),
        }
    }

    fn bind(socket: &Socket, sk: &Sk<F>, addr: &RawAddr<'_>) -> Result {
        let addr = addr_to_bind(F::DOMAIN, addr)?;
        let (addr, is_free) = sk.ask_bind(socket, addr)?;
        if !is_free {
            may_bind(sk, &addr)?;
        }
        let may_keep = |local: &SocketAddr| sk.ask_post_bind(socket, local);
        fallback::first(socket, sk, FirstUse::Bind(addr), || {
            await_link(sk, false)?;
            match sk.data().get_ref() {
                AnySocket::Stream(stream) => stream.bind(socket, sk, addr, may_keep),
                AnySocket::Datagram(datagram) => datagram.bind(sk, addr, may_keep),
            }
        })
    }

    fn connect(socket: &Socket, sk: &Sk<F>, addr: &RawAddr<'_>, nonblock: bool) -> Result {
        let is_none = addr.family().ok_or(EINVAL)? == AF_UNSPEC;
        if is_none {
            return match sk.data().get_ref() {
                AnySocket::Stream(stream) => stream.disconnect(socket, sk),
                AnySocket::Datagram(datagram) => {
                    let has_port = datagram.disconnect(sk)?;
                    if !has_port {
                        sk.mark_unbound(socket);
                    }
                    Ok(())
                }
            };
        }
        let peer = match sk.data().get_ref() {
            AnySocket::Stream(stream) if stream.can_start(socket, sk) => {
                Ok(sk.ask_connect(socket, addr_to_connect(F::DOMAIN, addr)?)?)
            }
            // Nobody was asked about the address. So it must not be used, even if another thread
            // ends the attempt or the connection meanwhile.
            AnySocket::Stream(_) => Err(EALREADY),
            AnySocket::Datagram(_) => Ok(sk.ask_connect(socket, addr.parse()?)?),
        };
        let first = FirstUse::Connect(peer);
        fallback::first(socket, sk, first, || {
            await_link(sk, nonblock)?;
            match sk.data().get_ref() {
                // The error matters only to a socket without a connection.
                AnySocket::Stream(stream) => stream.connect(socket, sk, peer, nonblock),
                AnySocket::Datagram(datagram) => {
                    datagram.connect(sk, peer?)?;
                    sk.mark_bound(socket);
                    Ok(())
                }
            }
        })
    }

    fn listen(socket: &Socket, sk: &Sk<F>, backlog: u32) -> Result {
        fallback::first(socket, sk, FirstUse::Listen, || match sk.data().get_ref() {
            AnySocket::Stream(stream) => {
                await_link(sk, false)?;
                stream.listen(socket, sk, backlog, |name| {
                    fallback::create_native_listener(sk, name, backlog)
                })
            }
            AnySocket::Datagram(_) => Err(EOPNOTSUPP),
        })
    }

    fn accept(_socket: &Socket, sk: &Sk<F>, nonblock: bool) -> Result<Accepted<Self>> {
        match sk.data().get_ref() {
            AnySocket::Stream(stream) => {
                let owner = stream.endpoint.owner;
                let make = || Child::new(sk, AnySocket::stream(F::DOMAIN, owner));
                Ok(match stream.accept(sk, nonblock, make)? {
                    Acceptance::Socket(child) => Accepted::Child(child),
                    Acceptance::Local(local) => Accepted::From(local),
                })
            }
            AnySocket::Datagram(_) => Err(EOPNOTSUPP),
        }
    }

    fn can_accept(sk: &Sk<F>) -> bool {
        match sk.data().get_ref() {
            AnySocket::Stream(stream) => stream.can_accept(),
            AnySocket::Datagram(_) => false,
        }
    }

    fn shutdown(socket: &Socket, sk: &Sk<F>, how: How) -> Result {
        match sk.data().get_ref() {
            AnySocket::Stream(stream) => stream.shutdown(socket, sk, how),
            AnySocket::Datagram(datagram) => datagram.shutdown(sk, how),
        }
    }

    fn setsockopt(
        socket: &Socket,
        sk: &Sk<F>,
        level: i32,
        name: i32,
        value: &OptionIn<'_>,
    ) -> Result {
        let is_stream = socket.sock_type() == SOCK_STREAM;
        if native::is_needed(level, name, is_stream, F::DOMAIN == Some(Domain::Inet6)) {
            // Turning an option off needs no fallback: the option is not set.
            let mut given = [0; GIVEN_LEN];
            let len = value.read_prefix(&mut given)?;
            if native::is_asked_for(level, name, given.get(..len).unwrap_or(&given)) {
                fallback::fall_back(socket, sk, Decision::Option, None)?;
            }
        }
        let endpoint = sk.data().get_ref().endpoint();
        let result = endpoint.set_option(socket, sk, level, name, value);
        match result {
            // A fallback would silently leave the groups joined before.
            Err(error)
                if native::joins(level, name)
                    && socket.sock_type() == SOCK_DGRAM
                    && !endpoint.has_groups() =>
            {
                fallback::join_refused(socket, sk, error)?;
            }
            // CAST: The numbers are small.
            Ok(()) if (level, name) == (SOL_UDP as i32, UDP_CORK as i32) => {
                if let AnySocket::Datagram(datagram) = sk.data().get_ref() {
                    datagram.end_parts();
                }
            }
            Ok(()) if (level, name) == (SOL_SOCKET, SO_RCVLOWAT) => {
                if let AnySocket::Stream(stream) = sk.data().get_ref() {
                    stream.lowat_changed(sk);
                }
            }
            _ => (),
        }
        result
    }

    fn getsockopt(
        _socket: &Socket,
        sk: &Sk<F>,
        level: i32,
        name: i32,
        value: OptionOut<'_>,
    ) -> Result {
        let endpoint = sk.data().get_ref().endpoint();
        endpoint.get_option(sk, level, name, value)
    }

    fn getname(sk: &Sk<F>, name: Name) -> Result<SocketAddr> {
        let name = match sk.data().get_ref() {
            AnySocket::Stream(stream) => stream.name(sk, name),
            AnySocket::Datagram(datagram) => datagram.name(name),
        }?;
        in_domain(F::DOMAIN, name)
    }

    fn poll(sk: &Sk<F>) -> u32 {
        match sk.data().get_ref() {
            AnySocket::Stream(stream) if sk.has_queued_error() => stream.poll(sk) | EPOLLERR,
            AnySocket::Stream(stream) => stream.poll(sk),
            AnySocket::Datagram(datagram) => datagram.poll(sk),
        }
    }

    fn ioctl(sk: &Sk<F>, cmd: u32) -> Result<i32> {
        let number = match (sk.data().get_ref(), cmd) {
            (AnySocket::Stream(stream), SIOCINQ) => stream.unread(sk)?,
            (AnySocket::Stream(stream), SIOCOUTQ) => stream.unacknowledged(sk)?,
            (AnySocket::Stream(stream), SIOCOUTQNSD) => stream.unsent(sk)?,
            (AnySocket::Stream(stream), SIOCATMARK) => u32::from(stream.is_at_mark(sk)),
            (AnySocket::Datagram(datagram), SIOCINQ) => datagram.unread(),
            (AnySocket::Datagram(datagram), SIOCOUTQ) => datagram.unsent(),
            _ => return Err(ENOIOCTLCMD),
        };
        Ok(i32::try_from(number).unwrap_or(i32::MAX))
    }

    fn sendmsg(socket: &Socket, sk: &Sk<F>, msg: &mut MsgHdr, len: usize) -> Result<usize> {
        let flags = msg.flags();
        // Data are copied into the ring, so the program's buffer is free as soon as they are sent.
        let notification = sk.zerocopy_notification(msg, len)?;
        let sent = match sk.data().get_ref() {
            AnySocket::Stream(stream) => {
                if flags & msg::FASTOPEN != 0 {
                    connect_to_send(socket, sk, msg)?;
                }
                sk.check_controls(msg)?;
                stream.send(sk, msg, flags)
            }
            AnySocket::Datagram(datagram) => {
                let given = sk.ask_sendmsg(socket, msg)?;
                let send = |msg: &mut MsgHdr, peer: Option<SocketAddr>| {
                    await_link(sk, flags & msg::DONTWAIT != 0)?;
                    if let Some(peer) = peer.filter(|_| fallback::may_be_refused(sk)) {
                        datagram.ask_for_peer(sk, peer)?;
                    }
                    datagram.send(sk, msg, len, flags)
                };
                let sent = match destination(msg, F::DOMAIN).transpose() {
                    Some(peer) => {
                        fallback::first(socket, sk, FirstUse::Send(peer), || send(msg, peer.ok()))
                    }
                    None => send(msg, None),
                };
                if let (Err(_), Some(given)) = (&sent, given) {
                    // If the call is repeated, policy is asked again.
                    msg.set_name(given);
                }
                let sent = sent?;
                sk.mark_bound(socket);
                Ok(sent)
            }
        }?;
        if let Some(notification) = notification {
            notification.complete();
        }
        Ok(sent)
    }

    fn splice_len(sk: &Sk<F>, len: usize, nonblock: bool) -> Result<usize> {
        match sk.data().get_ref() {
            AnySocket::Stream(stream) => stream.splice_len(sk, len, nonblock),
            // One datagram, of any length.
            AnySocket::Datagram(_) => Ok(len),
        }
    }

    fn splice_eof(sk: &Sk<F>) {
        match sk.data().get_ref() {
            // A stream holds nothing back.
            AnySocket::Stream(_) => (),
            AnySocket::Datagram(datagram) => datagram.end_parts(),
        }
    }

    fn recvmsg(sk: &Sk<F>, msg: &mut MsgHdr, len: usize, flags: u32) -> Result<usize> {
        let is_for_errors = flags & msg::ERRQUEUE != 0;
        match sk.data().get_ref() {
            AnySocket::Stream(_) if is_for_errors => sk.recv_error(msg, len),
            AnySocket::Stream(stream) => stream.recv(sk, msg, len, flags),
            AnySocket::Datagram(datagram) if is_for_errors => datagram.recv_error(sk, msg, len),
            AnySocket::Datagram(datagram) => datagram.recv(sk, msg, len, flags),
        }
    }
}

/// Connects, for a program that sends with MSG_FASTOPEN. Data in the first packet are a hint, which
/// TCP does not follow either for a server that it does not know.
fn connect_to_send<F: AddressFamily>(socket: &Socket, sk: &Sk<F>, msg: &MsgHdr) -> Result {
    let nonblock = msg.flags() & msg::DONTWAIT != 0;
    let addr = msg.name().ok_or(EINVAL)?;
    if addr.family() == Some(AF_UNSPEC) {
        return Err(EOPNOTSUPP);
    }
    Family::<F>::connect(socket, sk, &addr, nonblock)
}

/// Waits for a link, in a call that needs one and may wait.
fn await_link<F: AddressFamily>(sk: &Sk<F>, nonblock: bool) -> Result {
    if nonblock || !sk.data().get_ref().endpoint().needs_link() {
        return Ok(());
    }
    let endpoint = sk.data().get_ref().endpoint();
    Survivors::await_link(sk, || endpoint.has_link(sk))
}

/// Returns `true` if the backend may support datagrams; without a link this is assumed.
fn may_have_datagrams() -> bool {
    Devices::may_have(|link| link.has(Feature::Datagram))
}
