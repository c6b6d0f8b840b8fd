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

use super::{
    grant::{
        GrantedPages,
        MappedPages, //
    },
    shared::SharedPages, //
};

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

/// The frontend's end of a shared ring.
///
/// Methods may be called from any context and don't sleep; serialising them is the owner's job,
/// thus the `&mut`.
///
/// # Invariants
///
/// All modulo 2^32: `rsp_cons <= req_prod <= req_prod_pvt <= rsp_cons + SLOTS`.
///
/// # Examples
///
/// ```
/// use kernel::xen::{
///     event::{
///         EventChannel,
///         Handler, //
///     },
///     ring::{
///         FrontRing,
///         SLOT, //
///     }, //
/// };
///
/// fn call(ring: &mut FrontRing, channel: &EventChannel<impl Handler>) -> Result {
///     ring.push(&[0; SLOT])?;
///     if ring.publish() {
///         channel.notify();
///     }
///     Ok(())
/// }
///
/// fn responses(ring: &mut FrontRing, mut deliver: impl FnMut([u8; SLOT])) -> Result {
///     loop {
///         while let Some(response) = ring.pop()? {
///             deliver(response);
///         }
///         if !ring.final_check()? {
///             return Ok(());
///         }
///     }
/// }
/// ```
pub struct FrontRing<P: Deref<Target = SharedPages> = GrantedPages> {
    page: Page<P>,
    /// Up to where we have put requests in.
    req_prod_pvt: u32,
    /// Up to where we have told the backend about them.
    req_prod: u32,
    /// Up to where we have taken responses out.
    rsp_cons: u32,
}

impl<P: Deref<Target = SharedPages>> FrontRing<P> {
    /// Makes an empty ring on `page`.
    ///
    /// Fails with [`EINVAL`] if that is not one page.
    pub fn new(page: P) -> Result<Self> {
        let page = Page::new(page)?;

        page.0.write(0, &[0; FIRST_SLOT])?;
        page.store(Word::ReqEvent, 1)?;
        page.store(Word::RspEvent, 1)?;

        // INVARIANT: All are 0.
        Ok(Self {
            page,
            req_prod_pvt: 0,
            req_prod: 0,
            rsp_cons: 0,
        })
    }

    /// Returns the page.
    #[inline]
    pub fn page(&self) -> &P {
        &self.page.0
    }

    /// Returns whether there is no room for a request. There is again after a response was taken
    /// out.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.in_flight() >= SLOTS
    }

    /// Returns how many requests have been put in whose response has not been taken out.
    #[inline]
    pub fn in_flight(&self) -> u32 {
        self.req_prod_pvt.wrapping_sub(self.rsp_cons)
    }

    /// Puts a request in. The backend does not see it before [`FrontRing::publish`].
    ///
    /// Fails with [`ENOSPC`] if the ring is full.
    pub fn push(&mut self, request: &[u8; SLOT]) -> Result {
        if self.is_full() {
            return Err(ENOSPC);
        }
        self.page.write_slot(self.req_prod_pvt, request)?;
        // INVARIANT: The ring wasn't full.
        self.req_prod_pvt = self.req_prod_pvt.wrapping_add(1);
        Ok(())
    }

    /// Shows the backend all requests that have been put in.
    ///
    /// Returns whether it has to be notified.
    #[must_use = "the peer may be asleep"]
    pub fn publish(&mut self) -> bool {
        let old = self.req_prod;

        if old == self.req_prod_pvt {
            return false;
        }
        // INVARIANT: The other inequalities are those of `req_prod_pvt`.
        self.req_prod = self.req_prod_pvt;
        self.page
            .publish(Word::ReqProd, Word::ReqEvent, old, self.req_prod)
            .unwrap_or(true)
    }

    /// Takes a response out, if there is one.
    ///
    /// Fails with [`EPROTO`] if the backend claims to have answered more requests than it has got.
    /// The ring should not be used any more then.
    pub fn pop(&mut self) -> Result<Option<[u8; SLOT]>> {
        if self
            .page
            .available(Word::RspProd, self.rsp_cons, self.outstanding())?
            == 0
        {
            return Ok(None);
        }
        let response = self.page.read_slot(self.rsp_cons)?;
        // INVARIANT: A response was available, thus, as checked, `rsp_cons < req_prod`.
        self.rsp_cons = self.rsp_cons.wrapping_add(1);
        Ok(Some(response))
    }

    /// To be called before waiting for an event.
    ///
    /// Returns whether there are responses. If not, there will be an event for the next.
    ///
    /// Fails as [`FrontRing::pop`] does.
    pub fn final_check(&mut self) -> Result<bool> {
        self.page.final_check(
            Word::RspProd,
            Word::RspEvent,
            self.rsp_cons,
            self.outstanding(),
        )
    }

    /// Returns how many responses the backend may have put in.
    fn outstanding(&self) -> u32 {
        self.req_prod.wrapping_sub(self.rsp_cons)
    }
}

