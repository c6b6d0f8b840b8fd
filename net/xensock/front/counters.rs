// SPDX-License-Identifier: GPL-2.0

//! What a device counts, for debugfs.

use crate::{
    counts::{
        Peak,
        Requests, //
    },
    proto::Command, //
};
use kernel::{
    fmt,
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    }, //
};

/// How many there are of something, and were at most.
struct Gauge {
    now: Atomic<usize>,
    most: Peak,
}

impl Gauge {
    fn new() -> Self {
        Self {
            now: Atomic::new(0),
            most: Peak::new(),
        }
    }

    fn enter(&self) {
        // OVERFLOW: There are no more than fit into memory.
        self.most.note(self.now.fetch_add(1, Relaxed) + 1);
    }

    fn leave(&self) {
        self.now.fetch_sub(1, Relaxed);
    }

    fn show(&self, name: &CStr, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (now, most) = (self.now.load(Relaxed), self.most.get());
        f.write_fmt(fmt!("{name} {now}\n{name}-most {most}\n"))
    }
}

/// The counts of all links of a device, since this module drives it. Any context.
///
/// Nothing here is touched when data move.
pub(crate) struct Counters {
    links: Atomic<u64>,
    lost: Atomic<u64>,
    /// Sockets with a data ring.
    connections: Gauge,
    listeners: Gauge,
    /// How often a connection has had the ring of another.
    reused: Atomic<u64>,
    /// How often a direction of a ring has grown.
    grown: Atomic<u64>,
    /// How often it has given that back, other than at its end.
    shrunk: Atomic<u64>,
    requests: Requests,
    errors: Atomic<u64>,
}

impl Counters {
    pub(crate) fn new() -> Self {
        Self {
            links: Atomic::new(0),
            lost: Atomic::new(0),
            connections: Gauge::new(),
            listeners: Gauge::new(),
            reused: Atomic::new(0),
            grown: Atomic::new(0),
            shrunk: Atomic::new(0),
            requests: Requests::new(),
            errors: Atomic::new(0),
        }
    }

    /// A link stands.
    pub(crate) fn link_up(&self) {
        self.links.add(1, Relaxed);
    }

    /// A link that stood does so no more.
    pub(crate) fn link_lost(&self) {
        self.lost.add(1, Relaxed);
    }

    /// A link knows a socket more.
    pub(crate) fn enter(&self, is_listener: bool) {
        self.gauge(is_listener).enter();
    }

    /// A link has forgotten a socket.
    pub(crate) fn leave(&self, is_listener: bool) {
        self.gauge(is_listener).leave();
    }

    fn gauge(&self, is_listener: bool) -> &Gauge {
        if is_listener {
            &self.listeners
        } else {
            &self.connections
        }
    }

    /// A connection has the ring of another.
    pub(crate) fn ring_reused(&self) {
        self.reused.add(1, Relaxed);
    }

    /// A direction of a ring has grown.
    pub(crate) fn ring_grown(&self) {
        self.grown.add(1, Relaxed);
    }

    /// A direction of a ring has shrunk.
    pub(crate) fn ring_shrunk(&self) {
        self.shrunk.add(1, Relaxed);
    }

    /// A request was sent.
    pub(crate) fn asked(&self, command: Command) {
        self.requests.count(command);
    }

    /// A request was answered.
    pub(crate) fn answered(&self, result: Result) {
        if result.is_err() {
            self.errors.add(1, Relaxed);
        }
    }

    /// Writes a line for each count: its name and the number.
    pub(crate) fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (links, lost) = (self.links.load(Relaxed), self.lost.load(Relaxed));
        f.write_fmt(fmt!("links {links}\nlinks-lost {lost}\n"))?;
        self.connections.show(c"connections", f)?;
        self.listeners.show(c"listeners", f)?;
        f.write_fmt(fmt!("rings-reused {}\n", self.reused.load(Relaxed)))?;
        let (grown, shrunk) = (self.grown.load(Relaxed), self.shrunk.load(Relaxed));
        f.write_fmt(fmt!("rings-grown {grown}\nrings-shrunk {shrunk}\n"))?;
        self.requests.show(f)?;
        f.write_fmt(fmt!("errors {}\n", self.errors.load(Relaxed)))
    }
}
