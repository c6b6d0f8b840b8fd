// SPDX-License-Identifier: GPL-2.0

//! Shared rings of requests and responses.
//!
//! The layout is that of every Xen device: a page with four indexes, and from byte 64 on slots of
//! which there is a power of two. The frontend puts a request in a slot; the backend takes it out,
//! and later, in any order, puts a response in a slot that it has emptied.
//!
//! Indexes count up and wrap around at 2^32. `req_prod` and `rsp_prod` tell up to where there are
//! requests and responses; `req_event` and `rsp_event` tell at which of them the reader wants to be
//! woken up.
//!
//! In contrast to the macros in C, an index of our own is never read back from shared memory, and
//! one of the peer's is accepted only if a correct peer could have got there.
//!
//! C header: [`include/xen/interface/io/ring.h`](srctree/include/xen/interface/io/ring.h)

mod back;
mod front;
#[cfg(CONFIG_RUST_XEN_KUNIT_TEST)]
mod tests;

pub use self::{
    back::BackRing,
    front::FrontRing, //
};

use super::shared::SharedPages;

use crate::{
    page::PAGE_SIZE,
    prelude::*,
    sync::{
        atomic::Relaxed,
        barrier::{
            virt_mb,
            Full,
            Read,
            Write, //
        }, //
    }, //
};

use core::ops::Deref;

/// The size of a slot in bytes.
pub const SLOT: usize = 64;

/// The number of slots.
pub const SLOTS: u32 = 32;

/// Where the slots begin.
const FIRST_SLOT: usize = 64;

static_assert!(SLOTS.is_power_of_two());
static_assert!(FIRST_SLOT + SLOTS as usize * SLOT <= PAGE_SIZE);

/// The words at the beginning of the page, by their byte offset.
#[derive(Clone, Copy)]
#[repr(usize)]
enum Word {
    /// How many requests the frontend has put in.
    ReqProd = 0,

    /// The request that the backend wants to be woken up for.
    ReqEvent = 4,

    /// How many responses the backend has put in.
    RspProd = 8,

    /// The response that the frontend wants to be woken up for.
    RspEvent = 12,
}

/// What both ends do with the page.
struct Page<P: Deref<Target = SharedPages>>(P);

impl<P: Deref<Target = SharedPages>> Page<P> {
    fn new(page: P) -> Result<Self> {
        if page.len() != PAGE_SIZE {
            return Err(EINVAL);
        }
        Ok(Self(page))
    }

    fn load(&self, word: Word) -> Result<u32> {
        Ok(self.0.word(word as usize)?.load(Relaxed))
    }

    fn store(&self, word: Word, value: u32) -> Result {
        self.0.word(word as usize)?.store(value, Relaxed);
        Ok(())
    }

    /// Returns where the slot of index `idx` is.
    fn slot(idx: u32) -> usize {
        // OVERFLOW: See the assertion above.
        FIRST_SLOT + (idx % SLOTS) as usize * SLOT
    }

    fn read_slot(&self, idx: u32) -> Result<[u8; SLOT]> {
        let mut slot = [0; SLOT];

        self.0.read(Self::slot(idx), &mut slot)?;
        Ok(slot)
    }

    fn write_slot(&self, idx: u32, slot: &[u8; SLOT]) -> Result {
        self.0.write(Self::slot(idx), slot)
    }

    /// Makes entries up to `new` visible to the peer, where the last call of this had said `old`.
    ///
    /// Returns whether the peer wants to be notified.
    fn publish(&self, prod: Word, event: Word, old: u32, new: u32) -> Result<bool> {
        // The peer sees the entries before it sees the index.
        virt_mb(Write);
        self.store(prod, new)?;

        // The peer sees the index before we see for which one it waits: either it finds the
        // entries when it checks for the last time, or we find that it waits for them.
        virt_mb(Full);
        Ok(is_awaited(self.load(event)?, old, new))
    }

    /// Returns how many entries the peer has put in that have not been taken out, of which there
    /// can't be more than `max`.
    fn available(&self, prod: Word, cons: u32, max: u32) -> Result<u32> {
        let available = count(self.load(prod)?, cons, max)?;

        // We see the index before we see the entries.
        virt_mb(Read);
        Ok(available)
    }

    /// Like [`Page::available`], but if there is nothing, asks the peer to notify us of the next.
    ///
    /// Then checks again, since the peer may not have seen that when it put that one in.
    fn final_check(&self, prod: Word, event: Word, cons: u32, max: u32) -> Result<bool> {
        if self.available(prod, cons, max)? != 0 {
            return Ok(true);
        }
        self.store(event, cons.wrapping_add(1))?;
        virt_mb(Full);
        Ok(self.available(prod, cons, max)? != 0)
    }
}

/// Returns how many entries there are between the indexes, at most `max`.
fn count(prod: u32, cons: u32, max: u32) -> Result<u32> {
    let count = prod.wrapping_sub(cons);

    if count > max {
        return Err(EPROTO);
    }
    Ok(count)
}

/// Returns whether `event`, the index after the one waited for, is in `old + 1 ..= new`.
fn is_awaited(event: u32, old: u32, new: u32) -> bool {
    new.wrapping_sub(event) < new.wrapping_sub(old)
}