/// The backend's end of a shared ring.
///
/// Methods may be called from any context and don't sleep; serialising them is the owner's job,
/// thus the `&mut`.
///
/// # Invariants
///
/// All modulo 2^32: `rsp_prod <= rsp_prod_pvt <= req_cons <= rsp_prod_pvt + SLOTS`.
///
/// # Examples
///
/// ```
/// use kernel::xen::{
///     event::{
///         EventChannel,
///         Handler, //
///     },
///     ring::{
///         BackRing,
///         SLOT, //
///     }, //
/// };
///
/// fn echo(ring: &mut BackRing, channel: &EventChannel<impl Handler>) -> Result {
///     loop {
///         while let Some(request) = ring.pop()? {
///             ring.push(&request)?;
///         }
///         if ring.publish() {
///             channel.notify();
///         }
///         if !ring.final_check()? {
///             return Ok(());
///         }
///     }
/// }
/// ```
pub struct BackRing<P: Deref<Target = SharedPages> = MappedPages> {
    page: Page<P>,
    /// Up to where we have put responses in.
    rsp_prod_pvt: u32,
    /// Up to where we have told the frontend about them.
    rsp_prod: u32,
    /// Up to where we have taken requests out.
    req_cons: u32,
}

impl<P: Deref<Target = SharedPages>> BackRing<P> {
    /// Makes the backend's end of the ring that the frontend has just made on `page`.
    ///
    /// Fails with [`EINVAL`] if that is not one page.
    pub fn new(page: P) -> Result<Self> {
        // INVARIANT: All are 0.
        Ok(Self {
            page: Page::new(page)?,
            rsp_prod_pvt: 0,
            rsp_prod: 0,
            req_cons: 0,
        })
    }

    /// Returns the page.
    #[inline]
    pub fn page(&self) -> &P {
        &self.page.0
    }

    /// Returns how many requests have been taken out that have no response yet.
    #[inline]
    pub fn unanswered(&self) -> u32 {
        self.req_cons.wrapping_sub(self.rsp_prod_pvt)
    }

    /// Takes a request out, if there is one.
    ///
    /// Fails with [`EPROTO`] if the frontend claims to have put in more requests than there is room
    /// for. The ring should not be used any more then.
    pub fn pop(&mut self) -> Result<Option<[u8; SLOT]>> {
        if self
            .page
            .available(Word::ReqProd, self.req_cons, self.room())?
            == 0
        {
            return Ok(None);
        }
        let request = self.page.read_slot(self.req_cons)?;
        // INVARIANT: A request was available, thus, as checked, `req_cons < rsp_prod_pvt + SLOTS`.
        self.req_cons = self.req_cons.wrapping_add(1);
        Ok(Some(request))
    }

