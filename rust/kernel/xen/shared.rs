// SPDX-License-Identifier: GPL-2.0

//! Memory shared with another domain.
//!
//! C header: [`include/xen/page.h`](srctree/include/xen/page.h)

use crate::{
    alloc::Flags,
    bindings,
    bvec::BioVecs,
    iov::{
        IovIterDest,
        IovIterSource, //
    },
    page::PAGE_SIZE,
    prelude::*,
    sync::atomic::{
        Atomic,
        Full, //
    }, //
};

use core::ptr::NonNull;

// Grants have Xen's page size whatever the kernel's is. Kconfig sees to it that they are the same.
static_assert!(PAGE_SIZE == 4096);

/// One page and where it is mapped.
#[derive(Clone, Copy)]
pub(super) struct PageFrame {
    page: NonNull<bindings::page>,
    addr: NonNull<u8>,
}

impl PageFrame {
    /// Makes a frame of a page.
    ///
    /// # Safety
    ///
    /// `page` must be a valid page that is part of the kernel's linear mapping.
    #[inline]
    pub(super) unsafe fn new(page: NonNull<bindings::page>) -> Result<Self> {
        // SAFETY: `page` is valid according to this function's safety requirements.
        let addr = unsafe { bindings::page_address(page.as_ptr()) };

        Ok(Self {
            page,
            addr: NonNull::new(addr.cast()).ok_or(EFAULT)?,
        })
    }

    /// Returns the page.
    #[inline]
    pub(super) fn page(&self) -> NonNull<bindings::page> {
        self.page
    }

    /// Returns the address of the first byte of the page.
    #[inline]
    pub(super) fn addr(&self) -> NonNull<u8> {
        self.addr
    }
}

/// Pages that are shared with another domain, addressed as one run of bytes.
///
/// The pages need not be contiguous. The other domain can read and write them at any time: whatever
/// is read may be different when it is read again, and says nothing about what it was a moment ago.
/// Hence there is no way to get a slice of this memory; it is copied out once, and the copy is
/// checked and used.
///
/// Words that both ends use as indexes are accessed with [`SharedPages::word`]. Copies are not
/// ordered with anything: order them with acquire and release operations on the indexes, or with
/// [`virt_mb`].
///
/// Where both ends change a word at the same time, [`SharedPages::set_bit`] and
/// [`SharedPages::take_word`] do it. Other operations that read and write, such as
/// [`Atomic::fetch_add`], do not: a kernel that has one CPU leaves out of them what makes them atomic
/// for others.
///
/// Owned by [`GrantedPages`](super::grant::GrantedPages) and
/// [`MappedPages`](super::grant::MappedPages), which dereference to it.
///
/// All methods that don't take an iterator may be called from any context and don't sleep.
///
/// # Invariants
///
/// - Each of `frames` is a page of [`PAGE_SIZE`] bytes, mapped readable and writable at its address
///   for the lifetime of `self`.
/// - This kernel accesses the memory through `self` only.
///
/// [`virt_mb`]: crate::sync::barrier::virt_mb
pub struct SharedPages {
    frames: KVVec<PageFrame>,
}

// SAFETY: The pages are mapped in the kernel's address space, the same for all threads.
unsafe impl Send for SharedPages {}

// SAFETY: `&SharedPages` gives access to words, which are atomic, and to copies. The memory may be
// changed by another domain during any access, hence each of them has to cope with concurrent
// changes, no matter who makes them.
unsafe impl Sync for SharedPages {}

impl SharedPages {
    /// Makes an empty run with room for `capacity` pages.
    pub(super) fn with_capacity(capacity: usize, flags: Flags) -> Result<Self> {
        // INVARIANT: There are no frames.
        Ok(Self {
            frames: KVVec::with_capacity(capacity, flags)?,
        })
    }

    /// Appends a page; it must fit in the capacity.
    ///
    /// # Safety
    ///
    /// `frame` must be readable and writable until `self` is dropped, and must not be accessed but
    /// through `self`.
    pub(super) unsafe fn push(&mut self, frame: PageFrame) -> Result {
        // INVARIANT: As required by this function's safety requirements.
        self.frames.push_within_capacity(frame).map_err(|_| ENOSPC)
    }

    /// Returns the pages.
    #[inline]
    pub(super) fn frames(&self) -> &[PageFrame] {
        &self.frames
    }

    /// Returns the size in bytes, a multiple of 4096.
    #[inline]
    #[expect(clippy::len_without_is_empty, reason = "there is always a page")]
    pub fn len(&self) -> usize {
        // OVERFLOW: That many bytes are mapped.
        self.frames.len() * PAGE_SIZE
    }

