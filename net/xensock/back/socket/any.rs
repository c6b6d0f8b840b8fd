// SPDX-License-Identifier: GPL-2.0

//! A guest's socket, independent of its protocol.

use super::{
    Bindable,
    Carried,
    GuestSocket, //
};
use crate::proto::value::{
    Piece,
    Value, //
};
use core::net::SocketAddr;
use kernel::prelude::*;

/// Operations of a [`GuestSocket`] of either protocol.
pub(crate) trait SocketCalls {
    /// Checks that the guest may bind to `addr`.
    fn bindable(&self, addr: SocketAddr) -> Result<Bindable>;

    /// Binds to an address, and returns the resulting address.
    fn bind(&self, addr: Bindable) -> Result<SocketAddr>;

    /// Returns the address of the socket.
    fn local_addr(&self) -> Result<SocketAddr>;

    /// Returns the address of the peer. `ENOTCONN` if there is none.
    fn peer_addr(&self) -> Result<SocketAddr>;

    /// Sets an option, if guests may.
    fn set_option(&self, level: u32, name: u32, value: &Value) -> Result;

    /// Reads the piece of an option that begins at `offset`, if guests may.
    fn option(&self, level: u32, name: u32, offset: u32) -> Result<Piece>;
}

impl<P: Carried> SocketCalls for GuestSocket<P> {
    fn bindable(&self, addr: SocketAddr) -> Result<Bindable> {
        GuestSocket::bindable(self, addr)
    }

    fn bind(&self, addr: Bindable) -> Result<SocketAddr> {
        GuestSocket::bind(self, addr)
    }

    fn local_addr(&self) -> Result<SocketAddr> {
        GuestSocket::local_addr(self)
    }

    fn peer_addr(&self) -> Result<SocketAddr> {
        GuestSocket::peer_addr(self)
    }

    fn set_option(&self, level: u32, name: u32, value: &Value) -> Result {
        GuestSocket::set_option(self, level, name, value)
    }

    fn option(&self, level: u32, name: u32, offset: u32) -> Result<Piece> {
        self.amended_option(level, name, offset, |_, _| ())
    }
}
