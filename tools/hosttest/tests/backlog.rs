// SPDX-License-Identifier: GPL-2.0

//! How the listeners of a guest and its users share what may wait: bounded whatever comes, and never
//! nothing.

use proptest::prelude::*;
use xensock_hosttest::proto::{
    backlog::{
        Counts,
        Shares, //
    },
    owner::ROOT, //
};

/// A user of the guest.
const USER: u64 = 1000;

/// What waits at a listener, at those of its user, and at all.
fn counts(here: usize, of_user: usize, of_all: usize) -> Counts {
    Counts {
        here,
        of_user,
        of_all,
    }
}

#[test]
fn default_policy() {
    let shares = Shares::new(4096, 128);

    assert_eq!(shares.floor, 32);
    assert_eq!(shares.allow(ROOT, 129, counts(0, 4095, 4095)), 129);
    assert_eq!(shares.allow(ROOT, 129, counts(0, 0, 4096)), 32);
    assert_eq!(shares.allow(ROOT, 129, counts(100, 100, 5000)), 100);
    assert_eq!(shares.allow(ROOT, 2, counts(0, 0, 5000)), 2);
    assert_eq!(shares.next_room(4096), Some(3072));
}

#[test]
fn a_user_leaves_something() {
    let shares = Shares::new(4096, 128);

    // Half of what is not root's.
    assert_eq!(shares.allow(USER, 129, counts(0, 1919, 1919)), 129);
    assert_eq!(shares.allow(USER, 129, counts(40, 1920, 1920)), 40);
    assert_eq!(shares.allow(USER + 1, 129, counts(0, 0, 1920)), 129);
    assert_eq!(shares.allow(USER + 1, 129, counts(0, 960, 1920 + 960)), 32);
    assert_eq!(shares.allow(ROOT, 129, counts(0, 0, 1920 + 960)), 129);
}

#[test]
fn there_is_a_floor_of_one() {
    for (sockets, listeners) in [(0, 0), (1, 0), (0, 1), (16, 65536)] {
        let shares = Shares::new(sockets, listeners);
        let full = usize::MAX;

        assert!(shares.floor >= 1);
        assert!(shares.allow(ROOT, 1, counts(0, full, full)) >= 1);
        assert!(shares.allow(USER, 1, counts(0, full, full)) >= 1);
    }
}

#[derive(Clone, Debug)]
enum Event {
    /// A connection tries to come in at a listener.
    Comes(usize),
    /// The guest accepts one.
    Accepted(usize),
    /// A listener is closed, and another opened.
    Renewed(usize, usize),
}

fn event(listeners: usize) -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0..listeners).prop_map(Event::Comes),
        1 => (0..listeners).prop_map(Event::Accepted),
        1 => (0..listeners, 1usize..200).prop_map(|(i, wanted)| Event::Renewed(i, wanted)),
    ]
}

proptest! {
    #[test]
    fn what_waits_is_bounded(
        max_sockets in 0u32..100,
        max_listeners in 1u32..20,
        users in 1usize..4,
        events in proptest::collection::vec(event(20), 0..2000),
    ) {
        let shares = Shares::new(max_sockets, max_listeners);
        let (all, listeners) = (max_sockets as usize, max_listeners as usize);
        // The first user is root. Each has every `users`th listener.
        let owner = |i: usize| (i % users) as u64;
        let of_user = |waiting: &[usize], i: usize| -> usize {
            waiting.iter().skip(i % users).step_by(users).sum()
        };
        // What TCP allows each, as it was told at its last event; what each wants; what waits.
        let mut allowed = vec![129; listeners];
        let mut wanted = vec![129; listeners];
        let mut waiting = vec![0usize; listeners];
        // The number of waiting connections at which all listeners are told.
        let mut room = None;

        for event in events {
            let (Event::Comes(i) | Event::Accepted(i) | Event::Renewed(i, _)) = event;
            let i = i % listeners;
            match event {
                Event::Comes(_) => {
                    if waiting[i] >= allowed[i] {
                        continue;
                    }
                    waiting[i] += 1;
                }
                Event::Accepted(_) => waiting[i] = waiting[i].saturating_sub(1),
                Event::Renewed(_, want) => (wanted[i], waiting[i]) = (want, 0),
            }
            let sum: usize = waiting.iter().sum();
            let is_told = room.is_some_and(|room| sum <= room);
            if is_told {
                room = None;
            }
            for i in (0..listeners).filter(|other| is_told || *other == i) {
                let now = counts(waiting[i], of_user(&waiting, i), sum);
                allowed[i] = shares.allow(owner(i), wanted[i], now);
                if allowed[i] < wanted[i] {
                    room = room.max(shares.next_room(sum));
                    // It is not told at once again.
                    prop_assert!(room.is_none_or(|room| room < sum));
                }
                prop_assert!(allowed[i] >= 1.min(wanted[i]));
                prop_assert!(allowed[i] >= wanted[i].min(shares.floor));
            }
            // Each listener may learn of it one too late.
            prop_assert!(sum <= all + listeners * (shares.floor + 1));
            if i % users > 0 {
                let own = listeners.div_ceil(users) * (shares.floor + 1);
                prop_assert!(of_user(&waiting, i) <= all.div_ceil(2) + own);
            }
        }
    }
}
