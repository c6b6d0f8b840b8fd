// SPDX-License-Identifier: GPL-2.0

//! `net.xensock.*`: the settings of a network namespace.

mod list;

use crate::{
    addresses::destination,
    listing::SocketList,
    proto::rule::{
        route::Route,
        IpProtocol,
        Rule, //
    }, //
};
use core::net::SocketAddr;
use kernel::{
    fmt,
    net::{
        namespace::Namespace,
        pernet::{
            Entries,
            PerNet,
            StaticStorage, //
        },
        sysctl::Settings, //
    },
    new_spinlock,
    pernet_storage,
    prelude::*,
    str::{
        BStr,
        CString, //
    },
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        SpinLock, //
    },
    time::Msecs,
    xen::trace::xensock_front as trace, //
};
use list::List;

/// The first use of a socket.
#[derive(Clone, Copy)]
pub(crate) enum FirstUse {
    Bind(SocketAddr),
    /// `Err` if the address is of no use.
    Connect(Result<SocketAddr>),
    /// `Err` if the program gave no valid address.
    Send(Result<SocketAddr>),
    Listen,
}

impl FirstUse {
    /// Returns the address that the use concerns, if there is one.
    pub(crate) fn addr(self) -> Option<SocketAddr> {
        match self {
            Self::Bind(addr) => Some(addr),
            Self::Connect(addr) | Self::Send(addr) => addr.ok(),
            Self::Listen => None,
        }
    }
}

/// The reason why a socket is the backend's or the guest's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// The socket is the backend's.
    XenSock,
    /// Fell back: its destination is exempt.
    Destination,
    /// Fell back: its port is exempt.
    Port,
    /// Fell back: it concerns an address of the guest itself.
    Local,
    /// The program has set an option that only the guest's own protocols support.
    Option,
    /// BPF programs of its control group inspect packets, which the backend's sockets do not have
    /// in the guest.
    Packets,
    /// There is no backend.
    NoBackend,
    /// The backend has refused the socket.
    Refused,
}

impl Decision {
    const ALL: [Self; 8] = [
        Self::XenSock,
        Self::Destination,
        Self::Port,
        Self::Local,
        Self::Option,
        Self::Packets,
        Self::NoBackend,
        Self::Refused,
    ];

    /// Returns the name of the counter.
    fn name(self) -> &'static CStr {
        match self {
            Self::XenSock => c"xensock",
            Self::Destination => c"exempt-destination",
            Self::Port => c"exempt-port",
            Self::Local => c"local",
            Self::Option => c"option",
            Self::Packets => c"packet-filter",
            Self::NoBackend => c"no-backend",
            Self::Refused => c"refused",
        }
    }
}

/// The lists of exempt destinations and ports.
struct Exempt {
    destinations: Option<Arc<List<Rule>>>,
    ports: Option<Arc<List<Rule>>>,
}

/// The settings of a namespace.
#[pin_data]
pub(crate) struct Hijack {
    /// 0: no sockets, 1: TCP, 2: TCP and UDP.
    mode: Atomic<u32>,
    fallback: Atomic<bool>,
    loopback: Atomic<bool>,
    /// Set if listening and datagram sockets outlive their link.
    keeps_services: Atomic<bool>,
    /// Time that calls wait for a link, in milliseconds.
    link_wait: Atomic<u32>,
    #[pin]
    exempt: SpinLock<Exempt>,
    #[pin]
    routes: SpinLock<Option<Arc<List<Route>>>>,
    counts: [Atomic<u64>; Decision::ALL.len()],
}

