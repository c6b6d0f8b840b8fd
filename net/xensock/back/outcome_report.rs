// SPDX-License-Identifier: GPL-2.0

//! Reports the outcome of a CONNECT or an ACCEPT to the guest.

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

/// The report that the guest is owed for a CONNECT or an ACCEPT in progress.
#[derive(Clone, Copy)]
pub(crate) enum OutcomeReport {
    /// The response to the request.
    Response(Response),
    /// The words of the indexes page: the request itself was answered at once.
    Status,
}

impl OutcomeReport {
    /// Creates the report for a request whose response is `ticket`.
    pub(crate) fn new(transport: &Transport, ticket: Response) -> Self {
        if transport.has(Feature::Status) {
            Self::Status
        } else {
            Self::Response(ticket)
        }
    }

    /// Reports that the connection is established. `name` is its address: the local address for
    /// CONNECT, the peer's for ACCEPT. Returns `true` if the guest has to be notified, which is not
    /// needed if the response to the request follows.
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

    /// Reports that there is no connection. Nothing is shared for it afterwards. Sleeps.
    pub(crate) fn fail(self, transport: &Transport, shared: Arc<ConnRing>, error: Error) {
        match self {
            Self::Response(ticket) => {
                // The guest may use the ring for something else after the response.
                drop(shared);
                transport.answer(ticket, Err(error));
            }
            // Here the guest may do so only after RELEASE.
            Self::Status => {
                status::fail(&*shared.ring, -error.to_errno());
                shared.notifier.notify();
            }
        }
    }
}
