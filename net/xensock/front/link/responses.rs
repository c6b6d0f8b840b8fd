// SPDX-License-Identifier: GPL-2.0

//! How responses are taken and delivered. Those that no task waits for bring no event; the frontend
//! takes them with other responses, or after a delay.

use super::Link;
use crate::commands::{
    Exchange,
    Priority,
    Recipient, //
};
use kernel::{
    preempt::PreemptDisabled,
    prelude::*,
    sync::{
        Arc,
        ArcBorrow, //
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

/// The work item [`Link::responses`].
pub(super) const RESPONSES: u64 = 3;

/// The work item [`Link::taking`].
pub(super) const TAKING: u64 = 5;

/// Maximum number of responses that are delivered before other work has its turn.
const BUDGET: usize = 64;

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
        if Self::take_responses(self.as_arc_borrow()).is_err() {
            self.fail_later();
        }
    }

    /// Delivers the responses of the backend. Returns `true` if there were any, or if another
    /// context takes them. Any context.
    pub(super) fn take_responses(this: ArcBorrow<'_, Self>) -> Result<bool> {
        let _taking = not_preempted();
        if !this.begin_taking() {
            return Ok(true);
        }
        Self::deliver_some(this)
    }

    /// Delivers responses, in the context that has begun to take them. A work item goes on if there
    /// are too many: while they are delivered, further requests can be sent and answered. Returns
    /// `true` if there were any. Any context.
    fn deliver_some(this: ArcBorrow<'_, Self>) -> Result<bool> {
        for delivered in 0..BUDGET {
            match this.next_response()? {
                Some(ready) => ready.deliver(),
                None => return Ok(delivered > 0),
            }
        }
        // Not the queue of the device: its items may all wait for these responses.
        let _ = this.failures.enqueue::<_, TAKING>(Arc::<Self>::from(this));
        Ok(true)
    }
}

/// Keeps a task from being preempted while it delivers responses: all who wait for some have to wait
/// for this task. Under PREEMPT_RT the locks sleep.
fn not_preempted() -> Option<PreemptDisabled> {
    (!cfg!(CONFIG_PREEMPT_RT)).then(PreemptDisabled::new)
}

impl WorkItem<TAKING> for Link {
    type Pointer = Arc<Link>;

    /// Goes on with taking responses, after another context or the item itself has begun.
    fn run(this: Arc<Link>) {
        let _taking = not_preempted();
        if Self::deliver_some(this.as_arc_borrow()).is_err() {
            this.fail_later();
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
