// SPDX-License-Identifier: GPL-2.0

//! The places for connections that a guest has posted.

use super::{
    Listener,
    Open, //
};
use crate::{
    conn::Conn,
    proto::Feature, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

impl Listener {
    /// Adds a place for a connection, and fills it at once if a connection waits. If the place
    /// cannot be added, it is given up, and the guest is told so.
    pub(crate) fn post(self: &Arc<Self>, conn: Arc<Conn>) {
        match self.push(conn.clone()) {
            Ok(()) if self.accept() => self.wake(),
            Ok(()) => (),
            Err(error) => {
                self.refused();
                conn.cancel(Some(error));
            }
        }
    }

    fn push(&self, conn: Arc<Conn>) -> Result {
        let mut open = self.open.lock();
        let open = (*open).as_mut().ok_or(ECONNABORTED)?;
        open.posted.push(conn, GFP_KERNEL)?;
        open.has_handed_over = false;
        open.reserve_backlog(self.guest.transport.quirks);
        let posted = open.posted_ahead(self.guest.transport.quirks);
        if posted > open.ahead {
            open.ahead = posted;
            self.adjust(open);
        }
        if open.posted.len() == 1 {
            self.update_waiting(open, 0);
        }
        Ok(())
    }

    /// Notes that a place could not be added, so that fewer connections can wait with the guest. A
    /// guest posts another place after it has accepted a connection, unless it has never had so
    /// many.
    pub(crate) fn refused(&self) {
        if let Some(open) = (*self.open.lock()).as_mut() {
            self.lose_place(open);
        }
    }

    pub(super) fn lose_place(&self, open: &mut Open) {
        let posted = open.posted_ahead(self.guest.transport.quirks);
        open.ahead = open.ahead.saturating_sub(1).max(posted);
        self.adjust(open);
    }

    /// Shows in the place `index` if a connection waits that has no place. This place is the oldest
    /// or about to be. Returns `true` if that has changed.
    ///
    /// A connection is in TCP's queue before
    /// [`Callbacks::data_ready`](kernel::net::kernel_socket::Callbacks::data_ready) reports it. So
    /// either this function sees it, or the report comes afterwards and shows it in this place.
    pub(super) fn update_waiting(&self, open: &Open, index: usize) -> bool {
        if !self.guest.transport.has(Feature::Waiting) {
            return false;
        }
        let place = open.posted.get(index).cloned();
        let (has_changed, old) = {
            let mut oldest = self.oldest.lock();
            let has_changed = place
                .as_ref()
                .is_some_and(|place| place.set_waiting(open.socket.tcp().has_connection()));
            (has_changed, core::mem::replace(&mut *oldest, place))
        };
        // Outside the lock.
        drop(old);
        has_changed
    }

    /// Shows in the oldest place that a connection waits. Any context.
    pub(super) fn show_waiting(&self) {
        if let Some(place) = &*self.oldest.lock() {
            place.set_waiting(true);
        }
    }

    /// Gives up a place that was added, if it has no connection yet. May sleep.
    pub(crate) fn withdraw(&self, conn: &Arc<Conn>) {
        let is_posted = match (*self.open.lock()).as_mut() {
            Some(open) => {
                let before = open.posted.len();
                open.posted.retain(|posted| !Arc::ptr_eq(posted, conn));
                // The guest may wait for a connection that has gone to another place.
                if self.update_waiting(open, 0) {
                    if let Some(oldest) = open.posted.first() {
                        oldest.notify();
                    }
                }
                let is_posted = open.posted.len() < before;
                if is_posted {
                    // One connection fewer can wait with the guest.
                    open.ahead = open.ahead.saturating_sub(1);
                    self.adjust(open);
                }
                is_posted
            }
            None => false,
        };
        // A place stays in the list until it is filled.
        if is_posted {
            conn.cancel(Some(ECONNABORTED));
        }
    }
}
