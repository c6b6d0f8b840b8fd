// SPDX-License-Identifier: GPL-2.0

//! The tie of a guest's socket to an interface.
//!
//! An address that is valid on one link only has a scope, the number of an interface. Once a socket
//! was bound or connected to such an address, Linux sends through that interface to whatever
//! address, as with `SO_BINDTODEVICE`, and takes what has no route for a neighbour there. A guest
//! must not choose that. So a tied socket reaches only addresses that have a scope.

use super::{
    Carried,
    GuestSocket, //
};
use crate::proto::{
    control::is_link_local,
    info::Info, //
};
use core::net::SocketAddr;
use kernel::{
    net::kernel_socket::Udp,
    new_mutex,
    prelude::*,
    sync::{
        lock::mutex::MutexGuard,
        Mutex, //
    }, //
};

/// Tells if a socket is tied.
#[pin_data]
pub(super) struct Tie {
    /// Held while this changes, and while a datagram is checked and sent.
    #[pin]
    is_tied: Mutex<bool>,
}

impl Tie {
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            is_tied <- new_mutex!(false, "xensock_tie"),
        })
    }
}

impl<P: Carried> GuestSocket<P> {
    /// Calls `what`, by which Linux binds or connects the socket to `addr`. If the address has a
    /// scope, the socket is tied then, even if that fails.
    pub(super) fn tied_by(&self, addr: &SocketAddr, what: impl FnOnce() -> Result) -> Result {
        if !names_interface(addr) {
            return what();
        }
        let mut is_tied = self.tie.is_tied.lock();
        *is_tied = true;
        what()
    }

    /// Checks that the socket is not tied, or that `addr` has a scope. `ENETUNREACH` if not.
    pub(super) fn check_tie(&self, addr: &SocketAddr) -> Result {
        match *self.tie.is_tied.lock() && !has_scope(addr) {
            true => Err(ENETUNREACH),
            false => Ok(()),
        }
    }
}

impl GuestSocket<Udp> {
    /// Dissolves the association with a peer. Linux unties the socket, too.
    pub(crate) fn disconnect(&self) -> Result {
        let mut is_tied = self.tie.is_tied.lock();
        self.inner.disconnect()?;
        *is_tied = false;
        Ok(())
    }

    /// Does what [`Self::check_tie`] does for a datagram to `to` or the peer, which `info` may tie to
    /// the interface of its source. The socket is not tied before the result is dropped.
    pub(super) fn check_tie_to_send(
        &self,
        to: Option<SocketAddr>,
        info: Option<&Info>,
    ) -> Result<Option<MutexGuard<'_, bool>>> {
        if !self.is_ipv6() {
            return Ok(None);
        }
        let is_tied = self.tie.is_tied.lock();
        let source = info.and_then(|info| info.local);
        if *is_tied || source.as_ref().is_some_and(names_interface) {
            // Without a peer Linux refuses the datagram.
            let to = to.or_else(|| self.peer_addr().ok());
            if to.is_some_and(|to| !has_scope(&to)) {
                return Err(ENETUNREACH);
            }
        }
        Ok(Some(is_tied))
    }
}

/// Returns `true` if an address is of the kind that has a scope.
fn has_scope(addr: &SocketAddr) -> bool {
    matches!(addr, SocketAddr::V6(addr) if is_link_local(addr.ip()))
}

/// Returns `true` if an address has a scope that is given.
fn names_interface(addr: &SocketAddr) -> bool {
    has_scope(addr) && matches!(addr, SocketAddr::V6(addr) if addr.scope_id() != 0)
}
