// SPDX-License-Identifier: GPL-2.0

//! XenSock in the guest: the protocol family AF_XENSOCK over a Xen device.
//!
//! # Objects
//!
//! - [`driver::Frontend`]: one per xenbus device. A guest may have several devices, each with its
//!   own backend.
//! - [`devices::Devices`]: all devices of the guest. Sockets look up their link here.
//! - [`link::Link`]: the link to a backend. A new one is created each time the device comes up. A
//!   [`link::Member`] is notified when the link ends.
//! - [`transport::Transport`]: requests, responses and negotiated features of a link.
//!   [`quirks::Quirks`] are the differences between another dialect and the native one.
//! - [`commands::Commands`]: the commands ring of a link and its pending requests.
//! - [`commands::Exchange`]: a request and its response. A [`commands::Recipient`] is notified of
//!   the response.
//! - [`stream::Stream`], [`datagram::Datagram`]: the socket operations, one type per socket type.
//! - [`endpoint::Endpoint`]: a socket's state at the backend.
//!   [`EndpointState`](endpoint::EndpointState) is the current state.
//! - [`remote_socket::RemoteSocket`]: the backend's socket for a socket of the guest, created when
//!   first needed. Dropping it sends RELEASE. A socket can have several remote sockets, one after
//!   another; each gets the options in [`saved_options::SavedOptions`].
//! - [`conn::Conn`]: a connection: a `RemoteSocket` with a data ring and a notifier. A datagram
//!   socket also has a connection.
//! - [`conn_ring::ConnRing`]: the data ring and the notifier, used by one connection after another.
//!   [`ring_pool::RingPool`] holds the spare rings of a link. A [`notifier::Notifier`] is an event
//!   channel, or a slot in the [`shared_channel::SharedChannel`] of the link. In either case a
//!   [`doorbell::Doorbell`] receives the events and passes them to the current connection.
//! - [`budget::Share`]: a connection's part of the guest's grant table.
//! - [`listing::SocketList`]: `/proc/net/xensock`, for each network namespace.
//! - [`counters::Counters`]: the counters of a device, over all of its links. Debugfs shows them,
//!   in the module's [`directory`].
//! - [`listener::Listener`]: a listening `RemoteSocket` and the connections posted ahead of
//!   `accept()`. It has a [`listener::LocalListener`] if it also takes connections of the guest
//!   itself.
//! - [`survivors::Survivors`]: the listening and datagram sockets that have lost their backend
//!   state and wait for a link.
//! - [`family::Family`]: streams and datagrams as sockets of a [`family::AddressFamily`]:
//!   AF_XENSOCK, or IPPROTO_XENSOCK under AF_INET or AF_INET6.
//! - [`fallback::Fallback`]: creates such a socket when a program asks for TCP (or UDP).
//!   [`hijack::Hijack`] is the setting of the network namespace's administrator. The fallback keeps
//!   a socket of the guest's own TCP or UDP behind the new socket, and the guest's policy is
//!   applied to that one. If the socket turns out not to be for the backend, it falls back: the
//!   file belongs to the guest's own socket from then on.
//!
//! Files stand on floors: each file uses only the files below it. `tools/bed/floors.py` shows them.
//!
//! # References
//!
//! A socket and its link's table of members hold the `Arc` of a connection or a listener. The
//! connection or listener holds the link and the socket. Its `struct sock` holds the module, so the
//! module cannot be unloaded before the last byte is delivered. The cycles end when the socket
//! drops its reference, in `release()` or before, and in `ConnRing::disconnect()`, which drops the
//! reference of the doorbell. A posted connection holds the listening socket until the connection
//! is accepted.
//!
//! The task that waits for a response holds the `Exchange`, and so does the commands ring. If the
//! waiting program is killed, the ring's reference is the last one, and a handler drops it. Hence
//! an answered exchange owns nothing but memory.
//!
//! # Life of a connection
//!
//! `connect()` sends CONNECT, after any requests that set up the backend's socket. A listener posts
//! ACCEPTs. The outcome arrives with the response, or in the status words of the ring. `close()`
//! sends RELEASE as soon as the backend has taken all bytes that were sent, or after
//! `MAX_PATIENCE`; the connection outlives the socket until then. The response to RELEASE starts
//! the teardown. The teardown leaves the ring to another connection, or ends its events and revokes
//! the grants, and removes the connection from the link's table. A link that goes down tears down
//! all its connections and its spare rings itself. The memory of a ring is freed with the
//! connection, not when its sharing ends: `recv()` may still be reading it.
//!
//! # Locks, outermost first
//!
//! 1. `Endpoint::call` (mutex, taken killably): held by calls that change the socket by a response
//!    of the backend, while they wait for that response, killably too. Calls that must not wait for
//!    each other do not take it: `send()`, `recv()`, `poll()`, `accept()`, `shutdown()` and
//!    `close()`. The exceptions are `send()` and `recv()` of a datagram socket that needs a data
//!    ring first. Where `shutdown()` and `close()` wait for the response to RELEASE, they hold no
//!    lock.
//! 2. `Stream::transition` (mutex): changes of the socket's state. Not held while waiting.
//! 3. `Frontend::ends`, then `Link::connected` (mutexes): the current link; held while the link is
//!    taken down. `Link::members`, `RingPool::rings` (mutexes): the connections, listeners and
//!    rings that have to be taken down. `ConnRing::unsharing` (mutex): the end of the sharing of
//!    one ring. `Survivors::lost` (mutex): the sockets that wait for a link. `Growth::has_ended`
//!    (mutex), outside of `Link::members`: held for a step of growth, which tries the locks of 4
//!    and does not wait for them. `Budget::users` (mutex): held while a ring or a direction takes
//!    grants; no lock of this list is taken under it. `Workers::devices` (mutex): held while a
//!    device gets its workqueue; likewise.
//! 4. `Conn::rx`, `Conn::tx` (mutexes): the right to move an index of the data ring. Held over the
//!    copy, not while waiting. Independent of each other: full duplex.
//! 5. `Endpoint::inner`, then `Datagram::names` or `Listener::posted` (spinlocks): short.
//!    `Conn::joins` (spinlock): held while a request is queued. `Hijack::exempt`, `Hijack::routes`
//!    and the lock of a `LocalListener` (spinlocks) do not nest with others.
//! 6. `SharedChannel::state`, then `Doorbell::owner` (spinlocks, IRQ): held while the handler of a
//!    connection runs.
//! 7. `Conn::state`, then `Growth::sides`, `Events::requested` and `Conn::receive_queue`
//!    (spinlocks, IRQ): short.
//! 8. `Devices::all` (spinlock), then `Transport::commands`, `Link::shortages`,
//!    `RingPool::places`, `Events::seen`, `Conn::urgent`, `ConnRing::notifier`, then
//!    `SharedChannel::channel`, then `xen::event::Receiver::ending` (spinlocks, IRQ): innermost,
//!    except for the locks of a socket's wait queues: tasks are woken under `Conn::state` and
//!    `Listener::posted`.
//!
//! A socket falls back under `Endpoint::call` and `Stream::transition`. A call that has waited for
//! one of them sees the fallback and is repeated with the native socket.
//!
//! `lock_sock()` is taken under the mutexes of 1 and 2 or under no lock: to change flags and
//! options of the socket, and to copy them to another one: an accepted socket, or one of the
//! guest's own TCP or UDP; and to number calls with `MSG_ZEROCOPY`.
//!
//! # Contexts
//!
//! - Calls of programs: process context.
//! - `Handler::handle()` of a link and of a connection: hard interrupt. The handler of a connection
//!   also runs in a work item, when many slots of a shared channel have news, and in the call that
//!   connects it to its ring. Handlers wake programs, deliver responses and send requests that were
//!   prepared before. They never sleep, nor drop a last reference, other than that of an exchange.
//!   They allocate only what is not essential: the payload and the queue entry of a report.
//! - `Fallback::create()`: process context.
//! - `Hijack::show()`, `Hijack::store()` and `SocketList::show()`: process context.
//! - `Frontend`: the xenbus thread, and a queue of the kernel to try again. `Conn` and `Link` as
//!   work items: the queue of their device; and the queue of failures for a link that ends by itself
//!   and for events and responses that were too many for a handler. [`workers::Workers`] has these
//!   queues.
//! - `Drop` of a `Stream` or a `Datagram`: any context. Nothing is left to tear down by then.

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
mod errors;
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

