// SPDX-License-Identifier: GPL-2.0

//! Work queues that belong to a driver.
//!
//! The queues that the kernel always has ([`workqueue::system`] and others) outlive every module, so
//! whoever uses them must find another way to know that no work item of its own is left when its
//! code goes away. A queue of one's own gives that: dropping it waits for all of its work.
//!
//! C header: [`include/linux/workqueue.h`](srctree/include/linux/workqueue.h)
//!
//! [`workqueue::system`]: crate::workqueue::system

use super::{
    HasDelayedWork,
    HasWork,
    Queue,
    RawWorkItem,
    Work,
    WorkItem, //
};

use crate::{
    alloc::{
        AllocError,
        Flags, //
    },
    bindings,
    container_of,
    impl_flags,
    prelude::*,
    sync::Arc,
    time::Jiffies, //
};

use core::ptr::NonNull;

impl_flags!(
    /// How the work items of an [`OwnedQueue`] are executed.
    #[derive(Debug, Clone, Default, Copy, PartialEq, Eq)]
    pub struct WqFlags(u32);

    /// One property of an [`OwnedQueue`].
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum WqFlag {
        /// Work runs on any CPU, on worker threads that the scheduler places.
        Unbound = bindings::wq_flags_WQ_UNBOUND,

        /// Work runs on the CPU that it was queued on. Taken for granted unless
        /// [`WqFlag::Unbound`] is given.
        PerCpu = bindings::wq_flags_WQ_PERCPU,

        /// Workers are frozen while the system is being suspended.
        Freezable = bindings::wq_flags_WQ_FREEZABLE,

        /// At least one work item makes progress however scarce memory is.
        MemReclaim = bindings::wq_flags_WQ_MEM_RECLAIM,

        /// Work runs on the workers with high priority.
        HighPri = bindings::wq_flags_WQ_HIGHPRI,

        /// Work of a per-CPU queue that takes long does not hold up other work.
        CpuIntensive = bindings::wq_flags_WQ_CPU_INTENSIVE,

        /// The queue can be seen and tuned in sysfs.
        Sysfs = bindings::wq_flags_WQ_SYSFS,
    }
);

/// A work queue that is destroyed when it is dropped.
///
/// Dropping it executes all work that is pending and waits for its end; it may sleep, and must not
/// happen from a work item of the same queue. Work that is queued by that work is executed as
/// well. A delayed work item keeps its queue alive: see [`enqueue_delayed`].
///
/// # Invariants
///
/// `queue` points to a valid work queue that belongs to this object.
///
/// # Examples
///
/// ```
/// use kernel::workqueue::owned::{
///     OwnedQueue,
///     WqFlag, //
/// };
///
/// let queue = OwnedQueue::new(c"example", WqFlag::Unbound | WqFlag::MemReclaim, 0)?;
///
/// queue.try_spawn(GFP_KERNEL, || pr_info!("executed before the queue is gone\n"))?;
/// drop(queue);
/// # Ok::<(), Error>(())
/// ```
pub struct OwnedQueue {
    queue: NonNull<bindings::workqueue_struct>,
}

impl OwnedQueue {
    /// Creates a queue.
    ///
    /// No more than `max_active` of its work items are executed at a time (on each CPU, or in all
    /// for [`WqFlag::Unbound`]); zero means the kernel's default. May sleep.
    pub fn new(name: &'static CStr, flags: impl Into<WqFlags>, max_active: u16) -> Result<Self> {
        let mut flags = flags.into();
        if !flags.contains(WqFlag::Unbound) {
            flags |= WqFlag::PerCpu;
        }

        // SAFETY: Both strings are nul-terminated, and the only conversion in the format takes a
        // string.
        let queue = unsafe {
            bindings::alloc_workqueue_noprof(
                c"%s".as_char_ptr(),
                flags.into(),
                c_int::from(max_active),
                name.as_char_ptr(),
            )
        };

        // INVARIANT: The queue was just allocated and nobody else knows of it.
        Ok(Self {
            queue: NonNull::new(queue).ok_or(ENOMEM)?,
        })
    }

    fn as_queue(&self) -> &Queue {
        // SAFETY: By the type invariants the work queue is valid, and it is destroyed in no other
        // way than by dropping `self`, which is borrowed for as long as the result is in use.
        unsafe { Queue::from_raw(self.queue.as_ptr()) }
    }

    /// Enqueues a work item, see [`Queue::enqueue`]. Any context.
    pub fn enqueue<W, const ID: u64>(&self, item: W) -> W::EnqueueOutput
    where
        W: RawWorkItem<ID> + Send + 'static,
    {
        self.as_queue().enqueue(item)
    }

