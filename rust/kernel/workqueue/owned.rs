// SPDX-License-Identifier: GPL-2.0

//! Work queues owned by a driver.
//!
//! The kernel's own queues ([`workqueue::system`] and others) outlive every module, so a module
//! that uses them needs another way to make sure that none of its work items is left when its code
//! goes away. The end of an [`OwnedQueue`] waits for all of its work. But a delayed work item keeps
//! its queue from ending: it has to be cancelled first, see [`enqueue_delayed`].
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
    bindings,
    container_of,
    impl_flags,
    prelude::*,
    sync::Arc,
    time::Jiffies, //
};

use core::ptr::NonNull;

impl_flags!(
    /// Properties of an [`OwnedQueue`].
    #[derive(Debug, Clone, Default, Copy, PartialEq, Eq)]
    pub struct WqFlags(u32);

    /// One property of an [`OwnedQueue`].
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum WqFlag {
        /// Work runs on any CPU, on worker threads that the scheduler places.
        Unbound = bindings::wq_flags_WQ_UNBOUND,

        /// Work runs on the CPU that it was queued on. The default unless [`WqFlag::Unbound`] is
        /// set.
        PerCpu = bindings::wq_flags_WQ_PERCPU,
    }
);

/// A work queue that is destroyed when it is dropped.
///
/// Dropping the queue executes all pending work, including work queued by that work, and waits for
/// it to finish. This may sleep, and must not happen in a work item of the same queue.
///
/// Delayed work items refer to a queue that is shared in an [`Arc`]. Dropping one reference waits
/// for nothing as long as there is such an item: see [`enqueue_delayed`].
///
/// # Invariants
///
/// `queue` points to a valid work queue that this object owns.
///
/// # Examples
///
/// ```
/// use kernel::{
///     sync::Arc,
///     workqueue::{
///         impl_has_work,
///         new_work,
///         owned::{
///             OwnedQueue,
///             WqFlag, //
///         },
///         Work,
///         WorkItem, //
///     }, //
/// };
///
/// #[pin_data]
/// struct Greeting {
///     #[pin]
///     work: Work<Greeting>,
/// }
///
/// impl_has_work! {
///     impl HasWork<Self> for Greeting { self.work }
/// }
///
/// impl WorkItem for Greeting {
///     type Pointer = Arc<Greeting>;
///
///     fn run(_this: Arc<Greeting>) {
///         pr_info!("executed before the queue is gone\n");
///     }
/// }
///
/// let greeting = pin_init!(Greeting {
///     work <- new_work!("Greeting::work"),
/// });
/// let queue = OwnedQueue::new(c"example", WqFlag::Unbound, 0)?;
///
/// let _ = queue.enqueue(Arc::pin_init(greeting, GFP_KERNEL)?);
/// drop(queue);
/// # Ok::<(), Error>(())
/// ```
pub struct OwnedQueue {
    queue: NonNull<bindings::workqueue_struct>,
}

impl OwnedQueue {
    /// Creates a queue.
    ///
    /// At most `max_active` work items are executed at a time (on each CPU, or in total for
    /// [`WqFlag::Unbound`]); 0 means the kernel's default. May sleep.
    pub fn new(name: &'static CStr, flags: impl Into<WqFlags>, max_active: u16) -> Result<Self> {
        let mut flags = flags.into();
        if !flags.contains(WqFlag::Unbound) {
            flags |= WqFlag::PerCpu;
        }

        // SAFETY: Both strings are NUL-terminated, and the only conversion in the format takes a
        // string.
        let queue = unsafe {
            bindings::alloc_workqueue_noprof(
                c"%s".as_char_ptr(),
                flags.into(),
                c_int::from(max_active),
                name.as_char_ptr(),
            )
        };

        // INVARIANT: The queue was just allocated, and nothing else refers to it.
        Ok(Self {
            queue: NonNull::new(queue).ok_or(ENOMEM)?,
        })
    }

    fn as_queue(&self) -> &Queue {
        // SAFETY: By the type invariants the work queue is valid. Only dropping `self` destroys it,
        // and `self` is borrowed as long as the result is in use.
        unsafe { Queue::from_raw(self.queue.as_ptr()) }
    }

    /// Enqueues a work item. See [`Queue::enqueue`]. Any context.
    pub fn enqueue<W, const ID: u64>(&self, item: W) -> W::EnqueueOutput
    where
        W: RawWorkItem<ID> + Send + 'static,
    {
        self.as_queue().enqueue(item)
    }

    /// Waits until all work that was queued before this call has been executed.
    ///
    /// May sleep; must not be called from a work item of this queue.
    pub fn flush(&self) {
        // SAFETY: By the type invariants, `queue` is a valid work queue.
        unsafe { bindings::__flush_workqueue(self.queue.as_ptr()) };
    }
}

