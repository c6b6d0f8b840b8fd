// SPDX-License-Identifier: GPL-2.0

//! Whether the backend has connections that it has not handed over.
//!
//! What was asked for ahead may be used up while more connections wait with the backend, and who is
//! told that there are none may close the socket.

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

/// What is known of the connections that the backend has and has not handed over.
enum Pending {
    /// There is none.
    Nothing,
    /// This has to be answered first: then what was there is handed over.
    Unanswered(Arc<Exchange>),
    /// There is one, which is about to be handed over.
    Coming,
    /// One was handed over just now, or will never be.
    Decided,
}

impl Listener {
    /// Returns whether the backend has a connection, as far as that can be said without waiting for
    /// it.
    ///
    /// The oldest place says whether connections wait for which there is no place, once its ACCEPT
    /// was answered: what came before that has been handed over.
    fn pending(&self) -> Pending {
        let link = &self.remote.link;
        // Without status words an ACCEPT is not answered while nothing comes.
        if !link.has(Feature::Waiting) || !link.has(Feature::Status) {
            return Pending::Nothing;
        }
        // One that was given back may be before it.
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
        // In this order: a connection is counted until it is handed over.
        let is_coming = oldest.ring.has_waiting();
        Conn::look_for_outcome(oldest.as_arc_borrow());
        match (oldest.is_pending(), is_coming) {
            (false, _) => Pending::Decided,
            (true, true) => Pending::Coming,
            (true, false) => Pending::Nothing,
        }
    }

    /// Waits, killably, until it is certain that the backend has no connection. Returns `false` if
    /// there may be one now.
    pub(crate) fn settle(&self) -> Result<bool> {
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

    /// Returns whether `poll()` says that there is a connection. May have to wait for the backend to
    /// answer what was asked for just now; killable.
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
