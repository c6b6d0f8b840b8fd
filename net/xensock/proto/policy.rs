// SPDX-License-Identifier: GPL-2.0

//! The policy for a guest in the backend's domain: its nodes, and the decisions that follow from
//! them.
//!
//! The nodes are below the backend's directory of a device, where only the toolstack writes. An
//! absent node has a default, and a value that cannot be read counts as the safest one. So there is
//! always a policy, and a mistake in it never costs the link.

use core::{
    ffi::CStr,
    net::{
        IpAddr,
        Ipv4Addr,
        Ipv6Addr,
        SocketAddr, //
    },
    ops::Deref,
};

use super::{
    ring::Order,
    rule::{
        is_always_on_link,
        is_special,
        number,
        range,
        IpProtocol,
        Rule,
        Unreadable, //
    }, //
};

/// The directory of the policy.
pub const DIR: &CStr = c"policy";

/// The network namespace of the guest's sockets, by its id in the backend domain's initial
/// namespace (`ip netns set`). Absent: the initial namespace itself.
pub const NETNS: &CStr = c"policy/netns";

/// The addresses and ports that sockets may be bound to, a list of rules. Port 0 stands for a bind
/// that leaves the choice of the port to the system, and for one to a port that the system might
/// have chosen; at all addresses only listening needs it. Absent: see [`Rules`].
pub const BIND_ALLOW: &CStr = c"policy/bind-allow";

/// The addresses and ports that may be connected to, a list of rules. Absent: see [`Rules`].
pub const CONNECT_ALLOW: &CStr = c"policy/connect-allow";

/// The addresses and ports that must not be connected to, a list of rules, regardless of
/// [`CONNECT_ALLOW`].
pub const CONNECT_DENY: &CStr = c"policy/connect-deny";

/// The groups that sockets may join, a list of rules that cover only groups. Absent: none.
pub const MULTICAST_ALLOW: &CStr = c"policy/multicast-allow";

/// The first and last port for automatic binding. Absent: see [`default_ports`].
pub const LOCAL_PORTS: &CStr = c"policy/local-ports";

/// Says that all other nodes are there; its value does not matter. A backend with the module
/// parameter `await_policy` makes no offer before.
pub const COMPLETE: &CStr = c"policy/complete";

/// Every node of a guest's policy.
pub const NODES: [&CStr; 15] = [
    NETNS,
    LOCAL_PORTS,
    BIND_ALLOW,
    CONNECT_ALLOW,
    CONNECT_DENY,
    MULTICAST_ALLOW,
    Limit::SOCKETS.node,
    Limit::LISTENERS.node,
    Limit::BACKLOG.node,
    Limit::RING_ORDER.node,
    Limit::RING_PAGES.node,
    Limit::MEMORY.node,
    Limit::DATAGRAM.node,
    Limit::GROUPS.node,
    Limit::BUSY_POLL.node,
];

/// A limit on the amount of a resource that a guest may have.
#[derive(Debug)]
pub struct Limit {
    /// The node.
    pub node: &'static CStr,
    /// The smallest possible value. It also counts if the node cannot be read.
    pub min: u32,
    /// The largest possible value.
    pub max: u32,
    /// The value if there is no such node.
    pub default: u32,
}

impl Limit {
    /// Sockets of all kinds.
    pub const SOCKETS: Self = Self::new(c"policy/max-sockets", 0, 65536, 4096);
    /// Listening sockets.
    pub const LISTENERS: Self = Self::new(c"policy/max-listeners", 0, 65536, 128);
    /// Connections that wait to be accepted at each listener.
    pub const BACKLOG: Self = Self::new(c"policy/max-backlog", 0, 65535, 128);
    /// The order of a data ring.
    pub const RING_ORDER: Self = Self::new(
        c"policy/max-ring-order",
        Order::MIN.get(),
        Order::MAX.get(),
        Order::MAX.get(),
    );
    /// Pages of the guest that are mapped for data rings: 80 MiB by default, 4 GiB at most.
    pub const RING_PAGES: Self = Self::new(c"policy/max-ring-pages", 0, 1 << 20, 20480);
    /// KiB of the backend domain's TCP memory in the buffers of the guest's sockets: 4 GiB at most.
    /// The default is an eighth of the memory that TCP may take before it begins to save memory, if
    /// that is less. A quarter of it, in addition, is for UDP.
    pub const MEMORY: Self = Self::new(c"policy/max-memory", 0, 1 << 22, 1 << 22);
    /// Bytes of a datagram.
    pub const DATAGRAM: Self = Self::new(c"policy/max-datagram", 0, 65535, 65535);
    /// Groups that the guest's sockets are in, counted for each socket.
    pub const GROUPS: Self = Self::new(c"policy/max-groups", 0, 4096, 64);
    /// Microseconds for which an idle CPU of the backend's domain polls the rings of the guest
    /// after their last news.
    pub const BUSY_POLL: Self = Self::new(c"policy/busy-poll", 0, 100000, 0);

