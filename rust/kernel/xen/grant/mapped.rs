// SPDX-License-Identifier: GPL-2.0

//! The peer's memory, mapped by us.

use super::MAX_PAGES;

use crate::{
    bindings,
    error::to_result,
    pr_err_once,
    prelude::*,
    types::Opaque,
    xen::{
        is_domain,
        shared::{
            PageFrame,
            SharedPages, //
        },
        DomId,
        GrantRef, //
    }, //
};

use core::{
    ops::Deref,
    ptr::{
        self,
        NonNull, //
    }, //
};

/// Number of pages mapped or unmapped with one hypercall. Bounds the size of arrays on the stack.
const BATCH: usize = 32;

/// The handle of a page that is not mapped: `INVALID_GRANT_HANDLE` in C.
const INVALID_HANDLE: bindings::grant_handle_t = bindings::grant_handle_t::MAX;

/// The status of success, converted to the type of the other statuses: bindgen gives it a different
/// one.
const GNTST_OKAY: i32 = bindings::GNTST_okay as i32;

/// Pages of another domain that are mapped here, for reading and writing.
///
/// Each page has its own address in the kernel's linear mapping and a `struct page`, so kernel
/// sockets may copy from and to it. Where the kernel's pages are larger than Xen's, it is at the
/// beginning of one, and the rest of that one is not used: the grant table code keeps one grant for
/// each `struct page`. Creating and dropping this may sleep, and require process context.
///
/// [`Drop`] waits until all other references to the pages are gone before it unmaps them.
///
/// # Invariants
///
/// - `shared` consists of pages from `gnttab_alloc_pages()` that we own, and `handles` has the same
///   length.
/// - Each entry of `handles` that is not `INVALID_HANDLE` is a mapping, which we own, of a page of
///   the other domain, at the address of the page at the same index.
/// - Outside of [`MappedPages::new`] and [`Drop`], no handle is `INVALID_HANDLE`.
///
/// # Examples
///
/// ```
/// use kernel::xen::{
///     grant::MappedPages,
///     DomId,
///     GrantRef, //
/// };
///
/// # fn example(peer: DomId, grefs: &[GrantRef]) -> Result {
/// let pages = MappedPages::new(peer, grefs)?;
///
/// let mut header = [0; 16];
/// pages.read(0, &mut header)?;
/// # Ok(())
/// # }
/// ```
pub struct MappedPages {
    shared: SharedPages,
    handles: KVVec<bindings::grant_handle_t>,
    unmap: KBox<UnmapQueue>,
}

/// The argument of `gnttab_unmap_refs_sync()`. Allocated in advance, so that unmapping can't fail;
/// on the heap because it contains a work item.
struct UnmapQueue(Opaque<bindings::gntab_unmap_queue_data>);

// SAFETY: This is plain memory unless `gnttab_unmap_refs_sync()` is running, and that call needs
// exclusive access.
unsafe impl Send for UnmapQueue {}

// SAFETY: An `&UnmapQueue` gives access to nothing.
unsafe impl Sync for UnmapQueue {}

impl MappedPages {
    /// Maps the pages that domain `from` has granted to us as `refs`.
    ///
    /// Fails with [`EINVAL`] if `refs` is empty, has more than [`MAX_PAGES`] entries, a duplicate,
    /// or a reference that doesn't grant us read and write access; with [`ENOSPC`] if the
    /// hypervisor can't track more mappings; with [`ENODEV`] without Xen; and with [`ENOMEM`]. On
    /// failure nothing remains mapped.
    ///
    /// `refs` may come straight from the peer. May sleep.
    pub fn new(from: DomId, refs: &[GrantRef]) -> Result<Self> {
        if refs.is_empty() || refs.len() > MAX_PAGES || has_duplicates(refs) {
            return Err(EINVAL);
        }
        if !is_domain() {
            return Err(ENODEV);
        }

        // INVARIANT: There are no pages. `this` owns everything allocated from here on, and its
        // destructor releases that when a step fails.
        let mut this = Self {
            shared: SharedPages::with_capacity(refs.len(), GFP_KERNEL)?,
            handles: KVVec::with_capacity(refs.len(), GFP_KERNEL)?,
            unmap: KBox::new(UnmapQueue(Opaque::zeroed()), GFP_KERNEL)?,
        };

        for batch in refs.chunks(BATCH) {
            this.map_batch(from, batch)?;
        }
        // INVARIANT: `map_batch` fails if a handle isn't valid.
        Ok(this)
    }

