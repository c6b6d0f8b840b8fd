// SPDX-License-Identifier: GPL-2.0

//! Responses: the backend sends one for each request.
//!
//! `req_id` at 0, `cmd` at 4, the result at 8, the id of the socket at 16. That is all in PV Calls,
//! 24 bytes; the rest of the slot is left over from a request. The native dialect uses the whole
//! slot: an address at 24 with its length at 52, where 0 means that there is none; or for
//! GETSOCKOPT a piece of a value at 24 with the length of the whole value at 56.

use core::net::SocketAddr;

use super::{
    addr::{
        self,
        BadAddr, //
    },
    bytes::{
        get,
        get_i32,
        get_u32,
        get_u64,
        put,
        put_u32,
        put_u64,
        SLOT, //
    },
    dialect::{
        Command,
        Dialect, //
    },
    errno,
    value::{
        self,
        Piece, //
    }, //
};

/// Offset of `req_id`.
const REQ_ID: usize = 0;
/// Offset of `cmd`.
const CMD: usize = 4;
/// Offset of the result.
const RET: usize = 8;
/// Offset of the id of the socket.
const ID: usize = 16;
/// Offset of the address.
const ADDR: usize = 24;
/// Offset of the length of the address.
const ADDR_LEN: usize = 52;
/// Offset of the piece of a value.
const VALUE: usize = 24;
/// Offset of the length of the whole value.
const TOTAL: usize = 56;

/// The further contents of a response; empty in PV Calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// Nothing.
    Empty,
    /// An address. CONNECT returns the local one, BIND the one really bound, ACCEPT that of the
    /// peer, GETNAME the requested one.
    Addr(SocketAddr),
    /// The value that GETSOCKOPT has read. Only for success, and for no other command.
    Value(Piece),
}

/// A response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Response {
    /// The `req_id` of the request.
    pub req_id: u32,
    /// The number of the command in the request.
    pub cmd: u32,
    /// The result as it is on the wire: 0, or a negative number.
    pub ret: i32,
    /// The id of the socket in the request; for ACCEPT, of the listening socket.
    pub id: u64,
    /// The further contents.
    pub body: Body,
}

impl Response {
    /// Returns the slot, and the number of its bytes that the dialect uses.
    ///
    /// A response in PV Calls has no body; it is left out.
    pub fn encode(&self, dialect: Dialect) -> ([u8; SLOT], usize) {
        let mut slot = [0; SLOT];

        put_u32::<REQ_ID>(&mut slot, self.req_id);
        put_u32::<CMD>(&mut slot, self.cmd);
        put::<RET, 4>(&mut slot, self.ret.to_le_bytes());
        put_u64::<ID>(&mut slot, self.id);
        match (dialect, self.body) {
            (Dialect::PvCalls, _) | (Dialect::XenSock, Body::Empty) => {}
            (Dialect::XenSock, Body::Addr(addr)) => {
                if let Some((bytes, len)) = addr::encode(dialect, &addr) {
                    put::<ADDR, { addr::LEN }>(&mut slot, bytes);
                    put_u32::<ADDR_LEN>(&mut slot, len);
                }
            }
            (Dialect::XenSock, Body::Value(piece)) => {
                put::<VALUE, { value::MAX_LEN }>(&mut slot, piece.bytes);
                put_u32::<TOTAL>(&mut slot, piece.total);
            }
        }
        (slot, dialect.response_len())
    }

    /// Reads a private copy of a slot.
    ///
    /// The result may be any number: [`Response::result`] interprets it. The frontend compares
    /// `req_id`, `cmd` and `id` with its request.
    pub fn decode(dialect: Dialect, slot: &[u8; SLOT]) -> Result<Self, BadAddr> {
        let cmd = get_u32::<CMD>(slot);
        let ret = get_i32::<RET>(slot);
        let body = match (dialect, dialect.command(cmd)) {
            (Dialect::PvCalls, _) => Body::Empty,
            (Dialect::XenSock, Some(Command::GetSockOpt)) if ret != 0 => Body::Empty,
            (Dialect::XenSock, Some(Command::GetSockOpt)) => Body::Value(Piece {
                bytes: get::<VALUE, { value::MAX_LEN }>(slot),
                total: get_u32::<TOTAL>(slot),
            }),
            (Dialect::XenSock, _) => match get_u32::<ADDR_LEN>(slot) {
                0 => Body::Empty,
                len => Body::Addr(addr::decode(
                    dialect,
                    &get::<ADDR, { addr::LEN }>(slot),
                    len,
                )?),
            },
        };

        Ok(Self {
            req_id: get_u32::<REQ_ID>(slot),
            cmd,
            ret,
            id: get_u64::<ID>(slot),
            body,
        })
    }

    /// Returns success, or the (positive) error number, always one from the table.
    ///
    /// An answer is final: the request does not continue. The exceptions are a POLL, which may be
    /// told that another POLL is in progress, and in PV Calls an ACCEPT or a POLL, which may be
    /// told to try again.
    pub fn result(&self, dialect: Dialect) -> Result<(), i32> {
        let number = match (dialect, dialect.command(self.cmd)) {
            (_, Some(Command::Poll)) | (Dialect::PvCalls, Some(Command::Accept)) => {
                errno::from_wire(self.ret)
            }
            _ => errno::final_from_wire(self.ret),
        };
        match number {
            0 => Ok(()),
            number => Err(number),
        }
    }
}
