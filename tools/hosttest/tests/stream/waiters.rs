// SPDX-License-Identifier: GPL-2.0

//! Several programs that wait for the bytes of one ring.

use std::sync::Arc;

use loom::{
    sync::{
        atomic::{
            AtomicU32,
            Ordering, //
        },
        Mutex,
        Notify, //
    },
    thread,
};
use xensock_hosttest::proto::stream::SharedWords;

use crate::ring::{
    check_within,
    Run,
    Shared, //
};

/// An end where several programs wait for the same bytes: they look at the ring, and one event word
/// and one handler serve all of them.
struct Waiters {
    shared: Arc<Shared>,
    /// The producer's index up to which all were notified, by those who ask and by the handler.
    notified: Mutex<u32>,
    /// Whether who asks notifies the others of what has come meanwhile.
    notifies_others: bool,
    /// The wait queue: each of them is on it before it looks.
    asleep: [Notify; 2],
    /// Events that the handler has not seen, and after the last of them 1 << 16.
    events: AtomicU32,
}

impl Waiters {
    const LAST: u32 = 1 << 16;

    /// Wakes everybody.
    fn data_ready(&self) {
        for waiter in &self.asleep {
            waiter.notify();
        }
    }

    /// Has everybody told of what comes next, and returns what there is.
    fn expect_data(&self) -> u32 {
        let is_news = {
            let mut notified = self.notified.lock().unwrap();
            let arrived = self.shared.consumer.expect_more(&*self.shared);
            std::mem::replace(&mut *notified, arrived) != arrived
        };
        if is_news && self.notifies_others {
            self.data_ready();
        }
        self.shared.consumer.ready(&*self.shared).unwrap().len
    }

    /// Waits for `wanted` bytes, as a program does that polls.
    fn wait(&self, waiter: usize, wanted: u32) {
        while self.expect_data() < wanted {
            self.asleep[waiter].wait();
        }
    }

    /// The handler of the event channel. `is_polled`: it asks for the next event itself.
    fn handle(&self, is_polled: bool) {
        let is_news = {
            let mut notified = self.notified.lock().unwrap();
            let arrived = if is_polled {
                self.shared.consumer.expect_more(&*self.shared)
            } else {
                self.shared.load(self.shared.run.direction.prod)
            };
            std::mem::replace(&mut *notified, arrived) != arrived
        };
        if is_news {
            self.data_ready();
        }
    }

    /// Serves events until the last.
    fn serve(&self, is_polled: bool) {
        loop {
            self.shared.wake_consumer.wait();
            let events = self.events.swap(0, Ordering::AcqRel);
            if events % Self::LAST > 0 {
                self.handle(is_polled);
            }
            if events >= Self::LAST {
                return;
            }
        }
    }

    /// Produces the bytes one by one, with an event for those that were asked for.
    fn produce(&self) {
        let producer = &self.shared.producer;

        for number in 1..=self.shared.run.bytes {
            let byte = self.shared.byte(&producer.places(0, 1));
            byte.store(number, Ordering::Relaxed);
            if producer.publish(&*self.shared, 1) {
                self.events.fetch_add(1, Ordering::AcqRel);
                self.shared.wake_consumer.notify();
            }
        }
        self.events.fetch_add(Self::LAST, Ordering::AcqRel);
        self.shared.wake_consumer.notify();
    }
}

/// Two programs that wait for as many bytes each. Four threads, so one preemption has to do: with two
/// it takes minutes, and finds nothing more.
pub(crate) fn two_wait(wanted: [u32; 2], is_polled: bool, notifies_others: bool) {
    check_within(1, move || {
        let waiters = Arc::new(Waiters {
            shared: Shared::new(Run {
                bytes: wanted[0].max(wanted[1]),
                ..Run::NORMAL
            }),
            notified: Mutex::new(0),
            notifies_others,
            asleep: [Notify::new(), Notify::new()],
            events: AtomicU32::new(0),
        });
        let spawn = |run: fn(&Waiters, bool, u32), number| {
            let waiters = waiters.clone();
            thread::spawn(move || run(&waiters, is_polled, number))
        };

        let others = [
            spawn(|waiters, is_polled, _| waiters.serve(is_polled), 0),
            spawn(|waiters, _, _| waiters.produce(), 0),
            spawn(|waiters, _, wanted| waiters.wait(1, wanted), wanted[1]),
        ];
        waiters.wait(0, wanted[0]);
        for other in others {
            other.join().unwrap();
        }
    });
}
