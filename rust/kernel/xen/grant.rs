// SPDX-License-Identifier: GPL-2.0

//! Grants: pages that one domain lets another domain map.
//!
//! [`GrantedPages`] is our own memory that the peer may map. [`MappedPages`] is the peer's memory
//! that we have mapped. Both dereference to `SharedPages`.
//!
//! C header: [`include/xen/grant_table.h`](srctree/include/xen/grant_table.h)

mod granted;
mod mapped;

pub use self::{
    granted::GrantedPages,
    mapped::MappedPages, //
};

use super::{
    is_domain,
    XEN_PAGE_SIZE, //
};

use crate::bindings;

/// Maximum number of pages of [`XEN_PAGE_SIZE`] that can be granted or mapped as one run: 4 MiB.
pub const MAX_PAGES: usize = 1024;

/// Returns the hypervisor's limit on the number of this domain's grants, or 0 without Xen. Any
/// context.
///
/// All drivers of the domain share this limit.
pub fn max_grants() -> usize {
    if !is_domain() {
        return 0;
    }
    // SAFETY: This is a Xen domain, so there is a hypervisor to ask.
    let frames = unsafe { bindings::gnttab_max_grant_frames() } as usize;
    // CAST: A small number. Version 2 of the grant table has larger entries. Linux uses it only if
    // the addresses require it, and then this result is merely an upper limit.
    frames.saturating_mul(XEN_PAGE_SIZE / size_of::<bindings::grant_entry_v1>())
}
