// SPDX-License-Identifier: GPL-2.0

//! The memory of a direction of a data ring: its base, and perhaps an extension.

use crate::proto::ring::{
    Memory,
    MemorySpan, //
};
use core::ops::Deref;
use kernel::{
    bvec::BioVecs,
    new_spinlock_irq,
    prelude::*,
    sync::{
        Arc,
        SpinLockIrq, //
    },
    xen::shared::SharedPages, //
};

/// The memory of a direction.
#[pin_data]
pub(super) struct Pages<P> {
    pub(super) base: P,
    #[pin]
    pub(super) extension: SpinLockIrq<Option<Arc<P>>>,
}

impl<P: Deref<Target = SharedPages>> Pages<P> {
    pub(super) fn new(base: P) -> impl PinInit<Self> {
        pin_init!(Self {
            base,
            extension <- new_spinlock_irq!(None, "xensock_extension"),
        })
    }

    /// Returns the extension, if there is one.
    pub(super) fn extension(&self) -> Option<Arc<P>> {
        self.extension.lock().clone()
    }

    /// Returns the extension, if any of `places` is in it.
    fn extension_for(&self, places: &[MemorySpan]) -> Option<Arc<P>> {
        let is_there = |place: &MemorySpan| place.memory == Memory::Extension && place.span.len > 0;
        if places.iter().any(is_there) {
            self.extension()
        } else {
            None
        }
    }

    /// Calls `what` with each of `places`, its offset and its length, until a call handles less
    /// than its place. Returns the number of bytes handled.
    pub(super) fn for_each(
        &self,
        places: &[MemorySpan],
        mut what: impl FnMut(&SharedPages, usize, usize) -> usize,
    ) -> usize {
        let extension = self.extension_for(places);
        let mut done = 0;
        for MemorySpan { memory, span } in places {
            let pages = match (memory, &extension) {
                (Memory::Base, _) => &*self.base,
                (Memory::Extension, Some(extension)) => &***extension,
                // Happens only if the extension was removed while in use.
                (Memory::Extension, None) => break,
            };
            let n = match span.len {
                0 => 0,
                len => what(pages, span.offset as usize, len as usize),
            };
            // OVERFLOW: No more than a direction has.
            done += n;
            if n < span.len as usize {
                break;
            }
        }
        done
    }

    /// Calls `what` with the pages of `places`. If there are more than [`BioVecs::MAX`], only the
    /// first ones are included.
    pub(super) fn with_bvecs<R>(
        &self,
        places: &[MemorySpan],
        what: impl FnOnce(&BioVecs<'_>) -> R,
    ) -> R {
        let extension = self.extension_for(places);
        let mut vecs = BioVecs::new();
        for MemorySpan { memory, span } in places {
            let pages = match (memory, &extension) {
                (Memory::Base, _) => &*self.base,
                (Memory::Extension, Some(extension)) => &***extension,
                (Memory::Extension, None) => break,
            };
            if !pages.extend_bvecs(&mut vecs, span.offset as usize, span.len as usize) {
                break;
            }
        }
        what(&vecs)
    }
}
