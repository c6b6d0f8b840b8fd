// SPDX-License-Identifier: GPL-2.0

//! Multicast groups that a datagram socket joins and leaves.
//!
//! Linux takes RTNL to join or leave a group, and to close a socket that is in an IPv4 group. Any
//! task that changes a network device holds RTNL, perhaps for long. So a socket that uses groups
//! moves all the work of its work item to a separate queue.

use super::DatagramSocket;
use crate::{
    proto::{
        errno,
        option::SockOpt,
        value::Value,
        Body,
        Response, //
    },
    pump::Pump,
    socket::from_number, //
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        Mutex, //
    },
    workqueue::WorkItem, //
};

/// The id of the work item of sockets that have moved.
pub(super) const GROUP_WORK: u64 = 1;

/// A group to join or leave, and the response to the request.
struct GroupChange {
    option: &'static SockOpt,
    value: Value,
    ticket: Response,
}

/// The group requests of a socket.
#[pin_data]
pub(super) struct Groups {
    /// Pending requests, in order. There are no more than the commands ring has slots.
    #[pin]
    pending: Mutex<KVec<GroupChange>>,
    /// Set once the socket has moved to the other work item. Only the first work item sets it, and
    /// does nothing else in that turn.
    uses_group_work: Atomic<bool>,
}

impl Groups {
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            pending <- new_mutex!(KVec::new(), "xensock_asked"),
            uses_group_work: Atomic::new(false),
        })
    }

    /// Returns `true` if the socket has moved. Any context.
    pub(super) fn uses_group_work(&self) -> bool {
        self.uses_group_work.load(Relaxed)
    }

    /// Moves the socket if a request is pending. Returns `true` if the socket has moved.
    pub(super) fn switch_if_needed(&self) -> bool {
        if !self.uses_group_work() && !self.pending.lock().is_empty() {
            self.uses_group_work.store(true, Relaxed);
        }
        self.uses_group_work()
    }

    fn take(&self) -> KVec<GroupChange> {
        core::mem::take(&mut *self.pending.lock())
    }
}

impl DatagramSocket {
    /// Queues the request if the option joins or leaves a group; `ticket` is answered when that is
    /// done. Returns `true` if it is such an option. `EPERM` if the guest may not join the group.
    pub(crate) fn change_group(
        self: &Arc<Self>,
        level: u32,
        name: u32,
        value: &Value,
        ticket: Response,
    ) -> Result<bool> {
        let socket = self.socket().ok_or(ENOTCONN)?;
        let Some(option) = socket.group_option(level, name, value)? else {
            return Ok(false);
        };
        {
            let mut pending = self.groups.pending.lock();
            if option.leaves() && pending.is_empty() && !self.groups.uses_group_work() {
                return Err(from_number(errno::EADDRNOTAVAIL));
            }
            let change = GroupChange {
                option,
                value: *value,
                ticket,
            };
            pending.push(change, GFP_KERNEL)?;
        }
        self.wake();
        Ok(true)
    }

    /// Joins and leaves groups, while the socket is there.
    fn change_groups(&self) {
        for change in self.groups.take() {
            let done = match self.socket() {
                Some(socket) => socket.set_group(change.option, &change.value),
                None => Err(ENOTCONN),
            };
            self.answer(change.ticket, done);
        }
    }

    /// Answers the pending requests with an error.
    pub(super) fn drop_changes(&self) {
        for change in self.groups.take() {
            self.answer(change.ticket, Err(ENOTCONN));
        }
    }

    fn answer(&self, ticket: Response, result: Result) {
        let transport = &self.pump.guest.transport;
        transport.answer(ticket, result.map(|()| Body::Empty));
    }
}

impl WorkItem<GROUP_WORK> for DatagramSocket {
    type Pointer = Arc<DatagramSocket>;

    fn run(this: Arc<DatagramSocket>) {
        this.change_groups();
        this.work();
    }
}
