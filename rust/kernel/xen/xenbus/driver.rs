// SPDX-License-Identifier: GPL-2.0

//! xenbus drivers.
//!
//! C header: [`include/xen/xenbus.h`](srctree/include/xen/xenbus.h)

use super::{
    Device,
    State, //
};

use crate::{
    bindings,
    device,
    device_id::{
        self,
        RawDeviceId, //
    },
    driver,
    error::{
        from_result,
        to_result, //
    },
    prelude::*,
    types::Opaque,
    xen,
    ThisModule, //
};

use core::mem::offset_of;

/// The end of a device that a driver serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The end in the domain that uses the device.
    Frontend,

    /// The end in the domain that provides the device. Registration fails with [`ENODEV`] in a
    /// kernel without `CONFIG_XEN_BACKEND`.
    Backend,
}

/// An adapter for the registration of xenbus drivers.
pub struct Adapter<T: Driver>(T);

// SAFETY:
// - `bindings::xenbus_driver` is a C type declared as `repr(C)`.
// - `T::Data` is the type of the driver's device private data.
// - `struct xenbus_driver` embeds a `struct device_driver`.
// - `DEVICE_DRIVER_OFFSET` is the correct byte offset to the embedded `struct device_driver`.
unsafe impl<T: Driver> driver::DriverLayout for Adapter<T> {
    type DriverType = bindings::xenbus_driver;
    type DriverData<'bound> = T::Data<'bound>;
    const DEVICE_DRIVER_OFFSET: usize = offset_of!(Self::DriverType, driver);
}

// SAFETY: A call to `unregister` for a given instance of `DriverType` is guaranteed to be valid if
// a preceding call to `register` has been successful.
unsafe impl<T: Driver> driver::RegistrationOps for Adapter<T> {
    unsafe fn register(
        xdrv: &Opaque<Self::DriverType>,
        name: &'static CStr,
        module: &'static ThisModule,
    ) -> Result {
        // Without Xen there is no bus to register with.
        if !xen::is_domain() {
            return Err(ENODEV);
        }

        // SAFETY: It's safe to set the fields of `struct xenbus_driver` on initialization.
        unsafe {
            (*xdrv.get()).name = name.as_char_ptr();
            (*xdrv.get()).ids = T::ID_TABLE.as_ptr();
            (*xdrv.get()).not_essential = true;
            (*xdrv.get()).probe = Some(Self::probe_callback);
            (*xdrv.get()).remove = Some(Self::remove_callback);
            (*xdrv.get()).otherend_changed = Some(Self::otherend_changed_callback);
        }

        let register = match T::SIDE {
            Side::Frontend => bindings::__xenbus_register_frontend,
            #[cfg(CONFIG_XEN_BACKEND)]
            Side::Backend => bindings::__xenbus_register_backend,
            #[cfg(not(CONFIG_XEN_BACKEND))]
            Side::Backend => return Err(ENODEV),
        };

        // SAFETY: `xdrv` is guaranteed to be a valid `DriverType`.
        to_result(unsafe { register(xdrv.get(), module.as_ptr(), name.as_char_ptr()) })
    }

    unsafe fn unregister(xdrv: &Opaque<Self::DriverType>) {
        // SAFETY: `xdrv` is guaranteed to be a valid `DriverType`.
        unsafe { bindings::xenbus_unregister_driver(xdrv.get()) };
    }
}

