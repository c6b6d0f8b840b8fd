// SPDX-License-Identifier: GPL-2.0

//! Calls: the commands with their arguments, independent of the dialect.

use core::net::SocketAddr;

use super::{
    dialect::{
        Command,
        Dialect, //
    },
    option::is_kept_group,
    ring::Order,
    value::Value, //
};

/// SHUTDOWN: nothing more will be received. TCP does not tell the peer, and the backend need not
/// know.
pub const SHUT_RD: u32 = 0;
/// SHUTDOWN: nothing more will be sent.
pub const SHUT_WR: u32 = 1;
/// SHUTDOWN: both. A peer that continues to send is reset.
pub const SHUT_RDWR: u32 = 2;

/// SOCKET: a stream of bytes, TCP.
pub const SOCK_STREAM: u32 = 1;
/// SOCKET: datagrams, UDP; with [`super::Feature::Datagram`].
pub const SOCK_DGRAM: u32 = 2;

/// SOCKET: TCP by number, rather than as the default of the type.
pub const IPPROTO_TCP: u32 = 6;
/// SOCKET: UDP by number, rather than as the default of the type.
pub const IPPROTO_UDP: u32 = 17;

/// The parts of a data ring that a request names: the grant of its indexes page, and its event
/// channel or slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingRef {
    /// The frontend's grant of the indexes page.
    pub grant: u32,
    /// The frontend's event channel, ready to be bound; with [`super::Feature::SharedChannel`], the
    /// [slot](super::news::Slot).
    pub port: u32,
}

/// A direction of a data ring, as the guest sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The direction in which the guest receives.
    In,
    /// The direction in which the guest sends.
    Out,
}

impl Way {
    /// Both directions.
    pub const ALL: [Self; 2] = [Self::In, Self::Out];

    /// Returns the number for the wire.
    pub const fn to_wire(self) -> u32 {
        match self {
            Self::In => 0,
            Self::Out => 1,
        }
    }

    /// Checks a number from the wire.
    pub const fn from_wire(number: u32) -> Option<Self> {
        match number {
            0 => Some(Self::In),
            1 => Some(Self::Out),
            _ => None,
        }
    }
}

/// A command with its arguments. The frontend chooses each `id`, which is opaque to the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Creates a socket.
    Socket {
        /// Id of the new socket.
        id: u64,
        /// [`AF_INET`](super::addr::AF_INET) or [`AF_INET6`](super::addr::AF_INET6).
        domain: u32,
        /// The type of socket: [`SOCK_STREAM`] or [`SOCK_DGRAM`].
        kind: u32,
        /// The protocol: [`IPPROTO_TCP`] or [`IPPROTO_UDP`]; 0 is the default of the type.
        protocol: u32,
        /// The owner of the socket in the guest, which is any number; PV Calls has 0 for all
        /// sockets. Resources that only sockets of one user share, such as a port, are shared by
        /// sockets with the same number.
        owner: u64,
    },
    /// Connects a socket. Answered when the connection is established or has failed. With
    /// [`super::Feature::Status`], answered at once; then the page reports the outcome, see
    /// [`super::status`].
    Connect {
        /// The socket.
        id: u64,
        /// The address to connect to.
        addr: SocketAddr,
        /// No flags are defined: sent as 0 and ignored.
        flags: u32,
        /// The data ring to use; zeroes for a datagram socket, which has its own, see
        /// [`Call::Attach`].
        ring: RingRef,
    },
    /// Removes the peer of a datagram socket: CONNECT to an address of family 0.
    Disconnect {
        /// The socket.
        id: u64,
    },
    /// Ends one direction of a connection, or both.
    Shutdown {
        /// The socket.
        id: u64,
        /// [`SHUT_RD`], [`SHUT_WR`] or [`SHUT_RDWR`].
        how: u32,
    },
    /// Ends a socket. After the answer the backend does not use its ring any more, but with `reuse`
    /// may keep it mapped.
    Release {
        /// The socket.
        id: u64,
        /// Set to reset the connection, as `SO_LINGER` with a time of 0 does. PV Calls cannot
        /// express this: the encoding in that dialect leaves it out.
        abort: bool,
        /// Set if the grants and the event channel of a connection will be used again, with
        /// [`super::Feature::RingReuse`]. Also left out in PV Calls: existing frontends leave
        /// garbage in this byte.
        reuse: bool,
    },
    /// Gives a socket its local address.
    Bind {
        /// The socket.
        id: u64,
        /// The address; with port 0 the backend chooses the port.
        addr: SocketAddr,
    },
    /// Turns a socket into a listening one.
    Listen {
        /// The socket.
        id: u64,
        /// Number of connections that may wait.
        backlog: u32,
    },
    /// Accepts one connection. Answered when there is a connection, or at once like CONNECT.
    Accept {
        /// The listening socket.
        id: u64,
        /// Id of the new socket.
        id_new: u64,
        /// The data ring for the new socket.
        ring: RingRef,
    },
    /// Waits for a connection to accept. Answered once, when there is one.
    Poll {
        /// The listening socket.
        id: u64,
    },
    /// Sets an option; [`super::option`] lists the options.
    SetSockOpt {
        /// The socket.
        id: u64,
        /// The level, with Linux's number.
        level: u32,
        /// The option, with Linux's number.
        name: u32,
        /// The new value.
        value: Value,
    },
    /// Reads an option, or a piece of a long value.
    GetSockOpt {
        /// The socket.
        id: u64,
        /// The level, with Linux's number.
        level: u32,
        /// The option, with Linux's number.
        name: u32,
        /// Offset of the piece, a multiple of [`super::value::MAX_LEN`]. Offset 0 reads the option;
        /// other pieces come from the value read then.
        offset: u32,
    },
    /// Reads the address of a socket or of its peer.
    GetName {
        /// The socket.
        id: u64,
        /// `true` for the address of the peer, `false` for that of the socket itself.
        peer: bool,
    },
    /// Gives a datagram socket its data ring.
    Attach {
        /// The socket.
        id: u64,
        /// The data ring.
        ring: RingRef,
    },
    /// Unmaps a data ring that RELEASE has kept for another connection.
    Unmap {
        /// Not a socket: sent as 0 and ignored.
        id: u64,
        /// The data ring.
        ring: RingRef,
    },
    /// Adds an extension to a direction of a data ring, with [`super::Feature::RingResize`]. Its
    /// grants are in the indexes page.
    Grow {
        /// The connection.
        id: u64,
        /// The direction.
        way: Way,
        /// The order of a ring whose directions have as much memory as the extension.
        order: Order,
    },
    /// Unmaps the extension of a direction.
    Shrink {
        /// The connection.
        id: u64,
        /// The direction.
        way: Way,
    },
    /// Withdraws an ACCEPT, if it has no connection.
    Withdraw {
        /// Id of the new socket in the ACCEPT.
        id: u64,
    },
}

