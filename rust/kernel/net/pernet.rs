// SPDX-License-Identifier: GPL-2.0

//! Per-namespace data, settings and files of a module.
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

/// A type with a static [`Storage`] for its per-namespace data.
///
/// # Safety
///
/// `get` must always return the same object.
pub unsafe trait StaticStorage: Sized + 'static {
    /// Returns the storage.
    fn get() -> &'static Storage<Self>;
}

/// Defines the static [`Storage`] of a type that implements [`PerNet`].
///
/// [`Storage`]: crate::net::pernet::Storage
/// [`PerNet`]: crate::net::pernet::PerNet
#[macro_export]
macro_rules! pernet_storage {
    ($type:ty) => {
        // SAFETY: `get` returns the only `STORAGE`.
        unsafe impl $crate::net::pernet::StaticStorage for $type {
            fn get() -> &'static $crate::net::pernet::Storage<Self> {
                static STORAGE: $crate::net::pernet::Storage<$type> =
                    $crate::net::pernet::Storage::new();
                &STORAGE
            }
        }
    };
}

/// Data that a module keeps for each network namespace. The type's [`Storage`] is defined by
/// [`pernet_storage!`](crate::pernet_storage).
pub trait PerNet: StaticStorage + Send + Sync {
    /// Creates the data for a namespace. Called for each existing namespace on registration, and
    /// for each new namespace, whose creation fails if this fails. An existing namespace may have
    /// no references any more, so it is not passed.
    ///
    /// Process context, may sleep. The data is dropped in such a context too, when the namespace is
    /// destroyed or the registration ends, after everything added to `entries`.
    fn new(entries: &mut Entries) -> Result<KBox<Self>>;
}

/// The settings and files of a module that programs in a namespace see.
///
/// # Invariants
///
/// `net` is valid, and is not freed before `entries` has been dropped. It may have no references.
pub struct Entries {
    net: *mut bindings::net,
    entries: KVec<KBox<dyn Send + Sync>>,
}

impl Entries {
    /// Adds settings below `/proc/sys`. Process context, may sleep.
    pub fn add_sysctl<T: sysctl::Settings>(&mut self, settings: Arc<T>) -> Result {
        // SAFETY: By the type invariants the namespace is valid until the entry has been dropped.
        let entry = unsafe { sysctl::Registration::new(self.net, settings) }?;
        self.add(entry)
    }

    /// Adds a file below `/proc/net`. Process context, may sleep.
    pub fn add_proc<T: proc::Show>(&mut self) -> Result {
        // SAFETY: By the type invariants the namespace is valid until the entry has been dropped.
        let entry = unsafe { proc::Registration::new::<T>(self.net) }?;
        self.add(entry)
    }

    fn add(&mut self, entry: impl Send + Sync + 'static) -> Result {
        let entry: KBox<dyn Send + Sync> = KBox::new(entry, GFP_KERNEL)?;
        Ok(self.entries.push(entry, GFP_KERNEL)?)
    }
}

/// The data of one namespace. The fields are dropped in this order.
struct NetData<T> {
    _entries: KVec<KBox<dyn Send + Sync>>,
    data: KBox<T>,
}

/// Storage for each namespace's `T`, for a `static`.
///
/// # Invariants
///
/// While `registered` is set, and for an RCU grace period afterwards, `ops` is registered, and the
/// generic data `id` of each namespace is a pointer to its `NetData<T>` or null.
pub struct Storage<T> {
    id: Opaque<c_uint>,
    ops: Opaque<bindings::pernet_operations>,
    taken: Atomic<bool>,
    registered: Atomic<bool>,
    _data: PhantomData<T>,
}

// SAFETY: The atomics order the changes to the other fields, and only the thread that has set
// `taken` changes them. Any thread may have a reference to a `T`, and drop a `T`.
unsafe impl<T: Send + Sync> Sync for Storage<T> {}

impl<T> Storage<T> {
    /// Creates unregistered storage.
    pub const fn new() -> Self {
        // INVARIANT: Nothing is registered.
        Self {
            id: Opaque::new(0),
            ops: Opaque::uninit(),
            taken: Atomic::new(false),
            registered: Atomic::new(false),
            _data: PhantomData,
        }
    }
}

