// SPDX-License-Identifier: GPL-2.0

//! Network namespaces.
//!
//! C header: [`include/net/net_namespace.h`](srctree/include/net/net_namespace.h)

use crate::{
    bindings,
    sync::aref::{
        ARef,
        AlwaysRefCounted, //
    },
    types::Opaque, //
};

use core::ptr::NonNull;

/// A network namespace. Thread safe.
///
/// Wraps the kernel's `struct net`. As long as there is a reference to it the namespace is alive:
/// sockets can be created in it, and its devices and routes remain.
///
/// # Invariants
///
/// The reference count of the namespace (not just the passive one, which keeps no more than the
/// memory) is not zero for as long as an object of this type can be reached.
///
/// # Examples
///
/// ```
/// use kernel::{
///     net::namespace::Namespace,
///     sync::aref::ARef, //
/// };
///
/// let net: ARef<Namespace> = Namespace::init().into();
/// assert!(*net == *Namespace::init());
/// ```
#[repr(transparent)]
pub struct Namespace(Opaque<bindings::net>);

impl Namespace {
    /// Returns the initial network namespace, which always exists.
    #[inline]
    pub fn init() -> &'static Self {
        // SAFETY: The initial namespace is a static object whose reference count never drops to
        // zero.
        unsafe { Self::from_raw(&raw mut bindings::init_net) }
    }

    /// Creates a reference to a [`Namespace`] from a valid pointer.
    ///
    /// # Safety
    ///
    /// `ptr` must point to a valid `struct net` whose reference count is not zero, and remains so
    /// for the duration of `'a`.
    #[inline]
    pub unsafe fn from_raw<'a>(ptr: *mut bindings::net) -> &'a Self {
        // SAFETY: The safety requirements guarantee that the pointer is valid, and `Self` has the
        // same layout.
        unsafe { &*ptr.cast() }
    }

    /// Takes a reference to a namespace that may be on its way out.
    ///
    /// Returns [`None`] if it is.
    ///
    /// # Safety
    ///
    /// `ptr` must point to a `struct net` whose memory is valid during this call.
    #[inline]
    pub(crate) unsafe fn try_get(ptr: *mut bindings::net) -> Option<ARef<Self>> {
        // SAFETY: The pointer is valid by the safety requirements.
        let net = NonNull::new(unsafe { bindings::maybe_get_net(ptr) })?;

        // SAFETY: `maybe_get_net` has taken a reference for us, which the result owns from here
        // on.
        Some(unsafe { ARef::from_raw(net.cast()) })
    }

    /// Returns the raw `struct net`.
    #[inline]
    pub fn as_raw(&self) -> *mut bindings::net {
        self.0.get()
    }
}

impl PartialEq for Namespace {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        core::ptr::eq(self, other)
    }
}

impl Eq for Namespace {}

// SAFETY: The reference count of `struct net` is what `get_net` and `put_net` work on, and the type
// invariants guarantee that it is not zero while there is a reference.
unsafe impl AlwaysRefCounted for Namespace {
    #[inline]
    fn inc_ref(&self) {
        // SAFETY: The existence of a shared reference means that the reference count is not zero.
        unsafe { bindings::get_net(self.as_raw()) };
    }

    #[inline]
    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: The safety requirements guarantee that the reference count is not zero and that
        // one reference is ours to give up. This may be called from any context: the last
        // reference leaves the cleanup to a work queue.
        unsafe { bindings::put_net(obj.cast().as_ptr()) };
    }
}

// SAFETY: `Namespace::dec_ref` can be called from any thread.
unsafe impl Send for Namespace {}

// SAFETY: A shared reference gives access to the reference count and to nothing else.
unsafe impl Sync for Namespace {}
