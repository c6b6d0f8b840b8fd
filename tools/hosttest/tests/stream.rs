// SPDX-License-Identifier: GPL-2.0

//! A data ring under every interleaving and every reordering that the memory model allows.
//!
//! `loom` runs the producer and the consumer of `proto::stream` as two threads and tries everything.
//! A byte lost, doubled or read too early fails an assertion; a lost wake-up is a deadlock, which
//! loom reports. Tests that must fail show that the model would notice: without the barriers, where
//! one of several who wait does not tell the others, and where the memory shrinks behind the back of
//! one who waits for room.

#[path = "common/private_word.rs"]
mod private_word;
#[path = "stream/ring.rs"]
mod ring;
#[path = "stream/room.rs"]
mod room;
#[path = "stream/waiters.rs"]
mod waiters;

use std::sync::Arc;

use loom::{
    sync::atomic::Ordering,
    thread, //
};
use private_word::Word;
use ring::{
    check,
    check_within,
    Plain,
    Run,
    Shared,
    LARGE,
    SIZE, //
};
use room::waits_while_it_shrinks;
use waiters::two_wait;
use xensock_hosttest::proto::{
    errno::{
        Ending,
        ECONNRESET, //
    },
    indexes,
    stream::SharedWords, //
};

/// Has the producer go to the other memory, if it is time.
fn switch_memory(shared: &Shared, number: u32) {
    let [larger, smaller] = shared.run.changes;

    if number == larger {
        assert!(shared.producer.change_to(shared, LARGE), "it is the first");
    } else if number == smaller {
        // If the consumer has not followed the last time, it just stays.
        shared.producer.change_to(shared, SIZE);
    }
}

/// Produces the numbers from 1; returns how the consumer ended the direction, if it did.
fn produce(shared: &Shared) -> Ending {
    let producer = &shared.producer;

    for number in 1..=shared.run.bytes {
        switch_memory(shared, number);
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
            assert_eq!(produce(&shared), Ending::Open);
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
fn who_looks_while_the_memory_shrinks_sees_what_is_queued() {
    check(|| {
        let shared = Shared::<Word>::new(Run::NORMAL);
        shared.consumer.extend(LARGE);
        assert!(shared.producer.change_to(&*shared, LARGE));
        assert_eq!(shared.consumer.ready(&*shared).unwrap().len, 0);
        let _ = shared.producer.publish(&*shared, LARGE);
        let other = {
            let shared = shared.clone();
            thread::spawn(move || assert_eq!(shared.producer.peek_queued(&*shared), LARGE))
        };

        assert!(shared.producer.change_to(&*shared, SIZE));
        other.join().unwrap();
    });
}

#[test]
fn who_looks_while_the_memory_grows_sees_what_has_come() {
    check(|| {
        let shared = Shared::<Word>::new(Run::NORMAL);
        let other = {
            let shared = shared.clone();
            thread::spawn(move || {
                shared.consumer.extend(LARGE);
                assert!(shared.producer.change_to(&*shared, LARGE));
                let _ = shared.producer.publish(&*shared, LARGE);
            })
        };

        assert!([0, LARGE].contains(&shared.consumer.peek_ready(&*shared)));
        other.join().unwrap();
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

/// Asks for the next byte once, as who does not look if it has come meanwhile.
fn ask_once(shared: &Shared) {
    let d = shared.run.direction;
    let prod = shared.load(d.prod);
    shared.store(d.prod_event, prod.wrapping_add(1));
    shared.full_barrier();
}

/// Consumes by events only: with each event it asks for the next, and then takes what there is.
fn by_events(ask: fn(&Shared)) {
    check(move || {
        let shared = Shared::<Plain>::new(Run::NORMAL);
        let other = {
            let shared = shared.clone();
            thread::spawn(move || produce(&shared))
        };

        let mut number = 0;
        while number < shared.run.bytes {
            shared.wake_consumer.wait();
            ask(&shared);
            let len = shared.consumer.ready(&*shared).unwrap().len;
            number += len;
            if len > 0 && shared.consumer.consume(&*shared, len) {
                shared.wake_producer.notify();
            }
        }
        other.join().unwrap();
    });
}

#[test]
fn a_byte_that_comes_while_the_next_is_asked_for_hides_no_other() {
    by_events(|shared| {
        shared.consumer.expect_more(shared);
    });
}

#[test]
#[should_panic(expected = "deadlock")]
fn the_model_notices_who_asks_only_once() {
    by_events(ask_once);
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
fn who_waits_while_the_memory_shrinks_is_told_of_room() {
    waits_while_it_shrinks(true);
}

#[test]
#[should_panic(expected = "deadlock")]
fn the_model_notices_who_does_not_ask_again_after_a_change() {
    waits_while_it_shrinks(false);
}

#[test]
#[should_panic(expected = "deadlock")]
fn the_model_notices_who_keeps_the_news_to_itself() {
    two_wait([1, 1], false, false);
}
