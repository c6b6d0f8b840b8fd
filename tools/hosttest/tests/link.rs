// SPDX-License-Identifier: GPL-2.0

//! Both link machines against each other, through every interleaving.
//!
//! Up to [`EVENTS`] things happen at any moment from outside, see [`World`]. Whatever the
//! interleaving, the world has to come to rest, and to rest where it should.

#[path = "link/world.rs"]
mod world;

use world::{
    explore,
    settle,
    Dialect8,
    World, //
};
use xensock_hosttest::proto::{
    errno,
    link::{
        back_next,
        front_next,
        is_lasting,
        BackAction,
        EndState,
        FrontAction, //
    }, //
};

/// How many things happen from outside.
const EVENTS: u8 = 6;

const DIALECTS: [Dialect8; 2] = [Dialect8::XenSock, Dialect8::PvCalls];

/// The own states of a frontend, and of a backend.
const FRONT: [EndState; 5] = [
    EndState::Initialising,
    EndState::Initialised,
    EndState::Connected,
    EndState::Closing,
    EndState::Closed,
];
const BACK: [EndState; 5] = [
    EndState::Initialising,
    EndState::InitWait,
    EndState::Connected,
    EndState::Closing,
    EndState::Closed,
];

#[test]
fn modules_come_and_go_in_any_order() {
    let rest = explore(World::new(Dialect8::XenSock, 6), true);
    let mut connected = 0;

    for world in &rest {
        if world.front.present && world.back.present {
            assert!(world.is_connected(), "{world:?}");
            connected += 1;
        } else {
            assert!(world.is_torn_down(), "{world:?}");
        }
    }
    assert!(connected > 0);
}

#[test]
fn a_backend_that_offers_at_once_connects_too() {
    // The C frontend makes us offer in `probe`. A frontend of ours that is just closing because of
    // the backend before may then close a link that is new, and both rest closed: see below.
    for world in explore(World::new(Dialect8::PvCalls, 4), true) {
        if world.front.present && world.back.present {
            assert!(world.is_connected() || world.is_torn_down(), "{world:?}");
        } else {
            assert!(world.is_torn_down(), "{world:?}");
        }
    }
    let new = World::new(Dialect8::PvCalls, 0);
    let front_first = settle(new.load_front()).into_iter().map(World::load_back);
    let back_first = settle(new.load_back()).into_iter().map(World::load_front);
    for world in front_first.chain(back_first).flat_map(settle) {
        assert!(world.is_connected(), "{world:?}");
    }
}

#[test]
fn every_fault_ends_and_loading_either_module_again_cures_it() {
    for dialect in DIALECTS {
        // Begin with both loaded, so that the events go into faults.
        let start = World::new(dialect, EVENTS).load_back().load_front();
        let rest = explore(start, false);

        for world in rest {
            assert!(world.is_connected() || world.is_torn_down(), "{world:?}");
            if !(world.front.present && world.back.present) {
                assert!(world.is_torn_down(), "{world:?}");
                continue;
            }
            if !world.online || world.removed {
                continue;
            }
            for gone in settle(world.unload_front()) {
                for back in settle(gone.load_front()) {
                    assert!(back.is_connected(), "{world:?} -> {back:?}");
                }
            }
            for gone in settle(world.unload_back()) {
                assert!(gone.is_torn_down(), "{world:?} -> {gone:?}");
                for back in settle(gone.load_back()) {
                    assert!(back.is_connected(), "{world:?} -> {back:?}");
                }
            }
        }
    }
}

#[test]
fn a_dead_guest_leaves_nothing() {
    let start = World::new(Dialect8::XenSock, EVENTS)
        .load_back()
        .load_front();

    for world in explore(start, false) {
        if world.front.store == EndState::Unknown && world.back.present {
            assert_eq!(world.back.ring, None);
            // A backend which had not begun leaves the directory to whoever made it, and one that
            // is to go to whoever has said so.
            assert!(
                world.removed
                    || world.back.own == EndState::Initialising
                    || (!world.online && world.back.own == EndState::Closed),
                "{world:?}"
            );
        }
    }
}

