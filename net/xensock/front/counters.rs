// SPDX-License-Identifier: GPL-2.0

//! The counters of a device, for debugfs.

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

/// A current number and its maximum.
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

/// The counters of all links of a device, since this module drives it. Any context.
///
/// Moving data touches no counter, unless a ring grows or shrinks.
pub(crate) struct Counters {
    links: Atomic<u64>,
    lost: Atomic<u64>,
    /// Connections, also those that wait for `accept()` or have yet to end at the backend.
    connections: Gauge,
    listeners: Gauge,
    /// Number of connections that got the ring of an earlier one.
    reused: Atomic<u64>,
    /// Number of times a direction of a ring has grown.
    grown: Atomic<u64>,
    /// Number of times a direction has shrunk before its end.
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

    /// Counts a link that was connected.
    pub(crate) fn link_up(&self) {
        self.links.add(1, Relaxed);
    }

    /// Counts a connected link that has ended.
    pub(crate) fn link_lost(&self) {
        self.lost.add(1, Relaxed);
    }

    /// Counts a connection or a listener that was added to a link.
    pub(crate) fn enter(&self, is_listener: bool) {
        self.gauge(is_listener).enter();
    }

    /// Counts a connection or a listener that was removed from a link.
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

    /// Counts a connection that got the ring of an earlier one.
    pub(crate) fn ring_reused(&self) {
        self.reused.add(1, Relaxed);
    }

    /// Counts a direction of a ring that has grown.
    pub(crate) fn ring_grown(&self) {
        self.grown.add(1, Relaxed);
    }

    /// Counts a direction of a ring that has shrunk.
    pub(crate) fn ring_shrunk(&self) {
        self.shrunk.add(1, Relaxed);
    }

    /// Counts a request that was sent.
    pub(crate) fn count_request(&self, command: Command) {
        self.requests.count(command);
    }

    /// Counts a response.
    pub(crate) fn count_response(&self, result: Result) {
        if result.is_err() {
            self.errors.add(1, Relaxed);
        }
    }

    /// Writes a line for each counter: its name and value.
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