impl<T: Driver> Adapter<T> {
    extern "C" fn probe_callback(
        xdev: *mut bindings::xenbus_device,
        _id: *const bindings::xenbus_device_id,
    ) -> c_int {
        // SAFETY: The bus only ever calls the probe callback with a valid pointer to a
        // `struct xenbus_device`.
        //
        // INVARIANT: `xdev` is valid for the duration of `probe_callback()`.
        let xdev = unsafe { &*xdev.cast::<Device<device::CoreInternal<'_>>>() };

        from_result(|| {
            let data = T::probe(xdev);

            xdev.as_ref().set_drvdata(data)?;
            Ok(0)
        })
    }

    extern "C" fn remove_callback(xdev: *mut bindings::xenbus_device) {
        // SAFETY: The bus only ever calls the remove callback with a valid pointer to a
        // `struct xenbus_device`.
        //
        // INVARIANT: `xdev` is valid for the duration of `remove_callback()`.
        let xdev = unsafe { &*xdev.cast::<Device<device::CoreInternal<'_>>>() };

        // SAFETY: `remove_callback` is only ever called after a successful call to
        // `probe_callback`, hence it's guaranteed that `Device::set_drvdata()` has been called
        // and stored a `Pin<KBox<T::Data<'_>>>`.
        let data = unsafe { xdev.as_ref().drvdata_borrow::<T::Data<'_>>() };

        T::unbind(xdev, data);
    }

    extern "C" fn otherend_changed_callback(
        xdev: *mut bindings::xenbus_device,
        state: bindings::xenbus_state,
    ) {
        // SAFETY: The bus only ever calls this callback with a valid pointer to a
        // `struct xenbus_device` that is bound to this driver.
        //
        // INVARIANT: `xdev` is valid and bound for the duration of `otherend_changed_callback()`.
        // The bus calls this from a watch that it sets up after `probe_callback()` has succeeded.
        // Before the bus calls `remove_callback()`, it removes the watch and waits for a running
        // call.
        let xdev = unsafe { &*xdev.cast::<Device<device::BoundInternal>>() };

        // SAFETY: As above, this is only ever called after a successful call to `probe_callback`,
        // hence it's guaranteed that `Device::set_drvdata()` has been called and stored a
        // `Pin<KBox<T::Data<'_>>>`, which is dropped after `remove_callback()`.
        let data = unsafe { xdev.as_ref().drvdata_borrow::<T::Data<'_>>() };

        T::otherend_changed(xdev, data, State::from_raw(state));
    }
}

/// The name of a device type, as in the xenstore paths `device/<name>/<number>` and
/// `backend/<name>/<domain>/<number>`.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct DeviceId(bindings::xenbus_device_id);

impl DeviceId {
    /// Creates an ID from a name of at most 31 bytes.
    pub const fn new(name: &'static CStr) -> Self {
        let name = name.to_bytes();
        let mut id: bindings::xenbus_device_id = pin_init::zeroed();

        assert!(!name.is_empty() && name.len() < id.devicetype.len());

        let mut i = 0;
        while i < name.len() {
            id.devicetype[i] = name[i];
            i += 1;
        }
        Self(id)
    }
}

// SAFETY: `DeviceId` is a `#[repr(transparent)]` wrapper of `xenbus_device_id` and does not add
// additional invariants, so it's safe to transmute to `RawType`.
unsafe impl RawDeviceId for DeviceId {
    type RawType = bindings::xenbus_device_id;
}

/// The table of the device types that a driver supports.
pub type IdTable = &'static dyn device_id::IdTable<DeviceId, ()>;

/// Creates an [`IdTable`](crate::xen::xenbus::IdTable).
///
/// modpost does not generate module aliases from this table. Modules have to declare them:
/// frontends `alias: ["xen:<name>"]`, backends `alias: ["xen-backend:<name>"]`.
///
/// # Examples
///
/// ```
/// use kernel::xen::xenbus::DeviceId;
///
/// kernel::xenbus_device_table!(ID_TABLE, [DeviceId::new(c"vexample")]);
/// ```
#[macro_export]
macro_rules! xenbus_device_table {
    ($table_name:ident, [$($id:expr),* $(,)?]) => {
        static $table_name: $crate::device_id::IdArray<
            $crate::xen::xenbus::DeviceId,
            (),
            { <[$crate::xen::xenbus::DeviceId]>::len(&[$($id,)*]) },
        > = $crate::device_id::IdArray::new_without_index([$($id),*]);
    };
}

/// The xenbus driver trait.
///
/// # Order of events
///
/// - [`Driver::probe`] is called when the device and the parameters of its other end are in
///   xenstore. No other callback is called until `probe` has succeeded.
/// - [`Driver::otherend_changed`] is called by the thread that serves all of xenbus, once right
///   after `probe` and then after each write to the other end's node `state`. Calls for one device
///   never overlap, neither with each other nor with `probe` and `unbind`. Changes may be missed:
///   the argument is the current state. [`State::Unknown`] may also mean that the bus could not
///   read it, which [`Device::otherend_state`] tells from a state that is not there. While a call
///   runs, no other xenstore event of this domain is delivered to any driver.
/// - [`Driver::unbind`] is called after the last call of `otherend_changed` has returned.
/// - Then the bus writes the state `Closed`, unless that is the state already, and **only after
///   that** drops the driver's data.
///
/// Hence the peer may take the return of `unbind` for the end of all sharing: revoke and unmap
/// grants and drop event channels in `unbind`, not in the destructor of the data. In the same way,
/// on a change to `Closing` or a similar state, stop sharing before switching states.
///
/// `probe` and `unbind` are called in process context with the device lock held.
///
/// As long as a device is bound, the bus holds a reference to the driver's module. Before the
/// module can be unloaded, its devices must be unbound through sysfs.
///
/// # Locking
///
/// Before `unbind` the bus waits for a running `otherend_changed` with the device lock held, so
/// `otherend_changed` must not wait for that lock.
///
/// # Examples
///
/// ```
/// use kernel::{
///     device::{
///         Bound,
///         Core, //
///     },
///     xen::xenbus::{
///         self,
///         Side,
///         State, //
///     }, //
/// };
///
/// struct MyBackend;
///
/// kernel::xenbus_device_table!(ID_TABLE, [xenbus::DeviceId::new(c"vexample")]);
///
/// impl xenbus::Driver for MyBackend {
///     type Data<'bound> = Self;
///     const SIDE: Side = Side::Backend;
///     const ID_TABLE: xenbus::IdTable = &ID_TABLE;
///
///     fn probe<'bound>(
///         xdev: &'bound xenbus::Device<Core<'_>>,
///     ) -> impl PinInit<Self::Data<'bound>, Error> + 'bound {
///         xdev.transaction(|t| t.write(c"max-things", fmt!("{}", 16)))?;
///         xdev.switch_state(State::InitWait)?;
///         Ok(MyBackend)
///     }
///
///     fn otherend_changed<'bound>(
///         xdev: &'bound xenbus::Device<Bound>,
///         _data: Pin<&Self::Data<'bound>>,
///         state: State,
///     ) {
///         if state == State::Closed {
///             let _ = xdev.switch_state(State::Closed);
///         }
///     }
///
///     fn unbind<'bound>(
///         _xdev: &'bound xenbus::Device<Core<'_>>,
///         _data: Pin<&Self::Data<'bound>>,
///     ) {
///     }
/// }
/// ```
pub trait Driver {
    /// The type of the driver's bus device private data.
    type Data<'bound>: Send + Sync + 'bound;

    /// The end of the device that the driver serves.
    const SIDE: Side;

    /// Device types that the driver supports.
    const ID_TABLE: IdTable;

    /// Called when there is a new device.
    fn probe<'bound>(
        xdev: &'bound Device<device::Core<'_>>,
    ) -> impl PinInit<Self::Data<'bound>, Error> + 'bound;

    /// Called when the other end may have changed its state. May sleep.
    fn otherend_changed<'bound>(
        xdev: &'bound Device<device::Bound>,
        data: Pin<&Self::Data<'bound>>,
        state: State,
    );

    /// Called when the driver is about to be unbound. May sleep.
    ///
    /// Must end all sharing with the peer. The bus writes the state `Closed` right after this call.
    fn unbind<'bound>(xdev: &'bound Device<device::Core<'_>>, data: Pin<&Self::Data<'bound>>);
}
