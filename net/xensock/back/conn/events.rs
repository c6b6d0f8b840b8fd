// SPDX-License-Identifier: GPL-2.0

//! How a connection has its data moved: by its work item, or in a soft interrupt.

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
            // One that is queued already will see what there is to do.
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
            // The reference goes before somebody else may move bytes.
            let path = this.path.lock().clone();
            path.is_some_and(|path| path.run())
        });
        if !is_done {
            this.wake();
        }
    }
}