    /// Every limit.
    pub const ALL: [&'static Self; 9] = [
        &Self::SOCKETS,
        &Self::LISTENERS,
        &Self::BACKLOG,
        &Self::RING_ORDER,
        &Self::RING_PAGES,
        &Self::MEMORY,
        &Self::DATAGRAM,
        &Self::GROUPS,
        &Self::BUSY_POLL,
    ];

    const fn new(node: &'static CStr, min: u32, max: u32, default: u32) -> Self {
        Self {
            node,
            min,
            max,
            default,
        }
    }

    /// Reads the value of the node. [`Reading::Wrong`] has the safest reading: the nearest possible
    /// number, or the smallest if the value is not a number.
    pub fn read(&self, value: &[u8]) -> Reading<u32> {
        match number(value) {
            Ok(number) if (self.min..=self.max).contains(&number) => Reading::Right(number),
            Ok(number) => Reading::Wrong(number.clamp(self.min, self.max)),
            Err(Unreadable) => Reading::Wrong(self.min),
        }
    }
}

/// The value of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading<T> {
    /// The exact value.
    Right(T),
    /// The safest reading of a wrong value, which should be reported.
    Wrong(T),
}

/// Returns `true` if [`DIR`] has a node of this name.
pub fn is_node(name: &CStr) -> bool {
    NODES.into_iter().chain([COMPLETE]).any(|node| {
        node.to_bytes()
            .strip_prefix(DIR.to_bytes())
            .and_then(|node| node.strip_prefix(b"/"))
            == Some(name.to_bytes())
    })
}

/// Reads the value of [`NETNS`]. If it cannot be read, the guest has no namespace, and so can have
/// no socket.
pub fn netns(value: &[u8]) -> Result<i32, Unreadable> {
    i32::try_from(number(value)?).map_err(|_| Unreadable)
}

/// Reads the value of [`LOCAL_PORTS`]. If it cannot be read, the node counts as absent.
pub fn local_ports(value: &[u8]) -> Result<(u16, u16), Unreadable> {
    let text = core::str::from_utf8(value).map_err(|_| Unreadable)?;
    match range(text)? {
        (0, _) => Err(Unreadable),
        ports => Ok(ports),
    }
}

/// Returns the ports of the backend's domain that guests use: all but the last quarter. That
/// quarter remains for the domain itself, however many ports its guests leave in TIME-WAIT.
pub fn default_ports(first: u16, last: u16) -> (u16, u16) {
    (first, last - last.saturating_sub(first) / 4)
}

/// The addresses that a guest's sockets may be bound to, and those that they may reach.
///
/// In a namespace of its own a guest may bind and connect everywhere, unless the lists say
/// otherwise. In the backend domain's initial namespace it may bind nothing without a list that
/// allows it. There it does not reach addresses whose packets the domain itself receives: the
/// domain's own addresses, and all special ones ([`is_special`]). Nowhere does it reach link-local
/// addresses of IPv6 ([`is_always_on_link`]). Only a rule for exactly such an address allows that
/// ([`Rule::is_explicit`]).
#[derive(Debug)]
pub struct Rules<L> {
    /// Set if the namespace is not the backend domain's initial one.
    pub is_private: bool,
    /// The rules of [`BIND_ALLOW`]. Words that cannot be read are left out.
    pub bind_allow: Option<L>,
    /// The rules of [`CONNECT_ALLOW`]. Words that cannot be read are left out.
    pub connect_allow: Option<L>,
    /// The rules of [`CONNECT_DENY`]. A word that cannot be read counts as [`Rule::ALL`]: it may
    /// have meant anything.
    pub connect_deny: L,
    /// The rules of [`MULTICAST_ALLOW`]. Words that cannot be read are left out.
    pub multicast_allow: L,
}

impl<L: Deref<Target = [Rule]>> Rules<L> {
    /// Returns `true` if a socket may be bound to `addr`, and listen there. `is_any` says if the
    /// system might have chosen the port.
    ///
    /// If so, a rule for port 0 is enough: a socket that has its port from the system is bound to it
    /// again with the next link. Otherwise a guest could bind until the system chooses the port.
    pub fn may_bind(&self, transport: IpProtocol, addr: &SocketAddr, is_any: bool) -> bool {
        let Some(rules) = &self.bind_allow else {
            return self.is_private;
        };
        taken_by_bind(addr.ip()).into_iter().flatten().all(|ip| {
            rules
                .iter()
                .any(|rule| rule.covers_bind(transport, ip, addr.port(), is_any))
        })
    }

