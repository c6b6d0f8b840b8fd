// SPDX-License-Identifier: GPL-2.0

//! A socket of a guest: that of TCP or UDP, its options and its names.

use crate::{
    guest::Guest,
    memory::Held,
    owners::Tenant,
    policy::{
        InForce,
        Policy, //
    },
    proto::{
        option::{
            self,
            Kind,
            SockOpt,
            SOL_XS,
            XS_RCVBUF,
            XS_SNDBUF, //
        },
        rule::Transport,
        value::{
            Piece,
            Value,
            INT_LEN,
            MAX_LEN,
            NAME_LEN, //
        }, //
    },
    quota::{
        Charge,
        Sockets, //
    }, //
};
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
            KernelSocket, //
        },
        sockopt::SOL_SOCKET, //
    },
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    }, //
};

/// Linux's options that are set in place of those which the frontend names.
const SO_SNDBUF: i32 = 7;
const SO_RCVBUF: i32 = 8;
const SO_REUSEPORT: i32 = option::SO_REUSEPORT as i32;

/// The option by which programs choose among ports.
const IP_LOCAL_PORT_RANGE: u32 = 51;

/// The value of an option, as it was when the guest began to read it.
struct Snapshot {
    level: u32,
    name: u32,
    value: KVec<u8>,
}

/// A socket of a guest.
///
/// It is closed when the last reference goes. Whoever takes it out of use ends its callbacks first;
/// a command may have a reference too, while it is performed.
#[pin_data]
pub(crate) struct Socket {
    inner: KernelSocket,
    transport: Transport,
    /// That was in force when the socket was made.
    policy: Arc<Policy>,
    /// That is in force now.
    in_force: Arc<InForce>,
    tenant: Arc<Tenant>,
    #[pin]
    held: Held,
    sockets: Arc<Sockets>,
    _open: Charge,
    domain: Domain,
    /// Whether a datagram socket was told to share its port, by `SO_REUSEADDR` and `SO_REUSEPORT`.
    #[pin]
    shares: Mutex<(bool, bool)>,
    /// What was read last, if it does not fit into one response.
    #[pin]
    snapshot: Mutex<Option<Snapshot>>,
}

impl Socket {
    /// Makes a stream socket of a guest.
    pub(crate) fn stream(
        guest: &Guest,
        policy: Arc<Policy>,
        domain: Domain,
        owner: u64,
    ) -> Result<Arc<Self>> {
        let tcp = KernelSocket::stream(policy.namespace()?, domain)?;
        // Urgent bytes, too, are part of the stream. Accepted sockets inherit it.
        tcp.set_urgent_inline()?;
        Self::of(guest, tcp, Transport::Tcp, policy, domain, owner)
    }

    /// Makes a datagram socket of a guest.
    pub(crate) fn datagram(
        guest: &Guest,
        policy: Arc<Policy>,
        domain: Domain,
        owner: u64,
    ) -> Result<Arc<Self>> {
        let udp = KernelSocket::datagram(policy.namespace()?, domain)?;
        Self::of(guest, udp, Transport::Udp, policy, domain, owner)
    }

    fn of(
        guest: &Guest,
        inner: KernelSocket,
        transport: Transport,
        policy: Arc<Policy>,
        domain: Domain,
        owner: u64,
    ) -> Result<Arc<Self>> {
        let (in_force, sockets) = (guest.in_force.clone(), guest.account.sockets.clone());
        let tenant = in_force.owners.get(owner)?;
        if let Some((first, last)) = policy.local_ports() {
            inner.set_local_ports(first, last)?;
        }
        Self::new(inner, transport, policy, in_force, tenant, sockets, domain)
    }

    fn new(
        mut inner: KernelSocket,
        transport: Transport,
        policy: Arc<Policy>,
        in_force: Arc<InForce>,
        tenant: Arc<Tenant>,
        sockets: Arc<Sockets>,
        domain: Domain,
    ) -> Result<Arc<Self>> {
        let open = sockets.enter(&mut inner)?;
        inner.set_owner(tenant.owner());
        Arc::pin_init(
            try_pin_init!(Self {
                inner,
                transport,
                policy,
                in_force,
                tenant,
                held <- Held::new(sockets.clone()),
                sockets,
                _open: open,
                domain,
                shares <- new_mutex!((false, false), "xensock_shares"),
                snapshot <- new_mutex!(None, "xensock_snapshot"),
            }),
            GFP_KERNEL,
        )
    }

