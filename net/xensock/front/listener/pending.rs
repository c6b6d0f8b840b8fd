// SPDX-License-Identifier: GPL-2.0

//! Looks for connections that the backend has not handed over.
//!
//! All posted connections may be used up while more connections wait with the backend. A program
//! that is told that there are none may close the socket.

use super::Listener;
use crate::{
    commands::Exchange,
    conn::Conn,
    proto::Feature, //
};
use kernel::{
    net::sock::Timeout,
    prelude::*,
    sync::Arc, //
};

/// The backend's connections that it has not handed over.
enum Pending {
    /// There is none.
    Nothing,
    /// The exchange has to be answered first: connections that had arrived before are handed over
    /// then.
    Unanswered(Arc<Exchange>),
    /// The backend is about to hand over a connection.
    Coming,
    /// A connection was handed over just now, or has failed.
    Decided,
}

impl Listener {
    /// Checks if the backend has a connection, as far as that is known without waiting.
    ///
    /// Once its ACCEPT was answered, the oldest posted connection shows if connections wait without
    /// an ACCEPT. Connections that arrived before were handed over.
    fn pending(&self) -> Pending {
        let link = &self.remote.link;
        // Without status words ACCEPT is answered only when a connection arrives.
        if !link.has(Feature::Waiting) || !link.has(Feature::Status) {
            return Pending::Nothing;
        }
        // Skip withdrawn connections: the oldest may be one.
        let oldest = {
            let posted = self.posted.lock();
            let mut conns = posted.conns.iter();
            conns.find(|conn| conn.death().is_none()).cloned()
        };
        let Some(oldest) = oldest else {
            return Pending::Nothing;
        };
        match oldest.accept.as_ref() {
            Some(accept) if !accept.is_over() => return Pending::Unanswered(accept.clone()),
            _ => (),
        }
        // In this order: the backend counts a connection until it is handed over.
        let is_coming = oldest.ring.has_waiting();
        Conn::look_for_outcome(oldest.as_arc_borrow());
        match (oldest.is_pending(), is_coming) {
            (false, _) => Pending::Decided,
            (true, true) => Pending::Coming,
            (true, false) => Pending::Nothing,
        }
    }

    /// Waits killably until it is certain that the backend has no connection. Returns `false` if
    /// there may be one now.
    pub(crate) fn confirm_none_pending(&self) -> Result<bool> {
        match self.pending() {
            Pending::Nothing => return Ok(true),
            Pending::Decided => (),
            Pending::Unanswered(accept) => {
                if let Err(ERESTARTSYS) = accept.wait() {
                    return Err(ERESTARTSYS);
                }
            }
            Pending::Coming => {
                let is_over = || !matches!(self.pending(), Pending::Coming);
                let mut timeout = Timeout::FOREVER;
                self.sk.wait_killable(&mut timeout, is_over)?;
            }
        }
        Ok(false)
    }

    /// Returns `true` if `poll()` reports a connection. May wait killably for the response to a
    /// recent ACCEPT.
    pub(crate) fn poll(&self) -> bool {
        loop {
            if self.is_ready() {
                return true;
            }
            match self.pending() {
                Pending::Nothing => return false,
                Pending::Decided => (),
                Pending::Unanswered(accept) => {
                    if let Err(ERESTARTSYS) = accept.wait() {
                        return false;
                    }
                }
                Pending::Coming => return true,
            }
        }
    }
}
