// SPDX-License-Identifier: GPL-2.0

//! What a guest may do in the backend's domain: the nodes that say so, and what follows from them.
//!
//! The nodes are below the backend's directory of a device, where only the toolstack writes. A node
//! that is absent has a default; what a node says that cannot be read is taken in the safest way. So
//! there is always a policy, and a mistake in it never costs the link.

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

/// The network namespace of the guest's sockets, by the id that the backend domain's initial
/// namespace has for it (`ip netns set`). Absent: the initial namespace itself.
pub const NETNS: &CStr = c"policy/netns";

/// Where sockets may be bound, a list of rules. Port 0 is a bind that lets the port be chosen.
/// Absent: see [`Rules`].
pub const BIND_ALLOW: &CStr = c"policy/bind-allow";

/// What may be connected to, a list of rules. Absent: see [`Rules`].
pub const CONNECT_ALLOW: &CStr = c"policy/connect-allow";

/// What may not be connected to, a list of rules, whatever [`CONNECT_ALLOW`] says.
pub const CONNECT_DENY: &CStr = c"policy/connect-deny";

/// Which groups sockets may join, a list of rules that are about groups and nothing else. Absent:
/// none.
pub const MULTICAST_ALLOW: &CStr = c"policy/multicast-allow";

/// The ports from which the system chooses for sockets that are bound to none: the first and the
/// last. Absent: see [`default_ports`].
pub const LOCAL_PORTS: &CStr = c"policy/local-ports";

/// Says that the other nodes are all there, whatever it holds. A backend that was told to wait for
/// that (the module parameter `await_policy`) offers nothing before.
pub const COMPLETE: &CStr = c"policy/complete";

/// Every node of which a guest's policy consists.
pub const NODES: [&CStr; 14] = [
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
];

/// How much of something a guest may have.
#[derive(Debug)]
pub struct Limit {
    /// The node.
    pub node: &'static CStr,
    /// The least that the node can say, and what counts if it cannot be read.
    pub min: u32,
    /// The most that the node can say.
    pub max: u32,
    /// What counts if there is no such node.
    pub default: u32,
}

impl Limit {
    /// Sockets of all kinds.
    pub const SOCKETS: Self = Self::new(c"policy/max-sockets", 0, 65536, 4096);
    /// Sockets that listen.
    pub const LISTENERS: Self = Self::new(c"policy/max-listeners", 0, 65536, 128);
    /// Connections that wait to be accepted, of each listener.
    pub const BACKLOG: Self = Self::new(c"policy/max-backlog", 0, 65535, 128);
    /// The order of a data ring.
    pub const RING_ORDER: Self = Self::new(
        c"policy/max-ring-order",
        Order::MIN.get(),
        Order::MAX.get(),
        Order::MAX.get(),
    );
    /// Pages of the guest that are mapped for data rings: 80 MiB by default, 4 GiB at the most.
    pub const RING_PAGES: Self = Self::new(c"policy/max-ring-pages", 0, 1 << 20, 20480);
    /// KiB of the backend domain's TCP in the buffers of the guest's sockets: 4 GiB at the most. The
    /// default is an eighth of what that TCP may take before it begins to save memory, if that is
    /// less.
    pub const MEMORY: Self = Self::new(c"policy/max-memory", 0, 1 << 22, 1 << 22);
    /// Bytes of a datagram.
    pub const DATAGRAM: Self = Self::new(c"policy/max-datagram", 0, 65535, 65535);

    /// Groups that the guest's sockets are in, counted for each socket.
    pub const GROUPS: Self = Self::new(c"policy/max-groups", 0, 4096, 64);

    /// Every limit.
    pub const ALL: [&'static Self; 8] = [
        &Self::SOCKETS,
        &Self::LISTENERS,
        &Self::BACKLOG,
        &Self::RING_ORDER,
        &Self::RING_PAGES,
        &Self::MEMORY,
        &Self::DATAGRAM,
        &Self::GROUPS,
    ];

    const fn new(node: &'static CStr, min: u32, max: u32, default: u32) -> Self {
        Self {
            node,
            min,
            max,
            default,
        }
    }

    /// Reads what the node says. [`Reading::Wrong`] has the safest reading: the nearest number that
    /// is possible, and the least if there is none.
    pub fn read(&self, value: &[u8]) -> Reading<u32> {
        match number(value) {
            Ok(number) if (self.min..=self.max).contains(&number) => Reading::Right(number),
            Ok(number) => Reading::Wrong(number.clamp(self.min, self.max)),
            Err(Unreadable) => Reading::Wrong(self.min),
        }
    }
}

