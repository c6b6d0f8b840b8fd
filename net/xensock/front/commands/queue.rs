// SPDX-License-Identifier: GPL-2.0

//! Requests that wait for a slot of the commands ring.
//!
//! The requests of a user are sent in their order, and so are those of a socket, which belongs to
//! one user. Users take turns: a user with many requests has one of them sent before it is the turn
//! of the next user. A RELEASE that has to wait for an ACCEPT is set aside, so that it delays no
//! other request.

use super::Exchange;
use crate::proto::{
    turns::{
        queue_of,
        Turns,
        QUEUES, //
    },
    Call, //
};
use kernel::{
    list::{
        List,
        ListArc, //
    },
    sync::Arc, //
};

/// Requests that wait for a slot. Two users may share a queue.
pub(super) struct RequestQueue {
    queues: [List<Exchange>; QUEUES],
    turns: Turns,
    /// The requests that were set aside, in their order. They are the last of their sockets.
    aside: List<Exchange>,
}

impl RequestQueue {
    pub(super) fn new() -> Self {
        Self {
            queues: core::array::from_fn(|_| List::new()),
            turns: Turns::new(),
            aside: List::new(),
        }
    }

    /// Returns `true` if there are no requests, but for those set aside.
    pub(super) fn is_empty(&self) -> bool {
        self.turns.is_over()
    }

    /// Appends a request.
    pub(super) fn push(&mut self, item: ListArc<Exchange>) {
        let queue = queue_of(item.owner);
        if let Some(items) = self.queues.get_mut(queue) {
            items.push_back(item);
            self.turns.fill(queue);
        }
    }

    /// Takes the next request.
    pub(super) fn pop(&mut self) -> Option<ListArc<Exchange>> {
        let queue = self.turns.next()?;
        let items = self.queues.get_mut(queue)?;
        let item = items.pop_front();
        self.turns.pass(queue, !items.is_empty());
        item
    }

    /// Puts back a request that was the next and cannot be sent. It stays the next.
    pub(super) fn put_back(&mut self, item: ListArc<Exchange>) {
        let queue = queue_of(item.owner);
        if let Some(items) = self.queues.get_mut(queue) {
            items.push_front(item);
            self.turns.return_turn(queue);
        }
    }

    /// Sets a request aside, which is to be the last of its socket.
    pub(super) fn set_aside(&mut self, item: ListArc<Exchange>) {
        self.aside.push_back(item);
    }

    /// Makes the requests that were set aside the next of their users.
    pub(super) fn resume(&mut self) {
        while let Some(item) = self.aside.pop_back() {
            self.put_back(item);
        }
    }

    /// Returns the request of a socket that was set aside.
    pub(super) fn aside_of(&self, id: u64) -> Option<Arc<Exchange>> {
        let item = self.aside.iter().find(|item| item.call().id() == id)?;
        Some(item.into())
    }

    /// Returns all requests, but for those set aside, in no particular order.
    pub(super) fn calls(&self) -> impl Iterator<Item = Call> + '_ {
        let queues = self.queues.iter();
        queues.flat_map(|items| items.iter().map(|item| item.call()))
    }
}
