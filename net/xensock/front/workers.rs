// SPDX-License-Identifier: GPL-2.0

//! The module's workqueues.
//!
//! Each device has a queue of its own, as a backend that does not answer may fill it with work
//! items that wait for it. The queues stay until the module is unloaded, for the device that has
//! the same name next: a socket may keep a link, and with it its queue, for longer than the device
//! exists, and a queue must not be dropped by one of its own work items.

use crate::proto::rule::route::DeviceName;
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        GlobalArc,
        Mutex, //
    },
    workqueue::owned::{
        OwnedQueue,
        WqFlag, //
    }, //
};

/// The workqueues, as long as the module is loaded.
static WORKERS: GlobalArc<Workers> = GlobalArc::new();

/// The module's workqueues.
#[pin_data]
pub(crate) struct Workers {
    failures: Arc<OwnedQueue>,
    #[pin]
    devices: Mutex<KVec<DeviceWorkers>>,
}

/// The queue of a device.
struct DeviceWorkers {
    name: DeviceName,
    queue: Arc<OwnedQueue>,
}

impl Workers {
    /// Allows workqueues to be used. May sleep.
    pub(crate) fn keep() -> Result<WorkersKeeper> {
        let failures = Arc::new(new_queue(c"xensock_failures")?, GFP_KERNEL)?;
        let workers = pin_init!(Self {
            failures,
            devices <- new_mutex!(KVec::new(), "xensock_workers"),
        });
        WORKERS.set(Arc::pin_init(workers, GFP_KERNEL)?);
        Ok(WorkersKeeper)
    }

    /// Returns the queue for the work items of a device's links and connections, which may wait for
    /// its backend: for example the teardown of a connection. May sleep.
    pub(crate) fn of_device(name: DeviceName) -> Result<Arc<OwnedQueue>> {
        let workers = WORKERS.get().ok_or(ENODEV)?;
        let mut devices = workers.devices.lock();
        if let Some(known) = devices.iter().find(|known| known.name == name) {
            return Ok(known.queue.clone());
        }
        let queue = Arc::new(new_queue(c"xensock")?, GFP_KERNEL)?;
        let device = DeviceWorkers {
            name,
            queue: queue.clone(),
        };
        devices.push(device, GFP_KERNEL)?;
        Ok(queue)
    }

    /// Returns the queue for links whose backend has broken the rules, and for other work that must
    /// not wait for a backend. May sleep.
    pub(crate) fn failures() -> Result<Arc<OwnedQueue>> {
        Ok(WORKERS.get().ok_or(ENODEV)?.failures.clone())
    }
}

fn new_queue(name: &'static CStr) -> Result<OwnedQueue> {
    OwnedQueue::new(name, WqFlag::Unbound, 0)
}

/// Keeps [`Workers`] as long as the module is loaded.
pub(crate) struct WorkersKeeper;

impl Drop for WorkersKeeper {
    fn drop(&mut self) {
        let Some(workers) = WORKERS.take() else {
            return;
        };
        // No device is left, and no socket. The last of their work items may still be returning;
        // after the flush, these are the last references.
        workers.failures.flush();
        for device in workers.devices.lock().iter() {
            device.queue.flush();
        }
    }
}
