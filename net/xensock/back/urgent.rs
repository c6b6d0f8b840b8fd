// SPDX-License-Identifier: GPL-2.0

//! Urgent bytes of a connection: from TCP to the guest, and from the guest to TCP.

use crate::{
    conn_ring::ConnRing,
    proto::urgent::{
        NextBytes,
        Notice,
        UrgentOut, //
    }, //
};
use kernel::net::kernel_socket::{
    KernelSocket,
    Tcp,
    UrgentByte,
    UrgentState, //
};

/// The state of the urgent bytes of a connection.
#[derive(Default)]
pub(crate) struct Urgent {
    seen: UrgentState,
    sender: UrgentOut,
}

impl Urgent {
    /// Tells the guest of an urgent byte that TCP has got. Called before the last `len` bytes,
    /// which are already in the room of the ring, are produced.
    pub(crate) fn report(&mut self, tcp: &KernelSocket<Tcp>, shared: &ConnRing, len: u32) {
        let Some(change) = tcp.urgent_change(&mut self.seen) else {
            return;
        };
        let ring = &*shared.ring;
        let ahead = len.wrapping_add(change.offset);
        let byte = match change.byte {
            UrgentByte::Awaited => None,
            UrgentByte::Arrived(byte) => Some(byte),
            UrgentByte::Received if ahead < len => ring.written(ahead).ok(),
            UrgentByte::Received => return,
        };
        let index = ring.produced().wrapping_add(ahead);
        Notice { index, byte }.store(ring);
        shared.notifier.notify();
    }

    /// Returns the last word of the guest that was handled.
    pub(crate) fn done(&self) -> u32 {
        self.sender.done()
    }

    /// Returns the piece of the guest's `ready` bytes that is to be sent next.
    pub(crate) fn piece(&mut self, shared: &ConnRing, ready: u32) -> NextBytes {
        let ring = &*shared.ring;
        self.sender.piece(ring, ring.consumed(), ready)
    }
}
