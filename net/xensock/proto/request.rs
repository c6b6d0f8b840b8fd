// SPDX-License-Identifier: GPL-2.0

//! Requests from the frontend to the backend.
//!
//! A request is a slot: `req_id` at 0, `cmd` at 4, the id of the socket at 8, and then the
//! arguments of the command. Both dialects have the same fields at the same offsets. Bytes without
//! a meaning are sent as zeroes and ignored.

mod fields;

use super::{
    addr,
    bytes::{
        get,
        get_u32,
        get_u64,
        get_u8,
        put,
        put_u32,
        put_u64,
        SLOT, //
    },
    call::{
        Call,
        RingRef,
        Way,
        SHUT_RD,
        SHUT_RDWR, //
    },
    dialect::{
        Command,
        Dialect, //
    },
    errno,
    response::{
        Body,
        Response, //
    },
    ring::Order,
    value::{
        self,
        Value, //
    }, //
};
use fields::*;

/// A request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// The frontend's mark, by which it finds the request of a response. The backend only echoes
    /// it.
    pub req_id: u32,
    /// The call.
    pub call: Call,
}

/// The reason why a slot is not a request, with the data needed to answer it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// The mark to echo.
    pub req_id: u32,
    /// The number of the command, as received.
    pub cmd: u32,
    /// The id of the socket, as received.
    pub id: u64,
    /// The result for the answer, as on the wire: negative.
    pub errno: i32,
}

impl Malformed {
    /// Returns the answer.
    pub const fn response(&self) -> Response {
        Response {
            req_id: self.req_id,
            cmd: self.cmd,
            ret: self.errno,
            id: self.id,
            body: Body::Empty,
        }
    }
}

impl Request {
    /// Returns the slot, or [`None`] if the dialect lacks the command or the address family, or an
    /// argument is out of range.
    pub fn encode(&self, dialect: Dialect) -> Option<[u8; SLOT]> {
        let mut slot = [0; SLOT];

        put_u32::<REQ_ID>(&mut slot, self.req_id);
        put_u32::<CMD>(&mut slot, self.call.cmd(dialect)?);
        put_u64::<ID>(&mut slot, self.call.id());
        match self.call {
            Call::Socket {
                id: _,
                domain,
                kind,
                protocol,
                owner,
            } => {
                put_u32::<DOMAIN>(&mut slot, domain);
                put_u32::<KIND>(&mut slot, kind);
                put_u32::<PROTOCOL>(&mut slot, protocol);
                if dialect == Dialect::XenSock {
                    put_u64::<OWNER>(&mut slot, owner);
                }
            }
            Call::Connect {
                id: _,
                addr,
                flags,
                ring,
            } => {
                put_addr(dialect, &mut slot, &addr)?;
                put_u32::<FLAGS>(&mut slot, flags);
                put_u32::<CONNECT_REF>(&mut slot, ring.grant);
                put_u32::<CONNECT_PORT>(&mut slot, ring.port);
            }
            Call::Disconnect { id: _ } => {
                if dialect == Dialect::PvCalls {
                    return None;
                }
                put_u32::<ADDR_LEN>(&mut slot, addr::UNSPEC_LEN);
            }
            Call::Shutdown { id: _, how } => {
                if how > SHUT_RDWR {
                    return None;
                }
                put_u32::<HOW>(&mut slot, how);
            }
            Call::Release {
                id: _,
                abort,
                reuse,
            } => {
                if dialect == Dialect::XenSock {
                    put::<REUSE, 1>(&mut slot, [u8::from(reuse)]);
                    put::<ABORT, 1>(&mut slot, [u8::from(abort)]);
                }
            }
            Call::Bind { id: _, addr } => put_addr(dialect, &mut slot, &addr)?,
            Call::Listen { id: _, backlog } => put_u32::<BACKLOG>(&mut slot, backlog),
            Call::Accept {
                id: _,
                id_new,
                ring,
            } => {
                put_u64::<ID_NEW>(&mut slot, id_new);
                put_u32::<ACCEPT_REF>(&mut slot, ring.grant);
                put_u32::<ACCEPT_PORT>(&mut slot, ring.port);
            }
            Call::Poll { id: _ } => {}
            Call::SetSockOpt {
                id: _,
                level,
                name,
                value,
            } => {
                put_u32::<LEVEL>(&mut slot, level);
                put_u32::<NAME>(&mut slot, name);
                put_u32::<VALUE_LEN>(&mut slot, value.wire_len());
                put::<VALUE, { value::MAX_LEN }>(&mut slot, value.padded());
            }
            Call::GetSockOpt {
                id: _,
                level,
                name,
                offset,
            } => {
                put_u32::<LEVEL>(&mut slot, level);
                put_u32::<NAME>(&mut slot, name);
                put_u32::<OFFSET>(&mut slot, offset);
            }
            Call::GetName { id: _, peer } => put_u32::<PEER>(&mut slot, u32::from(peer)),
            Call::Attach { id: _, ring } => {
                put_u32::<ATTACH_REF>(&mut slot, ring.grant);
                put_u32::<ATTACH_PORT>(&mut slot, ring.port);
            }
            Call::Unmap { id: _, ring } => {
                put_u32::<UNMAP_REF>(&mut slot, ring.grant);
                put_u32::<UNMAP_PORT>(&mut slot, ring.port);
            }
            Call::Grow { id: _, way, order } => {
                put_u32::<WAY>(&mut slot, way.to_wire());
                put_u32::<ORDER>(&mut slot, order.get());
            }
            Call::Shrink { id: _, way } => put_u32::<WAY>(&mut slot, way.to_wire()),
            Call::Withdraw { id: _ } => {}
        }
        Some(slot)
    }

