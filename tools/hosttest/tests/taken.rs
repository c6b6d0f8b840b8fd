// SPDX-License-Identifier: GPL-2.0

//! A producer that waits for what it has sent to be taken, and a consumer that moves its index just then.

#[path = "common/page.rs"]
mod page;

use page::{
    Page,
    Word, //
};
use std::cell::Cell;
use xensock_hosttest::proto::{
    indexes::{
        self,
        DirectionWords, //
    },
    ring::crossed,
    stream::{
        Producer,
        SharedWords, //
    },
    Feature,
    Features, //
};

const SIZE: u32 = 8192;

const OUT: DirectionWords = indexes::OUT;

/// The indexes page, whose `cons` is another with each look at it.
struct ChangingPage<F> {
    page: Page,
    looks: Cell<u32>,
    next: F,
}

impl<F: Fn(u32) -> u32> ChangingPage<F> {
    /// The page of a ring that is full up to `prod`; of the nth look on, `cons` is what `next` says.
    fn new(prod: u32, next: F) -> (Self, Producer<Word>) {
        let page = Page::new(OUT, prod.wrapping_sub(SIZE));
        let features = Features::NONE.with(Feature::EventIndex);
        let producer = Producer::starting_at(OUT, SIZE, features, prod.wrapping_sub(SIZE));
        let _ = producer.publish(&page, SIZE);
        let looks = Cell::new(0);
        (Self { page, looks, next }, producer)
    }

    fn event(&self) -> u32 {
        self.page.load(OUT.cons_event)
    }
}

impl<F: Fn(u32) -> u32> SharedWords for ChangingPage<F> {
    fn load_acquire(&self, offset: usize) -> u32 {
        if offset == OUT.cons {
            let look = self.looks.get();
            assert!(look < 200, "it is looked at for ever");
            self.looks.set(look + 1);
            self.page.store(OUT.cons, (self.next)(look));
        }
        self.page.load_acquire(offset)
    }

    fn load(&self, offset: usize) -> u32 {
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

/// Where the indexes stand: they wrap.
const PRODS: [u32; 4] = [SIZE, 5 * SIZE + 17, SIZE / 2, u32::MAX];

#[test]
fn the_next_byte_is_told() {
    for prod in PRODS {
        let cons = prod.wrapping_sub(SIZE / 2);
        let (page, producer) = ChangingPage::new(prod, |_| cons);
        producer.expect_taken(&page);
        assert!(crossed(page.event(), cons, cons.wrapping_add(1)));
    }
}

#[test]
fn one_that_takes_meanwhile_is_waited_for_from_there_on() {
    for prod in PRODS {
        let cons = prod.wrapping_sub(SIZE - 30);
        let (page, producer) = ChangingPage::new(prod, |look| cons.wrapping_add(look.min(20)));
        producer.expect_taken(&page);
        let last = cons.wrapping_add(20);
        assert!(crossed(page.event(), last, last.wrapping_add(1)));
    }
}

#[test]
fn nothing_is_expected_of_one_that_has_taken_all() {
    for prod in PRODS {
        let (page, producer) = ChangingPage::new(prod, |_| prod);
        producer.expect_taken(&page);
        assert_eq!(page.event(), 0);
    }
}

#[test]
fn the_last_byte_is_told_whatever_memory_it_is_in() {
    for prod in PRODS {
        let last = prod.wrapping_sub(1);
        let (page, producer) = ChangingPage::new(prod, |_| last);
        producer.expect_all_taken(&page);
        assert!(producer.change_to(&page, 4 * SIZE));
        assert!(crossed(page.event(), last, prod));
        producer.expect_all_taken(&page);
        assert!(crossed(page.event(), last, prod));
    }
}

/// See [`ChangingPage`] for how often it may be; and if it rests then, the last byte is told.
#[test]
fn one_that_never_rests_is_not_looked_at_for_ever() {
    for prod in PRODS {
        let first = prod.wrapping_sub(SIZE);
        let to_and_fro = |look: u32| first.wrapping_add(look % 2);
        let (page, producer) = ChangingPage::new(prod, to_and_fro);
        producer.expect_taken(&page);
        assert!(crossed(page.event(), prod.wrapping_sub(1), prod));
        // Nor one whose index makes no sense.
        let (page, producer) = ChangingPage::new(prod, |look| prod.wrapping_add(look % 3));
        producer.expect_taken(&page);
    }
}