    /// Has a function executed as a work item, see [`Queue::try_spawn`].
    pub fn try_spawn<T: 'static + Send + FnOnce()>(
        &self,
        flags: Flags,
        func: T,
    ) -> Result<(), AllocError> {
        self.as_queue().try_spawn(flags, func)
    }

    /// Waits until all work that was queued before this call has been executed.
    ///
    /// May sleep; must not be called from a work item of this queue.
    pub fn flush(&self) {
        // SAFETY: By the type invariants this is a valid work queue.
        unsafe { bindings::__flush_workqueue(self.queue.as_ptr()) };
    }
}

/// An object that keeps a work queue alive: the one on which its delayed work is executed.
pub trait OnQueue {
    /// Returns the queue.
    fn queue(&self) -> &Arc<OwnedQueue>;
}

/// Enqueues a delayed work item on the queue that it keeps alive; gives it back if it is enqueued
/// already. Any context.
///
/// While the time of the item has not come, nothing but its timer knows of the queue, so that
/// destroying it would not wait for the item. The timer has a reference to the item, and thereby to
/// the queue.
pub fn enqueue_delayed<T, const ID: u64>(item: Arc<T>, delay: Jiffies) -> Result<(), Arc<T>>
where
    T: WorkItem<ID, Pointer = Arc<T>> + HasDelayedWork<T, ID> + OnQueue + Send + Sync + 'static,
{
    let queue: *const OwnedQueue = Arc::as_ptr(item.queue());

    // SAFETY: `item` refers to its queue for as long as it exists: `queue()` has no guard to return,
    // so that what it borrows from an object that is shared stays in place. The caller's reference
    // is moved into the work item, and is given up only when it was executed, or was taken back by
    // `cancel_delayed_sync()`; if enqueueing fails, it is returned.
    let queue = unsafe { &*queue };
    queue.as_queue().enqueue_delayed::<Arc<T>, ID>(item, delay)
}

/// Takes a delayed work item back whose time has not come, and waits for it if it is running.
///
/// Returns whether it was taken back, in which case its reference was dropped. May sleep; must not be
/// called from the work item itself, nor while it may be enqueued by somebody else.
pub fn cancel_delayed_sync<T, const ID: u64>(item: &Arc<T>) -> bool
where
    T: WorkItem<ID, Pointer = Arc<T>> + HasDelayedWork<T, ID>,
{
    let ptr = Arc::as_ptr(item).cast_mut();

    // SAFETY: Pointers into an `Arc` point at a valid value.
    let work = unsafe { T::raw_get_work(ptr) };
    // SAFETY: `raw_get_work` returns a pointer to a valid value.
    let work = unsafe { Work::raw_get(work) };
    // SAFETY: By the requirements of `HasDelayedWork`, the item is the field of that name of a
    // `delayed_work`.
    let dwork = unsafe { container_of!(work, bindings::delayed_work, work) };

    // SAFETY: The `delayed_work` is valid, since `item` is, and was initialised with it.
    let was_pending = unsafe { bindings::cancel_delayed_work_sync(dwork) };
    if was_pending {
        // SAFETY: Enqueueing has put the pointer of a reference into the hands of the work queue,
        // and nobody but us has taken it back.
        drop(unsafe { Arc::from_raw(ptr.cast_const()) });
    }
    was_pending
}

/// Takes a work item back that has not begun, and waits for it if it is running.
///
/// Returns whether it was taken back, in which case its reference was dropped. May sleep; must not be
/// called from the work item itself. Who may enqueue it meanwhile will find it enqueued afterwards.
pub fn cancel_sync<T, const ID: u64>(item: &Arc<T>) -> bool
where
    T: WorkItem<ID, Pointer = Arc<T>> + HasWork<T, ID>,
{
    let ptr = Arc::as_ptr(item).cast_mut();

    // SAFETY: Pointers into an `Arc` point at a valid value.
    let work = unsafe { T::raw_get_work(ptr) };
    // SAFETY: `raw_get_work` returns a pointer to a valid value.
    let work = unsafe { Work::raw_get(work) };

    // SAFETY: The work item is valid and was initialised, since `item` is.
    let was_pending = unsafe { bindings::cancel_work_sync(work) };
    if was_pending {
        // SAFETY: Enqueueing has put the pointer of a reference into the hands of the work queue,
        // and nobody but us has taken it back.
        drop(unsafe { Arc::from_raw(ptr.cast_const()) });
    }
    was_pending
}

impl Drop for OwnedQueue {
    fn drop(&mut self) {
        // SAFETY: By the type invariants the queue is valid and ours to destroy. This function
        // drains it first.
        unsafe { bindings::destroy_workqueue(self.queue.as_ptr()) };
    }
}

// SAFETY: A work queue may be used and destroyed by any thread.
unsafe impl Send for OwnedQueue {}

// SAFETY: The functions that take a shared reference can be called concurrently: work queues have
// locks of their own.
unsafe impl Sync for OwnedQueue {}
