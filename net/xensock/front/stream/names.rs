// SPDX-License-Identifier: GPL-2.0

//! The addresses of a socket and of its peer.

use super::Stream;
use crate::{
    addresses::any,
    commands::address,
    conn::Conn,
    errors::has_nothing_to_ask,
    proto::Call, //
};
use core::net::SocketAddr;
use kernel::{
    net::{
        family::Name,
        sock::{
            Sock,
            TcpState, //
        },
    },
    prelude::*, //
};

impl Stream {
    /// `getsockname()` and `getpeername()`, as `inet_getname()` does it.
    pub(crate) fn name(&self, sk: &Sock, name: Name) -> Result<SocketAddr> {
        match name {
            Name::Local => self.local_name(),
            Name::Peer if matches!(sk.state(), TcpState::Close | TcpState::SynSent) => {
                Err(ENOTCONN)
            }
            Name::Peer | Name::LastPeer => {
                let conn = self.conn().ok_or(ENOTCONN)?;
                // PV Calls does not report the address of an accepted peer.
                let unknown = any(conn.remote.domain);
                Ok(conn.peer.copy().unwrap_or(unknown))
            }
        }
    }

    fn local_name(&self) -> Result<SocketAddr> {
        if let Some(conn) = self.conn() {
            if let Some(name) = connected_name(&conn)? {
                return Ok(name);
            }
        }
        Ok(self.endpoint.bound_name())
    }
}

/// Returns the local address of a connection, if the backend reports it.
fn connected_name(conn: &Conn) -> Result<Option<SocketAddr>> {
    if let Some(name) = conn.local.copy() {
        return Ok(Some(name));
    }
    let id = conn.remote.id;
    match conn.remote.send_and_wait(Call::GetName { id, peer: false }) {
        Ok(response) => {
            let name = address(&response).filter(|name| name.port() != 0);
            if let Some(name) = name {
                let _ = conn.local.populate(name);
            }
            Ok(name)
        }
        Err(error) if has_nothing_to_ask(error) => Ok(None),
        Err(error) => Err(error),
    }
}
