// SPDX-License-Identifier: GPL-2.0

//! XenSock in the backend domain: performs the socket calls of guests on sockets of its own.
//!
//! # Objects
//!
//! - [`driver::Backend`]: one for each xenbus device, that is for each guest.
//! - [`link::Link`]: a link with a guest; a new one each time that the guest's end comes up.
//! - [`calls`]: what a guest asks, one request at a time.
//! - [`table::Table`]: the sockets of a guest by their ids.
//! - [`guest::Guest`]: what all of these know of the guest: how it is spoken with, what it may have,
//!   and the rings that it has mapped here.
//! - [`transport::Transport`]: how a link and its guest speak; [`commands::Commands`]: the commands
//!   ring.
//! - [`socket::GuestSocket`]: TCP's or UDP's socket, with its options and names.
//! - [`listener::Listener`]: a socket that listens, and the places for its connections;
//!   [`backlog::Backlog`]: the connections that wait at it.
//! - [`conn::Conn`]: a connection, or a place for one: what ACCEPT has posted. Its parts are
//!   [`conn_ring::ConnRing`], the data ring and the notifier, and once there is a connection
//!   [`fast_path::FastPath`], that and the socket, and [`byte_stream::ByteStream`], what else the work
//!   item knows.
//! - [`notifier::Notifier`]: an event channel, or a slot in the [`shared_channel::SharedChannel`] of
//!   the link. In either case a [`doorbell::Doorbell`] hears of events: whom these concern changes.
//! - [`ring_pool::RingPool`]: the rings of connections that have ended, for others of the guest.
//! - [`datagram_socket::DatagramSocket`]: a datagram socket; with a ring, its parts are
//!   [`conn_ring::ConnRing`] and the socket, together [`frames::Frames`].
//! - [`pump::Pump`]: what connections and datagram sockets have in common: a work item that moves
//!   their data, and takes them apart.
//! - [`outcome_report::OutcomeReport`]: how the guest is told what became of a CONNECT or an ACCEPT.
//! - [`policy::Policy`]: what a guest may do; [`policy::InForce`]: the one that counts now, of which
//!   there is one for each device; [`refused::Refused`]: what the guest was refused.
//! - [`offer::LinkOffer`]: what is offered to the frontend, once there is a policy.
//! - [`owners::Owners`]: the users, without privileges, as whom a guest's sockets are used: one for
//!   each owner that the guest tells apart.
//! - [`quota::Quota`]: how much a guest has of something; [`sockets::Sockets`]: of sockets, where TCP
//!   itself tells when they are gone, which may be long after they were closed.
//! - [`memory::Memory`]: what the buffers of a guest's sockets hold of TCP's memory.
//! - [`counters::Counters`]: the quotas of a guest and what it has asked, over all links of its
//!   device. Debugfs shows it, in the module's [`directory`].
//! - [`quirks::Quirks`]: what frontends of PV Calls do otherwise.
//! - [`log`]: how much may be said of a guest.
//!
//! Files stand on floors: each uses only what is below it. `tools/bed/floors.py` shows them. What a
//! lower one has to tell a higher one goes by a trait that it states itself.
//!
//! # References and teardown
//!
//! The `Arc` of a link is held by its device and its command channel; that of its table also by
//! listeners and places, until the link takes all of them out; that of the guest by connections,
//! listeners and datagram sockets as well; that of a connection by the table, its doorbell, the
//! callbacks of its socket, its work item, and its listener until it is filled; that of a datagram
//! socket by the first four of these; that of a listener by the table, also for the connections that
//! come of it, by the callbacks of its socket and by its work item.
//!
//! All that a connection or a datagram socket shares with the guest, and with TCP or UDP, lives in
//! `PumpData::state`. Who takes it out of there takes it apart, in process context, which also drops
//! the references of channel and callbacks. That is
//!
//! - for RELEASE, a broken rule or the end of the link, the work item of the connection or datagram
//!   socket;
//! - for what is posted and has no connection yet, when its listener is closed, who closes that.
//!
//! A listener is closed, by whoever serves RELEASE or ends the link, by taking `Listener::open` out.
//! What is posted afterwards is given up at once. A listener fills only what is posted and has not
//! been told to end, so that a connection comes to a guest or stays in TCP's queue, where closing
//! resets it.
//!
//! Bytes of a connection are moved by its work item or in a soft interrupt, whichever has its
//! [`fast_path::Mover`]; datagrams by the work item only. In a soft interrupt there is a reference to
//! the `FastPath` only for as long as that has the `Mover`, which the work item waits for before it
//! takes anything apart. When there are no more events it waits for the soft interrupt that the last
//! of them has asked for, so that this never has the last reference to the `Conn`.
//!
//! # Locks, outermost first
//!
//! 1. `Backend::link`, `LinkOffer::is_open` (mutexes).
//! 2. `Listener::open` (mutex): held while a connection is accepted.
//! 3. `PumpData::state` (mutex): held by the work item of a connection or a datagram socket while it
//!    moves data, by the listener while it fills the place, and by ATTACH.
//! 4. `Table::entries`, then `Owners::users`; `Transport::news`, `GuestSocket::snapshot`, `Groups::asked`,
//!    `GuestSocket::groups` (RTNL under it), `RingPool::rings` (mutexes).
//! 5. `Commands::ring`, `Conn::asked`, `PumpData::teardown`, `DatagramSocket::socket` (spinlocks) and
//!    `SharedChannel::state`, then `Doorbell::owner` or `SharedChannel::channel`,
//!    `Commands::channel`, `Backlog::state` (spinlocks, IRQ), `LogLimit::last`, `InForce::policy`
//!    (spinlocks): short.
//! 6. `Conn::path`, `SocketMemory::before`, the extension of a direction (spinlocks, IRQ): innermost.
//!
//! The fast path takes the spinlock of its socket under nothing. Under that, and in callbacks, are
//! taken `SharedChannel::channel` and those of 6; by a listener `Listener::oldest`, then
//! `Conn::place` (spinlocks, IRQ), and `Backlog::state`.
//!
//! No lock is held while a socket is waited for: nothing here waits for one. Commands do not take
//! `PumpData::state` while data are moved. RTNL is waited for by the work items of sockets that join
//! groups, and by nobody else.
//!
//! # Contexts
//!
//! - Handlers of event channels: hard interrupt; they only queue a work item. Callbacks of sockets:
//!   softirq; they queue the work item, or receive. An event channel stays masked until the work is
//!   done, or one that is shared until it has begun (late EOI), so that a guest cannot keep a CPU busy
//!   with events.
//! - `WorkItem<SOFTIRQ>` of a connection: softirq. The others: process context, on queues that each
//!   device has for itself ([`queues::Queues`]): one, and another for sockets that join groups.

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
#[path = "../proto/mod.rs"]
pub mod proto;
mod pump;
mod queues;
mod quirks;
mod quota;
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
    prelude::*,
    xen::xenbus,
    InPlaceModule, //
};

/// The module. Dropped in this order.
#[pin_data]
struct XenSockBack {
    #[pin]
    _driver: Registration<xenbus::Adapter<driver::Backend>>,
    _directory: Keeper<Dir>,
}

impl InPlaceModule for XenSockBack {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            _directory: directory::keep(c"xensock_back")?,
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
    alias: ["xen-backend:xensock"],
    params: {
        await_policy: bool {
            default: false,
            description: "Let no guest connect before the node policy/complete is there",
        },
        max_ring_pages: u32 {
            default: 131072,
            description: "Pages of data rings of all guests, above which each has no more than its part",
        },
    },
}
