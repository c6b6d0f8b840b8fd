// SPDX-License-Identifier: GPL-2.0

//! The calls of listening sockets.

use super::{
    initial_response,
    stream,
    ResponseBody, //
};
use crate::{
    conn::Conn,
    listener::Listener,
    outcome_report::OutcomeReport,
    proto::{
        Body,
        Response,
        RingRef, //
    },
    pump::Pump,
    table::{
        Table,
        TableEntry, //
    }, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

pub(super) fn listen(table: &Arc<Table>, id: u64, backlog: u32) -> Result<ResponseBody> {
    match stream(table, id)? {
        TableEntry::Unused(socket) => {
            if !table.guest.transport.quirks.listens_unbound() && !socket.is_bound()? {
                return Err(EINVAL);
            }
            let listener = Listener::new(&table.guest, table.clone(), socket, backlog)?;
            table
                .change(id, TableEntry::Listener(listener.clone()))
                .inspect_err(|_| listener.close())?;
        }
        TableEntry::Listener(listener) => listener.set_backlog(backlog)?,
        _ => return Err(EINVAL),
    }
    Ok(Some(Body::Empty))
}

pub(super) fn listener(table: &Table, id: u64) -> Result<Arc<Listener>> {
    match stream(table, id)? {
        TableEntry::Listener(listener) => Ok(listener),
        _ => Err(EINVAL),
    }
}

pub(super) fn accept(
    table: &Arc<Table>,
    id: u64,
    id_new: u64,
    ring: RingRef,
    ticket: Response,
) -> Result<ResponseBody> {
    let listener = listener(table, id)?;
    let completion = OutcomeReport::new(&table.guest.transport, ticket);
    let socket = listener.socket().ok_or(EINVAL)?;
    let conn = table
        .add(id_new, socket.tenant(), &table.guest.policy())
        .and_then(|()| {
            let (registry, tenant) = (table.clone(), socket.tenant());
            Conn::post(&table.guest, registry, id_new, ring, tenant, completion)
                .inspect_err(|_| table.drop_new(id_new))
        })
        .inspect_err(|_| listener.refused())?;
    table
        .change(id_new, TableEntry::Accepted(conn.clone(), listener.clone()))
        .inspect_err(|_| conn.abandon())?;
    listener.post(conn);
    Ok(initial_response(completion))
}

/// Gives up a place that has no connection yet. A connection that is already in the place stays.
pub(super) fn withdraw(table: &Table, id: u64) -> Result<ResponseBody> {
    let TableEntry::Accepted(conn, listener) = table.get(id)? else {
        return Err(EINVAL);
    };
    listener.withdraw(&conn);
    Ok(Some(Body::Empty))
}