#[test]
fn the_toolstack_detaches_a_connected_device() {
    let start = World::new(Dialect8::XenSock, 0).load_back().load_front();

    for mut world in settle(start) {
        assert!(world.is_connected());
        world.online = false;
        world.back.store = EndState::Closing;
        world.front.pending = true;
        for world in settle(world) {
            assert!(world.is_torn_down());
            assert_eq!(world.front.store, EndState::Closed);
            assert_eq!(world.back.store, EndState::Closed);
        }
    }
}

/// What a sequence of reports makes of a frontend.
fn front_states(own: EndState, reports: &[EndState]) -> EndState {
    reports
        .iter()
        .fold(own, |own, &other| match front_next(own, other) {
            FrontAction::Ignore => own,
            FrontAction::Connect => EndState::Initialised,
            FrontAction::Connected => EndState::Connected,
            FrontAction::Close => EndState::Closed,
            FrontAction::Reset => EndState::Initialising,
        })
}

/// What a sequence of reports makes of a backend that is online.
fn back_states(own: EndState, reports: &[EndState]) -> EndState {
    reports
        .iter()
        .fold(own, |own, &other| match back_next(own, other, true) {
            BackAction::Ignore | BackAction::Recheck => own,
            BackAction::Offer => EndState::InitWait,
            BackAction::Connect => EndState::Connected,
            BackAction::Disconnect => EndState::Closing,
            BackAction::Close => EndState::Closed,
            BackAction::Remove => EndState::Unknown,
        })
}

#[test]
fn boot() {
    use EndState::*;

    assert_eq!(
        front_states(Initialising, &[Unknown, Initialising, InitWait, InitWait]),
        Initialised
    );
    assert_eq!(
        front_states(Initialised, &[InitWait, Connected, Connected]),
        Connected
    );
    assert_eq!(back_states(Initialising, &[Initialising]), InitWait);
    assert_eq!(
        back_states(
            InitWait,
            &[Initialising, Initialised, Initialised, Connected]
        ),
        Connected
    );
}

#[test]
fn backend_module_loaded_again() {
    use EndState::*;

    // Unloading writes Closed, loading Initialising; the frontend may miss the first, or both.
    assert_eq!(
        front_states(Connected, &[Closed, Initialising, InitWait, Connected]),
        Connected
    );
    assert_eq!(front_states(Connected, &[Closed]), Closed);
    assert_eq!(front_states(Connected, &[Initialising]), Initialising);
    assert_eq!(front_states(Connected, &[InitWait]), Initialising);
    assert_eq!(
        back_states(Initialising, &[Connected, Closed]),
        Initialising
    );
    assert_eq!(
        back_states(Initialising, &[Connected, Initialising, Initialised]),
        Connected
    );
    // The C backend goes to InitWait at once.
    assert_eq!(
        front_states(Closed, &[InitWait, InitWait, Connected]),
        Connected
    );
}

#[test]
fn frontend_module_loaded_again() {
    use EndState::*;

    assert_eq!(back_states(Connected, &[Closed]), Closed);
    assert_eq!(
        back_states(Connected, &[Closed, Initialising, Initialised]),
        Connected
    );
    // Closed was missed.
    assert_eq!(back_states(Connected, &[Initialising]), InitWait);
    // Never connected: the offer stands.
    assert_eq!(
        back_states(InitWait, &[Closed, Initialising, Initialised]),
        Connected
    );
    // What the backend still is from before means nothing to a new frontend.
    assert_eq!(
        front_states(Initialising, &[Connected, Closing, Closed, InitWait]),
        Initialised
    );
    // The C frontend goes to Initialised at once.
    assert_eq!(back_states(Closed, &[Initialised, Initialised]), Connected);
}

#[test]
fn guest_shuts_down_or_reboots() {
    use EndState::*;

    // xenbus writes Closing for the frontend and waits for the backend's.
    assert_eq!(back_states(Connected, &[Closing]), Closing);
    assert_eq!(back_states(Connected, &[Closing, Closed]), Closed);
    assert_eq!(front_states(Closing, &[Connected]), Closing);
    assert_eq!(front_states(Closing, &[Closing]), Closed);
    // A new domain has a new device; the old one goes with its directory.
    for own in [InitWait, Connected, Closing, Closed] {
        assert_eq!(back_next(own, Unknown, true), BackAction::Remove);
    }
    // Unless the toolstack removes that: it waits for Closed.
    for own in [InitWait, Connected, Closing] {
        assert_eq!(back_next(own, Unknown, false), BackAction::Close);
    }
    assert_eq!(back_next(Closed, Unknown, false), BackAction::Ignore);
}

