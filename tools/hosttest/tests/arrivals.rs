// SPDX-License-Identifier: GPL-2.0

//! The times of arrival, against a list of all frames with their times.

use proptest::prelude::*;
use std::collections::VecDeque;
use xensock_hosttest::proto::arrivals::Arrivals;

/// Number of times that are kept.
const MOST: usize = 8;

#[test]
fn nothing_is_known_at_first() {
    let mut arrivals = Arrivals::default();
    assert_eq!(arrivals.time_of(0), None);
    arrivals.forget(100);
    assert_eq!(arrivals.time_of(0), None);
}

#[test]
fn frames_before_the_first_time_have_none() {
    let mut arrivals = Arrivals::default();
    arrivals.note(80, 160, 5);
    assert_eq!(arrivals.time_of(0), None);
    assert_eq!(arrivals.time_of(79), None);
    assert_eq!(arrivals.time_of(80), Some(5));
    arrivals.forget(80);
    assert_eq!(arrivals.time_of(0), Some(5));
}

#[test]
fn nothing_arrives_without_a_frame() {
    let mut arrivals = Arrivals::default();
    for time in 1..20 {
        arrivals.note(0, 0, time);
    }
    arrivals.note(0, 8, 20);
    assert_eq!(arrivals.time_of(0), Some(20));
}

#[test]
fn the_last_time_serves_what_finds_no_place() {
    let mut arrivals = Arrivals::default();
    for i in 0..20 {
        arrivals.note(8 * i, 8 * i + 8, i64::from(i) + 1);
    }
    for i in 0..20 {
        let time = i64::from(i.min(7)) + 1;
        assert_eq!(arrivals.time_of(8 * i), Some(time));
    }
    arrivals.forget(8 * 20);
    assert_eq!(arrivals.time_of(0), None);
}

proptest! {
    /// Frames come one by one, each at a time of its own or at none, and go one by one.
    #[test]
    fn each_frame_has_its_time(
        steps in proptest::collection::vec((any::<bool>(), any::<bool>(), 1u32..9000), 1..200)
    ) {
        let mut arrivals = Arrivals::default();
        let mut queue = VecDeque::new();
        let mut known = 0;
        let mut clock = 1;

        for (comes, is_noted, len) in steps {
            if comes && queue.len() < MOST / 2 {
                let time = is_noted.then_some(clock);
                clock += 1;
                if let Some(time) = time {
                    arrivals.note(known, known + len, time);
                }
                queue.push_back((len, time));
                known += len;
            } else if let Some((len, _)) = queue.pop_front() {
                arrivals.forget(len);
                known -= len;
            }
            let mut offset = 0;
            for &(len, time) in &queue {
                prop_assert_eq!(arrivals.time_of(offset), time);
                prop_assert_eq!(arrivals.time_of(offset + len - 1), time);
                offset += len;
            }
            prop_assert_eq!(arrivals.time_of(known), None);
        }
    }
}
