// SPDX-License-Identifier: GPL-2.0

//! Error numbers on the wire.
//!
//! The protocol fixes them; they are those of Linux on x86 and Arm. A result or an error word is 0
//! or the negative of one of them. Any other number that arrives counts as [`EIO`], and any other
//! error of an operation is sent as [`EIO`]: no number outside the table ever crosses, in either
//! direction.

/// Defines the constants and the membership test from one table.
macro_rules! errors {
    ($($name:ident = $number:literal, $meaning:literal;)*) => {
        $(
            #[doc = $meaning]
            pub const $name: i32 = $number;
        )*

        /// Every name with its number, in the order of the numbers.
        pub const TABLE: &[(&str, i32)] = &[$((stringify!($name), $number),)*];

        /// Returns `true` if the table has this (positive) number.
        pub const fn is_known(number: i32) -> bool {
            matches!(number, $($number)|*)
        }
    };
}

errors! {
    EPERM = 1, "Operation not permitted.";
    ENOENT = 2, "No such file or directory.";
    ESRCH = 3, "No such process.";
    EINTR = 4, "Interrupted.";
    EIO = 5, "Input/output error; also whatever has no number here.";
    ENXIO = 6, "No such device or address.";
    E2BIG = 7, "Argument list too long.";
    ENOEXEC = 8, "Exec format error.";
    EBADF = 9, "No socket has this id.";
    ECHILD = 10, "No child processes.";
    EAGAIN = 11, "Try again.";
    ENOMEM = 12, "Out of memory.";
    EACCES = 13, "The policy of the backend forbids it.";
    EFAULT = 14, "Bad address.";
    EBUSY = 16, "Busy.";
    EEXIST = 17, "A socket has this id already.";
    EXDEV = 18, "Cross-device link.";
    ENODEV = 19, "No such device.";
    EISDIR = 21, "Is a directory.";
    EINVAL = 22, "Invalid argument.";
    ENFILE = 23, "Too many open files in the backend domain.";
    EMFILE = 24, "The frontend has as many sockets as it may have.";
    ENOSPC = 28, "No space left.";
    EROFS = 30, "Read-only.";
    EMLINK = 31, "Too many links.";
    EPIPE = 32, "The connection is closed for sending.";
    EDOM = 33, "Argument out of domain.";
    ERANGE = 34, "Out of range.";
    EDEADLK = 35, "Deadlock.";
    ENAMETOOLONG = 36, "Name too long.";
    ENOLCK = 37, "No locks available.";
    ENOSYS = 38, "Not implemented.";
    ENOTEMPTY = 39, "Not empty.";
    ENODATA = 61, "No data.";
    ETIME = 62, "Timer expired.";
    ENONET = 64, "The host is not on the network.";
    EPROTO = 71, "Protocol error.";
    EBADMSG = 74, "Bad message.";
    EOVERFLOW = 75, "Value too large.";
    EILSEQ = 84, "Illegal byte sequence.";
    ERESTART = 85, "Interrupted, to be restarted.";
    EUSERS = 87, "Too many users.";
    ENOTSOCK = 88, "Not a socket.";
    EDESTADDRREQ = 89, "Destination address required.";
    EMSGSIZE = 90, "Message too long.";
    EPROTOTYPE = 91, "Wrong protocol for the type of socket.";
    ENOPROTOOPT = 92, "No such option.";
    EPROTONOSUPPORT = 93, "Protocol not supported.";
    ESOCKTNOSUPPORT = 94, "Type of socket not supported.";
    EOPNOTSUPP = 95, "Operation not supported.";
    EPFNOSUPPORT = 96, "Protocol family not supported.";
    EAFNOSUPPORT = 97, "Address family not supported.";
    EADDRINUSE = 98, "Address in use.";
    EADDRNOTAVAIL = 99, "Address not available.";
    ENETDOWN = 100, "The network is down.";
    ENETUNREACH = 101, "The network is unreachable.";
    ENETRESET = 102, "The network dropped the connection.";
    ECONNABORTED = 103, "The connection was given up on this side.";
    ECONNRESET = 104, "The peer reset the connection.";
    ENOBUFS = 105, "No buffer space.";
    EISCONN = 106, "Connected already.";
    ENOTCONN = 107, "Not connected; in an error word: the orderly end of the stream.";
    ESHUTDOWN = 108, "Sending after a shutdown.";
    ETIMEDOUT = 110, "Timed out.";
    ECONNREFUSED = 111, "Nobody listens there.";
    EHOSTDOWN = 112, "The host is down.";
    EHOSTUNREACH = 113, "No route to the host.";
    EALREADY = 114, "In progress already.";
    EINPROGRESS = 115, "In progress.";
    EDQUOT = 122, "A user of the frontend has its share; others could have more.";
    ECANCELED = 125, "Cancelled.";
    ENOTSUPP = 524, "PV Calls' own number for an unknown command.";
}

/// Returns the result to send for an error number.
///
/// `number` is positive; 0 is success.
pub const fn to_wire(number: i32) -> i32 {
    if number == 0 {
        0
    } else if is_known(number) {
        -number
    } else {
        -EIO
    }
}

/// Returns the error number in a received result or error word: 0, or a positive number.
///
/// [`ENOTSUPP`] becomes [`EOPNOTSUPP`], the number that programs know.
pub const fn from_wire(result: i32) -> i32 {
    let number = match result.checked_neg() {
        Some(number) => number,
        None => return EIO,
    };
    match number {
        0 => 0,
        ENOTSUPP => EOPNOTSUPP,
        n if is_known(n) => n,
        _ => EIO,
    }
}

/// Returns the error number in a received result or word that reports a final outcome.
///
/// As [`from_wire`]; but the numbers that would make a program wait or try again count as [`EIO`]
/// too.
pub const fn final_from_wire(word: i32) -> i32 {
    match from_wire(word) {
        EINTR | EAGAIN | ERESTART | EALREADY | EINPROGRESS => EIO,
        number => number,
    }
}

/// Returns `true` if a message of ICMP or ICMPv6 may stand for this number, as Linux reads them.
pub const fn is_of_network(number: i32) -> bool {
    matches!(
        number,
        EACCES
            | ENONET
            | EPROTO
            | EMSGSIZE
            | ENOPROTOOPT
            | EOPNOTSUPP
            | ENETUNREACH
            | ECONNREFUSED
            | EHOSTDOWN
            | EHOSTUNREACH
    )
}

/// The meaning of an error word of a data ring for its direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The direction is open.
    Open,
    /// The stream has ended in good order.
    Orderly,
    /// The direction has failed with this (positive) number.
    Failed(i32),
}

impl Ending {
    /// Reads an error word.
    pub const fn from_wire(word: i32) -> Self {
        match final_from_wire(word) {
            0 => Self::Open,
            ENOTCONN => Self::Orderly,
            number => Self::Failed(number),
        }
    }

    /// Returns the error word.
    pub const fn to_wire(self) -> i32 {
        match self {
            Self::Open => 0,
            Self::Orderly => -ENOTCONN,
            Self::Failed(number) => match to_wire(number) {
                // A failure must never read as an open direction.
                0 => -EIO,
                word => word,
            },
        }
    }
}
