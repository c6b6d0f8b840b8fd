// SPDX-License-Identifier: GPL-2.0

//! Directions that grow and shrink: any order of steps, against a queue, and peers that lie.

#[path = "common/page.rs"]
mod page;

use page::{
    Page,
    Word, //
};
use proptest::prelude::*;
use std::collections::VecDeque;
use xensock_hosttest::proto::{
    indexes,
    ring::{
        Memory,
        MemorySpan,
        Violation, //
    },
    stream::{
        Consumer,
        Producer,
        SharedWords, //
    },
    Feature,
    Features, //
};

const BASE: u32 = 8;

fn features() -> Features {
    Features::NONE
        .with(Feature::EventIndex)
        .with(Feature::RingResize)
}

/// A step of one of the ends.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Produces as many bytes, or what there is room for.
    Produce(u32),
    /// Peeks at as many bytes after skipping some, then consumes others.
    Consume(u32, u32),
    /// Makes an extension of this size.
    Extend(u32),
    /// Goes to the extension, or to the base.
    Change(bool),
    /// Takes the extension away.
    Withdraw,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u32..40).prop_map(Step::Produce),
        4 => (0u32..40, 0u32..40).prop_map(|(a, b)| Step::Consume(a, b)),
        1 => (4u32..7).prop_map(|order| Step::Extend(1 << order)),
        2 => any::<bool>().prop_map(Step::Change),
        1 => Just(Step::Withdraw),
    ]
}

/// The bytes of a direction: base and extension.
#[derive(Default)]
struct Memories([Vec<u8>; 2]);

