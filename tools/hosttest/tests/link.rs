// SPDX-License-Identifier: GPL-2.0

//! Both link machines against each other, through every interleaving.
//!
//! The world has one device and two drivers. Each driver handles its watch as xenbus lets it: a
//! report says that something was written, the state is read, the action follows some time after,
//! and then the driver looks again. Modules come and go, either end fails, the toolstack takes the
//! device away, the guest dies; up to [`EVENTS`] of these happen at any moment. Whatever the
//! interleaving, the world has to come to rest, and to rest where it should.

use std::collections::{
    HashMap,
    HashSet, //
};

use xensock_hosttest::proto::{
    link::{
        back_next,
        back_probe,
        front_next,
        BackAction,
        FrontAction,
        EndState, //
    },
    Dialect,
};

/// How many things happen from outside.
const EVENTS: u8 = 6;

/// Where a driver is in handling a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Phase {
    /// Nothing to do, but a report may be pending.
    Idle,
    /// The other end's state has been read.
    Read(EndState),
    /// The new ring is set up, or mapped; the state is not written yet.
    Up,
}

/// One end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct End {
    /// Whether the driver is bound to the device.
    present: bool,
    /// The state as the driver knows it.
    own: EndState,
    /// The state in xenstore.
    store: EndState,
    /// Whether the other end's state has been written since it was last read.
    pending: bool,
    /// Where the driver is.
    phase: Phase,
    /// The ring that is set up, or mapped.
    ring: Option<u8>,
}

impl End {
    const NEW: Self = Self {
        present: false,
        own: EndState::Initialising,
        store: EndState::Initialising,
        pending: false,
        phase: Phase::Idle,
        ring: None,
    };

    /// As `xenbus_switch_state()` does it; returns whether something was written.
    fn switch(&mut self, state: EndState) -> bool {
        if self.own == state || self.store == EndState::Unknown {
            return false;
        }
        self.own = state;
        self.store = state;
        true
    }
}

/// The world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct World {
    front: End,
    back: End,
    /// The ring that the frontend's nodes name.
    node: u8,
    /// Whether the toolstack wants the device.
    online: bool,
    /// Whether the backend has removed its directory.
    removed: bool,
    /// Whether something other than modules coming and going has happened.
    disturbed: bool,
    /// What still may happen.
    events: u8,
    dialect: Dialect8,
}

/// [`Dialect`], to be hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Dialect8 {
    XenSock,
    PvCalls,
}

impl World {
    fn new(dialect: Dialect8, events: u8) -> Self {
        Self {
            front: End::NEW,
            back: End::NEW,
            node: 0,
            online: true,
            removed: false,
            disturbed: false,
            events,
            dialect,
        }
    }

    /// Names a ring that is unlike those which anybody still uses or names.
    fn new_ring(&self) -> u8 {
        (1..)
            .find(|&ring| self.back.ring != Some(ring) && self.node != ring)
            .unwrap_or(0)
    }

    fn front_switch(&mut self, state: EndState) {
        if self.front.switch(state) {
            self.back.pending = true;
        }
    }

    fn back_switch(&mut self, state: EndState) {
        if self.back.switch(state) {
            self.front.pending = true;
        }
    }

    /// The next step of the frontend, if it has one.
    fn front_step(mut self) -> Option<Self> {
        if !self.front.present {
            return None;
        }
        match self.front.phase {
            Phase::Idle if self.front.pending => {
                self.front.pending = false;
                self.front.phase = Phase::Read(self.back.store);
            }
            Phase::Idle => return None,
            Phase::Read(other) => {
                self.front.phase = Phase::Read(self.back.store);
                match front_next(self.front.own, other) {
                    FrontAction::Ignore => self.front.phase = Phase::Idle,
                    FrontAction::Connect => {
                        self.node = self.new_ring();
                        self.front.ring = Some(self.node);
                        self.front.phase = Phase::Up;
                    }
                    FrontAction::Connected => self.front_switch(EndState::Connected),
                    FrontAction::Close => {
                        self.front.ring = None;
                        self.front_switch(EndState::Closed);
                    }
                    FrontAction::Reset => {
                        self.front.ring = None;
                        self.front_switch(EndState::Initialising);
                    }
                }
                // The driver looks again after an action; nothing is gained by doing it at once.
                if self.front.phase == Phase::Read(self.back.store) {
                    self.front.phase = Phase::Idle;
                    self.front.pending = true;
                }
            }
            Phase::Up => {
                self.front_switch(EndState::Initialised);
                self.front.phase = Phase::Idle;
                self.front.pending = true;
            }
        }
        Some(self)
    }

    /// The next step of the backend, if it has one.
    fn back_step(mut self) -> Option<Self> {
        if !self.back.present || self.removed {
            return None;
        }
        match self.back.phase {
            Phase::Idle if self.back.pending => {
                self.back.pending = false;
                self.back.phase = Phase::Read(self.front.store);
            }
            Phase::Idle => return None,
            Phase::Read(other) => {
                self.back.phase = Phase::Idle;
                match back_next(self.back.own, other, self.online) {
                    BackAction::Ignore => return Some(self),
                    BackAction::Offer => {
                        self.back.ring = None;
                        self.back_switch(EndState::InitWait);
                    }
                    BackAction::Connect => {
                        self.back.ring = None;
                        if self.front.ring != Some(self.node) {
                            // It has gone meanwhile: wait for the next report.
                            return Some(self);
                        }
                        self.back.ring = Some(self.node);
                        self.back.phase = Phase::Up;
                        return Some(self);
                    }
                    BackAction::Recheck => {
                        if self.back.ring == Some(self.node) {
                            return Some(self);
                        }
                        self.back.ring = None;
                        if self.front.ring == Some(self.node) {
                            self.back.ring = Some(self.node);
                        } else {
                            self.back_switch(EndState::Closing);
                        }
                    }
                    BackAction::Disconnect => {
                        self.back.ring = None;
                        self.back_switch(EndState::Closing);
                    }
                    BackAction::Close => {
                        self.back.ring = None;
                        self.back_switch(EndState::Closed);
                    }
                    BackAction::Remove => {
                        self.back.ring = None;
                        self.removed = true;
                        self.back.store = EndState::Unknown;
                        self.front.pending = true;
                        return Some(self);
                    }
                }
                self.back.pending = true;
            }
            Phase::Up => {
                self.back_switch(EndState::Connected);
                self.back.phase = Phase::Idle;
                self.back.pending = true;
            }
        }
        Some(self)
    }

