// SPDX-License-Identifier: GPL-2.0

//! Busy polling of the rings of a guest, if the policy asks for it.
//!
//! A thread looks at the news page of the link all the time, and the guest sends no events
//! meanwhile. It starts when the guest has news for the second time within the time of the policy:
//! had the rings been polled, no event would have been needed. So a guest that has news less often
//! never starts it. It ends when there were no news for that time.
//!
//! The thread has the lowest priority. When another task wants the CPU, the thread first lets the
//! guest send events again. So no news wait for the thread. If the CPU is idle again in time, the
//! thread goes on.
//!
//! News after which the guest's indexes are the same do not count: a bit in the page alone does not
//! make the thread poll for longer. A guest that moves an index each time does, as one that sends a
//! byte each time. It takes only time that no other task wants.

use crate::{
    policy::InForce,
    queues::Queues,
    shared_channel::SharedChannel, //
};
use core::mem::replace;
use kernel::{
    impl_has_work,
    kthread::{
        IdleContext,
        IdleThread,
        ThreadBody, //
    },
    new_spinlock_irq,
    new_work,
    preempt::{
        need_resched,
        PreemptDisabled,
        SoftirqsDisabled, //
    },
    prelude::*,
    processor::cpu_relax,
    str::CString,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Full,
            Relaxed,
            Release, //
        },
        Arc,
        ArcBorrow,
        SpinLockIrq, //
    },
    time::{
        Instant,
        Monotonic, //
    },
    workqueue::{
        Work,
        WorkItem, //
    },
    xen::{
        grant::MappedPages,
        DomId, //
    }, //
};

/// Maximum time in nanoseconds before the thread offers the CPU to others, whether or not the
/// scheduler has asked for it: RCU waits for that.
const MAX_TURN: i64 = 1_000_000;

/// The thread that polls.
enum Worker {
    /// Not needed yet.
    None,
    Thread(IdleThread<Poller>),
    /// The link is down.
    Closed,
}

/// Polls the rings of a link.
#[pin_data]
pub(crate) struct Poller {
    peer: DomId,
    channel: Arc<SharedChannel<MappedPages>>,
    queues: Arc<Queues>,
    in_force: Arc<InForce>,
    /// Times are counted from here.
    birth: Instant<Monotonic>,
    /// When there were news the last time, in nanoseconds.
    last_news: Atomic<i64>,
    /// Set while the thread polls, or was told to.
    is_active: Atomic<bool>,
    #[pin]
    worker: SpinLockIrq<Worker>,
    #[pin]
    work: Work<Poller>,
}

impl_has_work! {
    impl HasWork<Self> for Poller { self.work }
}

impl Poller {
    /// Creates a poller, without a thread yet. May sleep.
    pub(crate) fn new(
        peer: DomId,
        channel: Arc<SharedChannel<MappedPages>>,
        queues: Arc<Queues>,
        in_force: Arc<InForce>,
    ) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                peer,
                channel,
                queues,
                in_force,
                birth: Instant::now(),
                last_news: Atomic::new(i64::MIN),
                is_active: Atomic::new(false),
                worker <- new_spinlock_irq!(Worker::None, "xensock_poller"),
                work <- new_work!("xensock_poller"),
            }),
            GFP_KERNEL,
        )
    }

    /// Ends the polling. Sleeps.
    pub(crate) fn close(&self) {
        let worker = replace(&mut *self.worker.lock(), Worker::Closed);
        // Outside the lock: this waits for the thread.
        drop(worker);
    }

    /// Notes that the guest has moved an index of a ring. Any context.
    pub(crate) fn note_news(self: &Arc<Self>) {
        let time = self.time();
        if time == 0 {
            return;
        }
        let now = self.now();
        let before = self.last_news.xchg(now, Relaxed);
        if now.saturating_sub(before) <= time {
            self.start();
        }
    }

    /// Returns the time for which there is polling after the last news, in nanoseconds.
    fn time(&self) -> i64 {
        if cfg!(CONFIG_PREEMPT_RT) {
            // A thread that is not to be preempted cannot take the locks there.
            return 0;
        }
        // OVERFLOW: The policy has a maximum.
        i64::from(self.in_force.busy_poll()) * 1000
    }

    fn now(&self) -> i64 {
        self.birth.elapsed().as_nanos()
    }

    /// Returns `true` if there were no news for the time of the policy.
    fn is_quiet(&self, now: i64) -> bool {
        now.saturating_sub(self.last_news.load(Relaxed)) > self.time()
    }

    /// Makes the thread poll.
    fn start(self: &Arc<Self>) {
        if self.is_active.load(Relaxed) || self.is_active.xchg(true, Full) {
            return;
        }
        match &*self.worker.lock() {
            Worker::None => {
                // Makes the thread.
                let _ = self.queues.work.enqueue(self.clone());
            }
            Worker::Thread(thread) => thread.wake(),
            Worker::Closed => (),
        }
    }

    /// Polls until the link is quiet, or another task is to run. Returns `true` in the latter case.
    fn poll(&self, thread: &IdleContext) -> bool {
        let start = self.now();
        if thread.should_stop() || self.is_quiet(start) {
            return false;
        }
        let channel = self.channel.as_arc_borrow();
        // While the guest sends no events, this thread must run.
        let _turn = PreemptDisabled::new();
        channel.begin_polling();
        let goes_on = loop {
            if channel.has_news() {
                // What this raises is handled right here.
                let _waiting = SoftirqsDisabled::new();
                SharedChannel::poll(channel);
            }
            let now = self.now();
            if thread.should_stop() || self.is_quiet(now) {
                break false;
            }
            if need_resched() || now.saturating_sub(start) > MAX_TURN {
                break true;
            }
            cpu_relax();
        };
        let _waiting = SoftirqsDisabled::new();
        SharedChannel::end_polling(channel);
        goes_on
    }
}

impl ThreadBody for Poller {
    fn run(this: ArcBorrow<'_, Self>, thread: &IdleContext) {
        while thread.sleep_until(|| this.is_active.load(Acquire)) {
            while this.poll(thread) {
                thread.give_way();
            }
            this.is_active.store(false, Release);
        }
    }
}

impl WorkItem for Poller {
    type Pointer = Arc<Poller>;

    /// Makes the thread.
    fn run(this: Arc<Poller>) {
        let make = || {
            let name = CString::try_from_fmt(fmt!("xensock_poll/{}", this.peer))?;
            IdleThread::new(&name, this.clone())
        };
        let Ok(thread) = make() else {
            // The next news try again.
            this.is_active.store(false, Release);
            return;
        };
        let mut worker = this.worker.lock();
        if let Worker::None = *worker {
            *worker = Worker::Thread(thread);
            return;
        }
        drop(worker);
        // The link is down: this stops the thread.
        drop(thread);
    }
}
