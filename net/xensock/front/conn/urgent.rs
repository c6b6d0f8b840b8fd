// SPDX-License-Identifier: GPL-2.0

//! The urgent byte of a stream, as `tcp_check_urg()` and `tcp_recvmsg()` have it.

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
    /// Looks for an urgent byte that the peer has sent, and tells `sk`, whose connection this is. Any
    /// context.
    pub(crate) fn hear_urgent(&self, sk: &Sock) {
        if !self.has_urgent() {
            return;
        }
        let Some(notice) = Notice::load(&**self.ring) else {
            return;
        };
        let (next, ready) = (self.ring.consumed(), self.ring.peek_readable());
        let is_inline = sk.is_flag(SockFlag::UrgInline);
        let news = self.urgent.lock().hear(notice, next, ready, is_inline);
        if news.announced {
            sk.send_sigurg();
        }
        if news.arrived {
            sk.data_ready();
        }
    }

    /// Returns whether both ends say which bytes are urgent.
    pub(crate) fn has_urgent(&self) -> bool {
        self.remote.link.has(Feature::Urgent)
    }

    /// Returns whether the byte that is `skip` bytes past the next is the urgent one.
    pub(crate) fn is_at_mark(&self, skip: u32) -> bool {
        let next = self.ring.consumed().wrapping_add(skip);
        self.urgent.lock().is_at_mark(next)
    }

    /// Returns what comes next for who reads `len` bytes, at least 1, from `skip` bytes past the next
    /// one.
    pub(crate) fn urgent_step(&self, sk: &Sock, skip: u32, len: u32) -> Step {
        let next = self.ring.consumed().wrapping_add(skip);
        let is_inline = sk.is_flag(SockFlag::UrgInline);
        self.urgent.lock().step(next, len, is_inline)
    }

    /// Notes what was consumed. For the consumer only.
    pub(crate) fn pass_urgent(&self) {
        let next = self.ring.consumed();
        self.urgent.lock().pass(next);
    }

    /// Returns how many bytes can be read before the urgent one, or all of them.
    pub(crate) fn readable_before_mark(&self) -> u32 {
        let (next, ready) = (self.ring.consumed(), self.ring.peek_readable());
        self.urgent.lock().before_mark(next, ready)
    }

    /// Returns the value of the urgent byte, if there is one.
    pub(crate) fn urgent_value(&self) -> Option<UrgentValue> {
        self.urgent.lock().value()
    }

    /// The same, and no other call gets it unless it is to be left there.
    pub(crate) fn take_urgent(&self, leave: bool) -> Option<UrgentValue> {
        let mut urgent = self.urgent.lock();
        let value = urgent.value();
        if matches!(value, Some(UrgentValue::Arrived(_))) && !leave {
            urgent.take();
        }
        value
    }

    /// Says that the last of the next `len` bytes is urgent. For the producer only, before they are
    /// produced.
    pub(crate) fn mark_urgent(&self, len: u32) {
        let end = self.ring.produced().wrapping_add(len);
        mark_end(&**self.ring, end);
    }
}
