// SPDX-License-Identifier: GPL-2.0

//! Shared rings of requests and responses.
//!
//! The layout is that of all Xen devices: a page with four indexes at its beginning, and a power of
//! two of slots from byte 64 on. The frontend puts a request in a slot. The backend takes the
//! request out and later, in any order, puts a response in a slot that it has emptied.
//!
//! Indexes count up and wrap around at 2^32. `req_prod` and `rsp_prod` are the ends of the requests
//! and responses; `req_event` and `rsp_event` are the requests and responses for which the reader
//! wants to be woken up.
//!
//! In contrast to the C macros, an end never reads its own index back from shared memory, and
//! accepts an index of the peer only if a correct peer could have got there.
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

use super::{
    shared::SharedPages,
    XEN_PAGE_SIZE, //
};

use crate::{
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

/// Size of a slot in bytes.
pub const SLOT: usize = 64;

/// Number of slots.
pub const SLOTS: u32 = 32;

/// Offset of the first slot in the page.
const FIRST_SLOT: usize = 64;

static_assert!(SLOTS.is_power_of_two());
static_assert!(FIRST_SLOT + SLOTS as usize * SLOT <= XEN_PAGE_SIZE);

/// The words at the beginning of the page, by byte offset.
#[derive(Clone, Copy)]
#[repr(usize)]
enum Word {
    /// Number of requests that the frontend has put in.
    ReqProd = 0,

    /// Request for which the backend wants to be woken up.
    ReqEvent = 4,

    /// Number of responses that the backend has put in.
    RspProd = 8,

    /// Response for which the frontend wants to be woken up.
    RspEvent = 12,
}

/// The ring's page, with the operations common to both ends.
struct Page<P: Deref<Target = SharedPages>>(P);

impl<P: Deref<Target = SharedPages>> Page<P> {
    fn new(page: P) -> Result<Self> {
        if page.len() != XEN_PAGE_SIZE {
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

    /// Returns the offset of the slot with index `idx`.
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

    /// Makes entries up to `new` visible to the peer; the previous call made those up to `old`
    /// visible.
    ///
    /// Returns `true` if the peer wants to be notified.
    fn publish(&self, prod: Word, event: Word, old: u32, new: u32) -> Result<bool> {
        // The peer must see the entries before it sees the index.
        virt_mb(Write);
        self.store(prod, new)?;

        // The peer must see the index before we read its event index: either the peer finds the
        // entries in its final check, or we find that it waits for them.
        virt_mb(Full);
        Ok(is_awaited(self.load(event)?, old, new))
    }

    /// Returns the number of entries from the peer that have not been taken out. Fails with
    /// [`EPROTO`] if there are more than `max`.
    fn available(&self, prod: Word, cons: u32, max: u32) -> Result<u32> {
        let available = count(self.load(prod)?, cons, max)?;

        // We must see the index before we read the entries.
        virt_mb(Read);
        Ok(available)
    }

    /// Like [`Page::available`], but if there is no entry, asks the peer to notify us of the next
    /// one.
    ///
    /// Then checks again, since the peer may have put in an entry before it saw the new event
    /// index.
    fn final_check(&self, prod: Word, event: Word, cons: u32, max: u32) -> Result<bool> {
        if self.available(prod, cons, max)? != 0 {
            return Ok(true);
        }
        self.store(event, cons.wrapping_add(1))?;
        virt_mb(Full);
        Ok(self.available(prod, cons, max)? != 0)
    }
}

/// Returns the number of entries between the indexes. Fails with [`EPROTO`] if it is above `max`.
fn count(prod: u32, cons: u32, max: u32) -> Result<u32> {
    let count = prod.wrapping_sub(cons);

    if count > max {
        return Err(EPROTO);
    }
    Ok(count)
}

/// Returns `true` if `event`, the index after the awaited entry, is in `old + 1 ..= new`.
fn is_awaited(event: u32, old: u32, new: u32) -> bool {
    new.wrapping_sub(event) < new.wrapping_sub(old)
}