    /// The number that the guest has for the user whose it is.
    pub(crate) fn owner_number(&self) -> u64 {
        self.tenant.number()
    }

    /// TCP's socket.
    pub(crate) fn tcp(&self) -> &KernelSocket {
        &self.inner
    }

    /// UDP's socket, if it is a datagram socket.
    pub(crate) fn udp(&self) -> &KernelSocket {
        &self.inner
    }

    /// Counts the memory that it holds. Any context.
    pub(crate) fn note_memory(&self) {
        self.held.note(&self.inner);
    }

    /// Begins to connect, if the guest may: `EINPROGRESS`. For datagrams it sets the peer, and is
    /// done.
    pub(crate) fn connect(&self, addr: SocketAddr) -> Result {
        let addr = self.reachable(addr)?;
        self.inner.connect(addr)
    }

    /// Sends a datagram, as a whole, if the guest may: to the peer, which was set by
    /// [`Self::connect`], unless there is an address.
    pub(crate) fn send(&self, from: &BioVecs<'_>, to: Option<SocketAddr>) -> Result {
        let sent = match to {
            None => self.inner.send(from),
            Some(addr) => {
                let addr = self.reachable(addr)?;
                self.inner.send_to(from, addr)
            }
        };
        match sent {
            Ok(_) => Ok(()),
            // There is no room for which to wait: it is a port that is lacking.
            Err(EAGAIN) if !self.is_bound()? => Err(EADDRNOTAVAIL),
            Err(error) => Err(error),
        }
    }

    /// What `addr` stands for, if the guest may reach it.
    fn reachable(&self, addr: SocketAddr) -> Result<SocketAddr> {
        self.check_family(&addr)?;
        let addr = self.resolve(addr)?;
        self.check(|policy| policy.may_connect(self.transport, &addr))?;
        Ok(addr)
    }

    /// What Linux takes the unspecified address of IPv4 for: the address of the socket or, if it has
    /// none, the loopback address.
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