impl<T: PerNet> Storage<T> {
    /// Calls `f` with the data of a namespace. Returns [`None`] if there is none or it is not
    /// registered.
    ///
    /// Any context. `f` must not sleep.
    pub fn with<R>(&'static self, net: &Namespace, f: impl FnOnce(&T) -> R) -> Option<R> {
        let _guard = rcu::read_lock();

        if !self.registered.load(Acquire) {
            return None;
        }
        // SAFETY: The namespace is valid and, by the type invariants, `id` is registered until the
        // end of this read-side critical section at least.
        let data = unsafe { Self::slot(net.as_raw()).read() };
        // SAFETY: By the type invariants, `data` is null or points to the namespace's data. That is
        // freed together with the namespace, which the caller keeps alive, or after a grace period.
        unsafe { data.as_ref() }.map(|slot| f(&slot.data))
    }

    /// Returns a pointer to the namespace's pointer to its data.
    ///
    /// # Safety
    ///
    /// `net` must be valid, and `ops` must be registered.
    unsafe fn slot(net: *mut bindings::net) -> *mut *mut NetData<T> {
        // SAFETY: The caller guarantees that `net` is valid and `ops` is registered; `id` does not
        // change while `ops` is registered.
        unsafe { bindings::net_generic(net, *T::get().id.get()) }.cast()
    }

    /// # Safety
    ///
    /// Must only be called for a namespace that has no data yet.
    unsafe extern "C" fn init(net: *mut bindings::net) -> c_int {
        from_result(|| {
            // INVARIANT: The caller passes a valid namespace. It calls `exit`, which drops the
            // entries, before it frees the namespace.
            let mut entries = Entries {
                net,
                entries: KVec::new(),
            };
            let data = T::new(&mut entries)?;
            let slot = NetData {
                _entries: entries.entries,
                data,
            };
            let slot = KBox::into_raw(KBox::new(slot, GFP_KERNEL)?);
            // SAFETY: `ops` is registered, or is being registered, and the caller has allocated
            // room for the pointer.
            unsafe { Self::slot(net).write(slot) };
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Must only be called once for a namespace for which `init` has succeeded.
    unsafe extern "C" fn exit(net: *mut bindings::net) {
        // SAFETY: `ops` is still registered.
        let data = unsafe { Self::slot(net).replace(core::ptr::null_mut()) };
        // SAFETY: `data` comes from `KBox::into_raw` in `init`. It is not in use any more: either
        // the namespace is being destroyed, or the drop of `Registration` has waited for its users.
        drop(unsafe { KBox::from_raw(data) });
    }
}

impl<T> Default for Storage<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// The registration of a [`PerNet`]. While it exists, each namespace has its own data.
///
/// # Invariants
///
/// The storage of `T` is registered by this object.
pub struct Registration<T: PerNet>(PhantomData<fn() -> T>);

impl<T: PerNet> Registration<T> {
    /// Registers `T`, which creates the data of each existing namespace. May sleep.
    ///
    /// # Errors
    ///
    /// Returns `EBUSY` if `T` is registered already.
    pub fn new() -> Result<Self> {
        let storage = T::get();

        if storage.taken.cmpxchg(false, true, Full).is_err() {
            return Err(EBUSY);
        }
        let ops = bindings::pernet_operations {
            init: Some(Storage::<T>::init),
            exit: Some(Storage::<T>::exit),
            id: storage.id.get(),
            size: size_of::<*mut NetData<T>>(),
            ..pin_init::zeroed()
        };
        // SAFETY: We have set `taken`, so no other thread changes the fields of the storage. `ops`
        // and `id` are in a static, and are unregistered before the module's code goes away.
        let result = to_result(unsafe {
            storage.ops.get().write(ops);
            bindings::register_pernet_subsys(storage.ops.get())
        });
        if let Err(err) = result {
            storage.taken.store(false, Release);
            return Err(err);
        }
        // INVARIANT: The storage was registered just above.
        storage.registered.store(true, Release);
        Ok(Self(PhantomData))
    }
}

impl<T: PerNet> Drop for Registration<T> {
    fn drop(&mut self) {
        let storage = T::get();

        storage.registered.store(false, Release);
        rcu::synchronize_rcu();
        // SAFETY: By the type invariants, this object has registered the storage.
        unsafe { bindings::unregister_pernet_subsys(storage.ops.get()) };
        storage.taken.store(false, Release);
    }
}
