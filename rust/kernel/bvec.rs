// SPDX-License-Identifier: GPL-2.0

//! Vectors of page fragments.
//!
//! A [`BioVecs`] names a run of bytes in kernel memory by the pages that hold it, which is how
//! memory that is not contiguous in the kernel's address space, or that must never be behind a
//! Rust reference since another domain or a device writes to it, is handed to C code that moves
//! data: through the IO vectors that it can be turned into.
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

/// A short vector of page fragments, kept in place (no allocation).
///
/// The fragments need not be adjacent: the bytes of the vector are those of its fragments, in
/// order.
///
/// This type can be used from any context; how long an IO vector made of it may be used, and
/// where, depends on the C function that it is given to.
///
/// # Invariants
///
/// - `len <= Self::MAX` and the first `len` elements of `vecs` are initialised.
/// - For the duration of `'a` the memory that those elements describe may be read and written by
///   C code.
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
    /// How many fragments a vector can hold: enough for 64 KiB, wherever in a page they begin.
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
    /// Returns `false`, and changes nothing, if the vector is full or if the bytes are not within
    /// one page. A fragment without any bytes is accepted and takes no room.
    ///
    /// # Safety
    ///
    /// For the duration of `'a`:
    ///
    /// - `page` must point to a valid `struct page` that is not freed or reused;
    /// - C code must be allowed to read from and to write to the bytes named here. Somebody else
    ///   may be writing to them at the same time; there must be no Rust reference to them.
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
        // INVARIANT: The element that is counted now was just initialised, and the caller promises
        // that its memory may be accessed for as long as `'a`.
        self.len += 1;
        self.bytes += len;
        true
    }

    /// Returns the number of bytes in all fragments.
    #[inline]
    pub fn len_bytes(&self) -> usize {
        self.bytes
    }

    /// Returns whether there is not a single byte in the vector.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Calls `f` with an IO vector that yields the bytes of this vector.
    #[inline]
    pub fn with_source<R>(&self, f: impl FnOnce(&mut IovIterSource<'_>) -> R) -> R {
        let mut iter = MaybeUninit::uninit();

        // SAFETY: `iter` is valid for writing.
        unsafe { self.init_iter(iter.as_mut_ptr(), bindings::ITER_SOURCE) };
        // SAFETY:
        // - `iter` was just initialised and is accessed in no other way until `f` has returned.
        // - It was made with the direction `ITER_SOURCE`.
        // - By the type invariants C code may read what it describes for as long as `'a`, which
        //   includes the whole of this call.
        f(unsafe { IovIterSource::from_raw(iter.as_mut_ptr()) })
    }

    /// Calls `f` with an IO vector that stores to the bytes of this vector.
    #[inline]
    pub fn with_dest<R>(&self, f: impl FnOnce(&mut IovIterDest<'_>) -> R) -> R {
        let mut iter = MaybeUninit::uninit();

        // SAFETY: `iter` is valid for writing.
        unsafe { self.init_iter(iter.as_mut_ptr(), bindings::ITER_DEST) };
        // SAFETY:
        // - `iter` was just initialised and is accessed in no other way until `f` has returned.
        // - It was made with the direction `ITER_DEST`.
        // - By the type invariants C code may write to what it describes for as long as `'a`, which
        //   includes the whole of this call.
        f(unsafe { IovIterDest::from_raw(iter.as_mut_ptr()) })
    }

    /// Initialises a `struct iov_iter` that walks over this vector.
    ///
    /// The result must not be used any more when `self` is moved or changed.
    ///
    /// # Safety
    ///
    /// `iter` must be valid for writing.
    #[inline]
    pub(crate) unsafe fn init_iter(&self, iter: *mut bindings::iov_iter, direction: u32) {
        // SAFETY: `iter` is valid for writing by the safety requirements, and by the type
        // invariants there are `len` initialised elements with `bytes` bytes in all.
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
