// SPDX-License-Identifier: GPL-2.0

//! What a socket has at the backend, and what it gives to the next if it needs another.
//!
//! An id of the backend is good for one attempt, and for one link. A socket of ours outlives both:
//! the address that its program has chosen and the options that it has set are kept here.

mod call_guard;
mod options;

use crate::{
    addresses::any,
    commands::Exchange,
    conn::Conn,
    devices::Devices,
    hijack::Hijack,
    link::Link,
    listener::Listener,
    proto::{
        call::SOCK_DGRAM,
        rule::route::DeviceName, //
    },
    remote_socket::RemoteSocket,
    saved_options::SavedOptions, //
};
pub(crate) use call_guard::CallGuard;
use core::net::{
    IpAddr,
    SocketAddr, //
};
use kernel::{
    net::{
        addr::Domain,
        namespace::{
            user_namespace_maker,
            Namespace, //
        },
        sock::{
            Shutdown,
            ShutdownMask,
            Sock, //
        },
        socket::How, //
    },
    new_mutex,
    new_spinlock,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Acquire,
            Atomic,
            Release, //
        },
        Arc,
        Mutex,
        SpinLock, //
    },
    task::Kuid, //
};

/// What a socket has at the backend.
#[pin_data]
pub(crate) struct Endpoint {
    /// [`SOCK_STREAM`](crate::proto::call::SOCK_STREAM) or
    /// [`SOCK_DGRAM`](crate::proto::call::SOCK_DGRAM).
    pub(crate) kind: u32,
    /// What addresses the socket has, if that is said by its family.
    domain: Option<Domain>,
    /// Whose it is, see [`owner`].
    pub(crate) owner: u64,
    /// Taken by the calls that change the socket by an answer of the backend's, for which they
    /// wait. To wait for it is killable, too.
    #[pin]
    call: Mutex<()>,
    #[pin]
    pub(crate) inner: SpinLock<EndpointInner>,
    /// It has lost its link, and is among the [survivors](crate::survivors::Survivors).
    is_lost: Atomic<bool>,
}

/// What a socket is, with what belongs to it then.
pub(crate) enum EndpointState {
    /// Without a data ring. The backend has a socket for it once one was needed.
    Idle(Option<RemoteSocket>),
    /// With one. A stream: connected, from the start of `connect()` on, until it is reset or
    /// closed.
    Connection(Arc<Conn>),
    /// Listening, until the link goes down at the latest.
    Listening(Arc<Listener>),
    /// With nothing: it has fallen back.
    Native,
}

impl EndpointState {
    /// The backend's socket, if there is one.
    fn remote(&self) -> Option<&RemoteSocket> {
        match self {
            Self::Idle(remote) => remote.as_ref(),
            Self::Connection(conn) => Some(&conn.remote),
            Self::Listening(listener) => Some(&listener.remote),
            Self::Native => None,
        }
    }
}

pub(crate) struct EndpointInner {
    pub(crate) state: EndpointState,
    /// The address that the program has asked for: a further socket of the backend has to get it.
    pub(crate) local: Option<SocketAddr>,
    /// The device where it has got that.
    pub(crate) device: Option<DeviceName>,
    /// The options likewise, if there are any.
    pub(crate) settings: Option<Arc<SavedOptions>>,
    /// Some of them were set while connections could come: those may be without.
    pub(crate) has_late_settings: bool,
    /// The end of the last socket of the backend that had an address: then the address is free.
    pub(crate) former: Option<Arc<Exchange>>,
    /// The last SETSOCKOPT for whose answer nobody has waited, and how many there were before it.
    pub(crate) unheard: Option<(Arc<Exchange>, u32)>,
    /// The file was closed: nothing more belongs to the socket.
    pub(crate) is_closed: bool,
}

impl EndpointInner {
    /// Whether the socket was put to no use yet but to set options.
    pub(crate) fn is_open(&self) -> bool {
        self.local.is_none()
            && match &self.state {
                EndpointState::Idle(remote) => remote.as_ref().is_none_or(|r| r.local.is_none()),
                _ => false,
            }
    }

    /// The address of a socket that has one and was put to no other use yet, if it is one port of
    /// all addresses.
    pub(crate) fn port_of_all(&self) -> Option<SocketAddr> {
        let remote = match &self.state {
            EndpointState::Idle(remote) => remote.as_ref(),
            // One for datagrams has its ring from the start. What has come is for the program.
            EndpointState::Connection(conn) if conn.is_datagram() && !conn.has_frame() => None,
            _ => return None,
        };
        let name = remote.and_then(|r| r.local).or(self.local);
        name.filter(|name| name.port() != 0 && name.ip().to_canonical().is_unspecified())
    }

    /// Takes everything out, to be dropped outside the lock.
    pub(crate) fn take_state(&mut self) -> EndpointState {
        let state = core::mem::replace(&mut self.state, EndpointState::Idle(None));
        // What was lost with its link has ended.
        let bound = |remote: &&RemoteSocket| remote.local.is_some() && remote.link.is_up();
        if let Some(remote) = state.remote().filter(bound) {
            self.former = Some(remote.ending());
        }
        state
    }
}

