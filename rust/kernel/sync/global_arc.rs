// SPDX-License-Identifier: GPL-2.0

//! A slot in a static for a reference-counted object that comes and goes.

use super::{
    atomic::{
        Acquire,
        Atomic,
        Full, //
    },
    rcu,
    Arc,
    ArcBorrow, //
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

/// A slot for at most one [`Arc`], which returns further references to its object.
///
/// Meant for statics of a module: entry points without a context argument, such as the `probe` of a
/// bus or the `create` of a protocol family, find the module's current object here. The owner must
/// [`take`](Self::take) the object before the module is unloaded, since statics are not dropped.
///
/// # Invariants
///
/// `ptr` is null or comes from [`Arc::into_raw`], and the slot owns that reference. The slot gives
/// the reference up only an RCU grace period after it has removed the pointer from `ptr`.
///
/// # Examples
///
/// ```
/// use kernel::sync::{Arc, GlobalArc};
///
/// static CURRENT: GlobalArc<u32> = GlobalArc::new();
///
/// assert!(CURRENT.get().is_none());
/// CURRENT.set(Arc::new(5, GFP_KERNEL)?);
/// assert_eq!(CURRENT.get().map(|x| *x), Some(5));
/// drop(CURRENT.take());
/// assert!(CURRENT.get().is_none());
/// # Ok::<(), Error>(())
/// ```
pub struct GlobalArc<T> {
    ptr: Atomic<*mut T>,
    _owns: PhantomData<Arc<T>>,
}

// SAFETY: The slot is an `Arc<T>` that any thread may clone or take, which needs what sending and
// sharing an `Arc<T>` needs.
unsafe impl<T: Send + Sync> Sync for GlobalArc<T> {}

impl<T> GlobalArc<T> {
    /// Creates an empty slot.
    pub const fn new() -> Self {
        // INVARIANT: The slot is empty.
        Self {
            ptr: Atomic::new(core::ptr::null_mut()),
            _owns: PhantomData,
        }
    }

    /// Returns a new reference to the object, or [`None`] if the slot is empty. Any context.
    pub fn get(&self) -> Option<Arc<T>> {
        let _guard = rcu::read_lock();
        let ptr = NonNull::new(self.ptr.load(Acquire))?;

        // SAFETY: By the type invariant, `ptr` comes from `Arc::into_raw`, and the slot's reference
        // outlives this read-side critical section.
        let object = unsafe { ArcBorrow::from_raw(ptr.as_ptr().cast_const()) };
        Some(object.into())
    }

    /// Stores an object and drops the previous one. May sleep.
    pub fn set(&self, object: Arc<T>) {
        drop(self.replace(Arc::into_raw(object).cast_mut()));
    }

    /// Takes the object out. May sleep.
    pub fn take(&self) -> Option<Arc<T>> {
        self.replace(core::ptr::null_mut())
    }

    /// Takes the object out if it is `object`. May sleep.
    pub fn take_if(&self, object: &Arc<T>) -> Option<Arc<T>> {
        let ptr = Arc::as_ptr(object).cast_mut();

        self.ptr.cmpxchg(ptr, core::ptr::null_mut(), Full).ok()?;
        rcu::synchronize_rcu();
        // SAFETY: As in `replace`.
        Some(unsafe { Arc::from_raw(ptr) })
    }

    fn replace(&self, new: *mut T) -> Option<Arc<T>> {
        // INVARIANT: `new` is null or comes from `Arc::into_raw`, see the callers.
        let old = NonNull::new(self.ptr.xchg(new, Full))?;

        rcu::synchronize_rcu();
        // SAFETY: By the type invariant, `old` is a reference from `Arc::into_raw` that the slot
        // owned. The slot has not held it for a grace period, so the reference is ours alone.
        Some(unsafe { Arc::from_raw(old.as_ptr().cast_const()) })
    }
}

impl<T> Default for GlobalArc<T> {
    fn default() -> Self {
        Self::new()
    }
}
