// SPDX-License-Identifier: GPL-2.0

//! Grants: pages that one domain lets another map.
//!
//! [`GrantedPages`] is our memory that the peer may map, [`MappedPages`] is the peer's memory that
//! we have mapped. Both are [`SharedPages`].
//!
//! C header: [`include/xen/grant_table.h`](srctree/include/xen/grant_table.h)

mod granted;
mod mapped;

pub use self::{
    granted::GrantedPages,
    mapped::MappedPages, //
};

use super::is_domain;

use crate::{
    bindings,
    page::PAGE_SIZE, //
};

/// The most pages that can be granted or mapped as one run: 4 MiB.
pub const MAX_PAGES: usize = 1024;

/// Returns how many grants this domain can have in all, the hypervisor's limit; none without Xen. Any
/// context.
///
/// Every driver of the domain draws on them.
pub fn max_grants() -> usize {
    if !is_domain() {
        return 0;
    }
    // SAFETY: There is a hypervisor to be asked.
    let frames = unsafe { bindings::gnttab_max_grant_frames() } as usize;
    // CAST: Small. Version 2 of the table has larger entries; Linux takes it only where addresses
    // ask for it, and there this is no more than an upper limit.
    frames.saturating_mul(PAGE_SIZE / size_of::<bindings::grant_entry_v1>())
}
