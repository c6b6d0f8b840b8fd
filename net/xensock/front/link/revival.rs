// SPDX-License-Identifier: GPL-2.0

//! Sets up lost sockets again with this link. Each link has a work item for it, so that a backend
//! that does not respond delays no sockets but those that need this backend. Another one has those
//! tried again that could not be set up for a reason that may pass.

use super::Link;
use crate::proto::rule::route::DeviceName;
use kernel::{
    sync::Arc,
    time::{
        msecs_to_jiffies,
        Delta,
        Msecs, //
    },
    workqueue::{
        owned::enqueue_delayed,
        WorkItem, //
    }, //
};

/// The work item [`Link::revival`].
pub(super) const REVIVAL: u64 = 4;

/// The work item [`Link::next_revival`].
pub(super) const NEXT_REVIVAL: u64 = 6;

/// Time between two attempts, in milliseconds.
const PERIOD: Msecs = 1000;

/// Time in which the network of a backend's domain is set up, from the moment on when the link is
/// made. Enough for a domain to boot.
const TIME_TO_SET_UP: Delta = Delta::from_secs(60);

/// Sets up the lost sockets that would use the link of this device, which may be
/// [new](Link::is_new). Returns `true` if some have to be tried again. Waits for the backend.
pub(crate) type Revive = fn(DeviceName, bool) -> bool;

impl Link {
    /// Makes the work item look for lost sockets. Any context.
    pub(crate) fn revive_survivors(self: &Arc<Self>) {
        // One queued item does all the work.
        let _ = self.workers.enqueue::<_, REVIVAL>(self.clone());
    }

    /// Returns `true` while the network of the backend's domain may not be set up yet.
    pub(crate) fn is_new(&self) -> bool {
        self.birth.elapsed() < TIME_TO_SET_UP
    }
}

impl WorkItem<REVIVAL> for Link {
    type Pointer = Arc<Link>;

    fn run(this: Arc<Link>) {
        if (this.revive)(this.name, this.is_new()) {
            this.while_up(|| {
                // One queued item does all the work.
                let _ = enqueue_delayed::<_, NEXT_REVIVAL>(this.clone(), msecs_to_jiffies(PERIOD));
            });
        }
    }
}

impl WorkItem<NEXT_REVIVAL> for Link {
    type Pointer = Arc<Link>;

    fn run(this: Arc<Link>) {
        this.revive_survivors();
    }
}
