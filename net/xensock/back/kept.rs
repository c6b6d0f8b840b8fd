// SPDX-License-Identifier: GPL-2.0

//! The data rings that a guest is going to use again.
//!
//! They stay mapped, and their event channels bound, without a connection. They count as pages of
//! the guest. Nothing is promised to it: it can name a ring that is no longer kept, which is then
//! mapped as a new one is.

use crate::{
    proto::RingRef,
    share::Share, //
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    }, //
};

/// How many rings are kept for a guest at most.
const MAX_RINGS: usize = 32;

/// The rings of a guest that no connection has. All of this may sleep.
#[pin_data]
pub(crate) struct Kept {
    /// `None` once the link is down.
    #[pin]
    shares: Mutex<Option<KVec<Arc<Share>>>>,
}

impl Kept {
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            shares <- new_mutex!(Some(KVec::new()), "xensock_kept"),
        })
    }

    /// Keeps what a connection has left, unless that is too much.
    pub(crate) fn put(&self, share: Arc<Share>) {
        let mut shares = self.shares.lock();
        if let Some(shares) = (*shares).as_mut() {
            if shares.len() < MAX_RINGS && shares.reserve(1, GFP_KERNEL).is_ok() {
                // It has a place, and if not it is dropped.
                let _ = shares.push(share, GFP_KERNEL);
            }
        }
    }

    /// Takes out the ring that the guest has there, if it is kept.
    pub(crate) fn take(&self, at: RingRef) -> Option<Arc<Share>> {
        let mut shares = self.shares.lock();
        let shares = (*shares).as_mut()?;
        let found = shares.iter().position(|share| share.is_at(at))?;
        shares.remove(found).ok()
    }

    /// Unmaps all of them.
    pub(crate) fn clear(&self) {
        let shares = (*self.shares.lock()).as_mut().map(core::mem::take);
        // Outside the lock.
        drop(shares);
    }

    /// Unmaps all of them, and those that come.
    pub(crate) fn close(&self) {
        let shares = self.shares.lock().take();
        // Outside the lock.
        drop(shares);
    }
}
