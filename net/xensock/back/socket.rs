// SPDX-License-Identifier: GPL-2.0

//! A socket of a guest: that of TCP or UDP, its options and its names.

mod any;
mod carried;
mod groups;
mod options;

pub(crate) use any::SocketCalls;
pub(crate) use options::from_number;

use crate::{
    guest::Guest,
    memory::SocketMemory,
    owners::Tenant,
    policy::{
        InForce,
        Policy, //
    },
    proto::{
        control,
        info::Info,
        rule::IpProtocol,
        Feature, //
    },
    quota::Charge,
    sockets::Sockets, //
};
use carried::Carried;
use core::net::{
    IpAddr,
    Ipv4Addr,
    SocketAddr, //
};
use kernel::{
    bvec::BioVecs,
    net::{
        addr::Domain,
        kernel_socket::{
            Callbacks,
            KernelSocket,
            Tcp,
            Udp, //
        },
        msghdr::{
            Control,
            ControlBuf, //
        }, //
    },
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        Mutex, //
    }, //
};
use options::Snapshot;

/// An address that a guest may reach from a socket of its.
#[derive(Clone, Copy)]
pub(crate) struct Reachable(SocketAddr);

/// A socket of a guest.
///
/// It is closed when the last reference goes. Whoever takes it out of use ends its callbacks first;
/// a command may have a reference too, while it is performed.
#[pin_data]
pub(crate) struct GuestSocket<P: Carried> {
    inner: KernelSocket<P>,
    domain: Domain,
    /// Whether frames can say more of a datagram than its address.
    has_info: bool,
    /// That was in force when the socket was made.
    policy: Arc<Policy>,
    /// That is in force now.
    in_force: Arc<InForce>,
    tenant: Arc<Tenant>,
    #[pin]
    memory: SocketMemory,
    sockets: Arc<Sockets>,
    _open: [Charge; 2],
    /// Of each group that the socket is in. It has left them when these go.
    #[pin]
    groups: Mutex<KVec<Charge>>,
    /// Whether the guest has asked for what frames can say besides.
    wants_info: Atomic<bool>,
    /// Whether it has asked for reports of errors.
    wants_reports: Atomic<bool>,
    /// Whether a datagram socket was told to share its port, by `SO_REUSEADDR` and `SO_REUSEPORT`.
    #[pin]
    shares: Mutex<(bool, bool)>,
    /// What was read last, if it does not fit into one response.
    #[pin]
    snapshot: Mutex<Option<Snapshot>>,
}

impl GuestSocket<Tcp> {
    /// Makes a stream socket of a guest.
    pub(crate) fn stream(
        guest: &Guest,
        policy: Arc<Policy>,
        domain: Domain,
        tenant: Arc<Tenant>,
    ) -> Result<Arc<Self>> {
        let tcp = KernelSocket::stream(policy.namespace()?, domain)?;
        // Urgent bytes, too, are part of the stream. Accepted sockets inherit it.
        tcp.set_urgent_inline()?;
        Self::of(guest, tcp, domain, policy, tenant)
    }

    /// TCP's socket.
    pub(crate) fn tcp(&self) -> &KernelSocket<Tcp> {
        &self.inner
    }

    /// Counts the memory that it holds. Any context.
    pub(crate) fn note_memory(&self) {
        self.memory.note(&self.inner);
    }

    /// Returns whether it may hold no more than it does, as the guest has used up its memory. Any
    /// context.
    pub(crate) fn is_held_back(&self) -> bool {
        self.memory.is_back()
    }

    /// Begins to listen. A socket that is not bound gets a port then, if the guest may have one.
    pub(crate) fn listen(&self, backlog: u32) -> Result {
        let addr = self.local_addr()?;
        if addr.port() == 0 {
            self.check(|policy| policy.may_bind(IpProtocol::Tcp, &addr))?;
        }
        self.inner.listen(i32::try_from(backlog)?)
    }

