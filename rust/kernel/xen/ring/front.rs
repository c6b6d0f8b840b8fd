// SPDX-License-Identifier: GPL-2.0

//! The frontend's end of a ring: puts requests in and takes responses out.

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
/// Methods may be called from any context and don't sleep. They take `&mut self`: the owner has to
/// serialise the calls.
///
/// # Invariants
///
/// All comparisons modulo 2^32: `rsp_cons <= req_prod <= req_prod_pvt <= rsp_cons + SLOTS`.
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
    /// End of the requests that we have put in.
    pub(super) req_prod_pvt: u32,
    /// End of the requests that are visible to the backend.
    pub(super) req_prod: u32,
    /// End of the responses that we have taken out.
    pub(super) rsp_cons: u32,
}

impl<P: Deref<Target = SharedPages>> FrontRing<P> {
    /// Initialises an empty ring on `page`.
    ///
    /// Fails with [`EINVAL`] if `page` is not a single page.
    pub fn new(page: P) -> Result<Self> {
        let page = Page::new(page)?;

        page.0.write(0, &[0; FIRST_SLOT])?;
        page.store(Word::ReqEvent, 1)?;
        page.store(Word::RspEvent, 1)?;

        // INVARIANT: All indexes are 0.
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

    /// Returns `true` if there is no room for a request. Taking a response out makes room again.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.in_flight() >= SLOTS
    }

    /// Returns the number of requests that have been put in and whose response has not been taken
    /// out.
    #[inline]
    pub fn in_flight(&self) -> u32 {
        self.req_prod_pvt.wrapping_sub(self.rsp_cons)
    }

    /// Puts a request in. The backend does not see the request before [`FrontRing::publish`].
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

    /// Makes all requests that have been put in visible to the backend.
    ///
    /// Returns `true` if the backend has to be notified.
    #[must_use = "the peer may be asleep"]
    pub fn publish(&mut self) -> bool {
        let old = self.req_prod;

        if old == self.req_prod_pvt {
            return false;
        }
        // INVARIANT: `req_prod` becomes equal to `req_prod_pvt`, for which the other inequalities
        // hold.
        self.req_prod = self.req_prod_pvt;
        self.page
            .publish(Word::ReqProd, Word::ReqEvent, old, self.req_prod)
            .unwrap_or(true)
    }

    /// Takes a response out. Returns [`None`] if there is none.
    ///
    /// Fails with [`EPROTO`] if the backend claims to have answered more requests than are visible
    /// to it. The ring must not be used any more then.
    pub fn pop(&mut self) -> Result<Option<[u8; SLOT]>> {
        if self
            .page
            .available(Word::RspProd, self.rsp_cons, self.outstanding())?
            == 0
        {
            return Ok(None);
        }
        let response = self.page.read_slot(self.rsp_cons)?;
        // INVARIANT: `available()` has found a response and checked it against `outstanding()`,
        // thus `rsp_cons < req_prod`.
        self.rsp_cons = self.rsp_cons.wrapping_add(1);
        Ok(Some(response))
    }

    /// Checks for responses before waiting for an event.
    ///
    /// Returns `true` if there are responses. If there are none, there will be an event for the
    /// next one.
    ///
    /// Fails as [`FrontRing::pop`] does.
    pub fn final_check(&mut self) -> Result<bool> {
        self.final_check_after(0)
    }

    /// Requests an event for the response after the next `skip` responses that have not been taken
    /// out.
    ///
    /// Responses come in any order: a caller that skips some may have to check for them without an
    /// event.
    pub fn request_event_after(&mut self, skip: u32) {
        let event = self.rsp_cons.wrapping_add(skip).wrapping_add(1);

        let _ = self.page.store(Word::RspEvent, event);
        // Either the backend sees the event index when it puts this response in, or we see the
        // response.
        virt_mb(Full);
    }

    /// Like [`FrontRing::final_check`], but requests the event as
    /// [`FrontRing::request_event_after`] does.
    ///
    /// Fails as [`FrontRing::pop`] does.
    pub fn final_check_after(&mut self, skip: u32) -> Result<bool> {
        self.request_event_after(skip);
        let max = self.outstanding();
        Ok(self.page.available(Word::RspProd, self.rsp_cons, max)? != 0)
    }

    /// Requests no event for future responses, until an event is requested again. One more event
    /// may still come.
    pub fn request_no_event(&mut self) {
        // Indexes up to `rsp_cons` have been passed already.
        let _ = self.page.store(Word::RspEvent, self.rsp_cons);
    }

    /// Returns the number of responses that the backend may have put in.
    fn outstanding(&self) -> u32 {
        self.req_prod.wrapping_sub(self.rsp_cons)
    }
}
