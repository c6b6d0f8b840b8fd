// SPDX-License-Identifier: GPL-2.0

//! Our own memory, granted to the peer.

use super::MAX_PAGES;

use crate::{
    alloc::{
        flags::{
            GFP_KERNEL_ACCOUNT,
            __GFP_NOWARN,
            __GFP_ZERO, //
        },
        Flags, //
    },
    bindings,
    error::to_result,
    prelude::*,
    sync::atomic::{
        AtomicFlag,
        Full, //
    },
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
    ptr::NonNull, //
};

/// Makes an allocation fail rather than invoke the OOM killer. [`crate::alloc::flags`] has no such
/// flag.
const __GFP_NORETRY: bindings::gfp_t = 1 << bindings::___GFP_NORETRY_BIT;

/// Pages of ours that another domain may map, for reading and writing.
///
/// The pages are zeroed, and allocated one by one so that each can be freed by itself (see
/// XSA-396): if the peer still has a page mapped when access is revoked, that page goes back to the
/// page allocator only once the peer has unmapped it, however long that takes.
///
/// This is a safety net and not the usual way: the grant table code checks such pages once a
/// second, by default ten of them at a time (module parameter `grant_table.free_per_iteration`). If
/// the protocol has a message for it, wait until the peer has unmapped the pages.
///
/// Where the kernel's pages are larger than Xen's, one of the kernel's is allocated for several of
/// Xen's. It has a grant for each of those, and is freed after the last. Nothing else is ever in
/// it, even if the run does not fill it, so the peer never sees other data of this kernel.
///
/// Dropping this calls [`GrantedPages::revoke`], whose context rules apply, and frees the pages and
/// their lists. The lists of many pages may be in memory of `vmalloc()`, and freeing that may sleep
/// except in an interrupt. So drop this in process context without a spin lock.
///
/// # Invariants
///
/// - `shared` consists of the frames of order-0 pages from the page allocator. Of each page it has
///   the first frame, and we own a reference to each page.
/// - `refs` is not longer than `shared`. Unless `revoked` is set, each entry of `refs` is an active
///   grant of the frame at the same index, and we own that grant.
///
/// # Examples
///
/// ```
/// use kernel::xen::{
///     grant::GrantedPages,
///     DomId, //
/// };
///
/// # fn example() -> Result {
/// let pages = GrantedPages::new(DomId::new(0), 2, GFP_KERNEL)?;
///
/// pages.write(4094, b"over the edge")?;
/// for gref in pages.refs() {
///     pr_info!("Tell the peer: {gref}\n");
/// }
/// # Ok(())
/// # }
/// ```
pub struct GrantedPages {
    shared: SharedPages,
    refs: KVVec<GrantRef>,
    revoked: AtomicFlag,
}

impl GrantedPages {
    /// Allocates `pages` pages of Xen's and grants `to` access to them.
    ///
    /// Fails with [`EINVAL`] if `pages` is 0 or above [`MAX_PAGES`], with [`ENOSPC`] if the grant
    /// table is full, with [`ENODEV`] without Xen, and with [`ENOMEM`].
    ///
    /// May be called from any context that `flags` allow.
    pub fn new(to: DomId, pages: usize, flags: Flags) -> Result<Self> {
        Self::allocate(to, pages, flags, flags.as_raw())
    }

    /// Like [`GrantedPages::new`] with [`GFP_KERNEL_ACCOUNT`], for optional pages. May sleep.
    ///
    /// If memory is short in the domain or in the memory cgroup, fails with [`ENOMEM`] without
    /// killing a process.
    ///
    /// [`GFP_KERNEL_ACCOUNT`]: crate::alloc::flags::GFP_KERNEL_ACCOUNT
    pub fn new_optional(to: DomId, pages: usize) -> Result<Self> {
        let gfp = GFP_KERNEL_ACCOUNT.as_raw() | __GFP_NORETRY | __GFP_NOWARN.as_raw();
        // The lists of pages and references are small, and are not charged to the memory cgroup.
        Self::allocate(to, pages, GFP_KERNEL, gfp)
    }

    /// Allocates pages with `gfp` and the lists of pages with `flags`, and grants `to` access.
    fn allocate(to: DomId, pages: usize, flags: Flags, gfp: bindings::gfp_t) -> Result<Self> {
        if pages == 0 || pages > MAX_PAGES {
            return Err(EINVAL);
        }
        if !is_domain() {
            return Err(ENODEV);
        }

        // INVARIANT: There are neither pages nor grants. `this` owns everything allocated from here
        // on, and its destructor releases that when a step fails.
        let mut this = Self {
            shared: SharedPages::with_capacity(pages, flags)?,
            refs: KVVec::with_capacity(pages, flags)?,
            revoked: AtomicFlag::new(false),
        };

        while this.shared.frames().len() < pages {
            this.push_page(pages, gfp)?;
        }
        this.grant(to)?;
        Ok(this)
    }

