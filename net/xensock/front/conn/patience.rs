// SPDX-License-Identifier: GPL-2.0

//! The patience with a backend that has yet to take the bytes of a closed connection.

use super::{
    state::Phase,
    Conn, //
};
use kernel::{
    sync::Arc,
    time::{
        msecs_to_jiffies,
        Msecs, //
    },
    workqueue::{
        owned::{
            enqueue_delayed,
            OnQueue,
            OwnedQueue, //
        },
        WorkItem, //
    }, //
};

/// The work item [`Conn::patience`].
pub(super) const PATIENCE: u64 = 1;

/// Time after which a closed connection is reset if the backend has taken none of its bytes
/// meanwhile, in milliseconds. About as long as TCP retries for an orphaned socket whose peer takes
/// nothing.
const MAX_PATIENCE: Msecs = 100_000;

impl Conn {
    /// Queues the work item that looks if the backend takes bytes. Called under `state`, in the
    /// phase [`Phase::Draining`]: the end of the connection comes later and cancels the item.
    pub(super) fn begin_patience(this: &Arc<Self>) {
        let delay = msecs_to_jiffies(MAX_PATIENCE);
        // The item is not queued: a connection is closed once, and the item queues itself.
        let _ = enqueue_delayed::<_, PATIENCE>(this.clone(), delay);
    }
}

impl OnQueue for Conn {
    fn queue(&self) -> &Arc<OwnedQueue> {
        &self.remote.link.workers
    }
}

impl WorkItem<PATIENCE> for Conn {
    type Pointer = Arc<Conn>;

    /// Resets a closed connection whose backend has taken none of the bytes sent since the item was
    /// queued. As nothing more is sent, a backend cannot go on for ever.
    fn run(this: Arc<Conn>) {
        // The backend may have taken the last bytes without an event.
        Self::release_if_drained(this.as_arc_borrow());
        {
            let mut state = this.state.lock();
            let Phase::Draining { left, .. } = &mut state.phase else {
                return;
            };
            let now = this.ring.peek_queued();
            if now < core::mem::replace(left, now) {
                return Self::begin_patience(&this);
            }
            state.end(true);
        }
        Self::send_release(this.as_arc_borrow(), true);
    }
}
