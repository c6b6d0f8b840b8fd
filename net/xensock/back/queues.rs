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

/// Maximum number of threads of the backend domain that work for a guest at a time, in each queue.
/// All sockets of a guest can have work all the time, and one guest must not occupy the domain.
const MAX_WORKERS: u16 = 4;

/// The work queues of a device. Dropping them waits for their work.
pub(crate) struct Queues {
    /// For the commands of the guest, which do not wait for the data of its sockets.
    pub(crate) commands: Arc<OwnedQueue>,
    /// For other work items that do not wait for other tasks.
    pub(crate) work: Arc<OwnedQueue>,
    /// For sockets that join groups. Joining and leaving a group takes RTNL, which other tasks may
    /// hold for long.
    pub(crate) groups: OwnedQueue,
}

impl Queues {
    /// Creates the queues. May sleep.
    pub(crate) fn new() -> Result<Arc<Self>> {
        let commands = OwnedQueue::new(c"xensock_commands", WqFlag::Unbound, MAX_WORKERS)?;
        let work = OwnedQueue::new(c"xensock_back", WqFlag::Unbound, MAX_WORKERS)?;
        let queues = Self {
            commands: Arc::new(commands, GFP_KERNEL)?,
            work: Arc::new(work, GFP_KERNEL)?,
            groups: OwnedQueue::new(c"xensock_groups", WqFlag::Unbound, MAX_WORKERS)?,
        };
        Ok(Arc::new(queues, GFP_KERNEL)?)
    }

    /// Waits for the work that has been queued. May sleep. Not to be called from a work item.
    pub(crate) fn flush(&self) {
        self.commands.flush();
        self.work.flush();
        self.groups.flush();
    }
}
