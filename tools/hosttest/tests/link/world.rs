// SPDX-License-Identifier: GPL-2.0

//! The world of two link machines: one device and two drivers.
//!
//! Each driver handles its watch as xenbus lets it: a report says that something was written, the
//! state is read, the action follows some time after, and then the driver looks again. Modules come
//! and go, either end fails for the moment or for good, the toolstack takes the device away, the
//! guest dies.

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
        EndState,
        FrontAction, //
    },
    Dialect,
};

/// Where a driver is in handling a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Phase {
    /// Nothing to do, but a report may be pending.
    Idle,
    /// The other end's state has been read.
    Read(EndState),
    /// The new ring is set up, or mapped; the state is not written yet.
    Up,
}

/// One end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct End {
    /// Whether the driver is bound to the device.
    pub(crate) present: bool,
    /// The state as the driver knows it.
    pub(crate) own: EndState,
    /// The state in xenstore.
    pub(crate) store: EndState,
    /// Whether the other end's state has been written since it was last read.
    pub(crate) pending: bool,
    /// Where the driver is.
    pub(crate) phase: Phase,
    /// The ring that is set up, or mapped.
    pub(crate) ring: Option<u8>,
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
pub(crate) struct World {
    pub(crate) front: End,
    pub(crate) back: End,
    /// The ring that the frontend's nodes name.
    pub(crate) node: u8,
    /// Whether the toolstack wants the device.
    pub(crate) online: bool,
    /// Whether the backend has removed its directory.
    pub(crate) removed: bool,
    /// Whether something other than modules coming and going has happened.
    pub(crate) disturbed: bool,
    /// What still may happen.
    pub(crate) events: u8,
    pub(crate) dialect: Dialect8,
}

/// [`Dialect`], to be hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Dialect8 {
    XenSock,
    PvCalls,
}

impl World {
    pub(crate) fn new(dialect: Dialect8, events: u8) -> Self {
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

    pub(crate) fn load_front(mut self) -> Self {
        self.front.present = true;
        self.front_switch(EndState::Initialising);
        self.front.pending = true;
        self
    }

    pub(crate) fn unload_front(mut self) -> Self {
        self.front.present = false;
        self.front.pending = false;
        self.front.ring = None;
        self.front_switch(EndState::Closed);
        self
    }

    pub(crate) fn load_back(mut self) -> Self {
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

    pub(crate) fn unload_back(mut self) -> Self {
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
        // A step fails for the moment and is tried again, without the link that it was to set up.
        if let Phase::Read(_) = base.front.phase {
            let mut world = base;
            world.front.phase = Phase::Idle;
            world.front.pending = true;
            next.push(world);
        }
        if let Phase::Read(other) = base.back.phase {
            let mut world = base;
            world.back.phase = Phase::Idle;
            world.back.pending = true;
            match back_next(world.back.own, other, world.online) {
                BackAction::Connect => world.back.ring = None,
                BackAction::Recheck if world.back.ring != Some(world.node) => {
                    world.back.ring = None;
                }
                _ => (),
            }
            next.push(world);
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
    pub(crate) fn is_connected(&self) -> bool {
        self.front.own == EndState::Connected
            && self.back.own == EndState::Connected
            && self.front.ring.is_some()
            && self.front.ring == self.back.ring
    }

    /// Whether neither end uses anything.
    pub(crate) fn is_torn_down(&self) -> bool {
        self.front.ring.is_none() && self.back.ring.is_none()
    }
}

/// Walks through all that may follow, and returns the worlds at rest.
///
/// Wherever the two ends are, they must be able to come to rest by themselves. (An adversary who
/// lets each end be overtaken between its look and its act, again and again, can keep them going.)
pub(crate) fn explore(start: World, modules_only: bool) -> HashSet<World> {
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
pub(crate) fn settle(mut world: World) -> HashSet<World> {
    world.events = 0;
    explore(world, true)
}
