// SPDX-License-Identifier: GPL-2.0

//! The news page: its layout, what hostile contents can do, and that no news is lost.
//!
//! The model has several who announce and one who is told, in every interleaving that the memory
//! model allows. News that nobody looks at leave the reader waiting, which `loom` reports as a
//! deadlock.

use std::{
    collections::BTreeSet,
    sync::Arc, //
};

use loom::{
    sync::{
        atomic::{
            AtomicU32,
            Ordering, //
        },
        Notify, //
    },
    thread,
};
use proptest::{
    collection::vec,
    prelude::*, //
};
use xensock_hosttest::proto::news::{
    Bits,
    NewsWords,
    Pass,
    Slot,
    GROUPS,
    IN,
    LEN,
    OUT,
    SLOTS, //
};

/// A page that nobody else changes, unless `meanwhile` does with each word that is taken.
struct Page {
    bytes: std::cell::RefCell<Vec<u8>>,
    meanwhile: Option<u8>,
    taken: std::cell::Cell<usize>,
}

impl Page {
    fn new(bytes: Vec<u8>) -> Self {
        assert_eq!(bytes.len(), LEN);
        Self {
            bytes: bytes.into(),
            meanwhile: None,
            taken: 0.into(),
        }
    }

    fn empty() -> Self {
        Self::new(vec![0; LEN])
    }
}

impl Bits for Page {
    fn set(&self, n: usize) -> bool {
        let byte = &mut self.bytes.borrow_mut()[n / 8];
        let was_set = *byte >> (n % 8) & 1 != 0;
        *byte |= 1 << (n % 8);
        was_set
    }

    fn take(&self, offset: usize) -> u32 {
        assert_eq!(offset % 4, 0);
        let mut bytes = self.bytes.borrow_mut();
        let word = u32::from_le_bytes(bytes[offset..offset + 4].try_into().unwrap());
        bytes[offset..offset + 4].fill(0);
        if let Some(value) = self.meanwhile {
            bytes.fill(value);
        }
        self.taken.set(self.taken.get() + 1);
        word
    }
}

/// All slots of a pass, in order.
fn pass(page: &Page, direction: NewsWords) -> Vec<u32> {
    let mut pass = Pass::new(direction);
    pass.begin(page);
    std::iter::from_fn(|| pass.next(page)).flatten().map(Slot::number).collect()
}

fn slot(number: u32) -> Slot {
    Slot::new(number).unwrap()
}

#[test]
fn slots_are_numbers_below_8192() {
    assert_eq!(SLOTS, 8192);
    assert_eq!(Slot::new(8191).map(Slot::number), Some(8191));
    assert_eq!(Slot::new(8192), None);
    assert_eq!(Slot::new(u32::MAX), None);
    assert_eq!(Slot::of(GROUPS, 0), None);
    assert_eq!(Slot::of(0, 32), None);
    assert_eq!(Slot::of(255, 31), Slot::new(8191));
    assert_eq!((slot(1000).group(), slot(1000).bit()), (31, 8));
}

/// As protocol.rst has it, written out by hand.
#[test]
fn the_layout_is_that_of_the_text() {
    for (direction, summary, bits) in [(IN, 0, 1024), (OUT, 64, 2048)] {
        for number in [0, 7, 8, 31, 32, 1000, 8191] {
            let page = Page::empty();
            assert!(direction.announce(&page, slot(number)));
            let number = number as usize;
            let mut expected = vec![0; LEN];
            expected[bits + number / 8] = 1 << (number % 8);
            expected[summary + number / 256] = 1 << (number / 32 % 8);
            assert_eq!(*page.bytes.borrow(), expected, "slot {number}");
        }
    }
}

#[test]
fn one_event_is_enough_for_a_word() {
    let page = Page::empty();
    assert!(OUT.announce(&page, slot(3)));
    assert!(!OUT.announce(&page, slot(3)));
    assert!(!OUT.announce(&page, slot(31)));
    assert!(OUT.announce(&page, slot(32)));
    // The other direction is another matter.
    assert!(IN.announce(&page, slot(3)));
    assert_eq!(pass(&page, OUT), [3, 31, 32]);
    assert!(OUT.announce(&page, slot(3)));
    assert_eq!(pass(&page, IN), [3]);
}

#[test]
fn what_comes_during_a_pass_is_for_the_next() {
    let page = Page::empty();
    let _ = IN.announce(&page, slot(100));
    let _ = IN.announce(&page, slot(5000));
    let mut pass = Pass::new(IN);
    pass.begin(&page);
    assert_eq!(pass.next(&page).unwrap().collect::<Vec<_>>(), [slot(100)]);
    // A storm does not come before those who wait.
    assert!(IN.announce(&page, slot(100)));
    assert!(IN.announce(&page, slot(40)));
    assert_eq!(pass.next(&page).unwrap().collect::<Vec<_>>(), [slot(5000)]);
    assert_eq!(pass.next(&page), None);
    pass.begin(&page);
    let rest: Vec<_> = std::iter::from_fn(|| pass.next(&page)).flatten().collect();
    assert_eq!(rest, [slot(40), slot(100)]);
}

