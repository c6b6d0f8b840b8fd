// SPDX-License-Identifier: GPL-2.0

//! Memory shared with another domain.
//!
//! C header: [`include/xen/page.h`](srctree/include/xen/page.h)

use super::XEN_PAGE_SIZE;

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

static_assert!(PAGE_SIZE % XEN_PAGE_SIZE == 0);

/// A page of [`XEN_PAGE_SIZE`]: the kernel's page that it is part of, and its address.
///
/// # Invariants
///
/// `addr` is the address, in the linear mapping, of [`XEN_PAGE_SIZE`] bytes of `page`, and a
/// multiple of [`XEN_PAGE_SIZE`].
#[derive(Clone, Copy)]
pub(super) struct PageFrame {
    page: NonNull<bindings::page>,
    addr: NonNull<u8>,
}

impl PageFrame {
    /// Creates a frame from the first [`XEN_PAGE_SIZE`] bytes of a page.
    ///
    /// # Safety
    ///
    /// `page` must be a valid page that is part of the kernel's linear mapping.
    #[inline]
    pub(super) unsafe fn new(page: NonNull<bindings::page>) -> Result<Self> {
        // SAFETY: `page` is valid according to this function's safety requirements.
        let addr = unsafe { bindings::page_address(page.as_ptr()) };

        // INVARIANT: A page begins at a multiple of its size, which is a multiple of Xen's.
        Ok(Self {
            page,
            addr: NonNull::new(addr.cast()).ok_or(EFAULT)?,
        })
    }

    /// Returns the frame after this one, if there is another one in the page.
    #[inline]
    pub(super) fn next(&self) -> Option<Self> {
        // OVERFLOW: By the type invariant, at most the size of a page.
        if self.start() + XEN_PAGE_SIZE == PAGE_SIZE {
            return None;
        }

        // INVARIANT: This was not the last of the page, so there are as many bytes after it.
        Some(Self {
            page: self.page,
            // SAFETY: As said above, this is in the same page.
            addr: unsafe { self.addr.add(XEN_PAGE_SIZE) },
        })
    }

    /// Returns the page that this is in.
    #[inline]
    pub(super) fn page(&self) -> NonNull<bindings::page> {
        self.page
    }

    /// Returns `true` if this is the first frame of the page.
    #[inline]
    pub(super) fn is_first(&self) -> bool {
        self.start() == 0
    }

    /// Returns the offset of this frame in the page.
    #[inline]
    fn start(&self) -> usize {
        self.addr.as_ptr() as usize % PAGE_SIZE
    }

    /// Returns the address of the first byte.
    #[inline]
    pub(super) fn addr(&self) -> NonNull<u8> {
        self.addr
    }
}

/// Pages of [`XEN_PAGE_SIZE`] shared with another domain, addressed as one run of bytes.
///
/// The pages need not be contiguous. The other domain can read and write them at any time: two
/// reads of the same byte may differ, and neither says anything about any other time. Hence there
/// is no way to get a slice of this memory; callers copy the memory out once, then check and use
/// the copy.
///
/// Words that both ends use as indexes are accessed with [`SharedPages::word`]. Copies have no
/// ordering of their own: order them with acquire and release operations on the indexes, or with
/// [`virt_mb`].
///
/// [`SharedPages::set_bit`] and [`SharedPages::take_word`] are for words that both ends change at
/// the same time. Other read-modify-write operations, such as [`Atomic::fetch_add`], are not: on a
/// uniprocessor kernel they are not atomic for other domains.
///
/// Owned by [`GrantedPages`](super::grant::GrantedPages) and
/// [`MappedPages`](super::grant::MappedPages), which dereference to it.
///
/// Methods that don't take an iterator may be called from any context and don't sleep.
///
/// # Invariants
///
/// - Each entry of `frames` is [`XEN_PAGE_SIZE`] bytes, mapped readable and writable at its address
///   for the lifetime of `self`. The address is a multiple of [`XEN_PAGE_SIZE`].
/// - This kernel accesses the memory only through `self`, and through the pages in a [`BioVecs`]
///   that borrows it.
///
/// [`virt_mb`]: crate::sync::barrier::virt_mb
pub struct SharedPages {
    frames: KVVec<PageFrame>,
}

// SAFETY: The pages are mapped in the kernel's address space, which is the same for all threads.
unsafe impl Send for SharedPages {}

// SAFETY: `&SharedPages` gives access to atomic words and to copies. The other domain may change
// the memory during any access, so every access has to cope with concurrent changes, including
// those by other threads.
unsafe impl Sync for SharedPages {}

