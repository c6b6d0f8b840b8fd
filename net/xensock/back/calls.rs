// SPDX-License-Identifier: GPL-2.0

//! Performs the requests of a guest, one at a time.
//!
//! Runs in the link's work item and never waits for the outcome of a request. If a request takes
//! long, the connection or listener that it concerns answers it later.

mod listening;

use crate::{
    conn::Conn,
    datagram_socket::DatagramSocket,
    guest::Guest,
    outcome_report::OutcomeReport,
    owners::Tenant,
    policy::Policy,
    proto::{
        addr,
        call::{
            IPPROTO_TCP,
            IPPROTO_UDP,
            SHUT_RD,
            SHUT_WR,
            SOCK_DGRAM,
            SOCK_STREAM, //
        },
        rule::IpProtocol,
        Body,
        Call,
        Feature,
        Request,
        Response,
        RingRef, //
    },
    pump::Pump,
    socket::GuestSocket,
    table::{
        Table,
        TableEntry, //
    }, //
};
use core::net::SocketAddr;
use kernel::{
    net::{
        addr::Domain,
        sock::Shutdown, //
    },
    prelude::*,
    sync::Arc, //
};
use listening::{
    accept,
    listen,
    listener,
    withdraw, //
};

/// The response to a request, or `None` if it will be answered later.
type ResponseBody = Option<Body>;

/// Answers the request in a slot of the commands ring, or arranges for its response.
pub(crate) fn dispatch(table: &Arc<Table>, slot: &[u8; crate::proto::SLOT]) {
    let guest = &*table.guest;
    let dialect = guest.transport.dialect();
    let request = match Request::decode(dialect, slot) {
        Ok(request) => request,
        Err(malformed) => {
            guest.counters.count_request(None);
            return guest.transport.respond(&malformed.response());
        }
    };
    guest.counters.count_request(Some(request.call.command()));
    let Some(ticket) = request.response(dialect, 0) else {
        return;
    };
    if let Some(result) = perform(table, request.call, ticket).transpose() {
        guest.transport.answer(ticket, result);
    }
}

/// Performs a call. `ticket` is the response, for a call that is answered later.
fn perform(table: &Arc<Table>, call: Call, ticket: Response) -> Result<ResponseBody> {
    match call {
        Call::Socket {
            id,
            domain,
            kind,
            protocol,
            owner,
        } => socket(table, id, domain, (kind, protocol), owner),
        Call::Connect { id, addr, ring, .. } => connect(table, id, addr, ring, ticket),
        Call::Disconnect { id } => disconnect(table, id),
        Call::Shutdown { id, how } => shutdown(table, id, how),
        Call::Release { id, abort, reuse } => release(table, id, abort, reuse, ticket),
        Call::Bind { id, addr } => bind(table, id, addr),
        Call::Listen { id, backlog } => listen(table, id, backlog),
        Call::Accept { id, id_new, ring } => accept(table, id, id_new, ring, ticket),
        Call::Poll { id } => {
            listener(table, id)?.poll(ticket)?;
            Ok(None)
        }
        Call::SetSockOpt {
            id,
            level,
            name,
            value,
        } => {
            let entry = table.get(id)?;
            if let TableEntry::Datagram(datagram) = &entry {
                if datagram.change_group(level, name, &value, ticket)? {
                    return Ok(None);
                }
            }
            entry.socket()?.set_option(level, name, &value)?;
            Ok(Some(Body::Empty))
        }
        Call::GetSockOpt {
            id,
            level,
            name,
            offset,
        } => {
            let piece = match table.get(id)? {
                TableEntry::Listener(listener) => listener.option(level, name, offset)?,
                entry => entry.socket()?.option(level, name, offset)?,
            };
            Ok(Some(Body::Value(piece)))
        }
        Call::GetName { id, peer } => name(table, id, peer),
        Call::Attach { id, ring } => attach(table, id, ring),
        Call::Unmap { ring, .. } => unmap(table, ring),
        Call::Grow { id, way, order } => {
            resizable(table, id)?.grow(way, order)?;
            Ok(Some(Body::Empty))
        }
        Call::Shrink { id, way } => {
            Conn::shrink(&resizable(table, id)?, way, ticket)?;
            Ok(None)
        }
        Call::Withdraw { id } => withdraw(table, id),
    }
}

