// SPDX-License-Identifier: GPL-2.0

//! Groups that a datagram socket had joined before it lost its link, and that it could not join
//! again at once: the interface may not be up yet, for example.
//!
//! With UDP a socket stays in a group whatever happens to the interface. So the link asks the
//! backend again each second.

use super::Conn;
use crate::{
    commands::{
        Exchange,
        Priority, //
    },
    errors::may_pass,
    proto::{
        option::{
            is_group_of,
            SockOpt, //
        },
        value::Value,
        Call, //
    }, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

impl Conn {
    /// Sends requests to join groups again later. They have failed for reasons that [may
    /// pass](may_pass). Called once.
    pub(crate) fn join_later(&self, joins: KVec<Arc<Exchange>>) {
        if !joins.is_empty() {
            *self.joins.lock() = joins;
            self.remote.link.start_expiry();
        }
    }

    /// Forgets a group that the program leaves with this value of `option`, before the request to
    /// leave is sent. Returns the request to join it if the socket was yet to do so. Does not sleep.
    pub(crate) fn leave_early(&self, option: &SockOpt, value: &Value) -> Option<Arc<Exchange>> {
        let mut joins = self.joins.lock();
        let has_joined = |join: &Arc<Exchange>| join.is_over() && join.error().is_none();
        let is_it = |join: &Arc<Exchange>| match join.call() {
            _ if has_joined(join) => false,
            Call::SetSockOpt {
                level,
                value: joined,
                ..
            } => level == option.level && is_group_of(option, value.as_bytes(), joined.as_bytes()),
            _ => false,
        };
        let index = joins.iter().position(is_it)?;
        joins.remove(index).ok()
    }

    /// Takes a request back that [`Self::leave_early`] has returned: the group was not left. Does not
    /// sleep.
    pub(crate) fn keep_joining(&self, join: Arc<Exchange>) {
        // There is room, as nothing else is added to the list.
        let _ = self.joins.lock().push_within_capacity(join);
        // The list may have been empty meanwhile.
        self.remote.link.start_expiry();
    }

    /// Returns `true` if there are groups to join again. Does not sleep.
    pub(super) fn misses_groups(&self) -> bool {
        !self.joins.lock().is_empty()
    }

    /// Sends the requests again that have failed. Returns `true` if there are some to look at later.
    /// May sleep, but does not wait for the backend.
    pub(super) fn join_again(&self) -> bool {
        self.drop_decided_joins();
        let count = self.joins.lock().len();
        for index in 0..count {
            let failed = self.joins.lock().get(index).cloned();
            let Some(failed) = failed.filter(|join| join.is_over()) else {
                continue;
            };
            // Without memory, the next check sends it.
            let Ok(again) = self.remote.exchange(failed.call()) else {
                break;
            };
            let mut joins = self.joins.lock();
            if let Some(place) = joins.iter_mut().find(|join| Arc::ptr_eq(join, &failed)) {
                *place = again.clone();
                // Under the lock: if the program leaves the group, its request comes after this one.
                let link = &self.remote.link;
                link.send_with_priority(&again, None, Priority::Awaited);
            }
        }
        self.misses_groups()
    }

    /// Drops the requests that have succeeded, and those that will not: the program is told of these.
    fn drop_decided_joins(&self) {
        let is_new = self.remote.link.is_new();
        let (sk, is_open) = {
            let state = self.state.lock();
            (state.sk.clone(), state.is_open())
        };
        let mut refusal = None;
        self.joins.lock().retain(|join| {
            if !join.is_over() {
                return is_open;
            }
            match join.error() {
                // The program may have joined the group again by itself.
                None | Some(EADDRINUSE) => false,
                Some(error) if may_pass(error, is_new) => is_open,
                Some(error) => {
                    refusal = Some(error);
                    false
                }
            }
        });
        if let Some(error) = refusal.filter(|_| is_open) {
            sk.set_error(error);
            sk.error_report();
        }
    }
}
