// SPDX-License-Identifier: GPL-2.0

//! Requests that wait for a slot of the commands ring.
//!
//! The requests of a user are sent in their order, and so are those of a socket, which belongs to
//! one user. Users take turns: a user with many requests has one of them sent before it is the turn
//! of the next user.

use super::Exchange;
use crate::proto::{
    turns::{
        queue_of,
        Turns,
        QUEUES, //
    },
    Call, //
};
use kernel::list::{
    List,
    ListArc, //
};

/// Requests that wait for a slot. Two users may share a queue.
pub(super) struct RequestQueue {
    queues: [List<Exchange>; QUEUES],
    turns: Turns,
}

impl RequestQueue {
    pub(super) fn new() -> Self {
        Self {
            queues: core::array::from_fn(|_| List::new()),
            turns: Turns::new(),
        }
    }

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
            self.turns.give_back(queue);
        }
    }

    /// Returns all requests, in no particular order.
    pub(super) fn calls(&self) -> impl Iterator<Item = Call> + '_ {
        let queues = self.queues.iter();
        queues.flat_map(|items| items.iter().map(|item| item.call()))
    }
}
