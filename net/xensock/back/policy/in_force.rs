// SPDX-License-Identifier: GPL-2.0

//! The policy of a guest that is in force. It changes when its nodes do.

use super::Policy;
use crate::{
    owners::Owners,
    refused::Refused,
    sockets::Sockets, //
};
use kernel::{
    new_spinlock,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        SpinLock, //
    },
    xen::xenbus, //
};

/// The policy of a guest that is in force.
#[pin_data]
pub(crate) struct InForce {
    dev: ARef<xenbus::Device>,
    #[pin]
    policy: SpinLock<Arc<Policy>>,
    /// Copied from the policy, for each look at a ring.
    busy_poll: Atomic<u32>,
    pub(crate) owners: Arc<Owners>,
    sockets: Arc<Sockets>,
    pub(crate) refused: Arc<Refused>,
}

impl InForce {
    /// Reads the nodes of a device, for the sockets of its guest. May sleep.
    pub(crate) fn new(dev: &xenbus::Device, sockets: Arc<Sockets>) -> Result<Arc<Self>> {
        let guest = dev.otherend_id();
        let owners = Owners::new(guest, sockets.clone())?;
        let refused = Arc::new(Refused::new(guest), GFP_KERNEL)?;
        let policy = Policy::read(dev, &refused)?;
        policy.complain(dev, &[]);
        if !policy.is_complete() {
            dev_info!(dev.as_ref(), "waits for its policy\n");
        }
        policy.limit_memory(&sockets);
        let busy_poll = Atomic::new(policy.busy_poll);
        Arc::pin_init(
            pin_init!(Self {
                dev: dev.into(),
                policy <- new_spinlock!(policy, "xensock_policy"),
                busy_poll,
                owners,
                sockets,
                refused,
            }),
            GFP_KERNEL,
        )
    }

    /// Returns the policy for new sockets.
    pub(crate) fn get(&self) -> Arc<Policy> {
        self.policy.lock().clone()
    }

    /// Returns the time in microseconds for which the rings are polled after their last news. Any
    /// context.
    pub(crate) fn busy_poll(&self) -> u32 {
        self.busy_poll.load(Relaxed)
    }

    /// Reads the nodes again. If that fails, the policy stays as it was, and the caller has to try
    /// again: the new one may allow less. May sleep; one caller at a time.
    pub(crate) fn read_again(&self) -> Result {
        match Policy::read(&self.dev, &self.refused) {
            // The directory of the device is being recreated.
            Ok(new) if !new.is_complete() && self.get().is_complete() => Ok(()),
            Ok(new) => {
                let old = core::mem::replace(&mut *self.policy.lock(), new.clone());
                new.complain(&self.dev, &old.wrong);
                new.limit_memory(&self.sockets);
                self.busy_poll.store(new.busy_poll, Relaxed);
                Ok(())
            }
            // The device is being removed.
            Err(ENOENT) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
