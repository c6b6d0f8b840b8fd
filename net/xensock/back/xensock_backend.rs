// SPDX-License-Identifier: GPL-2.0

//! XenSock in the backend domain: performs the socket calls of guests on sockets of this domain.
//!
//! # Objects
//!
//! - [`driver::Backend`]: one for each xenbus device; a guest may have several.
//! - [`link::Link`]: a link with a guest. Each time the guest's end comes up, there is a new one.
//! - [`calls`]: performs the requests of a guest, one at a time.
//! - [`table::Table`]: the sockets of a guest by their ids.
//! - [`guest::Guest`]: the guest as the other objects see it: its transport, its policy and
//!   counters, and the spare rings of the link.
//! - [`transport::Transport`]: the commands ring and the channels of a link;
//!   [`commands::Commands`]: the commands ring.
//! - [`socket::GuestSocket`]: a TCP or UDP socket, with its options and names.
//! - [`listener::Listener`]: a listening socket, and the places for its connections;
//!   [`backlog::Backlog`]: the connections that wait to be accepted.
//! - [`conn::Conn`]: a connection, or a place for a connection that ACCEPT has posted. Its parts
//!   are [`conn_ring::ConnRing`], the data ring with its notifier, and, once there is a socket,
//!   [`fast_path::FastPath`], the ring and the socket, and [`byte_stream::ByteStream`], the state
//!   that only the work item uses.
//! - [`notifier::Notifier`]: an event channel, or a slot in the [`shared_channel::SharedChannel`]
//!   of the link. In either case a [`doorbell::Doorbell`] receives the events and passes them to
//!   the current user of the ring.
//! - [`poller::Poller`]: polls the shared channel instead, if the policy asks for it.
//! - [`ring_pool::RingPool`]: the rings of ended connections, for other connections of the guest.
//! - [`datagram_socket::DatagramSocket`]: a datagram socket. With a ring, it has a
//!   [`frames::Frames`]: the [`conn_ring::ConnRing`] and the UDP socket.
//! - [`pump::Pump`]: the common part of connections and datagram sockets: a work item that moves
//!   their data and takes them apart.
//! - [`outcome_report::OutcomeReport`]: tells the guest the outcome of a CONNECT or an ACCEPT.
//! - [`policy::Policy`]: limits what a guest may do; [`policy::InForce`]: the policy now in force,
//!   one for each device; [`refused::Refused`]: counts what the guest was refused.
//! - [`offer::LinkOffer`]: the offer to the frontend, made once there is a policy.
//! - [`owners::Owners`]: the unprivileged users that own a guest's sockets: one for each owner that
//!   the guest tells apart. The devices of a guest have the same users.
//! - [`quota::Quota`]: the amount of something that a guest has; [`sockets::Sockets`]: the count of
//!   its sockets. TCP itself reports when a socket is gone, which may be long after it was closed.
//! - [`memory::GuestMemory`]: the amount of memory that the buffers of a guest's sockets hold: one
//!   for TCP, one for UDP. [`recount::Recounter`]: has the table count that of TCP once more.
//! - [`counters::Counters`]: the quotas of a guest and counts of its requests, over all links of
//!   its device. Debugfs shows them, in the module's [`directory`].
//! - [`quirks::Quirks`]: the differences of PV Calls frontends.
//! - [`log`]: limits the log lines about a guest.
//!
//! Files stand on floors: each file uses only files below it. `tools/bed/floors.py` shows the
//! floors. A file that has to call upwards defines a trait, which the higher file implements.
//!
//! # References and teardown
//!
//! These hold an `Arc`:
//!
//! - of a backend: the driver's data with its watch, and its work item until the driver is unbound;
//! - of a link: its backend and its command channel;
//! - of the table: the link; listeners and places, until the link takes all of them out; the
//!   `Recounter` and the work item, until the link ends;
//! - of the guest: the link, the table, connections, listeners and datagram sockets;
//! - of a connection: the table, its doorbell, the callbacks of its socket, its work item, and its
//!   listener until the place is filled;
//! - of a datagram socket: the table, its doorbell, the callbacks of its socket, its work item;
//! - of a listener: the table, also with each connection accepted from it; the callbacks of its
//!   socket, its work item.
//!
//! `PumpData::state` holds everything that a connection or a datagram socket shares with the guest
//! and with TCP or UDP. The task that takes the state out takes it apart, in process context. That
//! also drops the references of channel and callbacks. This task is
//!
//! - for RELEASE, a broken rule or the end of the link: the work item of the connection or datagram
//!   socket;
//! - for a RELEASE with `reuse`, if no task moves data: the task that serves RELEASE;
//! - for a posted ACCEPT without a connection, when its listener is closed: the task that closes
//!   the listener.
//!
//! RELEASE and the end of the link close a listener by taking out `Listener::open`. An ACCEPT
//! posted afterwards is given up at once. A listener fills a place only while it is posted and has
//! not been told to end. So a connection either reaches a guest or stays in TCP's queue, where
//! closing the listening socket resets it.
//!
//! The work item or a soft interrupt moves the bytes of a connection, whichever has its
//! [`fast_path::Mover`]. Only the work item moves datagrams. A soft interrupt holds a reference to
//! the `FastPath` only while it has the `Mover`. The work item waits for the `Mover` before it
//! takes anything apart. After the end of the events it waits for the soft interrupt that the last
//! event may have scheduled, so the soft interrupt never drops the last reference to the `Conn`.
//!
//! # Locks, outermost first
//!
//! 1. `Backend::ends`, `Guests::list` (mutexes).
//! 2. `Listener::open` (mutex): held while a connection is accepted, and while the waiting ones are
//!    counted.
//! 3. `PumpData::state` (mutex): held by the work item of a connection or a datagram socket while
//!    it moves data, by the listener while it fills the place, and by ATTACH.
//! 4. `Table::entries`, then `owners::Users::list`; `Transport::news`, `GuestSocket::snapshot` and
//!    `GuestSocket::reuse` (the socket's lock under both), `GuestSocket::tie` (the socket's lock and
//!    those of 5 under it), `Groups::pending`,
//!    `GuestSocket::groups` (RTNL under it), `RingPool::rings` (mutexes).
//! 5. `Commands::ring`, `Conn::pending`, `PumpData::teardown`, `DatagramSocket::socket` (spinlocks)
//!    and `SharedChannel::state`, then `Doorbell::owner` or `SharedChannel::channel`
//!    (`xen::event::Receiver::ending` under it), `Commands::channel`, `Backlog::state`,
//!    `Poller::worker` (spinlocks, IRQ), `LogLimit::last`, `InForce::policy` (spinlocks): short.
//! 6. `Conn::path`, then `SocketMemory::choice` or `Recounter::target`; the extension of a direction
//!    (spinlocks, IRQ): innermost.
//!
//! The fast path takes the spinlock of its socket with no other lock held. Under that spinlock and
//! in socket callbacks, `SharedChannel::channel` and the locks of 6 are taken. A listener's
//! callback takes `Listener::oldest`, then `Conn::place` (spinlocks, IRQ), and `Backlog::state`.
//!
//! No code here waits for a socket, so no lock is held during such a wait. Commands do not take
//! `PumpData::state` while data are moved. Only the work items of sockets that join groups wait for
//! RTNL.
//!
//! # Contexts
//!
//! - Handlers of event channels: hard interrupt; they only queue a work item. Callbacks of sockets:
//!   softirq; they queue a work item, also that of soft interrupts, or receive. An event channel
//!   stays masked until the work is done; the shared channel, until the work has begun (late EOI).
//!   So a guest cannot keep a CPU busy with events.
//! - `WorkItem<SOFTIRQ>` of a connection: softirq. The work item of a `Backend`: process context, on
//!   a queue of the kernel, as it waits for those of the device. All others: process context, on the
//!   queues of the device ([`queues::Queues`]): one for commands, one for sockets that join groups,
//!   and one for the rest.
//! - The thread of a [`poller::Poller`]: process context without preemption while it polls; it also
//!   runs soft interrupts then.

