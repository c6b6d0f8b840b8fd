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

    /// The extension, if there is one.
    pub(super) fn extension(&self) -> Option<Arc<P>> {
        self.extension.lock().clone()
    }

    /// The extension, if any of `places` is there.
    fn extension_for(&self, places: &[MemorySpan]) -> Option<Arc<P>> {
        let is_there = |place: &MemorySpan| place.memory == Memory::Extension && place.span.len > 0;
        if places.iter().any(is_there) {
            self.extension()
        } else {
            None
        }
    }

    /// Does something with each of `places`, with its offset and length, until it is less than all of
    /// it; returns how many bytes it was.
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
                // Only if it was taken away from who uses it.
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

    /// Does something with the pages of `places`: with the first of them, if there are more than
    /// [`BioVecs::MAX`].
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
