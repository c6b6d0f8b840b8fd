// SPDX-License-Identifier: GPL-2.0

//! The status words: what each number means, and that the name is there when the status is.

mod common;

use std::{
    net::{
        Ipv4Addr,
        SocketAddr, //
    },
    sync::Arc,
};

use common::address;
use loom::{
    sync::atomic::{
        AtomicU32,
        Ordering, //
    },
    thread,
};
use proptest::prelude::*;
use xensock_hosttest::proto::{
    addr,
    errno,
    indexes::{
        IN_CONS_EVENT,
        NAME,
        NAME_LEN,
        OUT_CONS,
        STATUS, //
    },
    status::{
        self,
        Outcome, //
    },
    stream::SharedWords,
    Dialect, //
};

/// The words from the status to the end of the name, in a model or outside of one.
struct Page<T>([T; 9]);

impl<T> Page<T> {
    fn new(make: impl Fn(u32) -> T) -> Self {
        Self(std::array::from_fn(|_| make(0)))
    }

    fn word(&self, offset: usize) -> &T {
        assert_eq!(offset % 4, 0);
        &self.0[(offset - STATUS) / 4]
    }
}

/// Implements [`SharedWords`] over the atomics of a crate.
macro_rules! words {
    ($atomic:ty, $ordering:ty) => {
        impl SharedWords for Page<$atomic> {
            fn load_acquire(&self, offset: usize) -> u32 {
                self.word(offset).load(<$ordering>::Acquire)
            }

            fn load(&self, offset: usize) -> u32 {
                self.word(offset).load(<$ordering>::Relaxed)
            }

            fn store_release(&self, offset: usize, value: u32) {
                self.word(offset).store(value, <$ordering>::Release);
            }

            fn store(&self, offset: usize, value: u32) {
                self.word(offset).store(value, <$ordering>::Relaxed);
            }

            fn full_barrier(&self) {
                unreachable!("no word is written by both ends");
            }
        }
    };
}

words!(AtomicU32, Ordering);
words!(std::sync::atomic::AtomicU32, std::sync::atomic::Ordering);

/// A page outside of a model, with these words.
fn page(words: [u32; 9]) -> Page<std::sync::atomic::AtomicU32> {
    Page(words.map(Into::into))
}

#[test]
fn the_words_are_where_the_text_says() {
    assert_eq!((STATUS, NAME, NAME_LEN), (20, 24, 52));
    const { assert!(STATUS > IN_CONS_EVENT && NAME_LEN < OUT_CONS) };
    assert_eq!(NAME + addr::LEN, NAME_LEN);

    let page = page([0; 9]);
    assert_eq!(status::load(&page), Outcome::Pending);
    status::establish(&page, &SocketAddr::from((Ipv4Addr::LOCALHOST, 80)));
    let words = page.0.map(|word| word.into_inner());
    assert_eq!(words, [1, 0x5000_0002, 0x0100_007f, 0, 0, 0, 0, 0, 16]);
}

#[test]
fn outcomes() {
    assert_eq!(Outcome::from_wire(0), Outcome::Pending);
    assert_eq!(Outcome::from_wire(1), Outcome::Established);
    assert_eq!(Outcome::from_wire(-111), Outcome::Failed(111));
    for odd in [2, 111, i32::MAX] {
        assert_eq!(Outcome::from_wire(odd), Outcome::Nonsense);
    }
    for odd in [-15, -4096, i32::MIN, -errno::EAGAIN, -errno::EINPROGRESS] {
        assert_eq!(Outcome::from_wire(odd), Outcome::Failed(errno::EIO));
    }
    for outcome in [Outcome::Pending, Outcome::Established, Outcome::Failed(110)] {
        assert_eq!(Outcome::from_wire(outcome.to_wire()), outcome);
    }
    // A failure is a failure, whatever the number.
    for number in [0, -1, 15, i32::MAX, i32::MIN] {
        assert_eq!(Outcome::Failed(number).to_wire(), -errno::EIO);
    }
    assert_eq!(Outcome::Nonsense.to_wire(), -errno::EPROTO);
}

proptest! {
    #[test]
    fn names_come_back(name in address(Dialect::XenSock)) {
        let page = page([0; 9]);
        status::establish(&page, &name);

        prop_assert_eq!(status::load(&page), Outcome::Established);
        prop_assert_eq!(status::name(&page), Ok(name));
    }

    #[test]
    fn any_words_are_an_outcome(words: [u32; 9], likely: bool) {
        let mut words = words;
        if likely {
            words[1] = words[1] & 0xffff_0000 | 10;
            words[8] %= 32;
        }
        let page = page(words);

        match status::load(&page) {
            Outcome::Failed(number) => {
                prop_assert!(errno::is_known(number));
                prop_assert!((words[0] as i32) < 0);
            }
            Outcome::Pending => prop_assert_eq!(words[0], 0),
            Outcome::Established => prop_assert_eq!(words[0], 1),
            Outcome::Nonsense => prop_assert!((words[0] as i32) > 1),
        }
        if let Ok(name) = status::name(&page) {
            prop_assert!((16..=28).contains(&words[8]));
            prop_assert_eq!(u32::from(name.port().to_be()), words[1] >> 16);
        }
    }

    #[test]
    fn failures_come_back(number in prop_oneof![any::<i32>(), 0..200]) {
        let page = page([0; 9]);
        let expected = match number {
            // A program would wait or try again.
            errno::EINTR | errno::EAGAIN | errno::ERESTART => errno::EIO,
            errno::EALREADY | errno::EINPROGRESS => errno::EIO,
            errno::ENOTSUPP => errno::EOPNOTSUPP,
            number if errno::is_known(number) => number,
            _ => errno::EIO,
        };
        status::fail(&page, number);

        prop_assert_eq!(status::load(&page), Outcome::Failed(expected));
    }
}

#[test]
fn the_name_is_there_when_the_status_is() {
    let name = SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), 4711));

    loom::model(move || {
        let page = Arc::new(Page::new(AtomicU32::new));
        let other = {
            let page = page.clone();
            thread::spawn(move || status::establish(&*page, &name))
        };

        match status::load(&*page) {
            Outcome::Established => assert_eq!(status::name(&*page), Ok(name)),
            outcome => assert_eq!(outcome, Outcome::Pending),
        }
        other.join().unwrap();
    });
}