    /// Returns the piece that starts at `offset`, ends at the end of its page at the latest, and
    /// has at most `max` bytes, as frame, offset in the frame, and length.
    ///
    /// `offset` must be within the run.
    #[inline]
    fn piece(&self, offset: usize, max: usize) -> Option<(PageFrame, usize, usize)> {
        let frame = *self.frames.get(offset / PAGE_SIZE)?;
        let start = offset % PAGE_SIZE;

        Some((frame, start, max.min(PAGE_SIZE - start)))
    }

    /// Calls `f` for each piece of `len` bytes from `offset` with its address and length.
    ///
    /// Fails with [`EINVAL`] without having called `f` if this is out of range.
    #[inline]
    fn for_each_piece(
        &self,
        offset: usize,
        len: usize,
        mut f: impl FnMut(NonNull<u8>, usize),
    ) -> Result {
        let end = offset.checked_add(len).ok_or(EINVAL)?;
        if end > self.len() {
            return Err(EINVAL);
        }

        let mut at = offset;
        while at < end {
            let (frame, start, len) = self.piece(at, end - at).ok_or(EINVAL)?;

            // SAFETY: `start` is within the frame, which is mapped by the type invariant.
            f(unsafe { frame.addr.add(start) }, len);
            // OVERFLOW: `len` is at most `end - at`.
            at += len;
        }
        Ok(())
    }

    /// Returns the word at byte `offset`.
    ///
    /// Fails with [`EINVAL`] if that is unaligned or out of range.
    #[inline]
    pub fn word(&self, offset: usize) -> Result<&Atomic<u32>> {
        if offset % size_of::<u32>() != 0 {
            return Err(EINVAL);
        }
        // An aligned word never crosses the end of a page.
        let (frame, start, _) = self.piece(offset, size_of::<u32>()).ok_or(EINVAL)?;

        // SAFETY:
        // - By the type invariant, the frame is mapped as long as `self` lives. Its address is
        //   page-aligned and `start` is a multiple of 4, so the pointer is aligned.
        // - By the type invariant, this kernel accesses the memory through `self` only, that is
        //   with atomic operations and with `memcpy()`, whose result is never taken for an index.
        //   The other domain is not part of this program; to it, what holds for a peer that uses
        //   atomic operations is the best that we can say.
        Ok(unsafe { Atomic::from_ptr(frame.addr.add(start).as_ptr().cast()) })
    }

    /// Returns the word at byte `offset` and leaves 0 there. Atomic for the other domain too, and
    /// fully ordered.
    ///
    /// Fails with [`EINVAL`] if that is unaligned or out of range.
    #[inline]
    pub fn take_word(&self, offset: usize) -> Result<u32> {
        // An exchange is atomic for everybody, however many CPUs this kernel has.
        Ok(self.word(offset)?.xchg(0, Full))
    }

    /// Sets bit `n % 8` of byte `n / 8` and returns whether it was set before. Atomic for the other
    /// domain too, and fully ordered.
    ///
    /// Fails with [`EINVAL`] if that is out of range.
    #[inline]
    pub fn set_bit(&self, n: usize) -> Result<bool> {
        // The operation is on a `long`: one that is aligned never crosses the end of a page.
        let bits = c_ulong::BITS as usize;
        let offset = n / bits * size_of::<c_ulong>();
        let (frame, start, _) = self.piece(offset, size_of::<c_ulong>()).ok_or(EINVAL)?;

        // CAST: Less than the bits of a `long`.
        let n = (n % bits) as c_long;
        // SAFETY: By the type invariant, the frame is mapped as long as `self` lives; its address is
        // page-aligned and `start` is a multiple of the size of a `long`. By the type invariant, this
        // kernel accesses the memory through `self` only, where this is no more of a concern than
        // what the other domain may do at any time.
        Ok(unsafe { bindings::sync_test_and_set_bit(n, frame.addr.add(start).as_ptr().cast()) })
    }

    /// Copies bytes from byte `offset` out, each of them once.
    ///
    /// Fails with [`EINVAL`] if they are not all in range.
    pub fn read(&self, offset: usize, out: &mut [u8]) -> Result {
        let mut to = out.as_mut_ptr();

        self.for_each_piece(offset, out.len(), |from, len| {
            // `bindings::memcpy` instead of `copy_nonoverlapping`: the compiler can neither see
            // through it, nor repeat it.
            //
            // SAFETY:
            // - `from` is valid for reads of `len` bytes, as `for_each_piece` guarantees.
            // - The pieces are `out.len()` bytes together, so `to` is valid for writes of `len`
            //   bytes. `out` is exclusively borrowed and thus no part of the shared memory.
            unsafe { bindings::memcpy(to.cast(), from.as_ptr().cast(), len) };
            // SAFETY: As above, at most the end of `out`.
            to = unsafe { to.add(len) };
        })
    }

