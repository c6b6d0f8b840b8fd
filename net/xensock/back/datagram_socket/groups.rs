// SPDX-License-Identifier: GPL-2.0

//! The groups that a datagram socket joins and leaves.
//!
//! Linux takes RTNL for that, and when a socket is closed that is in a group of IPv4. Whoever changes
//! something about any network device holds it, maybe for long. So a socket that has to do with groups
//! moves to a queue for such, with all that its work item does.

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

/// The work item for those who have moved.
pub(super) const GROUPS: u64 = 1;

/// A group to be joined or left, and the answer to that.
struct GroupChange {
    option: &'static SockOpt,
    value: Value,
    ticket: Response,
}

/// What a socket has to do with groups.
#[pin_data]
pub(super) struct Groups {
    /// What is to be done, in this order. There are no more than the commands ring has slots.
    #[pin]
    asked: Mutex<KVec<GroupChange>>,
    /// Set by the work item for those who have not moved, which does nothing else then.
    has_moved: Atomic<bool>,
}

impl Groups {
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            asked <- new_mutex!(KVec::new(), "xensock_asked"),
            has_moved: Atomic::new(false),
        })
    }

    /// Returns whether the socket has moved. Any context.
    pub(super) fn has_moved(&self) -> bool {
        self.has_moved.load(Relaxed)
    }

    /// Moves it, if there is something to be done. Returns whether it has moved.
    pub(super) fn move_if_needed(&self) -> bool {
        if !self.has_moved() && !self.asked.lock().is_empty() {
            self.has_moved.store(true, Relaxed);
        }
        self.has_moved()
    }

    fn take(&self) -> KVec<GroupChange> {
        core::mem::take(&mut *self.asked.lock())
    }
}

impl DatagramSocket {
    /// Has a group joined or left, and `ticket` answered then, if the option is for that. Returns
    /// whether it is. `EPERM` if the guest may not join it.
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
            let mut asked = self.groups.asked.lock();
            if option.leaves() && asked.is_empty() && !self.groups.has_moved() {
                return Err(from_number(errno::EADDRNOTAVAIL));
            }
            let change = GroupChange {
                option,
                value: *value,
                ticket,
            };
            asked.push(change, GFP_KERNEL)?;
        }
        self.wake();
        Ok(true)
    }

    /// Joins and leaves groups, as long as the socket is there.
    fn change_groups(&self) {
        for change in self.groups.take() {
            let done = match self.socket() {
                Some(socket) => socket.set_group(change.option, &change.value),
                None => Err(ENOTCONN),
            };
            self.answer(change.ticket, done);
        }
    }

    /// Says of what has not been done that it will not be.
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

impl WorkItem<GROUPS> for DatagramSocket {
    type Pointer = Arc<DatagramSocket>;

    fn run(this: Arc<DatagramSocket>) {
        this.change_groups();
        this.work();
    }
}
