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

    fn load(&self, offset: usize) -> u32 {
        assert_eq!(offset % 4, 0);
        u32::from_le_bytes(self.bytes.borrow()[offset..offset + 4].try_into().unwrap())
    }
}

/// All slots of a pass, in order.
fn pass(page: &Page, direction: NewsWords) -> Vec<u32> {
    let mut pass = Pass::new(direction);
    pass.begin(page);
    rest(&mut pass, page)
}

/// As [`pass`], while the other end does not notify.
fn polled_pass(page: &Page, direction: NewsWords) -> Vec<u32> {
    let mut pass = Pass::new(direction);
    pass.begin_polled(page);
    rest(&mut pass, page)
}

fn rest(pass: &mut Pass, page: &Page) -> Vec<u32> {
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
fn no_event_while_the_receiver_polls() {
    let page = Page::empty();
    OUT.silence(&page, 0);
    OUT.silence(&page, GROUPS - 1);
    OUT.silence(&page, GROUPS);
    assert!(!OUT.has_news(&page));
    for number in [3, 31, 8191, 3] {
        assert!(!OUT.announce(&page, slot(number)));
        assert!(OUT.has_news(&page));
        assert_eq!(polled_pass(&page, OUT), [number]);
        assert!(!OUT.has_news(&page));
    }
    // A group that is not silenced brings one event, and is polled from then on.
    assert!(OUT.announce(&page, slot(32)));
    assert_eq!(polled_pass(&page, OUT), [32]);
    assert!(!OUT.announce(&page, slot(33)));
    assert!(OUT.has_news(&page));
    // The polling ends as an event does.
    assert_eq!(pass(&page, OUT), [33]);
    assert!(!OUT.has_news(&page));
    for number in [3, 33, 8191] {
        assert!(OUT.announce(&page, slot(number)));
    }
    // The other direction is another matter.
    assert!(!IN.has_news(&page));
    assert!(IN.announce(&page, slot(3)));
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
        page.taken.set(0);
        assert!(direction.has_news(&page));
        assert_eq!(polled_pass(&page, direction), all);
        assert_eq!(page.taken.get(), GROUPS);
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

    /// Whatever is in the page, and whoever is silenced: one who polls finds all that is announced.
    #[test]
    fn polled_contents(
        bytes in vec(any::<u8>(), LEN),
        silenced in vec(0..GROUPS, 0..10),
        announced in vec(0..SLOTS as u32, 0..50),
        later in vec(0..SLOTS as u32, 0..50),
    ) {
        let page = Page::new(bytes);
        for &group in &silenced {
            OUT.silence(&page, group);
        }
        let mut all = Pass::new(OUT);
        for (announced, is_last) in [(&announced, false), (&later, true)] {
            for &number in announced {
                let notifies = OUT.announce(&page, slot(number));
                prop_assert!(!notifies || !silenced.contains(&slot(number).group()));
            }
            let has_news = OUT.has_news(&page);
            match is_last {
                false => all.begin_polled(&page),
                true => all.begin(&page),
            }
            let told: BTreeSet<_> = rest(&mut all, &page).into_iter().collect();
            prop_assert_eq!(has_news, !told.is_empty());
            prop_assert!(announced.iter().all(|number| told.contains(number)));
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
    mistake: Mistake,
}

/// What must not work.
#[derive(Clone, Copy, PartialEq)]
enum Mistake {
    None,
    /// The summary is set before the bits.
    Order,
    /// The polling ends with the last look.
    NoLastLook,
}

/// The rings of the model.
const RINGS: [u32; 3] = [0, 1, 32];

impl Shared {
    fn new(mistake: Mistake) -> Arc<Self> {
        Arc::new(Self {
            summary: AtomicU32::new(0),
            groups: [0, 0].map(AtomicU32::new),
            rings: [0, 0, 0].map(AtomicU32::new),
            event: Notify::new(),
            mistake,
        })
    }

    /// Moves the index of a ring and says so.
    fn produce(&self, ring: usize) {
        self.rings[ring].fetch_add(1, Ordering::Relaxed);
        let slot = slot(RINGS[ring]);
        let notifies = if self.mistake == Mistake::Order {
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
    /// Polls first, with this number of looks.
    fn consume(&self, goal: [u32; 3], looks: usize) {
        let mut pass = Pass::new(IN);
        let mut seen = [0; 3];
        self.poll(&mut pass, &mut seen, looks);
        while seen != goal {
            self.event.wait();
            pass.begin(self);
            self.look(&mut pass, &mut seen);
        }
    }

    fn look(&self, pass: &mut Pass, seen: &mut [u32; 3]) {
        for slot in std::iter::from_fn(|| pass.next(self)).flatten() {
            let ring = RINGS.iter().position(|&n| n == slot.number()).unwrap();
            seen[ring] = self.rings[ring].load(Ordering::Relaxed);
        }
    }

    /// Polls, if `looks` is not 0. Rings of the second group bring an event.
    fn poll(&self, pass: &mut Pass, seen: &mut [u32; 3], looks: usize) {
        if looks == 0 {
            return;
        }
        IN.silence(self, 0);
        for _ in 0..looks {
            if IN.has_news(self) {
                pass.begin_polled(self);
                self.look(pass, seen);
            }
        }
        pass.begin(self);
        if self.mistake != Mistake::NoLastLook {
            self.look(pass, seen);
        } else {
            *pass = Pass::new(IN);
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

    fn load(&self, offset: usize) -> u32 {
        match offset.checked_sub(1024) {
            None if offset == 0 => self.summary.load(Ordering::Relaxed),
            None => 0,
            Some(offset) => self.groups[offset / 4].load(Ordering::Relaxed),
        }
    }
}

/// Each thread produces once for each of its rings. The one who is told polls with this number of
/// looks.
fn model(mistake: Mistake, threads: &'static [&'static [usize]], looks: usize) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(3));
    builder.check(move || {
        let shared = Shared::new(mistake);
        let mut goal = [0; 3];
        let producers: Vec<_> = threads
            .iter()
            .map(|rings| {
                rings.iter().for_each(|&ring| goal[ring] += 1);
                let shared = shared.clone();
                thread::spawn(move || rings.iter().for_each(|&ring| shared.produce(ring)))
            })
            .collect();
        shared.consume(goal, looks);
        for producer in producers {
            producer.join().unwrap();
        }
    });
}

#[test]
fn two_rings_of_one_word() {
    model(Mistake::None, &[&[0], &[1]], 0);
}

#[test]
fn one_ring_again_and_again() {
    model(Mistake::None, &[&[0, 0], &[0]], 0);
}

#[test]
fn rings_of_two_words() {
    model(Mistake::None, &[&[0, 2], &[2, 1]], 0);
}

#[test]
fn polled_rings_of_one_word() {
    model(Mistake::None, &[&[0], &[1]], 1);
}

#[test]
fn a_polled_ring_again_and_again() {
    model(Mistake::None, &[&[0, 0]], 2);
}

#[test]
fn polled_rings_of_two_words() {
    model(Mistake::None, &[&[0, 2]], 2);
}

#[test]
#[should_panic(expected = "deadlock")]
fn the_model_notices_an_end_without_a_look() {
    model(Mistake::NoLastLook, &[&[0], &[1]], 1);
}

#[test]
#[should_panic(expected = "deadlock")]
fn the_model_notices_the_wrong_order() {
    model(Mistake::Order, &[&[0], &[1]], 0);
}
