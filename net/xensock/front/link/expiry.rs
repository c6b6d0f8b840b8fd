// SPDX-License-Identifier: GPL-2.0

//! How long connections stay large, and listeners keep what was asked for ahead: a work item of their
//! link looks at them once a second, for as long as there is anything to do.

use super::Link;
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Full,
            Relaxed, //
        },
        Arc, //
    },
    time::{
        msecs_to_jiffies,
        Msecs, //
    },
    workqueue::{
        owned::enqueue_delayed,
        WorkItem, //
    }, //
};

/// The work item [`Link::expiry`].
pub(super) const EXPIRY: u64 = 2;

/// From one look to the next, in milliseconds.
const PERIOD: Msecs = 1000;

impl Link {
    /// Looks after connections that have grown from now on. May sleep.
    pub(crate) fn look_after(self: &Arc<Self>) {
        self.if_open(|| {
            // An item that is queued already does all there is to do.
            let _ = enqueue_delayed::<_, EXPIRY>(self.clone(), msecs_to_jiffies(PERIOD));
        });
    }

    /// Notes that grants, pages, sockets or memory were refused: what has grown shrinks, and listeners
    /// give back what they have ahead. Any context.
    pub(crate) fn note_shortage(self: &Arc<Self>) {
        self.is_short.store(true, Relaxed);
        // One that waits for its time sees it then.
        let _ = enqueue_delayed::<_, EXPIRY>(self.clone(), 0);
    }

    /// Notes that a listener has got nothing for what it has asked for ahead. Any context.
    pub(crate) fn note_refusal(self: &Arc<Self>) {
        let _ = enqueue_delayed::<_, EXPIRY>(self.clone(), msecs_to_jiffies(PERIOD));
    }
}

impl WorkItem<EXPIRY> for Link {
    type Pointer = Arc<Link>;

    fn run(this: Arc<Link>) {
        let is_short = this.is_short.xchg(false, Full);
        let mut is_any = false;
        let mut members = KVec::new();
        this.for_each(|member| {
            is_any |= member.clone().age(is_short);
            if member.needs_care(is_short) {
                // What there is no memory for is not looked at this time.
                is_any |= members.push(member.clone(), GFP_NOWAIT).is_err();
            }
        });
        for member in &members {
            is_any |= member.care(is_short);
        }
        if is_any {
            this.look_after();
        }
    }
}
