// SPDX-License-Identifier: GPL-2.0

//! The state of a socket at the backend, and the state that it keeps for a further socket of the
//! backend.
//!
//! An id of the backend is good for one attempt and for one link. A socket of the guest outlives
//! both, so it keeps the address and the options that the program has chosen.

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
    saved_options::SavedOptions,
    survivors::{
        Place,
        Survivors, //
    }, //
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
            user_namespace_owner,
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
        SetOnce,
        SpinLock, //
    },
    task::Kuid, //
};

/// The state of a socket at the backend.
#[pin_data]
pub(crate) struct Endpoint {
    /// [`SOCK_STREAM`](crate::proto::call::SOCK_STREAM) or
    /// [`SOCK_DGRAM`](crate::proto::call::SOCK_DGRAM).
    pub(crate) kind: u32,
    /// The family of the socket's addresses, if the address family fixes it.
    domain: Option<Domain>,
    /// The owner of the socket, see [`owner`].
    pub(crate) owner: u64,
    /// Held by calls that change the socket by a response of the backend, while they wait for it.
    /// The lock is taken killably.
    #[pin]
    call: Mutex<()>,
    #[pin]
    pub(crate) inner: SpinLock<EndpointInner>,
    /// Set while the socket has lost its link and is among the
    /// [survivors](crate::survivors::Survivors).
    is_lost: Atomic<bool>,
    /// Held from when there is something to lose.
    place: SetOnce<Place>,
    /// Set if a work item has found `call` taken, and has to be queued again when it is released.
    is_awaited: Atomic<bool>,
}

/// The state of a socket, with the objects that belong to it.
pub(crate) enum EndpointState {
    /// No data ring. The backend has a socket for it once it was needed.
    Idle(Option<RemoteSocket>),
    /// With a data ring. For a stream: from the start of `connect()`, or from `accept()`, until the
    /// socket is reset or closed.
    Connection(Arc<Conn>),
    /// Listening. When the link goes down the listener stays here: lost, until another one replaces
    /// it, or closed, until the next call drops it.
    Listening(Arc<Listener>),
    /// No socket of the backend: the socket has fallen back.
    Native,
}

impl EndpointState {
    /// Returns the backend's socket, if there is one.
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
    /// The address that the program has asked for. A further socket of the backend has to get it
    /// too.
    pub(crate) local: Option<SocketAddr>,
    /// The device where the socket has this address.
    pub(crate) device: Option<DeviceName>,
    /// The options that the program has set, if any. A further socket of the backend gets them too.
    pub(crate) settings: Option<Arc<SavedOptions>>,
    /// Set if the socket has listened at its address and does not any more.
    pub(crate) has_listened: bool,
    /// Set if options were set while listening: connections posted before may lack them.
    pub(crate) has_late_settings: bool,
    /// The RELEASE of the last socket of the backend with an address: once it is answered, the
    /// address is free.
    pub(crate) former: Option<Arc<Exchange>>,
    /// The last SETSOCKOPT that was sent without waiting for its response, and the number of such
    /// before it.
    pub(crate) unawaited: Option<(Arc<Exchange>, u32)>,
    /// Set once the file of a datagram socket was closed: the socket must get no new state. For a
    /// stream, the phase of its listener or connection says so.
    pub(crate) is_closed: bool,
}

impl EndpointInner {
    /// Returns `true` if the program has done nothing with the socket but set options.
    pub(crate) fn is_open(&self) -> bool {
        self.local.is_none()
            && match &self.state {
                EndpointState::Idle(remote) => remote.as_ref().is_none_or(|r| r.local.is_none()),
                _ => false,
            }
    }

    /// Returns the address of a socket that was only bound, if it is one port of all addresses.
    pub(crate) fn port_of_all(&self) -> Option<SocketAddr> {
        let remote = match &self.state {
            EndpointState::Idle(remote) => remote.as_ref(),
            // A datagram socket has a ring from `bind()` on. Once frames have arrived, they belong
            // to the program.
            EndpointState::Connection(conn) if conn.is_datagram() && !conn.has_frame() => None,
            _ => return None,
        };
        let name = remote.and_then(|r| r.local).or(self.local);
        name.filter(|name| name.port() != 0 && name.ip().to_canonical().is_unspecified())
    }

    /// Takes the state out, to be dropped outside the lock.
    pub(crate) fn take_state(&mut self) -> EndpointState {
        let state = core::mem::replace(&mut self.state, EndpointState::Idle(None));
        // A socket whose link is down has ended already.
        let bound = |remote: &&RemoteSocket| remote.local.is_some() && remote.link.is_up();
        if let Some(remote) = state.remote().filter(bound) {
            self.former = Some(remote.release_exchange());
        }
        self.has_listened |= matches!(state, EndpointState::Listening(_));
        state
    }
}