    /// Puts a response in, and zeroes the rest of the slot. The frontend does not see it before
    /// [`BackRing::publish`].
    ///
    /// Fails with [`EINVAL`] if `response` is longer than [`SLOT`] bytes, or if there is no request
    /// without a response.
    pub fn push(&mut self, response: &[u8]) -> Result {
        let mut slot = [0; SLOT];

        if self.unanswered() == 0 {
            return Err(EINVAL);
        }
        slot.get_mut(..response.len())
            .ok_or(EINVAL)?
            .copy_from_slice(response);
        self.page.write_slot(self.rsp_prod_pvt, &slot)?;
        // INVARIANT: There was an unanswered request, thus `rsp_prod_pvt < req_cons`.
        self.rsp_prod_pvt = self.rsp_prod_pvt.wrapping_add(1);
        Ok(())
    }

    /// Shows the frontend all responses that have been put in.
    ///
    /// Returns whether it has to be notified.
    #[must_use = "the peer may be asleep"]
    pub fn publish(&mut self) -> bool {
        let old = self.rsp_prod;

        if old == self.rsp_prod_pvt {
            return false;
        }
        // INVARIANT: The other inequalities are those of `rsp_prod_pvt`.
        self.rsp_prod = self.rsp_prod_pvt;
        self.page
            .publish(Word::RspProd, Word::RspEvent, old, self.rsp_prod)
            .unwrap_or(true)
    }

    /// To be called before waiting for an event.
    ///
    /// Returns whether there are requests. If not, there will be an event for the next.
    ///
    /// Fails as [`BackRing::pop`] does.
    pub fn final_check(&mut self) -> Result<bool> {
        self.page
            .final_check(Word::ReqProd, Word::ReqEvent, self.req_cons, self.room())
    }

    /// Returns how many more requests the frontend may have put in.
    fn room(&self) -> u32 {
        // OVERFLOW: By the type invariant, at most `SLOTS` are unanswered.
        SLOTS - self.unanswered()
    }
}

#[cfg(CONFIG_RUST_XEN_KUNIT_TEST)]
#[macros::kunit_tests(rust_xen_ring)]
mod tests {
    use super::{
        super::shared::Frame,
        *, //
    };
    use crate::page;
    use core::ptr::NonNull;

    type Front<'a> = FrontRing<&'a SharedPages>;
    type Back<'a> = BackRing<&'a SharedPages>;

    /// Calls `f` with a page that is shared with nobody.
    fn with_page(f: impl FnOnce(&SharedPages) -> Result) -> Result {
        let page = page::Page::alloc_page(GFP_KERNEL)?;
        let mut shared = SharedPages::with_capacity(1, GFP_KERNEL)?;

        // SAFETY: `page` is valid, not in high memory, outlives `shared`, and is not used
        // otherwise.
        unsafe { shared.push(Frame::new(NonNull::new(page.as_ptr()).ok_or(ENOMEM)?)?)? };
        f(&shared)
    }

    fn word(page: &SharedPages, word: Word) -> u32 {
        page.word(word as usize)
            .map_or(!0, |word| word.load(Relaxed))
    }

    fn set(page: &SharedPages, word: Word, value: u32) {
        if let Ok(word) = page.word(word as usize) {
            word.store(value, Relaxed);
        }
    }

    fn request(n: u32) -> [u8; SLOT] {
        let mut slot = [0; SLOT];
        slot[..4].copy_from_slice(&n.to_ne_bytes());
        slot
    }

    /// Makes both ends, with all indexes at `start`.
    fn pair(page: &SharedPages, start: u32) -> Result<(Front<'_>, Back<'_>)> {
        let mut front = Front::new(page)?;
        let mut back = Back::new(page)?;

        (front.req_prod_pvt, front.req_prod, front.rsp_cons) = (start, start, start);
        (back.rsp_prod_pvt, back.rsp_prod, back.req_cons) = (start, start, start);
        set(page, Word::ReqProd, start);
        set(page, Word::RspProd, start);
        set(page, Word::ReqEvent, start.wrapping_add(1));
        set(page, Word::RspEvent, start.wrapping_add(1));
        Ok((front, back))
    }

