// SPDX-License-Identifier: GPL-2.0

//! Users who take turns, with any requests at any time.

use proptest::prelude::*;
use std::collections::VecDeque;
use xensock_hosttest::proto::turns::{
    queue_of,
    Turns,
    QUEUES, //
};

/// What happens next.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// A user asks something.
    Ask(usize),
    /// There is a slot for a request.
    Send,
    /// There is none for the next request after all.
    Fail,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => (0..QUEUES).prop_map(Event::Ask),
        // A few ask often.
        3 => (0usize..3).prop_map(Event::Ask),
        4 => Just(Event::Send),
        1 => Just(Event::Fail),
    ]
}

proptest! {
    #[test]
    fn nobody_waits_for_more_than_one_request_of_each_other(events in proptest::collection::vec(event(), 1..400)) {
        let mut turns = Turns::new();
        let mut queues = vec![VecDeque::new(); QUEUES];
        // How many were sent since each queue had its turn, or was empty.
        let mut passed = vec![vec![0; QUEUES]; QUEUES];
        for (number, event) in events.into_iter().enumerate() {
            prop_assert_eq!(turns.is_over(), queues.iter().all(VecDeque::is_empty));
            match event {
                Event::Ask(queue) => {
                    queues[queue].push_back(number);
                    turns.fill(queue);
                }
                Event::Fail => {
                    if let Some(queue) = turns.next() {
                        turns.pass(queue, queues[queue].len() > 1);
                        turns.return_turn(queue);
                        prop_assert_eq!(turns.next(), Some(queue));
                    }
                }
                Event::Send => {
                    let Some(queue) = turns.next() else {
                        prop_assert!(turns.is_over());
                        continue;
                    };
                    prop_assert!(queues[queue].pop_front().is_some());
                    turns.pass(queue, !queues[queue].is_empty());
                    for other in (0..QUEUES).filter(|other| *other != queue) {
                        if queues[other].is_empty() {
                            continue;
                        }
                        passed[other][queue] += 1;
                        prop_assert!(passed[other][queue] <= 1, "{} waits for {}", other, queue);
                    }
                    passed[queue] = vec![0; QUEUES];
                }
            }
        }
    }
}

#[test]
fn users_are_spread() {
    assert_eq!(queue_of(0), 0);
    for first in [1, 1000, 65_530, 5 << 32 | 1000] {
        let mut queues: Vec<_> = (first..first + 32).map(queue_of).collect();
        assert!(queues.iter().all(|queue| (1..QUEUES).contains(queue)));
        queues.sort_unstable();
        queues.dedup();
        assert!(queues.len() > 16, "{first}: {}", queues.len());
    }
}
