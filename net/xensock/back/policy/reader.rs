// SPDX-License-Identifier: GPL-2.0

//! Reads the nodes of a policy.

use super::Policy;
use crate::{
    proto::{
        policy::{
            self,
            Limit,
            Reading,
            Rules, //
        },
        rule::{
            rules,
            Rule, //
        }, //
    },
    refused::Refused, //
};
use kernel::{
    fmt,
    net::{
        kernel_socket::tcp_memory,
        namespace::Namespace, //
    },
    prelude::*,
    str::CString,
    sync::{
        aref::ARef,
        Arc, //
    },
    xen::xenbus::{
        self,
        Directory, //
    }, //
};

impl Policy {
    /// Reads all nodes in one transaction. `ENOENT` if the device is gone.
    pub(super) fn read(dev: &xenbus::Device, refused: &Arc<Refused>) -> Result<Arc<Self>> {
        let mut policy = None;
        dev.transaction(|t| {
            // If this node is missing, the directory is gone, and the nodes of the policy with it.
            // That must not be taken for the defaults, which may be less strict.
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
        reader.note_unknown_nodes()?;
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
                    .rules_if(policy::MULTICAST_ALLOW, None, Rule::is_about_groups)?
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
            busy_poll: reader.limit(&Limit::BUSY_POLL)?,
            is_complete: !is_awaited() || reader.value(policy::COMPLETE)?.is_some(),
            wrong: reader.wrong,
        })
    }
}

/// Reads nodes, and notes what is wrong with them.
///
/// Fails only for lack of memory, never because of a node's value.
struct Reader<'a> {
    dir: Directory<'a>,
    wrong: KVec<CString>,
}

impl Reader<'_> {
    /// Notes that a node cannot be understood.
    fn note_wrong(&mut self, node: fmt::Arguments<'_>) -> Result {
        self.note(fmt!("{}: not understood", node))
    }

    fn note(&mut self, text: fmt::Arguments<'_>) -> Result {
        Ok(self.wrong.push(CString::try_from_fmt(text)?, GFP_KERNEL)?)
    }

    /// Notes the nodes that no policy has.
    fn note_unknown_nodes(&mut self) -> Result {
        let names = match self.dir.list(policy::DIR) {
            Ok(names) => names,
            Err(ENOMEM) => return Err(ENOMEM),
            Err(_) => return Ok(()),
        };
        for name in names.iter().filter(|name| !policy::is_node(name)) {
            self.note_wrong(fmt!("{}/{}", policy::DIR, name))?;
        }
        Ok(())
    }

    /// Returns the value of a node; [`None`] if there is no such node. A node that cannot be read
    /// gets a value that cannot be understood.
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
                self.note_wrong(fmt!("{}", limit.node))?;
                Ok(number)
            }
        }
    }

    /// Returns the rules of a list, with `instead` in place of entries that are not rules.
    fn rules(&mut self, node: &CStr, instead: Option<Rule>) -> Result<Option<KVec<Rule>>> {
        self.rules_if(node, instead, |_| true)
    }

    /// Does the same as [`Self::rules`], and takes only rules that are suitable.
    fn rules_if(
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
            self.note_wrong(fmt!("{}", node))?;
        }
        Ok(Some(list))
    }

    /// Returns the ports for automatic binding; [`None`] if only the guest's sockets are in the
    /// namespace.
    fn local_ports(&mut self, namespace: Option<&Namespace>) -> Result<Option<(u16, u16)>> {
        if let Some(value) = self.value(policy::LOCAL_PORTS)? {
            match policy::local_ports(&value) {
                Ok(ports) => return Ok(Some(ports)),
                Err(_) => self.note_wrong(fmt!("{}", policy::LOCAL_PORTS))?,
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
        let Ok(id) = policy::netns(&value) else {
            self.note_wrong(fmt!("{}", policy::NETNS))?;
            return Ok(None);
        };
        let namespace = Namespace::by_id(id);
        if namespace.is_none() {
            self.note(fmt!("{}: no such namespace", policy::NETNS))?;
        }
        Ok(namespace)
    }
}

/// Returns `true` if each device must have a node that says that its policy is complete.
fn is_awaited() -> bool {
    crate::module_parameters::await_policy.value()
}

/// Returns the default limit on a guest's TCP memory in KiB: an eighth of the memory that all
/// sockets may have.
fn default_memory() -> u32 {
    u32::try_from(tcp_memory() / 8 / 1024)
        .map_or(Limit::MEMORY.default, |kib| kib.min(Limit::MEMORY.default))
}