impl SharedPages {
    /// Creates an empty run with room for `capacity` frames.
    pub(super) fn with_capacity(capacity: usize, flags: Flags) -> Result<Self> {
        // INVARIANT: There are no frames.
        Ok(Self {
            frames: KVVec::with_capacity(capacity, flags)?,
        })
    }

    /// Appends a frame. Fails with [`ENOSPC`] if the capacity is used up.
    ///
    /// # Safety
    ///
    /// `frame` must be readable and writable until `self` is dropped, and must only be accessed
    /// through `self`.
    pub(super) unsafe fn push(&mut self, frame: PageFrame) -> Result {
        // INVARIANT: As required by this function's safety requirements.
        self.frames.push_within_capacity(frame).map_err(|_| ENOSPC)
    }

    /// Returns the frames.
    #[inline]
    pub(super) fn frames(&self) -> &[PageFrame] {
        &self.frames
    }

    /// Returns the size in bytes, a multiple of [`XEN_PAGE_SIZE`].
    #[inline]
    #[expect(clippy::len_without_is_empty, reason = "there is always a page")]
    pub fn len(&self) -> usize {
        // OVERFLOW: `len()` bytes are mapped.
        self.frames.len() * XEN_PAGE_SIZE
    }

    /// Returns the piece that starts at `offset` and ends after `max` bytes or at the end of its
    /// frame, as the frame, the offset in the frame, and the length.
    ///
    /// `offset` must be within the run.
    #[inline]
    fn piece(&self, offset: usize, max: usize) -> Option<(PageFrame, usize, usize)> {
        let frame = *self.frames.get(offset / XEN_PAGE_SIZE)?;
        let start = offset % XEN_PAGE_SIZE;

        Some((frame, start, max.min(XEN_PAGE_SIZE - start)))
    }

    /// Calls `f` with the address and length of each piece of the `len` bytes at `offset`.
    ///
    /// If these are out of range, fails with [`EINVAL`] without calling `f`.
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
    /// Fails with [`EINVAL`] if `offset` is unaligned or out of range.
    #[inline]
    pub fn word(&self, offset: usize) -> Result<&Atomic<u32>> {
        if offset % size_of::<u32>() != 0 {
            return Err(EINVAL);
        }
        // An aligned word never crosses the end of a page.
        let (frame, start, _) = self.piece(offset, size_of::<u32>()).ok_or(EINVAL)?;

        // SAFETY:
        // - By the type invariant, the frame is mapped as long as `self` lives. Its address is
        //   a multiple of the page size and `start` is one of 4, so the pointer is aligned.
        // - By the type invariant, this kernel accesses the memory only through `self`, by atomic
        //   operations and by `memcpy()`, and through IO vectors and kernel sockets. No Rust code
        //   makes a plain access: C code and devices copy the bytes, whatever they are. The other
        //   domain is not part of this program; treating it as a peer that uses atomic operations
        //   is the best that can be said about it.
        Ok(unsafe { Atomic::from_ptr(frame.addr.add(start).as_ptr().cast()) })
    }

    /// Replaces the word at byte `offset` by 0 and returns its old value. Atomic for the other
    /// domain too, and fully ordered.
    ///
    /// Fails with [`EINVAL`] if `offset` is unaligned or out of range.
    #[inline]
    pub fn take_word(&self, offset: usize) -> Result<u32> {
        // An exchange is atomic for other domains even on a uniprocessor kernel.
        Ok(self.word(offset)?.xchg(0, Full))
    }

    /// Sets bit `n % 8` of byte `n / 8` and returns its old value. Atomic for the other domain too,
    /// and fully ordered.
    ///
    /// Fails with [`EINVAL`] if `n` is out of range.
    #[inline]
    pub fn set_bit(&self, n: usize) -> Result<bool> {
        // The operation is on a `long`. An aligned `long` never crosses the end of a page.
        let bits = c_ulong::BITS as usize;
        let offset = n / bits * size_of::<c_ulong>();
        let (frame, start, _) = self.piece(offset, size_of::<c_ulong>()).ok_or(EINVAL)?;

        // CAST: Less than the number of bits of a `long`.
        let n = (n % bits) as c_long;
        // SAFETY: By the type invariant, the frame is mapped as long as `self` lives; its address
        // is a multiple of the page size and `start` is one of the size of a `long`. By the type
        // invariant, this kernel accesses the memory only through `self`, whose users have to
        // expect such changes from the other domain at any time anyway.
        Ok(unsafe { bindings::sync_test_and_set_bit(n, frame.addr.add(start).as_ptr().cast()) })
    }

