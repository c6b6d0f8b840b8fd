// SPDX-License-Identifier: GPL-2.0

//! Looks for connections that the backend has not handed over.
//!
//! All posted connections may be used up while more connections wait with the backend. A program
//! that is told that there are none may close the socket.

use super::{
    Listener,
    MAX_AHEAD, //
};
use crate::{
    commands::Exchange,
    conn::Conn,
    proto::Feature, //
};
use kernel::{
    net::sock::{
        Timeout,
        WaitError, //
    },
    prelude::*,
    sync::{
        atomic::Relaxed,
        Arc, //
    },
    time::{
        msecs_to_jiffies,
        Instant,
        Jiffies,
        Monotonic,
        Msecs, //
    }, //
};

/// Time that a call that does not block waits in all for what the backend is about to tell, in
/// milliseconds. A working backend tells it much sooner. `poll()` waits under locks of others: epoll
/// has a lock that is the same for all programs.
const PATIENCE: Msecs = 1000;

/// The end of the waits of one call.
pub(crate) struct Patience(Instant<Monotonic>);

impl Patience {
    /// Begins with the call.
    pub(crate) fn new() -> Self {
        Self(Instant::now())
    }

    fn left(&self) -> Jiffies {
        let passed = Msecs::try_from(self.0.elapsed().as_millis()).unwrap_or(PATIENCE);
        msecs_to_jiffies(PATIENCE.saturating_sub(passed))
    }
}

/// Value of [`Listener::overdue`] for no connection.
pub(super) const NONE: u64 = 0;

/// The backend's connections that it has not handed over.
enum Pending {
    /// There is none.
    Nothing,
    /// The exchange, ACCEPT of the connection with this handle, has to be answered first:
    /// connections that had arrived before are handed over then.
    Unanswered(u64, Arc<Exchange>),
    /// The backend is about to hand over a connection, to the connection with this handle.
    Coming(u64),
    /// A connection was handed over just now, or has failed.
    Decided,
}

impl Listener {
    /// Checks if the backend has a connection, as far as that is known without waiting. A backend
    /// that has kept a call waiting for too long has none until it tells more, and then tasks are
    /// woken.
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
        let id = oldest.remote.id;
        let is_overdue = self.overdue.load(Relaxed) == id;
        match oldest.accept.as_ref() {
            Some(accept) if !accept.is_over() => {
                return match is_overdue {
                    true => Pending::Nothing,
                    false => Pending::Unanswered(id, accept.clone()),
                };
            }
            _ => (),
        }
        // In this order: the backend counts a connection until it is handed over.
        let is_coming = oldest.sees_waiting();
        Conn::look_for_outcome(oldest.as_arc_borrow());
        match (oldest.is_pending(), is_coming) {
            (false, _) => Pending::Decided,
            (true, true) if !is_overdue => Pending::Coming(id),
            (true, true) => Pending::Nothing,
            (true, false) => {
                self.overdue.store(NONE, Relaxed);
                Pending::Nothing
            }
        }
    }

    /// Waits killably, and not for long, until it is certain that the backend has no connection.
    /// Returns `false` if there may be one now.
    pub(crate) fn confirm_none_pending(&self, patience: &Patience) -> Result<bool> {
        match self.pending() {
            Pending::Nothing => return Ok(true),
            Pending::Decided => (),
            Pending::Unanswered(id, accept) => self.await_response(id, &accept, patience)?,
            Pending::Coming(id) => self.await_handover(id, patience)?,
        }
        Ok(false)
    }

    /// Returns `true` if `poll()` reports a connection. May wait killably, and not for long, for
    /// the response to a recent ACCEPT, or until a connection is handed over.
    pub(crate) fn poll(&self) -> bool {
        let patience = Patience::new();
        // A backend may show a connection again and again, and take it back.
        for _ in 0..MAX_AHEAD {
            if self.is_ready() {
                return true;
            }
            match self.pending() {
                Pending::Nothing => return false,
                Pending::Decided => (),
                Pending::Unanswered(id, accept) => {
                    if self.await_response(id, &accept, &patience).is_err() {
                        return false;
                    }
                }
                // Only then are those who wait for the listener woken: as with TCP, nobody sees a
                // connection before that.
                Pending::Coming(id) => {
                    if self.await_handover(id, &patience).is_err() {
                        return false;
                    }
                }
            }
        }
        self.is_ready()
    }

    /// Waits killably until the backend has handed over the connection that it has, to the posted
    /// connection `id` or another one, or notes that no call waits for that any more.
    fn await_handover(&self, id: u64, patience: &Patience) -> Result {
        let is_over = || !matches!(self.pending(), Pending::Coming(_));
        let mut timeout = Timeout::from_jiffies(patience.left());
        match self.sk.wait_killable(&mut timeout, is_over) {
            Err(WaitError::TimedOut) => self.overdue.store(id, Relaxed),
            waited => waited?,
        }
        Ok(())
    }

    /// Waits killably for the response to the ACCEPT of the connection `id`, or notes that no call
    /// waits for this connection any more.
    fn await_response(&self, id: u64, accept: &Exchange, patience: &Patience) -> Result {
        if !accept.wait_at_most(patience.left())? {
            self.overdue.store(id, Relaxed);
        }
        Ok(())
    }
}
