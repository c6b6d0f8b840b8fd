// SPDX-License-Identifier: GPL-2.0

//! A ring of a few bytes in shared memory, whose accesses `loom` sees.

use std::sync::Arc;

use loom::sync::{
    atomic::{
        fence,
        AtomicU32,
        Ordering, //
    },
    Notify, //
};
use xensock_hosttest::proto::{
    indexes::{
        self,
        DirectionWords, //
    },
    ring::{
        Memory,
        MemorySpan, //
    },
    stream::{
        Consumer,
        PrivateWord,
        Producer,
        SharedWords, //
    },
    Feature,
    Features, //
};

/// How often the scheduler may take a thread away where it would go on. `LOOM_MAX_PREEMPTIONS` in
/// the environment overrides it: 3 takes a minute, and finds nothing more.
const PREEMPTIONS: usize = 2;

/// Tries everything.
pub(crate) fn check(run: impl Fn() + Sync + Send + 'static) {
    check_within(PREEMPTIONS, run);
}

/// Tries everything, with as many preemptions: each more multiplies the time.
pub(crate) fn check_within(preemptions: usize, run: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(preemptions));
    builder.check(run);
}

/// Bytes of the ring: small, so that it is often full.
pub(crate) const SIZE: u32 = 2;

/// Bytes of the extension.
pub(crate) const LARGE: u32 = 4;

/// How a run goes.
#[derive(Clone, Copy)]
pub(crate) struct Run {
    pub(crate) direction: DirectionWords,
    /// Whether both ends use event indexes.
    pub(crate) event_index: bool,
    /// Where the indexes begin.
    pub(crate) start: u32,
    /// How many bytes go through.
    pub(crate) bytes: u32,
    /// Whether the barriers are there.
    pub(crate) barriers: bool,
    /// The numbers with which the producer goes to the extension, and back.
    pub(crate) changes: [u32; 2],
}

impl Run {
    pub(crate) const NORMAL: Self = Self {
        direction: indexes::IN,
        event_index: true,
        start: 0,
        bytes: 3,
        barriers: true,
        changes: [0, 0],
    };

    fn features(&self) -> Features {
        let features = Features::NONE.with(Feature::RingResize);
        if self.event_index {
            features.with(Feature::EventIndex)
        } else {
            features
        }
    }
}

/// A word of an end's own which only one thread uses, so that the model need not look at it.
pub(crate) struct Plain(std::sync::atomic::AtomicU32);

impl PrivateWord for Plain {
    fn new(value: u32) -> Self {
        Self(value.into())
    }

    fn load(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }

    fn load_acquire(&self) -> u32 {
        self.load()
    }

    fn store(&self, value: u32) {
        self.0.store(value, Ordering::SeqCst);
    }

    fn store_release(&self, value: u32) {
        self.store(value);
    }
}

/// The ring, and an event channel for each end.
pub(crate) struct Shared<W = Plain> {
    pub(crate) run: Run,
    /// The words of one direction: cons, prod, error, prod_event, cons_event, switch, generation,
    /// followed.
    pub(crate) words: [AtomicU32; 8],
    pub(crate) base: [AtomicU32; SIZE as usize],
    pub(crate) extension: [AtomicU32; LARGE as usize],
    pub(crate) wake_consumer: Notify,
    pub(crate) wake_producer: Notify,
    pub(crate) producer: Producer<W>,
    pub(crate) consumer: Consumer<W>,
}

impl<W: PrivateWord> Shared<W> {
    pub(crate) fn new(run: Run) -> Arc<Self> {
        let first = run.start.wrapping_add(indexes::FIRST_PROD_EVENT);
        let none = run.start.wrapping_add(indexes::FIRST_CONS_EVENT);
        Arc::new(Self {
            run,
            words: [run.start, run.start, 0, first, none, 0, 0, 0].map(AtomicU32::new),
            base: [0; SIZE as usize].map(AtomicU32::new),
            extension: [0; LARGE as usize].map(AtomicU32::new),
            wake_consumer: Notify::new(),
            wake_producer: Notify::new(),
            producer: Producer::starting_at(run.direction, SIZE, run.features(), run.start),
            consumer: Consumer::starting_at(run.direction, SIZE, run.features(), run.start),
        })
    }

    fn word(&self, offset: usize) -> &AtomicU32 {
        let d = self.run.direction;
        let offsets = [
            d.cons,
            d.prod,
            d.error,
            d.prod_event,
            d.cons_event,
            d.switch,
            d.generation,
            d.followed,
        ];
        &self.words[offsets.iter().position(|&o| o == offset).unwrap()]
    }

    /// The byte that is the only one of these places.
    pub(crate) fn byte(&self, places: &[MemorySpan]) -> &AtomicU32 {
        let mut places = places.iter().filter(|place| place.span.len > 0);
        let place = places.next().unwrap();
        assert!(place.span.len == 1 && places.next().is_none());
        match place.memory {
            Memory::Base => &self.base[place.span.offset as usize],
            Memory::Extension => &self.extension[place.span.offset as usize],
        }
    }
}

impl<W: PrivateWord> SharedWords for Shared<W> {
    fn load_acquire(&self, offset: usize) -> u32 {
        self.word(offset).load(Ordering::Acquire)
    }

    fn load(&self, offset: usize) -> u32 {
        self.word(offset).load(Ordering::Relaxed)
    }

    fn store_release(&self, offset: usize, value: u32) {
        self.word(offset).store(value, Ordering::Release);
    }

    fn store(&self, offset: usize, value: u32) {
        self.word(offset).store(value, Ordering::Relaxed);
    }

    fn full_barrier(&self) {
        if self.run.barriers {
            fence(Ordering::SeqCst);
        }
    }
}