impl Hijack {
    fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            mode: Atomic::new(0),
            fallback: Atomic::new(false),
            loopback: Atomic::new(true),
            keeps_services: Atomic::new(true),
            link_wait: Atomic::new(0),
            exempt <- new_spinlock!(
                Exempt {
                    destinations: None,
                    ports: None,
                },
                "xensock_exempt"
            ),
            routes <- new_spinlock!(None, "xensock_routes"),
            counts: [const { Atomic::new(0) }; Decision::ALL.len()],
        })
    }

    /// Returns the settings of a namespace. Any context.
    pub(crate) fn of(net: &Namespace) -> Option<Arc<Self>> {
        NetSettings::get().with(net, |settings| settings.hijack.clone())
    }

    /// Returns `true` if any sockets are taken.
    pub(crate) fn is_on(&self) -> bool {
        self.mode.load(Relaxed) > 0
    }

    /// Returns `true` if sockets of a type are taken.
    pub(crate) fn takes(&self, is_stream: bool) -> bool {
        self.mode.load(Relaxed) >= if is_stream { 1 } else { 2 }
    }

    /// Returns `true` if the guest's own protocols replace a backend that refuses or is missing.
    pub(crate) fn falls_back(&self) -> bool {
        self.fallback.load(Relaxed)
    }

    /// Returns `true` if the guest's own addresses are taken too.
    pub(crate) fn takes_loopback(&self) -> bool {
        self.loopback.load(Relaxed)
    }

    /// Returns `true` if listening and datagram sockets are set up again when their link comes
    /// back.
    pub(crate) fn keeps_services(&self) -> bool {
        self.keeps_services.load(Relaxed)
    }

    /// Returns the time that calls wait for a link.
    pub(crate) fn link_wait(&self) -> Msecs {
        self.link_wait.load(Relaxed)
    }

    /// Returns the rules that assign addresses to devices, if there are any. Does not sleep.
    pub(crate) fn routes(&self) -> Option<Arc<List<Route>>> {
        self.routes.lock().clone()
    }

    /// Returns the reason why the first use of a socket is not for the backend, if there is one.
    /// Process context.
    pub(crate) fn exemption(
        &self,
        net: &Namespace,
        transport: IpProtocol,
        first: FirstUse,
    ) -> Option<Decision> {
        let (addr, is_bind) = match first {
            FirstUse::Bind(addr) => (addr, true),
            FirstUse::Connect(Ok(addr)) | FirstUse::Send(Ok(addr)) => (addr, false),
            FirstUse::Connect(Err(_)) | FirstUse::Send(Err(_)) | FirstUse::Listen => return None,
        };
        let ip = match is_bind {
            true => addr.ip().to_canonical(),
            false => destination(addr.ip()),
        };
        let list = {
            let exempt = self.exempt.lock();
            if is_bind {
                exempt.ports.clone()
            } else {
                exempt.destinations.clone()
            }
        };
        if list.is_some_and(|list| list.covers(transport, ip, addr.port())) {
            return Some(if is_bind {
                Decision::Port
            } else {
                Decision::Destination
            });
        }
        if !self.takes_loopback() && net.is_local(ip) {
            return Some(Decision::Local);
        }
        None
    }

    /// Counts and traces a decision, which may concern an address. Any context.
    pub(crate) fn note(&self, reason: Decision, transport: IpProtocol, addr: Option<SocketAddr>) {
        self.counts[reason as usize].add(1, Relaxed);
        trace::decision(reason.name(), transport.name(), addr);
    }
}

/// Parses a flag.
fn flag(value: &[u8]) -> Result<bool> {
    match value {
        b"0" => Ok(false),
        b"1" => Ok(true),
        _ => Err(EINVAL),
    }
}

/// Parses a time.
fn msecs(value: &[u8]) -> Result<Msecs> {
    // A longer time would mean no limit as jiffies.
    const MAX: Msecs = i32::MAX as Msecs;

    let text = core::str::from_utf8(value).map_err(|_| EINVAL)?;
    text.parse().ok().filter(|ms| *ms <= MAX).ok_or(EINVAL)
}

/// Returns the bytes of a text.
fn text(args: fmt::Arguments<'_>) -> Result<KVec<u8>> {
    copy(CString::try_from_fmt(args)?.to_bytes())
}