/// An object that keeps the work queue alive that executes its delayed work.
pub trait OnQueue {
    /// Returns the queue.
    fn queue(&self) -> &Arc<OwnedQueue>;
}

/// Enqueues a delayed work item on the queue that it keeps alive. Returns the item as an error if
/// it is enqueued already. Any context.
///
/// Until the delay has passed, only the item's timer refers to the queue, and destroying the queue
/// would not wait for the item. Therefore the timer holds a reference to the item, and through it
/// to the queue.
///
/// The caller has to call [`cancel_delayed_sync`] when the item is not going to be enqueued any
/// more, and before it drops its own reference to the queue. Otherwise:
///
/// - The queue exists as long as the item is enqueued, possibly longer than the module whose code
///   the item executes.
/// - The item may drop the last reference to the queue while it runs. The queue would then wait for
///   the item, and the item for the queue.
pub fn enqueue_delayed<T, const ID: u64>(item: Arc<T>, delay: Jiffies) -> Result<(), Arc<T>>
where
    T: WorkItem<ID, Pointer = Arc<T>> + HasDelayedWork<T, ID> + OnQueue + Send + Sync + 'static,
{
    let queue: *const OwnedQueue = Arc::as_ptr(item.queue());

    // SAFETY: `item` refers to its queue for as long as it exists: `queue()` can't return a guard,
    // so the reference that it borrows from a shared object stays in place. The caller's reference
    // is moved into the work item, and is given up only after the item has been executed or was
    // taken back by `cancel_delayed_sync()`; if enqueueing fails, it is returned.
    let queue = unsafe { &*queue };
    queue.as_queue().enqueue_delayed::<Arc<T>, ID>(item, delay)
}

/// Cancels a pending delayed work item, and waits for the item if it is running.
///
/// Returns `true` if the item was cancelled; its reference has been dropped then. May sleep. Must
/// not be called from the work item itself, nor while another thread may enqueue it.
pub fn cancel_delayed_sync<T, const ID: u64>(item: &Arc<T>) -> bool
where
    T: WorkItem<ID, Pointer = Arc<T>> + HasDelayedWork<T, ID>,
{
    let ptr = Arc::as_ptr(item).cast_mut();

    // SAFETY: Pointers into an `Arc` point to a valid value.
    let work = unsafe { T::raw_get_work(ptr) };
    // SAFETY: `raw_get_work` returns a pointer to a valid value.
    let work = unsafe { Work::raw_get(work) };
    // SAFETY: By the requirements of `HasDelayedWork`, `work` is the field `work` of a
    // `delayed_work`.
    let dwork = unsafe { container_of!(work, bindings::delayed_work, work) };

    // SAFETY: `item` is valid, so its `delayed_work` is valid and was initialised with it.
    let was_pending = unsafe { bindings::cancel_delayed_work_sync(dwork) };
    if was_pending {
        // SAFETY: Enqueueing has handed the pointer of a reference to the work queue, and only this
        // function has taken it back.
        drop(unsafe { Arc::from_raw(ptr.cast_const()) });
    }
    was_pending
}

/// Cancels a pending work item, and waits for the item if it is running.
///
/// Returns `true` if the item was cancelled; its reference has been dropped then. May sleep. Must
/// not be called from the work item itself, nor while another thread may enqueue it: enqueueing
/// could fail then although the item is not queued. For an item with a delay there is
/// [`cancel_delayed_sync`]: this function would spin until the delay is over.
pub fn cancel_sync<T, const ID: u64>(item: &Arc<T>) -> bool
where
    T: WorkItem<ID, Pointer = Arc<T>> + HasWork<T, ID>,
{
    let ptr = Arc::as_ptr(item).cast_mut();

    // SAFETY: Pointers into an `Arc` point to a valid value.
    let work = unsafe { T::raw_get_work(ptr) };
    // SAFETY: `raw_get_work` returns a pointer to a valid value.
    let work = unsafe { Work::raw_get(work) };

    // SAFETY: `item` is valid, so its work item is valid and was initialised.
    let was_pending = unsafe { bindings::cancel_work_sync(work) };
    if was_pending {
        // SAFETY: Enqueueing has handed the pointer of a reference to the work queue, and only this
        // function has taken it back.
        drop(unsafe { Arc::from_raw(ptr.cast_const()) });
    }
    was_pending
}

impl Drop for OwnedQueue {
    fn drop(&mut self) {
        // SAFETY: By the type invariants, the queue is valid and ours to destroy.
        // `destroy_workqueue()` drains it first.
        unsafe { bindings::destroy_workqueue(self.queue.as_ptr()) };
    }
}

// SAFETY: A work queue may be used and destroyed by any thread.
unsafe impl Send for OwnedQueue {}

// SAFETY: The functions that take a shared reference can be called concurrently: work queues have
// their own locks.
unsafe impl Sync for OwnedQueue {}
