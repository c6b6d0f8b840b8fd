// SPDX-License-Identifier: GPL-2.0

//! Who moves the bytes of a connection, under every interleaving and every reordering that the memory
//! model allows.
//!
//! A guest puts bytes into a ring, and says so if it was asked to. What it says has a soft interrupt
//! run, or the work item, as in `back/conn/events.rs`; each is a thread here, that sleeps until it is
//! queued. TCP is another that comes along whenever it likes. All go through `proto::mover`, and move
//! bytes by `proto::stream`. RELEASE has the work item run once, to end the connection: it has to get
//! its turn. A byte that is left is a deadlock, which `loom` reports; two who move at
//! once, or one who does not see what was moved before, fail an assertion. Tests that must fail show
//! that the model would notice.

#[path = "common/private_word.rs"]
mod private_word;

use std::sync::{
    atomic::{
        AtomicBool as Flag,
        AtomicU32 as Count, //
    },
    Arc,
};

use loom::{
    sync::{
        atomic::{
            fence,
            AtomicBool,
            AtomicU32,
            Ordering, //
        },
        Notify, //
    },
    thread,
};
use private_word::Word;
use xensock_hosttest::proto::{
    indexes,
    mover::{
        Mover,
        TurnWord, //
    },
    stream::{
        Consumer,
        Producer,
        SharedWords, //
    },
    Feature,
    Features, //
};

/// Bytes of the ring: room for all, so that nobody waits for it.
const SIZE: u32 = 4;

/// How often the scheduler may take a thread away where it would go on.
const PREEMPTIONS: usize = 2;

/// How often the work item, and a soft interrupt, look before others have their turn.
const BUDGETS: [u32; 2] = [8, 1];

/// How a run goes.
#[derive(Clone, Copy)]
struct Run {
    /// How many bytes the guest sends, one after the other.
    bytes: u32,
    /// TCP has a soft interrupt look, too.
    tcp: bool,
    /// A soft interrupt that does not get the turn, or leaves something, has the work item run.
    wakes: bool,
    /// Who finds nothing looks again after the guest was asked for an event.
    looks_again: bool,
    /// The connection is to end, whether or not bytes are left.
    ends: bool,
}

impl Run {
    const NORMAL: Self = Self {
        bytes: 2,
        tcp: false,
        wakes: true,
        looks_again: true,
        ends: false,
    };
}

/// The word of the turn.
struct Turn(AtomicU32);

impl TurnWord for Turn {
    fn new(value: u32) -> Self {
        Self(AtomicU32::new(value))
    }

    fn load(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    fn load_acquire(&self) -> u32 {
        self.0.load(Ordering::Acquire)
    }

    fn store_release(&self, value: u32) {
        self.0.store(value, Ordering::Release);
    }

    fn replace_acquire(&self, old: u32, new: u32) -> Result<(), u32> {
        let replaced = self
            .0
            .compare_exchange(old, new, Ordering::Acquire, Ordering::Relaxed);
        replaced.map(drop)
    }

    fn replace_release(&self, old: u32, new: u32) -> Result<(), u32> {
        let replaced = self
            .0
            .compare_exchange(old, new, Ordering::Release, Ordering::Relaxed);
        replaced.map(drop)
    }
}

/// The same, which orders nothing.
struct LooseTurn(AtomicU32);

impl TurnWord for LooseTurn {
    fn new(value: u32) -> Self {
        Self(AtomicU32::new(value))
    }

