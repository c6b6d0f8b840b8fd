// SPDX-License-Identifier: GPL-2.0

//! Calls: the commands with their arguments, whatever a dialect makes of them.

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

/// SHUTDOWN: nothing more will be received. TCP tells the peer nothing, nor need the backend know.
pub const SHUT_RD: u32 = 0;
/// SHUTDOWN: nothing more will be sent.
pub const SHUT_WR: u32 = 1;
/// SHUTDOWN: both; a peer that goes on sending is reset.
pub const SHUT_RDWR: u32 = 2;

/// SOCKET: a stream of bytes, TCP.
pub const SOCK_STREAM: u32 = 1;
/// SOCKET: datagrams, UDP; with [`super::Feature::Datagram`].
pub const SOCK_DGRAM: u32 = 2;

/// What a connection is made of: the grant of its indexes page, and by what the ends notify.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingRef {
    /// The grant, by the frontend, of the indexes page.
    pub grant: u32,
    /// The frontend's event channel, waiting to be bound; with [`super::Feature::SharedChannel`], the
    /// [slot](super::news::Slot).
    pub port: u32,
}

/// A direction of a data ring, as the guest sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// What the guest receives.
    In,
    /// What the guest sends.
    Out,
}

impl Way {
    /// Both of them.
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

/// A command with its arguments. The `id` of each is chosen by the frontend, opaque to the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Makes a socket known to the backend.
    Socket {
        /// The socket, new.
        id: u64,
        /// [`addr::AF_INET`] or [`addr::AF_INET6`].
        domain: u32,
        /// The type of socket: [`SOCK_STREAM`] or [`SOCK_DGRAM`].
        kind: u32,
        /// The protocol: 0 is the usual one of the type.
        protocol: u32,
        /// Whose it is in the guest, in any number; 0 is what PV Calls has for all. What is shared
        /// by a user's sockets alone, such as a port, is shared by those of one number.
        owner: u64,
    },
    /// Connects a socket. Answered when the connection stands or has failed; at once with
    /// [`super::Feature::Status`], and the outcome then comes through the page, see
    /// [`super::status`].
    Connect {
        /// The socket.
        id: u64,
        /// Whom to connect to.
        addr: SocketAddr,
        /// None is defined: sent as 0 and ignored.
        flags: u32,
        /// The data ring to use. A datagram socket has its own, see [`Call::Attach`]: zeroes.
        ring: RingRef,
    },
    /// Has a datagram socket forget its peer: CONNECT to an address of family 0.
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
    /// Ends a socket. After the answer the backend uses nothing of its ring any more.
    Release {
        /// The socket.
        id: u64,
        /// Whether to reset the connection, as `SO_LINGER` with a time of 0 does. PV Calls cannot
        /// say it: the encoding of this dialect leaves it out.
        abort: bool,
        /// Whether the grants and the event channel of a connection will be used again, with
        /// [`super::Feature::RingReuse`]. Left out likewise: the frontends that there are leave
        /// garbage in this byte.
        reuse: bool,
    },
    /// Gives a socket its local address.
    Bind {
        /// The socket.
        id: u64,
        /// The address; port 0 leaves the choice to the backend.
        addr: SocketAddr,
    },
    /// Turns a socket into a listening one.
    Listen {
        /// The socket.
        id: u64,
        /// How many connections may wait.
        backlog: u32,
    },
    /// Takes one connection; answered when there is one, or at once as CONNECT is.
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
    /// Sets an option; [`super::option`] says which there are.
    SetSockOpt {
        /// The socket.
        id: u64,
        /// The level, as Linux numbers it.
        level: u32,
        /// The option, as Linux numbers it.
        name: u32,
        /// What to set it to.
        value: Value,
    },
    /// Reads an option, or a piece of a long one.
    GetSockOpt {
        /// The socket.
        id: u64,
        /// The level, as Linux numbers it.
        level: u32,
        /// The option, as Linux numbers it.
        name: u32,
        /// Where the piece begins, a multiple of [`super::value::MAX_LEN`]. 0 reads the option;
        /// the others are answered from what was read then.
        offset: u32,
    },
    /// Reads the address of a socket.
    GetName {
        /// The socket.
        id: u64,
        /// Of whom: the peer, or the socket itself.
        peer: bool,
    },
    /// Gives a datagram socket its data ring.
    Attach {
        /// The socket.
        id: u64,
        /// The data ring.
        ring: RingRef,
    },
    /// Has a data ring unmapped that RELEASE has left for another connection.
    Unmap {
        /// No socket: sent as 0 and ignored.
        id: u64,
        /// The data ring.
        ring: RingRef,
    },
    /// Gives a direction of a data ring an extension, with [`super::Feature::RingResize`]. Its grants
    /// are in the indexes page.
    Grow {
        /// The connection.
        id: u64,
        /// The direction.
        way: Way,
        /// The order of a ring whose directions have as much memory.
        order: Order,
    },
    /// Has the extension of a direction unmapped.
    Shrink {
        /// The connection.
        id: u64,
        /// The direction.
        way: Way,
    },
    /// Takes an ACCEPT back, if it has no connection.
    Withdraw {
        /// The socket that it has announced.
        id: u64,
    },
}

impl Call {
    /// Returns whether it has a socket join a group.
    pub fn joins_group(&self) -> bool {
        matches!(*self, Self::SetSockOpt { level, name, .. } if is_kept_group(level, name))
    }

    /// Returns which command this is.
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

    /// Returns the socket in question; of [`Call::Accept`], the listening one.
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