    /// Takes a connection that waits, with the address of its peer. `EAGAIN` if there is none.
    pub(crate) fn accept(&self) -> Result<(Arc<Self>, SocketAddr)> {
        let (tcp, peer) = self.inner.accept()?;
        let (policy, in_force) = (self.policy.clone(), self.in_force.clone());
        let (tenant, sockets) = (self.tenant.clone(), self.sockets.clone());
        let nature = (self.domain, self.has_info);
        let socket = Self::new(tcp, nature, policy, in_force, tenant, sockets)?;
        Ok((socket, peer))
    }
}

impl GuestSocket<Udp> {
    /// Makes a datagram socket of a guest.
    pub(crate) fn datagram(
        guest: &Guest,
        policy: Arc<Policy>,
        domain: Domain,
        tenant: Arc<Tenant>,
    ) -> Result<Arc<Self>> {
        let udp = KernelSocket::datagram(policy.namespace()?, domain)?;
        // What others in the namespace have joined is not for the guest.
        udp.set_own_groups_only()?;
        Self::of(guest, udp, domain, policy, tenant)
    }

    /// UDP's socket.
    pub(crate) fn udp(&self) -> &KernelSocket<Udp> {
        &self.inner
    }

    /// Sends a datagram, as a whole, if the guest may: to the peer, which was set by
    /// [`Self::connect`], unless there is an address.
    pub(crate) fn send(
        &self,
        from: &BioVecs<'_>,
        to: Option<SocketAddr>,
        info: Option<&Info>,
    ) -> Result {
        let to = to.map(|addr| self.reachable(addr)).transpose()?;
        let to = to.map(|Reachable(addr)| addr);
        let sent = match (info, to) {
            (Some(info), _) => self.inner.send_with(from, to, &mut self.controls(info)?),
            (None, None) => self.inner.send(from),
            (None, Some(addr)) => self.inner.send_to(from, addr),
        };
        match sent {
            Ok(_) => Ok(()),
            // There is no room for which to wait: it is a port that is lacking.
            Err(EAGAIN) if !self.is_bound()? => Err(EADDRNOTAVAIL),
            Err(error) => Err(error),
        }
    }

    /// Returns what Linux is to be told with a datagram. The guest may send from an address if it
    /// may bind to it.
    fn controls(&self, info: &Info) -> Result<ControlBuf> {
        if let Some(source) = info.local.filter(|source| !source.ip().is_unspecified()) {
            self.check_family(&source)?;
            let own = self.local_addr()?;
            if own.ip() != source.ip() {
                let source = SocketAddr::new(source.ip(), own.port());
                self.check(|policy| policy.may_bind(IpProtocol::Udp, &source))?;
            }
        }
        let mut controls = ControlBuf::new();
        control::said(info, self.is_ipv6(), |(level, kind, data)| {
            controls.push(Control { level, kind, data })
        })?;
        Ok(controls)
    }

    /// Returns whether it is one of IPv6.
    pub(crate) fn is_ipv6(&self) -> bool {
        self.domain == Domain::Inet6
    }

    /// Returns whether frames are to say more of a datagram than its address.
    pub(crate) fn wants_info(&self) -> bool {
        self.wants_info.load(Relaxed)
    }

    /// Returns whether frames are to say more of an error than its number.
    pub(crate) fn wants_reports(&self) -> bool {
        self.wants_reports.load(Relaxed)
    }
}

impl<P: Carried> GuestSocket<P> {
    fn of(
        guest: &Guest,
        inner: KernelSocket<P>,
        domain: Domain,
        policy: Arc<Policy>,
        tenant: Arc<Tenant>,
    ) -> Result<Arc<Self>> {
        let (in_force, sockets) = (guest.in_force.clone(), guest.counters.sockets.clone());
        if let Some((first, last)) = policy.local_ports() {
            inner.set_local_ports(first, last)?;
        }
        let nature = (domain, guest.transport.has(Feature::Info));
        Self::new(inner, nature, policy, in_force, tenant, sockets)
    }

