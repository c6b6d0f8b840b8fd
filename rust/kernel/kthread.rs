// SPDX-License-Identifier: GPL-2.0

//! Kernel threads.
//!
//! C header: [`include/linux/kthread.h`](srctree/include/linux/kthread.h)

use crate::{
    bindings,
    error::{
        from_err_ptr,
        to_result, //
    },
    prelude::*,
    sync::{
        Arc,
        ArcBorrow, //
    },
    types::NotThreadSafe, //
};

use core::ptr::NonNull;

/// The code of a thread.
pub trait ThreadBody: Send + Sync + 'static {
    /// Runs in the thread, once. Has to return when [`IdleContext::should_stop`] is true.
    fn run(this: ArcBorrow<'_, Self>, thread: &IdleContext);
}

/// A kernel thread for work that matters less than any other (`SCHED_IDLE`).
///
/// The scheduler gives it a CPU that has nothing else to do. Beside other tasks it gets a small
/// share of the CPU, about 3 to 1024 of a task with default priority, and a task that wakes up
/// preempts it. So such a thread must not hold a lock that others wait for while it can be
/// preempted. Dropping it waits for the end of the thread.
///
/// # Invariants
///
/// - `task` is a kernel thread, and we own a reference to it.
/// - It was created with `run::<T>` and the address of `_body`. Only [`Drop`] stops it.
pub struct IdleThread<T: ThreadBody> {
    task: NonNull<bindings::task_struct>,
    _body: Arc<T>,
}

impl<T: ThreadBody> IdleThread<T> {
    /// Starts a thread of this name. May sleep.
    pub fn new(name: &CStr, body: Arc<T>) -> Result<Self> {
        // SAFETY:
        // - The only conversion in the format takes a string.
        // - `run::<T>` gets the address of `body`, which we keep until the thread has ended.
        let task = from_err_ptr(unsafe {
            bindings::kthread_create_on_node(
                Some(run::<T>),
                Arc::as_ptr(&body).cast_mut().cast(),
                bindings::NUMA_NO_NODE,
                c"%s".as_char_ptr(),
                name.as_char_ptr(),
            )
        })?;

        // SAFETY: The thread was created just now. It does not run before it is woken, and so
        // has not ended.
        unsafe { bindings::get_task_struct(task) };
        // INVARIANT: As done above.
        let thread = Self {
            task: NonNull::new(task).ok_or(EINVAL)?,
            _body: body,
        };

        let attr = bindings::sched_attr {
            sched_policy: bindings::SCHED_IDLE,
            ..pin_init::zeroed()
        };
        // SAFETY: By the type invariant, this is a task that we have a reference to.
        to_result(unsafe { bindings::sched_setattr_nocheck(task, &attr) })?;
        thread.wake();
        Ok(thread)
    }

    /// Wakes the thread if it sleeps. Any context.
    pub fn wake(&self) {
        // SAFETY: By the type invariant, this is a task that we have a reference to.
        unsafe { bindings::wake_up_process(self.task.as_ptr()) };
    }
}

impl<T: ThreadBody> Drop for IdleThread<T> {
    /// Stops the thread, and waits for its end. May sleep.
    fn drop(&mut self) {
        let task = self.task.as_ptr();
        // With SCHED_IDLE it might not get a CPU for a long time, while the caller waits for it.
        //
        // SAFETY: By the type invariant, this is a task that we have a reference to.
        unsafe { bindings::sched_set_normal(task, 0) };
        // SAFETY: By the type invariants, this is a kernel thread that nobody else stops, and we
        // own the reference that is given up.
        unsafe { bindings::kthread_stop_put(task) };
    }
}

// SAFETY: A thread can be woken and stopped by any task, and `Arc<T>` can be sent.
unsafe impl<T: ThreadBody> Send for IdleThread<T> {}

// SAFETY: `wake` can be called by several tasks at a time, and `Arc<T>` can be shared.
unsafe impl<T: ThreadBody> Sync for IdleThread<T> {}

/// The function of the thread.
///
/// # Safety
///
/// Must only be called by a kernel thread, with the address of a `T` in an [`Arc`] that exists
/// until the thread has ended.
unsafe extern "C" fn run<T: ThreadBody>(body: *mut c_void) -> c_int {
    // SAFETY: By the requirements of this function.
    let body = unsafe { ArcBorrow::from_raw(body.cast::<T>().cast_const()) };

    // INVARIANT: This is that thread.
    T::run(body, &IdleContext(NotThreadSafe));
    0
}

/// The current task as an [`IdleThread`].
///
/// # Invariants
///
/// The current task is a kernel thread.
pub struct IdleContext(NotThreadSafe);

impl IdleContext {
    /// Returns `true` if the thread has to return.
    #[inline]
    pub fn should_stop(&self) -> bool {
        // SAFETY: By the type invariant, this is a kernel thread.
        unsafe { bindings::kthread_should_stop() }
    }

    /// Sleeps until `cond` is true. Returns `false` if the thread has to stop.
    ///
    /// Calls `cond` first, and then after each [`IdleThread::wake`]. The caller of `wake` has to
    /// change what `cond` checks beforehand. `cond` must not sleep.
    pub fn sleep_until(&self, mut cond: impl FnMut() -> bool) -> bool {
        loop {
            // SAFETY: This concerns only the current task. The next statements check what it waits
            // for, and either let it sleep or set the state back.
            unsafe { bindings::set_current_state(bindings::TASK_IDLE) };
            let is_over = self.should_stop() || cond();
            if !is_over {
                // SAFETY: The task may sleep.
                unsafe { bindings::schedule() };
                continue;
            }
            // SAFETY: As above.
            unsafe { bindings::set_current_state(bindings::TASK_RUNNING) };
            return !self.should_stop();
        }
    }

    /// Lets other tasks run. Returns when the CPU has nothing else to do, or when the thread is to
    /// have its small share.
    pub fn give_way(&self) {
        // SAFETY: The task may sleep; its state is `TASK_RUNNING`, so it goes on later.
        unsafe { bindings::schedule() };
    }
}