    /// Maps one batch of references after the pages that are already mapped.
    fn map_batch(&mut self, from: DomId, refs: &[GrantRef]) -> Result {
        let mut pages = [ptr::null_mut(); BATCH];
        let mut ops = [bindings::gnttab_map_grant_ref::default(); BATCH];

        // CAST: At most `BATCH`.
        let count = refs.len() as u32;

        // SAFETY: There are at least `count` elements in `pages`.
        to_result(unsafe { bindings::gnttab_alloc_pages(count as c_int, pages.as_mut_ptr()) })?;

        let first = self.handles.len();
        let mut pushed = Ok(());
        for (&page, (gref, op)) in pages.iter().zip(refs.iter().zip(&mut ops)) {
            pushed = self.push_page(page).map(|addr| {
                // SAFETY: `op` is valid for writing.
                unsafe {
                    bindings::gnttab_set_map_op(
                        op,
                        addr.as_ptr() as bindings::phys_addr_t,
                        bindings::GNTMAP_host_map,
                        gref.as_raw(),
                        from.as_raw(),
                    )
                };
            });
            if pushed.is_err() {
                break;
            }
        }
        if pushed.is_err() {
            // This can't happen: there is room, and pages from `gnttab_alloc_pages()` have
            // addresses.
            let owned = self.handles.len() - first;
            if let Some(rest) = pages.get_mut(owned..refs.len()) {
                // SAFETY: We own these pages, and nothing is mapped there.
                unsafe { bindings::gnttab_free_pages(rest.len() as c_int, rest.as_mut_ptr()) };
            }
            return pushed;
        }

        // SAFETY:
        // - The first `count` elements of `ops` are initialised. Each maps at the address of the
        //   page at the same index, which comes from `gnttab_alloc_pages()` and where nothing is
        //   mapped.
        // - There are no additional kernel-only mappings, so the second argument may be null.
        let ret = unsafe {
            bindings::gnttab_map_refs(ops.as_mut_ptr(), ptr::null_mut(), pages.as_mut_ptr(), count)
        };

        // If the hypercall itself fails, it has not written the statuses, which then are still
        // positive.
        let mut result = to_result(ret);
        for (op, handle) in ops.iter().zip(self.handles.iter_mut().skip(first)) {
            let status = status_to_result(op.status);

            if status.is_ok() {
                // INVARIANT: The hypervisor has just mapped the page and given us the handle.
                *handle = op.handle;
            }
            result = result.and(status);
        }
        result
    }

    /// Takes ownership of a page from `gnttab_alloc_pages()` where nothing is mapped yet, and
    /// returns its address. On failure the caller keeps the page.
    fn push_page(&mut self, page: *mut bindings::page) -> Result<NonNull<u8>> {
        let page = NonNull::new(page).ok_or(ENOMEM)?;
        // SAFETY: A page from `gnttab_alloc_pages()` is valid and has an address.
        let frame = unsafe { PageFrame::new(page) }?;

        // INVARIANT: Nothing is mapped at the new page.
        self.handles
            .push_within_capacity(INVALID_HANDLE)
            .map_err(|_| ENOSPC)?;

        // SAFETY: `new()` returns `self` only if there is a mapping at each frame; our destructor
        // removes these mappings. Until `new()` returns, the pages are not accessed.
        //
        // INVARIANT: We own the page from now on, and there is a handle for it.
        let pushed = unsafe { self.shared.push(frame) };
        if pushed.is_err() {
            self.handles.pop();
        }
        pushed.map(|()| frame.addr())
    }

