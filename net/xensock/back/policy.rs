// SPDX-License-Identifier: GPL-2.0

//! What a guest may do.
//!
//! A refusal is `EACCES`; what a guest has too much of is `EMFILE` or `ENOBUFS`. These are the safe
//! defaults for guests whose sockets are made in the initial network namespace.

use core::net::SocketAddr;
use kernel::{
    net::namespace::Namespace,
    prelude::*, //
};

/// Sockets that a guest may have.
pub(crate) const MAX_SOCKETS: usize = 4096;

/// Pages of a guest that may be mapped for its data rings: 128 MiB.
pub(crate) const MAX_PAGES: usize = 32768;

/// Whether a guest may connect to `addr`.
///
/// The loopback network of this domain is not the guest's, and Linux takes the unspecified address
/// for it.
pub(crate) fn may_connect(addr: &SocketAddr) -> Result {
    let ip = addr.ip().to_canonical();
    if ip.is_loopback() || ip.is_unspecified() {
        return Err(EACCES);
    }
    Ok(())
}

/// The network namespace in which the sockets of guests are made.
pub(crate) fn namespace() -> &'static Namespace {
    Namespace::init()
}
