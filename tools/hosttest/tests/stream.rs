// SPDX-License-Identifier: GPL-2.0

//! A data ring under every interleaving and every reordering that the memory model allows.
//!
//! `loom` runs the producer and the consumer of `proto::stream` as two threads and tries everything.
//! A byte lost, doubled or read too early fails an assertion; a lost wake-up is a deadlock, which
//! loom reports. Tests that must fail show that the model would notice: without the barriers, and
//! where one of several who wait does not tell the others.

#[path = "common/private_word.rs"]
mod private_word;

use std::sync::Arc;

use loom::{
    sync::{
        atomic::{
            fence,
            AtomicU32,
            Ordering, //
        },
        Mutex,
        Notify, //
    },
    thread,
};
use private_word::Word;
use xensock_hosttest::proto::{
    errno::{
        Ending,
        ECONNRESET, //
    },
    indexes::{
        self,
        DirectionWords, //
    },
    ring::{
        Memory,
        MemorySpan, //
    },
    stream::{
        Consumer,
        PrivateWord,
        Producer,
        SharedWords, //
    },
    Feature,
    Features, //
};

/// Bytes of the ring: small, so that it is often full.
const SIZE: u32 = 2;

/// Bytes of the extension.
const LARGE: u32 = 4;

/// How often the scheduler may take a thread away where it would go on. `LOOM_MAX_PREEMPTIONS` in
/// the environment overrides it: 3 takes a minute, and finds nothing more.
const PREEMPTIONS: usize = 2;

/// Tries everything.
fn check(run: impl Fn() + Sync + Send + 'static) {
    check_within(PREEMPTIONS, run);
}

/// Tries everything, with as many preemptions: each more multiplies the time.
fn check_within(preemptions: usize, run: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(preemptions));
    builder.check(run);
}

/// How a run goes.
#[derive(Clone, Copy)]
struct Run {
    direction: DirectionWords,
    /// Whether both ends use event indexes.
    event_index: bool,
    /// Where the indexes begin.
    start: u32,
    /// How many bytes go through.
    bytes: u32,
    /// Whether the barriers are there.
    barriers: bool,
    /// The numbers with which the producer goes to the extension, and back.
    changes: [u32; 2],
}

impl Run {
    const NORMAL: Self = Self {
        direction: indexes::IN,
        event_index: true,
        start: 0,
        bytes: 3,
        barriers: true,
        changes: [0, 0],
    };

    fn features(&self) -> Features {
        let features = Features::NONE.with(Feature::RingResize);
        if self.event_index {
            features.with(Feature::EventIndex)
        } else {
            features
        }
    }
}

/// A word of an end's own which only one thread uses, so that the model need not look at it.
struct Plain(std::sync::atomic::AtomicU32);

impl PrivateWord for Plain {
    fn new(value: u32) -> Self {
        Self(value.into())
    }

    fn load(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }

    fn load_acquire(&self) -> u32 {
        self.load()
    }

    fn store(&self, value: u32) {
        self.0.store(value, Ordering::SeqCst);
    }

    fn store_release(&self, value: u32) {
        self.store(value);
    }
}

/// The ring, and an event channel for each end.
struct Shared<W = Plain> {
    run: Run,
    /// The words of one direction: cons, prod, error, prod_event, cons_event, switch, generation,
    /// followed.
    words: [AtomicU32; 8],
    base: [AtomicU32; SIZE as usize],
    extension: [AtomicU32; LARGE as usize],
    wake_consumer: Notify,
    wake_producer: Notify,
    producer: Producer<W>,
    consumer: Consumer<W>,
}

impl<W: PrivateWord> Shared<W> {
    fn new(run: Run) -> Arc<Self> {
        let first = run.start.wrapping_add(indexes::FIRST_PROD_EVENT);
        let none = run.start.wrapping_add(indexes::FIRST_CONS_EVENT);
        Arc::new(Self {
            run,
            words: [run.start, run.start, 0, first, none, 0, 0, 0].map(AtomicU32::new),
            base: [0; SIZE as usize].map(AtomicU32::new),
            extension: [0; LARGE as usize].map(AtomicU32::new),
            wake_consumer: Notify::new(),
            wake_producer: Notify::new(),
            producer: Producer::starting_at(run.direction, SIZE, run.features(), run.start),
            consumer: Consumer::starting_at(run.direction, SIZE, run.features(), run.start),
        })
    }

