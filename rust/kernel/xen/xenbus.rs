// SPDX-License-Identifier: GPL-2.0

//! xenbus: the bus of Xen's split devices.
//!
//! The toolstack makes a device by writing a directory for each of its ends to xenstore, a small
//! hierarchical database that all domains can access, with permissions. A [`Driver`] is bound to
//! each end ([`Device`]); the two tell each other by nodes in their directories ([`store`]) what
//! they have to offer, and by the node `state` how far they are ([`State`]). Who wants to know of
//! changes to other nodes has to watch them ([`Watch`]).
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
    Side,
    Verdict, //
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
    /// There is no state, or none that has a meaning: the end does not exist (any more).
    Unknown,

    /// No driver has done anything yet.
    Initialising,

    /// The driver has done what it can without the other end, and waits for its details.
    InitWait,

    /// The driver has published its details, and waits for the other end to connect.
    Initialised,

    /// In service.
    Connected,

    /// On the way out, because of an error or because somebody wants it.
    Closing,

    /// Nothing is shared any more.
    Closed,

    /// The device is being reconfigured.
    Reconfiguring,

    /// The device was reconfigured.
    Reconfigured,
}

impl State {
    /// Returns the number by which the state goes in xenstore.
    #[inline]
    pub fn number(self) -> u32 {
        self.into_raw().0
    }

    /// Makes a state of the value in C. Values without a meaning, which the peer can write, are
    /// [`State::Unknown`].
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

    /// Returns the value in C.
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
