// SPDX-License-Identifier: GPL-2.0

//! The fields of a request: their offsets in the slot, and access to those with an address.

use core::net::SocketAddr;

use super::super::{
    addr::{
        self,
        BadAddr, //
    },
    bytes::{
        get,
        get_u32,
        put,
        put_u32,
        SLOT, //
    },
    dialect::Dialect, //
};

/// Offset of `req_id`, of every request.
pub(super) const REQ_ID: usize = 0;
/// Offset of `cmd`, of every request.
pub(super) const CMD: usize = 4;
/// Offset of the id of the socket, of every request.
pub(super) const ID: usize = 8;
/// Offset of the family of SOCKET.
pub(super) const DOMAIN: usize = 16;
/// Offset of the type of SOCKET.
pub(super) const KIND: usize = 20;
/// Offset of the protocol of SOCKET.
pub(super) const PROTOCOL: usize = 24;
/// Offset of the owner of SOCKET.
pub(super) const OWNER: usize = 32;
/// Offset of the address of CONNECT and BIND.
pub(super) const ADDR: usize = 16;
/// Offset of the length of that address.
pub(super) const ADDR_LEN: usize = 44;
/// Offset of the flags of CONNECT.
pub(super) const FLAGS: usize = 48;
/// Offset of the grant of the indexes page in CONNECT.
pub(super) const CONNECT_REF: usize = 52;
/// Offset of the event channel in CONNECT.
pub(super) const CONNECT_PORT: usize = 56;
/// Offset of the direction of SHUTDOWN.
pub(super) const HOW: usize = 16;
/// Offset of the byte of RELEASE which says that the grants and the event channel will be used
/// again.
pub(super) const REUSE: usize = 16;
/// Offset of the byte of RELEASE which says to reset the connection.
pub(super) const ABORT: usize = 17;
/// Offset of the backlog of LISTEN.
pub(super) const BACKLOG: usize = 16;
/// Offset of the id of the new socket in ACCEPT.
pub(super) const ID_NEW: usize = 16;
/// Offset of the grant of the indexes page in ACCEPT.
pub(super) const ACCEPT_REF: usize = 24;
/// Offset of the event channel in ACCEPT.
pub(super) const ACCEPT_PORT: usize = 28;
/// Offset of the level of SETSOCKOPT and GETSOCKOPT.
pub(super) const LEVEL: usize = 16;
/// Offset of the option of SETSOCKOPT and GETSOCKOPT.
pub(super) const NAME: usize = 20;
/// Offset of the length of the value in SETSOCKOPT.
pub(super) const VALUE_LEN: usize = 24;
/// Offset of the value in SETSOCKOPT.
pub(super) const VALUE: usize = 28;
/// Offset of the position in the value in GETSOCKOPT.
pub(super) const OFFSET: usize = 24;
/// Offset of the word of GETNAME which chooses the socket or the peer.
pub(super) const PEER: usize = 16;
/// Offset of the grant of the indexes page in ATTACH.
pub(super) const ATTACH_REF: usize = 16;
/// Offset of the event channel in ATTACH.
pub(super) const ATTACH_PORT: usize = 20;
/// Offset of the grant of the indexes page in UNMAP.
pub(super) const UNMAP_REF: usize = 16;
/// Offset of the event channel in UNMAP.
pub(super) const UNMAP_PORT: usize = 20;

/// Offset of the direction of GROW and SHRINK.
pub(super) const WAY: usize = 16;
/// Offset of the order of GROW.
pub(super) const ORDER: usize = 20;

/// Returns `true` if the address of CONNECT has family 0, which PV Calls does not have.
pub(super) fn is_unspec(dialect: Dialect, slot: &[u8; SLOT]) -> bool {
    dialect == Dialect::XenSock
        && addr::is_unspec(&get::<ADDR, { addr::LEN }>(slot), get_u32::<ADDR_LEN>(slot))
}

/// Puts the address of CONNECT or BIND.
pub(super) fn put_addr(dialect: Dialect, slot: &mut [u8; SLOT], addr: &SocketAddr) -> Option<()> {
    let (bytes, len) = addr::encode(dialect, addr)?;

    put::<ADDR, { addr::LEN }>(slot, bytes);
    put_u32::<ADDR_LEN>(slot, len);
    Some(())
}

/// Returns the address of CONNECT or BIND.
pub(super) fn get_addr(dialect: Dialect, slot: &[u8; SLOT]) -> Result<SocketAddr, BadAddr> {
    addr::decode(
        dialect,
        &get::<ADDR, { addr::LEN }>(slot),
        get_u32::<ADDR_LEN>(slot),
    )
}
