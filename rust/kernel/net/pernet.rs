// SPDX-License-Identifier: GPL-2.0

//! What a module has for each network namespace: data, settings and files.
//!
//! C headers: [`include/net/net_namespace.h`](srctree/include/net/net_namespace.h),
//! [`include/net/netns/generic.h`](srctree/include/net/netns/generic.h)

use crate::{
    bindings,
    error::{
        from_result,
        to_result, //
    },
    net::{
        namespace::Namespace,
        proc,
        sysctl, //
    },
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Full,
            Release, //
        },
        rcu,
        Arc, //
    },
    types::Opaque, //
};

use core::marker::PhantomData;

/// Has the [`Place`] of what a module has for each namespace.
///
/// # Safety
///
/// `get` must always return the same one.
pub unsafe trait StaticPlace: Sized + 'static {
    /// Returns it.
    fn get() -> &'static Place<Self>;
}

/// Makes the [`Place`] of a type that is [`PerNet`], a static.
///
/// [`Place`]: crate::net::pernet::Place
/// [`PerNet`]: crate::net::pernet::PerNet
#[macro_export]
macro_rules! pernet_place {
    ($type:ty) => {
        // SAFETY: There is one.
        unsafe impl $crate::net::pernet::StaticPlace for $type {
            fn get() -> &'static $crate::net::pernet::Place<Self> {
                static PLACE: $crate::net::pernet::Place<$type> = $crate::net::pernet::Place::new();
                &PLACE
            }
        }
    };
}

/// What a module has for each network namespace. Where that is found says
/// [`pernet_place!`](crate::pernet_place).
pub trait PerNet: StaticPlace + Send + Sync {
    /// Makes it for a namespace: one of those that exist when it is registered, or a new one, which
    /// is not created if this fails.
    ///
    /// Process context, may sleep. It is dropped in such a context too, when the namespace goes or
    /// the registration ends, and after all that `entries` has been given.
    fn new(net: &Namespace, entries: &mut Entries<'_>) -> Result<KBox<Self>>;
}

/// What programs in a namespace see of what a module has for it.
pub struct Entries<'a> {
    net: &'a Namespace,
    entries: KVec<KBox<dyn Send + Sync>>,
}

impl Entries<'_> {
    /// Adds settings below `/proc/sys`. Process context, may sleep.
    pub fn add_sysctl<T: sysctl::Settings>(&mut self, settings: Arc<T>) -> Result {
        let entry: KBox<dyn Send + Sync> =
            KBox::new(sysctl::Registration::new(self.net, settings)?, GFP_KERNEL)?;
        Ok(self.entries.push(entry, GFP_KERNEL)?)
    }

    /// Adds a file below `/proc/net`. Process context, may sleep.
    pub fn add_proc<T: proc::Show>(&mut self) -> Result {
        let entry: KBox<dyn Send + Sync> =
            KBox::new(proc::Registration::new::<T>(self.net)?, GFP_KERNEL)?;
        Ok(self.entries.push(entry, GFP_KERNEL)?)
    }
}

/// What there is for a namespace. Dropped in this order.
struct NetData<T> {
    _entries: KVec<KBox<dyn Send + Sync>>,
    data: KBox<T>,
}

/// Where each namespace has its `T`, for a `static`.
///
/// # Invariants
///
/// While `registered` is set `ops` is registered, and for an RCU grace period afterwards. Then the
/// generic data `id` of each namespace are a pointer to its [`NetData<T>`], or null.
pub struct Place<T> {
    id: Opaque<c_uint>,
    ops: Opaque<bindings::pernet_operations>,
    taken: Atomic<bool>,
    registered: Atomic<bool>,
    _data: PhantomData<T>,
}

// SAFETY: The atomics order the changes of the other fields, which are made by who has set `taken`.
// Any thread may have a reference to a `T`, and drop one.
unsafe impl<T: Send + Sync> Sync for Place<T> {}

impl<T> Place<T> {
    /// Creates a place where nothing is.
    pub const fn new() -> Self {
        // INVARIANT: It is not registered.
        Self {
            id: Opaque::new(0),
            ops: Opaque::uninit(),
            taken: Atomic::new(false),
            registered: Atomic::new(false),
            _data: PhantomData,
        }
    }
}

