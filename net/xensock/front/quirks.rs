// SPDX-License-Identifier: GPL-2.0

//! The differences between backends of PV Calls and those of XenSock.

use crate::proto::Dialect;
use kernel::xen::ring::SLOTS;

/// The properties of a link's backend. The defaults are those of XenSock.
pub(crate) trait Quirks: Sync {
    /// Returns `true` if xenstore nodes tell the backend which features are used.
    fn has_features(&self) -> bool {
        true
    }

    /// Returns `true` if sockets can use IPv6.
    fn has_ipv6(&self) -> bool {
        true
    }

    /// Returns `true` if the backend sets options.
    fn has_options(&self) -> bool {
        true
    }

    /// Returns `true` if a bound socket can be connected.
    fn connects_bound(&self) -> bool {
        true
    }

    /// Returns `true` if the response to BIND has the address of the socket, so that the backend
    /// can choose the port.
    fn tells_address(&self) -> bool {
        true
    }

    /// Returns `true` if one direction can be ended before RELEASE ends both.
    fn has_shutdown(&self) -> bool {
        true
    }

    /// Returns `true` if ACCEPTs wait for connections. If not, POLLs wait, each followed by an
    /// ACCEPT.
    fn accepts_ahead(&self) -> bool {
        true
    }

    /// Returns the largest number of slots of the commands ring that listeners waiting in POLL may
    /// take, including lost slots.
    fn max_polls(&self) -> usize {
        usize::MAX
    }

    /// Returns `true` if all requests of a socket are answered before its RELEASE.
    fn answers_all(&self) -> bool {
        true
    }

    /// Returns `true` if a socket may be released while one of its ACCEPTs is unanswered.
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
        // The C backend waits for a connection with POLL or ACCEPT, one at a time. Only with POLL
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
        // The C backend accepts in another thread, which must not lose its listening socket. It
        // gets an ACCEPT only if there is a connection, so it answers at once.
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