    fn word(&self, offset: usize) -> &AtomicU32 {
        let d = self.run.direction;
        let offsets = [
            d.cons,
            d.prod,
            d.error,
            d.prod_event,
            d.cons_event,
            d.switch,
            d.generation,
            d.followed,
        ];
        &self.words[offsets.iter().position(|&o| o == offset).unwrap()]
    }

    /// The byte that is the only one of these places.
    fn byte(&self, places: &[MemorySpan]) -> &AtomicU32 {
        let mut places = places.iter().filter(|place| place.span.len > 0);
        let place = places.next().unwrap();
        assert!(place.span.len == 1 && places.next().is_none());
        match place.memory {
            Memory::Base => &self.base[place.span.offset as usize],
            Memory::Extension => &self.extension[place.span.offset as usize],
        }
    }
}

impl<W: PrivateWord> SharedWords for Shared<W> {
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
        if self.run.barriers {
            fence(Ordering::SeqCst);
        }
    }
}

/// Has the producer go to the other memory, if it is time.
fn change(shared: &Shared, number: u32) {
    let [larger, smaller] = shared.run.changes;
    let size = match number {
        n if n == larger => LARGE,
        n if n == smaller => SIZE,
        _ => return,
    };
    // If the consumer has not followed the last time, it just stays.
    shared.producer.change_to(shared, size);
}

/// Produces the numbers from 1; returns how the consumer ended the direction, if it did.
fn produce(shared: &Shared) -> Ending {
    let producer = &shared.producer;

    for number in 1..=shared.run.bytes {
        change(shared, number);
        loop {
            let ending = producer.ending(shared);
            if ending != Ending::Open {
                return ending;
            }
            if producer.room(shared).unwrap() > 0 {
                break;
            }
            producer.expect_room(shared, 1);
            if producer.room(shared).unwrap() == 0 && producer.ending(shared) == Ending::Open {
                shared.wake_producer.wait();
            }
        }
        shared
            .byte(&producer.places(0, 1))
            .store(number, Ordering::Relaxed);
        if producer.publish(shared, 1) {
            shared.wake_consumer.notify();
        }
    }
    Ending::Open
}

/// Consumes `limit` numbers, or up to the end; checks them, and returns how it ended.
fn consume(shared: &Shared, limit: u32) -> Ending {
    let consumer = &shared.consumer;
    let mut number = 0;

    while number < limit {
        let ready = consumer.ready(shared).unwrap();
        if ready.len > 0 {
            // All there is at once, so that an index moves by more than 1.
            for i in 0..ready.len {
                let byte = shared.byte(&consumer.places(i, 1));
                number += 1;
                assert_eq!(byte.load(Ordering::Relaxed), number);
            }
            if consumer.consume(shared, ready.len) {
                shared.wake_producer.notify();
            }
            continue;
        }
        if ready.ending != Ending::Open {
            assert_eq!(number, shared.run.bytes, "the end came before the data");
            return ready.ending;
        }
        consumer.expect_more(shared);
        let ready = consumer.ready(shared).unwrap();
        if ready.len == 0 && ready.ending == Ending::Open {
            shared.wake_consumer.wait();
        }
    }
    Ending::Open
}

/// The producer ends the direction after the data, as the backend does with `in`.
fn data_then_end(shared: &Arc<Shared<Plain>>) {
    let other = {
        let shared = shared.clone();
        thread::spawn(move || {
            produce(&shared);
            shared.producer.end(&*shared, Ending::Orderly);
            shared.wake_consumer.notify();
        })
    };

    assert_eq!(consume(shared, u32::MAX), Ending::Orderly);
    other.join().unwrap();
}

/// A run in which the memory does not change.
fn unchanged(run: Run) {
    check(move || data_then_end(&Shared::<Plain>::new(run)));
}

#[test]
fn data_arrives_and_then_the_end() {
    unchanged(Run::NORMAL);
}

#[test]
fn indexes_wrap() {
    unchanged(Run {
        start: u32::MAX - 1,
        ..Run::NORMAL
    });
}

#[test]
fn without_event_indexes() {
    unchanged(Run {
        event_index: false,
        direction: indexes::OUT,
        ..Run::NORMAL
    });
}

