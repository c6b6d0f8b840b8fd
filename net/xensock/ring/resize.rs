// SPDX-License-Identifier: GPL-2.0

//! Changes of the memory of a data ring, see [`crate::proto::stream`].

use super::{
    pages::Pages,
    DataRing,
    End, //
};
use crate::proto::{
    ring::{
        Memory,
        Violation, //
    },
    Way, //
};
use core::ops::Deref;
use kernel::{
    prelude::*,
    sync::Arc,
    xen::shared::SharedPages, //
};

/// The outcome of [`DataRing::take_extension`].
pub enum TakenExtension<P> {
    /// The extension is in use, and stays.
    InUse,
    /// The extension was removed, if there was one.
    Removed(Option<Arc<P>>),
}

impl<P: Deref<Target = SharedPages>> DataRing<P> {
    /// Returns `true` if we consume this direction.
    fn is_rx(&self, way: Way) -> bool {
        (self.end == End::Front) == (way == Way::In)
    }

    fn pages(&self, way: Way) -> &Pages<P> {
        if self.is_rx(way) {
            &self.rx_pages
        } else {
            &self.tx_pages
        }
    }

    /// Returns `true` if the direction has an extension.
    pub fn is_extended(&self, way: Way) -> bool {
        self.pages(way).extension.lock().is_some()
    }

    /// Adds an extension to a direction: the consumer follows the peer into it, the producer
    /// changes to it by [`Self::produce_into`]. `EALREADY` if there is an extension, `EINVAL` if
    /// the new one is not larger than the base. Bytes may be moved meanwhile. May sleep.
    pub fn extend(&self, way: Way, extension: P) -> Result {
        // CAST: As `Order` has it.
        let size = extension.len() as u32;
        if size <= self.order.half_size() || !size.is_power_of_two() {
            return Err(EINVAL);
        }
        let extension = Arc::new(extension, GFP_KERNEL)?;
        let left = {
            let mut slot = self.pages(way).extension.lock();
            if slot.is_none() {
                // INVARIANT: The extension is there: the peer does not know of it yet, and it is
                // removed under this lock.
                if self.is_rx(way) {
                    self.rx.extend(size);
                }
                slot.replace(extension)
            } else {
                Some(extension)
            }
        };
        // Dropped outside the lock.
        if left.is_some() {
            return Err(EALREADY);
        }
        Ok(())
    }

    /// Removes and returns the extension of a direction, unless it is in use. For the consumer or
    /// the producer of the direction only.
    pub fn take_extension(&self, way: Way) -> Result<TakenExtension<P>, Violation> {
        let mut slot = self.pages(way).extension.lock();
        // INVARIANT: The extension is not in use, nor will it be.
        let is_unused = if self.is_rx(way) {
            self.rx.withdraw(self)?
        } else {
            self.tx.memory() == Memory::Base
        };
        if !is_unused {
            return Ok(TakenExtension::InUse);
        }
        Ok(TakenExtension::Removed(slot.take()))
    }

    /// Returns `true` if the peer has left the extension that we consume from, as far as
    /// [`Self::take_extension`] has seen. For the consumer only.
    pub fn is_leaving(&self) -> bool {
        self.rx.is_leaving()
    }

    /// Returns the memory that we produce into. For the producer only.
    pub fn tx_memory(&self) -> Memory {
        self.tx.memory()
    }

    /// Produces into the base or the extension from here on. Returns `true` if that is a change;
    /// then the peer has to be notified. There is no change if the memory is in use already, if the
    /// peer has not followed the last change yet, or if there is no extension. For the producer
    /// only.
    #[must_use]
    pub fn produce_into(&self, memory: Memory) -> bool {
        if self.tx.memory() == memory {
            return false;
        }
        let size = match memory {
            Memory::Base => Some(self.order.half_size()),
            // CAST: As `Order` has it.
            Memory::Extension => self.tx_pages.extension().map(|pages| pages.len() as u32),
        };
        size.is_some_and(|size| self.tx.change_to(self, size))
    }

    /// Returns `true` if the peer has left the memory that we produced into before the last change.
    /// For the producer only.
    pub fn is_followed(&self) -> bool {
        self.tx.is_followed(self)
    }
}