    /// Allocates one more page of the kernel's and appends its frames, until there are `most`.
    fn push_page(&mut self, most: usize, gfp: bindings::gfp_t) -> Result {
        // SAFETY: Depending on the flags, this may be called from any context.
        let page = unsafe { bindings::alloc_pages(gfp | __GFP_ZERO.as_raw(), 0) };
        let page = NonNull::new(page).ok_or(ENOMEM)?;

        // SAFETY: `page` is valid. It is not in high memory, since no caller asks for high memory;
        // if one did, `PageFrame::new()` would fail.
        let first = unsafe { PageFrame::new(page) }.and_then(|frame| {
            // SAFETY: We own the page and access it only through `shared`. Our destructor frees it
            // together with `shared`.
            //
            // INVARIANT: We own the reference that `alloc_pages()` returned.
            unsafe { self.shared.push(frame) }.map(|()| frame)
        });

        let Ok(mut frame) = first else {
            // SAFETY: We own a reference to `page`, and nothing else refers to it.
            unsafe { bindings::__free_pages(page.as_ptr(), 0) };
            return first.map(|_| ());
        };
        while self.shared.frames().len() < most {
            let Some(next) = frame.next() else {
                break;
            };
            // SAFETY: As for the first frame: this one is in the same page.
            unsafe { self.shared.push(next) }?;
            frame = next;
        }
        Ok(())
    }

    /// Grants access to all pages.
    fn grant(&mut self, to: DomId) -> Result {
        let mut head: bindings::grant_ref_t = 0;

        // CAST: At most `MAX_PAGES`, which fits in a `u16`.
        let count = self.shared.frames().len() as u16;

        // SAFETY: `head` is valid for writing.
        to_result(unsafe { bindings::gnttab_alloc_grant_references(count, &mut head) })?;

        for frame in self.shared.frames() {
            // SAFETY: We own the list of references `head`, which has as many references left as
            // there are frames left.
            let gref = unsafe { bindings::gnttab_claim_grant_reference(&mut head) };

            // These errors can't happen: there are as many references, and as much room, as frames.
            let Ok(gref) = u32::try_from(gref) else {
                return Err(ENOSPC);
            };
            // INVARIANT: We own the reference, and turn it into a grant of the frame below.
            if self.refs.push_within_capacity(GrantRef(gref)).is_err() {
                // SAFETY: We own the reference and the rest of the list, and none of them is in
                // use.
                unsafe {
                    bindings::gnttab_free_grant_reference(gref);
                    bindings::gnttab_free_grant_references(head);
                }
                return Err(ENOSPC);
            }

            // SAFETY: By its type invariant, `frame` has an address in the linear mapping.
            let gfn = unsafe { bindings::virt_to_gfn(frame.addr().as_ptr().cast()) };
            // SAFETY: We own the reference, it is not in use yet, and by the type invariant, the
            // frame is part of a page that we own.
            unsafe { bindings::gnttab_grant_foreign_access_ref(gref, to.as_raw(), gfn, 0) };
        }
        Ok(())
    }

    /// Returns the grant references of the pages, in order.
    #[inline]
    pub fn refs(&self) -> &[GrantRef] {
        &self.refs
    }

    /// Revokes the peer's access: the peer can't map the pages any more.
    ///
    /// Access to a page that the peer has mapped ends when the peer unmaps it. The memory stays
    /// valid for us until `self` is dropped. A second call does nothing, and does not wait for the
    /// first.
    ///
    /// Doesn't sleep in atomic context. Don't hold a spin lock: the grant table code allocates
    /// memory for a page that is still mapped, and can't detect spin locks in kernels built without
    /// `CONFIG_PREEMPT_COUNT`.
    pub fn revoke(&self) {
        if self.revoked.xchg(true, Full) {
            return;
        }

        for (gref, frame) in self.refs.iter().zip(self.shared.frames()) {
            let page = frame.page().as_ptr();

            // SAFETY:
            // - We own a reference to the page, so we can take another reference and give it away.
            // - By the type invariant, we own the active grant of this frame, and `revoked` shows
            //   that we give the grant away for the first time.
            unsafe {
                bindings::get_page(page);
                bindings::gnttab_end_foreign_access(gref.as_raw(), page);
            }
        }
    }
}

impl Deref for GrantedPages {
    type Target = SharedPages;

    #[inline]
    fn deref(&self) -> &SharedPages {
        &self.shared
    }
}

impl Drop for GrantedPages {
    fn drop(&mut self) {
        self.revoke();

        for frame in self.shared.frames().iter().filter(|frame| frame.is_first()) {
            // SAFETY: By the type invariant, we own a reference to the page, and `shared` has its
            // first frame once. Our mapping of the page is not used any more. For each grant that
            // the peer still uses, there is one more reference, taken in `revoke()`.
            unsafe { bindings::__free_pages(frame.page().as_ptr(), 0) };
        }
    }
}