    /// What goes in comes out, in order, also where the indexes wrap.
    #[test]
    fn round_trips() -> Result {
        with_page(|page| {
            let (mut front, mut back) = pair(page, 0u32.wrapping_sub(40))?;

            for n in 0..200 {
                for i in 0..1 + n % SLOTS {
                    front.push(&request(n + i))?;
                }
                assert!(front.publish());
                assert!(!front.publish());
                for i in 0..1 + n % SLOTS {
                    assert_eq!(back.pop()?, Some(request(n + i)));
                    back.push(&request(n + i)[..24])?;
                }
                assert_eq!(back.pop()?, None);
                assert!(!back.final_check()?);
                assert!(back.publish());
                for i in 0..1 + n % SLOTS {
                    assert_eq!(front.pop()?, Some(request(n + i)));
                }
                assert_eq!(front.pop()?, None);
                assert!(!front.final_check()?);
            }
            Ok(())
        })
    }

    /// The peer is notified only if it asked for it.
    #[test]
    fn notifies() -> Result {
        with_page(|page| {
            let (mut front, mut back) = pair(page, !0)?;

            front.push(&request(1))?;
            assert!(front.publish());
            front.push(&request(2))?;
            assert!(!front.publish());
            assert!(back.pop()?.is_some());
            assert!(back.final_check()?);
            assert!(back.pop()?.is_some());
            assert!(!back.final_check()?);
            front.push(&request(3))?;
            assert!(front.publish());
            Ok(())
        })
    }

    /// Neither end takes more than there is room for.
    #[test]
    fn full() -> Result {
        with_page(|page| {
            let (mut front, mut back) = pair(page, 7)?;

            for n in 0..SLOTS {
                assert!(!front.is_full());
                front.push(&request(n))?;
            }
            assert!(front.is_full());
            assert_eq!(front.push(&request(0)), Err(ENOSPC));
            // Nothing is visible yet.
            assert_eq!(back.pop()?, None);
            assert_eq!(back.push(&[]), Err(EINVAL));
            assert!(front.publish());
            assert!(back.pop()?.is_some());
            assert_eq!(back.push(&[0; SLOT + 1]), Err(EINVAL));
            back.push(&[])?;
            assert!(back.publish());
            assert!(front.is_full());
            assert!(front.pop()?.is_some());
            assert!(!front.is_full());
            Ok(())
        })
    }

    /// The frontend claims what can't be.
    #[test]
    fn hostile_frontend() -> Result {
        with_page(|page| {
            let (mut front, mut back) = pair(page, 100)?;

            set(page, Word::ReqProd, 100 + SLOTS + 1);
            assert_eq!(back.pop(), Err(EPROTO));
            assert_eq!(back.final_check(), Err(EPROTO));

            // Back to before what was taken out already.
            front.push(&request(1))?;
            front.push(&request(2))?;
            let _ = front.publish();
            assert!(back.pop()?.is_some());
            assert!(back.pop()?.is_some());
            set(page, Word::ReqProd, 101);
            assert_eq!(back.pop(), Err(EPROTO));

            // As many requests as slots, though two have no response yet.
            set(page, Word::ReqProd, 102 + SLOTS);
            assert_eq!(back.pop(), Err(EPROTO));
            set(page, Word::ReqProd, 100 + SLOTS);
            assert!(back.pop()?.is_some());

            // It does no harm to write what isn't its own.
            set(page, Word::RspProd, 0xdead);
            back.push(&[])?;
            let _ = back.publish();
            assert_eq!(word(page, Word::RspProd), 101);
            Ok(())
        })
    }

    /// The backend claims what can't be.
    #[test]
    fn hostile_backend() -> Result {
        with_page(|page| {
            let (mut front, _) = pair(page, 0)?;

            // Nothing was asked, or it was not shown yet.
            set(page, Word::RspProd, 1);
            assert_eq!(front.pop(), Err(EPROTO));
            front.push(&request(1))?;
            assert_eq!(front.pop(), Err(EPROTO));
            let _ = front.publish();
            assert!(front.pop()?.is_some());
            set(page, Word::RspProd, 0);
            assert_eq!(front.pop(), Err(EPROTO));
            assert_eq!(front.final_check(), Err(EPROTO));
            Ok(())
        })
    }
}
