// SPDX-License-Identifier: GPL-2.0

//! A word of an end's own, as loom has it.

use loom::sync::atomic::{
    AtomicU32,
    Ordering, //
};
use xensock_hosttest::proto::stream::PrivateWord;

/// A word of an end's own, with others who look at it.
pub(crate) struct Word(AtomicU32);

impl PrivateWord for Word {
    fn new(value: u32) -> Self {
        Self(AtomicU32::new(value))
    }

    fn load(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    fn load_acquire(&self) -> u32 {
        self.0.load(Ordering::Acquire)
    }

    fn store(&self, value: u32) {
        self.0.store(value, Ordering::Relaxed);
    }

    fn store_release(&self, value: u32) {
        self.0.store(value, Ordering::Release);
    }
}