fn socket(
    table: &Arc<Table>,
    id: u64,
    domain: u32,
    (kind, protocol): (u32, u32),
    owner: u64,
) -> Result<ResponseBody> {
    const INET: u32 = addr::AF_INET as u32;
    const INET6: u32 = addr::AF_INET6 as u32;

    let domain = match domain {
        INET => Domain::Inet,
        INET6 if table.guest.transport.quirks.has_ipv6() => Domain::Inet6,
        _ => return Err(EAFNOSUPPORT),
    };
    let (transport, only) = match kind {
        SOCK_STREAM => (IpProtocol::Tcp, IPPROTO_TCP),
        SOCK_DGRAM if table.guest.transport.has(Feature::Datagram) => {
            (IpProtocol::Udp, IPPROTO_UDP)
        }
        _ => return Err(ESOCKTNOSUPPORT),
    };
    if protocol != 0 && protocol != only {
        return Err(EPROTONOSUPPORT);
    }
    let policy = table.guest.policy();
    let tenant = table.guest.in_force.owners.get(owner)?;
    table.add(id, &tenant, &policy)?;
    create_entry(&table.guest, policy, domain, transport, tenant)
        .and_then(|entry| install_entry(table, id, entry))
        .inspect_err(|_| table.drop_new(id))?;
    Ok(Some(Body::Empty))
}

/// Puts a new socket into its entry of the table.
fn install_entry(table: &Table, id: u64, entry: TableEntry) -> Result {
    table.change(id, entry.clone()).inspect_err(|_| {
        if let TableEntry::Datagram(datagram) = &entry {
            datagram.abandon();
        }
    })
}

fn create_entry(
    guest: &Arc<Guest>,
    policy: Arc<Policy>,
    domain: Domain,
    transport: IpProtocol,
    tenant: Arc<Tenant>,
) -> Result<TableEntry> {
    match transport {
        IpProtocol::Tcp => {
            GuestSocket::stream(guest, policy, domain, tenant).map(TableEntry::Unused)
        }
        IpProtocol::Udp => {
            let socket = GuestSocket::datagram(guest, policy, domain, tenant)?;
            DatagramSocket::new(guest, socket).map(TableEntry::Datagram)
        }
    }
}

/// Returns the first response to a request whose outcome the guest learns from an
/// [`OutcomeReport`].
fn initial_response(completion: OutcomeReport) -> ResponseBody {
    match completion {
        OutcomeReport::Response(_) => None,
        OutcomeReport::Status => Some(Body::Empty),
    }
}

fn connect(
    table: &Arc<Table>,
    id: u64,
    addr: SocketAddr,
    ring: RingRef,
    ticket: Response,
) -> Result<ResponseBody> {
    let socket = match table.get(id)? {
        TableEntry::Unused(socket) => socket,
        TableEntry::Datagram(datagram) => {
            return Ok(Some(Body::Addr(datagram.connect(Some(addr))?)))
        }
        TableEntry::Listener(_) => return Err(EINVAL),
        entry if entry.has_failed() && table.guest.transport.quirks.reconnects() => {
            let (policy, tenant) = (table.guest.policy(), table.tenant(id)?);
            GuestSocket::stream(&table.guest, policy, Domain::from(&addr), tenant)?
        }
        TableEntry::Conn(_) | TableEntry::Accepted(..) | TableEntry::Dead => return Err(EISCONN),
    };
    let completion = OutcomeReport::new(&table.guest.transport, ticket);
    // The entry stays `Dead` if this fails: TCP's socket has only one attempt to connect.
    table.change(id, TableEntry::Dead)?;
    let conn = Conn::connect(&table.guest, id, socket, addr, ring, completion)?;
    table
        .change(id, TableEntry::Conn(conn.clone()))
        .inspect_err(|_| conn.abandon())?;
    Ok(initial_response(completion))
}

fn disconnect(table: &Table, id: u64) -> Result<ResponseBody> {
    match table.get(id)? {
        TableEntry::Datagram(datagram) => Ok(Some(Body::Addr(datagram.connect(None)?))),
        // A stream has only one attempt to connect, and keeps its peer.
        _ => Err(EAFNOSUPPORT),
    }
}

