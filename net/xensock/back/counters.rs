// SPDX-License-Identifier: GPL-2.0

//! Counts of a guest's resources in this domain and of its requests, for debugfs.

use crate::{
    counts::Requests,
    proto::Command,
    quota::{
        Quota,
        MAPPED_PAGES, //
    },
    sockets::Sockets, //
};
use kernel::{
    fmt,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    }, //
};

/// The counters of a guest, over all links of its device.
///
/// Moving data changes the memory, by a page or more at a time, and else only counts datagrams that
/// are dropped, and rings that grow or shrink.
pub(crate) struct Counters {
    /// The sockets, which can outlive the link.
    pub(crate) sockets: Arc<Sockets>,
    /// The listening sockets.
    pub(crate) listeners: Arc<Quota>,
    /// The pages mapped for data rings.
    pub(crate) pages: Arc<Quota>,
    /// Those of spare rings.
    spare_pages: Atomic<usize>,
    datagram_drops: Atomic<u64>,
    links: Atomic<u64>,
    lost: Atomic<u64>,
    requests: Requests,
    malformed: Atomic<u64>,
    errors: Atomic<u64>,
}

impl Counters {
    pub(crate) fn new() -> Result<Arc<Self>> {
        let counters = Self {
            sockets: Sockets::new()?,
            listeners: Quota::new()?,
            pages: Quota::part_of(&MAPPED_PAGES)?,
            spare_pages: Atomic::new(0),
            datagram_drops: Atomic::new(0),
            links: Atomic::new(0),
            lost: Atomic::new(0),
            requests: Requests::new(),
            malformed: Atomic::new(0),
            errors: Atomic::new(0),
        };
        Ok(Arc::new(counters, GFP_KERNEL)?)
    }

    /// Counts a link that has come up.
    pub(crate) fn link_up(&self) {
        self.links.add(1, Relaxed);
    }

    /// Counts a link that has gone down.
    pub(crate) fn link_lost(&self) {
        self.lost.add(1, Relaxed);
    }

    /// Counts the pages of a ring that has become a spare ring.
    pub(crate) fn count_spare(&self, pages: usize) {
        self.spare_pages.add(pages, Relaxed);
    }

    /// Counts the pages of a ring that is no spare ring any more.
    pub(crate) fn count_no_spare(&self, pages: usize) {
        self.spare_pages.fetch_sub(pages, Relaxed);
    }

    /// Counts a datagram of the guest that was dropped for lack of memory.
    pub(crate) fn count_datagram_drop(&self) {
        self.datagram_drops.add(1, Relaxed);
    }

    /// Counts a request, or with [`None`] a malformed request.
    pub(crate) fn count_request(&self, command: Option<Command>) {
        match command {
            Some(command) => self.requests.count(command),
            None => self.malformed.add(1, Relaxed),
        }
    }

    /// Counts a response. `error` is 0 or the error number on the wire.
    pub(crate) fn count_response(&self, error: i32) {
        if error != 0 {
            self.errors.add(1, Relaxed);
        }
    }

    /// Writes a line for each count: its name and the number.
    pub(crate) fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (links, lost) = (self.links.load(Relaxed), self.lost.load(Relaxed));
        f.write_fmt(fmt!("links {links}\nlinks-lost {lost}\n"))?;
        show(c"sockets", self.sockets.open(), f)?;
        f.write_fmt(fmt!("sockets-closed {}\n", self.sockets.closed()))?;
        show(c"listeners", &self.listeners, f)?;
        f.write_fmt(fmt!("waiting {}\n", self.sockets.waiting.count()))?;
        show(c"groups", &self.sockets.groups, f)?;
        f.write_fmt(fmt!("memory {}\n", self.sockets.memory.used()))?;
        f.write_fmt(fmt!("datagram-memory {}\n", self.sockets.datagrams.used()))?;
        let dropped = self.datagram_drops.load(Relaxed);
        f.write_fmt(fmt!("datagram-drops {dropped}\n"))?;
        show(c"ring-pages", &self.pages, f)?;
        let spare = self.spare_pages.load(Relaxed);
        f.write_fmt(fmt!("spare-pages {spare}\n"))?;
        self.requests.show(f)?;
        let malformed = self.malformed.load(Relaxed);
        let errors = self.errors.load(Relaxed);
        f.write_fmt(fmt!("malformed {malformed}\nerrors {errors}\n"))
    }
}

fn show(name: &CStr, quota: &Quota, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let (used, most) = (quota.used(), quota.most());
    f.write_fmt(fmt!("{name} {used}\n{name}-most {most}\n"))
}
