// SPDX-License-Identifier: GPL-2.0

//! How a guest is told what became of its CONNECT or ACCEPT.

use crate::{
    conn_ring::ConnRing,
    proto::{
        status,
        Body,
        Feature,
        Response, //
    },
    transport::Transport, //
};
use core::net::SocketAddr;
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// Owed to the guest for a CONNECT or an ACCEPT that was taken on.
#[derive(Clone, Copy)]
pub(crate) enum OutcomeReport {
    /// The response.
    Response(Response),
    /// The words of the indexes page: the request was answered when it was taken on.
    Status,
}

impl OutcomeReport {
    /// For a request whose response is `ticket`.
    pub(crate) fn new(transport: &Transport, ticket: Response) -> Self {
        if transport.has(Feature::Status) {
            Self::Status
        } else {
            Self::Response(ticket)
        }
    }

    /// The connection stands. `name` belongs to it. Returns whether the guest has to be notified of
    /// that, unless the answer to the request follows.
    #[must_use]
    pub(crate) fn succeed(
        self,
        transport: &Transport,
        shared: &ConnRing,
        name: SocketAddr,
    ) -> bool {
        match self {
            Self::Response(ticket) => {
                transport.answer(ticket, Ok(Body::Addr(name)));
                false
            }
            Self::Status => {
                status::establish(&*shared.ring, &name);
                true
            }
        }
    }

    /// There is no connection. Nothing is shared for it afterwards. Sleeps.
    pub(crate) fn fail(self, transport: &Transport, shared: Arc<ConnRing>, error: Error) {
        match self {
            Self::Response(ticket) => {
                // The guest may then use the ring for something else.
                drop(shared);
                transport.answer(ticket, Err(error));
            }
            // Here it may do so only after RELEASE.
            Self::Status => {
                status::fail(&*shared.ring, -error.to_errno());
                shared.notifier.notify();
            }
        }
    }
}
