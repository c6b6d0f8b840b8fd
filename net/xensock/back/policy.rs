// SPDX-License-Identifier: GPL-2.0

//! What a guest may do, as its device's nodes in xenstore say.
//!
//! A socket keeps the [`Policy`] that was in force when it was made, since that is the one whose
//! network namespace it is in. What a guest may have *in all* is limited by the policy now in force.

use crate::{
    owners::Owners,
    proto::{
        backlog::Shares,
        owner::{
            left_to,
            part_of, //
        },
        policy::{
            self,
            Limit,
            Reading,
            Rules, //
        },
        ring::Order,
        rule::{
            rules,
            Rule,
            Transport, //
        }, //
    },
    quota::PAGES,
    refused::{
        Reason,
        Refused, //
    },
    sockets::Sockets, //
};
use core::net::{
    IpAddr,
    SocketAddr, //
};
use kernel::{
    fmt,
    net::{
        kernel_socket::tcp_memory,
        namespace::Namespace, //
    },
    new_spinlock,
    prelude::*,
    str::CString,
    sync::{
        aref::ARef,
        Arc,
        SpinLock, //
    },
    xen::xenbus::{
        self,
        Directory, //
    }, //
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

    /// The network namespace for a new socket. `EACCES` if it is not known.
    pub(crate) fn namespace(&self) -> Result<&Namespace> {
        match &self.namespace {
            Some(namespace) => Ok(namespace),
            None => Err(self.refused.note(Reason::Namespace, None)),
        }
    }

    /// The first and the last of the ports to choose from for a socket that is bound to none, if that
    /// is not for the system to say.
    pub(crate) fn local_ports(&self) -> Option<(u16, u16)> {
        self.local_ports
    }

    /// Whether a socket may be bound to `addr`: `EACCES`.
    ///
    /// A listener that was not bound is as if bound to the unspecified address and port 0.
    pub(crate) fn may_bind(&self, transport: Transport, addr: &SocketAddr) -> Result {
        let may = self.rules.may_bind(transport, addr);
        self.check(may, Reason::Bind, Some(addr))
    }

    /// Whether a socket may connect, or send, to `addr`: `EACCES`.
    pub(crate) fn may_connect(&self, transport: Transport, addr: &SocketAddr) -> Result {
        let may = self
            .rules
            .may_connect(transport, addr, |ip| self.takes_in(ip));
        self.check(may, Reason::Connect, Some(addr))
    }

    /// Whether a socket may join a group: `EPERM`.
    pub(crate) fn may_join(&self, group: IpAddr) -> Result {
        let may = self.rules.may_join(group);
        self.check(may, Reason::Group, Some(&SocketAddr::new(group, 0)))
    }

    /// Whether a guest's sockets may be in so many groups, the last of them by that owner: `ENOBUFS`.
    pub(crate) fn may_have_groups(&self, count: usize, owner: u64) -> Result {
        self.within(count, part_of(owner, self.max_groups), Reason::Groups)
    }

    /// Returns whether the namespace itself takes in what is sent to an address.
    fn takes_in(&self, ip: IpAddr) -> bool {
        self.namespace
            .as_ref()
            .is_some_and(|namespace| namespace.is_local(ip) || namespace.is_broadcast(ip))
    }

    /// Whether a guest may have one socket more than so many, an owner who has so many of them: `EMFILE`.
    pub(crate) fn may_have_socket(&self, used: usize, owner: u64, own: usize) -> Result {
        let left = left_to(owner, self.max_sockets, used, own);
        self.check(left > 0, Reason::Sockets, None)
    }

    /// Whether one more socket may stay when it is closed, of which there are so many already, an owner
    /// who has so many of them: they have a quarter of all.
    pub(crate) fn may_linger(&self, closed: usize, owner: u64, own: usize) -> bool {
        left_to(owner, self.max_sockets / 4 + 1, closed, own) > 0
    }

    /// How many connections may wait to be accepted, at all listening sockets together.
    ///
    /// Nobody reads what their peers send, of which TCP keeps some for each: all of that may be as
    /// much as the memory of the others.
    pub(crate) fn may_wait(&self) -> Shares {
        const KIB_OF_EACH: u32 = 128;
        let most = self.max_sockets.min(self.max_memory / KIB_OF_EACH);
        Shares::new(most, self.max_listeners)
    }

    /// Whether sockets are made in the namespace of `other`: `EACCES`.
    pub(crate) fn check_namespace(&self, other: &Self) -> Result {
        let is_same = self.namespace.as_deref() == other.namespace.as_deref();
        self.check(is_same, Reason::Namespace, None)
    }

    /// Whether a guest may have one listening socket more than so many, an owner who has so many of
    /// them: `ENOBUFS`.
    pub(crate) fn may_have_listener(&self, used: usize, owner: u64, own: usize) -> Result {
        let left = left_to(owner, self.max_listeners, used, own);
        self.check(left > 0, Reason::Listeners, None)
    }

    /// Whether a guest that may have `most` pages in data rings may have so many: `ENOBUFS`.
    pub(crate) fn may_have_pages(&self, count: usize, most: usize) -> Result {
        self.check(count <= most, Reason::RingPages, None)
    }

    /// Tells how much memory the guest's sockets may hold.
    fn limit_memory(&self, sockets: &Sockets) {
        // CAST: These widen.
        let (kib, max_sockets) = (self.max_memory as usize, self.max_sockets as usize);
        sockets.memory.set_max(kib << 10, max_sockets);
    }

    /// How many pages a guest may have in data rings.
    pub(crate) fn max_ring_pages(&self) -> usize {
        // CAST: Widens.
        PAGES.share(max_pages_of_all(), self.max_ring_pages as usize)
    }

    /// How many pages a guest may have in data rings for one of them to grow. The rest is left to
    /// connections that have nothing yet.
    pub(crate) fn max_grown_pages(&self) -> usize {
        self.max_ring_pages() / 4 * 3
    }

    /// Whether a data ring may be of this order: `ENOBUFS`.
    pub(crate) fn may_have_ring(&self, order: Order) -> Result {
        self.check(order <= self.max_ring_order(), Reason::RingOrder, None)
    }

    /// Whether a datagram may have so many bytes: `EMSGSIZE`.
    pub(crate) fn may_send(&self, bytes: usize) -> Result {
        self.within(bytes, self.max_datagram, Reason::Datagram)
    }

    /// The largest data ring.
    pub(crate) fn max_ring_order(&self) -> Order {
        Order::new(self.max_ring_order).unwrap_or(Order::MIN)
    }

    /// How many connections may wait at a listener that wants `backlog` of them.
    pub(crate) fn backlog(&self, backlog: u32) -> u32 {
        backlog.min(self.max_backlog)
    }

    fn within(&self, count: usize, limit: u32, reason: Reason) -> Result {
        let may = u32::try_from(count).is_ok_and(|count| count <= limit);
        self.check(may, reason, None)
    }

    fn check(&self, may: bool, reason: Reason, addr: Option<&SocketAddr>) -> Result {
        if !may {
            return Err(self.refused.note(reason, addr));
        }
        Ok(())
    }

    /// Reads what the nodes say, all at one time. `ENOENT` if the device is gone.
    fn read(dev: &xenbus::Device, refused: &Arc<Refused>) -> Result<Arc<Self>> {
        let mut policy = None;
        dev.transaction(|t| {
            // Without it, the nodes of the policy are not there because nothing is: that is not to
            // be taken for the defaults, which may be less strict.
            t.own_dir().read(c"frontend-id")?;
            policy = Some(Self::read_from(t.own_dir(), refused.clone())?);
            Ok(())
        })?;
        Ok(Arc::new(policy.ok_or(EIO)?, GFP_KERNEL)?)
    }

    fn read_from(dir: Directory<'_>, refused: Arc<Refused>) -> Result<Self> {
        let mut reader = Reader {
            dir,
            wrong: KVec::new(),
        };
        reader.find_strangers()?;
        let namespace = reader.namespace()?;
        Ok(Self {
            local_ports: reader.local_ports(namespace.as_deref())?,
            refused,
            rules: Rules {
                is_private: namespace
                    .as_deref()
                    .is_some_and(|namespace| namespace != Namespace::init()),
                bind_allow: reader.rules(policy::BIND_ALLOW, None)?,
                connect_allow: reader.rules(policy::CONNECT_ALLOW, None)?,
                connect_deny: reader
                    .rules(policy::CONNECT_DENY, Some(Rule::ALL))?
                    .unwrap_or_default(),
                multicast_allow: reader
                    .suitable(policy::MULTICAST_ALLOW, None, Rule::is_about_groups)?
                    .unwrap_or_default(),
            },
            namespace,
            max_sockets: reader.limit(&Limit::SOCKETS)?,
            max_listeners: reader.limit(&Limit::LISTENERS)?,
            max_backlog: reader.limit(&Limit::BACKLOG)?,
            max_ring_order: reader.limit(&Limit::RING_ORDER)?,
            max_ring_pages: reader.limit(&Limit::RING_PAGES)?,
            max_memory: reader.limit_or(&Limit::MEMORY, default_memory())?,
            max_datagram: reader.limit(&Limit::DATAGRAM)?,
            max_groups: reader.limit(&Limit::GROUPS)?,
            is_complete: !is_awaited() || reader.value(policy::COMPLETE)?.is_some(),
            wrong: reader.wrong,
        })
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

/// Reads nodes, and notes which of them cannot be understood.
///
/// Fails for lack of memory, and for nothing that nodes may say.
struct Reader<'a> {
    dir: Directory<'a>,
    wrong: KVec<CString>,
}

impl Reader<'_> {
    fn is_wrong(&mut self, node: fmt::Arguments<'_>) -> Result {
        Ok(self.wrong.push(CString::try_from_fmt(node)?, GFP_KERNEL)?)
    }

    /// Notes the nodes that do not exist.
    fn find_strangers(&mut self) -> Result {
        let names = match self.dir.list(policy::DIR) {
            Ok(names) => names,
            Err(ENOMEM) => return Err(ENOMEM),
            Err(_) => return Ok(()),
        };
        for name in names.iter().filter(|name| !policy::is_node(name)) {
            self.is_wrong(fmt!("{}/{}", policy::DIR, name))?;
        }
        Ok(())
    }

    /// What a node says; [`None`] if there is none. A value that cannot be had cannot be understood
    /// either.
    fn value(&self, node: &CStr) -> Result<Option<KVec<u8>>> {
        match self.dir.read(node) {
            Ok(value) => Ok(Some(value)),
            Err(ENOENT) => Ok(None),
            Err(ENOMEM) => Err(ENOMEM),
            Err(_) => {
                let mut value = KVec::new();
                value.push(b'?', GFP_KERNEL)?;
                Ok(Some(value))
            }
        }
    }

    fn limit(&mut self, limit: &Limit) -> Result<u32> {
        self.limit_or(limit, limit.default)
    }

    fn limit_or(&mut self, limit: &Limit, default: u32) -> Result<u32> {
        let Some(value) = self.value(limit.node)? else {
            return Ok(default);
        };
        match limit.read(&value) {
            Reading::Right(number) => Ok(number),
            Reading::Wrong(number) => {
                self.is_wrong(fmt!("{}", limit.node))?;
                Ok(number)
            }
        }
    }

    /// The rules of a list, with `instead` for what is not a rule.
    fn rules(&mut self, node: &CStr, instead: Option<Rule>) -> Result<Option<KVec<Rule>>> {
        self.suitable(node, instead, |_| true)
    }

    /// The same, where a rule has to be one of some kind.
    fn suitable(
        &mut self,
        node: &CStr,
        instead: Option<Rule>,
        is_suitable: impl Fn(&Rule) -> bool,
    ) -> Result<Option<KVec<Rule>>> {
        let Some(value) = self.value(node)? else {
            return Ok(None);
        };
        let mut list = KVec::new();
        let mut is_wrong = false;
        for rule in rules(&value) {
            let rule = rule.ok().filter(&is_suitable);
            is_wrong |= rule.is_none();
            if let Some(rule) = rule.or(instead) {
                list.push(rule, GFP_KERNEL)?;
            }
        }
        if is_wrong {
            self.is_wrong(fmt!("{}", node))?;
        }
        Ok(Some(list))
    }

    /// The ports to choose from, in a namespace; [`None`] if it has nothing but the guest's sockets.
    fn local_ports(&mut self, namespace: Option<&Namespace>) -> Result<Option<(u16, u16)>> {
        if let Some(value) = self.value(policy::LOCAL_PORTS)? {
            match policy::local_ports(&value) {
                Ok(ports) => return Ok(Some(ports)),
                Err(_) => self.is_wrong(fmt!("{}", policy::LOCAL_PORTS))?,
            }
        }
        let init = Namespace::init();
        Ok((namespace == Some(init)).then(|| {
            let (first, last) = init.local_ports();
            policy::default_ports(first, last)
        }))
    }

    fn namespace(&mut self) -> Result<Option<ARef<Namespace>>> {
        let Some(value) = self.value(policy::NETNS)? else {
            return Ok(Some(Namespace::init().into()));
        };
        let namespace = policy::netns(&value).ok().and_then(Namespace::by_id);
        if namespace.is_none() {
            self.is_wrong(fmt!("{}", policy::NETNS))?;
        }
        Ok(namespace)
    }
}

