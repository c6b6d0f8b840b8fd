// SPDX-License-Identifier: GPL-2.0

//! Taking over sockets of AF_INET and AF_INET6, and giving them back.
//!
//! While a network namespace is hijacked, sockets that its programs open as TCP (or UDP) are
//! created as IPPROTO_XENSOCK. The first use of a socket decides. If it is not for the backend, the
//! socket falls back to its native socket, one of the guest's own TCP or UDP.

mod substitute;

pub(crate) use substitute::Fallback;

use crate::{
    addresses::in_domain,
    conn::Conn,
    endpoint::{
        EndpointInner,
        EndpointState, //
    },
    family::{
        AddressFamily,
        AnySocket,
        Sk, //
    },
    hijack::{
        Decision,
        FirstUse,
        Hijack, //
    },
    proto::{
        call::SOCK_STREAM,
        rule::IpProtocol, //
    },
    saved_options::{
        unless_unknown,
        with_bytes,
        SavedOptions, //
    }, //
};
use core::net::SocketAddr;
use kernel::{
    net::{
        kernel_socket::{
            KernelSocket,
            Tcp, //
        },
        namespace::Namespace,
        socket::{
            NativeSocket,
            Socket, //
        },
        sockopt::{
            SOL_SOCKET,
            SO_REUSEADDR, //
        }, //
    },
    prelude::*,
    sync::Arc, //
};

/// Performs an operation that may be the first use of a socket. The socket may fall back before the
/// operation, or after it has failed.
///
/// # Errors
///
/// Any error if the socket has fallen back: the operation is repeated with the native socket.
pub(crate) fn first<F: AddressFamily, R>(
    socket: &Socket,
    sk: &Sk<F>,
    first: FirstUse,
    operation: impl FnOnce() -> Result<R>,
) -> Result<R> {
    if !is_open(sk) {
        if let FirstUse::Connect(Ok(_)) | FirstUse::Send(Ok(_)) = first {
            move_port(socket, sk, first)?;
        }
        return operation();
    }
    let addr = first.addr();
    if let Some(reason) = exemption(socket, sk, first) {
        fall_back(socket, sk, reason, addr)?;
    }
    let result = operation();
    match &result {
        Ok(_) | Err(EINPROGRESS) => note(sk, Decision::XenSock, addr),
        Err(EACCES) if may_return(sk) => fall_back(socket, sk, Decision::Refused, addr)?,
        Err(ENETDOWN) if may_return(sk) => fall_back(socket, sk, Decision::NoBackend, addr)?,
        Err(_) => (),
    }
    result
}

/// Lets a socket that could not join a group fall back, if it may: as for an option that the
/// backend does not have, or for lack of a backend. May sleep.
///
/// # Errors
///
/// Any error if the socket has fallen back: the operation is repeated with the native socket.
pub(crate) fn join_refused<F: AddressFamily>(socket: &Socket, sk: &Sk<F>, error: Error) -> Result {
    match error {
        EPERM | ENOPROTOOPT | ENODEV => fall_back(socket, sk, Decision::Option, None),
        ENETDOWN if may_return(sk) => fall_back(socket, sk, Decision::NoBackend, None),
        _ => Ok(()),
    }
}

/// Returns the reason why the first use of a socket is not for the backend, if there is one.
fn exemption<F: AddressFamily>(socket: &Socket, sk: &Sk<F>, first: FirstUse) -> Option<Decision> {
    let (config, net) = (config(sk)?, sk.namespace()?);
    // A BPF program of a control group may have set these: when the socket was created, or just now
    // as it was asked about an address.
    if sk.has_route() || sk.has_native_name_or_route(socket) {
        return Some(Decision::Option);
    }
    if sk.has_packet_filter(socket) {
        return Some(Decision::Packets);
    }
    config.exemption(&net, transport(sk), first)
}

/// Returns `true` if programs of a namespace may have sockets of the backend.
pub(crate) fn is_wanted(net: &Namespace) -> bool {
    Hijack::of(net).is_some_and(|config| config.is_on())
}

/// Returns `true` if a socket may fall back after the backend has refused an operation.
fn may_return<F: AddressFamily>(sk: &Sk<F>) -> bool {
    F::PROTOCOL.is_some() && config(sk).is_some_and(|config| config.falls_back())
}

/// Returns `true` if a socket has yet to be used, and falls back if the backend refuses that.
pub(crate) fn may_be_refused<F: AddressFamily>(sk: &Sk<F>) -> bool {
    is_open(sk) && may_return(sk)
}

/// Lets a socket fall back with its port if it was only bound to a port of all addresses, and is
/// about to connect or send to an address that the guest reaches by itself.
fn move_port<F: AddressFamily>(socket: &Socket, sk: &Sk<F>, first: FirstUse) -> Result {
    let place = |inner: &EndpointInner| match sk.data().get_ref() {
        AnySocket::Stream(_) => inner.port_of_all(),
        AnySocket::Datagram(datagram) => {
            let connects = matches!(first, FirstUse::Connect(_));
            datagram
                .is_unused(connects)
                .then(|| inner.port_of_all())
                .flatten()
        }
    };
    if F::PROTOCOL.is_none() || place(&sk.data().get_ref().endpoint().inner.lock()).is_none() {
        return Ok(());
    }
    let (Some(config), Some(net)) = (config(sk), sk.namespace()) else {
        return Ok(());
    };
    match config.exemption(&net, transport(sk), first) {
        Some(reason) => replace(socket, sk, reason, first.addr(), place),
        None => Ok(()),
    }
}