    /// Unmaps and frees one batch of pages.
    ///
    /// A page that can't be unmapped is leaked: the peer's memory may still be behind it, so it
    /// can't be used for anything else.
    fn unmap_batch(
        unmap: &mut UnmapQueue,
        frames: &[PageFrame],
        handles: &[bindings::grant_handle_t],
    ) {
        let mut pages = [ptr::null_mut(); BATCH];
        let mut ops = [bindings::gnttab_unmap_grant_ref::default(); BATCH];
        let mut mapped = 0;

        for (frame, handle) in frames.iter().zip(handles) {
            if *handle == INVALID_HANDLE {
                continue;
            }
            let (Some(op), Some(page)) = (ops.get_mut(mapped), pages.get_mut(mapped)) else {
                break;
            };
            // SAFETY: `op` is valid for writing.
            unsafe {
                bindings::gnttab_set_unmap_op(
                    op,
                    frame.addr().as_ptr() as bindings::phys_addr_t,
                    bindings::GNTMAP_host_map,
                    *handle,
                )
            };
            // A status that the hypervisor never writes.
            op.status = 1;
            *page = frame.page().as_ptr();
            mapped += 1;
        }

        if mapped != 0 {
            let queue = unmap.0.get();

            // SAFETY:
            // - `unmap` is exclusively borrowed, and outlives the call, which returns only when
            //   everything is done. `ops` and `pages` outlive the call, too.
            // - The first `mapped` elements of `ops` are mappings that we own, at the addresses of
            //   the pages at the same index of `pages`.
            let ret = unsafe {
                (*queue).unmap_ops = ops.as_mut_ptr();
                (*queue).kunmap_ops = ptr::null_mut();
                (*queue).pages = pages.as_mut_ptr();
                (*queue).count = mapped as u32;
                bindings::gnttab_unmap_refs_sync(queue)
            };
            if ret != 0 {
                pr_err_once!("xen: unmapping grants failed: {ret}\n");
            }
        }

        // Free the pages where nothing is mapped any more, or never was.
        let mut free = [ptr::null_mut(); BATCH];
        let mut count = 0;
        let mut ops = ops.iter();
        for (frame, handle) in frames.iter().zip(handles) {
            if *handle != INVALID_HANDLE
                && ops
                    .next()
                    .is_none_or(|op| status_to_result(op.status).is_err())
            {
                pr_err_once!("xen: a foreign page can't be unmapped, losing it\n");
                continue;
            }
            if let Some(slot) = free.get_mut(count) {
                *slot = frame.page().as_ptr();
                count += 1;
            }
        }
        if count != 0 {
            // SAFETY: These are pages from `gnttab_alloc_pages()` that we own and don't use any
            // more, and nothing is mapped there.
            unsafe { bindings::gnttab_free_pages(count as c_int, free.as_mut_ptr()) };
        }
    }
}

impl Deref for MappedPages {
    type Target = SharedPages;

    #[inline]
    fn deref(&self) -> &SharedPages {
        &self.shared
    }
}

impl Drop for MappedPages {
    fn drop(&mut self) {
        let batches = self.shared.frames().chunks(BATCH);

        for (frames, handles) in batches.zip(self.handles.chunks(BATCH)) {
            Self::unmap_batch(&mut self.unmap, frames, handles);
        }
    }
}

/// Returns `true` if a reference occurs twice.
fn has_duplicates(refs: &[GrantRef]) -> bool {
    // Quadratic, but cheaper than mapping the pages for any number up to `MAX_PAGES`.
    refs.iter()
        .enumerate()
        .any(|(i, gref)| refs.iter().take(i).any(|other| other == gref))
}

/// Converts the status of a grant table operation to an error that tells the peer's faults
/// ([`EINVAL`]) from ours.
fn status_to_result(status: i16) -> Result {
    match i32::from(status) {
        GNTST_OKAY => Ok(()),
        bindings::GNTST_no_device_space | bindings::GNTST_no_space => Err(ENOSPC),
        bindings::GNTST_bad_domain
        | bindings::GNTST_bad_gntref
        | bindings::GNTST_bad_page
        | bindings::GNTST_permission_denied
        | bindings::GNTST_general_error => Err(EINVAL),
        _ => Err(EIO),
    }
}