#[test]
fn a_reset_wakes_a_producer_that_waits_for_room() {
    for event_index in [true, false] {
        check(move || {
            let shared = Shared::<Plain>::new(Run {
                direction: indexes::OUT,
                event_index,
                // More than fits, so the producer has to wait for somebody who never comes.
                bytes: 2 * SIZE + 1,
                ..Run::NORMAL
            });
            let other = {
                let shared = shared.clone();
                thread::spawn(move || produce(&shared))
            };

            consume(&shared, 1);
            shared.consumer.end(&*shared, Ending::Failed(ECONNRESET));
            shared.wake_producer.notify();
            assert_eq!(other.join().unwrap(), Ending::Failed(ECONNRESET));
        });
    }
}

#[test]
#[should_panic(expected = "deadlock")]
fn the_model_notices_missing_barriers() {
    unchanged(Run {
        barriers: false,
        ..Run::NORMAL
    });
}

/// A run in which the memory grows and shrinks. One preemption has to do: with two, to shrink takes
/// minutes, and finds nothing more.
fn with_changes(run: Run) {
    check_within(1, move || {
        let shared = Shared::<Plain>::new(run);
        shared.consumer.extend(LARGE);
        data_then_end(&shared);
    });
}

#[test]
fn the_memory_grows_between_any_two_bytes() {
    for larger in 1..=3 {
        with_changes(Run {
            changes: [larger, 0],
            ..Run::NORMAL
        });
    }
}

#[test]
fn the_memory_shrinks_again() {
    with_changes(Run {
        changes: [1, 2],
        start: u32::MAX - 1,
        direction: indexes::OUT,
        ..Run::NORMAL
    });
}

#[test]
fn who_looks_at_the_ring_is_told_of_room() {
    check(|| {
        let shared = Shared::<Word>::new(Run {
            bytes: SIZE,
            ..Run::NORMAL
        });
        let others = [
            // The producer, which does not wait.
            |shared: &Shared<Word>| {
                for _ in 0..SIZE {
                    if shared.producer.publish(shared, 1) {
                        shared.wake_consumer.notify();
                    }
                }
            },
            |shared: &Shared<Word>| {
                let mut consumed = 0;
                while consumed < SIZE {
                    let len = shared.consumer.ready(shared).unwrap().len;
                    if len > 0 {
                        consumed += len;
                        if shared.consumer.consume(shared, len) {
                            shared.wake_producer.notify();
                        }
                        continue;
                    }
                    shared.consumer.expect_more(shared);
                    if shared.consumer.ready(shared).unwrap().len == 0 {
                        shared.wake_consumer.wait();
                    }
                }
            },
        ]
        .map(|run| {
            let shared = shared.clone();
            thread::spawn(move || run(&shared))
        });

        // A program that polls, beside the producer.
        while shared.producer.peek_room(&*shared) == 0 {
            shared.producer.expect_room(&*shared, 1);
            if shared.producer.peek_room(&*shared) == 0 {
                shared.wake_producer.wait();
            }
        }
        for other in others {
            other.join().unwrap();
        }
    });
}

/// An end where several programs wait for the same bytes: they look at the ring, and one event word
/// and one handler serve all of them.
struct Waiters {
    shared: Arc<Shared>,
    /// The producer's index up to which all were told, by those who ask and by the handler.
    told: Mutex<u32>,
    /// Whether who asks tells the others of what has come meanwhile.
    passes_on: bool,
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
            let mut told = self.told.lock().unwrap();
            let arrived = self.shared.consumer.expect_more(&*self.shared);
            std::mem::replace(&mut *told, arrived) != arrived
        };
        if is_news && self.passes_on {
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
            let mut told = self.told.lock().unwrap();
            let arrived = if is_polled {
                self.shared.consumer.expect_more(&*self.shared)
            } else {
                self.shared.load(self.shared.run.direction.prod)
            };
            std::mem::replace(&mut *told, arrived) != arrived
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
fn two_wait(wanted: [u32; 2], is_polled: bool, passes_on: bool) {
    check_within(1, move || {
        let waiters = Arc::new(Waiters {
            shared: Shared::new(Run {
                bytes: wanted[0].max(wanted[1]),
                ..Run::NORMAL
            }),
            told: Mutex::new(0),
            passes_on,
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

#[test]
fn all_who_wait_are_told() {
    for is_polled in [false, true] {
        two_wait([1, 1], is_polled, true);
    }
}

#[test]
fn all_who_wait_are_told_each_in_its_time() {
    two_wait([1, 2], true, true);
}

#[test]
#[should_panic(expected = "deadlock")]
fn the_model_notices_who_keeps_the_news_to_itself() {
    two_wait([1, 1], false, false);
}
