// SPDX-License-Identifier: GPL-2.0

//! Bytes of a ring: copied, or lent to a socket.

use super::DataRing;
use core::ops::Deref;
use kernel::{
    bvec::BioVecs,
    iov::{
        IovIterDest,
        IovIterSource, //
    },
    prelude::*,
    xen::shared::SharedPages, //
};

impl<P: Deref<Target = SharedPages>> DataRing<P> {
    /// Copies `len` readable bytes, starting `skip` bytes after the first one, without consuming
    /// them.
    ///
    /// Returns the number of bytes copied, which is smaller if the destination faults.
    pub fn copy_out(&self, skip: u32, len: u32, to: &mut IovIterDest<'_>) -> usize {
        let places = self.rx.places(skip, len);
        self.rx_pages.for_each(&places, |pages, offset, len| {
            pages.copy_to_iter(offset, len, to)
        })
    }

    /// Copies `len` bytes into the free room, starting `skip` bytes after its beginning, without
    /// producing them yet.
    ///
    /// Returns the number of bytes copied, which is smaller if the source faults.
    pub fn copy_in(&self, skip: u32, len: u32, from: &mut IovIterSource<'_>) -> usize {
        let places = self.tx.places(skip, len);
        self.tx_pages.for_each(&places, |pages, offset, len| {
            pages.copy_from_iter(offset, len, from)
        })
    }

    /// Copies readable bytes, starting `skip` bytes after the first one, without consuming them.
    pub fn read(&self, skip: u32, out: &mut [u8]) -> Result {
        let len = out.len();
        let mut at = 0;
        let places = self.rx.places(skip, u32::try_from(len)?);
        let done = self.rx_pages.for_each(&places, |pages, offset, len| {
            let piece = at..at + len;
            at = piece.end;
            match out.get_mut(piece).map(|piece| pages.read(offset, piece)) {
                Some(Ok(())) => len,
                _ => 0,
            }
        });
        if done < len {
            return Err(EINVAL);
        }
        Ok(())
    }

    /// Copies bytes into the free room, starting `skip` bytes after its beginning, without
    /// producing them yet.
    pub fn write(&self, skip: u32, bytes: &[u8]) -> Result {
        let mut at = 0;
        let places = self.tx.places(skip, u32::try_from(bytes.len())?);
        let done = self.tx_pages.for_each(&places, |pages, offset, len| {
            let piece = at..at + len;
            at = piece.end;
            match bytes.get(piece).map(|piece| pages.write(offset, piece)) {
                Some(Ok(())) => len,
                _ => 0,
            }
        });
        if done < bytes.len() {
            return Err(EINVAL);
        }
        Ok(())
    }

    /// Returns the present value of a byte that was copied into the room, `skip` bytes after its
    /// beginning, and is not produced yet.
    pub fn written(&self, skip: u32) -> Result<u8> {
        let mut byte = [0];
        let places = self.tx.places(skip, 1);
        let done = self.tx_pages.for_each(&places, |pages, offset, len| {
            pages.read(offset, &mut byte).map_or(0, |()| len)
        });
        if done == 0 {
            return Err(EINVAL);
        }
        Ok(byte[0])
    }

    /// Calls `what` with `len` readable bytes, starting `skip` bytes after the first one, in a form
    /// that a socket can send. If there are more than [`BioVecs::MAX`] pages, only the first ones
    /// are included.
    pub fn with_readable<R>(&self, skip: u32, len: u32, what: impl FnOnce(&BioVecs<'_>) -> R) -> R {
        self.rx_pages.with_bvecs(&self.rx.places(skip, len), what)
    }

    /// Calls `what` with the room for `len` bytes, starting `skip` bytes after its beginning, in a
    /// form that a socket can receive into. If there are more than [`BioVecs::MAX`] pages, only the
    /// first ones are included.
    pub fn with_writable<R>(&self, skip: u32, len: u32, what: impl FnOnce(&BioVecs<'_>) -> R) -> R {
        self.tx_pages.with_bvecs(&self.tx.places(skip, len), what)
    }
}
