// SPDX-License-Identifier: GPL-2.0

//! Answers that nobody waits for: they bring no event, and are looked at with others, or after a while.

use super::Link;
use crate::commands::{
    Exchange,
    Haste,
    Recipient, //
};
use kernel::{
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

/// The work item [`Link::answers`].
pub(super) const ANSWERS: u64 = 3;

/// How long they are left where they are, in milliseconds. Long enough for another connection to come,
/// and too short for anybody to miss what is held until then.
const MAX_WAIT: Msecs = 20;

impl Link {
    /// Sends a request with so much haste; `recipient` will hear of the answer. Any context.
    pub(crate) fn tell(
        self: &Arc<Self>,
        exchange: &Arc<Exchange>,
        recipient: Option<Arc<dyn Recipient>>,
        haste: Haste,
    ) {
        self.submit_with(exchange, recipient, haste, || {
            if haste != Haste::Awaited {
                // An item that is queued already sees to all of them.
                let _ = enqueue_delayed::<_, ANSWERS>(self.clone(), msecs_to_jiffies(MAX_WAIT));
            }
        });
    }

    /// Passes on all answers that are there, and the others as soon as they come: for who waits for one
    /// that nobody was to wait for. Any context; no lock may be held.
    pub(crate) fn hurry(self: &Arc<Self>) {
        self.expect_answers();
        if self.take_answers().is_err() {
            self.fail_later();
        }
    }
}

impl WorkItem<ANSWERS> for Link {
    type Pointer = Arc<Link>;

    /// Nobody has asked for anything since.
    fn run(this: Arc<Link>) {
        this.hurry();
    }
}