impl Memories {
    /// Does something with each byte of these places, in their order.
    fn for_each(&mut self, places: &[MemorySpan], mut what: impl FnMut(&mut u8)) {
        for MemorySpan { memory, span } in places {
            let bytes = &mut self.0[usize::from(*memory == Memory::Extension)];
            let (offset, len) = (span.offset as usize, span.len as usize);
            bytes[offset..offset + len].iter_mut().for_each(&mut what);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn every_byte_comes_once_and_in_order(
        start in prop_oneof![any::<u32>(), u32::MAX - 64..=u32::MAX],
        steps in proptest::collection::vec(step(), 1..200),
    ) {
        let direction = indexes::IN;
        let page = Page::new(direction, start);
        let producer = Producer::<Word>::starting_at(direction, BASE, features(), start);
        let consumer = Consumer::<Word>::starting_at(direction, BASE, features(), start);
        let mut memories = Memories([vec![0; BASE as usize], Vec::new()]);
        let mut queue = VecDeque::new();
        let mut next = 0u8;

        for step in steps {
            match step {
                Step::Produce(wanted) => {
                    let room = producer.room(&page).unwrap();
                    prop_assert_eq!(room, producer.peek_room(&page));
                    // More than a small base may still be queued.
                    let expected = producer.size().saturating_sub(queue.len() as u32);
                    prop_assert_eq!(room, expected);
                    let len = wanted.min(room);
                    memories.for_each(&producer.places(0, len), |byte| {
                        *byte = next;
                        queue.push_back(next);
                        next = next.wrapping_add(1);
                    });
                    let _ = producer.publish(&page, len);
                }
                Step::Consume(skip, wanted) => {
                    let ready = consumer.ready(&page).unwrap().len;
                    prop_assert_eq!(ready as usize, queue.len());
                    prop_assert_eq!(ready, consumer.peek_ready(&page));
                    prop_assert_eq!(ready, producer.peek_queued(&page));
                    let skip = skip.min(ready);
                    let mut seen = Vec::new();
                    memories.for_each(&consumer.places(skip, ready - skip), |byte| seen.push(*byte));
                    let expected: Vec<u8> = queue.iter().copied().skip(skip as usize).collect();
                    prop_assert_eq!(seen, expected);
                    let len = wanted.min(ready);
                    let _ = consumer.consume(&page, len);
                    queue.drain(..len as usize);
                }
                Step::Extend(size) => {
                    if memories.0[1].is_empty() {
                        memories.0[1] = vec![0xff; size as usize];
                        consumer.extend(size);
                    }
                }
                Step::Change(is_larger) => {
                    let size = if is_larger { memories.0[1].len() as u32 } else { BASE };
                    if size != 0 && size != producer.size() {
                        // Only once the consumer has followed the last.
                        let is_followed = producer.is_followed(&page);
                        prop_assert_eq!(producer.change_to(&page, size), is_followed);
                    }
                }
                Step::Withdraw => {
                    let is_unused = producer.memory() == Memory::Base;
                    if is_unused && consumer.withdraw(&page).unwrap() {
                        memories.0[1].clear();
                    } else if is_unused && !memories.0[1].is_empty() {
                        prop_assert!(consumer.is_leaving());
                    }
                }
            }
        }
        prop_assert_eq!(consumer.ready(&page).unwrap().len as usize, queue.len());
    }

    #[test]
    fn whatever_the_producer_writes_stays_inside(
        words in proptest::collection::vec((0usize..4, prop_oneof![any::<u32>(), 0u32..70]), 1..60),
        extension in prop_oneof![Just(0u32), Just(16), Just(64)],
        wanted in 0u32..100,
    ) {
        let d = indexes::OUT;
        let page = Page::new(d, 0);
        let consumer = Consumer::<Word>::new(d, BASE, features());
        if extension != 0 {
            consumer.extend(extension);
        }
        for (word, value) in words {
            page.store([d.prod, d.switch, d.generation, d.error][word], value);
            let Ok(ready) = consumer.ready(&page) else {
                continue;
            };
            prop_assert!(ready.len <= BASE.max(extension));
            let places = consumer.places(0, ready.len);
            let mut sum = 0;
            for MemorySpan { memory, span } in places {
                let size = if memory == Memory::Base { BASE } else { extension };
                prop_assert!(span.len == 0 || span.offset + span.len <= size);
                sum += span.len;
            }
            prop_assert!(sum == ready.len);
            let _ = consumer.consume(&page, wanted.min(ready.len));
        }
    }

    #[test]
    fn whatever_the_consumer_writes_leaves_some_room_or_none(
        values in proptest::collection::vec(prop_oneof![any::<u32>(), 0u32..70], 1..40),
        wanted in 0u32..100,
    ) {
        let d = indexes::IN;
        let page = Page::new(d, 0);
        let producer = Producer::<Word>::new(d, BASE, features());
        for (i, cons) in values.into_iter().enumerate() {
            page.store(d.cons, cons);
            producer.change_to(&page, if i % 2 == 0 { 64 } else { BASE });
            let Ok(room) = producer.room(&page) else {
                continue;
            };
            prop_assert!(room <= producer.size());
            for MemorySpan { span, .. } in producer.places(0, room) {
                prop_assert!(span.len == 0 || span.offset + span.len <= producer.size());
            }
            let _ = producer.publish(&page, wanted.min(room));
        }
    }
}

/// A consumer, with an extension if that has a size, whose base has 4 bytes queued.
fn consumer(page: &Page, extension: u32) -> Consumer<Word> {
    let consumer = Consumer::new(indexes::IN, BASE, features());
    if extension != 0 {
        consumer.extend(extension);
    }
    page.store(indexes::IN_PROD, 4);
    assert_eq!(consumer.ready(page).unwrap().len, 4);
    consumer
}

/// Says that the memory has changed.
fn announce_switch(page: &Page, switch: u32, generation: u32) {
    page.store(indexes::IN_SWITCH, switch);
    page.store(indexes::IN_GENERATION, generation);
}

#[test]
fn a_change_without_an_extension_is_a_violation() {
    let page = Page::new(indexes::IN, 0);
    let consumer = consumer(&page, 0);
    announce_switch(&page, 4, 1);
    assert_eq!(consumer.ready(&page), Err(Violation));
}

#[test]
fn a_generation_that_skips_one_is_a_violation() {
    for generation in [2, u32::MAX] {
        let page = Page::new(indexes::IN, 0);
        let consumer = consumer(&page, 16);
        announce_switch(&page, 4, generation);
        assert_eq!(consumer.ready(&page), Err(Violation));
    }
}

#[test]
fn a_switch_outside_of_the_window_is_a_violation() {
    for switch in [BASE + 1, u32::MAX, 1 << 31] {
        let page = Page::new(indexes::IN, 0);
        let consumer = consumer(&page, 16);
        announce_switch(&page, switch, 1);
        assert_eq!(consumer.ready(&page), Err(Violation));
    }
}

#[test]
fn a_second_change_before_the_first_is_passed_is_a_violation() {
    let page = Page::new(indexes::IN, 0);
    let consumer = consumer(&page, 16);
    announce_switch(&page, 4, 1);
    assert_eq!(consumer.ready(&page).unwrap().len, 4);
    announce_switch(&page, 4, 2);
    assert_eq!(consumer.ready(&page), Err(Violation));
}

#[test]
fn more_than_the_new_memory_holds_is_a_violation() {
    let page = Page::new(indexes::IN, 0);
    let consumer = consumer(&page, 16);
    announce_switch(&page, 4, 1);
    page.store(indexes::IN_PROD, 17);
    assert_eq!(consumer.ready(&page), Err(Violation));
    page.store(indexes::IN_PROD, 16);
    assert_eq!(consumer.ready(&page).unwrap().len, 16);
}

#[test]
fn without_the_feature_the_words_mean_nothing() {
    let page = Page::new(indexes::IN, 0);
    let consumer = Consumer::<Word>::new(indexes::IN, BASE, Features::NONE);
    page.store(indexes::IN_PROD, 4);
    announce_switch(&page, 77, 77);
    assert_eq!(consumer.ready(&page).unwrap().len, 4);
}
