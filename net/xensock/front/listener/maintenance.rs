// SPDX-License-Identifier: GPL-2.0

//! The listener as a member of its link: what it gives back when others are short of it, and what it
//! asks for again.

use super::{
    posted::ListenPhase,
    Listener, //
};
use crate::{
    conn::Conn,
    link::{
        Member,
        Summary, //
    },
    proto::Call, //
};
use kernel::sync::Arc;

impl Member for Listener {
    fn is_listener(&self) -> bool {
        true
    }

    fn owner(&self) -> u64 {
        self.remote.owner
    }

    fn link_down(self: Arc<Self>) {
        self.lose_link();
    }

    fn age(self: Arc<Self>, _is_short: bool) -> bool {
        false
    }

    fn needs_maintenance(&self, is_short: bool) -> bool {
        let posted = self.posted.lock();
        match self.remote.link.quirks().accepts_ahead() {
            true => is_short || posted.needs_maintenance(),
            false => posted.phase == ListenPhase::Closed || posted.needs_maintenance(),
        }
    }

    /// Withdraws posted connections if the user is short of anything, drops withdrawn ones, and
    /// posts a connection if none is left. Ends the ACCEPT that keeps a closed listener from being
    /// released.
    fn maintain(&self, is_short: bool) -> bool {
        if self.is_closed() {
            return self.end_accept();
        }
        if is_short {
            self.withdraw_down_to(1);
        }
        for (conn, _) in &self.posted.lock().withdrawn {
            Conn::look_for_outcome(conn.as_arc_borrow());
        }
        // A connection is posted below, or `post` wakes the tasks.
        let _ = self.drop_failed();
        {
            let mut posted = self.posted.lock();
            posted.withdrawn.retain(|(conn, withdraw)| {
                // One that is withdrawn may have yet to fail, or to be dropped.
                let is_ending = withdraw.error().is_none() && !conn.is_ready();
                !withdraw.is_over() || is_ending
            });
            if !posted.needs_maintenance() {
                return false;
            }
        }
        // Other listeners may have withdrawn connections meanwhile.
        let _ = self.post();
        true
    }

    fn summary(&self) -> Option<Summary> {
        if self.is_closed() {
            return None;
        }
        Some(Summary {
            sk: self.sk.clone(),
            is_stream: true,
            recv_queue: self.waiting(),
            send_queue: 0,
            local: self.remote.local,
            peer: None,
            sizes: None,
        })
    }
}

impl Listener {
    /// Asks the backend to withdraw the posted connections that are not filled, except the `keep`
    /// oldest. May sleep.
    ///
    /// The backend may fill some of them meanwhile: those stay. Each `accept()` posts one more
    /// again.
    pub(super) fn withdraw_down_to(&self, keep: usize) {
        {
            let mut posted = self.posted.lock();
            posted.wanted = posted.wanted.min(keep);
        }
        loop {
            let idle = self.posted.lock().idle().nth(keep).cloned();
            let Some(conn) = idle else {
                return;
            };
            let link = &self.remote.link;
            let id = conn.remote.id;
            let Ok(withdraw) = conn.remote.exchange(Call::Withdraw { id }) else {
                return;
            };
            if !self.posted.lock().note_withdrawn(&conn, &withdraw) {
                return;
            }
            conn.set_withdrawn();
            link.submit(&withdraw, None);
        }
    }
}
