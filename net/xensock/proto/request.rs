// SPDX-License-Identifier: GPL-2.0

//! Requests: what a frontend asks of the backend.
//!
//! A request is a slot: `req_id` at 0, `cmd` at 4, the id of the socket at 8, and then what the
//! command needs. Both dialects have the same fields at the same offsets. Bytes without a meaning
//! are sent as zeroes and ignored.

use core::net::SocketAddr;

use super::{
    addr::{
        self,
        BadAddr, //
    },
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
    dialect::{
        Command,
        Dialect, //
    },
    errno,
    response::Response, //
};

/// Offset of `req_id`, of every request.
const REQ_ID: usize = 0;
/// Offset of `cmd`, of every request.
const CMD: usize = 4;
/// Offset of the id of the socket, of every request.
const ID: usize = 8;
/// Offset of the family of SOCKET.
const DOMAIN: usize = 16;
/// Offset of the type of SOCKET.
const KIND: usize = 20;
/// Offset of the protocol of SOCKET.
const PROTOCOL: usize = 24;
/// Offset of the address of CONNECT and BIND.
const ADDR: usize = 16;
/// Offset of the length of that address.
const ADDR_LEN: usize = 44;
/// Offset of the flags of CONNECT.
const FLAGS: usize = 48;
/// Offset of the grant of the indexes page in CONNECT.
const CONNECT_REF: usize = 52;
/// Offset of the event channel in CONNECT.
const CONNECT_PORT: usize = 56;
/// Offset of the direction of SHUTDOWN.
const HOW: usize = 16;
/// Offset of the byte of RELEASE which says that grants and event channel will be used again.
const REUSE: usize = 16;
/// Offset of the byte of RELEASE which says to reset the connection.
const ABORT: usize = 17;
/// Offset of the backlog of LISTEN.
const BACKLOG: usize = 16;
/// Offset of the id of the new socket in ACCEPT.
const ID_NEW: usize = 16;
/// Offset of the grant of the indexes page in ACCEPT.
const ACCEPT_REF: usize = 24;
/// Offset of the event channel in ACCEPT.
const ACCEPT_PORT: usize = 28;

/// SHUTDOWN: nothing more will be received.
pub const SHUT_RD: u32 = 0;
/// SHUTDOWN: nothing more will be sent.
pub const SHUT_WR: u32 = 1;
/// SHUTDOWN: both.
pub const SHUT_RDWR: u32 = 2;

/// What a connection is made of: the grant of its indexes page and its event channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingRef {
    /// The grant, by the frontend, of the indexes page.
    pub grant: u32,
    /// The frontend's event channel, waiting to be bound.
    pub port: u32,
}

/// A command with its arguments. The `id` of each is chosen by the frontend, opaque to the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Makes a socket known to the backend.
    Socket {
        /// The socket, new.
        id: u64,
        /// [`addr::AF_INET`] or [`addr::AF_INET6`].
        domain: u32,
        /// The type of socket: 1 is a stream.
        kind: u32,
        /// The protocol: 0 is the usual one of the type.
        protocol: u32,
    },
    /// Connects a socket; answered when the connection stands or has failed.
    Connect {
        /// The socket.
        id: u64,
        /// Whom to connect to.
        addr: SocketAddr,
        /// None is defined: sent as 0 and ignored.
        flags: u32,
        /// The data ring to use.
        ring: RingRef,
    },
    /// Ends one direction of a connection, or both.
    Shutdown {
        /// The socket.
        id: u64,
        /// [`SHUT_RD`], [`SHUT_WR`] or [`SHUT_RDWR`].
        how: u32,
    },
    /// Ends a socket. After the answer the backend uses nothing of its ring any more.
    Release {
        /// The socket.
        id: u64,
        /// Whether to reset the connection, as `SO_LINGER` with a time of 0 does. PV Calls cannot
        /// say it: the encoding of this dialect leaves it out.
        abort: bool,
        /// Whether grants and event channel will be used again. Left out likewise: the frontends
        /// that there are leave garbage in this byte.
        reuse: bool,
    },
    /// Gives a socket its local address.
    Bind {
        /// The socket.
        id: u64,
        /// The address; port 0 leaves the choice to the backend.
        addr: SocketAddr,
    },
    /// Turns a bound socket into a listening one.
    Listen {
        /// The socket.
        id: u64,
        /// How many connections may wait.
        backlog: u32,
    },
    /// Takes one connection; answered when there is one.
    Accept {
        /// The listening socket.
        id: u64,
        /// The socket to make, new.
        id_new: u64,
        /// The data ring which it will use.
        ring: RingRef,
    },
    /// Waits for a connection to accept; answered once, when there is one.
    Poll {
        /// The listening socket.
        id: u64,
    },
}

