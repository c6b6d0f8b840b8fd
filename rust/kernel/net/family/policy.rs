// SPDX-License-Identifier: GPL-2.0

//! What the guest's own policy says of a socket that stands in for one of TCP or UDP.
//!
//! The programs of BPF in its control group are asked about the native socket, where TCP and UDP ask
//! them, and may change addresses as they may there. The security modules are asked about it before
//! an operation is called. A socket that was accepted has no native one: it is asked about itself.
//!
//! Who asks has to show the socket of the program: it is there as long as an operation runs, and so
//! is the native one.

use super::{
    Name,
    Ops,
    TypedSock, //
};

use crate::{
    bindings,
    error::to_result,
    net::{
        addr::{
            AddrStorage,
            RawAddr,
            SockAddrBuf,
            AF_INET,
            AF_UNSPEC, //
        },
        msghdr::MsgHdr,
        sock::Sock,
        socket::Socket, //
    },
    prelude::*, //
};

use core::net::{
    Ipv4Addr,
    SocketAddr,
    SocketAddrV4,
    SocketAddrV6, //
};

impl<T: Ops> TypedSock<T> {
    /// Asks whether the socket may have an address. Returns the one that it is to have, and whether
    /// the program may have the port without the capability for it. Process context.
    pub fn ask_bind(&self, socket: &Socket, addr: SocketAddr) -> Result<(SocketAddr, bool)> {
        let Some(sk) = self.asked(socket) else {
            return Ok((addr, false));
        };
        let mut flags = 0;
        let addr = rewritten(addr, |addr, len| {
            // SAFETY: The socket is valid, and has no lock held; so is the address, and `flags`.
            to_result(unsafe { bindings::sk_ask_bind(sk, addr.cast(), len, &raw mut flags) })
        })?;
        Ok((addr, flags & bindings::BIND_NO_CAP_NET_BIND_SERVICE != 0))
    }

    /// Asks whether the socket may keep the address that it was given. Process context.
    pub fn ask_post_bind(&self, socket: &Socket, local: &SocketAddr) -> Result {
        let Some(sk) = self.asked(socket) else {
            return Ok(());
        };
        let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        // SAFETY: It is a valid socket of IPv4 or IPv6.
        let named = unsafe { Sock::from_raw(sk) };
        named.note_names(local, &any);
        // SAFETY: As above, with no lock held.
        let result = to_result(unsafe { bindings::sk_ask_post_bind(sk) });
        // SAFETY: As above.
        if result.is_err() || unsafe { (*sk).sk_type } == bindings::sock_type_SOCK_STREAM as u16 {
            self.forget_port(socket);
        }
        result
    }

