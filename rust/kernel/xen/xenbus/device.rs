// SPDX-License-Identifier: GPL-2.0

//! xenbus devices.
//!
//! C header: [`include/xen/xenbus.h`](srctree/include/xen/xenbus.h)

use super::{
    Dir,
    State, //
};

use crate::{
    bindings,
    device,
    error::to_result,
    prelude::*,
    sync::aref::AlwaysRefCounted,
    types::Opaque,
    xen::DomId, //
};

use core::{
    marker::PhantomData,
    mem::offset_of,
    ptr::NonNull, //
};

/// Our end of a xenbus device.
///
/// This structure represents the Rust abstraction for a C `struct xenbus_device`. The
/// implementation abstracts the usage of an already existing C `struct xenbus_device` within Rust
/// code that we get passed from the C side.
///
/// Unless its documentation says otherwise, a method exchanges messages with the xenstore daemon:
/// process context, may sleep.
///
/// # Invariants
///
/// A [`Device`] instance represents a valid `struct xenbus_device` created by the C portion of the
/// kernel.
#[repr(transparent)]
pub struct Device<Ctx: device::DeviceContext = device::Normal>(
    Opaque<bindings::xenbus_device>,
    PhantomData<Ctx>,
);

impl<Ctx: device::DeviceContext> Device<Ctx> {
    #[inline]
    pub(in crate::xen) fn as_raw(&self) -> *mut bindings::xenbus_device {
        self.0.get()
    }

    /// Returns the device without its context marker, for conversion to an [`ARef`].
    ///
    /// [`ARef`]: crate::sync::aref::ARef
    #[inline]
    pub fn normal(&self) -> &Device {
        // SAFETY: The context is only a marker, and every context allows at least what `Normal`
        // allows.
        unsafe { &*self.as_raw().cast::<Device>() }
    }

    /// Returns the type of the device, an entry of the driver's [`IdTable`](super::IdTable).
    ///
    /// Any context.
    #[inline]
    pub fn devicetype(&self) -> &CStr {
        // SAFETY: By the type invariant, the device is valid. The bus set this string when it
        // created the device; the string never changes and lives as long as the device.
        unsafe { CStr::from_char_ptr((*self.as_raw()).devicetype) }
    }

    /// Returns the path of our directory in xenstore.
    ///
    /// Any context.
    #[inline]
    pub fn nodename(&self) -> &CStr {
        // SAFETY: By the type invariant, the device is valid. The bus set this string when it
        // created the device; the string never changes and lives as long as the device.
        unsafe { CStr::from_char_ptr((*self.as_raw()).nodename) }
    }

    /// Returns the domain of the other end.
    ///
    /// Any context.
    #[inline]
    pub fn otherend_id(&self) -> DomId {
        // SAFETY: By the type invariant, the device is valid. The bus writes this field before it
        // calls the driver, and after the domain has been restored on another host.
        let id = unsafe { (&raw const (*self.as_raw()).otherend_id).read_volatile() };

        u16::try_from(id).map_or(DomId::INVALID, DomId::new)
    }

    /// Returns our own state, as of the last switch.
    ///
    /// Any context.
    #[inline]
    pub fn state(&self) -> State {
        // SAFETY: By the type invariant, the device is valid. C code may write the field
        // concurrently, but writes it as a whole.
        State::from_raw(unsafe { (&raw const (*self.as_raw()).state).read_volatile() })
    }

    /// Switches our state and writes it to xenstore. A failure changes nothing.
    pub fn switch_state(&self, state: State) -> Result {
        // SAFETY: By the type invariant, the device is valid.
        to_result(unsafe { bindings::xenbus_try_switch_state(self.as_raw(), state.into_raw()) })
    }

    /// Begins anew in [`State::Initialising`], for a driver that gets the device.
    ///
    /// An earlier driver has left another state. So may a program that has taken the part of a
    /// driver, of which the bus does not know: then only the node differs.
    pub fn restart(&self) -> Result {
        // SAFETY: By the type invariant, the device is valid.
        to_result(unsafe { bindings::xenbus_restart(self.as_raw()) })
    }

    /// Switches a frontend to [`State::Closed`], and lets a system shutdown that waits for this
    /// state continue.
    pub fn frontend_closed(&self) {
        // `xenbus_frontend_closed()` always returns 0.
        //
        // SAFETY: By the type invariant, the device is valid.
        unsafe { bindings::xenbus_frontend_closed(self.as_raw()) };
    }

