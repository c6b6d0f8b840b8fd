// SPDX-License-Identifier: GPL-2.0

//! Responses that no task waits for. They bring no event; the frontend takes them with other
//! responses, or after a delay.

use super::Link;
use crate::commands::{
    Exchange,
    Priority,
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

/// The work item [`Link::responses`].
pub(super) const RESPONSES: u64 = 3;

/// Longest delay of a response that no task waits for, in milliseconds. Long enough for another
/// connection to be made meanwhile, and too short for the resources held until then to be missed.
const MAX_WAIT: Msecs = 20;

impl Link {
    /// Sends a request with the given priority. `recipient` is notified of the response. Any
    /// context.
    pub(crate) fn send_with_priority(
        self: &Arc<Self>,
        exchange: &Arc<Exchange>,
        recipient: Option<Arc<dyn Recipient>>,
        priority: Priority,
    ) {
        self.submit_with(exchange, recipient, priority, || {
            if priority != Priority::Awaited {
                // One queued item takes the responses to all such requests.
                let _ = enqueue_delayed::<_, RESPONSES>(self.clone(), msecs_to_jiffies(MAX_WAIT));
            }
        });
    }

    /// Delivers all responses that have arrived, and has each of the others delivered as soon as it
    /// arrives. For a task that waits for the response to a request sent without
    /// [`Priority::Awaited`]. Any context; no lock may be held.
    pub(crate) fn flush(self: &Arc<Self>) {
        self.flush_commands();
        if self.take_responses().is_err() {
            self.fail_later();
        }
    }
}

impl WorkItem<RESPONSES> for Link {
    type Pointer = Arc<Link>;

    /// Runs if no event has brought the responses earlier.
    fn run(this: Arc<Link>) {
        this.flush();
    }
}