    fn new(
        mut inner: KernelSocket<P>,
        (domain, has_info): (Domain, bool),
        policy: Arc<Policy>,
        in_force: Arc<InForce>,
        tenant: Arc<Tenant>,
        sockets: Arc<Sockets>,
    ) -> Result<Arc<Self>> {
        let open = sockets.enter(&mut inner, tenant.held())?;
        inner.set_owner(tenant.owner());
        Arc::pin_init(
            try_pin_init!(Self {
                inner,
                domain,
                has_info,
                policy,
                in_force,
                tenant,
                memory <- SocketMemory::new(sockets.memory.clone()),
                sockets,
                _open: open,
                groups <- new_mutex!(KVec::new(), "xensock_groups"),
                wants_info: Atomic::new(false),
                wants_reports: Atomic::new(false),
                shares <- new_mutex!((false, false), "xensock_shares"),
                snapshot <- new_mutex!(None, "xensock_snapshot"),
            }),
            GFP_KERNEL,
        )
    }

    /// Returns whose it is.
    pub(crate) fn tenant(&self) -> &Arc<Tenant> {
        &self.tenant
    }

    /// Begins to connect: `EINPROGRESS`. For datagrams it sets the peer, and is done.
    pub(crate) fn connect(&self, peer: Reachable) -> Result {
        self.inner.connect(peer.0)
    }

    /// Returns what `addr` stands for, if the guest may reach it.
    pub(crate) fn reachable(&self, addr: SocketAddr) -> Result<Reachable> {
        self.check_family(&addr)?;
        let addr = self.resolve(addr)?;
        self.check(|policy| policy.may_connect(P::TRANSPORT, &addr))?;
        Ok(Reachable(addr))
    }

    /// Returns what Linux takes the unspecified address of IPv4 for: the address of the socket or,
    /// if it has none, the loopback address.
    fn resolve(&self, addr: SocketAddr) -> Result<SocketAddr> {
        let IpAddr::V4(Ipv4Addr::UNSPECIFIED) = addr.ip().to_canonical() else {
            return Ok(addr);
        };
        let ip = match self.local_addr()?.ip().to_canonical() {
            IpAddr::V4(own) if !own.is_unspecified() => own,
            _ => Ipv4Addr::LOCALHOST,
        };
        let ip = match addr {
            SocketAddr::V4(_) => IpAddr::V4(ip),
            SocketAddr::V6(_) => IpAddr::V6(ip.to_ipv6_mapped()),
        };
        Ok(SocketAddr::new(ip, addr.port()))
    }

    /// Checks that the policy allows something: that under which the socket was made, whose
    /// namespace it is in, and the one that is in force now.
    fn check(&self, allows: impl Fn(&Policy) -> Result) -> Result {
        allows(&self.policy)?;
        let now = self.in_force.get();
        if Arc::ptr_eq(&now, &self.policy) {
            return Ok(());
        }
        now.check_namespace(&self.policy)?;
        allows(&now)
    }

    /// Binds to an address, if the guest may, and returns the one it has then.
    pub(crate) fn bind(&self, addr: SocketAddr) -> Result<SocketAddr> {
        self.check_family(&addr)?;
        self.check(|policy| policy.may_bind(P::TRANSPORT, &addr))?;
        self.inner.bind(addr)?;
        self.local_addr()
    }

    /// Returns the address of the socket.
    pub(crate) fn local_addr(&self) -> Result<SocketAddr> {
        self.inner.local_addr()
    }

    /// Returns the address of its peer. `ENOTCONN` if there is none.
    pub(crate) fn peer_addr(&self) -> Result<SocketAddr> {
        self.inner.peer_addr()
    }

    /// Returns whether it has a port.
    pub(crate) fn is_bound(&self) -> Result<bool> {
        Ok(self.local_addr()?.port() != 0)
    }

    fn check_family(&self, addr: &SocketAddr) -> Result {
        if Domain::from(addr) != self.domain {
            return Err(EAFNOSUPPORT);
        }
        Ok(())
    }

    /// Has `callbacks` called, until they are cleared or the socket is closed.
    pub(crate) fn set_callbacks<T: Callbacks + 'static>(&self, callbacks: T) -> Result {
        self.inner.set_callbacks(Arc::new(callbacks, GFP_KERNEL)?)
    }
}
