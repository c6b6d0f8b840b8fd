// SPDX-License-Identifier: GPL-2.0

//! What frontends of PV Calls do otherwise than those of XenSock.

use crate::proto::{
    node,
    Dialect, //
};
use kernel::prelude::*;

/// What the backend does for the frontends of a dialect. Where nothing else is said, it is what
/// XenSock has.
pub(crate) trait Quirks: Sync {
    /// Returns the largest order of a ring to be offered, if the policy allows `order`.
    fn offered_order(&self, order: u32) -> u32 {
        order
    }

    /// Returns the nodes that an offer has besides.
    fn offered_nodes(&self) -> &'static [(&'static CStr, u32)] {
        &[]
    }

    /// Returns whether sockets can be of IPv6.
    fn has_ipv6(&self) -> bool {
        true
    }

    /// Returns whether a socket that has no address may listen, and gets one then.
    fn listens_unbound(&self) -> bool {
        true
    }

    /// Returns whether ACCEPTs come before a program asks for a connection, so that connections wait
    /// with the guest.
    fn accepts_ahead(&self) -> bool {
        true
    }

    /// Returns whether an ACCEPT is answered that is given up since its listener is closed.
    fn answers_lost_accepts(&self) -> bool {
        true
    }
}

struct XenSockQuirks;

impl Quirks for XenSockQuirks {}

struct PvCallsQuirks;

impl Quirks for PvCallsQuirks {
    fn offered_order(&self, order: u32) -> u32 {
        // With less there is no link at all. The policy still refuses such rings.
        order.max(node::PVCALLS_PAGE_ORDER)
    }

    fn offered_nodes(&self) -> &'static [(&'static CStr, u32)] {
        &[
            (node::FUNCTION_CALLS, node::ALL_CALLS),
            (node::NATIVE_OFFERED, 1),
        ]
    }

    fn has_ipv6(&self) -> bool {
        false
    }

    fn listens_unbound(&self) -> bool {
        // The frontends say nothing of a BIND that has failed, but of this.
        false
    }

    fn accepts_ahead(&self) -> bool {
        false
    }

    fn answers_lost_accepts(&self) -> bool {
        // The C frontend has such an ACCEPT only if nobody waits for it, and no place for its answer:
        // the slot would stay in use, and stop the ring when its turn comes again.
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
