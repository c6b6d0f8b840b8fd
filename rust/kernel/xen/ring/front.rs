// SPDX-License-Identifier: GPL-2.0

//! The frontend's end: puts requests in, takes responses out.

use super::{
    Page,
    Word,
    FIRST_SLOT,
    SLOT,
    SLOTS, //
};

use crate::{
    prelude::*,
    sync::barrier::{
        virt_mb,
        Full, //
    },
    xen::{
        grant::GrantedPages,
        shared::SharedPages, //
    }, //
};

use core::ops::Deref;

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
    pub(super) req_prod_pvt: u32,
    /// Up to where we have told the backend about them.
    pub(super) req_prod: u32,
    /// Up to where we have taken responses out.
    pub(super) rsp_cons: u32,
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
        self.final_check_after(0)
    }

    /// Asks for an event when `skip` more responses are there than were taken out, and another.
    ///
    /// Responses come in any order: who skips some may have to look for itself.
    pub fn expect_after(&mut self, skip: u32) {
        let event = self.rsp_cons.wrapping_add(skip).wrapping_add(1);

        let _ = self.page.store(Word::RspEvent, event);
        // Either the backend sees that when it puts in the response, or we see that one.
        virt_mb(Full);
    }

    /// As [`FrontRing::final_check`], with an event as [`FrontRing::expect_after`] asks for it.
    ///
    /// Fails as [`FrontRing::pop`] does.
    pub fn final_check_after(&mut self, skip: u32) -> Result<bool> {
        self.expect_after(skip);
        let max = self.outstanding();
        Ok(self.page.available(Word::RspProd, self.rsp_cons, max)? != 0)
    }

    /// Asks for no event with the responses to come, until one is asked for again. There may still be
    /// one.
    pub fn expect_none(&mut self) {
        // An index that was passed already.
        let _ = self.page.store(Word::RspEvent, self.rsp_cons);
    }

    /// Returns how many responses the backend may have put in.
    fn outstanding(&self) -> u32 {
        self.req_prod.wrapping_sub(self.rsp_cons)
    }
}
