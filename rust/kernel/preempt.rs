// SPDX-License-Identifier: GPL-2.0

//! Control over what else runs on the current CPU.
//!
//! C header: [`include/linux/preempt.h`](srctree/include/linux/preempt.h)

use crate::{
    bindings,
    types::NotThreadSafe, //
};

/// A guard that keeps the current task on its CPU, and other tasks from running there.
///
/// Code that runs with this guard must not sleep. It should ask [`need_resched`] often. Interrupts
/// and soft interrupts are handled as usual.
///
/// # Invariants
///
/// Preemption has been disabled once for this object.
pub struct PreemptDisabled(NotThreadSafe);

impl PreemptDisabled {
    /// Disables preemption. Any context.
    #[inline]
    #[must_use]
    #[expect(clippy::new_without_default, reason = "this has an effect on the CPU")]
    pub fn new() -> Self {
        // SAFETY: This may be called anywhere.
        unsafe { bindings::preempt_disable() };
        // INVARIANT: This was done just now.
        Self(NotThreadSafe)
    }
}

impl Drop for PreemptDisabled {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariant, this belongs to a `preempt_disable()`, of the same task as
        // the guard is not `Send`.
        unsafe { bindings::preempt_enable() };
    }
}

/// A guard that has soft interrupts wait.
///
/// Those that are raised meanwhile are handled when the last guard is dropped, by the task that
/// drops it. A task that raises one without such a guard leaves it to `ksoftirqd`, which takes a
/// switch to that task. Code that runs with this guard must not sleep.
///
/// # Invariants
///
/// Soft interrupts have been disabled once for this object.
pub struct SoftirqsDisabled(NotThreadSafe);

impl SoftirqsDisabled {
    /// Disables soft interrupts on this CPU. Process context or soft interrupt.
    #[inline]
    #[must_use]
    #[expect(clippy::new_without_default, reason = "this has an effect on the CPU")]
    pub fn new() -> Self {
        // SAFETY: This has no memory safety requirements. In other contexts it does nothing worse
        // than a warning.
        unsafe { bindings::local_bh_disable() };
        // INVARIANT: This was done just now.
        Self(NotThreadSafe)
    }
}

impl Drop for SoftirqsDisabled {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariant, this belongs to a `local_bh_disable()`, of the same task
        // as the guard is not `Send`.
        unsafe { bindings::local_bh_enable() };
    }
}

/// Returns `true` if the scheduler wants another task to run on this CPU, now or when it suits the
/// current task.
#[inline]
pub fn need_resched() -> bool {
    // SAFETY: These only read flags of the current task.
    unsafe { bindings::need_resched() || bindings::need_resched_lazy() }
}
