// SPDX-License-Identifier: GPL-2.0

//! Urgent bytes: the words of the indexes page, and what a reader makes of them.

use std::cell::RefCell;

use xensock_hosttest::proto::{
    indexes::{
        IN_URGENT,
        IN_URGENT_INDEX,
        OUT_URGENT_END, //
    },
    stream::SharedWords,
    urgent::{
        mark_end,
        Notice,
        NextBytes,
        UrgentIn,
        UrgentOut,
        Step,
        UrgentValue, //
    },
};

/// The indexes page, with something that happens after the next load of a word.
#[derive(Default)]
struct Page {
    words: RefCell<[u32; 32]>,
    meanwhile: RefCell<Vec<(usize, Notice)>>,
}

impl Page {
    fn get(&self, offset: usize) -> u32 {
        let word = self.words.borrow()[offset / 4];
        let happens = self.meanwhile.borrow().first().is_some_and(|(at, _)| *at == offset);
        if happens {
            let (_, notice) = self.meanwhile.borrow_mut().remove(0);
            notice.store(self);
        }
        word
    }
}

impl SharedWords for Page {
    fn load_acquire(&self, offset: usize) -> u32 {
        self.get(offset)
    }

    fn load(&self, offset: usize) -> u32 {
        self.get(offset)
    }

    fn store_release(&self, offset: usize, value: u32) {
        self.words.borrow_mut()[offset / 4] = value;
    }

    fn store(&self, offset: usize, value: u32) {
        self.words.borrow_mut()[offset / 4] = value;
    }

    fn full_barrier(&self) {}
}

fn notice(index: u32, byte: impl Into<Option<u8>>) -> Notice {
    Notice {
        index,
        byte: byte.into(),
    }
}

#[test]
fn what_is_stored_is_loaded() {
    let page = Page::default();
    assert_eq!(Notice::load(&page), None);
    for said in [notice(7, None), notice(7, 0), notice(u32::MAX, 255)] {
        said.store(&page);
        assert_eq!(Notice::load(&page), Some(said));
    }
    // By hand.
    assert_eq!(page.get(IN_URGENT_INDEX), u32::MAX);
    assert_eq!(page.get(IN_URGENT), 0x3ff);
    // What is not described does not matter.
    page.store(IN_URGENT, 0xffff_f141);
    assert_eq!(Notice::load(&page), Some(notice(u32::MAX, None)));
    page.store(IN_URGENT, 0x241);
    assert_eq!(Notice::load(&page), None);
}

#[test]
fn two_notices_are_not_mixed() {
    for offset in [IN_URGENT, IN_URGENT_INDEX] {
        let page = Page::default();
        notice(1, b'a').store(&page);
        page.meanwhile.borrow_mut().push((offset, notice(2, b'b')));
        let loaded = Notice::load(&page);
        assert!(loaded.is_none() || loaded == Some(notice(2, b'b')), "{loaded:?}");
        assert_eq!(Notice::load(&page), Some(notice(2, b'b')));
    }
}

#[test]
fn a_reader_stops_at_the_mark_and_leaves_it_out() {
    for start in [0, u32::MAX - 2] {
        let mut reader = UrgentIn::default();
        let mark = start.wrapping_add(3);
        let news = reader.update(notice(mark, b'D'), start, 7, false);
        assert!(news.announced && news.arrived);
        assert_eq!(reader.update(notice(mark, b'D'), start, 7, false), Default::default());

        assert_eq!(reader.step(start, 7, false), Step::Read(3));
        assert_eq!(reader.step(start, 2, false), Step::Read(2));
        assert_eq!(reader.before_mark(start, 7), 3);
        assert_eq!(reader.before_mark(start, 2), 2);
        reader.pass(mark);
        assert!(reader.is_at_mark(mark));
        assert_eq!(reader.step(mark, 4, false), Step::Skip);
        assert_eq!(reader.step(mark, 4, true), Step::Read(4));
        assert_eq!(reader.value(), Some(UrgentValue::Arrived(b'D')));

        let behind = mark.wrapping_add(1);
        reader.pass(behind);
        assert_eq!(reader.value(), None);
        assert_eq!(reader.step(behind, 3, false), Step::Read(3));
        // The words stay in the page, for as long as it takes.
        for next in [behind, behind.wrapping_add(1 << 31), mark.wrapping_sub(9)] {
            assert_eq!(reader.update(notice(mark, b'D'), next, 7, false), Default::default());
            assert_eq!(reader.step(next, 7, false), Step::Read(7));
        }
    }
}

