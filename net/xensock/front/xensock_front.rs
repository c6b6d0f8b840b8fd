// SPDX-License-Identifier: GPL-2.0

//! XenSock in the guest: the protocol family AF_XENSOCK over a Xen device.
//!
//! # Objects
//!
//! - [`driver::Frontend`]: one for each xenbus device. A guest may have several, each with a backend.
//! - [`devices::Devices`]: these, by which sockets find the link that they are to use.
//! - [`link::Link`]: the connection with a backend; a new one each time that the device comes up.
//!   Who has to hear of its end is a [`link::Member`].
//! - [`transport::Transport`]: how a link and its backend speak. What another dialect than the native one
//!   makes different are its [`quirks::Quirks`].
//! - [`commands::Commands`]: the commands ring of a link, with the requests that wait.
//! - [`commands::Exchange`]: a request, and the answer to it. A [`commands::Recipient`] hears of that.
//! - [`stream::Stream`], [`datagram::Datagram`]: what a socket does, by its type.
//! - [`endpoint::Endpoint`]: what a socket has at the backend: its [`EndpointState`](endpoint::EndpointState) is what
//!   there is just now.
//! - [`remote_socket::RemoteSocket`]: the backend's socket for one of ours, made when it is first needed.
//!   Dropping it sends RELEASE. A socket can have several, one after another: [`saved_options::SavedOptions`]
//!   are the options that each of them gets.
//! - [`conn::Conn`]: a connection: a `RemoteSocket` with a data ring and a notifier. A datagram socket has
//!   one too.
//! - [`conn_ring::ConnRing`]: that data ring and notifier, for one connection after another;
//!   [`ring_pool::RingPool`]: those of a link that no connection has. A [`notifier::Notifier`] is an event
//!   channel, or a slot in the [`shared_channel::SharedChannel`] of the link; in either case a
//!   [`doorbell::Doorbell`] hears of events: whom these concern changes.
//! - [`budget::Share`]: the part of the guest's grant table that a connection has.
//! - [`listing::SocketList`]: `/proc/net/xensock`, for each network namespace.
//! - [`counters::Counters`]: what is counted of a device, over all of its links. Debugfs shows it,
//!   in the module's [`directory`].
//! - [`listener::Listener`]: a listening `RemoteSocket`, with the connections that were asked for ahead;
//!   and with a [`listener::LocalListener`] if it is to have those of the guest itself as well.
//! - [`survivors::Survivors`]: the listening and datagram sockets that have lost what the backend had
//!   for them, and wait for a link.
//! - [`family::Family`]: streams and datagrams as sockets of a [`family::AddressFamily`]: of AF_XENSOCK, or of
//!   IPPROTO_XENSOCK under AF_INET or AF_INET6.
//! - [`fallback::Fallback`]: creates such a socket where programs ask for TCP (or UDP);
//!   [`hijack::Hijack`] is what the administrator of a network namespace has chosen. Behind it is a
//!   socket of the guest's own, about which the guest's policy is asked. If it turns out to be none
//!   for the backend, it falls back to that one, which has the file from then on.
//!
//! Files stand on floors: each uses only what is below it. `tools/bed/floors.py` shows them.
//!
//! # References
//!
//! A socket and its link's table of members hold the `Arc` of a connection or a listener. These
//! hold the socket (whose `struct sock` holds the module, so that this cannot be unloaded before
//! the last byte is delivered) and the link. The cycles end where the socket lets go, in
//! `release()` or before; and in `ConnRing::disconnect()`, which drops the reference of the doorbell. A
//! connection that was posted holds the listening socket until it is accepted.
//!
//! Whoever waits for an answer holds the `Exchange`, and so does the commands ring; if the waiting
//! program is killed, the ring's reference is the last one, and goes in a handler. That is why an
//! answered exchange owns nothing but memory.
//!
//! # Life of a connection
//!
//! `connect()` sends CONNECT, behind whatever the backend's socket needs before it. A listener
//! posts ACCEPTs. The outcome comes with the answer, or in the status words of the ring. `close()`
//! sends RELEASE as soon as the backend has taken all that was sent, or after `MAX_PATIENCE`; the
//! connection outlives the socket until then. The answer to RELEASE starts the teardown: leave the
//! ring to another connection, or end its events and revoke the grants; and leave the link's table. A
//! link that goes down tears down all its connections, and its spare rings, itself. The memory of a
//! ring is freed with the connection, not when its sharing ends: a `recv()` may still be reading it.
//!
//! # Locks, outermost first
//!
//! 1. `Endpoint::call` (mutex, waited for killably): calls that change the socket by an answer of the
//!    backend's, for which they wait, killably too. Nothing that must not wait for the backend
//!    takes it: not `send()`, `recv()`, `poll()`, `accept()`, `shutdown()` and `close()`. Where the
//!    last two wait for RELEASE to be answered, they hold no lock.
//! 2. `Stream::transition` (mutex): a change of state. Not held while waiting.
//! 3. `Frontend::link`, then `Link::connected` (mutexes): which link there is; held while it is taken
//!    down. `Link::members`, `RingPool::rings` (mutexes): who hears of that. `ConnRing::unsharing`
//!    (mutex): the end of one's sharing.
//! 4. `Conn::rx`, `Conn::tx` (mutexes): who moves an index of the data ring. Held over the copy,
//!    not while waiting. Independent of each other: full duplex.
//! 5. `Datagram::names`, `Endpoint::inner`, then `Listener::posted` (spinlocks): short.
//!    `Hijack::exempt`, `Hijack::routes` and that of a `LocalListener` (spinlocks) on their own.
//! 6. `SharedChannel::state`, then `Doorbell::owner` (spinlocks, IRQ): held while the handler of a
//!    connection runs.
//! 7. `Conn::state`, then `Events::asked` and `Conn::receive_queue` (spinlocks, IRQ): short.
//! 8. `Devices::all` (spinlock), then `Transport::commands`, `Events::seen`, `ConnRing::notifier`, then `SharedChannel::channel`
//!    (spinlocks, IRQ): innermost, but for the wait queues of a socket, which are woken under
//!    `Conn::state` and `Listener::posted`.
//!
//! A socket falls back under `Endpoint::call` and `Stream::transition`, so that who has waited for
//! one of them finds that it has, and is repeated with the native socket.
//!
//! `lock_sock()` is taken, under the mutexes of 1 and 2 or nothing, for flags of the socket, for
//! opening both directions anew, and for what an accepted socket inherits.
//!
//! # Contexts
//!
//! - Calls of programs: process context.
//! - `Handler::handle()` of a link and of a connection: hard interrupt; of a connection also a work
//!   item, where very many have news on a shared channel. They wake programs, pass
//!   answers on and send requests that were made before, but never sleep, allocate or drop a last
//!   reference, other than that of an exchange.
//! - `Fallback::create()`: process context.
//! - `SavedOptions` and `SocketList::show()`: process context.
//! - `Frontend`: the xenbus thread. `Conn` and `Link` as work items: [`workers::WORKERS`], and
//!   [`workers::FAILURES`] for a link that ends by itself and for events that were too much for a
//!   handler.
//! - `Drop` of a `Stream` or a `Datagram`: any context; by then it owns nothing that matters.