    /// Returns `true` if the bus has found that the device was removed and made anew, so that its
    /// directory is that of another one. It is about to be unbound.
    ///
    /// Any context.
    #[inline]
    pub fn has_vanished(&self) -> bool {
        // SAFETY: By the type invariant, the device is valid. C code may set the field concurrently.
        unsafe { (&raw const (*self.as_raw()).vanished).read_volatile() }
    }

    /// Reads the state of the other end.
    ///
    /// Returns [`State::Unknown`] if the other end has no state that we may read, or none with a
    /// defined meaning. Any error is one of the moment, such as [`ENOMEM`]: it says nothing about
    /// the other end, which may have any state.
    pub fn otherend_state(&self) -> Result<State> {
        match self.read_u32(Dir::Otherend, c"state") {
            Ok(number) => Ok(State::from_number(number)),
            Err(ENOENT | EACCES | EINVAL | ERANGE | E2BIG) => Ok(State::Unknown),
            Err(error) => Err(error),
        }
    }

    /// Returns `true` while the toolstack wants a backend to serve this device.
    ///
    /// Then the backend has to stay even after the frontend has closed the device, since the
    /// frontend may come back. Fails if that can't be read, as in [`Device::otherend_state`].
    pub fn is_online(&self) -> Result<bool> {
        match self.read_u32(Dir::Own, c"online") {
            Ok(number) => Ok(number != 0),
            Err(ENOENT | EACCES | EINVAL | ERANGE | E2BIG) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Logs an error, and writes it to xenstore for the toolstack.
    pub fn error(&self, err: Error, msg: &'static CStr) {
        // SAFETY: By the type invariant, the device is valid. The format takes one string.
        unsafe {
            bindings::xenbus_dev_error(
                self.as_raw(),
                err.to_errno(),
                c"%s".as_char_ptr(),
                msg.as_char_ptr(),
            )
        };
    }

    /// Like [`Device::error`], then switches to [`State::Closing`].
    pub fn fatal(&self, err: Error, msg: &'static CStr) {
        // SAFETY: By the type invariant, the device is valid. The format takes one string.
        unsafe {
            bindings::xenbus_dev_fatal(
                self.as_raw(),
                err.to_errno(),
                c"%s".as_char_ptr(),
                msg.as_char_ptr(),
            )
        };
    }
}

// SAFETY: `xenbus::Device` is a transparent wrapper of `struct xenbus_device`.
// The offset is guaranteed to point to a valid device field inside `xenbus::Device`.
unsafe impl<Ctx: device::DeviceContext> device::AsBusDevice<Ctx> for Device<Ctx> {
    const OFFSET: usize = offset_of!(bindings::xenbus_device, dev);
}

// SAFETY: `Device` is a transparent wrapper of a type that doesn't depend on `Device`'s generic
// argument.
kernel::impl_device_context_deref!(unsafe { Device });
kernel::impl_device_context_into_aref!(Device);

// SAFETY: Instances of `Device` are always reference-counted.
unsafe impl AlwaysRefCounted for Device {
    fn inc_ref(&self) {
        self.as_ref().inc_ref();
    }

    unsafe fn dec_ref(obj: NonNull<Self>) {
        let xdev = obj.cast::<bindings::xenbus_device>().as_ptr();

        // SAFETY: The safety requirements guarantee that the refcount is non-zero.
        unsafe { bindings::put_device(&raw mut (*xdev).dev) };
    }
}

impl<Ctx: device::DeviceContext> AsRef<device::Device<Ctx>> for Device<Ctx> {
    fn as_ref(&self) -> &device::Device<Ctx> {
        // SAFETY: By the type invariant of `Self`, `self.as_raw()` is a pointer to a valid
        // `struct xenbus_device`.
        let dev = unsafe { &raw mut (*self.as_raw()).dev };

        // SAFETY: `dev` points to a valid `struct device`.
        unsafe { device::Device::from_raw(dev) }
    }
}

// SAFETY: A `Device` is always reference-counted and can be released from any thread.
unsafe impl Send for Device {}

// SAFETY: `Device` can be shared among threads because all methods of `Device` (i.e.
// `Device<Normal>`) are thread safe.
unsafe impl Sync for Device {}

// SAFETY: Same as `Device<Normal>` -- the underlying `struct xenbus_device` is the same;
// `Bound` is a zero-sized type-state marker that does not affect thread safety.
unsafe impl Sync for Device<device::Bound> {}
