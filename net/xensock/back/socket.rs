// SPDX-License-Identifier: GPL-2.0

//! A socket of a guest: the TCP or UDP socket, its options and its names.

mod addresses;
mod any;
mod carried;
mod groups;
mod options;
mod tie;

pub(crate) use addresses::{
    Bindable,
    Reachable, //
};
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
        errno,
        info::Info,
        rule::IpProtocol,
        Feature, //
    },
    quota::Charge,
    sockets::Sockets, //
};
use carried::Carried;
use core::{
    mem::MaybeUninit,
    net::SocketAddr, //
};
use kernel::{
    bvec::BioVecs,
    net::{
        addr::Domain,
        kernel_socket::{
            Callbacks,
            KernelSocket,
            Locked,
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
        Mutex,
        UniqueArc, //
    }, //
};
use options::Snapshot;
use tie::Tie;

/// The options by which a datagram socket shares its port, as the guest has set them.
#[derive(Default)]
struct PortReuse {
    addr: bool,
    port: bool,
}

/// A socket of a guest.
///
/// It is closed when the last reference is dropped. The user that takes it out of use clears its
/// callbacks first; a command may still hold a reference while it is performed.
#[pin_data]
pub(crate) struct GuestSocket<P: Carried> {
    inner: KernelSocket<P>,
    domain: Domain,
    /// Set if the link has frames with more information on a datagram than its address.
    has_info: bool,
    /// The policy that was in force when the socket was made.
    policy: Arc<Policy>,
    /// The policy that is in force now.
    in_force: Arc<InForce>,
    tenant: Arc<Tenant>,
    /// Set if the socket was bound without a port, so that the system has chosen one.
    has_any_port: Atomic<bool>,
    #[pin]
    tie: Tie,
    #[pin]
    memory: SocketMemory,
    sockets: Arc<Sockets>,
    _open: Charge,
    /// One charge for each group that the socket is in. The socket has left the groups when these
    /// are dropped.
    #[pin]
    groups: Mutex<KVec<[Charge; 2]>>,
    /// Set once the guest has asked for information on datagrams besides the address.
    wants_info: Atomic<bool>,
    /// Set once the guest has asked for reports of errors.
    wants_reports: Atomic<bool>,
    /// `SO_REUSEADDR` and `SO_REUSEPORT` of a datagram socket.
    #[pin]
    reuse: Mutex<PortReuse>,
    /// The last value that was read and did not fit into one response.
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
        // Urgent bytes are part of the stream, too. Accepted sockets inherit this.
        tcp.set_urgent_inline()?;
        Self::for_guest(guest, tcp, domain, policy, tenant)
    }

    /// Returns TCP's socket.
    pub(crate) fn tcp(&self) -> &KernelSocket<Tcp> {
        &self.inner
    }

    /// Counts the memory that the socket holds. Any context but callbacks of the socket.
    pub(crate) fn update_memory(&self) {
        self.memory.update(&self.inner);
    }

    /// Counts the memory that the socket holds now, without an event of the socket. Any context.
    pub(crate) fn count_memory_again(&self) {
        self.memory.count_again(self.tcp());
    }

    /// As [`Self::update_memory`], in a callback of the socket, with what the callback has got.
    pub(crate) fn update_memory_in_callback(&self, locked: Option<&Locked<'_>>) {
        self.memory.update_in_callback(&self.inner, locked);
    }

    /// Returns how many of `len` bytes may be sent at once. Any context.
    pub(crate) fn sendable(&self, len: u32) -> u32 {
        self.memory.sendable(len, &self.inner)
    }

    /// Returns `true` if the socket must not hold more memory than now, because its user has used up
    /// its share. Any context.
    pub(crate) fn is_held_back(&self) -> bool {
        self.memory.is_held_back()
    }

    /// Begins to listen, if the guest may still bind to the address. An unbound socket gets a port
    /// then.
    pub(crate) fn listen(&self, backlog: u32) -> Result {
        let mut addr = self.local_addr()?;
        if self.has_any_port.load(Relaxed) {
            addr.set_port(0);
        }
        self.check(|policy| policy.may_bind(IpProtocol::Tcp, &addr))?;
        self.inner.listen(i32::try_from(backlog)?)
    }

    /// Accepts a waiting connection. Returns its socket and the address of its peer. `EAGAIN` if no
    /// connection waits.
    ///
    /// If memory is short, the connection goes on waiting.
    pub(crate) fn accept(&self) -> Result<(Arc<Self>, SocketAddr)> {
        let user = self.tenant.user_sockets();
        let place = UniqueArc::new_uninit(GFP_KERNEL)?;
        let counted = user.place()?;
        let (mut tcp, peer) = self.inner.accept()?;
        let open = self.sockets.enter_in(counted, &mut tcp);
        let rules = (self.policy.clone(), self.in_force.clone());
        let (tenant, sockets) = (self.tenant.clone(), self.sockets.clone());
        let nature = (self.domain, self.has_info);
        let socket = Self::put(place, tcp, open, nature, rules, tenant, sockets);
        socket.memory.inherit(&self.memory);
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
        // The guest must not receive from groups that other sockets in the namespace have joined.
        udp.set_own_groups_only()?;
        Self::for_guest(guest, udp, domain, policy, tenant)
    }

    /// Returns UDP's socket.
    pub(crate) fn udp(&self) -> &KernelSocket<Udp> {
        &self.inner
    }

    /// Counts the memory that the socket holds. Any context, callbacks of the socket included.
    pub(crate) fn update_memory(&self) {
        self.memory.update_datagrams(&self.inner);
    }

    /// Returns `true` if the next datagram has to wait until others have left: the user has no
    /// memory left. UDP reports each that leaves.
    pub(crate) fn must_wait(&self) -> bool {
        self.memory.must_wait(&self.inner)
    }

    /// Returns `true` if the next datagram has to be dropped: closed sockets hold all the memory of
    /// the user.
    pub(crate) fn must_drop(&self) -> bool {
        self.memory.must_drop()
    }

    /// Sends a datagram, as a whole, if the guest may. Without an address it goes to the peer that
    /// [`Self::connect`] has set. Stores an error of an earlier datagram in `earlier`.
    pub(crate) fn send(
        &self,
        from: &BioVecs<'_>,
        to: Option<SocketAddr>,
        info: Option<&Info>,
        earlier: &mut Option<Error>,
    ) -> Result {
        let to = to.map(|addr| self.reachable(addr)).transpose()?;
        let to = to.map(Reachable::addr);
        // Held until it is sent.
        let _tie = self.check_tie_to_send(to, info)?;
        let mut controls = info.map(|info| self.controls(info)).transpose()?;
        let mut send = || match (&mut controls, to) {
            (Some(controls), _) => self.inner.send_with(from, to, controls),
            (None, None) => self.inner.send(from),
            (None, Some(addr)) => self.inner.send_to(from, addr),
        };
        let mut sent = send();
        if let Err(error) = sent {
            if self.may_be_earlier(error) {
                // The network may have reported that just now, for a datagram sent before. UDP has
                // cleared the error then, and sends.
                sent = send();
                *earlier = Some(error).filter(|error| sent != Err(*error));
            }
        }
        sent.map(|_| ()).map_err(|error| self.reason(error))
    }

    /// Returns `true` if an error that UDP has returned may be that of an earlier datagram.
    fn may_be_earlier(&self, error: Error) -> bool {
        // With reports, UDP makes one of this each time that a datagram is too long.
        let is_reported = error == EMSGSIZE && self.wants_reports();
        errno::is_of_network(-error.to_errno()) && !is_reported
    }

    /// Returns the control messages for a datagram. The guest may send from an address if it may
    /// bind to it.
    fn controls(&self, info: &Info) -> Result<ControlBuf> {
        if let Some(source) = info.local.filter(|source| !source.ip().is_unspecified()) {
            self.check_family(&source)?;
            let own = self.local_addr()?;
            if own.ip() != source.ip() {
                let source = SocketAddr::new(source.ip(), own.port());
                self.check(|policy| policy.may_bind(IpProtocol::Udp, &source))?;
                if !self.may_be_from(&source) {
                    return Err(EINVAL);
                }
            }
        }
        let mut controls = ControlBuf::new();
        control::put_for_linux(info, self.is_ipv6(), |(level, kind, data)| {
            controls.push(Control { level, kind, data })
        })?;
        Ok(controls)
    }

    /// Returns `true` for an IPv6 socket.
    pub(crate) fn is_ipv6(&self) -> bool {
        self.domain == Domain::Inet6
    }

    /// Returns `true` if the guest wants more information on a datagram than its address.
    pub(crate) fn wants_info(&self) -> bool {
        self.wants_info.load(Relaxed)
    }

    /// Returns `true` if the guest wants more information on an error than its number.
    pub(crate) fn wants_reports(&self) -> bool {
        self.wants_reports.load(Relaxed)
    }
}

