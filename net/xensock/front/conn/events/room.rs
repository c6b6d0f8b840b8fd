// SPDX-License-Identifier: GPL-2.0

//! Room to send: when a full socket is writable again, and the events that tell of it.

use super::{
    Conn,
    RequestedEvents, //
};
use kernel::{
    net::sock::Timeout,
    prelude::*,
    sync::atomic::Relaxed, //
};

impl Conn {
    /// Returns the free room that makes a full socket writable again.
    fn room_to_wake(&self) -> u32 {
        self.content.room_to_wake(self)
    }

    /// Sets TCP_NOTSENT_LOWAT. A polling program can write only while the backend has yet to take
    /// less than half of `bytes`, as in `tcp_stream_memory_free()`. 0 means no limit.
    pub(crate) fn set_not_sent_lowat(&self, bytes: u32) {
        self.events.not_sent_lowat.store(bytes, Relaxed);
    }

    /// Returns the least room with which less than half of TCP_NOTSENT_LOWAT is not taken.
    pub(in super::super) fn room_for_lowat(&self) -> u32 {
        match self.events.not_sent_lowat.load(Relaxed).checked_sub(1) {
            Some(less) => self.ring.tx_size().saturating_sub(less / 2),
            None => 0,
        }
    }

    /// Returns `true` if there is enough room to wake a task. If not, asks for the next event: the
    /// last event may have come early, because more was sent after it was requested. Called under
    /// `requested`.
    pub(super) fn has_room_to_wake(&self) -> bool {
        let has_room = || self.ring.peek_writable() >= self.room_to_wake();
        if has_room() {
            return true;
        }
        self.ring.expect_room(self.room_to_wake());
        has_room()
    }

    /// Returns `true` if a polling program can write. If not, the program will be woken.
    pub(crate) fn poll_writable(&self) -> bool {
        self.ring.peek_writable() >= self.room_to_wake()
            || self.expect_room() >= self.room_to_wake()
    }

    /// Asks for a call of [`Sock::write_space`](kernel::net::sock::Sock::write_space) once there is
    /// room, and returns the room there is now.
    pub(crate) fn expect_room(&self) -> u32 {
        {
            let mut requested = self.events.requested.lock();
            requested.wants_room = true;
            self.ask_for_room(&requested);
        }
        self.ring.peek_writable()
    }

    /// Asks for the earliest of the wanted events. The caller has to look again afterwards.
    fn ask_for_room(&self, requested: &RequestedEvents) {
        if requested.wants_taken {
            self.ring.expect_taken();
        } else {
            self.ring.expect_room(self.room_to_wake());
        }
    }

    /// Waits killably until the backend has taken the data sent so far, if a request must not
    /// overtake them.
    pub(crate) fn wait_until_taken(&self) -> Result {
        if !self.content.minds_requests() {
            return Ok(());
        }
        let sent = self.ring.produced();
        let is_taken = || {
            let left = sent.wrapping_sub(self.ring.taken());
            left == 0 || left > self.ring.tx_size() || self.death().is_some()
        };
        if is_taken() {
            return Ok(());
        }
        let sk = self.state.lock().sk.clone();
        let mut timeout = Timeout::FOREVER;
        sk.wait_killable(&mut timeout, || {
            {
                let mut requested = self.events.requested.lock();
                requested.wants_taken = true;
                self.ask_for_room(&requested);
            }
            is_taken()
        })?;
        Ok(())
    }

    /// Returns `true` if tasks that wait for room, or for sent data to be taken, have to look
    /// again.
    pub(in super::super) fn has_taken(&self) -> bool {
        let mut requested = self.events.requested.lock();
        let is_taken = core::mem::take(&mut requested.wants_taken);
        if is_taken && requested.wants_room {
            self.ask_for_room(&requested);
        }
        let has_room = requested.wants_room && self.has_room_to_wake();
        requested.wants_room &= !has_room;
        has_room || is_taken
    }

    /// Asks for an event when the backend has taken everything.
    pub(in super::super) fn expect_drained(&self) {
        let _asked = self.events.requested.lock();
        // Not for room: `out` may still grow or shrink, which changes how much room that is.
        self.ring.expect_all_taken();
    }
}
