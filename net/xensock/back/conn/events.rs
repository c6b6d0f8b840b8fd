// SPDX-License-Identifier: GPL-2.0

//! The choice between work item and soft interrupt for moving the data of a connection.

use super::{
    Conn,
    SOFTIRQ, //
};
use crate::{
    conn_ring::RingUser,
    pump::Pump,
    queues::Queues, //
};
use kernel::{
    sync::{
        Arc,
        ArcBorrow, //
    },
    workqueue::{
        self,
        owned::cancel_sync,
        WorkItem, //
    }, //
};

impl Conn {
    fn queues(&self) -> &Queues {
        &self.guest().transport.queues
    }

    /// Waits for the work item that soft interrupts execute, after the last event, which may have
    /// queued it. Sleeps.
    pub(super) fn flush_softirq(self: &Arc<Self>) {
        if cancel_sync::<_, SOFTIRQ>(self) {
            self.queues().end_softirq();
        }
    }
}

impl RingUser for Conn {
    fn ring_has_news(self: ArcBorrow<'_, Self>) {
        let conn: Arc<Self> = self.into();
        if !conn.mover.is_free() || !conn.queues().begin_softirq() {
            conn.wake();
            return;
        }
        if let Err(conn) = workqueue::system_bh().enqueue::<_, SOFTIRQ>(conn) {
            // The item that is already queued will see the news.
            conn.queues().end_softirq();
        }
    }
}

impl WorkItem for Conn {
    type Pointer = Arc<Conn>;

    fn run(this: Arc<Conn>) {
        this.work();
    }
}

impl WorkItem<SOFTIRQ> for Conn {
    type Pointer = Arc<Conn>;

    fn run(this: Arc<Conn>) {
        let is_done = this.mover.in_softirq(|| {
            // The reference is dropped before another task may move bytes.
            let path = this.path.lock().clone();
            path.is_some_and(|path| path.run())
        });
        if !is_done {
            this.wake();
        }
        this.queues().end_softirq();
    }
}
