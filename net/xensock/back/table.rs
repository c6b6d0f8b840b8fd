// SPDX-License-Identifier: GPL-2.0

//! The sockets of a guest, by the ids that the guest has given them.

use crate::{
    active::Active,
    datagram::Datagram,
    listener::Listener,
    socket::{
        AnySocket,
        Socket, //
    }, //
};
use kernel::{
    net::kernel_socket::Tcp,
    prelude::*,
    rbtree::{
        RBTree,
        RBTreeNode, //
    },
    sync::Arc, //
};

/// A socket of a guest.
#[derive(Clone)]
pub(crate) enum Entry {
    /// A stream made by SOCKET: neither connected nor listening.
    Fresh(Arc<Socket<Tcp>>),
    /// Its CONNECT has failed at once, or its BIND to an interface has: it can only be released.
    Spent,
    /// From CONNECT on.
    Active(Arc<Active>),
    /// From LISTEN on.
    Listener(Arc<Listener>),
    /// From ACCEPT on: the listener fills it.
    Accepted(Arc<Active>, Arc<Listener>),
    /// A datagram socket, from SOCKET on.
    Datagram(Arc<Datagram>),
}

impl Entry {
    /// The connection, or the place for one.
    pub(crate) fn active(&self) -> Option<&Arc<Active>> {
        match self {
            Self::Active(active) | Self::Accepted(active, _) => Some(active),
            Self::Fresh(_) | Self::Spent | Self::Listener(_) | Self::Datagram(_) => None,
        }
    }

    /// The socket of TCP or UDP. `ENOTCONN` if there is none: there is no connection yet, or any
    /// more.
    pub(crate) fn socket(&self) -> Result<Arc<dyn AnySocket>> {
        let tcp = match self {
            Self::Fresh(socket) => Some(socket.clone()),
            Self::Spent => None,
            Self::Listener(listener) => listener.socket(),
            Self::Active(active) | Self::Accepted(active, _) => active.socket(),
            Self::Datagram(datagram) => {
                let udp = datagram.socket().ok_or(ENOTCONN)?;
                return Ok(udp);
            }
        };
        Ok(tcp.ok_or(ENOTCONN)?)
    }
}

/// The sockets of a guest.
pub(crate) struct Table {
    entries: RBTree<u64, Entry>,
    len: usize,
}

impl Table {
    pub(crate) fn new() -> Self {
        Self {
            entries: RBTree::new(),
            len: 0,
        }
    }

    /// How many sockets there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Adds a new socket. `EEXIST` if the id is in use.
    pub(crate) fn add(&mut self, id: u64, entry: Entry) -> Result {
        if self.entries.get(&id).is_some() {
            return Err(EEXIST);
        }
        self.entries.insert(RBTreeNode::new(id, entry, GFP_KERNEL)?);
        self.len += 1;
        Ok(())
    }

    /// The socket of this id. `EBADF` if there is none.
    pub(crate) fn get(&self, id: u64) -> Result<&Entry> {
        self.entries.get(&id).ok_or(EBADF)
    }

    /// Changes what a socket is, and returns what it was.
    pub(crate) fn change(&mut self, id: u64, entry: Entry) -> Result<Entry> {
        let old = self.entries.get_mut(&id).ok_or(EBADF)?;
        Ok(core::mem::replace(old, entry))
    }

    /// Takes a socket out.
    pub(crate) fn remove(&mut self, id: u64) -> Result<Entry> {
        let entry = self.entries.remove(&id).ok_or(EBADF)?;
        self.len -= 1;
        Ok(entry)
    }

    /// All sockets.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }
}