fn attach(table: &Table, id: u64, ring: RingRef) -> Result<ResponseBody> {
    if !table.guest.transport.has(Feature::Datagram) {
        return Err(EOPNOTSUPP);
    }
    let TableEntry::Datagram(datagram) = table.get(id)? else {
        return Err(EINVAL);
    };
    datagram.attach(ring)?;
    Ok(Some(Body::Empty))
}

fn shutdown(table: &Table, id: u64, how: u32) -> Result<ResponseBody> {
    let entry = stream(table, id)?;
    let conn = entry.conn().ok_or(ENOTCONN)?;
    match how {
        // TCP does not tell the peer.
        SHUT_RD => conn.check_connected()?,
        SHUT_WR => conn.shut_down(Shutdown::Send.into())?,
        _ => conn.shut_down(Shutdown::Send | Shutdown::Recv)?,
    }
    Ok(Some(Body::Empty))
}

fn unmap(table: &Table, ring: RingRef) -> Result<ResponseBody> {
    if !table.guest.transport.has(Feature::RingReuse) {
        return Err(EOPNOTSUPP);
    }
    // A ring outside the pool belongs to a socket or is not mapped: then this does nothing.
    table.guest.unmap(ring);
    Ok(Some(Body::Empty))
}

/// Returns the connection whose ring is to grow or shrink.
fn resizable(table: &Table, id: u64) -> Result<Arc<Conn>> {
    if !table.guest.transport.has(Feature::RingResize) {
        return Err(EOPNOTSUPP);
    }
    let entry = stream(table, id)?;
    entry.conn().cloned().ok_or(ENOTCONN)
}

fn release(
    table: &Table,
    id: u64,
    abort: bool,
    reuse: bool,
    ticket: Response,
) -> Result<ResponseBody> {
    let reuse = reuse && table.guest.transport.has(Feature::RingReuse);
    match table.remove(id) {
        Ok(TableEntry::Unused(socket)) => drop(socket),
        Ok(TableEntry::Listener(listener)) => listener.close(),
        Ok(TableEntry::Conn(conn)) => {
            conn.release(ticket, abort, reuse);
            return Ok(None);
        }
        Ok(TableEntry::Accepted(conn, listener)) => {
            listener.withdraw(&conn);
            conn.release(ticket, abort, reuse);
            return Ok(None);
        }
        Ok(TableEntry::Datagram(datagram)) => {
            datagram.release(ticket, false, false);
            return Ok(None);
        }
        // PV Calls has no error for an unknown socket.
        Ok(TableEntry::Dead) | Err(_) => (),
    }
    Ok(Some(Body::Empty))
}

/// Makes a socket one that can only be released.
fn mark_dead(table: &Table, id: u64) -> Result {
    match table.get(id)? {
        // It stays in the table until RELEASE, which waits until its ring is unmapped.
        TableEntry::Datagram(datagram) => {
            datagram.fail();
            Ok(())
        }
        _ => table.change(id, TableEntry::Dead),
    }
}

fn bind(table: &Table, id: u64, addr: SocketAddr) -> Result<ResponseBody> {
    let socket = match table.get(id)? {
        entry @ (TableEntry::Unused(_) | TableEntry::Datagram(_)) => entry.socket()?,
        _ => return Err(EINVAL),
    };
    let bindable = socket.bindable(addr)?;
    let bound = socket.bind(bindable);
    if bound.is_err() && matches!(addr, SocketAddr::V6(addr) if addr.scope_id() != 0) {
        // Linux has nevertheless tied the socket to that interface.
        mark_dead(table, id)?;
    }
    bound.map(|addr| Some(Body::Addr(addr)))
}

/// Returns the entry of a stream. `EOPNOTSUPP` for a datagram socket.
fn stream(table: &Table, id: u64) -> Result<TableEntry> {
    match table.get(id)? {
        TableEntry::Datagram(_) => Err(EOPNOTSUPP),
        entry => Ok(entry),
    }
}

fn name(table: &Table, id: u64, peer: bool) -> Result<ResponseBody> {
    let socket = table.get(id)?.socket()?;
    let addr = if peer {
        socket.peer_addr()?
    } else {
        socket.local_addr()?
    };
    Ok(Some(Body::Addr(addr)))
}
