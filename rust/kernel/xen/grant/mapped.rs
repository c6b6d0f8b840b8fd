// SPDX-License-Identifier: GPL-2.0

//! Memory of the peer's that we have mapped.

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

/// How many pages are mapped or unmapped with one hypercall. Bounds what is on the stack.
const BATCH: usize = 32;

/// The handle of a page that is not mapped, `INVALID_GRANT_HANDLE` in C.
const INVALID_HANDLE: bindings::grant_handle_t = bindings::grant_handle_t::MAX;

/// The status of success, which bindgen gives another type than the others.
const GNTST_OKAY: i32 = bindings::GNTST_okay as i32;

/// Pages of another domain that are mapped here, for reading and writing.
///
/// Each has an address of its own in the kernel's linear mapping, and is a page that kernel sockets
/// may copy from and to. Making and dropping this may sleep, and is for process context.
///
/// Before the pages are unmapped, [`Drop`] waits for the last of any other references to them.
///
/// # Invariants
///
/// - `shared` consists of pages from `gnttab_alloc_pages()` that we own, and `handles` is as long.
/// - Each of `handles` that is not `INVALID_HANDLE` is a mapping, which we own, of a page of the
///   other domain at the address of the page at the same index.
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

/// What `gnttab_unmap_refs_sync()` needs. Allocated ahead, so that unmapping can't fail; on the
/// heap because it has a work item.
struct UnmapQueue(Opaque<bindings::gntab_unmap_queue_data>);

// SAFETY: Just memory unless `gnttab_unmap_refs_sync()` is running, for which exclusive access is
// needed.
unsafe impl Send for UnmapQueue {}

// SAFETY: There is nothing that can be done with an `&UnmapQueue`.
unsafe impl Sync for UnmapQueue {}

impl MappedPages {
    /// Maps the pages that domain `from` has granted to us as `refs`.
    ///
    /// Fails with [`EINVAL`] if there are no references, more than [`MAX_PAGES`], one of them
    /// twice, or one that isn't a grant for us to read and write; with [`ENOSPC`] if the hypervisor
    /// can't track more mappings, with [`ENODEV`] if there is none, and with [`ENOMEM`]. In any case
    /// nothing remains mapped.
    ///
    /// `refs` may come straight from the peer. May sleep.
    pub fn new(from: DomId, refs: &[GrantRef]) -> Result<Self> {
        if refs.is_empty() || refs.len() > MAX_PAGES || has_duplicates(refs) {
            return Err(EINVAL);
        }
        if !is_domain() {
            return Err(ENODEV);
        }

        // INVARIANT: There are no pages. What is made from here on is owned by `this` and thus
        // released by its destructor when something fails.
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

    /// Maps one batch of references after those that there are already.
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
            // Does not happen: there is room, and these pages have addresses.
            let owned = self.handles.len() - first;
            if let Some(rest) = pages.get_mut(owned..refs.len()) {
                // SAFETY: We own these pages, and nothing is mapped there.
                unsafe { bindings::gnttab_free_pages(rest.len() as c_int, rest.as_mut_ptr()) };
            }
            return pushed;
        }

        // SAFETY:
        // - The first `count` elements of `ops` are initialised, each for mapping at the address of
        //   the page at the same index, which is one from `gnttab_alloc_pages()` where nothing is
        //   mapped.
        // - There is no kernel-only mapping besides, so the second argument may be null.
        let ret = unsafe {
            bindings::gnttab_map_refs(ops.as_mut_ptr(), ptr::null_mut(), pages.as_mut_ptr(), count)
        };

        // If the hypercall itself fails, no status has been written; it is positive then.
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

    /// Takes ownership of a page of `gnttab_alloc_pages()` where nothing is mapped yet, and returns
    /// its address. If that fails, the page remains the caller's.
    fn push_page(&mut self, page: *mut bindings::page) -> Result<NonNull<u8>> {
        let page = NonNull::new(page).ok_or(ENOMEM)?;
        // SAFETY: A page of `gnttab_alloc_pages()` is valid and has an address.
        let frame = unsafe { PageFrame::new(page) }?;

        // INVARIANT: Nothing is mapped there.
        self.handles
            .push_within_capacity(INVALID_HANDLE)
            .map_err(|_| ENOSPC)?;

        // SAFETY: `self` is returned by `new()` only if there is a mapping at each frame, which is
        // removed by our destructor. Until then, nobody accesses the pages.
        //
        // INVARIANT: The page is ours from now on, and there is a handle for it.
        let pushed = unsafe { self.shared.push(frame) };
        if pushed.is_err() {
            self.handles.pop();
        }
        pushed.map(|()| frame.addr())
    }

    /// Unmaps and frees one batch of pages.
    ///
    /// A page for which that fails is lost: it can't be used for something else, since nobody knows
    /// what is behind it.
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
            // Not one that the hypervisor writes.
            op.status = 1;
            *page = frame.page().as_ptr();
            mapped += 1;
        }

        if mapped != 0 {
            let queue = unmap.0.get();

            // SAFETY:
            // - `unmap` is exclusively borrowed, and outlives the call, which returns when
            //   everything is done. So do `ops` and `pages`.
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

        // What is not mapped any more, or never was, can be freed.
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
            // SAFETY: These are pages of `gnttab_alloc_pages()` that we own and don't use any more,
            // and nothing is mapped there.
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

/// Returns whether a reference is there twice.
fn has_duplicates(refs: &[GrantRef]) -> bool {
    // Quadratic, but cheaper than mapping as many pages, for any number up to `MAX_PAGES`.
    refs.iter()
        .enumerate()
        .any(|(i, gref)| refs.iter().take(i).any(|other| other == gref))
}

/// Turns the status of a grant table operation into an error that tells whose fault it is.
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
