// SPDX-License-Identifier: GPL-2.0

//! Sets up lost sockets again with this link. Each link has a work item for it, so that a backend
//! that does not respond delays no sockets but those that need this backend.

use super::Link;
use crate::proto::rule::route::DeviceName;
use kernel::{
    sync::Arc,
    workqueue::WorkItem, //
};

/// The work item [`Link::revival`].
pub(super) const REVIVAL: u64 = 4;

/// Sets up the lost sockets that would use the link of this device. Waits for the backend.
pub(crate) type Revive = fn(DeviceName);

impl Link {
    /// Has the work item look for lost sockets. Any context.
    pub(crate) fn revive_survivors(self: &Arc<Self>) {
        // One queued item does all the work.
        let _ = self.workers.enqueue::<_, REVIVAL>(self.clone());
    }
}

impl WorkItem<REVIVAL> for Link {
    type Pointer = Arc<Link>;

    fn run(this: Arc<Link>) {
        (this.revive)(this.name);
    }
}