    fn load(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    fn load_acquire(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    fn store_release(&self, value: u32) {
        self.0.store(value, Ordering::Relaxed);
    }

    fn replace_acquire(&self, old: u32, new: u32) -> Result<(), u32> {
        let replaced = self
            .0
            .compare_exchange(old, new, Ordering::Relaxed, Ordering::Relaxed);
        replaced.map(drop)
    }

    fn replace_release(&self, old: u32, new: u32) -> Result<(), u32> {
        self.replace_acquire(old, new)
    }
}

/// Something that is executed when it was queued, and can be queued again from then on.
struct Item {
    is_queued: AtomicBool,
    wake: Notify,
}

impl Item {
    fn new() -> Self {
        Self {
            is_queued: AtomicBool::new(false),
            wake: Notify::new(),
        }
    }

    fn enqueue(&self) {
        if !self.is_queued.swap(true, Ordering::SeqCst) {
            self.wake.notify();
        }
    }
}

/// A connection at the backend, and the direction of its ring in which the guest sends.
struct Conn<W> {
    run: Run,
    /// cons, prod, error, prod_event, cons_event.
    words: [AtomicU32; 5],
    producer: Producer<Word>,
    consumer: Consumer<Word>,
    mover: Mover<W>,
    work: Item,
    softirq: Item,
    /// What is true of it, not what anybody sees: these order nothing in the model.
    is_moving: Flag,
    moved: Count,
    /// Set by RELEASE, before it has the work item run.
    is_ending: AtomicBool,
    has_ended: Flag,
}

impl<W: TurnWord> Conn<W> {
    fn new(run: Run) -> Self {
        let features = Features::NONE.with(Feature::EventIndex);
        let words = [
            0,
            0,
            0,
            indexes::FIRST_PROD_EVENT,
            indexes::FIRST_CONS_EVENT,
        ];
        Self {
            run,
            words: words.map(AtomicU32::new),
            producer: Producer::new(indexes::OUT, SIZE, features),
            consumer: Consumer::new(indexes::OUT, SIZE, features),
            mover: Mover::new(),
            work: Item::new(),
            softirq: Item::new(),
            is_moving: Flag::new(false),
            moved: Count::new(0),
            is_ending: AtomicBool::new(false),
            has_ended: Flag::new(false),
        }
    }

    fn word(&self, offset: usize) -> &AtomicU32 {
        let d = indexes::OUT;
        let offsets = [d.cons, d.prod, d.error, d.prod_event, d.cons_event];
        &self.words[offsets.iter().position(|&o| o == offset).unwrap()]
    }

    fn is_done(&self) -> bool {
        match self.run.ends {
            true => self.has_ended.load(Ordering::SeqCst),
            false => self.moved.load(Ordering::SeqCst) == self.run.bytes,
        }
    }

    /// Lets the threads that wait see that all is done.
    fn finish(&self) {
        self.work.wake.notify();
        self.softirq.wake.notify();
    }

    /// The guest says that there is something.
    fn ring_has_news(&self) {
        if self.mover.is_free() {
            self.softirq.enqueue();
        } else {
            self.work.enqueue();
        }
    }

    /// Looks so often; returns whether nothing is left.
    fn move_bytes(&self, budget: u32) -> bool {
        assert!(!self.is_moving.swap(true, Ordering::SeqCst), "two move");
        let is_empty = (0..budget).any(|_| !self.move_some());
        self.is_moving.store(false, Ordering::SeqCst);
        is_empty
    }

    fn move_some(&self) -> bool {
        let mut ready = self.consumer.ready(self).unwrap();
        if ready.len == 0 {
            self.consumer.expect_more(self);
            if self.run.looks_again {
                ready = self.consumer.ready(self).unwrap();
            }
            if ready.len == 0 {
                return false;
            }
        }
        let _ = self.consumer.consume(self, ready.len);
        let moved = self.moved.fetch_add(ready.len, Ordering::SeqCst) + ready.len;
        assert!(moved <= self.run.bytes, "a byte was moved twice");
        if self.is_done() {
            self.finish();
        }
        true
    }

    /// The work item.
    fn run_work(&self) {
        if !self.mover.begin_work() {
            return;
        }
        if self.is_ending.load(Ordering::SeqCst) {
            assert!(!self.is_moving.load(Ordering::SeqCst), "ended under a mover");
            self.has_ended.store(true, Ordering::SeqCst);
            return self.finish();
        }
        if self.move_bytes(BUDGETS[0]) {
            self.mover.end_work();
        } else {
            self.work.enqueue();
        }
    }

    /// A soft interrupt.
    fn run_softirq(&self) {
        if !self.mover.in_softirq(|| self.move_bytes(BUDGETS[1])) && self.run.wakes {
            self.work.enqueue();
        }
    }

    /// RELEASE, or the end of the link.
    fn end(&self) {
        self.is_ending.store(true, Ordering::SeqCst);
        self.work.enqueue();
    }

    /// The guest.
    fn send(&self) {
        for _ in 0..self.run.bytes {
            if self.producer.publish(self, 1) {
                self.ring_has_news();
            }
        }
    }
}

impl<W> SharedWords for Conn<W>
where
    W: TurnWord,
{
    fn load_acquire(&self, offset: usize) -> u32 {
        self.word(offset).load(Ordering::Acquire)
    }

    fn load(&self, offset: usize) -> u32 {
        self.word(offset).load(Ordering::Relaxed)
    }

    fn store_release(&self, offset: usize, value: u32) {
        self.word(offset).store(value, Ordering::Release);
    }

    fn store(&self, offset: usize, value: u32) {
        self.word(offset).store(value, Ordering::Relaxed);
    }

    fn full_barrier(&self) {
        fence(Ordering::SeqCst);
    }
}

/// Executes an item whenever it is queued, until all is done.
fn execute<W: TurnWord>(conn: &Conn<W>, item: &Item, run: impl Fn()) {
    while !conn.is_done() {
        item.wake.wait();
        if item.is_queued.swap(false, Ordering::SeqCst) {
            run();
        }
    }
}

/// Tries everything.
fn check<W: TurnWord + Send + Sync + 'static>(run: Run) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(PREEMPTIONS));
    builder.check(move || {
        let conn = Arc::new(Conn::<W>::new(run));
        // As a connection does when it begins.
        conn.work.enqueue();

        let mut threads = vec![
            {
                let conn = conn.clone();
                thread::spawn(move || execute(&conn, &conn.work, || conn.run_work()))
            },
            {
                let conn = conn.clone();
                thread::spawn(move || execute(&conn, &conn.softirq, || conn.run_softirq()))
            },
        ];
        if run.tcp {
            let conn = conn.clone();
            threads.push(thread::spawn(move || conn.run_softirq()));
        }
        if run.ends {
            let conn = conn.clone();
            threads.push(thread::spawn(move || conn.end()));
        }
        conn.send();
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

#[test]
fn nothing_is_left() {
    check::<Turn>(Run::NORMAL);
}

#[test]
fn nothing_is_left_when_tcp_comes_between() {
    check::<Turn>(Run {
        bytes: 1,
        tcp: true,
        ..Run::NORMAL
    });
}

#[test]
fn the_work_item_gets_its_turn() {
    check::<Turn>(Run {
        bytes: 1,
        ends: true,
        ..Run::NORMAL
    });
}

#[test]
#[should_panic(expected = "deadlock")]
fn would_notice_a_promise_that_is_not_kept() {
    check::<Turn>(Run {
        bytes: 1,
        ends: true,
        wakes: false,
        ..Run::NORMAL
    });
}

#[test]
#[should_panic(expected = "deadlock")]
fn would_notice_that_nobody_runs_again() {
    check::<Turn>(Run {
        wakes: false,
        ..Run::NORMAL
    });
}

#[test]
#[should_panic(expected = "deadlock")]
fn would_notice_that_nobody_looks_again() {
    check::<Turn>(Run {
        looks_again: false,
        ..Run::NORMAL
    });
}

#[test]
#[should_panic(expected = "moved twice")]
fn would_notice_a_turn_without_order() {
    check::<LooseTurn>(Run::NORMAL);
}
