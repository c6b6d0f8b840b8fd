// SPDX-License-Identifier: GPL-2.0

//! Vectors of page fragments.
//!
//! A [`BioVecs`] describes a run of bytes in kernel memory by the pages that hold it, and converts
//! to an IO vector for C code that moves data. It is for memory that is not contiguous in the
//! kernel's address space, or that must never be behind a Rust reference because another domain or
//! a device writes to it.
//!
//! C headers: [`include/linux/bvec.h`](srctree/include/linux/bvec.h),
//! [`include/linux/uio.h`](srctree/include/linux/uio.h)

use crate::{
    bindings,
    iov::{
        IovIterDest,
        IovIterSource, //
    },
    page::PAGE_SIZE, //
};

use core::{
    marker::PhantomData,
    mem::MaybeUninit,
    ptr::NonNull, //
};

/// A short vector of page fragments, stored inline.
///
/// The fragments need not be adjacent: the vector's bytes are the bytes of its fragments, in order.
///
/// This type can be used from any context. Where and for how long an IO vector made from it may be
/// used depends on the C function that takes it.
///
/// # Invariants
///
/// - `len <= Self::MAX` and the first `len` elements of `vecs` are initialised.
/// - For the duration of `'a`, C code may read and write the memory that those elements describe.
/// - `bytes` is the sum of their `bv_len`.
///
/// # Examples
///
/// ```
/// use kernel::{
///     bvec::BioVecs,
///     page::Page, //
/// };
///
/// let page = Page::alloc_page(GFP_KERNEL)?;
/// let mut vecs = BioVecs::new();
///
/// // SAFETY: The page is ours, outlives `vecs`, and nothing holds a reference to its contents.
/// let pushed = unsafe { vecs.push(core::ptr::NonNull::new(page.as_ptr()).unwrap(), 8, 4) };
/// assert!(pushed);
/// assert_eq!(vecs.len_bytes(), 4);
///
/// let written = vecs.with_dest(|dest| dest.copy_to_iter(b"ring"));
/// assert_eq!(written, 4);
///
/// let mut out = [0; 4];
/// let read = vecs.with_source(|source| source.copy_from_iter(&mut out));
/// assert_eq!(read, 4);
/// assert_eq!(&out, b"ring");
/// # Ok::<(), Error>(())
/// ```
pub struct BioVecs<'a> {
    vecs: [MaybeUninit<bindings::bio_vec>; BioVecs::MAX],
    len: usize,
    bytes: usize,
    _memory: PhantomData<&'a ()>,
}

impl BioVecs<'_> {
    /// Maximum number of fragments: enough for 64 KiB that start anywhere in a page.
    pub const MAX: usize = 17;

    /// Creates an empty vector.
    #[inline]
    pub const fn new() -> Self {
        // INVARIANT: No element is in use.
        Self {
            vecs: [const { MaybeUninit::uninit() }; Self::MAX],
            len: 0,
            bytes: 0,
            _memory: PhantomData,
        }
    }

    /// Appends the `len` bytes at `offset` in `page`.
    ///
    /// Returns `false` and changes nothing if the vector is full, or if the bytes are not within
    /// one page. Accepts a fragment without bytes, which takes no room.
    ///
    /// # Safety
    ///
    /// For the duration of `'a`:
    ///
    /// - `page` must point to a valid `struct page` that is not freed or reused;
    /// - C code must be allowed to read and write the bytes. Other code may write to them at the
    ///   same time; there must be no Rust reference to them.
    #[inline]
    pub unsafe fn push(
        &mut self,
        page: NonNull<bindings::page>,
        offset: usize,
        len: usize,
    ) -> bool {
        if offset > PAGE_SIZE || len > PAGE_SIZE - offset {
            return false;
        }
        if len == 0 {
            return true;
        }
        let Some(slot) = self.vecs.get_mut(self.len) else {
            return false;
        };
        slot.write(bindings::bio_vec {
            bv_page: page.as_ptr(),
            // CAST: Neither is above `PAGE_SIZE`.
            bv_len: len as u32,
            bv_offset: offset as u32,
        });
        // INVARIANT: The new element was initialised just above, and the caller guarantees that its
        // memory may be accessed for the duration of `'a`.
        self.len += 1;
        self.bytes += len;
        true
    }

    /// Returns the total number of bytes in all fragments.
    #[inline]
    pub fn len_bytes(&self) -> usize {
        self.bytes
    }

    /// Returns `true` if the vector has no bytes.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Calls `f` with an IO vector that reads the bytes of this vector.
    #[inline]
    pub fn with_source<R>(&self, f: impl FnOnce(&mut IovIterSource<'_>) -> R) -> R {
        let mut iter = MaybeUninit::uninit();

        // SAFETY: `iter` is valid for writing.
        unsafe { self.init_iter(iter.as_mut_ptr(), bindings::ITER_SOURCE) };
        // SAFETY:
        // - `iter` was initialised just above and is accessed only through this reference until `f`
        //   has returned.
        // - It was created with the direction `ITER_SOURCE`.
        // - By the type invariants C code may read the memory that it describes for the duration of
        //   `'a`, which outlives this call.
        f(unsafe { IovIterSource::from_raw(iter.as_mut_ptr()) })
    }

    /// Calls `f` with an IO vector that writes the bytes of this vector.
    #[inline]
    pub fn with_dest<R>(&self, f: impl FnOnce(&mut IovIterDest<'_>) -> R) -> R {
        let mut iter = MaybeUninit::uninit();

        // SAFETY: `iter` is valid for writing.
        unsafe { self.init_iter(iter.as_mut_ptr(), bindings::ITER_DEST) };
        // SAFETY:
        // - `iter` was initialised just above and is accessed only through this reference until `f`
        //   has returned.
        // - It was created with the direction `ITER_DEST`.
        // - By the type invariants C code may write the memory that it describes for the duration
        //   of `'a`, which outlives this call.
        f(unsafe { IovIterDest::from_raw(iter.as_mut_ptr()) })
    }

    /// Initialises a `struct iov_iter` that iterates over this vector.
    ///
    /// The result must not be used after `self` has been moved or changed.
    ///
    /// # Safety
    ///
    /// `iter` must be valid for writing.
    #[inline]
    pub(crate) unsafe fn init_iter(&self, iter: *mut bindings::iov_iter, direction: u32) {
        // SAFETY: `iter` is valid for writing by the safety requirements, and by the type
        // invariants there are `len` initialised elements with `bytes` bytes in total.
        unsafe {
            bindings::iov_iter_bvec(
                iter,
                direction,
                self.vecs.as_ptr().cast(),
                self.len,
                self.bytes,
            )
        };
    }
}

impl Default for BioVecs<'_> {
    #[inline]
    fn default() -> Self {
        Self::new()
    }
}