impl<P: Carried> GuestSocket<P> {
    fn for_guest(
        guest: &Guest,
        mut inner: KernelSocket<P>,
        domain: Domain,
        policy: Arc<Policy>,
        tenant: Arc<Tenant>,
    ) -> Result<Arc<Self>> {
        let (in_force, sockets) = (guest.in_force.clone(), guest.counters.sockets.clone());
        if let Some((first, last)) = policy.local_ports() {
            inner.set_local_ports(first, last)?;
        }
        let place = UniqueArc::new_uninit(GFP_KERNEL)?;
        let open = sockets.enter(&mut inner, tenant.user_sockets())?;
        let nature = (domain, guest.transport.has(Feature::Info));
        let rules = (policy, in_force);
        Ok(Self::put(
            place, inner, open, nature, rules, tenant, sockets,
        ))
    }

    /// Makes the socket in memory that was allocated for it. `open` is from [`Sockets::enter`].
    fn put(
        place: UniqueArc<MaybeUninit<Self>>,
        mut inner: KernelSocket<P>,
        open: Charge,
        (domain, has_info): (Domain, bool),
        (policy, in_force): (Arc<Policy>, Arc<InForce>),
        tenant: Arc<Tenant>,
        sockets: Arc<Sockets>,
    ) -> Arc<Self> {
        inner.set_owner(tenant.owner());
        let made = place.pin_init_with(pin_init!(Self {
            inner,
            domain,
            has_info,
            policy,
            in_force,
            has_any_port: Atomic::new(false),
            tie <- Tie::new(),
            memory <- SocketMemory::new(P::memory_of(tenant.user_sockets()).clone()),
            tenant,
            sockets,
            _open: open,
            groups <- new_mutex!(KVec::new(), "xensock_groups"),
            wants_info: Atomic::new(false),
            wants_reports: Atomic::new(false),
            reuse <- new_mutex!(PortReuse::default(), "xensock_reuse"),
            snapshot <- new_mutex!(None, "xensock_snapshot"),
        }));
        match made {
            Ok(socket) => socket.into(),
            Err(never) => match never {},
        }
    }

    /// Returns the tenant that owns the socket.
    pub(crate) fn tenant(&self) -> &Arc<Tenant> {
        &self.tenant
    }

    /// Sets the callbacks, which are called until they are cleared or the socket is closed.
    pub(crate) fn set_callbacks<T: Callbacks + 'static>(&self, callbacks: T) -> Result {
        self.inner.set_callbacks(Arc::new(callbacks, GFP_KERNEL)?)
    }
}
