// SPDX-License-Identifier: GPL-2.0

//! Watches: notifications of changes in xenstore.
//!
//! C header: [`include/xen/xenbus.h`](srctree/include/xen/xenbus.h)

use super::Device;

use crate::{
    bindings,
    container_of,
    device::DeviceContext,
    error::to_result,
    prelude::*,
    str::CString,
    sync::{
        Arc,
        ArcBorrow, //
    },
    types::Opaque, //
};

/// The handler of a [`Watch`].
///
/// # Examples
///
/// ```
/// use kernel::{
///     sync::{
///         atomic::{
///             Atomic,
///             Relaxed, //
///         },
///         Arc,
///         ArcBorrow, //
///     },
///     xen::xenbus::{
///         Device,
///         Watch,
///         Watcher, //
///     }, //
/// };
///
/// struct Limits {
///     stale: Atomic<bool>,
/// }
///
/// impl Watcher for Limits {
///     fn changed(this: ArcBorrow<'_, Self>, _path: &CStr) {
///         this.stale.store(true, Relaxed);
///     }
/// }
///
/// fn watch(xdev: &Device, limits: Arc<Limits>) -> Result<Watch<Limits>> {
///     xdev.watch(c"limits", limits)
/// }
/// ```
pub trait Watcher: Send + Sync + 'static {
    /// Called after the watched node, or nodes below it, have been changed, created or removed.
    ///
    /// All changes before the call begins are reported by one call, so that the peer can't make
    /// calls pile up; `path` is the first changed node. There is one initial call for a new watch,
    /// even if the node does not exist, and calls may come without a change, for example after this
    /// domain has moved to another host. The handler must read the current contents.
    ///
    /// Runs in the thread that serves all of xenbus. May sleep, but while the handler runs, no
    /// other xenstore event of this domain is delivered to any driver.
    fn changed(this: ArcBorrow<'_, Self>, path: &CStr);
}

/// A registered watch on a xenstore node and all nodes below it.
///
/// Dropping the watch unregisters it: the handler is not called again. Unless the thread that calls
/// handlers drops it, this also waits for a running call. That thread may drop the watch from its
/// own handler, which then runs to its end, and keeps the [`Watcher`] until then. Nothing waits for
/// that end, so something else has to keep the handler's module loaded.
///
/// Drop in process context, since this may sleep, and without locks that the handler takes.
///
/// # Invariants
///
/// The watch in `inner` is registered.
pub struct Watch<T: Watcher> {
    inner: Pin<KBox<WatchInner<T>>>,
}

/// The object that xenbus refers to.
///
/// # Invariants
///
/// If `watch` is registered, its node is `node`, and its callbacks are `will_handle_callback` and
/// `changed_callback` for `T`.
#[pin_data]
struct WatchInner<T> {
    #[pin]
    watch: Opaque<bindings::xenbus_watch>,
    node: CString,
    handler: Arc<T>,
}

impl<T: Watcher> Watch<T> {
    /// Registers a watch on `node`: an absolute path, or one relative to this domain's own
    /// directory. The node need not exist.
    ///
    /// Process context, may sleep. `handler` may be called before this returns.
    pub fn new(node: &CStr, handler: Arc<T>) -> Result<Self> {
        Self::register(CString::try_from_fmt(fmt!("{node}"))?, handler)
    }

    fn register(node: CString, handler: Arc<T>) -> Result<Self> {
        let inner = KBox::pin_init(
            pin_init!(WatchInner {
                watch: Opaque::new(pin_init::zeroed()),
                node,
                handler,
            }),
            GFP_KERNEL,
        )?;
        let watch = inner.watch.get();

        // SAFETY: We own the watch, which is not registered yet. The string does not move, and
        // lives as long as the watch.
        unsafe {
            (*watch).node = inner.node.as_char_ptr();
            (*watch).will_handle = Some(will_handle_callback);
            (*watch).callback = Some(changed_callback::<T>);
        }
        // SAFETY: All fields of the watch are set, and it stays pinned until the drop of `Self`
        // unregisters it.
        to_result(unsafe { bindings::register_xenbus_watch(watch) })?;

        // INVARIANT: The watch was registered just above.
        Ok(Self { inner })
    }
}

impl<T: Watcher> Drop for Watch<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants, the watch is registered. It is freed after this call, and
        // nothing refers to it then: C code has removed its events and has waited for its handler.
        // If the handler is running nevertheless, since the current thread is the one that calls
        // it, then that call holds its own reference to the `Watcher`, and neither it nor its
        // caller touches the watch any more.
        unsafe { bindings::unregister_xenbus_watch(self.inner.watch.get()) };
    }
}

// SAFETY: Any thread may unregister the watch, and any thread may drop the handler, which is `Send`
// and `Sync`.
unsafe impl<T: Watcher> Send for Watch<T> {}

// SAFETY: A shared reference gives access to nothing.
unsafe impl<T: Watcher> Sync for Watch<T> {}

/// Decides if an event is queued: only while none is pending for this watch (XSA-349).
///
/// # Safety
///
/// Must only be called for a registered watch.
unsafe extern "C" fn will_handle_callback(
    watch: *mut bindings::xenbus_watch,
    _path: *const c_char,
    _token: *const c_char,
) -> bool {
    // SAFETY: By the safety requirements, the watch is valid. The lock of the event queue is not
    // held, so `nr_pending` may be decremented concurrently, by a single store. That happens before
    // the handler is called, which then sees what this event is about.
    unsafe { (&raw const (*watch).nr_pending).read_volatile() == 0 }
}

/// # Safety
///
/// Must only be called for a registered watch that is part of a `WatchInner<T>`, with a valid
/// string for `path`.
unsafe extern "C" fn changed_callback<T: Watcher>(
    watch: *mut bindings::xenbus_watch,
    path: *const c_char,
    _token: *const c_char,
) {
    let handler = {
        // SAFETY: By the safety requirements, `watch` is the field `watch` of a `WatchInner<T>`.
        let inner = unsafe { container_of!(Opaque::cast_from(watch), WatchInner<T>, watch) };

        // The handler may drop the watch. The reference taken here keeps the handler alive then.

        // SAFETY: The object exists until `unregister_xenbus_watch` has returned. That waits for
        // this function unless the handler makes the call, which has not begun yet.
        unsafe { (*inner).handler.clone() }
    };

    // SAFETY: The string is valid until this function returns.
    T::changed(handler.as_arc_borrow(), unsafe {
        CStr::from_char_ptr(path)
    });
}

impl<Ctx: DeviceContext> Device<Ctx> {
    /// Registers a watch on a node in our directory, such as `c"limits"` or `c"limits/sockets"`,
    /// and all nodes below it. An empty name stands for the directory itself.
    ///
    /// Process context, may sleep. `handler` may be called before this returns.
    pub fn watch<T: Watcher>(&self, node: &CStr, handler: Arc<T>) -> Result<Watch<T>> {
        let dir = self.nodename();

        Watch::register(
            if node.is_empty() {
                CString::try_from_fmt(fmt!("{dir}"))
            } else {
                CString::try_from_fmt(fmt!("{dir}/{node}"))
            }?,
            handler,
        )
    }
}
