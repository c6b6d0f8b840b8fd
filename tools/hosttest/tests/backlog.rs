// SPDX-License-Identifier: GPL-2.0

//! How the listeners of a guest share what may wait: bounded whatever comes, and never nothing.

use proptest::prelude::*;
use xensock_hosttest::proto::backlog::Shares;

#[test]
fn default_policy() {
    let shares = Shares::new(4096, 128);

    assert_eq!(shares.floor, 32);
    assert_eq!(shares.allow(129, 0, 4095), 129);
    assert_eq!(shares.allow(129, 0, 4096), 32);
    assert_eq!(shares.allow(129, 100, 5000), 100);
    assert_eq!(shares.allow(2, 0, 5000), 2);
}

#[test]
fn there_is_a_floor_of_one() {
    for (sockets, listeners) in [(0, 0), (1, 0), (0, 1), (16, 65536)] {
        let shares = Shares::new(sockets, listeners);

        assert!(shares.floor >= 1);
        assert!(shares.allow(1, 0, usize::MAX) >= 1);
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
        events in proptest::collection::vec(event(20), 0..2000),
    ) {
        let shares = Shares::new(max_sockets, max_listeners);
        let listeners = max_listeners as usize;
        // What TCP allows each, as it was told at its last event; what each wants; what waits.
        let mut allowed = vec![129; listeners];
        let mut wanted = vec![129; listeners];
        let mut waiting = vec![0usize; listeners];

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
            let sum = waiting.iter().sum();
            allowed[i] = shares.allow(wanted[i], waiting[i], sum);
            prop_assert!(allowed[i] >= 1.min(wanted[i]));
            prop_assert!(allowed[i] >= wanted[i].min(shares.floor));
            // Each listener may learn of it one too late.
            prop_assert!(sum <= shares.all + listeners * (shares.floor + 1));
        }
    }
}
