// SPDX-License-Identifier: GPL-2.0

//! What a guest asks, one request at a time.
//!
//! Runs as the guest's work item. No request is waited for here: CONNECT and RELEASE are answered by
//! the connection, when it is done.

use crate::{
    active::Active,
    guest::Guest,
    proto::{
        addr,
        Call,
        Request,
        Response, //
    },
    table::Entry, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// The type of socket that this version has.
const SOCK_STREAM: u32 = 1;

/// The protocol TCP, by name rather than by being the default of the type.
const IPPROTO_TCP: u32 = 6;

/// Answers one slot of the commands ring, or sees to it that it will be.
pub(crate) fn dispatch(guest: &Arc<Guest>, slot: &[u8; crate::proto::SLOT]) {
    let request = match Request::decode(guest.dialect, slot) {
        Ok(request) => request,
        Err(malformed) => return guest.respond(&malformed.response()),
    };
    let Some(ticket) = request.response(guest.dialect, 0) else {
        return;
    };
    let result = match request.call {
        Call::Socket {
            id,
            domain,
            kind,
            protocol,
        } => socket(guest, id, domain, kind, protocol),
        Call::Connect { id, addr, ring, .. } => {
            match connect(guest, id, &addr, ring, ticket) {
                // The connection answers.
                Ok(()) => return,
                Err(error) => Err(error),
            }
        }
        Call::Release { id, abort, .. } => match guest.release(id) {
            Ok(Entry::Active(active)) => return Active::release(active, ticket, abort),
            // PV Calls has no error for a socket that is unknown.
            Ok(Entry::Fresh | Entry::Spent) | Err(_) => Ok(()),
        },
        _ => {
            return guest.respond(&Response {
                ret: guest.dialect.not_supported(),
                ..ticket
            });
        }
    };
    guest.answer(ticket, result, None);
}

fn socket(guest: &Guest, id: u64, domain: u32, kind: u32, protocol: u32) -> Result {
    if domain != u32::from(addr::AF_INET) {
        return Err(EAFNOSUPPORT);
    }
    if kind != SOCK_STREAM {
        return Err(ESOCKTNOSUPPORT);
    }
    if protocol != 0 && protocol != IPPROTO_TCP {
        return Err(EPROTONOSUPPORT);
    }
    guest.add(id)
}

fn connect(
    guest: &Arc<Guest>,
    id: u64,
    addr: &core::net::SocketAddr,
    ring: crate::proto::RingRef,
    ticket: Response,
) -> Result {
    match guest.entry(id)? {
        Entry::Active(_) | Entry::Spent => return Err(EISCONN),
        Entry::Fresh => (),
    }
    if !addr.is_ipv4() {
        guest.spend(id);
        return Err(EAFNOSUPPORT);
    }
    let active = Active::connect(guest, *addr, ring, ticket).inspect_err(|_| guest.spend(id))?;
    guest.activate(id, active)
}