    fn load_front(mut self) -> Self {
        self.front.present = true;
        self.front_switch(EndState::Initialising);
        self.front.pending = true;
        self
    }

    fn unload_front(mut self) -> Self {
        self.front.present = false;
        self.front.pending = false;
        self.front.ring = None;
        self.front_switch(EndState::Closed);
        self
    }

    fn load_back(mut self) -> Self {
        self.back.present = true;
        self.back_switch(EndState::Initialising);
        let dialect = match self.dialect {
            Dialect8::XenSock => Dialect::XenSock,
            Dialect8::PvCalls => Dialect::PvCalls,
        };
        if back_probe(dialect) == BackAction::Offer && self.online {
            self.back_switch(EndState::InitWait);
        }
        self.back.pending = true;
        self
    }

    fn unload_back(mut self) -> Self {
        self.back.present = false;
        self.back.pending = false;
        self.back.ring = None;
        self.back_switch(EndState::Closed);
        self
    }

    /// What may happen from outside.
    fn outside(self, modules_only: bool) -> Vec<Self> {
        let mut next = Vec::new();
        if self.events == 0 || self.removed {
            return next;
        }
        let base = Self {
            events: self.events - 1,
            ..self
        };
        // xenbus waits for a running handler before it removes a driver.
        if base.front.phase == Phase::Idle && base.front.store != EndState::Unknown {
            next.push(if base.front.present {
                base.unload_front()
            } else {
                base.load_front()
            });
        }
        if base.back.phase == Phase::Idle {
            // A driver binds only if the other end's directory is there.
            if base.back.present {
                next.push(base.unload_back());
            } else if base.front.store != EndState::Unknown {
                next.push(base.load_back());
            }
        }
        if modules_only {
            return next;
        }
        let base = Self {
            disturbed: true,
            ..base
        };
        if base.front.present && base.front.ring.is_some() && base.front.phase == Phase::Idle {
            let mut world = base;
            world.front.ring = None;
            world.front_switch(EndState::Closing);
            next.push(world);
        }
        if base.back.present && base.back.ring.is_some() && base.back.phase == Phase::Idle {
            let mut world = base;
            world.back.ring = None;
            world.back_switch(EndState::Closing);
            next.push(world);
        }
        if base.online && base.back.store != EndState::Closed {
            let mut world = base;
            world.online = false;
            world.back.store = EndState::Closing;
            world.front.pending = true;
            next.push(world);
        }
        if base.front.store != EndState::Unknown {
            let mut world = base;
            world.front = End {
                store: EndState::Unknown,
                ..End::NEW
            };
            world.back.pending = true;
            next.push(world);
        }
        next
    }

    /// Whether the two ends use the same ring.
    fn is_connected(&self) -> bool {
        self.front.own == EndState::Connected
            && self.back.own == EndState::Connected
            && self.front.ring.is_some()
            && self.front.ring == self.back.ring
    }

    /// Whether neither end uses anything.
    fn is_torn_down(&self) -> bool {
        self.front.ring.is_none() && self.back.ring.is_none()
    }
}

/// Walks through all that may follow, and returns the worlds at rest.
///
/// Wherever the two ends are, they must be able to come to rest by themselves. (An adversary who
/// lets each end be overtaken between its look and its act, again and again, can keep them going.)
fn walk(start: World, modules_only: bool) -> HashSet<World> {
    let mut rest = HashSet::new();
    let mut before: HashMap<World, Vec<World>> = HashMap::new();
    let mut todo = vec![start];

    before.insert(start, Vec::new());
    while let Some(world) = todo.pop() {
        let mut reach = |next: World, by_itself: bool| {
            let before = before.entry(next).or_insert_with(|| {
                todo.push(next);
                Vec::new()
            });
            if by_itself {
                before.push(world);
            }
        };
        let steps = [world.front_step(), world.back_step()];
        if steps == [None, None] {
            rest.insert(world);
        }
        for next in steps.into_iter().flatten() {
            reach(next, true);
        }
        for next in world.outside(modules_only) {
            reach(next, false);
        }
    }

    let mut restful = rest.clone();
    let mut todo: Vec<_> = rest.iter().copied().collect();
    while let Some(world) = todo.pop() {
        for &earlier in &before[&world] {
            if restful.insert(earlier) {
                todo.push(earlier);
            }
        }
    }
    if let Some(world) = before.keys().find(|world| !restful.contains(world)) {
        panic!("never comes to rest: {world:?}");
    }
    println!("{} worlds, {} at rest", before.len(), rest.len());
    rest
}

/// Lets the world come to rest without anything from outside, whatever the interleaving.
fn settle(mut world: World) -> HashSet<World> {
    world.events = 0;
    walk(world, true)
}

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
    let rest = walk(World::new(Dialect8::XenSock, 6), true);
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
    for world in walk(World::new(Dialect8::PvCalls, 4), true) {
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
        let rest = walk(start, false);

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

    for world in walk(start, false) {
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
