// SPDX-License-Identifier: GPL-2.0

//! Users of a guest who share the places for spare rings.

use proptest::prelude::*;
use xensock_hosttest::proto::{
    owner::ROOT,
    spare::{
        Places,
        MAX_RINGS, //
    }, //
};

/// Grants of a small ring.
const SMALL: usize = 5;

/// Takes places for small rings until there is none. Returns how many.
fn fill(places: &mut Places, owner: u64) -> usize {
    (0..=MAX_RINGS)
        .take_while(|_| places.take(owner, SMALL))
        .count()
}

#[test]
fn one_user_leaves_half() {
    let mut places = Places::new(2048);

    assert_eq!(fill(&mut places, 1000), 15);
    assert_eq!(fill(&mut places, 1001), 8);
    // The last two are root's, who may also take all.
    assert!((1002..1100).all(|owner| fill(&mut places, owner) <= 4));
    assert_eq!(fill(&mut places, ROOT), 2);
    assert_eq!(fill(&mut Places::new(2048), ROOT), MAX_RINGS);
}

#[test]
fn one_user_leaves_grants() {
    let mut places = Places::new(2048);

    assert!(places.take(1000, 513));
    assert!(!places.take(1000, 513));
    assert!(places.take(1000, SMALL));
    assert!(places.take(1001, 513));
    places.uncharge(1000, 513);
    assert!(places.take(1000, 513));
}

#[test]
fn a_pool_without_grants_is_empty() {
    assert_eq!(fill(&mut Places::new(0), 1000), 0);
    assert_eq!(fill(&mut Places::new(0), ROOT), 0);
}

proptest! {
    #[test]
    fn what_is_given_back_can_be_taken(
        max in 0u32..4000,
        events in proptest::collection::vec((0u64..40, 1usize..600, any::<bool>()), 0..400),
    ) {
        let mut places = Places::new(max);
        let mut held = Vec::new();

        for (owner, grants, gives) in events {
            if gives && !held.is_empty() {
                let (owner, grants) = held.remove(grants % held.len());
                places.uncharge(owner, grants);
                // Root may have all that is left.
                prop_assert!(places.take(ROOT, grants));
                places.uncharge(ROOT, grants);
            } else if places.take(owner, grants) {
                held.push((owner, grants));
            }
            prop_assert!(held.len() <= MAX_RINGS);
            prop_assert!(held.iter().map(|held| held.1).sum::<usize>() <= max as usize);
            for user in 1..40 {
                let own = held.iter().filter(|held| held.0 == user);
                prop_assert!(own.clone().count() <= MAX_RINGS / 2);
                prop_assert!(own.map(|held| held.1).sum::<usize>() <= max.div_ceil(2) as usize);
            }
        }
        for (owner, grants) in held {
            places.uncharge(owner, grants);
        }
        prop_assert!(places.take(7, 1) == (max > 0));
    }
}
