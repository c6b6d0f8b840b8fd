// SPDX-License-Identifier: GPL-2.0

//! Refusals to a guest: counts, and a tracepoint.

use core::net::SocketAddr;
use kernel::{
    fmt,
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
    xen::{
        trace::xensock_back as trace,
        DomId, //
    }, //
};

/// The reason of a refusal.
#[derive(Clone, Copy)]
pub(crate) enum Refusal {
    /// The network namespace for new sockets is not known.
    Namespace,
    /// A socket must not be bound there.
    Bind,
    /// A socket must not connect or send there.
    Connect,
    /// Too many sockets.
    Sockets,
    /// Too many listening sockets.
    Listeners,
    /// Too large a data ring.
    RingOrder,
    /// Too many pages in data rings.
    RingPages,
    /// Too large a datagram.
    Datagram,
    /// A socket must not join that group.
    Group,
    /// Too many groups.
    Groups,
}

impl Refusal {
    const ALL: [Self; 10] = [
        Self::Namespace,
        Self::Bind,
        Self::Connect,
        Self::Sockets,
        Self::Listeners,
        Self::RingOrder,
        Self::RingPages,
        Self::Datagram,
        Self::Group,
        Self::Groups,
    ];

    /// Returns the name of the count.
    fn name(self) -> &'static CStr {
        match self {
            Self::Namespace => c"netns",
            Self::Bind => c"bind",
            Self::Connect => c"connect",
            Self::Sockets => c"sockets",
            Self::Listeners => c"listeners",
            Self::RingOrder => c"ring-order",
            Self::RingPages => c"ring-pages",
            Self::Datagram => c"datagram",
            Self::Group => c"multicast",
            Self::Groups => c"groups",
        }
    }

    /// Returns the error for the guest.
    fn error(self) -> Error {
        match self {
            Self::Namespace | Self::Bind | Self::Connect => EACCES,
            Self::Sockets => EMFILE,
            Self::Listeners | Self::RingOrder | Self::RingPages | Self::Groups => ENOBUFS,
            Self::Datagram => EMSGSIZE,
            Self::Group => EPERM,
        }
    }
}

/// The number of refusals to a guest for each reason, while its device exists.
pub(crate) struct Refused {
    guest: DomId,
    counts: [Atomic<u64>; Refusal::ALL.len()],
}

impl Refused {
    pub(crate) fn new(guest: DomId) -> Self {
        Self {
            guest,
            counts: core::array::from_fn(|_| Atomic::new(0)),
        }
    }

    /// Counts and traces a refusal, which may concern an address, and returns its error. Any
    /// context.
    pub(crate) fn note(&self, reason: Refusal, addr: Option<&SocketAddr>) -> Error {
        // CAST: The index of the reason, and so of its count.
        if let Some(count) = self.counts.get(reason as usize) {
            count.add(1, Relaxed);
        }
        let error = reason.error();
        trace::refused(self.guest, reason.name(), error, addr);
        error
    }

    /// Writes a line for each reason: its name and the count.
    pub(crate) fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (reason, count) in Refusal::ALL.into_iter().zip(&self.counts) {
            f.write_fmt(fmt!("{} {}\n", reason.name(), count.load(Relaxed)))?;
        }
        Ok(())
    }
}
