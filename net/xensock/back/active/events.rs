// SPDX-License-Identifier: GPL-2.0

//! How a connection has its data moved: by its work item, or in a soft interrupt.

use super::{
    Active,
    SOFTIRQ, //
};
use crate::{
    pump::Pump,
    share::RingUser, //
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

impl RingUser for Active {
    fn ring_has_news(self: ArcBorrow<'_, Self>) {
        let active: Arc<Self> = self.into();
        if active.mover.is_free() {
            // One that is queued already will see what there is to do.
            let _ = workqueue::system_bh().enqueue::<_, SOFTIRQ>(active);
        } else {
            active.wake();
        }
    }
}

impl WorkItem for Active {
    type Pointer = Arc<Active>;

    fn run(this: Arc<Active>) {
        this.work();
    }
}

impl WorkItem<SOFTIRQ> for Active {
    type Pointer = Arc<Active>;

    fn run(this: Arc<Active>) {
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
