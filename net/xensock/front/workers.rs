// SPDX-License-Identifier: GPL-2.0

//! The module's workqueues.

use kernel::{
    prelude::*,
    sync::{
        Arc,
        GlobalArc, //
    },
    workqueue::owned::{
        OwnedQueue,
        WqFlag, //
    }, //
};

/// The queue for the work items of links and connections, which may wait for the backend: for
/// example the teardown of a connection.
pub(crate) static WORKERS: GlobalArc<OwnedQueue> = GlobalArc::new();

/// The queue for links whose backend has broken the rules, and for other work that must not wait
/// for the backend, as work items in [`WORKERS`] may.
pub(crate) static FAILURES: GlobalArc<OwnedQueue> = GlobalArc::new();

/// Keeps [`WORKERS`] and [`FAILURES`] alive as long as the module is loaded.
pub(crate) struct Workers;

impl Workers {
    /// Creates the workqueues. May sleep.
    pub(crate) fn new() -> Result<Self> {
        let workers = OwnedQueue::new(c"xensock", WqFlag::Unbound, 0)?;
        let failures = OwnedQueue::new(c"xensock_failures", WqFlag::Unbound, 0)?;
        let (workers, failures) = (
            Arc::new(workers, GFP_KERNEL)?,
            Arc::new(failures, GFP_KERNEL)?,
        );
        WORKERS.set(workers);
        FAILURES.set(failures);
        Ok(Self)
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        // No device is left, and no socket. The last of their work items may still be returning;
        // after the flush, this is the last reference.
        for queue in [&FAILURES, &WORKERS] {
            if let Some(queue) = queue.take() {
                queue.flush();
            }
        }
    }
}