impl Endpoint {
    /// Creates the endpoint of a new socket of this type and [`owner`].
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
                    has_listened: false,
                    has_late_settings: false,
                    former: None,
                    unawaited: None,
                    is_closed: false,
                },
                "xensock_endpoint"
            ),
            is_lost: Atomic::new(false),
            place: SetOnce::new(),
            is_awaited: Atomic::new(false),
        })
    }

    /// Returns `true` if the backend's state was lost with its link, and will be set up again. Any
    /// context.
    pub(crate) fn is_lost(&self) -> bool {
        self.is_lost.load(Acquire)
    }

    /// Sets this flag, unless the file was closed. Does not sleep.
    pub(crate) fn set_lost(&self) {
        let inner = self.inner.lock();
        // Under the lock: the task that closes the file looks at the flag after it.
        if !inner.is_closed {
            self.is_lost.store(true, Release);
        }
    }

    /// Clears this flag. Any context.
    pub(crate) fn set_found(&self) {
        self.is_lost.store(false, Release);
    }

    /// Makes sure that the socket can wait for another link, however little memory there is by then.
    /// May sleep.
    pub(crate) fn reserve_place(&self) -> Result {
        if self.place.as_ref().is_none() {
            // If another task was faster, its place counts.
            let _ = self.place.populate(Survivors::reserve()?);
        }
        Ok(())
    }

    /// Returns `true` if the next call that asks the backend has to find a link that is up: the
    /// socket has no data ring, or has lost it, and does not listen any more. Does not sleep.
    pub(crate) fn needs_link(&self) -> bool {
        match &self.inner.lock().state {
            EndpointState::Idle(_) => true,
            EndpointState::Connection(conn) => self.kind == SOCK_DGRAM && conn.death().is_some(),
            EndpointState::Listening(listener) => listener.is_closed(),
            EndpointState::Native => false,
        }
    }

    /// Returns `true` if there is a link for such a call. Process context, does not sleep.
    pub(crate) fn has_link(&self, sk: &Sock) -> bool {
        self.link_for(sk, self.bound_device(), self.domain, None)
            .is_ok()
    }

    /// Returns `true` if the program has chosen an address. Does not sleep.
    pub(crate) fn is_bound(&self) -> bool {
        self.inner.lock().local.is_some()
    }

    /// Returns the device where the socket has its address, if it has one.
    pub(crate) fn bound_device(&self) -> Option<DeviceName> {
        let inner = self.inner.lock();
        match &inner.state {
            // `listen()` may have chosen the port.
            EndpointState::Listening(listener) => Some(listener.remote.link.name),
            _ => inner.device.filter(|_| inner.local.is_some()),
        }
    }

    /// Returns the link for a new socket of the backend. This is the link of the `former` device,
    /// where the socket had its address. Without one, or if that device is gone for good, it is the
    /// link for the address `ip`, or any link. Fails with `ENETDOWN` if the device is not
    /// connected.
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

    /// Returns the connection, if there is one. Does not sleep.
    pub(crate) fn conn(&self) -> Option<Arc<Conn>> {
        match &self.inner.lock().state {
            EndpointState::Connection(conn) => Some(conn.clone()),
            _ => None,
        }
    }

    /// Returns the connection, if there is one and it has not failed. Does not sleep.
    pub(crate) fn live_conn(&self) -> Option<Arc<Conn>> {
        self.conn().filter(|conn| conn.death().is_none())
    }

    /// Returns the listener, even after its link went down. Does not sleep.
    pub(crate) fn listener(&self) -> Option<Arc<Listener>> {
        match &self.inner.lock().state {
            EndpointState::Listening(listener) => Some(listener.clone()),
            _ => None,
        }
    }

    /// Returns `true` if the native socket has taken over. Does not sleep.
    pub(crate) fn is_native(&self) -> bool {
        matches!(self.inner.lock().state, EndpointState::Native)
    }

    /// Returns the address that was asked for, or the unspecified address.
    pub(crate) fn bound_name(&self) -> SocketAddr {
        let inner = self.inner.lock();
        let remote = inner.state.remote();
        let bound = remote.and_then(|remote| remote.local).or(inner.local);
        let domain = remote.map(|remote| remote.domain).or(self.domain);
        bound.unwrap_or(any(domain.unwrap_or(Domain::Inet)))
    }
}

/// Returns the owner of sockets that the current task creates in a namespace, as the backend knows
/// it: 0 for root in the initial namespace.
///
/// Both numbers are the kernel's own, so a program cannot pass for another user's. A user who
/// creates namespaces, and users in them, stays one owner. Otherwise each of them would get a share
/// of its own.
pub(crate) fn owner(net: &Namespace) -> u64 {
    let number = |user: Kuid| u64::from(user.into_raw().val);
    // Root can create any number of users anyway.
    if let Some(owner) = user_namespace_owner().map(number).filter(|&user| user != 0) {
        return owner;
    }
    let place = match net == Namespace::init() {
        true => 0,
        false => net.cookie(),
    };
    place << 32 | number(Kuid::current_euid())
}

/// Checks that the program may use the port, with the privileges of the guest: the backend does not
/// know the program.
pub(crate) fn may_bind(sk: &Sock, addr: &SocketAddr) -> Result {
    let is_allowed = |net: ARef<Namespace>| net.may_bind(addr.port());
    if !sk.namespace().is_none_or(is_allowed) {
        return Err(EACCES);
    }
    Ok(())
}

/// Releases a socket of the backend whose address the guest's socket may not keep. The address is
/// free when this returns, unless the program is killed.
pub(crate) fn give_back(remote: RemoteSocket) {
    let release = remote.release_exchange();
    drop(remote);
    let _ = release.wait();
}

/// Returns `true` if the current task may wait until the backend has ended a socket. Tasks that
/// cannot be killed do not wait: an exiting program, and kernel threads, which others wait for.
pub(crate) fn may_wait_for_end() -> bool {
    let task = current!();
    !task.is_exiting() && task.mm().is_some()
}

/// Returns the directions that `shutdown()` ends.
pub(crate) fn directions(how: How) -> ShutdownMask {
    match how {
        How::Read => Shutdown::Recv.into(),
        How::Write => Shutdown::Send.into(),
        How::Both => Shutdown::Recv | Shutdown::Send,
    }
}

/// Moves the peek offset when `len` bytes were peeked at or received. Called under `rx`, so in the
/// order of these reads.
pub(crate) fn move_peek_offset(sk: &Sock, is_peek: bool, len: u32) {
    sk.move_peek_offset(|offset| match is_peek {
        true => offset.saturating_add(len),
        false => offset.saturating_sub(len),
    });
}
