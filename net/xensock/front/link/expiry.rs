// SPDX-License-Identifier: GPL-2.0

//! Shrinks connections that have grown, withdraws connections that listeners posted ahead, and joins
//! groups that could not be joined for a reason that may pass. A work item of the link checks its
//! members once a second, as long as there is work left.

use super::Link;
use crate::proto::shortage::Shortage;
use kernel::{
    prelude::*,
    sync::Arc,
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

/// Time between two checks, in milliseconds.
const PERIOD: Msecs = 1000;

impl Link {
    /// Starts the periodic check of the members: of connections that have grown, and of those that
    /// need [`Member::maintain`](super::Member::maintain). Any context.
    pub(crate) fn start_expiry(self: &Arc<Self>) {
        self.check_after(PERIOD);
    }

    fn check_after(self: &Arc<Self>, time: Msecs) {
        // The end of the link cancels the item. A later one would have nothing to look at, and could
        // outlive the module.
        self.while_up(|| {
            // One queued item looks after all members.
            let _ = enqueue_delayed::<_, EXPIRY>(self.clone(), msecs_to_jiffies(time));
        });
    }

    /// Notes that a user or everybody was refused grants, pages, sockets or memory. Their grown
    /// rings shrink, and their listeners give back the connections they posted ahead. Any context.
    pub(crate) fn note_shortage(self: &Arc<Self>, shortage: Shortage) {
        let is_urgent = self.shortages.lock().note(shortage);
        if is_urgent {
            // If the item is already queued with a delay, it sees the shortage when it runs.
            self.check_after(0);
        }
    }
}

impl WorkItem<EXPIRY> for Link {
    type Pointer = Arc<Link>;

    fn run(this: Arc<Link>) {
        let shortages = this.shortages.lock().begin_check();
        let mut is_any = false;
        let mut members = KVec::new();
        this.for_each(|member| {
            let is_short = shortages.concern(member.owner());
            is_any |= member.clone().age(is_short);
            if member.needs_maintenance(is_short) {
                // Without memory for the list, the member is left for the next check.
                is_any |= members
                    .push((member.clone(), is_short), GFP_NOWAIT)
                    .is_err();
            }
        });
        for (member, is_short) in &members {
            is_any |= member.maintain(*is_short);
        }
        is_any |= this.shortages.lock().end_check();
        if is_any {
            this.start_expiry();
        }
    }
}
