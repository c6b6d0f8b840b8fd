// SPDX-License-Identifier: GPL-2.0

//! XenSock in the guest: the protocol family AF_XENSOCK over a Xen device.
//!
//! # Objects
//!
//! - [`driver::Frontend`]: one for each xenbus device, of which a guest has one.
//! - [`link::Link`]: the connection with a backend; a new one each time that the device comes up.
//!   [`LINK`] holds the one that new sockets use.
//! - [`commands::Commands`]: the commands ring of a link, with the requests that wait.
//! - [`conn::Conn`]: a connection, with its data ring and event channel.
//! - [`stream::Stream`]: what a socket owns; it has a connection from `connect()` on.
//! - [`family::Family`]: a stream as a socket of AF_XENSOCK.
//!
//! # References
//!
//! A socket and its link's table hold the `Arc` of a connection. The connection holds the socket
//! (whose `struct sock` holds the module, so that this cannot be unloaded before the last byte is
//! delivered) and the link. The cycles end in `release()`, where the socket lets go, and in
//! `Conn::unshare()`, which drops the event channel and with it the reference of its handler.
//!
//! # Life of a connection
//!
//! `connect()` sends SOCKET and CONNECT in one go. `close()` sends RELEASE as soon as the backend
//! has taken all that was sent, or after `MAX_PATIENCE`; the connection outlives the socket until
//! then. The answer to RELEASE starts the teardown: close the event channel, revoke the grants, leave the link's table.
//! A link that goes down tears down all its connections itself. The memory of a ring is freed with
//! the connection, not when its sharing ends: a `recv()` may still be reading it.
//!
//! # Locks, outermost first
//!
//! 1. `Stream::transition` (mutex): connect and close of one socket. Not held while sleeping for
//!    the backend.
//! 2. `Frontend::link`, then `Link::down` (mutexes): which link there is; held while it is taken down.
//!    `Link::conns` (mutex): its connections. `Conn::unsharing` (mutex): the end of one's sharing.
//! 3. `Conn::rx`, `Conn::tx` (mutexes): who moves an index of the data ring. Held over the copy, not
//!    while waiting. Independent of each other: full duplex.
//! 4. `Stream::conn` (spinlock), `Conn::owner`, then `Conn::asked` (spinlocks, IRQ): short.
//! 5. `Link::commands` (spinlock, IRQ), `Conn::channel` (spinlock, IRQ): innermost, but for the wait
//!    queues of a socket, which are woken under `Conn::owner`.
//!
//! `lock_sock()` is taken for the flag SOCK_DONE and for opening both directions anew, under
//! `Stream::transition` or nothing.
//!
//! # Contexts
//!
//! - Calls of programs: process context.
//! - `Handler::handle()` of a link and of a connection: hard interrupt. They wake programs, pass
//!   answers on and send requests, but never sleep, allocate or drop a last reference.
//! - `Frontend`: the xenbus thread. `Conn` and `Link` as work items: [`WORKERS`].
//! - `Drop` of a `Stream`: any context; by then it owns nothing.

#![forbid(unsafe_code)]

mod commands;
mod conn;
mod driver;
mod family;
mod link;
#[path = "../proto/mod.rs"]
pub mod proto;
#[path = "../ring.rs"]
pub mod ring;
mod stream;

use kernel::{
    driver::Registration,
    net::family::Registration as FamilyRegistration,
    prelude::*,
    sync::{
        Arc,
        GlobalArc, //
    },
    workqueue::owned::{
        OwnedQueue,
        WqFlag, //
    },
    xen::xenbus,
    InPlaceModule, //
};

/// The type of socket that this version has.
pub(crate) const SOCK_STREAM: u32 = 1;

/// The link that new connections use; none while no backend is connected.
pub(crate) static LINK: GlobalArc<link::Link> = GlobalArc::new();

/// Where connections are torn down.
pub(crate) static WORKERS: GlobalArc<OwnedQueue> = GlobalArc::new();

/// The order of new rings that the administrator wants.
pub(crate) fn wanted_order() -> proto::ring::Order {
    let order = u32::from(module_parameters::ring_order.value());
    proto::ring::Order::new(order).unwrap_or(DEFAULT_ORDER)
}

/// 32 KiB each way.
const DEFAULT_ORDER: proto::ring::Order = match proto::ring::Order::new(4) {
    Some(order) => order,
    None => proto::ring::Order::MIN,
};

/// Keeps [`WORKERS`] alive for as long as the module is.
struct Workers;

impl Workers {
    fn new() -> Result<Self> {
        let queue = OwnedQueue::new(c"xensock", WqFlag::Unbound, 0)?;
        WORKERS.set(Arc::new(queue, GFP_KERNEL)?);
        Ok(Self)
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        // No device is left, and no socket; the last of their work items may still be returning.
        // Once it has, this is the last reference.
        if let Some(queue) = WORKERS.take() {
            queue.flush();
        }
    }
}

/// The module. Dropped in this order.
#[pin_data]
struct XenSock {
    _family: FamilyRegistration<family::Family>,
    #[pin]
    _driver: Registration<xenbus::Adapter<driver::Frontend>>,
    _workers: Workers,
}

impl InPlaceModule for XenSock {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            _workers: Workers::new()?,
            _family: FamilyRegistration::new()?,
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
    alias: ["xen:xensock", "xen:pvcalls", "net-pf-46"],
    params: {
        ring_order: u8 {
            default: 4,
            description: "Order of the data rings, 1 to 9: 2^order pages, half each way",
        },
    },
}
