// SPDX-License-Identifier: GPL-2.0

//! A consumer that asks for the next byte, and a producer that moves its index just then.

#[path = "common/page.rs"]
mod page;

use std::cell::Cell;
use xensock_hosttest::proto::{
    indexes::{
        self,
        DirectionWords, //
    },
    ring::crossed,
    stream::{
        Consumer,
        SharedWords, //
    },
    Feature,
    Features, //
};

const IN: DirectionWords = indexes::IN;

/// The indexes page, whose `prod` is another with each look at it.
struct ChangingPage<F> {
    page: page::Page,
    looks: Cell<u32>,
    next: F,
}

impl<F: Fn(u32) -> u32> ChangingPage<F> {
    /// Of the nth look on, `prod` is what `next` says.
    fn new(next: F) -> (Self, Consumer<page::Word>) {
        let features = Features::NONE.with(Feature::EventIndex);
        let start = next(0);
        let page = page::Page::new(IN, start);
        let looks = Cell::new(0);
        let consumer = Consumer::starting_at(IN, 64, features, start);
        (Self { page, looks, next }, consumer)
    }
}

impl<F: Fn(u32) -> u32> SharedWords for ChangingPage<F> {
    fn load_acquire(&self, offset: usize) -> u32 {
        self.load(offset)
    }

    fn load(&self, offset: usize) -> u32 {
        if offset == IN.prod {
            let look = self.looks.get();
            assert!(look < 200, "it is looked at for ever");
            self.looks.set(look + 1);
            self.page.store(IN.prod, (self.next)(look));
        }
        self.page.load(offset)
    }

    fn store_release(&self, offset: usize, value: u32) {
        self.page.store_release(offset, value);
    }

    fn store(&self, offset: usize, value: u32) {
        self.page.store(offset, value);
    }

    fn full_barrier(&self) {}
}

/// Where the index stands: it wraps.
const PRODS: [u32; 4] = [0, 17, u32::MAX - 10, u32::MAX];

#[test]
fn the_byte_after_all_that_have_come_is_told() {
    for prod in PRODS {
        for moves in [0, 1, 2, 20] {
            let (page, consumer) = ChangingPage::new(|look| prod.wrapping_add(look.min(moves)));
            let last = prod.wrapping_add(moves);
            assert_eq!(consumer.expect_more(&page), last);
            let event = page.load(IN.prod_event);
            assert!(crossed(event, last, last.wrapping_add(1)));
        }
    }
}

#[test]
fn one_that_never_rests_is_not_looked_at_for_ever() {
    for prod in PRODS {
        let (page, consumer) = ChangingPage::new(|look| prod.wrapping_add(look));
        consumer.expect_more(&page);
        let (page, consumer) = ChangingPage::new(|look| prod.wrapping_add(look % 2));
        consumer.expect_more(&page);
    }
}

#[test]
fn who_asks_for_nothing_is_told_again_once_it_asks() {
    for prod in PRODS {
        let (page, consumer) = ChangingPage::new(|_| prod);
        let is_told = |old, new| {
            let event = page.load(IN.prod_event);
            crossed(event, prod.wrapping_add(old), prod.wrapping_add(new))
        };
        consumer.expect_more(&page);
        assert!(is_told(0, 1));
        consumer.expect_nothing(&page);
        assert!(!is_told(0, 1) && !is_told(0, 64) && !is_told(1, 64));
        consumer.expect_more(&page);
        assert!(is_told(0, 1));
    }
}