#![forbid(unsafe_code)]

mod backlog;
mod byte_stream;
mod calls;
mod commands;
mod conn;
mod conn_ring;
mod counters;
#[path = "../counts.rs"]
mod counts;
mod datagram_socket;
#[path = "../directory.rs"]
mod directory;
#[path = "../doorbell.rs"]
pub mod doorbell;
mod driver;
mod fast_path;
mod frames;
mod guest;
#[path = "../keeper.rs"]
mod keeper;
mod link;
mod listener;
mod log;
mod memory;
#[path = "../notifier.rs"]
pub mod notifier;
mod offer;
mod outcome_report;
mod owners;
mod policy;
mod poller;
#[path = "../proto/mod.rs"]
pub mod proto;
mod pump;
mod queues;
mod quirks;
mod quota;
mod recount;
mod refused;
#[path = "../ring.rs"]
pub mod ring;
mod ring_pool;
#[path = "../shared_channel.rs"]
pub mod shared_channel;
mod socket;
mod sockets;
mod table;
mod transport;
mod urgent;

use keeper::Keeper;
use kernel::{
    debugfs::Dir,
    driver::Registration,
    net::kernel_socket::Tally,
    prelude::*,
    xen::xenbus,
    InPlaceModule, //
};

/// The module. Its fields are dropped in this order.
#[pin_data]
struct XenSockBack {
    #[pin]
    _driver: Registration<xenbus::Adapter<driver::Backend>>,
    _guests: Keeper<owners::Guests>,
    _sockets: Keeper<Tally>,
    _directory: Keeper<Dir>,
}

impl InPlaceModule for XenSockBack {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            _directory: directory::keep(c"xensock_back")?,
            _sockets: sockets::keep()?,
            _guests: owners::keep()?,
            _driver <- Registration::new(c"xensock_back", module),
        })
    }
}

module! {
    type: XenSockBack,
    name: "xensock_back",
    authors: ["XenSock developers"],
    description: "XenSock backend: performs the socket calls of Xen guests",
    license: "GPL",
    // Not xen-backend:pvcalls, for which the C backend is loaded.
    alias: ["xen-backend:xensock"],
    params: {
        await_policy: bool {
            default: false,
            description: "Let no guest connect before the node policy/complete is there",
        },
        max_ring_pages: u32 {
            default: 131072,
            description: "Pages of data rings of all guests; from half of it on, each has no more than its part",
        },
    },
}
