// SPDX-License-Identifier: GPL-2.0

//! The backend's end of a ring: takes requests out and puts responses in.

use super::{
    Page,
    Word,
    SLOT,
    SLOTS, //
};

use crate::{
    prelude::*,
    xen::{
        grant::MappedPages,
        shared::SharedPages, //
    }, //
};

use core::ops::Deref;

/// The backend's end of a shared ring.
///
/// Methods may be called from any context and don't sleep. They take `&mut self`: the owner has to
/// serialise the calls.
///
/// # Invariants
///
/// All comparisons modulo 2^32: `rsp_prod <= rsp_prod_pvt <= req_cons <= rsp_prod_pvt + SLOTS`.
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
    /// End of the responses that we have put in.
    pub(super) rsp_prod_pvt: u32,
    /// End of the responses that are visible to the frontend.
    pub(super) rsp_prod: u32,
    /// End of the requests that we have taken out.
    pub(super) req_cons: u32,
}

impl<P: Deref<Target = SharedPages>> BackRing<P> {
    /// Creates the backend's end of a new ring that the frontend has just initialised on `page`.
    ///
    /// Fails with [`EINVAL`] if `page` is not a single page.
    pub fn new(page: P) -> Result<Self> {
        // INVARIANT: All indexes are 0.
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

    /// Returns the number of requests that have been taken out and have no response yet.
    #[inline]
    pub fn unanswered(&self) -> u32 {
        self.req_cons.wrapping_sub(self.rsp_prod_pvt)
    }

    /// Takes a request out. Returns [`None`] if there is none.
    ///
    /// Fails with [`EPROTO`] if the frontend claims to have put in more requests than there is room
    /// for. The ring must not be used any more then.
    pub fn pop(&mut self) -> Result<Option<[u8; SLOT]>> {
        if self
            .page
            .available(Word::ReqProd, self.req_cons, self.room())?
            == 0
        {
            return Ok(None);
        }
        let request = self.page.read_slot(self.req_cons)?;
        // INVARIANT: `available()` has found a request and checked it against `room()`, thus
        // `req_cons < rsp_prod_pvt + SLOTS`.
        self.req_cons = self.req_cons.wrapping_add(1);
        Ok(Some(request))
    }

    /// Puts a response in, and zeroes the rest of the slot. The frontend does not see the response
    /// before [`BackRing::publish`].
    ///
    /// Fails with [`EINVAL`] if `response` is longer than [`SLOT`] bytes, or if all requests have
    /// been answered.
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

    /// Makes all responses that have been put in visible to the frontend.
    ///
    /// Returns `true` if the frontend has to be notified.
    #[must_use = "the peer may be asleep"]
    pub fn publish(&mut self) -> bool {
        let old = self.rsp_prod;

        if old == self.rsp_prod_pvt {
            return false;
        }
        // INVARIANT: `rsp_prod` becomes equal to `rsp_prod_pvt`, for which the other inequalities
        // hold.
        self.rsp_prod = self.rsp_prod_pvt;
        self.page
            .publish(Word::RspProd, Word::RspEvent, old, self.rsp_prod)
            .unwrap_or(true)
    }

    /// Checks for requests before waiting for an event.
    ///
    /// Returns `true` if there are requests. If there are none, there will be an event for the next
    /// one.
    ///
    /// Fails as [`BackRing::pop`] does.
    pub fn final_check(&mut self) -> Result<bool> {
        self.page
            .final_check(Word::ReqProd, Word::ReqEvent, self.req_cons, self.room())
    }

    /// Returns the number of further requests that the frontend may have put in.
    fn room(&self) -> u32 {
        // OVERFLOW: By the type invariant, at most `SLOTS` are unanswered.
        SLOTS - self.unanswered()
    }
}