/// What is gone through cannot be more than once everything, whatever the other end does meanwhile.
#[test]
fn a_pass_ends() {
    let mut page = Page::new(vec![0xff; LEN]);
    page.meanwhile = Some(0xff);
    for direction in [IN, OUT] {
        page.taken.set(0);
        let all: Vec<_> = (0..SLOTS as u32).collect();
        assert_eq!(pass(&page, direction), all);
        assert_eq!(page.taken.get(), 8 + GROUPS);
    }
}

proptest! {
    /// Whatever is in the page: each slot once at the most, all that are valid, those announced too.
    #[test]
    fn any_contents(bytes in vec(any::<u8>(), LEN), announced in vec(0..SLOTS as u32, 0..50)) {
        for direction in [IN, OUT] {
            let page = Page::new(bytes.clone());
            for &number in &announced {
                let _ = direction.announce(&page, slot(number));
            }
            let taken = pass(&page, direction);
            let unique: BTreeSet<_> = taken.iter().copied().collect();
            prop_assert_eq!(unique.len(), taken.len());
            prop_assert!(taken.iter().all(|&number| (number as usize) < SLOTS));
            prop_assert!(announced.iter().all(|number| unique.contains(number)));
            prop_assert!(page.taken.get() <= 8 + GROUPS);
            // It is done with.
            prop_assert!(self::pass(&page, direction).is_empty());
        }
    }

    /// In an honest page: just those that were announced, and an event if there are any.
    #[test]
    fn honest_contents(announced in vec(0..SLOTS as u32, 0..200)) {
        let page = Page::empty();
        let events = announced.iter().filter(|&&number| OUT.announce(&page, slot(number))).count();
        let unique: BTreeSet<_> = announced.iter().copied().collect();
        let groups: BTreeSet<_> = announced.iter().map(|number| number / 32).collect();
        prop_assert_eq!(pass(&page, OUT), unique.into_iter().collect::<Vec<_>>());
        prop_assert_eq!(events, groups.len());
    }
}

/// The page of the model: the words of `IN` that slots 0, 1 and 32 need.
struct Shared {
    summary: AtomicU32,
    groups: [AtomicU32; 2],
    /// The indexes of the rings.
    rings: [AtomicU32; 3],
    event: Notify,
    /// The summary is set before the bits: that must not work.
    is_wrong: bool,
}

/// The rings of the model.
const RINGS: [u32; 3] = [0, 1, 32];

impl Shared {
    fn new(is_wrong: bool) -> Arc<Self> {
        Arc::new(Self {
            summary: AtomicU32::new(0),
            groups: [0, 0].map(AtomicU32::new),
            rings: [0, 0, 0].map(AtomicU32::new),
            event: Notify::new(),
            is_wrong,
        })
    }

    /// Moves the index of a ring and says so.
    fn produce(&self, ring: usize) {
        self.rings[ring].fetch_add(1, Ordering::Relaxed);
        let slot = slot(RINGS[ring]);
        let notifies = if self.is_wrong {
            let was_set = self.set(slot.group());
            self.set(8 * 1024 + slot.number() as usize);
            !was_set
        } else {
            IN.announce(self, slot)
        };
        if notifies {
            self.event.notify();
        }
    }

    /// Waits for events until the rings have come to these indexes, as far as it was told to look.
    fn consume(&self, goal: [u32; 3]) {
        let mut pass = Pass::new(IN);
        let mut seen = [0; 3];
        while seen != goal {
            self.event.wait();
            pass.begin(self);
            for slot in std::iter::from_fn(|| pass.next(self)).flatten() {
                let ring = RINGS.iter().position(|&n| n == slot.number()).unwrap();
                seen[ring] = self.rings[ring].load(Ordering::Relaxed);
            }
        }
    }
}

impl Bits for Shared {
    fn set(&self, n: usize) -> bool {
        let (word, bit) = match n.checked_sub(8 * 1024) {
            None => (&self.summary, n),
            Some(n) => (&self.groups[n / 32], n % 32),
        };
        word.fetch_or(1 << bit, Ordering::SeqCst) >> bit & 1 != 0
    }

    fn take(&self, offset: usize) -> u32 {
        match offset.checked_sub(1024) {
            None if offset == 0 => self.summary.swap(0, Ordering::SeqCst),
            None => 0,
            Some(offset) => self.groups[offset / 4].swap(0, Ordering::SeqCst),
        }
    }
}

/// Each thread produces once for each of its rings.
fn model(is_wrong: bool, threads: &'static [&'static [usize]]) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(3));
    builder.check(move || {
        let shared = Shared::new(is_wrong);
        let mut goal = [0; 3];
        let producers: Vec<_> = threads
            .iter()
            .map(|rings| {
                rings.iter().for_each(|&ring| goal[ring] += 1);
                let shared = shared.clone();
                thread::spawn(move || rings.iter().for_each(|&ring| shared.produce(ring)))
            })
            .collect();
        shared.consume(goal);
        for producer in producers {
            producer.join().unwrap();
        }
    });
}

#[test]
fn two_rings_of_one_word() {
    model(false, &[&[0], &[1]]);
}

#[test]
fn one_ring_again_and_again() {
    model(false, &[&[0, 0], &[0]]);
}

#[test]
fn rings_of_two_words() {
    model(false, &[&[0, 2], &[2, 1]]);
}

#[test]
#[should_panic(expected = "deadlock")]
fn the_model_notices_the_wrong_order() {
    model(true, &[&[0], &[1]]);
}