    /// Returns `true` if a socket may be bound to `addr` as long as it does not listen.
    ///
    /// A socket that connects or sends without an address gets an automatic port of all addresses.
    /// Some programs ask for just that before, so every guest that may connect at all may do so.
    /// With the next link, such a socket is bound to that port again. `is_any` is as for
    /// [`Self::may_bind`].
    pub fn may_bind_client(&self, transport: IpProtocol, addr: &SocketAddr, is_any: bool) -> bool {
        let is_automatic =
            (addr.port() == 0 || is_any) && addr.ip().to_canonical().is_unspecified();
        self.may_bind(transport, addr, is_any) || (is_automatic && self.may_connect_at_all())
    }

    fn may_connect_at_all(&self) -> bool {
        let allows_any = self
            .connect_allow
            .as_ref()
            .is_none_or(|rules| !rules.is_empty());
        allows_any && !self.connect_deny.contains(&Rule::ALL)
    }

    /// Returns `true` if a socket that may be bound to `addr` may send from there. `is_any` is as for
    /// [`Self::may_bind`], and `is_own` says if the backend's domain itself receives packets to an
    /// address.
    ///
    /// Linux refuses the addresses of others, but for a socket with `IP_FREEBIND` only those of IPv4.
    /// Only a rule for exactly such an address allows it.
    pub fn may_be_from(
        &self,
        transport: IpProtocol,
        addr: &SocketAddr,
        is_any: bool,
        is_own: impl Fn(IpAddr) -> bool,
    ) -> bool {
        let ip = addr.ip().to_canonical();
        let is_named = |rule: &Rule| {
            rule.is_explicit() && rule.covers_bind(transport, ip, addr.port(), is_any)
        };
        ip.is_ipv4()
            || ip.is_unspecified()
            || is_own(ip)
            || self
                .bind_allow
                .as_ref()
                .is_some_and(|rules| rules.iter().any(is_named))
    }

    /// Returns `true` if a socket may connect or send to `addr`. `is_own` says if the backend's
    /// domain itself receives packets to an address.
    pub fn may_connect(
        &self,
        transport: IpProtocol,
        addr: &SocketAddr,
        is_own: impl Fn(IpAddr) -> bool,
    ) -> bool {
        reached_by_connect(addr.ip())
            .into_iter()
            .flatten()
            .all(|ip| self.may_reach(transport, ip, addr.port(), &is_own))
    }

    /// Returns `true` if a socket may join a group.
    pub fn may_join(&self, group: IpAddr) -> bool {
        covers(&self.multicast_allow, IpProtocol::Udp, group, 0)
    }

    fn may_reach(
        &self,
        transport: IpProtocol,
        ip: IpAddr,
        port: u16,
        is_own: impl Fn(IpAddr) -> bool,
    ) -> bool {
        if covers(&self.connect_deny, transport, ip, port) {
            return false;
        }
        let is_guarded =
            is_always_on_link(ip) || !self.is_private && (is_special(ip) || is_own(ip));
        match &self.connect_allow {
            Some(rules) => rules.iter().any(|rule| {
                rule.covers(transport, ip, port) && (!is_guarded || rule.is_explicit())
            }),
            None => !is_guarded,
        }
    }
}

fn covers(rules: &[Rule], transport: IpProtocol, ip: IpAddr, port: u16) -> bool {
    rules.iter().any(|rule| rule.covers(transport, ip, port))
}

/// Returns the addresses that a bind to `ip` takes: the unspecified IPv6 address takes IPv4 too.
fn taken_by_bind(ip: IpAddr) -> [Option<IpAddr>; 2] {
    match ip.to_canonical() {
        ip @ IpAddr::V6(Ipv6Addr::UNSPECIFIED) => {
            [Some(ip), Some(IpAddr::V4(Ipv4Addr::UNSPECIFIED))]
        }
        ip => [Some(ip), None],
    }
}

/// Returns the addresses that a socket may reach if it connects to `ip`. To Linux the unspecified
/// address means the loopback address, and the unspecified IPv6 address means that of IPv4 if the
/// socket is bound to an IPv4 address.
fn reached_by_connect(ip: IpAddr) -> [Option<IpAddr>; 2] {
    const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
    match ip.to_canonical() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => [Some(V4), None],
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => [Some(V6), Some(V4)],
        ip => [Some(ip), None],
    }
}
