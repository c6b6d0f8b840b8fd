// SPDX-License-Identifier: GPL-2.0

//! The choice between work item and soft interrupt for moving the data of a connection.

use super::{
    Conn,
    SOFTIRQ, //
};
use crate::{
    conn_ring::RingUser,
    pump::Pump, //
};
use kernel::{
    sync::{
        Arc,
        ArcBorrow, //
    },
    workqueue::{
        self,
        WorkItem, //
    }, //
};

impl RingUser for Conn {
    fn ring_has_news(self: ArcBorrow<'_, Self>) {
        let conn: Arc<Self> = self.into();
        if conn.mover.is_free() {
            // An item that is already queued will see the news.
            let _ = workqueue::system_bh().enqueue::<_, SOFTIRQ>(conn);
        } else {
            conn.wake();
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
    }
}
