// SPDX-License-Identifier: GPL-2.0

//! The policy for a guest, from the nodes of its device in xenstore.
//!
//! A socket keeps the [`Policy`] that was in force when it was made, since that policy has its
//! network namespace. The policy now in force limits what a guest may have *in all*.

mod in_force;
mod reader;

pub(crate) use in_force::InForce;

use crate::{
    proto::{
        backlog::Shares,
        policy::Rules,
        ring::Order,
        rule::{
            IpProtocol,
            Rule, //
        }, //
    },
    quota::{
        Holding,
        MAPPED_PAGES, //
    },
    refused::{
        Refusal,
        Refused, //
    },
    sockets::Sockets, //
};
use core::net::{
    IpAddr,
    SocketAddr, //
};
use kernel::{
    net::namespace::Namespace,
    prelude::*,
    str::CString,
    sync::{
        aref::ARef,
        Arc, //
    },
    xen::xenbus, //
};

/// The divisor that gives the limit on the memory of UDP from that on the memory of TCP.
const DATAGRAMS: usize = 4;

/// The policy for a guest.
///
/// Each refusal is counted and traced.
pub(crate) struct Policy {
    refused: Arc<Refused>,
    /// `None` if no namespace has the id in the node.
    namespace: Option<ARef<Namespace>>,
    rules: Rules<KVec<Rule>>,
    local_ports: Option<(u16, u16)>,
    max_sockets: u32,
    max_listeners: u32,
    max_backlog: u32,
    max_ring_order: u32,
    max_ring_pages: u32,
    /// In KiB.
    max_memory: u32,
    max_datagram: u32,
    max_groups: u32,
    /// In microseconds.
    busy_poll: u32,
    /// Set if the policy is complete, or if no node has to say so.
    is_complete: bool,
    /// What is wrong with the nodes.
    wrong: KVec<CString>,
}

impl Policy {
    /// Returns `true` if the guest may connect with this policy, without waiting for more nodes.
    pub(crate) fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Returns the network namespace for a new socket. `EACCES` if it is not known.
    pub(crate) fn namespace(&self) -> Result<&Namespace> {
        match &self.namespace {
            Some(namespace) => Ok(namespace),
            None => Err(self.refused.note(Refusal::Namespace, None)),
        }
    }

    /// Returns the first and last port for automatic binding, or `None` if the system chooses them.
    pub(crate) fn local_ports(&self) -> Option<(u16, u16)> {
        self.local_ports
    }

    /// Returns `true` if the system may choose `port` for a socket of the guest.
    fn chooses(&self, port: u16) -> bool {
        let is_within = |(first, last)| (first..=last).contains(&port);
        self.local_ports.is_none_or(is_within)
            && self
                .namespace
                .as_ref()
                .is_some_and(|namespace| namespace.chooses_port(port))
    }

    /// Checks that a socket may be bound to `addr` as long as it does not listen. `EACCES` if not.
    pub(crate) fn may_bind_client(&self, transport: IpProtocol, addr: &SocketAddr) -> Result {
        let may = self
            .rules
            .may_bind_client(transport, addr, self.chooses(addr.port()));
        self.check(may, Refusal::Bind, Some(addr))
    }

    /// Checks that a socket may be bound to `addr`, and listen there. `EACCES` if not.
    ///
    /// An unbound listener counts as bound to the unspecified address and port 0.
    pub(crate) fn may_bind(&self, transport: IpProtocol, addr: &SocketAddr) -> Result {
        let may = self
            .rules
            .may_bind(transport, addr, self.chooses(addr.port()));
        self.check(may, Refusal::Bind, Some(addr))
    }

    /// Returns `true` if a socket that may be bound to `addr` may also send from there.
    pub(crate) fn may_be_from(&self, transport: IpProtocol, addr: &SocketAddr) -> bool {
        let is_any = self.chooses(addr.port());
        self.rules
            .may_be_from(transport, addr, is_any, |ip| self.takes_in(ip))
    }

    /// Checks that a socket may connect or send to `addr`. `EACCES` if not.
    pub(crate) fn may_connect(&self, transport: IpProtocol, addr: &SocketAddr) -> Result {
        let may = self
            .rules
            .may_connect(transport, addr, |ip| self.takes_in(ip));
        self.check(may, Refusal::Connect, Some(addr))
    }

    /// Checks that a socket may join a group. `EPERM` if not.
    pub(crate) fn may_join(&self, group: IpAddr) -> Result {
        let may = self.rules.may_join(group);
        self.check(may, Refusal::Group, Some(&SocketAddr::new(group, 0)))
    }

    /// Checks that a socket of an owner may join one more group. `ENOBUFS` if not.
    pub(crate) fn may_have_group(&self, groups: Holding) -> Result {
        // CAST: Widens.
        let left = groups.left(self.max_groups as usize);
        self.check(left > 0, Refusal::Groups, None)
    }

    /// Returns `true` if the namespace itself receives packets sent to `ip`.
    fn takes_in(&self, ip: IpAddr) -> bool {
        self.namespace
            .as_ref()
            .is_some_and(|namespace| namespace.is_local(ip) || namespace.is_broadcast(ip))
    }

    /// Checks that an owner may have one more socket. `EMFILE` if not, or `EDQUOT` if other owners
    /// may.
    pub(crate) fn may_have_socket(&self, sockets: Holding) -> Result {
        // CAST: Widens.
        self.may_share(1, self.max_sockets as usize, sockets, Refusal::Sockets)
    }