#[test]
fn backend_domain_dies() {
    use EndState::*;

    assert_eq!(front_states(Connected, &[Unknown]), Closed);
    assert_eq!(
        front_states(Connected, &[Unknown, Initialising, InitWait]),
        Initialised
    );
}

#[test]
fn a_failed_link_does_not_begin_again_by_itself() {
    use EndState::*;

    // The frontend could not set up its ring, or found the backend out.
    assert_eq!(
        front_states(Closing, &[InitWait, Connected, Closing, Closed]),
        Closed
    );
    assert_eq!(back_states(InitWait, &[Closing, Closed]), InitWait);
    // The backend found the frontend out.
    assert_eq!(
        back_states(Closing, &[Connected, Closing, Closed, Closed]),
        Closed
    );
    assert_eq!(front_states(Connected, &[Closing, Closed]), Closed);
}

#[test]
fn only_what_is_wrong_with_the_other_end_lasts() {
    for number in [
        errno::ENOENT,
        errno::EACCES,
        errno::EINVAL,
        errno::ERANGE,
        errno::E2BIG,
        errno::EPROTO,
        errno::EOPNOTSUPP,
    ] {
        assert!(is_lasting(number), "{number}");
    }
    for number in [
        errno::ENOMEM,
        errno::ENOSPC,
        errno::ENOBUFS,
        errno::EAGAIN,
        errno::EBUSY,
        errno::EINTR,
        errno::EIO,
    ] {
        assert!(!is_lasting(number), "{number}");
    }
}

#[test]
fn states_that_an_end_never_has_are_ignored() {
    for own in EndState::ALL {
        for other in EndState::ALL {
            if !FRONT.contains(&own) {
                assert_eq!(front_next(own, other), FrontAction::Ignore);
            }
            if !BACK.contains(&own) && other != EndState::Unknown {
                assert_eq!(back_next(own, other, true), BackAction::Ignore);
            }
            if matches!(other, EndState::Reconfiguring | EndState::Reconfigured) {
                assert_eq!(front_next(own, other), FrontAction::Ignore);
                assert_eq!(back_next(own, other, true), BackAction::Ignore);
            }
        }
    }
}

#[test]
fn state_numbers() {
    for (number, state) in (0..).zip(EndState::ALL) {
        assert_eq!(state.number(), number);
        assert_eq!(EndState::from_number(number), state);
    }
    assert_eq!(EndState::from_number(9), EndState::Unknown);
    assert_eq!(EndState::from_number(u32::MAX), EndState::Unknown);
}

/// The text is normative, so its tables say what the machines do.
#[test]
fn the_document_has_the_same_tables() {
    let text = include_str!("../../../Documentation/networking/xensock/protocol.rst");
    let reports = [
        EndState::Unknown,
        EndState::Initialising,
        EndState::InitWait,
        EndState::Initialised,
        EndState::Connected,
        EndState::Closing,
        EndState::Closed,
    ];
    let mut tables = text.split("own / other").skip(1);
    let mut check = |states: [EndState; 5], action: &dyn Fn(EndState, EndState) -> String| {
        let rows = tables.next().unwrap().lines().skip(2);
        for (own, row) in states.into_iter().zip(rows) {
            let cells: Vec<_> = row.split_whitespace().collect();
            let mut expected = vec![format!("{own:?}")];
            expected.extend(reports.map(|other| action(own, other).replace("Ignore", "stay")));
            assert_eq!(cells, expected);
        }
    };

    check(FRONT, &|own, other| format!("{:?}", front_next(own, other)));
    check(BACK, &|own, other| {
        format!("{:?}", back_next(own, other, true))
    });
    assert_eq!(tables.count(), 0);
}