impl Call {
    /// Returns which command this is.
    pub const fn command(&self) -> Command {
        match self {
            Self::Socket { .. } => Command::Socket,
            Self::Connect { .. } => Command::Connect,
            Self::Shutdown { .. } => Command::Shutdown,
            Self::Release { .. } => Command::Release,
            Self::Bind { .. } => Command::Bind,
            Self::Listen { .. } => Command::Listen,
            Self::Accept { .. } => Command::Accept,
            Self::Poll { .. } => Command::Poll,
        }
    }

    /// Returns the number of the command, or [`None`] if the dialect does not have it.
    pub const fn cmd(&self, dialect: Dialect) -> Option<u32> {
        dialect.number(self.command())
    }

    /// Returns the socket in question; of [`Call::Accept`], the listening one.
    pub const fn id(&self) -> u64 {
        match *self {
            Self::Socket { id, .. }
            | Self::Connect { id, .. }
            | Self::Shutdown { id, .. }
            | Self::Release { id, .. }
            | Self::Bind { id, .. }
            | Self::Listen { id, .. }
            | Self::Accept { id, .. }
            | Self::Poll { id } => id,
        }
    }
}

/// A request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// The frontend's mark, by which it knows the response; the backend only echoes it.
    pub req_id: u32,
    /// What is asked.
    pub call: Call,
}

/// Why a slot is not a request, with what is needed to answer it all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// The mark to echo.
    pub req_id: u32,
    /// The number of the command, as it came.
    pub cmd: u32,
    /// The socket, as it came.
    pub id: u64,
    /// The result to answer with, as it goes on the wire: negative.
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
            addr: None,
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
            } => {
                put_u32::<DOMAIN>(&mut slot, domain);
                put_u32::<KIND>(&mut slot, kind);
                put_u32::<PROTOCOL>(&mut slot, protocol);
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
            },
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
        };
        Ok(Self { req_id, call })
    }

    /// Returns the answer with this result, a number as it goes on the wire.
    ///
    /// [`None`] if the dialect lacks the command, which a decoded request excludes.
    pub fn response(&self, dialect: Dialect, ret: i32) -> Option<Response> {
        Some(Response {
            req_id: self.req_id,
            cmd: self.call.cmd(dialect)?,
            ret,
            id: self.call.id(),
            addr: None,
        })
    }
}

/// Puts the address of CONNECT or BIND.
fn put_addr(dialect: Dialect, slot: &mut [u8; SLOT], addr: &SocketAddr) -> Option<()> {
    let (bytes, len) = addr::encode(dialect, addr)?;

    put::<ADDR, { addr::LEN }>(slot, bytes);
    put_u32::<ADDR_LEN>(slot, len);
    Some(())
}

/// Returns the address of CONNECT or BIND.
fn get_addr(dialect: Dialect, slot: &[u8; SLOT]) -> Result<SocketAddr, BadAddr> {
    addr::decode(
        dialect,
        &get::<ADDR, { addr::LEN }>(slot),
        get_u32::<ADDR_LEN>(slot),
    )
}