    /// Returns `true` if one more of the guest's `sockets` may stay after it is closed, as those of
    /// `closed` do. Closed sockets may be a quarter of all.
    pub(crate) fn may_linger(&self, closed: Holding, sockets: &Sockets) -> bool {
        // CAST: Widens.
        let most = (self.max_sockets / 4 + 1) as usize;
        closed.left(sockets.memory.most_closed(most)) > 0
    }

    /// Returns the limits on the connections that may wait to be accepted, at all listening sockets
    /// together and at each.
    ///
    /// No program reads the data sent by their peers, of which TCP keeps some for each. In all,
    /// these data may take as much memory as the other sockets.
    pub(crate) fn may_wait(&self) -> Shares {
        const KIB_OF_EACH: u32 = 128;
        let most = self.max_sockets.min(self.max_memory / KIB_OF_EACH);
        Shares::new(most, self.max_listeners)
    }

    /// Checks that the namespace of `other` is that of new sockets. `EACCES` if not.
    pub(crate) fn check_namespace(&self, other: &Self) -> Result {
        let is_same = self.namespace.as_deref() == other.namespace.as_deref();
        self.check(is_same, Refusal::Namespace, None)
    }

    /// Checks that an owner may have one more listening socket. `ENOBUFS` if not.
    pub(crate) fn may_have_listener(&self, listeners: Holding) -> Result {
        // CAST: Widens.
        let left = listeners.left(self.max_listeners as usize);
        self.check(left > 0, Refusal::Listeners, None)
    }

    /// Checks that an owner may have `more` pages in data rings if the limit of the guest is `most`.
    /// `ENOBUFS` if not, or `EDQUOT` if other owners may.
    pub(crate) fn may_have_pages(&self, more: usize, most: usize, pages: Holding) -> Result {
        self.may_share(more, most, pages, Refusal::RingPages)
    }

    /// Checks that the guest may keep `count` pages in data rings. `ENOBUFS` if not.
    pub(crate) fn may_keep_pages(&self, count: usize) -> Result {
        self.check(count <= self.max_ring_pages(), Refusal::RingPages, None)
    }

    /// Checks that an owner may have `more` of a resource of which the guest may have `most`.
    fn may_share(&self, more: usize, most: usize, holding: Holding, reason: Refusal) -> Result {
        self.check(holding.left(most) >= more, reason, None)
            .map_err(|error| match holding.left_to_others(most) >= more {
                true => EDQUOT,
                false => error,
            })
    }

    /// Sets the limit on the memory of the guest's sockets.
    fn limit_memory(&self, sockets: &Sockets) {
        // CAST: These widen.
        let (kib, max_sockets) = (self.max_memory as usize, self.max_sockets as usize);
        sockets.memory.set_max(kib << 10, max_sockets);
        // In another pool, and so in addition.
        sockets
            .datagrams
            .set_max((kib << 10) / DATAGRAMS, max_sockets);
    }

    /// Returns the number of pages that a guest may have in data rings.
    pub(crate) fn max_ring_pages(&self) -> usize {
        // CAST: Widens.
        MAPPED_PAGES.share(0, max_pages_of_all(), self.max_ring_pages as usize)
    }

    /// Returns the number of pages up to which data rings may grow. The rest is reserved for new
    /// rings.
    pub(crate) fn max_grown_pages(&self) -> usize {
        self.max_ring_pages() / 4 * 3
    }

    /// Checks that a data ring may have this order. `ENOBUFS` if not.
    pub(crate) fn may_have_ring(&self, order: Order) -> Result {
        self.check(order <= self.max_ring_order(), Refusal::RingOrder, None)
    }

    /// Checks that a datagram may have `bytes` bytes. `EMSGSIZE` if not.
    pub(crate) fn may_send(&self, bytes: usize) -> Result {
        self.within(bytes, self.max_datagram, Refusal::Datagram)
    }

    /// Returns the largest order of a data ring.
    pub(crate) fn max_ring_order(&self) -> Order {
        Order::new(self.max_ring_order).unwrap_or(Order::MIN)
    }

    /// Returns the number of connections that may wait at a listener that asks for `backlog`.
    pub(crate) fn backlog(&self, backlog: u32) -> u32 {
        backlog.min(self.max_backlog)
    }

    fn within(&self, count: usize, limit: u32, reason: Refusal) -> Result {
        let may = u32::try_from(count).is_ok_and(|count| count <= limit);
        self.check(may, reason, None)
    }

    fn check(&self, may: bool, reason: Refusal, addr: Option<&SocketAddr>) -> Result {
        if !may {
            return Err(self.refused.note(reason, addr));
        }
        Ok(())
    }

    /// Logs what is wrong with the nodes, except what is in `known`.
    fn complain(&self, dev: &xenbus::Device, known: &[CString]) {
        for text in &self.wrong {
            if !known.iter().any(|known| **known == **text) {
                dev_warn!(dev.as_ref(), "{}\n", &**text);
            }
        }
    }
}

/// Returns the number of pages that the data rings of all guests may have.
fn max_pages_of_all() -> usize {
    // CAST: Widens.
    crate::module_parameters::max_ring_pages.value() as usize
}