#![forbid(unsafe_code)]

mod addresses;
mod budget;
mod calls;
mod commands;
mod conn;
mod conn_ring;
mod counters;
#[path = "../counts.rs"]
mod counts;
mod datagram;
mod devices;
#[path = "../directory.rs"]
mod directory;
#[path = "../doorbell.rs"]
pub mod doorbell;
mod driver;
mod endpoint;
mod fallback;
mod family;
mod hijack;
#[path = "../keeper.rs"]
mod keeper;
mod link;
mod listener;
mod listing;
#[path = "../notifier.rs"]
pub mod notifier;
mod orders;
#[path = "../proto/mod.rs"]
pub mod proto;
mod quirks;
mod remote_socket;
#[path = "../ring.rs"]
pub mod ring;
mod ring_pool;
mod saved_options;
#[path = "../shared_channel.rs"]
pub mod shared_channel;
mod stream;
mod survivors;
mod transport;
mod workers;

use keeper::Keeper;
use kernel::{
    debugfs::Dir,
    driver::Registration,
    net::{
        pernet,
        substitute, //
    },
    prelude::*,
    xen::{
        self,
        xenbus, //
    },
    InPlaceModule, //
};

/// Fails where there is no Xen, as the registration of the driver would.
fn on_xen() -> Result {
    if xen::is_domain() {
        Ok(())
    } else {
        Err(ENODEV)
    }
}

/// The module. Dropped in this order.
#[pin_data]
struct XenSock {
    _substitute: substitute::Registration<fallback::Fallback>,
    _families: family::Families,
    #[pin]
    _driver: Registration<xenbus::Adapter<driver::Frontend>>,
    _directory: Keeper<Dir>,
    _namespaces: pernet::Registration<hijack::NetSettings>,
    _survivors: Keeper<survivors::Survivors>,
    _devices: Keeper<devices::Devices>,
    _workers: workers::Workers,
    _budget: Keeper<budget::Budget>,
}

impl InPlaceModule for XenSock {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            // Before programs can have sockets: what comes after that should not fail.
            _workers: on_xen().and_then(|()| workers::Workers::new())?,
            _devices: devices::Devices::keep()?,
            _survivors: survivors::Survivors::keep(family::survivor)?,
            _budget: budget::Budget::keep()?,
            _directory: directory::keep(c"xensock")?,
            _namespaces: pernet::Registration::new()?,
            _families: family::Families::new()?,
            _substitute: substitute::Registration::new()?,
            // Waits for devices, and programs are not to wait for that.
            _driver <- Registration::new(c"xensock", module),
        })
    }
}

module! {
    type: XenSock,
    name: "xensock",
    authors: ["XenSock developers"],
    description: "XenSock: sockets of the backend domain for Xen guests",
    license: "GPL",
    alias: [
        "xen:xensock",
        "xen:pvcalls",
        "net-pf-46",
        "net-pf-2-proto-257-type-1",
        "net-pf-2-proto-257-type-2",
        "net-pf-10-proto-257-type-1",
        "net-pf-10-proto-257-type-2",
    ],
    params: {
        ring_order: u8 {
            default: 0,
            description: "Largest order of the data rings, 1 to 9: 2^order pages, half each way",
        },
        features: u16 {
            default: u16::MAX,
            description: "Features of the protocol that links may have, as a mask",
        },
    },
}