impl Endpoint {
    /// That of a new socket of this type, of that owner: see [`owner`].
    pub(crate) fn new(kind: u32, domain: Option<Domain>, owner: u64) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            kind,
            domain,
            owner,
            call <- new_mutex!((), "xensock_call"),
            inner <- new_spinlock!(
                EndpointInner {
                    state: EndpointState::Idle(None),
                    local: None,
                    device: None,
                    settings: None,
                    has_late_settings: false,
                    former: None,
                    unheard: None,
                    is_closed: false,
                },
                "xensock_endpoint"
            ),
            is_lost: Atomic::new(false),
        })
    }

    /// Whether what the backend had was lost with its link, and will be made anew. Any context.
    pub(crate) fn is_lost(&self) -> bool {
        self.is_lost.load(Acquire)
    }

    /// Changes that. Any context.
    pub(crate) fn set_lost(&self, is_lost: bool) {
        self.is_lost.store(is_lost, Release);
    }

    /// Whether the next call that asks the backend needs a link for that, not having one. Any context.
    pub(crate) fn needs_link(&self) -> bool {
        match &self.inner.lock().state {
            EndpointState::Idle(_) => true,
            EndpointState::Connection(conn) => self.kind == SOCK_DGRAM && conn.death().is_some(),
            _ => false,
        }
    }

    /// Whether there is a link for such a call. Any context.
    pub(crate) fn has_link(&self, sk: &Sock) -> bool {
        self.link_for(sk, self.bound_device(), self.domain, None)
            .is_ok()
    }

    /// Whether the program has chosen an address. Any context.
    pub(crate) fn is_bound(&self) -> bool {
        self.inner.lock().local.is_some()
    }

    /// The device where the socket has its address, if it has one.
    fn bound_device(&self) -> Option<DeviceName> {
        let inner = self.inner.lock();
        inner.device.filter(|_| inner.local.is_some())
    }

    /// The link for a new socket of the backend: that of the device where the `former` one had its
    /// address, or else, and if that device is gone for good, the one for what is to use this
    /// address, or none in particular. `ENETDOWN` if it is not connected.
    pub(crate) fn link_for(
        &self,
        sk: &Sock,
        former: Option<DeviceName>,
        domain: Option<Domain>,
        ip: Option<IpAddr>,
    ) -> Result<Arc<Link>> {
        if let Some(device) = former.filter(|device| Devices::is_expected(*device)) {
            return Devices::link(device).ok_or(ENETDOWN);
        }
        let domain = domain.unwrap_or(Domain::Inet);
        let settings = sk.namespace().and_then(|net| Hijack::of(&net));
        let routes = settings.and_then(|settings| settings.routes());
        let routes = routes.as_deref().map_or(&[][..], |list| list.rules());
        Devices::choose(routes, ip, |link| {
            link.check_kind(self.kind, domain).is_ok()
        })
        .ok_or(ENETDOWN)
    }

    /// The data ring, if there is one. Any context.
    pub(crate) fn conn(&self) -> Option<Arc<Conn>> {
        match &self.inner.lock().state {
            EndpointState::Connection(conn) => Some(conn.clone()),
            _ => None,
        }
    }

    /// What listens, or did so until the link went down. Any context.
    pub(crate) fn listener(&self) -> Option<Arc<Listener>> {
        match &self.inner.lock().state {
            EndpointState::Listening(listener) => Some(listener.clone()),
            _ => None,
        }
    }

    /// Returns whether the native socket has taken over. Any context.
    pub(crate) fn is_native(&self) -> bool {
        matches!(self.inner.lock().state, EndpointState::Native)
    }

    /// The address that was asked for, or that which stands for none.
    pub(crate) fn bound_name(&self) -> SocketAddr {
        let inner = self.inner.lock();
        let remote = inner.state.remote();
        let bound = remote.and_then(|remote| remote.local).or(inner.local);
        let domain = remote.map(|remote| remote.domain).or(self.domain);
        bound.unwrap_or(any(domain.unwrap_or(Domain::Inet)))
    }
}

/// Whose the sockets are that the current task makes in a namespace, as the backend is to know it:
/// 0 for those of root in the initial one.
///
/// Both numbers are the kernel's own, so no program can be taken for another's. A user who makes
/// namespaces, and users in them, stays one user: else there would be a share for each of them.
pub(crate) fn owner(net: &Namespace) -> u64 {
    let number = |user: Kuid| u64::from(user.into_raw().val);
    // Root may make as many users as it likes without that.
    if let Some(maker) = user_namespace_maker().map(number).filter(|&user| user != 0) {
        return maker;
    }
    let place = match net == Namespace::init() {
        true => 0,
        false => net.cookie(),
    };
    place << 32 | number(Kuid::current_euid())
}

/// Whether the program may have the port, as far as that is ours to say: the backend does not know
/// whose program it is.
pub(crate) fn may_bind(sk: &Sock, addr: &SocketAddr) -> Result {
    let is_allowed = |net: ARef<Namespace>| net.may_bind(addr.port());
    if addr.port() != 0 && !sk.namespace().is_none_or(is_allowed) {
        return Err(EACCES);
    }
    Ok(())
}

/// Gives up a socket of the backend's with an address that ours may not keep. The address is free
/// when this returns, unless the program is killed.
pub(crate) fn give_back(remote: RemoteSocket) {
    let ending = remote.ending();
    drop(remote);
    let _ = ending.wait();
}

/// What `shutdown()` is to end.
pub(crate) fn directions(how: How) -> ShutdownMask {
    match how {
        How::Read => Shutdown::Recv.into(),
        How::Write => Shutdown::Send.into(),
        How::Both => Shutdown::Recv | Shutdown::Send,
    }
}

/// Notes where the next call looks, after a call that has looked at so many bytes or taken them.
pub(crate) fn move_peek_offset(sk: &Sock, is_peek: bool, len: usize) {
    let len = u32::try_from(len).unwrap_or(u32::MAX);
    let moved = |offset: u32| match is_peek {
        true => offset.saturating_add(len),
        false => offset.saturating_sub(len),
    };
    if let Some(offset) = sk.peek_offset() {
        sk.set_peek_offset(Some(moved(offset)));
    }
}
