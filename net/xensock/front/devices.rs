// SPDX-License-Identifier: GPL-2.0

//! The devices of the guest, and which of them new sockets go by.
//!
//! Each has a backend of its own, in a domain of its own perhaps. What has an address, listens or is
//! connected stays with its device; what is new goes by one that is connected.

use crate::{
    keeper::Keeper,
    link::Link,
    proto::rule::route::{
        route,
        DeviceName,
        Route, //
    }, //
};
use core::net::IpAddr;
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

/// The devices of the guest, in no order.
#[pin_data]
pub(crate) struct Devices {
    #[pin]
    all: SpinLock<KVec<KnownDevice>>,
}

struct KnownDevice {
    name: DeviceName,
    /// While it is connected.
    link: Option<Arc<Link>>,
    /// Its backend is there, or may come back.
    is_expected: bool,
}

impl KnownDevice {
    /// Returns the link that new sockets can use.
    fn up(&self) -> Option<&Arc<Link>> {
        self.link.as_ref().filter(|link| link.is_up())
    }
}

/// A device that is there. Dropping takes it out.
pub(crate) struct DeviceEntry(DeviceName);

impl DeviceEntry {
    /// Enters a device, whose backend is expected. May sleep.
    pub(crate) fn new(name: DeviceName) -> Result<Self> {
        let device = KnownDevice {
            name,
            link: None,
            is_expected: true,
        };
        let devices = DEVICES.get().ok_or(ENODEV)?;
        devices.all.lock().push(device, GFP_ATOMIC)?;
        Ok(Self(name))
    }

    /// Notes that its backend is there or may come back, or that it is gone for good. Returns whether
    /// that is another thing than before. Process context.
    pub(crate) fn expect(&self, is_expected: bool) -> bool {
        self.with(|device| core::mem::replace(&mut device.is_expected, is_expected) != is_expected)
            .unwrap_or(false)
    }

    /// Has new sockets use a link, or none. May sleep.
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
    /// Lets devices come. May sleep.
    pub(crate) fn keep() -> Result<Keeper<Self>> {
        let devices = pin_init!(Self {
            all <- new_spinlock!(KVec::new(), "xensock_devices"),
        });
        Ok(Keeper::new(&DEVICES, Arc::pin_init(devices, GFP_KERNEL)?))
    }

    /// Returns whether a device is there, and its backend too, or may come back. Process context.
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

    /// Returns the next link after that of a device, in the order of their names, that passes a test.
    /// Process context.
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

    /// Returns whether any link passes a test, or there is none, so that nothing can be said. Process
    /// context.
    pub(crate) fn may_have(test: impl Fn(&Link) -> bool) -> bool {
        Self::find(test).is_some() || Self::find(|_| true).is_none()
    }

    /// Returns the link for a new socket that is to use an address, or none in particular: by the
    /// routes of its namespace, or else the first; one that passes a test, if there is any. Process
    /// context.
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
