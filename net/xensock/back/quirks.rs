// SPDX-License-Identifier: GPL-2.0

//! The differences of PV Calls frontends from XenSock frontends.

use crate::proto::{
    node,
    Dialect, //
};
use kernel::prelude::*;

/// The backend's behaviour towards frontends of a dialect. The defaults are XenSock's.
pub(crate) trait Quirks: Sync {
    /// Passes the numbers of an offer to `write`, if the policy allows rings of `order`.
    fn offer(&self, order: u32, write: &mut dyn FnMut(&CStr, u32) -> Result) -> Result {
        write(node::MAX_PAGE_ORDER, order)
    }

    /// Returns `true` if sockets can be IPv6 sockets.
    fn has_ipv6(&self) -> bool {
        true
    }

    /// Returns `true` if a socket without an address may listen, which gives it one.
    fn listens_unbound(&self) -> bool {
        true
    }

    /// Returns `true` if a socket may connect again after CONNECT has failed.
    fn reconnects(&self) -> bool {
        false
    }

    /// Returns `true` if ACCEPTs come before a program asks for a connection, so that connections
    /// wait with the guest.
    fn accepts_ahead(&self) -> bool {
        true
    }

    /// Returns `true` if an ACCEPT is answered when it is given up because its listener is closed.
    fn answers_lost_accepts(&self) -> bool {
        true
    }
}

struct XenSockQuirks;

impl Quirks for XenSockQuirks {}

struct PvCallsQuirks;

impl Quirks for PvCallsQuirks {
    fn offer(&self, order: u32, write: &mut dyn FnMut(&CStr, u32) -> Result) -> Result {
        // With a smaller order the C frontend sets up no link. The policy still refuses larger
        // rings.
        write(node::MAX_PAGE_ORDER, order.max(node::PVCALLS_PAGE_ORDER))?;
        write(node::FUNCTION_CALLS, node::ALL_CALLS)?;
        write(node::NATIVE_OFFERED, 1)?;
        write(node::NATIVE_MAX_PAGE_ORDER, order)
    }

    fn has_ipv6(&self) -> bool {
        false
    }

    fn listens_unbound(&self) -> bool {
        // These frontends do not report a failed BIND to the program, but they report this error.
        false
    }

    fn reconnects(&self) -> bool {
        // These frontends have a program that connects again send CONNECT for the same socket.
        true
    }

    fn accepts_ahead(&self) -> bool {
        false
    }

    fn answers_lost_accepts(&self) -> bool {
        // The C frontend has such an ACCEPT only if no task waits for it, and then has no place for
        // its response: the slot would stay in use, and stop the ring when its turn comes again.
        false
    }
}

/// Returns the quirks of a dialect.
pub(crate) fn of(dialect: Dialect) -> &'static dyn Quirks {
    match dialect {
        Dialect::XenSock => &XenSockQuirks,
        Dialect::PvCalls => &PvCallsQuirks,
    }
}
