// SPDX-License-Identifier: GPL-2.0

//! The sockets of a guest, by the ids that the guest has given them.

use crate::{
    active::Active,
    policy, //
};
use kernel::{
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
    /// Made by SOCKET, and nothing more.
    Fresh,
    /// Its CONNECT was refused: it can only be released.
    Spent,
    /// A connection, from CONNECT on.
    Active(Arc<Active>),
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

    /// Adds a new socket. `EEXIST` for an id that is in use, `EMFILE` beyond the quota.
    pub(crate) fn add(&mut self, id: u64) -> Result {
        if self.entries.get(&id).is_some() {
            return Err(EEXIST);
        }
        if self.len >= policy::MAX_SOCKETS {
            return Err(EMFILE);
        }
        self.entries
            .insert(RBTreeNode::new(id, Entry::Fresh, GFP_KERNEL)?);
        self.len += 1;
        Ok(())
    }

    /// The socket of this id. `EBADF` if there is none.
    pub(crate) fn get(&self, id: u64) -> Result<&Entry> {
        self.entries.get(&id).ok_or(EBADF)
    }

    /// Changes what a socket is.
    pub(crate) fn change(&mut self, id: u64, entry: Entry) -> Result {
        *self.entries.get_mut(&id).ok_or(EBADF)? = entry;
        Ok(())
    }

    /// Takes a socket out.
    pub(crate) fn remove(&mut self, id: u64) -> Result<Entry> {
        let entry = self.entries.remove(&id).ok_or(EBADF)?;
        self.len -= 1;
        Ok(entry)
    }

    /// All connections.
    pub(crate) fn actives(&self) -> impl Iterator<Item = &Arc<Active>> {
        self.entries.values().filter_map(|entry| match entry {
            Entry::Active(active) => Some(active),
            Entry::Fresh | Entry::Spent => None,
        })
    }
}
