// SPDX-License-Identifier: GPL-2.0

//! What a guest may do, as its device's nodes in xenstore say.
//!
//! A socket keeps the [`Policy`] that was in force when it was made, since that is the one whose
//! network namespace it is in. What a guest may have *in all* is limited by the policy now in force.

mod in_force;
mod reader;

pub(crate) use in_force::InForce;

use crate::{
    proto::{
        backlog::Shares,
        owner::{
            left_to,
            part_of, //
        },
        policy::Rules,
        ring::Order,
        rule::{
            IpProtocol,
            Rule, //
        }, //
    },
    quota::PAGES,
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

/// What a guest may do.
///
/// Whatever it asks about and must not do is noted as refused.
pub(crate) struct Policy {
    refused: Arc<Refused>,
    /// `None` if there is none with the id in the node.
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
    /// Whether it is all there, or nobody waits for that.
    is_complete: bool,
    /// The nodes that cannot be understood.
    wrong: KVec<CString>,
}

impl Policy {
    /// Returns whether the guest may connect with this policy, and not wait for more.
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

    /// Returns the first and the last of the ports to choose from for a socket that is bound to none,
    /// if that is not for the system to say.
    pub(crate) fn local_ports(&self) -> Option<(u16, u16)> {
        self.local_ports
    }

    /// Checks whether a socket may be bound to `addr`: `EACCES`.
    ///
    /// A listener that was not bound is as if bound to the unspecified address and port 0.
    pub(crate) fn may_bind(&self, transport: IpProtocol, addr: &SocketAddr) -> Result {
        let may = self.rules.may_bind(transport, addr);
        self.check(may, Refusal::Bind, Some(addr))
    }

    /// Checks whether a socket may connect, or send, to `addr`: `EACCES`.
    pub(crate) fn may_connect(&self, transport: IpProtocol, addr: &SocketAddr) -> Result {
        let may = self
            .rules
            .may_connect(transport, addr, |ip| self.takes_in(ip));
        self.check(may, Refusal::Connect, Some(addr))
    }

    /// Checks whether a socket may join a group: `EPERM`.
    pub(crate) fn may_join(&self, group: IpAddr) -> Result {
        let may = self.rules.may_join(group);
        self.check(may, Refusal::Group, Some(&SocketAddr::new(group, 0)))
    }

    /// Checks whether a guest's sockets may be in so many groups, the last of them by that owner:
    /// `ENOBUFS`.
    pub(crate) fn may_have_groups(&self, count: usize, owner: u64) -> Result {
        self.within(count, part_of(owner, self.max_groups), Refusal::Groups)
    }

    /// Returns whether the namespace itself takes in what is sent to an address.
    fn takes_in(&self, ip: IpAddr) -> bool {
        self.namespace
            .as_ref()
            .is_some_and(|namespace| namespace.is_local(ip) || namespace.is_broadcast(ip))
    }

    /// Checks whether a guest may have one socket more than so many, an owner who has so many of
    /// them: `EMFILE`.
    pub(crate) fn may_have_socket(&self, used: usize, owner: u64, own: usize) -> Result {
        let left = left_to(owner, self.max_sockets, used, own);
        self.check(left > 0, Refusal::Sockets, None)
    }

    /// Returns whether one more socket may stay when it is closed, of which there are so many
    /// already, an owner who has so many of them: they have a quarter of all.
    pub(crate) fn may_linger(&self, closed: usize, owner: u64, own: usize) -> bool {
        left_to(owner, self.max_sockets / 4 + 1, closed, own) > 0
    }

    /// Returns how many connections may wait to be accepted, at all listening sockets together.
    ///
    /// Nobody reads what their peers send, of which TCP keeps some for each: all of that may be as
    /// much as the memory of the others.
    pub(crate) fn may_wait(&self) -> Shares {
        const KIB_OF_EACH: u32 = 128;
        let most = self.max_sockets.min(self.max_memory / KIB_OF_EACH);
        Shares::new(most, self.max_listeners)
    }

    /// Checks whether sockets are made in the namespace of `other`: `EACCES`.
    pub(crate) fn check_namespace(&self, other: &Self) -> Result {
        let is_same = self.namespace.as_deref() == other.namespace.as_deref();
        self.check(is_same, Refusal::Namespace, None)
    }

    /// Checks whether a guest may have one listening socket more than so many, an owner who has so
    /// many of them: `ENOBUFS`.
    pub(crate) fn may_have_listener(&self, used: usize, owner: u64, own: usize) -> Result {
        let left = left_to(owner, self.max_listeners, used, own);
        self.check(left > 0, Refusal::Listeners, None)
    }

    /// Checks whether a guest that may have `most` pages in data rings may have so many: `ENOBUFS`.
    pub(crate) fn may_have_pages(&self, count: usize, most: usize) -> Result {
        self.check(count <= most, Refusal::RingPages, None)
    }

    /// Tells how much memory the guest's sockets may hold.
    fn limit_memory(&self, sockets: &Sockets) {
        // CAST: These widen.
        let (kib, max_sockets) = (self.max_memory as usize, self.max_sockets as usize);
        sockets.memory.set_max(kib << 10, max_sockets);
    }

    /// Returns how many pages a guest may have in data rings.
    pub(crate) fn max_ring_pages(&self) -> usize {
        // CAST: Widens.
        PAGES.share(max_pages_of_all(), self.max_ring_pages as usize)
    }

    /// Returns how many pages a guest may have in data rings for one of them to grow. The rest is
    /// left to connections that have nothing yet.
    pub(crate) fn max_grown_pages(&self) -> usize {
        self.max_ring_pages() / 4 * 3
    }

    /// Checks whether a data ring may be of this order: `ENOBUFS`.
    pub(crate) fn may_have_ring(&self, order: Order) -> Result {
        self.check(order <= self.max_ring_order(), Refusal::RingOrder, None)
    }

    /// Checks whether a datagram may have so many bytes: `EMSGSIZE`.
    pub(crate) fn may_send(&self, bytes: usize) -> Result {
        self.within(bytes, self.max_datagram, Refusal::Datagram)
    }

    /// Returns the largest data ring.
    pub(crate) fn max_ring_order(&self) -> Order {
        Order::new(self.max_ring_order).unwrap_or(Order::MIN)
    }

    /// Returns how many connections may wait at a listener that wants `backlog` of them.
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

    /// Logs which nodes cannot be understood, but for those of which that is `known`.
    fn complain(&self, dev: &xenbus::Device, known: &[CString]) {
        for node in &self.wrong {
            if !known.iter().any(|known| **known == **node) {
                dev_warn!(dev.as_ref(), "{}: not understood\n", &**node);
            }
        }
    }
}

/// Returns how many pages of data rings all guests may have, before each may have no more than its
/// part.
fn max_pages_of_all() -> usize {
    // CAST: Widens.
    crate::module_parameters::max_ring_pages.value() as usize
}