/// Fails if the kernel does not run on Xen, as the registration of the driver would.
fn on_xen() -> Result {
    if xen::is_domain() {
        Ok(())
    } else {
        Err(ENODEV)
    }
}

type Driver = Registration<xenbus::Adapter<driver::Frontend>>;

/// Registers the driver, and waits a while for the devices that there are.
///
/// Programs may have sockets by now, and the kernel would free the code under them if the module
/// failed. So without the driver the module stays, and there are no devices.
fn register_driver(module: &'static ThisModule) -> Option<Pin<KBox<Driver>>> {
    KBox::pin_init(Registration::new(c"xensock", module), GFP_KERNEL)
        .inspect_err(|error| pr_err!("no devices: cannot register the driver ({:?})\n", error))
        .ok()
}

/// The module. Its fields are dropped in this order.
#[pin_data]
struct XenSock {
    _substitute: substitute::Registration<fallback::Fallback>,
    _families: family::Families,
    _driver: Option<Pin<KBox<Driver>>>,
    _directory: Keeper<Dir>,
    _namespaces: pernet::Registration<hijack::NetSettings>,
    _survivors: Keeper<survivors::Survivors>,
    _devices: Keeper<devices::Devices>,
    _workers: workers::WorkersKeeper,
    _budget: Keeper<budget::Budget>,
}

impl InPlaceModule for XenSock {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            // Before programs can have sockets, after which nothing may fail.
            _workers: on_xen().and_then(|()| workers::Workers::keep())?,
            _devices: devices::Devices::keep()?,
            _survivors: survivors::Survivors::keep(family::survivor)?,
            _budget: budget::Budget::keep()?,
            _directory: directory::keep(c"xensock")?,
            _namespaces: pernet::Registration::new()?,
            _families: family::Families::new()?,
            // Fails only if another module substitutes sockets.
            _substitute: substitute::Registration::new()?,
            // Last, because it waits for devices, and programs should not wait for them.
            _driver: register_driver(module),
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
