// SPDX-License-Identifier: GPL-2.0

//! The memory of this domain's UDP that a guest's sockets hold.
//!
//! The work item of a socket takes its datagrams at once. But many sockets share a few workers, so
//! with many senders each socket may have a receive buffer full of datagrams, and nobody could have
//! datagrams any more once UDP has used up its memory.
//!
//! UDP drops what exceeds a receive buffer at once, reports each datagram that it takes, and takes
//! one of any length if there is none. So the buffer is fitted to what is left to the user with each
//! datagram, and when the work item has taken some. A socket with a small buffer goes on one by one,
//! and the next datagram gives it back its size once there is memory. So nobody has to remember such
//! sockets.
//!
//! Datagrams can wait in this domain after their socket was closed, for a neighbour's address or in a
//! queue. They count until then, and if they alone hold the share of their user, all further
//! datagrams of the user are dropped.

use super::{
    SocketMemory,
    Usual, //
};
use crate::proto::owner::fitted;
use kernel::{
    net::kernel_socket::{
        Buffers,
        KernelSocket,
        Udp, //
    },
    page::PAGE_SIZE,
    sync::atomic::Relaxed,
};

/// Maximum number of times that the memory of a socket is counted at once.
const MAX_ROUNDS: usize = 4;

impl SocketMemory {
    /// Counts the memory that a datagram socket holds now, and fits its receive buffer to what its
    /// user may have more. Any context, callbacks of the socket included.
    pub(crate) fn update_datagrams(&self, udp: &KernelSocket<Udp>) {
        self.charge_datagrams(udp);
        let (left, _) = self.bytes.user().left();
        let left = left << 10;
        let floor = self.bytes.user().floor();
        let fit = |usual| fitted(usual, udp.buffered().received, left, floor);
        let sizes = udp.buffer_sizes();
        if !self.is_held_back() && fit(sizes.received) == sizes.received {
            return;
        }
        let mut choice = self.choice.lock();
        if choice.changes != 0 {
            return;
        }
        let sizes = udp.buffer_sizes();
        let window = None;
        let usual = choice.usual.get_or_insert(Usual { sizes, window });
        let usual = usual.sizes.received;
        let received = fit(usual);
        self.is_held_back.store(received < usual, Relaxed);
        udp.set_buffer_sizes(Buffers { received, ..sizes });
    }

    /// Returns `true` if a datagram has to wait until others have left: its user has no memory left,
    /// and the socket has its floor on the way. Any context.
    pub(crate) fn must_wait(&self, udp: &KernelSocket<Udp>) -> bool {
        let user = self.bytes.user();
        udp.in_flight() > user.floor() && user.is_used_up()
    }

    /// Returns `true` if the next datagram has to be dropped: closed sockets alone hold the share of
    /// the user. Otherwise each of many sockets could send one and be closed. Any context.
    pub(crate) fn must_drop(&self) -> bool {
        self.bytes.user().is_used_up_by_closed()
    }

    /// Counts the memory that a datagram socket holds now.
    ///
    /// Less than a page is not counted, and changes of less than a page are not, so that sockets
    /// seldom contend for the count. An idle socket counts as nothing.
    fn charge_datagrams(&self, udp: &KernelSocket<Udp>) {
        // Once more after each change: another context may have seen less meanwhile, and no event may
        // follow. A few times, as the amount may change all the time, which brings events.
        for _ in 0..MAX_ROUNDS {
            let now = udp.buffered().received.saturating_add(udp.in_flight());
            let now = if now < PAGE_SIZE { 0 } else { now };
            let counted = self.bytes.bytes();
            if now.abs_diff(counted) < PAGE_SIZE && (now != 0 || counted == 0) {
                break;
            }
            self.bytes.change(now);
        }
    }
}
