// SPDX-License-Identifier: GPL-2.0

//! xenbus: the bus of Xen's split devices.
//!
//! The toolstack creates a device by writing one directory per end to xenstore, a small
//! hierarchical database that all domains can access, subject to permissions. A [`Driver`] binds to
//! each end ([`Device`]). The two drivers publish their parameters in nodes of their directories
//! ([`store`]) and their progress in the node `state` ([`State`]). A driver that needs to know of
//! changes to other nodes sets a watch ([`Watch`]).
//!
//! C header: [`include/xen/xenbus.h`](srctree/include/xen/xenbus.h)

mod device;
mod driver;
pub mod store;
mod watch;

pub use self::device::Device;
pub use self::driver::{
    Adapter,
    DeviceId,
    Driver,
    IdTable,
    Side, //
};
pub use self::store::{
    Dir,
    Directory,
    Names,
    Transaction, //
};
pub use self::watch::{
    Watch,
    Watcher, //
};

use crate::{
    bindings,
    fmt, //
};

/// The state of one end of a device.
///
/// Corresponds to the C `enum xenbus_state`, see
/// [`include/xen/interface/io/xenbus.h`](srctree/include/xen/interface/io/xenbus.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The end does not exist (any more), or its state has no defined meaning.
    Unknown,

    /// The driver has not done anything yet.
    Initialising,

    /// The driver has done what it can without the other end, and waits for the other end's
    /// parameters.
    InitWait,

    /// The driver has published its parameters, and waits for the other end to connect.
    Initialised,

    /// The device is in service.
    Connected,

    /// The end is shutting down, because of an error or on request.
    Closing,

    /// The end shares nothing with the peer any more.
    Closed,

    /// The device is being reconfigured.
    Reconfiguring,

    /// The device was reconfigured.
    Reconfigured,
}

impl State {
    /// Returns the number that stands for the state in xenstore.
    #[inline]
    pub fn number(self) -> u32 {
        self.into_raw().0
    }

    /// Converts from the number in xenstore. As [`Self::from_raw`].
    pub(super) fn from_number(number: u32) -> Self {
        Self::from_raw(bindings::xenbus_state(number))
    }

    /// Converts from the C value. Values without a defined meaning, which the peer can write,
    /// become [`State::Unknown`].
    pub(super) fn from_raw(state: bindings::xenbus_state) -> Self {
        match state {
            bindings::xenbus_state::XenbusStateInitialising => Self::Initialising,
            bindings::xenbus_state::XenbusStateInitWait => Self::InitWait,
            bindings::xenbus_state::XenbusStateInitialised => Self::Initialised,
            bindings::xenbus_state::XenbusStateConnected => Self::Connected,
            bindings::xenbus_state::XenbusStateClosing => Self::Closing,
            bindings::xenbus_state::XenbusStateClosed => Self::Closed,
            bindings::xenbus_state::XenbusStateReconfiguring => Self::Reconfiguring,
            bindings::xenbus_state::XenbusStateReconfigured => Self::Reconfigured,
            _ => Self::Unknown,
        }
    }

    /// Converts to the C value.
    pub(super) fn into_raw(self) -> bindings::xenbus_state {
        match self {
            Self::Unknown => bindings::xenbus_state::XenbusStateUnknown,
            Self::Initialising => bindings::xenbus_state::XenbusStateInitialising,
            Self::InitWait => bindings::xenbus_state::XenbusStateInitWait,
            Self::Initialised => bindings::xenbus_state::XenbusStateInitialised,
            Self::Connected => bindings::xenbus_state::XenbusStateConnected,
            Self::Closing => bindings::xenbus_state::XenbusStateClosing,
            Self::Closed => bindings::xenbus_state::XenbusStateClosed,
            Self::Reconfiguring => bindings::xenbus_state::XenbusStateReconfiguring,
            Self::Reconfigured => bindings::xenbus_state::XenbusStateReconfigured,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