    /// Reads a private copy of a slot.
    pub fn decode(dialect: Dialect, slot: &[u8; SLOT]) -> Result<Self, Malformed> {
        let req_id = get_u32::<REQ_ID>(slot);
        let cmd = get_u32::<CMD>(slot);
        let id = get_u64::<ID>(slot);
        let malformed = |errno| Malformed {
            req_id,
            cmd,
            id,
            errno,
        };

        let Some(command) = dialect.command(cmd) else {
            return Err(malformed(dialect.not_supported()));
        };
        let call = match command {
            Command::Socket => Call::Socket {
                id,
                domain: get_u32::<DOMAIN>(slot),
                kind: get_u32::<KIND>(slot),
                protocol: get_u32::<PROTOCOL>(slot),
                owner: match dialect {
                    Dialect::XenSock => get_u64::<OWNER>(slot),
                    Dialect::PvCalls => 0,
                },
            },
            Command::Connect if is_unspec(dialect, slot) => Call::Disconnect { id },
            Command::Connect => Call::Connect {
                id,
                addr: get_addr(dialect, slot).map_err(|e| malformed(-e.errno()))?,
                flags: get_u32::<FLAGS>(slot),
                ring: RingRef {
                    grant: get_u32::<CONNECT_REF>(slot),
                    port: get_u32::<CONNECT_PORT>(slot),
                },
            },
            Command::Shutdown => match get_u32::<HOW>(slot) {
                how @ SHUT_RD..=SHUT_RDWR => Call::Shutdown { id, how },
                _ => return Err(malformed(-errno::EINVAL)),
            },
            Command::Release => Call::Release {
                id,
                abort: dialect == Dialect::XenSock && get_u8::<ABORT>(slot) != 0,
                reuse: dialect == Dialect::XenSock && get_u8::<REUSE>(slot) != 0,
            },
            Command::Bind => Call::Bind {
                id,
                addr: get_addr(dialect, slot).map_err(|e| malformed(-e.errno()))?,
            },
            Command::Listen => Call::Listen {
                id,
                backlog: get_u32::<BACKLOG>(slot),
            },
            Command::Accept => Call::Accept {
                id,
                id_new: get_u64::<ID_NEW>(slot),
                ring: RingRef {
                    grant: get_u32::<ACCEPT_REF>(slot),
                    port: get_u32::<ACCEPT_PORT>(slot),
                },
            },
            Command::Poll => Call::Poll { id },
            Command::SetSockOpt => Call::SetSockOpt {
                id,
                level: get_u32::<LEVEL>(slot),
                name: get_u32::<NAME>(slot),
                value: Value::from_padded(
                    &get::<VALUE, { value::MAX_LEN }>(slot),
                    get_u32::<VALUE_LEN>(slot),
                )
                .ok_or(malformed(-errno::EINVAL))?,
            },
            Command::GetSockOpt => Call::GetSockOpt {
                id,
                level: get_u32::<LEVEL>(slot),
                name: get_u32::<NAME>(slot),
                offset: get_u32::<OFFSET>(slot),
            },
            Command::GetName => Call::GetName {
                id,
                peer: match get_u32::<PEER>(slot) {
                    0 => false,
                    1 => true,
                    _ => return Err(malformed(-errno::EINVAL)),
                },
            },
            Command::Attach => Call::Attach {
                id,
                ring: RingRef {
                    grant: get_u32::<ATTACH_REF>(slot),
                    port: get_u32::<ATTACH_PORT>(slot),
                },
            },
            Command::Unmap => Call::Unmap {
                id,
                ring: RingRef {
                    grant: get_u32::<UNMAP_REF>(slot),
                    port: get_u32::<UNMAP_PORT>(slot),
                },
            },
            Command::Grow => Call::Grow {
                id,
                way: Way::from_wire(get_u32::<WAY>(slot)).ok_or(malformed(-errno::EINVAL))?,
                order: Order::new(get_u32::<ORDER>(slot)).ok_or(malformed(-errno::EINVAL))?,
            },
            Command::Shrink => Call::Shrink {
                id,
                way: Way::from_wire(get_u32::<WAY>(slot)).ok_or(malformed(-errno::EINVAL))?,
            },
            Command::Withdraw => Call::Withdraw { id },
        };
        Ok(Self { req_id, call })
    }

    /// Returns the response with this result, a number as on the wire.
    ///
    /// [`None`] if the dialect lacks the command, which is impossible for a decoded request.
    pub fn response(&self, dialect: Dialect, ret: i32) -> Option<Response> {
        Some(Response {
            req_id: self.req_id,
            cmd: self.call.cmd(dialect)?,
            ret,
            id: self.call.id(),
            body: Body::Empty,
        })
    }
}