/// Lets a socket fall back with its options, unless it is in use or of AF_XENSOCK. The reason may
/// concern an address.
///
/// # Errors
///
/// `EAGAIN` if the socket has fallen back: the calling operation ends, and is repeated with the
/// native socket. Another error if the fallback has failed.
pub(crate) fn fall_back<F: AddressFamily>(
    socket: &Socket,
    sk: &Sk<F>,
    reason: Decision,
    addr: Option<SocketAddr>,
) -> Result {
    let unbound = |inner: &EndpointInner| inner.is_open().then_some(None::<SocketAddr>);
    replace(socket, sk, reason, addr, unbound)
}

/// Lets a socket fall back if `place` returns `Some`: then this is the address for the native
/// socket, if any.
fn replace<F: AddressFamily, N: Into<Option<SocketAddr>>>(
    socket: &Socket,
    sk: &Sk<F>,
    reason: Decision,
    addr: Option<SocketAddr>,
    place: impl FnOnce(&EndpointInner) -> Option<N>,
) -> Result {
    if F::PROTOCOL.is_none() {
        return Ok(());
    }
    let endpoint = sk.data().get_ref().endpoint();
    let _call = endpoint.lock_call()?;
    let _transition = match sk.data().get_ref() {
        AnySocket::Stream(stream) => Some(stream.transit()?),
        AnySocket::Datagram(_) => None,
    };
    let (state, settings, local) = {
        let mut inner = endpoint.inner.lock();
        let Some(local) = place(&inner) else {
            return Ok(());
        };
        let state = core::mem::replace(&mut inner.state, EndpointState::Native);
        (state, inner.settings.clone(), local.into())
    };
    // The native socket is really bound here. Drop the port that was noted only for policy.
    sk.mark_unbound(socket);
    let result = sk.fall_back(socket, |native| {
        repeat(&settings, native)?;
        match local {
            Some(local) => native.bind_permitted(in_domain(F::DOMAIN, local)?),
            None => Ok(()),
        }
    });
    if let Err(error) = result {
        if matches!(state, EndpointState::Connection(_)) {
            sk.mark_bound(socket);
        }
        endpoint.inner.lock().state = state;
        return Err(error);
    }
    if let EndpointState::Connection(conn) = state {
        Conn::close(&conn, true);
    }
    note(sk, reason, addr);
    Err(EAGAIN)
}

/// Creates the socket that listens in the guest itself, beside a listener of the backend with this
/// address.
///
/// # Errors
///
/// `EADDRINUSE` if a server in the guest itself has the port. If the backend has chosen the port,
/// returns `None` instead: the program could not do better.
pub(crate) fn create_native_listener<F: AddressFamily>(
    sk: &Sk<F>,
    name: SocketAddr,
    backlog: u32,
) -> Result<Option<KernelSocket<Tcp>>> {
    let is_wanted = F::PROTOCOL.is_some()
        && name.ip().to_canonical().is_unspecified()
        && name.port() != 0
        && config(sk).is_some_and(|config| !config.takes_loopback());
    if !is_wanted {
        return Ok(None);
    }
    let (settings, local, has_listened) = {
        let inner = sk.data().get_ref().endpoint().inner.lock();
        (inner.settings.clone(), inner.local, inner.has_listened)
    };
    let name = in_domain(F::DOMAIN, name)?;
    let backlog = i32::try_from(backlog).unwrap_or(i32::MAX);
    let prepare = |new: &NativeSocket| {
        repeat(&settings, new)?;
        if has_listened {
            // Its own connections must not keep it from its port.
            new.set_safe_option(SOL_SOCKET, SO_REUSEADDR, &1i32.to_ne_bytes())?;
        }
        Ok(())
    };
    match sk.create_native_listener(name, backlog, prepare) {
        Err(EADDRINUSE) if local.is_none_or(|local| local.port() == 0) => Ok(None),
        result => result.map(Some),
    }
}

/// Sets the options of one socket on another.
fn repeat(settings: &Option<Arc<SavedOptions>>, new: &NativeSocket) -> Result {
    for (level, name, value) in settings.iter().flat_map(|settings| settings.iter()) {
        unless_unknown(with_bytes(&value, |v| {
            new.set_safe_option(level as i32, name as i32, v)
        }))?;
    }
    Ok(())
}

/// Returns `true` if the first use of a socket has yet to decide.
fn is_open<F: AddressFamily>(sk: &Sk<F>) -> bool {
    F::PROTOCOL.is_some() && sk.data().get_ref().endpoint().inner.lock().is_open()
}

fn note<F: AddressFamily>(sk: &Sk<F>, reason: Decision, addr: Option<SocketAddr>) {
    if let Some(config) = config(sk) {
        config.note(reason, transport(sk), addr);
    }
}

fn transport<F: AddressFamily>(sk: &Sk<F>) -> IpProtocol {
    match sk.data().get_ref().endpoint().kind {
        SOCK_STREAM => IpProtocol::Tcp,
        _ => IpProtocol::Udp,
    }
}

fn config<F: AddressFamily>(sk: &Sk<F>) -> Option<Arc<Hijack>> {
    Hijack::of(&*sk.namespace()?)
}
