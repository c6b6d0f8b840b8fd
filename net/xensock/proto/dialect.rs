// SPDX-License-Identifier: GPL-2.0

//! The two dialects of the protocol, and their commands.

use core::ffi::CStr;

use super::errno;

/// The dialect of a link. The device type on xenbus decides it, and for `pvcalls` also the node of
/// the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// The native protocol, device type `xensock`.
    XenSock,
    /// PV Calls version 1, device type `pvcalls`, as the C drivers of Linux speak it.
    PvCalls,
}

/// A command, independent of its number in a dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Makes a socket known to the backend.
    Socket,
    /// Connects a socket and gives it its data ring.
    Connect,
    /// Ends one direction of a connection, or both.
    Shutdown,
    /// Ends a socket.
    Release,
    /// Gives a socket its local address.
    Bind,
    /// Turns a socket into a listening one.
    Listen,
    /// Takes one connection from a listening socket.
    Accept,
    /// Waits until a listening socket has a connection to accept.
    Poll,
    /// Sets an option of a socket.
    SetSockOpt,
    /// Reads an option of a socket.
    GetSockOpt,
    /// Reads the address of a socket, or that of its peer.
    GetName,
    /// Gives a datagram socket its data ring.
    Attach,
    /// Unmaps a data ring that was kept for another connection.
    Unmap,
    /// Gives a direction of a data ring more memory.
    Grow,
    /// Removes the additional memory.
    Shrink,
    /// Withdraws an ACCEPT that has no connection.
    Withdraw,
}

impl Command {
    /// Every command, in the order of the native numbers.
    pub const ALL: [Self; 16] = [
        Self::Connect,
        Self::Socket,
        Self::Shutdown,
        Self::Release,
        Self::Bind,
        Self::Listen,
        Self::Accept,
        Self::Poll,
        Self::SetSockOpt,
        Self::GetSockOpt,
        Self::GetName,
        Self::Attach,
        Self::Unmap,
        Self::Grow,
        Self::Shrink,
        Self::Withdraw,
    ];

    /// Returns the name of the command in the protocol.
    pub const fn name(self) -> &'static CStr {
        match self {
            Self::Connect => c"CONNECT",
            Self::Socket => c"SOCKET",
            Self::Shutdown => c"SHUTDOWN",
            Self::Release => c"RELEASE",
            Self::Bind => c"BIND",
            Self::Listen => c"LISTEN",
            Self::Accept => c"ACCEPT",
            Self::Poll => c"POLL",
            Self::SetSockOpt => c"SETSOCKOPT",
            Self::GetSockOpt => c"GETSOCKOPT",
            Self::GetName => c"GETNAME",
            Self::Attach => c"ATTACH",
            Self::Unmap => c"UNMAP",
            Self::Grow => c"GROW",
            Self::Shrink => c"SHRINK",
            Self::Withdraw => c"WITHDRAW",
        }
    }
}

impl Dialect {
    /// Both dialects, the native one first.
    pub const ALL: [Self; 2] = [Self::XenSock, Self::PvCalls];

    /// Returns the device type on xenbus.
    pub const fn device_name(self) -> &'static CStr {
        match self {
            Self::XenSock => c"xensock",
            Self::PvCalls => c"pvcalls",
        }
    }

    /// Returns the dialect of a device type.
    pub fn from_device_name(name: &CStr) -> Option<Self> {
        Self::ALL.into_iter().find(|d| d.device_name() == name)
    }

    /// Returns the dialect of a link on a device of this type. `native` is the other end's node for
    /// the native dialect: [`super::node::NATIVE_OFFERED`] or [`super::node::NATIVE_TAKEN`].
    ///
    /// Toolstacks make devices of type `pvcalls`, and do not know the type `xensock`.
    pub fn of_link(device: Self, native: Option<u32>) -> Self {
        match device {
            Self::PvCalls if native == Some(1) => Self::XenSock,
            device => device,
        }
    }

    /// Returns the number of a command, or [`None`] if the dialect does not have it.
    pub const fn number(self, command: Command) -> Option<u32> {
        Some(match (self, command) {
            (Self::XenSock, Command::Connect) => 0,
            (Self::XenSock, Command::Socket) => 1,
            (Self::XenSock, Command::Shutdown) => 2,
            (Self::XenSock, Command::Release) => 3,
            (Self::XenSock, Command::Bind) => 4,
            (Self::XenSock, Command::Listen) => 5,
            (Self::XenSock, Command::Accept) => 6,
            (Self::XenSock, Command::Poll) => 7,
            (Self::XenSock, Command::SetSockOpt) => 8,
            (Self::XenSock, Command::GetSockOpt) => 9,
            (Self::XenSock, Command::GetName) => 10,
            (Self::XenSock, Command::Attach) => 11,
            (Self::XenSock, Command::Unmap) => 12,
            (Self::XenSock, Command::Grow) => 13,
            (Self::XenSock, Command::Shrink) => 14,
            (Self::XenSock, Command::Withdraw) => 15,
            (Self::PvCalls, Command::Socket) => 0,
            (Self::PvCalls, Command::Connect) => 1,
            (Self::PvCalls, Command::Release) => 2,
            (Self::PvCalls, Command::Bind) => 3,
            (Self::PvCalls, Command::Listen) => 4,
            (Self::PvCalls, Command::Accept) => 5,
            (Self::PvCalls, Command::Poll) => 6,
            (
                Self::PvCalls,
                Command::Shutdown
                | Command::SetSockOpt
                | Command::GetSockOpt
                | Command::GetName
                | Command::Attach
                | Command::Unmap
                | Command::Grow
                | Command::Shrink
                | Command::Withdraw,
            ) => return None,
        })
    }

    /// Returns the command with this number.
    pub fn command(self, number: u32) -> Option<Command> {
        Command::ALL
            .into_iter()
            .find(|&c| self.number(c) == Some(number))
    }

    /// Returns the result, as on the wire, for a command that this backend does not support.
    ///
    /// PV Calls has its own number for that.
    pub const fn not_supported(self) -> i32 {
        match self {
            Self::XenSock => -errno::EOPNOTSUPP,
            Self::PvCalls => -errno::ENOTSUPP,
        }
    }

    /// Returns the number of bytes of a slot that a response occupies.
    pub const fn response_len(self) -> usize {
        match self {
            Self::XenSock => 64,
            Self::PvCalls => 24,
        }
    }
}
