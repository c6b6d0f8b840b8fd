// SPDX-License-Identifier: GPL-2.0

//! Urgent bytes of a connection: TCP's for the guest, the guest's for TCP.

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
    UrgentSeen, //
};

/// What has become of the urgent bytes of a connection so far.
#[derive(Default)]
pub(crate) struct Urgent {
    seen: UrgentSeen,
    sender: UrgentOut,
}

impl Urgent {
    /// Tells the guest of an urgent byte that TCP has got. Before the last `len` bytes, which were
    /// received into the room of the ring, are produced.
    pub(crate) fn tell(&mut self, tcp: &KernelSocket<Tcp>, shared: &ConnRing, len: u32) {
        let Some(news) = tcp.urgent_news(&mut self.seen) else {
            return;
        };
        let ring = &*shared.ring;
        let ahead = len.wrapping_add(news.offset);
        let byte = match news.byte {
            UrgentByte::Awaited => None,
            UrgentByte::Arrived(byte) => Some(byte),
            UrgentByte::Received if ahead < len => ring.written(ahead).ok(),
            UrgentByte::Received => return,
        };
        let index = ring.produced().wrapping_add(ahead);
        Notice { index, byte }.store(ring);
        shared.notifier.notify();
    }

    /// Returns the last word of the guest's that was dealt with.
    pub(crate) fn done(&self) -> u32 {
        self.sender.done()
    }

    /// Returns what of the `ready` bytes of the guest's is to be sent next.
    pub(crate) fn piece(&mut self, shared: &ConnRing, ready: u32) -> NextBytes {
        let ring = &*shared.ring;
        self.sender.piece(ring, ring.consumed(), ready)
    }
}
