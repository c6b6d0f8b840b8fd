// SPDX-License-Identifier: GPL-2.0

//! The words of a data ring, for one thread.

use std::cell::Cell;
use xensock_hosttest::proto::{
    indexes::DirectionWords,
    stream::{
        PrivateWord,
        SharedWords, //
    }, //
};

/// A word of an end's own.
pub(crate) struct Word(Cell<u32>);

impl PrivateWord for Word {
    fn new(value: u32) -> Self {
        Self(Cell::new(value))
    }

    fn load(&self) -> u32 {
        self.0.get()
    }

    fn load_acquire(&self) -> u32 {
        self.0.get()
    }

    fn store(&self, value: u32) {
        self.0.set(value);
    }

    fn store_release(&self, value: u32) {
        self.0.set(value);
    }
}

/// The indexes page.
pub(crate) struct Page(Vec<Cell<u32>>);

impl Page {
    pub(crate) fn new(direction: DirectionWords, start: u32) -> Self {
        let page = Self(vec![Cell::new(0); 32]);
        page.store(direction.cons, start);
        page.store(direction.prod, start);
        page
    }
}

impl SharedWords for Page {
    fn load_acquire(&self, offset: usize) -> u32 {
        self.load(offset)
    }

    fn load(&self, offset: usize) -> u32 {
        self.0[offset / 4].get()
    }

    fn store_release(&self, offset: usize, value: u32) {
        self.store(offset, value);
    }

    fn store(&self, offset: usize, value: u32) {
        self.0[offset / 4].set(value);
    }

    fn full_barrier(&self) {}
}
