// SPDX-License-Identifier: GPL-2.0

//! The work queues of a device.

use kernel::{
    prelude::*,
    sync::Arc,
    workqueue::owned::{
        OwnedQueue,
        WqFlag, //
    }, //
};

/// How many threads of the backend domain work for a guest at a time, in each queue. Each of its
/// sockets can always have something to do, and what one guest has to do must not be all that this
/// domain does.
const MAX_WORKERS: u16 = 4;

/// The work queues of a device. Dropping them waits for their work.
pub(crate) struct Queues {
    /// For what waits for nobody.
    pub(crate) work: Arc<OwnedQueue>,
    /// For sockets that join groups: to join and to leave one takes RTNL, which others may hold for
    /// long.
    pub(crate) groups: OwnedQueue,
}

impl Queues {
    /// May sleep.
    pub(crate) fn new() -> Result<Arc<Self>> {
        let work = OwnedQueue::new(c"xensock_back", WqFlag::Unbound, MAX_WORKERS)?;
        let queues = Self {
            work: Arc::new(work, GFP_KERNEL)?,
            groups: OwnedQueue::new(c"xensock_groups", WqFlag::Unbound, MAX_WORKERS)?,
        };
        Ok(Arc::new(queues, GFP_KERNEL)?)
    }

    /// Waits for the work that has been queued. May sleep; not to be called from a work item.
    pub(crate) fn flush(&self) {
        self.work.flush();
        self.groups.flush();
    }
}