fn copy(text: &[u8]) -> Result<KVec<u8>> {
    let mut bytes = KVec::new();
    bytes.extend_from_slice(text, GFP_KERNEL)?;
    Ok(bytes)
}

impl Settings for Hijack {
    const PATH: &'static CStr = c"net/xensock";

    const NAMES: &'static [&'static CStr] = &[
        c"hijack",
        c"fallback",
        c"hijack_loopback",
        c"exempt_destinations",
        c"exempt_bind_ports",
        c"link_loss",
        c"link_wait",
        c"route",
        c"decisions",
    ];

    fn show(&self, setting: usize) -> Result<KVec<u8>> {
        let list = match setting {
            0 => return text(fmt!("{}", self.mode.load(Relaxed))),
            1 => return text(fmt!("{}", u8::from(self.fallback.load(Relaxed)))),
            2 => return text(fmt!("{}", u8::from(self.loopback.load(Relaxed)))),
            3 => self.exempt.lock().destinations.clone(),
            4 => self.exempt.lock().ports.clone(),
            5 if self.keeps_services() => return text(fmt!("keep")),
            5 => return text(fmt!("reset")),
            6 => return text(fmt!("{}", self.link_wait())),
            7 => {
                return match self.routes() {
                    Some(list) => copy(list.text()),
                    None => Ok(KVec::new()),
                }
            }
            _ => return self.decisions(),
        };
        list.map_or(Ok(KVec::new()), |list| copy(list.text()))
    }

    fn store(&self, setting: usize, value: &[u8]) -> Result {
        match setting {
            0 => {
                let mode = match value {
                    b"0" => 0,
                    b"1" => 1,
                    b"2" => 2,
                    _ => return Err(EINVAL),
                };
                self.mode.store(mode, Relaxed);
            }
            1 => self.fallback.store(flag(value)?, Relaxed),
            2 => self.loopback.store(flag(value)?, Relaxed),
            3 => {
                let list = List::parse(value)?;
                let old = self.exempt.lock().destinations.replace(list);
                drop(old);
            }
            4 => {
                let list = List::parse(value)?;
                let old = self.exempt.lock().ports.replace(list);
                drop(old);
            }
            5 => {
                let keeps = match value {
                    b"keep" => true,
                    b"reset" => false,
                    _ => return Err(EINVAL),
                };
                self.keeps_services.store(keeps, Relaxed);
            }
            6 => self.link_wait.store(msecs(value)?, Relaxed),
            7 => {
                let list = List::parse(value).inspect_err(|_| {
                    pr_notice!(
                        "route: \"{}\" is not as \"10.0.0.0/8=xensock-1 default=xensock-0\"\n",
                        BStr::from_bytes(value)
                    );
                })?;
                let old = self.routes.lock().replace(list);
                drop(old);
            }
            _ => return Err(EPERM),
        }
        Ok(())
    }
}

impl Hijack {
    fn decisions(&self) -> Result<KVec<u8>> {
        let mut all = KVec::new();
        for reason in Decision::ALL {
            if !all.is_empty() {
                all.push(b' ', GFP_KERNEL)?;
            }
            let count = self.counts[reason as usize].load(Relaxed);
            let word = text(fmt!("{}={count}", reason.name()))?;
            all.extend_from_slice(&word, GFP_KERNEL)?;
        }
        Ok(all)
    }
}

/// The state of each namespace.
pub(crate) struct NetSettings {
    hijack: Arc<Hijack>,
}

pernet_storage!(NetSettings);

impl PerNet for NetSettings {
    fn new(entries: &mut Entries) -> Result<KBox<Self>> {
        let hijack = Arc::pin_init(Hijack::new(), GFP_KERNEL)?;
        entries.add_sysctl(hijack.clone())?;
        entries.add_proc::<SocketList>()?;
        Ok(KBox::new(Self { hijack }, GFP_KERNEL)?)
    }
}