#[test]
fn a_byte_is_announced_before_it_comes() {
    let mut reader = UrgentIn::default();
    let news = reader.update(notice(100, None), 0, 0, false);
    assert!(news.announced && !news.arrived);
    assert_eq!(reader.value(), Some(UrgentValue::Awaited));
    let news = reader.update(notice(100, b'x'), 0, 50, false);
    assert!(!news.announced && news.arrived);
    reader.take();
    assert_eq!(reader.value(), Some(UrgentValue::Taken));
    assert_eq!(reader.update(notice(100, b'x'), 0, 50, false), Default::default());
    // It is left out all the same.
    assert_eq!(reader.step(100, 1, false), Step::Skip);
}

#[test]
fn a_later_one_takes_the_place() {
    let mut reader = UrgentIn::default();
    reader.update(notice(5, b'a'), 0, 6, false);
    assert!(reader.update(notice(8, b'b'), 0, 9, false).announced);
    assert_eq!(reader.value(), Some(UrgentValue::Arrived(b'b')));
    assert_eq!(reader.step(0, 9, false), Step::Read(8));
    // Not one that was before it, nor one that was read.
    assert_eq!(reader.update(notice(6, b'c'), 0, 9, false), Default::default());
    assert_eq!(reader.update(notice(2, b'c'), 3, 9, false), Default::default());
    assert_eq!(reader.value(), Some(UrgentValue::Arrived(b'b')));
}

/// What TCP does with one that is next to be read.
#[test]
fn one_that_was_next_vanishes() {
    for (is_inline, ready, step) in [
        (false, 2, Step::Skip),
        (true, 2, Step::Read(1)),
        (false, 0, Step::Read(1)),
    ] {
        let mut reader = UrgentIn::default();
        reader.update(notice(0, b'a'), 0, 1, is_inline);
        reader.update(notice(1, b'b'), 0, ready, is_inline);
        assert_eq!(reader.step(0, 2, is_inline), step, "{is_inline} {ready}");
        reader.pass(1);
        assert!(reader.is_at_mark(1));
    }
}

#[test]
fn a_sender_sends_the_byte_alone() {
    for start in [5, u32::MAX - 1] {
        let page = Page::default();
        let mut sender = UrgentOut::default();
        let end = start.wrapping_add(4);
        assert_eq!(sender.piece(&page, start, 9), NextBytes::all(9));
        mark_end(&page, end);
        assert_eq!(page.get(OUT_URGENT_END), end);
        assert_eq!(sender.piece(&page, start, 2), NextBytes::all(2));
        assert_eq!(sender.piece(&page, start, 9), NextBytes::all(3));
        let last = start.wrapping_add(3);
        let urgent = NextBytes {
            len: 1,
            is_urgent: true,
        };
        assert_eq!(sender.piece(&page, last, 6), urgent);
        // There was no room for it.
        assert_eq!(sender.piece(&page, last, 6), urgent);
        assert_eq!(sender.piece(&page, end, 5), NextBytes::all(5));
        // Long after that the word is no other one.
        for next in [last, start, end.wrapping_add(1 << 31)] {
            assert_eq!(sender.piece(&page, next, 9), NextBytes::all(9));
        }
    }
}

/// Whatever a frontend writes there, it gets its bytes sent.
#[test]
fn a_sender_always_goes_on() {
    let page = Page::default();
    let mut sender = UrgentOut::default();
    for end in [0, 1, 2, 1000, 1 << 31, u32::MAX, 999, 1001] {
        mark_end(&page, end);
        let piece = sender.piece(&page, 1000, 10);
        assert!((1..=10).contains(&piece.len), "{end}: {piece:?}");
    }
}
