// SPDX-License-Identifier: GPL-2.0

//! How what has a work item of its own is told to end.

use crate::proto::Response;

/// How a connection, or a datagram socket, is to end.
#[derive(Clone, Copy)]
pub(crate) enum Farewell {
    /// RELEASE, to be answered. `abort` resets a connection, `reuse` leaves its ring to another.
    Release {
        ticket: Response,
        abort: bool,
        reuse: bool,
    },
    /// The link is gone: the peer of a connection sees a reset, and nobody waits for an answer.
    Abandon,
}
