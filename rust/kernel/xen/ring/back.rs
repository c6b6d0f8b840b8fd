// SPDX-License-Identifier: GPL-2.0

//! The backend's end: takes requests out, puts responses in.

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
    pub(super) rsp_prod_pvt: u32,
    /// Up to where we have told the frontend about them.
    pub(super) rsp_prod: u32,
    /// Up to where we have taken requests out.
    pub(super) req_cons: u32,
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
