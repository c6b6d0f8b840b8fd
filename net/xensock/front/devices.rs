// SPDX-License-Identifier: GPL-2.0

//! The devices of the guest, and the choice of a device for a new socket.
//!
//! Each device has its own backend, possibly in its own domain. A socket that is bound, listening
//! or connected stays with its device. A new socket uses a connected device.

use crate::{
    keeper::Keeper,
    link::Link,
    proto::rule::route::{
        route,
        DeviceName,
        Route, //
    }, //
};
use core::{
    mem::swap,
    net::IpAddr, //
};
use kernel::{
    new_spinlock,
    prelude::*,
    sync::{
        Arc,
        GlobalArc,
        SpinLock, //
    }, //
};

/// All devices.
static DEVICES: GlobalArc<Devices> = GlobalArc::new();

/// The devices of the guest, unordered.
#[pin_data]
pub(crate) struct Devices {
    #[pin]
    all: SpinLock<KVec<KnownDevice>>,
}

struct KnownDevice {
    name: DeviceName,
    /// The link while the device is connected.
    link: Option<Arc<Link>>,
    /// Set if the backend exists or may come back.
    is_expected: bool,
}

impl KnownDevice {
    /// Returns the link that new sockets can use.
    fn up(&self) -> Option<&Arc<Link>> {
        self.link.as_ref().filter(|link| link.is_up())
    }
}

/// A device in [`Devices`]. Dropping removes it.
pub(crate) struct DeviceEntry(DeviceName);

impl DeviceEntry {
    /// Adds a device whose backend is expected. May sleep.
    pub(crate) fn new(name: DeviceName) -> Result<Self> {
        let devices = DEVICES.get().ok_or(ENODEV)?;
        let mut room = KVec::new();
        loop {
            let len = {
                let mut all = devices.all.lock();
                if room.capacity() > all.len() {
                    // There is room for all of them.
                    for device in all.drain_all() {
                        let _ = room.push_within_capacity(device);
                    }
                    let _ = room.push_within_capacity(KnownDevice {
                        name,
                        link: None,
                        is_expected: true,
                    });
                    swap(&mut *all, &mut room);
                    break;
                }
                all.len()
            };
            // Outside the lock, where memory can be waited for.
            room = KVec::with_capacity(len + 1, GFP_KERNEL)?;
        }
        Ok(Self(name))
    }

    /// Notes if the backend exists or may come back, or is gone for good. Returns `true` if this
    /// has changed. Process context.
    pub(crate) fn expect(&self, is_expected: bool) -> bool {
        self.with(|device| core::mem::replace(&mut device.is_expected, is_expected) != is_expected)
            .unwrap_or(false)
    }

    /// Sets the link for new sockets, or removes it. May sleep.
    pub(crate) fn set_link(&self, link: Option<Arc<Link>>) {
        // Dropped outside the lock.
        let former = self.with(|device| core::mem::replace(&mut device.link, link));
        drop(former);
    }

    fn with<T>(&self, what: impl FnOnce(&mut KnownDevice) -> T) -> Option<T> {
        let devices = DEVICES.get()?;
        let mut all = devices.all.lock();
        all.iter_mut()
            .find(|device| device.name == self.0)
            .map(what)
    }
}

impl Drop for DeviceEntry {
    fn drop(&mut self) {
        let Some(devices) = DEVICES.get() else {
            return;
        };
        let left = {
            let mut all = devices.all.lock();
            let index = all.iter().position(|device| device.name == self.0);
            index.and_then(|index| all.remove(index).ok())
        };
        drop(left);
    }
}

impl Devices {
    /// Allows devices to be added. May sleep.
    pub(crate) fn keep() -> Result<Keeper<Self>> {
        let devices = pin_init!(Self {
            all <- new_spinlock!(KVec::new(), "xensock_devices"),
        });
        Ok(Keeper::new(&DEVICES, Arc::pin_init(devices, GFP_KERNEL)?))
    }

    /// Returns `true` if a device exists and its backend exists or may come back. Process context.
    pub(crate) fn is_expected(name: DeviceName) -> bool {
        Self::with(|all| {
            all.iter()
                .any(|device| device.name == name && device.is_expected)
        })
    }

    /// Returns the link of a device, if it is connected. Process context.
    pub(crate) fn link(name: DeviceName) -> Option<Arc<Link>> {
        Self::with(|all| {
            let mut named = all.iter().filter(|device| device.name == name);
            named.find_map(KnownDevice::up).cloned()
        })
    }

    /// Returns the first link that passes a test. Process context.
    pub(crate) fn find(test: impl Fn(&Link) -> bool) -> Option<Arc<Link>> {
        Self::after(None, test)
    }

    /// Returns the next link after that of a device, in the order of device names, that passes a
    /// test. Process context.
    pub(crate) fn after(
        last: Option<DeviceName>,
        test: impl Fn(&Link) -> bool,
    ) -> Option<Arc<Link>> {
        Self::with(|all| {
            all.iter()
                .filter(|device| last.is_none_or(|last| device.name.rank() > last.rank()))
                .filter(|device| device.up().is_some_and(|link| test(link)))
                .min_by_key(|device| device.name.rank())
                .and_then(KnownDevice::up)
                .cloned()
        })
    }

    /// Makes each link look for lost sockets that it can set up again. Process context.
    pub(crate) fn revive() {
        let mut last = None;
        while let Some(link) = Self::after(last, |_| true) {
            last = Some(link.name);
            link.revive_survivors();
        }
    }

    /// Returns `true` if any link passes a test, or if there is no link to test. Process context.
    pub(crate) fn may_have(test: impl Fn(&Link) -> bool) -> bool {
        Self::find(test).is_some() || Self::find(|_| true).is_none()
    }

    /// Returns the link for a new socket that will use the address `ip`, or any address. The routes
    /// of its namespace decide; without a match it is the first link. Links that pass the test are
    /// preferred. Process context.
    pub(crate) fn choose(
        routes: &[Route],
        ip: Option<IpAddr>,
        test: impl Fn(&Link) -> bool,
    ) -> Option<Arc<Link>> {
        route(routes, ip, |name| {
            Self::link(name).filter(|link| test(link))
        })
        .or_else(|| Self::find(test))
        .or_else(|| route(routes, ip, Self::link))
        .or_else(|| Self::find(|_| true))
    }

    fn with<T: Default>(what: impl FnOnce(&[KnownDevice]) -> T) -> T {
        DEVICES
            .get()
            .map(|devices| what(&devices.all.lock()))
            .unwrap_or_default()
    }
}
