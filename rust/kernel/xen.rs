// SPDX-License-Identifier: GPL-2.0

//! Xen paravirtual device drivers.
//!
//! A Xen device has two ends, each a driver in a domain (virtual machine) of its own: the frontend
//! offers the device to its guest, the backend does the work. They find each other and negotiate
//! through xenstore ([`xenbus`]), share memory that the frontend grants ([`grant`], [`shared`],
//! [`ring`]) and wake each other up with event channels ([`event`]).
//!
//! # Trust
//!
//! Neither end may trust the other. The abstractions below this module protect an end as follows:
//!
//! - Memory that the peer can write is never visible as `&[u8]` or `&mut [u8]`. Callers copy it in
//!   and out, or access it one atomic word at a time.
//! - Indexes that the peer writes are checked against private copies before use.
//! - Memory that the peer may still have mapped is never given back to the page allocator.
//! - Strings from xenstore are bounded, and numbers in them are parsed strictly.
//!
//! C header: [`include/xen/xen.h`](srctree/include/xen/xen.h)

pub mod event;
pub mod grant;
pub mod ring;
pub mod shared;
#[cfg(CONFIG_RUST_SOCKET_ABSTRACTIONS)]
pub mod trace;
pub mod xenbus;

use crate::{
    bindings,
    fmt, //
};

/// The page size of Xen, and so the size of what a grant gives access to. The same on all machines;
/// the size of the kernel's own pages is a multiple of it.
pub const XEN_PAGE_SIZE: usize = 1 << bindings::XEN_PAGE_SHIFT;

/// A domain ID.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DomId(u16);

impl DomId {
    /// The domain ID that no domain has.
    const INVALID: Self = Self(bindings::DOMID_INVALID as u16);

    /// Creates a domain ID from a number.
    #[inline]
    pub const fn new(id: u16) -> Self {
        Self(id)
    }

    /// Returns the domain ID as a number.
    #[inline]
    pub const fn as_raw(self) -> u16 {
        self.0
    }
}

impl fmt::Display for DomId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A grant reference: names a page of one domain that another domain may map.
///
/// A grant reference received from the peer is an unchecked number until [`grant::MappedPages`] has
/// mapped it.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GrantRef(u32);

impl GrantRef {
    /// Creates a grant reference from a number.
    #[inline]
    pub const fn new(gref: u32) -> Self {
        Self(gref)
    }

    /// Returns the number that is sent to the peer.
    #[inline]
    pub const fn as_raw(self) -> u32 {
        self.0
    }
}

impl fmt::Display for GrantRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// An event channel port: the number of an event channel in one of its two domains.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Port(u32);

impl Port {
    /// Creates a port from a number.
    #[inline]
    pub const fn new(port: u32) -> Self {
        Self(port)
    }

    /// Returns the number that is sent to the peer.
    #[inline]
    pub const fn as_raw(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Returns `true` if this kernel runs in a Xen domain of any type.
///
/// Without Xen nothing below this module may be used, and driver registration fails with
/// [`ENODEV`].
///
/// May be called from any context.
///
/// # Examples
///
/// ```
/// use kernel::xen::{
///     grant::{
///         max_grants,
///         GrantedPages, //
///     },
///     is_domain,
///     DomId, //
/// };
///
/// // Without Xen there is nobody to share memory with.
/// let pages = GrantedPages::new(DomId::new(0), 1, GFP_KERNEL);
/// assert_eq!(max_grants() > 0, is_domain());
/// assert!(is_domain() || pages.is_err());
/// ```
///
/// [`ENODEV`]: crate::error::code::ENODEV
#[inline]
pub fn is_domain() -> bool {
    // SAFETY: `xen_domain()` only reads a variable that never changes after early boot.
    unsafe { bindings::xen_domain() }
}