    /// Copies the bytes at `offset` to `out`. Reads each byte once.
    ///
    /// Fails with [`EINVAL`] if they are not all in range.
    pub fn read(&self, offset: usize, out: &mut [u8]) -> Result {
        let mut to = out.as_mut_ptr();

        self.for_each_piece(offset, out.len(), |from, len| {
            // Use `bindings::memcpy` instead of `copy_nonoverlapping`: the compiler can neither
            // look inside nor repeat the call.
            //
            // SAFETY:
            // - `from` is valid for reads of `len` bytes, as `for_each_piece` guarantees.
            // - The pieces add up to `out.len()` bytes, so `to` is valid for writes of `len` bytes.
            //   `out` is exclusively borrowed, so it is not part of the shared memory.
            unsafe { bindings::memcpy(to.cast(), from.as_ptr().cast(), len) };
            // SAFETY: As above; the result is at most the end of `out`.
            to = unsafe { to.add(len) };
        })
    }

    /// Copies `data` to the bytes at `offset`.
    ///
    /// Fails with [`EINVAL`] if they are not all in range.
    pub fn write(&self, offset: usize, data: &[u8]) -> Result {
        let mut from = data.as_ptr();

        self.for_each_piece(offset, data.len(), |to, len| {
            // SAFETY:
            // - `to` is valid for writes of `len` bytes, as `for_each_piece` guarantees.
            // - The pieces add up to `data.len()` bytes, so `from` is valid for reads of `len`
            //   bytes. `data` is immutably borrowed, so it is not part of the shared memory.
            unsafe { bindings::memcpy(to.as_ptr().cast(), from.cast(), len) };
            // SAFETY: As above; the result is at most the end of `data`.
            from = unsafe { from.add(len) };
        })
    }

    /// Copies at most `len` bytes from an IO vector to the bytes at `offset`.
    ///
    /// Returns the number of bytes copied: fewer than `len` if the IO vector or this memory ends
    /// before, or if the IO vector's memory is not accessible.
    ///
    /// May sleep if the IO vector is in user space. The caller may then only hold locks that allow
    /// page faults.
    pub fn copy_from_iter(&self, offset: usize, len: usize, from: &mut IovIterSource<'_>) -> usize {
        let mut done = 0;

        while done < len {
            // OVERFLOW: See `piece()`: `offset` is within the memory, and so are the `done` bytes
            // after it.
            let Some((frame, start, piece)) = self.piece(offset + done, len - done) else {
                break;
            };
            // SAFETY:
            // - By the type invariant of `SharedPages` and the result of `piece()`, there are
            //   `piece` bytes at this address, valid for writes.
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

    /// Copies at most `len` bytes at `offset` to an IO vector.
    ///
    /// Returns the number of bytes copied: fewer than `len` if the IO vector or this memory ends
    /// before, or if the IO vector's memory is not accessible.
    ///
    /// May sleep if the IO vector is in user space. The caller may then only hold locks that allow
    /// page faults.
    pub fn copy_to_iter(&self, offset: usize, len: usize, to: &mut IovIterDest<'_>) -> usize {
        let mut done = 0;

        while done < len {
            // OVERFLOW: See `piece()`: `offset` is within the memory, and so are the `done` bytes
            // after it.
            let Some((frame, start, piece)) = self.piece(offset + done, len - done) else {
                break;
            };
            // SAFETY:
            // - By the type invariant of `SharedPages` and the result of `piece()`, there are
            //   `piece` bytes at this address, valid for reads.
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

    /// Appends the pages of the `len` bytes at `offset` to `vecs`, for a kernel socket to send from
    /// or receive into. Returns `true` if all of them were appended.
    ///
    /// Returns `false` if this memory ends before, or if `vecs` has no room for all pages.
    pub fn extend_bvecs<'a>(&'a self, vecs: &mut BioVecs<'a>, offset: usize, len: usize) -> bool {
        let mut done = 0;

        while done < len {
            // OVERFLOW: See `piece()`: `offset` is within the memory, and so are the `done` bytes
            // after it.
            let Some((frame, start, piece)) = self.piece(offset + done, len - done) else {
                return false;
            };
            // SAFETY: By the type invariant, the page is valid for reads and writes as long as
            // `self` lives, and `vecs` borrows `self`. Users of `vecs` have to expect concurrent
            // changes by the other domain, so concurrent changes by this kernel are no concern to
            // them.
            if !unsafe { vecs.push(frame.page, frame.start() + start, piece) } {
                return false;
            }
            done += piece;
        }
        true
    }
}
