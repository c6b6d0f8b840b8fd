// SPDX-License-Identifier: GPL-2.0

//! Groups that a datagram socket had joined before it lost its link, and that it could not join
//! again at once: the interface may not be up yet, for example.
//!
//! With UDP a socket stays in a group whatever happens to the interface. So the link asks the
//! backend again each second.

use super::Conn;
use crate::{
    commands::Exchange,
    proto::{
        option::{
            is_group_of,
            SockOpt, //
        },
        value::Value,
        Call, //
    },
    survivors::may_pass, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

impl Conn {
    /// Has requests to join groups sent again later. They have failed for reasons that [may
    /// pass](may_pass). Called once.
    pub(crate) fn join_later(&self, joins: KVec<Arc<Exchange>>) {
        if !joins.is_empty() {
            *self.joins.lock() = joins;
            self.remote.link.start_expiry();
        }
    }

    /// Forgets a group that the program leaves with this value of `option`. Returns `true` if the
    /// socket was yet to join it. Does not sleep.
    pub(crate) fn leave_early(&self, option: &SockOpt, value: &Value) -> bool {
        let mut joins = self.joins.lock();
        let before = joins.len();
        joins.retain(|join| match join.call() {
            Call::SetSockOpt {
                level,
                value: joined,
                ..
            } => level != option.level || !is_group_of(option, value.as_bytes(), joined.as_bytes()),
            _ => true,
        });
        joins.len() < before
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
            let Ok(again) = self.remote.send(failed.call()) else {
                break;
            };
            let mut joins = self.joins.lock();
            if let Some(place) = joins.iter_mut().find(|join| Arc::ptr_eq(join, &failed)) {
                *place = again;
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
