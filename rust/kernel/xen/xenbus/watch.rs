// SPDX-License-Identifier: GPL-2.0

//! Watches: being told of changes in xenstore.
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
    /// Called when nodes have changed, or come, or gone: the one that is watched, or some below it.
    ///
    /// There is one call for whatever happens before it begins, so that nobody can make them pile up;
    /// `path` is the first of the nodes. It is also called once when the watch is new, whether or
    /// not there is such a node, and may be called when nothing has changed: for one, after this
    /// domain has moved to another host. What is there must be read.
    ///
    /// Runs in the thread that serves all of xenbus: may sleep, but while it runs no other xenstore
    /// event of this domain is delivered, to any driver.
    fn changed(this: ArcBorrow<'_, Self>, path: &CStr);
}

/// A watch on a node in xenstore, and on all nodes below it, for as long as this object exists.
///
/// When it has been dropped the handler is not running, and will not run any more. Dropping it may
/// sleep, is for process context, and must not be done with a lock held that the handler takes. It
/// may be dropped by the thread that calls handlers, even by its own handler, which then goes on to
/// its end.
///
/// # Invariants
///
/// The watch in `inner` is registered.
pub struct Watch<T: Watcher> {
    inner: Pin<KBox<WatchInner<T>>>,
}

/// What xenbus refers to.
///
/// # Invariants
///
/// If `watch` is registered then its node is `node`, and its callbacks are `will_handle_callback`
/// and `changed_callback` for `T`.
#[pin_data]
struct WatchInner<T> {
    #[pin]
    watch: Opaque<bindings::xenbus_watch>,
    node: CString,
    handler: Arc<T>,
}

impl<T: Watcher> Watch<T> {
    /// Begins to watch the node `node`, of which there need not be any: a path from the root, or
    /// one in this domain's own directory.
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

        // SAFETY: The watch is ours: it is not registered yet. The string does not move, and lives
        // as long as the watch.
        unsafe {
            (*watch).node = inner.node.as_char_ptr();
            (*watch).will_handle = Some(will_handle_callback);
            (*watch).callback = Some(changed_callback::<T>);
        }
        // SAFETY: The watch is complete, and pinned until it is unregistered by the drop of `Self`.
        to_result(unsafe { bindings::register_xenbus_watch(watch) })?;

        // INVARIANT: It was registered just now.
        Ok(Self { inner })
    }
}

impl<T: Watcher> Drop for Watch<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants the watch is registered. If this is the thread that calls
        // handlers, and the handler is on its stack, then that has a reference of its own, and does
        // not touch the watch any more.
        unsafe { bindings::unregister_xenbus_watch(self.inner.watch.get()) };
    }
}

// SAFETY: A watch may be unregistered by any thread; the handler may be dropped by any.
unsafe impl<T: Watcher> Send for Watch<T> {}

// SAFETY: A shared reference gives access to nothing.
unsafe impl<T: Watcher> Sync for Watch<T> {}

/// Says whether an event is to be queued: not if there is one (XSA-349).
///
/// # Safety
///
/// Only called for a registered watch, with the lock held that it is queued under.
unsafe extern "C" fn will_handle_callback(
    watch: *mut bindings::xenbus_watch,
    _path: *const c_char,
    _token: *const c_char,
) -> bool {
    // SAFETY: By the safety requirements the watch is valid. The number may be going down at this
    // moment, for an event whose handler has not been called yet.
    unsafe { (&raw const (*watch).nr_pending).read_volatile() == 0 }
}

/// # Safety
///
/// Only called for a registered watch that is part of an `WatchInner<T>`, with a valid string for `path`.
unsafe extern "C" fn changed_callback<T: Watcher>(
    watch: *mut bindings::xenbus_watch,
    path: *const c_char,
    _token: *const c_char,
) {
    let handler = {
        // SAFETY: By the safety requirements the watch is a field of that name.
        let inner = unsafe { container_of!(Opaque::cast_from(watch), WatchInner<T>, watch) };

        // The handler may drop the watch. It must not lose itself by that.

        // SAFETY: The watch is registered, so that the object exists until it is unregistered, by
        // the handler at the earliest.
        unsafe { (*inner).handler.clone() }
    };

    // SAFETY: The string is valid until this function returns.
    T::changed(handler.as_arc_borrow(), unsafe {
        CStr::from_char_ptr(path)
    });
}

impl<Ctx: DeviceContext> Device<Ctx> {
    /// Begins to watch a node in our directory, such as `c"limits"` or `c"limits/sockets"`, and all
    /// nodes below it. An empty name stands for the directory.
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