impl Call {
    /// Returns `true` if the call makes a socket join a group.
    pub fn joins_group(&self) -> bool {
        matches!(*self, Self::SetSockOpt { level, name, .. } if is_kept_group(level, name))
    }

    /// Returns the command.
    pub const fn command(&self) -> Command {
        match self {
            Self::Socket { .. } => Command::Socket,
            Self::Connect { .. } | Self::Disconnect { .. } => Command::Connect,
            Self::Shutdown { .. } => Command::Shutdown,
            Self::Release { .. } => Command::Release,
            Self::Bind { .. } => Command::Bind,
            Self::Listen { .. } => Command::Listen,
            Self::Accept { .. } => Command::Accept,
            Self::Poll { .. } => Command::Poll,
            Self::SetSockOpt { .. } => Command::SetSockOpt,
            Self::GetSockOpt { .. } => Command::GetSockOpt,
            Self::GetName { .. } => Command::GetName,
            Self::Attach { .. } => Command::Attach,
            Self::Unmap { .. } => Command::Unmap,
            Self::Grow { .. } => Command::Grow,
            Self::Shrink { .. } => Command::Shrink,
            Self::Withdraw { .. } => Command::Withdraw,
        }
    }

    /// Returns the number of the command, or [`None`] if the dialect does not have it.
    pub const fn cmd(&self, dialect: Dialect) -> Option<u32> {
        dialect.number(self.command())
    }

    /// Returns the id of the socket; for [`Call::Accept`], of the listening socket.
    pub const fn id(&self) -> u64 {
        match *self {
            Self::Socket { id, .. }
            | Self::Connect { id, .. }
            | Self::Disconnect { id }
            | Self::Shutdown { id, .. }
            | Self::Release { id, .. }
            | Self::Bind { id, .. }
            | Self::Listen { id, .. }
            | Self::Accept { id, .. }
            | Self::Poll { id }
            | Self::SetSockOpt { id, .. }
            | Self::GetSockOpt { id, .. }
            | Self::GetName { id, .. }
            | Self::Attach { id, .. }
            | Self::Unmap { id, .. }
            | Self::Grow { id, .. }
            | Self::Shrink { id, .. }
            | Self::Withdraw { id } => id,
        }
    }
}
