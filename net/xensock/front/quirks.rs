// SPDX-License-Identifier: GPL-2.0

//! What backends of PV Calls do otherwise than those of XenSock.

use crate::proto::Dialect;
use kernel::xen::ring::SLOTS;

/// What the backend of a link does. Where nothing else is said, it is what XenSock has.
pub(crate) trait Quirks: Sync {
    /// Returns whether there are nodes that say which features are taken up.
    fn has_features(&self) -> bool {
        true
    }

    /// Returns whether sockets can be of IPv6.
    fn has_ipv6(&self) -> bool {
        true
    }

    /// Returns whether the backend sets options.
    fn has_options(&self) -> bool {
        true
    }

    /// Returns whether a socket that has an address can be connected.
    fn connects_bound(&self) -> bool {
        true
    }

    /// Returns whether the answer to BIND says which address the socket has, so that the backend can
    /// choose the port.
    fn tells_address(&self) -> bool {
        true
    }

    /// Returns whether one direction can be ended before RELEASE ends both.
    fn has_shutdown(&self) -> bool {
        true
    }

    /// Returns whether ACCEPTs wait for connections. If not, a POLL does, and an ACCEPT comes after it.
    fn accepts_ahead(&self) -> bool {
        true
    }

    /// Returns how many slots of the commands ring may be taken by listeners that wait in POLL, or be
    /// lost with them, at the most.
    fn max_polls(&self) -> usize {
        usize::MAX
    }

    /// Returns whether all that was asked of a socket is answered before its RELEASE.
    fn answers_all(&self) -> bool {
        true
    }

    /// Returns whether a socket may be released while an ACCEPT of it is unanswered.
    fn releases_accepting(&self) -> bool {
        true
    }
}

struct XenSockQuirks;

impl Quirks for XenSockQuirks {}

struct PvCallsQuirks;

impl Quirks for PvCallsQuirks {
    fn has_features(&self) -> bool {
        false
    }

    fn has_ipv6(&self) -> bool {
        false
    }

    fn has_options(&self) -> bool {
        false
    }

    fn connects_bound(&self) -> bool {
        // A socket is either for BIND or for CONNECT.
        false
    }

    fn tells_address(&self) -> bool {
        false
    }

    fn has_shutdown(&self) -> bool {
        false
    }

    fn accepts_ahead(&self) -> bool {
        // The C backend waits for a connection with either, and has room for one of them. Only with POLL
        // is it safe to close the socket meanwhile.
        false
    }

    fn max_polls(&self) -> usize {
        // CAST: Widens.
        SLOTS as usize - 8
    }

    fn answers_all(&self) -> bool {
        // The C backend never answers the POLL of a socket that it has released.
        false
    }

    fn releases_accepting(&self) -> bool {
        // The C backend accepts in another thread, which must not lose its listening socket. It is
        // asked only for a connection that is there, so that it answers at once.
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
