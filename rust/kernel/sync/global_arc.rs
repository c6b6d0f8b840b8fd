// SPDX-License-Identifier: GPL-2.0

//! A place in a static for a shared object that comes and goes.

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

/// Holds at most one [`Arc`], and hands out further references to it.
///
/// Meant for statics of a module: entry points that are not given any data, such as the `probe` of
/// a bus or the `create` of a protocol family, find the module's current object here. The owner
/// must [`take`](Self::take) the object before the module goes, as statics are not dropped.
///
/// # Invariants
///
/// `ptr` is null or came from [`Arc::into_raw`], and that reference is owned by the slot. It is
/// given up only an RCU grace period after `ptr` has ceased to hold it.
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
// sharing `Arc<T>` needs.
unsafe impl<T: Send + Sync> Sync for GlobalArc<T> {}

impl<T> GlobalArc<T> {
    /// An empty slot.
    pub const fn new() -> Self {
        // INVARIANT: The slot is empty.
        Self {
            ptr: Atomic::new(core::ptr::null_mut()),
            _owns: PhantomData,
        }
    }

    /// A further reference to the object, if there is one. Callable in any context.
    pub fn get(&self) -> Option<Arc<T>> {
        let _guard = rcu::read_lock();
        let ptr = NonNull::new(self.ptr.load(Acquire))?;

        // SAFETY: By the type invariant `ptr` came from `Arc::into_raw`, and the slot's reference
        // outlives this read-side critical section.
        let object = unsafe { ArcBorrow::from_raw(ptr.as_ptr().cast_const()) };
        Some(object.into())
    }

    /// Puts an object in, and drops the previous one. May sleep.
    pub fn set(&self, object: Arc<T>) {
        drop(self.replace(Arc::into_raw(object).cast_mut()));
    }

    /// Takes the object out. May sleep.
    pub fn take(&self) -> Option<Arc<T>> {
        self.replace(core::ptr::null_mut())
    }

    /// Takes the object out if it is this one. May sleep.
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
        // SAFETY: By the type invariant this is a reference from `Arc::into_raw` that the slot
        // owned. It left the slot a grace period ago, so that it is ours alone.
        Some(unsafe { Arc::from_raw(old.as_ptr().cast_const()) })
    }
}

impl<T> Default for GlobalArc<T> {
    fn default() -> Self {
        Self::new()
    }
}
