// SPDX-License-Identifier: GPL-2.0

//! XenSock in the backend domain: performs the socket calls of guests on sockets of its own.
//!
//! # Objects
//!
//! - [`driver::Backend`]: one for each xenbus device, that is for each guest.
//! - [`guest::Guest`]: a link with a guest; a new one each time that the guest's end comes up.
//! - [`commands`]: what a guest asks, one request at a time.
//! - [`table::Table`]: the sockets of a guest by their ids, within its quota.
//! - [`active::Active`]: a connection, and [`io::Io`]: its TCP socket, data ring and event channel.
//! - [`policy`]: what a guest may do; [`log`]: how much may be said of it.
//!
//! # References and teardown
//!
//! The `Arc` of a guest is held by its device, its command channel and its connections; that of a
//! connection by the table, its event channel, the callbacks of its socket and its work item. All
//! that a connection shares with the guest or with TCP lives in `Active::io`, and only its work item
//! touches that: after RELEASE, a broken rule or the end of the link it takes it apart there, in
//! process context, which also drops the references of channel and callbacks.
//!
//! # Locks, outermost first
//!
//! 1. `Backend::guest` (mutex).
//! 2. `Guest::table` (mutex).
//! 3. `Active::io` (mutex): held by the work item while it moves data.
//! 4. `Guest::ring` (spinlock), `Active::farewell` (spinlocks) and `Guest::channel`
//!    (spinlock, IRQ), `LogLimit::last` (spinlock): short.
//!
//! No lock is held while a socket is waited for: nothing here waits for one.
//!
//! # Contexts
//!
//! - Handlers of event channels: hard interrupt; callbacks of sockets: softirq. Both only queue the
//!   work item. An event channel stays masked until the work is done (late EOI), so that a guest
//!   cannot keep a CPU busy with events.
//! - Work items: process context, on a queue that each device has for itself.

#![forbid(unsafe_code)]

mod active;
mod commands;
mod driver;
mod guest;
mod io;
mod log;
mod policy;
#[path = "../proto/mod.rs"]
pub mod proto;
#[path = "../ring.rs"]
pub mod ring;
mod table;

use kernel::{
    driver::Registration,
    prelude::*,
    xen::xenbus,
    InPlaceModule, //
};

/// The module.
#[pin_data]
struct XenSockBack {
    #[pin]
    _driver: Registration<xenbus::Adapter<driver::Backend>>,
}

impl InPlaceModule for XenSockBack {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
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
}