/// What a node says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading<T> {
    /// Just this.
    Right(T),
    /// This, in its safest reading: it should be told to somebody.
    Wrong(T),
}

/// Returns whether there is a node of this name in [`DIR`].
pub fn is_node(name: &CStr) -> bool {
    NODES.into_iter().chain([COMPLETE]).any(|node| {
        node.to_bytes()
            .strip_prefix(DIR.to_bytes())
            .and_then(|node| node.strip_prefix(b"/"))
            == Some(name.to_bytes())
    })
}

/// Reads what [`NETNS`] says. If that cannot be read, the guest has no namespace: it can have no
/// socket.
pub fn netns(value: &[u8]) -> Result<i32, Unreadable> {
    i32::try_from(number(value)?).map_err(|_| Unreadable)
}

/// Reads what [`LOCAL_PORTS`] says. If that cannot be read it is as if there were no such node.
pub fn local_ports(value: &[u8]) -> Result<(u16, u16), Unreadable> {
    let text = core::str::from_utf8(value).map_err(|_| Unreadable)?;
    match range(text)? {
        (0, _) => Err(Unreadable),
        ports => Ok(ports),
    }
}

/// Returns which of the ports of the backend's domain its guests have: all but the last quarter,
/// which so remains for the domain itself, however many ports its guests leave in TIME-WAIT.
pub fn default_ports(first: u16, last: u16) -> (u16, u16) {
    (first, last - last.saturating_sub(first) / 4)
}

/// Where the sockets of a guest may be bound, and what they may reach.
///
/// In a namespace of its own a guest may do both everywhere, unless the lists say otherwise. In the
/// backend domain's initial namespace it may bind nothing without a list that allows it, and does
/// not reach what the domain itself takes in: its own addresses, and all that are special
/// ([`is_special`]). What changes that is a rule which is about just that ([`Rule::is_explicit`]).
#[derive(Debug)]
pub struct Rules<L> {
    /// Whether the namespace is another than the backend domain's initial one.
    pub is_private: bool,
    /// What [`BIND_ALLOW`] says. Words that cannot be read are left out.
    pub bind_allow: Option<L>,
    /// What [`CONNECT_ALLOW`] says. Words that cannot be read are left out.
    pub connect_allow: Option<L>,
    /// What [`CONNECT_DENY`] says. A word that cannot be read is [`Rule::ALL`]: it may have meant
    /// anything.
    pub connect_deny: L,
    /// What [`MULTICAST_ALLOW`] says. Words that cannot be read are left out.
    pub multicast_allow: L,
}

impl<L: Deref<Target = [Rule]>> Rules<L> {
    /// Whether a socket may be bound to `addr`.
    pub fn may_bind(&self, transport: IpProtocol, addr: &SocketAddr) -> bool {
        let Some(rules) = &self.bind_allow else {
            return self.is_private;
        };
        taken_by_bind(addr.ip())
            .into_iter()
            .flatten()
            .all(|ip| covers(rules, transport, ip, addr.port()))
    }

    /// Returns whether a socket may connect, or send, to `addr`. `is_own` tells whether the
    /// backend's domain takes in what is sent to an address.
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

    /// Returns whether a socket may join a group.
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
        let is_guarded = !self.is_private && (is_special(ip) || is_own(ip));
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

/// The addresses that a bind to `ip` takes: the unspecified one of IPv6 takes IPv4 as well.
fn taken_by_bind(ip: IpAddr) -> [Option<IpAddr>; 2] {
    match ip.to_canonical() {
        ip @ IpAddr::V6(Ipv6Addr::UNSPECIFIED) => {
            [Some(ip), Some(IpAddr::V4(Ipv4Addr::UNSPECIFIED))]
        }
        ip => [Some(ip), None],
    }
}

/// The addresses that may be reached under the name `ip`: to Linux, the unspecified address is the
/// loopback address, and that of IPv6 is IPv4's if the socket is bound to an IPv4 address.
fn reached_by_connect(ip: IpAddr) -> [Option<IpAddr>; 2] {
    const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
    match ip.to_canonical() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => [Some(V4), None],
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => [Some(V6), Some(V4)],
        ip => [Some(ip), None],
    }
}
