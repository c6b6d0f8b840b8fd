// SPDX-License-Identifier: GPL-2.0

//! The members of a link: connections and listeners.

use core::net::SocketAddr;
use kernel::{
    net::sock::Sock,
    sync::{
        aref::ARef,
        Arc, //
    }, //
};

/// A socket's line in `/proc/net/xensock`.
pub(crate) struct Summary {
    pub(crate) sk: ARef<Sock>,
    pub(crate) is_stream: bool,
    /// Bytes in the receive queue; for a listening socket, connections that wait for `accept()`.
    pub(crate) recv_queue: usize,
    pub(crate) send_queue: u32,
    pub(crate) local: Option<SocketAddr>,
    pub(crate) peer: Option<SocketAddr>,
    /// Sizes of the data ring in the two directions, if the socket has one.
    pub(crate) sizes: Option<(u32, u32)>,
}

/// A member of a link: a connection or a listener, which is notified when the link goes down.
pub(crate) trait Member: Send + Sync {
    /// Returns `true` for a listening socket. The other members share memory with the backend.
    fn is_listener(&self) -> bool;

    /// Returns the user that it belongs to, see [`owner`](crate::endpoint::owner).
    fn owner(&self) -> u64;

    /// Called when the link goes down, for listening sockets first. May sleep.
    fn link_down(self: Arc<Self>);

    /// Called periodically by the work item of [`Link::start_expiry`]. Shrinks the ring if it is
    /// quiet, or if its owner `is_short` of anything. Returns `true` if the ring has grown. Does
    /// not sleep.
    fn age(self: Arc<Self>, is_short: bool) -> bool;

    /// Returns `true` if [`Member::maintain`] has to be called as well. Does not sleep.
    fn needs_maintenance(&self, _is_short: bool) -> bool {
        false
    }

    /// Does the work that may sleep, which [`Member::age`] cannot. Returns `true` if more is left
    /// to do. May sleep.
    fn maintain(&self, _is_short: bool) -> bool {
        false
    }

    /// Returns the summary of the socket, or `None` if another member reports the socket.
    fn summary(&self) -> Option<Summary>;
}
