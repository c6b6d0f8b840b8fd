// SPDX-License-Identifier: GPL-2.0

//! The urgent byte of a stream, as in `tcp_check_urg()` and `tcp_recvmsg()`.

use super::Conn;
use crate::proto::{
    urgent::{
        mark_end,
        Notice,
        Step,
        UrgentValue, //
    },
    Feature, //
};
use kernel::net::sock::{
    Sock,
    SockFlag, //
};

impl Conn {
    /// Looks for an urgent byte from the peer, and notifies `sk`, the connection's socket. Any
    /// context.
    pub(crate) fn check_urgent(&self, sk: &Sock) {
        if !self.has_urgent() {
            return;
        }
        let Some(notice) = Notice::load(&**self.ring) else {
            return;
        };
        let (next, ready) = (self.ring.consumed(), self.ring.peek_readable());
        let is_inline = sk.is_flag(SockFlag::UrgInline);
        let news = self.urgent.lock().update(notice, next, ready, is_inline);
        if news.announced {
            sk.send_sigurg();
        }
        if news.arrived {
            sk.data_ready();
        }
    }

    /// Returns `true` if both ends mark urgent bytes.
    pub(crate) fn has_urgent(&self) -> bool {
        self.remote.link.has(Feature::Urgent)
    }

    /// Returns `true` if the byte `skip` bytes past the next is the urgent byte.
    pub(crate) fn is_at_mark(&self, skip: u32) -> bool {
        let next = self.ring.consumed().wrapping_add(skip);
        self.urgent.lock().is_at_mark(next)
    }

    /// Returns the next step of a read of `len` bytes, at least 1, from `skip` bytes past the next.
    pub(crate) fn urgent_step(&self, sk: &Sock, skip: u32, len: u32) -> Step {
        let next = self.ring.consumed().wrapping_add(skip);
        let is_inline = sk.is_flag(SockFlag::UrgInline);
        self.urgent.lock().step(next, len, is_inline)
    }

    /// Notes that bytes were consumed. For the consumer only.
    pub(crate) fn pass_urgent(&self) {
        let next = self.ring.consumed();
        self.urgent.lock().pass(next);
    }

    /// Returns the number of bytes that can be read before the urgent byte, or all if there is
    /// none.
    pub(crate) fn readable_before_mark(&self) -> u32 {
        let (next, ready) = (self.ring.consumed(), self.ring.peek_readable());
        self.urgent.lock().before_mark(next, ready)
    }

    /// Returns the value of the urgent byte, if there is one.
    pub(crate) fn urgent_value(&self) -> Option<UrgentValue> {
        self.urgent.lock().value()
    }

    /// Returns the value of the urgent byte, and removes it unless `leave` is set.
    pub(crate) fn take_urgent(&self, leave: bool) -> Option<UrgentValue> {
        let mut urgent = self.urgent.lock();
        let value = urgent.value();
        if matches!(value, Some(UrgentValue::Arrived(_))) && !leave {
            urgent.take();
        }
        value
    }

    /// Marks the last of the next `len` bytes as urgent. For the producer only, before the bytes
    /// are produced.
    pub(crate) fn mark_urgent(&self, len: u32) {
        let end = self.ring.produced().wrapping_add(len);
        mark_end(&**self.ring, end);
    }
}