impl<T: PerNet> Place<T> {
    /// Does something with what a namespace has; [`None`] if it is not registered.
    ///
    /// Any context. `f` must not sleep.
    pub fn with<R>(&'static self, net: &Namespace, f: impl FnOnce(&T) -> R) -> Option<R> {
        let _guard = rcu::read_lock();

        if !self.registered.load(Acquire) {
            return None;
        }
        // SAFETY: The namespace is valid and, by the type invariants, the number that of data which
        // exist until the end of this read-side critical section at least.
        let data = unsafe { Self::slot(net.as_raw()).read() };
        // SAFETY: As above; they are freed with the namespace, which is kept by the caller.
        unsafe { data.as_ref() }.map(|slot| f(&slot.data))
    }

    /// Returns where the pointer is that a namespace has.
    ///
    /// # Safety
    ///
    /// `net` must be valid, and `ops` be registered.
    unsafe fn slot(net: *mut bindings::net) -> *mut *mut NetData<T> {
        // SAFETY: This is required of the caller; the number does not change while `ops` is
        // registered.
        unsafe { bindings::net_generic(net, *T::get().id.get()) }.cast()
    }

    /// # Safety
    ///
    /// Only called for a namespace that has no data yet.
    unsafe extern "C" fn init(net: *mut bindings::net) -> c_int {
        from_result(|| {
            // SAFETY: The caller has a namespace that nobody ends in the meantime.
            let namespace = unsafe { Namespace::from_raw(net) };
            let mut entries = Entries {
                net: namespace,
                entries: KVec::new(),
            };
            let data = T::new(namespace, &mut entries)?;
            let slot = NetData {
                _entries: entries.entries,
                data,
            };
            let slot = KBox::into_raw(KBox::new(slot, GFP_KERNEL)?);
            // SAFETY: `ops` is registered, or is just being so; the caller has made room.
            unsafe { Self::slot(net).write(slot) };
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Only called for a namespace for which `init` has succeeded, once.
    unsafe extern "C" fn exit(net: *mut bindings::net) {
        // SAFETY: `ops` is registered still.
        let data = unsafe { Self::slot(net).replace(core::ptr::null_mut()) };
        // SAFETY: It came from `init`. Nobody uses it: the namespace is going, or `Registration`
        // has waited for those who do.
        drop(unsafe { KBox::from_raw(data) });
    }
}

impl<T> Default for Place<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// The registration of a [`PerNet`]: as long as it exists each namespace has one.
///
/// # Invariants
///
/// The place of `T` is registered, by this object.
pub struct Registration<T: PerNet>(PhantomData<fn() -> T>);

impl<T: PerNet> Registration<T> {
    /// Registers it, which makes one for each namespace that there is. May sleep.
    ///
    /// # Errors
    ///
    /// `EBUSY` if it is registered already.
    pub fn new() -> Result<Self> {
        let place = T::get();

        if place.taken.cmpxchg(false, true, Full).is_err() {
            return Err(EBUSY);
        }
        let ops = bindings::pernet_operations {
            init: Some(Place::<T>::init),
            exit: Some(Place::<T>::exit),
            id: place.id.get(),
            size: size_of::<*mut NetData<T>>(),
            ..pin_init::zeroed()
        };
        // SAFETY: Nobody else changes what belongs to who has set `taken`. The table and the number
        // are in a static, and unregistered before the code of its module goes away.
        let result = to_result(unsafe {
            place.ops.get().write(ops);
            bindings::register_pernet_subsys(place.ops.get())
        });
        if let Err(err) = result {
            place.taken.store(false, Release);
            return Err(err);
        }
        // INVARIANT: It was registered just now.
        place.registered.store(true, Release);
        Ok(Self(PhantomData))
    }
}

impl<T: PerNet> Drop for Registration<T> {
    fn drop(&mut self) {
        let place = T::get();

        place.registered.store(false, Release);
        rcu::synchronize_rcu();
        // SAFETY: By the type invariants it is registered, by us.
        unsafe { bindings::unregister_pernet_subsys(place.ops.get()) };
        place.taken.store(false, Release);
    }
}
