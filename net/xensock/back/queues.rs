// SPDX-License-Identifier: GPL-2.0

//! The work queues of a device.

use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    },
    workqueue::owned::{
        OwnedQueue,
        WqFlag, //
    }, //
};

/// Maximum number of threads of the backend domain that work for a guest at a time, in each queue.
/// All sockets of a guest can have work all the time, and one guest must not occupy the domain.
const MAX_WORKERS: u16 = 4;

/// Maximum number of a device's work items that wait or run in soft interrupts at a time. A processor
/// has one list of such items for all guests, so the items of one device must not be many. They are
/// few as long as the processor keeps up.
const MAX_SOFTIRQS: u32 = 16;

/// The work queues of a device. Dropping them waits for their work.
pub(crate) struct Queues {
    /// For the commands of the guest, which do not wait for the data of its sockets.
    pub(crate) commands: Arc<OwnedQueue>,
    /// For other work items that do not wait for other tasks.
    pub(crate) work: Arc<OwnedQueue>,
    /// For sockets that join groups. Joining and leaving a group takes RTNL, which other tasks may
    /// hold for long.
    pub(crate) groups: OwnedQueue,
    /// Work items that wait or run in soft interrupts, or are about to be queued there.
    softirqs: Atomic<u32>,
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
            softirqs: Atomic::new(0),
        };
        Ok(Arc::new(queues, GFP_KERNEL)?)
    }

    /// Returns `true` if one more work item may wait for a soft interrupt. Then
    /// [`Self::end_softirq`] has to follow: when the item has run, or if it is not queued or was
    /// cancelled. Any context.
    pub(crate) fn begin_softirq(&self) -> bool {
        if self.softirqs.fetch_add(1, Relaxed) < MAX_SOFTIRQS {
            return true;
        }
        self.end_softirq();
        false
    }

    /// Ends what [`Self::begin_softirq`] has begun. Any context.
    pub(crate) fn end_softirq(&self) {
        self.softirqs.fetch_sub(1, Relaxed);
    }

    /// Waits for the work that has been queued. May sleep. Not to be called from a work item.
    pub(crate) fn flush(&self) {
        self.commands.flush();
        self.work.flush();
        self.groups.flush();
    }
}
