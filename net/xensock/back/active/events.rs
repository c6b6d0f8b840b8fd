// SPDX-License-Identifier: GPL-2.0

//! What a connection hears of: the events of the guest and the callbacks of TCP.

use super::{
    Active,
    SOFTIRQ, //
};
use crate::{
    fast_path::FastPath,
    share::RingUser, //
};
use kernel::{
    net::kernel_socket::{
        Callbacks,
        Locked, //
    },
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

/// Tells a connection what its socket has to say, and counts the memory that it holds.
pub(super) struct Waker {
    active: Arc<Active>,
    path: Arc<FastPath>,
}

impl Waker {
    pub(super) fn new(active: &Arc<Active>, path: &Arc<FastPath>) -> Self {
        let (active, path) = (active.clone(), path.clone());
        Self { active, path }
    }

    fn wake(&self) {
        self.path.socket.note_memory();
        self.active.wake();
    }
}

impl Callbacks for Waker {
    fn data_ready(&self, tcp: Option<&Locked<'_>>) {
        self.path.socket.note_memory();
        let receive = |tcp: &_| self.active.mover.in_softirq(|| self.path.receive(tcp));
        if tcp.is_some_and(receive) {
            self.path.socket.note_memory();
        } else {
            self.active.wake();
        }
    }

    fn write_space(&self) {
        self.wake();
    }

    fn state_change(&self) {
        self.wake();
    }

    fn error_report(&self) {
        self.wake();
    }
}

impl WorkItem for Active {
    type Pointer = Arc<Active>;

    fn run(this: Arc<Active>) {
        if this.turn() {
            this.wake();
        }
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
