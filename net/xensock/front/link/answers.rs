// SPDX-License-Identifier: GPL-2.0

//! Responses that no task waits for. They bring no event; the frontend takes them with other
//! responses, or after a delay.

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

/// Longest delay of a response that no task waits for, in milliseconds. Long enough for another
/// connection to be made meanwhile, and too short for the resources held until then to be missed.
const MAX_WAIT: Msecs = 20;

impl Link {
    /// Sends a request with the given haste. `recipient` is notified of the response. Any context.
    pub(crate) fn tell(
        self: &Arc<Self>,
        exchange: &Arc<Exchange>,
        recipient: Option<Arc<dyn Recipient>>,
        haste: Haste,
    ) {
        self.submit_with(exchange, recipient, haste, || {
            if haste != Haste::Awaited {
                // One queued item takes the responses to all such requests.
                let _ = enqueue_delayed::<_, ANSWERS>(self.clone(), msecs_to_jiffies(MAX_WAIT));
            }
        });
    }

    /// Delivers all responses that have arrived, and has each of the others delivered as soon as it
    /// arrives. For a task that waits for the response to a request sent without
    /// [`Haste::Awaited`]. Any context; no lock may be held.
    pub(crate) fn hurry(self: &Arc<Self>) {
        self.expect_answers();
        if self.take_answers().is_err() {
            self.fail_later();
        }
    }
}

impl WorkItem<ANSWERS> for Link {
    type Pointer = Arc<Link>;

    /// Runs if no event has brought the responses earlier.
    fn run(this: Arc<Link>) {
        this.hurry();
    }
}