    /// Notes that a datagram socket has a port, which it was not bound to: it was asked about
    /// already. Any context.
    pub fn note_port(&self, socket: &Socket) {
        /// Which it is only the backend knows.
        const SOME: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 1));

        if let Some(sk) = self.asked(socket) {
            // SAFETY: It is a valid socket of IPv4 or IPv6.
            let named = unsafe { Sock::from_raw(sk) };
            // SAFETY: As above.
            if unsafe { bindings::inet_sock_num(sk) } == 0 {
                named.note_names(&SOME, &SOME);
            }
        }
    }

    /// Notes that the socket has no port any more. Any context.
    pub fn forget_port(&self, socket: &Socket) {
        if let Some(sk) = self.asked(socket) {
            // SAFETY: It is a valid socket of IPv4 or IPv6.
            unsafe { bindings::inet_sock_forget_names(sk) };
        }
    }

    /// Asks whether the socket may be connected with a peer. Returns the one that it is to have.
    /// Process context.
    pub fn ask_connect(&self, socket: &Socket, peer: SocketAddr) -> Result<SocketAddr> {
        let Some(sk) = self.asked(socket) else {
            return Ok(peer);
        };
        rewritten(peer, |addr, len| {
            // SAFETY: The socket is valid, and has no lock held; so is the address.
            to_result(unsafe { bindings::sk_ask_connect(sk, addr.cast(), len) })
        })
    }

    /// Asks whether a datagram may be sent to the address that the message has, which may be
    /// changed. Process context.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` if it is to be sent from another address than the socket's.
    pub fn ask_sendmsg(&self, socket: &Socket, msg: &mut MsgHdr) -> Result {
        let Some((sk, peer)) = self
            .asked(socket)
            .zip(msg.name().and_then(|n| destination::<T>(&n)))
        else {
            return Ok(());
        };
        // Anything else is an error that the protocol finds.
        if peer.port() == 0 {
            return Ok(());
        }
        let mut from = bindings::in6_addr::default();
        // UDP itself sends to these by IPv4.
        let (asked, is_mapped) = match peer {
            SocketAddr::V6(addr) => match addr.ip().to_ipv4_mapped() {
                Some(ip) => (SocketAddr::from((ip, addr.port())), true),
                None => (peer, false),
            },
            SocketAddr::V4(_) => (peer, false),
        };
        let addr = rewritten(asked, |addr, len| {
            // SAFETY: The socket is valid, and has no lock held; so are both addresses.
            to_result(unsafe { bindings::sk_ask_sendmsg(sk, addr, len, &raw mut from) })
        })?;
        if addr.port() == 0 {
            return Err(EINVAL);
        }
        // SAFETY: It is four numbers, however they are looked at.
        if unsafe { from.in6_u.u6_addr32 } != [0; 4] {
            return Err(EOPNOTSUPP);
        }
        if addr != asked {
            msg.set_name(match addr {
                SocketAddr::V4(v4) if is_mapped => {
                    SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0).into()
                }
                addr => addr,
            });
        }
        Ok(())
    }

    /// Has the address changed that a datagram is from, which was received. Process context.
    pub(super) fn ask_recvmsg(&self, socket: &Socket, msg: &mut MsgHdr) {
        let Some((sk, peer)) = self
            .asked(socket)
            .zip(msg.name().and_then(|n| n.parse().ok()))
        else {
            return;
        };
        let addr = rewritten(peer, |addr, len| {
            // SAFETY: The socket is valid, and has no lock held; so is the address.
            unsafe { bindings::sk_ask_recvmsg(sk, addr, len) };
            Ok(())
        });
        if let Ok(addr) = addr {
            msg.set_name(addr);
        }
    }

    /// Returns what the program is told instead of an address. Process context.
    pub(super) fn ask_name(&self, socket: &Socket, name: Name, addr: SocketAddr) -> SocketAddr {
        let Some(sk) = self.asked(socket) else {
            return addr;
        };
        let is_peer = name != Name::Local;
        let told = rewritten(addr, |addr, len| {
            // SAFETY: The socket is valid, and has no lock held; so is the address.
            unsafe { bindings::sk_ask_name(sk, addr, len, is_peer) };
            Ok(())
        });
        told.unwrap_or(addr)
    }

    /// Returns whether programs of its control group want to see the packets of the socket, of which
    /// there are none. Any context.
    pub fn has_packet_filter(&self, socket: &Socket) -> bool {
        self.asked(socket)
            // SAFETY: The socket is valid.
            .is_some_and(|sk| unsafe { bindings::sk_has_packet_filter(sk) })
    }

    /// Returns whether a program of its control group has given the native socket an address. Any
    /// context.
    pub fn has_native_name(&self, socket: &Socket) -> bool {
        self.asked(socket)
            // SAFETY: It is a valid socket of IPv4 or IPv6.
            .is_some_and(|sk| unsafe { bindings::inet_sock_has_name(sk) })
    }

    /// Returns what is asked about.
    #[inline]
    fn asked(&self, socket: &Socket) -> Option<*mut bindings::sock> {
        T::PROTOCOL?;
        let own = self.as_raw();
        // SAFETY: The socket is valid.
        let native = match unsafe { (*socket.as_raw()).sk } == own {
            true => self.native().as_raw(),
            // It does not say that there is one.
            false => None,
        };
        // SAFETY: The native socket is not closed before `socket`, and has a `struct sock`.
        Some(native.map_or(own, |native| unsafe { (*native).sk }))
    }
}

/// Has an address changed by what C code does with it. The rest of it remains what it is.
fn rewritten(
    addr: SocketAddr,
    ask: impl FnOnce(*mut bindings::sockaddr, c_int) -> Result,
) -> Result<SocketAddr> {
    let given = SockAddrBuf::from(addr);
    let mut storage = AddrStorage::from(&given);

    ask(storage.as_mut_ptr(), given.c_len())?;
    storage.parse(given.c_len())
}

/// Understands where a datagram is to go, as UDP does it.
fn destination<T: Ops>(name: &RawAddr<'_>) -> Option<SocketAddr> {
    match (name.family()?, name.as_bytes()) {
        // As old programs do it.
        (AF_UNSPEC, [_, _, p, q, a, b, c, d, ..]) if T::FAMILY == i32::from(AF_INET) => {
            let ip = Ipv4Addr::new(*a, *b, *c, *d);
            Some(SocketAddr::from((ip, u16::from_be_bytes([*p, *q]))))
        }
        _ => name.parse().ok(),
    }
}