    /// Whether the policy allows something: that under which the socket was made, whose namespace it
    /// is in, and the one that is in force now.
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
        self.check(|policy| policy.may_bind(self.transport, &addr))?;
        self.inner.bind(addr)?;
        self.local_addr()
    }

    /// The address of the socket.
    pub(crate) fn local_addr(&self) -> Result<SocketAddr> {
        self.inner.local_addr()
    }

    /// The address of its peer. `ENOTCONN` if there is none.
    pub(crate) fn peer_addr(&self) -> Result<SocketAddr> {
        self.inner.peer_addr()
    }

    /// Whether it has a port.
    pub(crate) fn is_bound(&self) -> Result<bool> {
        Ok(self.local_addr()?.port() != 0)
    }

    /// Begins to listen. A socket that is not bound gets a port then, if the guest may have one.
    pub(crate) fn listen(&self, backlog: u32) -> Result {
        let addr = self.local_addr()?;
        if addr.port() == 0 {
            self.check(|policy| policy.may_bind(self.transport, &addr))?;
        }
        self.inner.listen(i32::try_from(backlog)?)
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

    /// Takes a connection that waits, with the address of its peer. `EAGAIN` if there is none.
    pub(crate) fn accept(&self) -> Result<(Arc<Self>, SocketAddr)> {
        let (tcp, peer) = self.inner.accept()?;
        let (policy, in_force) = (self.policy.clone(), self.in_force.clone());
        let (tenant, sockets) = (self.tenant.clone(), self.sockets.clone());
        let (transport, domain) = (self.transport, self.domain);
        let socket = Self::new(tcp, transport, policy, in_force, tenant, sockets, domain)?;
        Ok((socket, peer))
    }

    /// Sets an option, if guests may.
    pub(crate) fn set_option(&self, level: u32, name: u32, value: &Value) -> Result {
        let option = option::may_set(level, name, value).map_err(from_number)?;
        self.check_has(option)?;
        if self.transport == Transport::Udp && level == option::SOL_SOCKET {
            if let option::SO_REUSEADDR | option::SO_REUSEPORT = name {
                return self.share_port(name, value.to_int() == Some(1));
            }
        }
        let mut number = value.to_int();
        if (level, name) == (option::SOL_IP, IP_LOCAL_PORT_RANGE) {
            number = number.map(|range| self.narrow(range));
        }
        // On the wire, numbers are little endian.
        let number = number.map(i32::to_ne_bytes);
        let value = match &number {
            Some(number) if option.is_number() => number,
            _ => value.as_bytes(),
        };
        let (level, name) = match (level, name) {
            (SOL_XS, XS_SNDBUF) => (SOL_SOCKET, SO_SNDBUF),
            (SOL_XS, XS_RCVBUF) => (SOL_SOCKET, SO_RCVBUF),
            _ => (i32::try_from(level)?, i32::try_from(name)?),
        };
        self.inner.set_option(level, name, value)?;
        if level == SOL_SOCKET {
            self.held.forget_sizes();
        }
        Ok(())
    }

    /// Has a datagram socket share its port, by one of two options, with others of its owner that do
    /// so. By `SO_REUSEADDR`, UDP would share it with anybody who has set it.
    fn share_port(&self, name: u32, on: bool) -> Result {
        let mut shares = self.shares.lock();
        match name {
            option::SO_REUSEADDR => shares.0 = on,
            _ => shares.1 = on,
        }
        let on = i32::from(shares.0 || shares.1).to_ne_bytes();
        self.inner.set_option(SOL_SOCKET, SO_REUSEPORT, &on)
    }

    /// Returns what is left of a range of ports to choose from, as the option has it, of those that
    /// the guest has.
    fn narrow(&self, range: i32) -> i32 {
        let Some((first, last)) = self.policy.local_ports() else {
            return range;
        };
        // CAST: The bits remain the same; the halves are the first port and the last.
        let (low, high) = (range as u32 as u16, (range as u32 >> 16) as u16);
        let port = |port: u16, none| match port {
            0 => none,
            port => port.clamp(first, last.max(first)),
        };
        (u32::from(port(high, last)) << 16 | u32::from(port(low, first))) as i32
    }

    /// Reads the piece of an option that begins at `offset`, if guests may.
    ///
    /// At 0 the option is read, and `amend` may change it. The other pieces are from what was read
    /// then.
    pub(crate) fn option(
        &self,
        level: u32,
        name: u32,
        offset: u32,
        amend: impl FnOnce(&SockOpt, &mut [u8]),
    ) -> Result<Piece> {
        let option = option::may_get(level, name).map_err(from_number)?;
        self.check_has(option)?;
        let mut snapshot = self.snapshot.lock();
        if offset == 0 {
            // Given back before another is made.
            *snapshot = None;
            let mut value = self.read(option)?;
            amend(option, &mut value);
            let piece = Piece::of(&value, 0).ok_or(EINVAL);
            if value.len() > MAX_LEN {
                *snapshot = Some(Snapshot { level, name, value });
            }
            return piece;
        }
        match &*snapshot {
            Some(kept) if (kept.level, kept.name) == (level, name) => {
                Piece::of(&kept.value, offset).ok_or(EINVAL)
            }
            _ => Err(EINVAL),
        }
    }

    /// Whether there is such an option for this type of socket. Of families, Linux says it.
    fn check_has(&self, option: &SockOpt) -> Result {
        let is_other = match self.transport {
            Transport::Tcp => option.needs_datagrams(),
            // Those that come with datagrams are not carried.
            Transport::Udp => option.needs_stream() || option.is_for_messages(),
        };
        if is_other {
            return Err(ENOPROTOOPT);
        }
        Ok(())
    }

    /// Reads an option in its form on the wire.
    fn read(&self, option: &SockOpt) -> Result<KVec<u8>> {
        let mut value = KVec::new();
        if option.level == SOL_XS {
            let unacked = u32::try_from(self.inner.unacked_bytes())?;
            value.extend_from_slice(&unacked.to_le_bytes(), GFP_KERNEL)?;
            return Ok(value);
        }
        let room = match option.kind {
            Kind::Flag | Kind::Int { .. } | Kind::Judged => INT_LEN,
            Kind::Name => NAME_LEN,
            Kind::Struct(max) => max as usize,
        };
        value.resize(room, 0, GFP_KERNEL)?;
        let len = self.inner.get_option(
            i32::try_from(option.level)?,
            i32::try_from(option.name)?,
            &mut value,
        )?;
        value.truncate(len);
        if let (true, Ok(number)) = (option.is_number(), <[u8; INT_LEN]>::try_from(&*value)) {
            value.copy_from_slice(&i32::from_ne_bytes(number).to_le_bytes());
        }
        Ok(value)
    }
}

/// The error of a positive number, as the protocol has it.
fn from_number(number: i32) -> Error {
    Error::from_errno(-number)
}
