// SPDX-License-Identifier: GPL-2.0

//! The guest's own policy for a socket that stands in for a TCP or UDP socket.
//!
//! The BPF programs of the socket's control group are asked about the native socket, at the same
//! points where TCP and UDP ask them, and may change addresses in the same way. Security modules
//! are asked about the native socket before an operation is called. An accepted socket gets its
//! native socket when the program binds or connects it anew. Until then policy is asked about the
//! accepted socket itself.
//!
//! Callers pass the program's `struct socket`, which exists as long as an operation runs, and so
//! does the native socket.

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
    /// Asks if the socket may be bound to `addr`. Returns the address to use instead, and `true` if
    /// the program may use the port without the capability for it. Process context.
    pub fn ask_bind(&self, socket: &Socket, addr: SocketAddr) -> Result<(SocketAddr, bool)> {
        let Some(sk) = self.policy_sock(socket) else {
            return Ok((addr, false));
        };
        let mut flags = 0;
        let addr = rewritten(addr, |addr, len| {
            // SAFETY: The socket is valid and not locked by the caller; the address and `flags` are
            // valid.
            to_result(unsafe { bindings::sk_ask_bind(sk, addr.cast(), len, &raw mut flags) })
        })?;
        Ok((addr, flags & bindings::BIND_NO_CAP_NET_BIND_SERVICE != 0))
    }

    /// Asks if the socket may keep the address that it was bound to. Process context.
    pub fn ask_post_bind(&self, socket: &Socket, local: &SocketAddr) -> Result {
        let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let (local, peer) = (SockAddrBuf::mapped(local), SockAddrBuf::mapped(&any));

        self.change_names(socket, |sk| {
            // SAFETY: `change_names` passes a locked socket of IPv4 or IPv6. Both addresses are
            // IPv6 addresses.
            to_result(unsafe {
                bindings::sk_ask_post_bind(sk, local.as_ptr().cast(), peer.as_ptr().cast())
            })
        })
    }

    /// Stores that a datagram socket has a port that was assigned automatically: policy has already
    /// been asked. Process context.
    pub fn mark_bound(&self, socket: &Socket) {
        /// An arbitrary port: the real one is not known here.
        const SOME: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 1));

        let is_unbound = |sk: *mut bindings::sock| {
            // SAFETY: By `policy_sock`, this is a valid socket of IPv4 or IPv6.
            unsafe { bindings::inet_sock_num(sk) == 0 }
        };
        // In the common case there is a port. This avoids the lock then.
        if !self.policy_sock(socket).is_some_and(is_unbound) {
            return;
        }
        let name = SockAddrBuf::mapped(&SOME);
        let _ = self.change_names(socket, |sk| {
            if is_unbound(sk) {
                // SAFETY: `change_names` passes a locked socket of IPv4 or IPv6, and it has no
                // port. The address is an IPv6 address.
                unsafe {
                    bindings::inet_sock_set_names(sk, name.as_ptr().cast(), name.as_ptr().cast())
                };
            }
            Ok(())
        });
    }

    /// Stores that the socket has no port any more, and releases a port that a BPF program has
    /// bound the native socket to. Process context.
    pub fn mark_unbound(&self, socket: &Socket) {
        let _ = self.change_names(socket, |sk| {
            // SAFETY: `change_names` passes a locked socket of IPv4 or IPv6.
            unsafe { bindings::inet_sock_forget_names(sk) };
            Ok(())
        });
    }

    /// Calls `change` with the socket that policy is asked about, locked, so that it can change the
    /// names of that socket. Does nothing if the native socket takes over: its names are real then.
    fn change_names(
        &self,
        socket: &Socket,
        change: impl FnOnce(*mut bindings::sock) -> Result,
    ) -> Result {
        let Some(sk) = self.policy_sock(socket) else {
            return Ok(());
        };
        // SAFETY: By `policy_sock`, the socket is valid, and it is not closed before `socket`.
        let _guard = unsafe { Sock::from_raw(sk) }.lock();
        // Whatever gives the native socket a real name takes this lock after `fall_back` has set the
        // flag. So the flag is either seen here, or the name is given after this change.
        if self.native().taking_over().is_some() {
            return Ok(());
        }
        change(sk)
    }

    /// Asks if the socket may be connected to `peer`. Returns the address to use instead. Process
    /// context.
    pub fn ask_connect(&self, socket: &Socket, peer: SocketAddr) -> Result<SocketAddr> {
        let Some(sk) = self.policy_sock(socket) else {
            return Ok(peer);
        };
        rewritten(peer, |addr, len| {
            // SAFETY: The socket is valid and not locked by the caller; the address is valid.
            to_result(unsafe { bindings::sk_ask_connect(sk, addr.cast(), len) })
        })
    }

    /// Asks if a datagram may be sent to the message's destination, which this may change. Returns
    /// the destination that the program gave if it was changed. Process context.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` if policy wants another source address than the socket's.
    pub fn ask_sendmsg(&self, socket: &Socket, msg: &mut MsgHdr) -> Result<Option<SocketAddr>> {
        let Some((sk, peer)) = self
            .policy_sock(socket)
            .zip(msg.name().and_then(|n| destination::<T>(&n)))
        else {
            return Ok(None);
        };
        // The protocol reports an invalid port as an error.
        if peer.port() == 0 {
            return Ok(None);
        }
        let mut from = bindings::in6_addr::default();
        // For these addresses, UDP itself sends with IPv4.
        let (asked, is_mapped) = match peer {
            SocketAddr::V6(addr) => match addr.ip().to_ipv4_mapped() {
                Some(ip) => (SocketAddr::from((ip, addr.port())), true),
                None => (peer, false),
            },
            SocketAddr::V4(_) => (peer, false),
        };
        let addr = rewritten(asked, |addr, len| {
            // SAFETY: The socket is valid and not locked by the caller; both addresses are valid.
            to_result(unsafe { bindings::sk_ask_sendmsg(sk, addr, len, &raw mut from) })
        })?;
        if addr.port() == 0 {
            return Err(EINVAL);
        }
        // SAFETY: Any bytes are valid for each member of the union.
        if unsafe { from.in6_u.u6_addr32 } != [0; 4] {
            return Err(EOPNOTSUPP);
        }
        if addr == asked {
            return Ok(None);
        }
        msg.set_name(match addr {
            SocketAddr::V4(v4) if is_mapped => {
                SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0).into()
            }
            addr => addr,
        });
        Ok(Some(peer))
    }

    /// Lets policy change the source address of a datagram that was received. Process context.
    pub(super) fn ask_recvmsg(&self, socket: &Socket, msg: &mut MsgHdr) {
        let Some((sk, peer)) = self
            .policy_sock(socket)
            .zip(msg.name().and_then(|n| n.parse().ok()))
        else {
            return;
        };
        let addr = rewritten(peer, |addr, len| {
            // SAFETY: The socket is valid and not locked by the caller; the address is valid.
            unsafe { bindings::sk_ask_recvmsg(sk, addr, len) };
            Ok(())
        });
        if let Ok(addr) = addr {
            msg.set_name(addr);
        }
    }

    /// Lets policy change an address that is returned to the program. Process context.
    pub(super) fn ask_name(&self, socket: &Socket, name: Name, addr: SocketAddr) -> SocketAddr {
        let Some(sk) = self.policy_sock(socket) else {
            return addr;
        };
        let is_peer = name != Name::Local;
        let told = rewritten(addr, |addr, len| {
            // SAFETY: The socket is valid and not locked by the caller; the address is valid.
            unsafe { bindings::sk_ask_name(sk, addr, len, is_peer) };
            Ok(())
        });
        told.unwrap_or(addr)
    }

    /// Returns `true` if BPF programs of the socket's control group filter packets, of which this
    /// socket has none. Any context.
    pub fn has_packet_filter(&self, socket: &Socket) -> bool {
        self.policy_sock(socket)
            // SAFETY: The socket is valid.
            .is_some_and(|sk| unsafe { bindings::sk_has_packet_filter(sk) })
    }

    /// Returns `true` if a BPF program of the socket's control group has given the native socket an
    /// address, an interface or a routing mark. Any context.
    pub fn has_native_name_or_route(&self, socket: &Socket) -> bool {
        self.policy_sock(socket)
            // An accepted socket without a native socket has names of its own.
            .filter(|sk| !core::ptr::eq(*sk, self.as_raw()))
            // SAFETY: By `policy_sock`, this is a valid socket of IPv4 or IPv6.
            .is_some_and(|sk| unsafe {
                bindings::inet_sock_has_name(sk) || bindings::sk_has_route(sk)
            })
    }

    /// Returns the socket that policy is asked about: the native socket, or this one if there is
    /// none. [`None`] in a family with its own number: policy for TCP and UDP does not concern it.
    /// [`None`] also if the native socket has taken over: then the operation is repeated with that
    /// one, which asks policy itself.
    #[inline]
    fn policy_sock(&self, socket: &Socket) -> Option<*mut bindings::sock> {
        if T::PROTOCOL.is_none() || self.has_fallen_back() {
            return None;
        }
        let own = self.as_raw();
        // SAFETY: The socket is valid.
        let native = match unsafe { (*socket.as_raw()).sk } == own {
            true => self.native().as_raw(),
            // A `struct socket` other than that of this socket says nothing about its native
            // socket.
            false => None,
        };
        // SAFETY: The native socket is not closed before `socket`, and has a `struct sock`.
        Some(native.map_or(own, |native| unsafe { (*native).sk }))
    }
}

/// Calls C code that may change an address, and returns the result. Other parts of the address,
/// which C code does not change, are kept.
fn rewritten(
    addr: SocketAddr,
    ask: impl FnOnce(*mut bindings::sockaddr, c_int) -> Result,
) -> Result<SocketAddr> {
    let given = SockAddrBuf::from(addr);
    let mut storage = AddrStorage::from(&given);

    ask(storage.as_mut_ptr(), given.c_len())?;
    storage.parse(given.c_len())
}

/// Parses the destination of a datagram as UDP does.
fn destination<T: Ops>(name: &RawAddr<'_>) -> Option<SocketAddr> {
    match (name.family()?, name.as_bytes()) {
        // Old programs use `AF_UNSPEC` for IPv4.
        (AF_UNSPEC, [_, _, p, q, a, b, c, d, ..]) if T::FAMILY == i32::from(AF_INET) => {
            let ip = Ipv4Addr::new(*a, *b, *c, *d);
            Some(SocketAddr::from((ip, u16::from_be_bytes([*p, *q]))))
        }
        _ => name.parse().ok(),
    }
}