/// How many pages of data rings all guests may have, before each may have no more than its part.
fn max_pages_of_all() -> usize {
    // CAST: Widens.
    crate::module_parameters::max_ring_pages.value() as usize
}

/// Whether somebody is to say for each device that its policy is all there.
fn is_awaited() -> bool {
    crate::module_parameters::await_policy.value()
}

/// How many KiB of TCP's memory a guest may have, unless the policy says so: an eighth of what all
/// may have.
fn default_memory() -> u32 {
    u32::try_from(tcp_memory() / 8 / 1024)
        .map_or(Limit::MEMORY.default, |kib| kib.min(Limit::MEMORY.default))
}

/// The policy of a guest that is in force, which changes when its nodes do.
#[pin_data]
pub(crate) struct InForce {
    dev: ARef<xenbus::Device>,
    #[pin]
    policy: SpinLock<Arc<Policy>>,
    pub(crate) owners: Arc<Owners>,
    sockets: Arc<Sockets>,
    pub(crate) refused: Arc<Refused>,
}

impl InForce {
    /// Reads the nodes of a device, for the sockets of its guest. May sleep.
    pub(crate) fn new(dev: &xenbus::Device, sockets: Arc<Sockets>) -> Result<Arc<Self>> {
        let guest = dev.otherend_id();
        let owners = Owners::new(guest, sockets.clone())?;
        let refused = Arc::new(Refused::new(guest), GFP_KERNEL)?;
        let policy = Policy::read(dev, &refused)?;
        policy.complain(dev, &[]);
        if !policy.is_complete() {
            dev_info!(dev.as_ref(), "waits for its policy\n");
        }
        policy.limit_memory(&sockets);
        Arc::pin_init(
            pin_init!(Self {
                dev: dev.into(),
                policy <- new_spinlock!(policy, "xensock_policy"),
                owners,
                sockets,
                refused,
            }),
            GFP_KERNEL,
        )
    }

    /// The policy for new sockets.
    pub(crate) fn get(&self) -> Arc<Policy> {
        self.policy.lock().clone()
    }

    /// Reads the nodes again. May sleep; one at a time.
    pub(crate) fn read_again(&self) {
        match Policy::read(&self.dev, &self.refused) {
            // Its directory is being made anew.
            Ok(new) if !new.is_complete() && self.get().is_complete() => (),
            Ok(new) => {
                let old = core::mem::replace(&mut *self.policy.lock(), new.clone());
                new.complain(&self.dev, &old.wrong);
                new.limit_memory(&self.sockets);
            }
            // The device is being removed.
            Err(ENOENT) => (),
            Err(error) => dev_warn!(
                self.dev.as_ref(),
                "the policy stays as it was: cannot read the new one ({:?})\n",
                error
            ),
        }
    }
}