    /// Copies `data` to byte `offset`.
    ///
    /// Fails with [`EINVAL`] if it is not all in range.
    pub fn write(&self, offset: usize, data: &[u8]) -> Result {
        let mut from = data.as_ptr();

        self.for_each_piece(offset, data.len(), |to, len| {
            // SAFETY:
            // - `to` is valid for writes of `len` bytes, as `for_each_piece` guarantees.
            // - The pieces are `data.len()` bytes together, so `from` is valid for reads of `len`
            //   bytes. `data` is immutably borrowed and thus no part of the shared memory.
            unsafe { bindings::memcpy(to.as_ptr().cast(), from.cast(), len) };
            // SAFETY: As above, at most the end of `data`.
            from = unsafe { from.add(len) };
        })
    }

    /// Copies at most `len` bytes from an IO vector to byte `offset`.
    ///
    /// Returns the number of bytes copied: fewer than `len` if the IO vector or this memory ends
    /// before, or if the IO vector's memory is not accessible.
    ///
    /// If the IO vector is in user space, this may sleep. A lock may only be held then if page
    /// faults may be handled with it held.
    pub fn copy_from_iter(&self, offset: usize, len: usize, from: &mut IovIterSource<'_>) -> usize {
        let mut done = 0;

        while done < len {
            // OVERFLOW: See `piece()`: `offset` is within the memory, and `done` bytes after it
            // were.
            let Some((frame, start, piece)) = self.piece(offset + done, len - done) else {
                break;
            };
            // SAFETY:
            // - By the type invariant of `SharedPages` and the result of `piece()`, there are
            //   `piece` bytes at that address, valid for writes.
            // - By the type invariant of `IovIterSource`, it is valid to read from it.
            let copied = unsafe {
                bindings::_copy_from_iter(
                    frame.addr.add(start).as_ptr().cast(),
                    piece,
                    from.as_raw(),
                )
            };
            done += copied;
            if copied < piece {
                break;
            }
        }
        done
    }

    /// Copies at most `len` bytes from byte `offset` to an IO vector.
    ///
    /// Returns the number of bytes copied: fewer than `len` if the IO vector or this memory ends
    /// before, or if the IO vector's memory is not accessible.
    ///
    /// If the IO vector is in user space, this may sleep. A lock may only be held then if page
    /// faults may be handled with it held.
    pub fn copy_to_iter(&self, offset: usize, len: usize, to: &mut IovIterDest<'_>) -> usize {
        let mut done = 0;

        while done < len {
            // OVERFLOW: See `piece()`: `offset` is within the memory, and `done` bytes after it
            // were.
            let Some((frame, start, piece)) = self.piece(offset + done, len - done) else {
                break;
            };
            // SAFETY:
            // - By the type invariant of `SharedPages` and the result of `piece()`, there are
            //   `piece` bytes at that address, valid for reads.
            // - By the type invariant of `IovIterDest`, it is valid to write to it.
            let copied = unsafe {
                bindings::_copy_to_iter(frame.addr.add(start).as_ptr().cast(), piece, to.as_raw())
            };
            done += copied;
            if copied < piece {
                break;
            }
        }
        done
    }

    /// Appends the pages behind `len` bytes from byte `offset` to `vecs`, for a kernel socket to send
    /// from or to receive into. Returns whether those are all of them.
    ///
    /// It is less if this memory ends before, or if there are more pages than `vecs` has room for.
    pub fn extend_bvecs<'a>(&'a self, vecs: &mut BioVecs<'a>, offset: usize, len: usize) -> bool {
        let mut done = 0;

        while done < len {
            // OVERFLOW: See `piece()`: `offset` is within the memory, and `done` bytes after it
            // were.
            let Some((frame, start, piece)) = self.piece(offset + done, len - done) else {
                return false;
            };
            // SAFETY: By the type invariant, the page is valid for reads and writes as long as
            // `self` lives, thus as long as `vecs`, which borrows `self`. Concurrent changes are no
            // concern to its users, since they have to expect them of the other domain.
            if !unsafe { vecs.push(frame.page, start, piece) } {
                return false;
            }
            done += piece;
        }
        true
    }
}
