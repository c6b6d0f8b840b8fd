// SPDX-License-Identifier: GPL-2.0

//! Options of kernel sockets.

use super::{
    KernelSocket,
    Protocol,
    Tcp,
    Udp, //
};

use crate::{
    bindings,
    error::to_result,
    net::sockopt::SOL_SOCKET,
    prelude::*, //
};

#[cfg(doc)]
use super::Owner;

/// `SOL_IP`, `SOL_TCP`, `SOL_UDP` and `SOL_IPV6`: the levels of the protocols' options.
const SOL_IP: i32 = bindings::SOL_IP as i32;
const SOL_TCP: i32 = bindings::SOL_TCP as i32;
const SOL_UDP: i32 = bindings::SOL_UDP as i32;
const SOL_IPV6: i32 = bindings::SOL_IPV6 as i32;

/// Returns `true` if an option is safe to set on behalf of others.
///
/// The value of such an option is plain data of the given length, without pointers, and the option
/// does not change the kind of the socket. The code of other options assumes that a program is
/// calling, with its own memory, files and user.
pub(in crate::net) fn is_safe_to_set(level: i32, name: i32) -> bool {
    // CAST: A small constant.
    const IPV6_ADDRFORM: i32 = bindings::IPV6_ADDRFORM as i32;

    // This turns the socket into one of IPv4.
    (level, name) != (SOL_IPV6, IPV6_ADDRFORM) && is_safe_to_read(level, name)
}

/// Returns `true` if an option is safe to read on behalf of others: its value is plain data of the
/// given length, without pointers.
fn is_safe_to_read(level: i32, name: i32) -> bool {
    let Ok(name) = u32::try_from(name) else {
        return false;
    };

    match level {
        // `SO_LINGER` is not allowed: closing a kernel socket never waits.
        SOL_SOCKET => matches!(
            name,
            bindings::SO_REUSEADDR
                | bindings::SO_TYPE
                | bindings::SO_ERROR
                | bindings::SO_DONTROUTE
                | bindings::SO_BROADCAST
                | bindings::SO_SNDBUF
                | bindings::SO_RCVBUF
                | bindings::SO_KEEPALIVE
                | bindings::SO_OOBINLINE
                | bindings::SO_NO_CHECK
                | bindings::SO_PRIORITY
                | bindings::SO_REUSEPORT
                | bindings::SO_RCVLOWAT
                | bindings::SO_ACCEPTCONN
                | bindings::SO_MARK
                | bindings::SO_PROTOCOL
                | bindings::SO_RXQ_OVFL
                | bindings::SO_DOMAIN
                | bindings::SO_MAX_PACING_RATE
                | bindings::SO_TXREHASH
        ),
        SOL_IP => matches!(
            name,
            bindings::IP_TOS
                | bindings::IP_TTL
                | bindings::IP_RECVOPTS
                | bindings::IP_RETOPTS
                | bindings::IP_PKTINFO
                | bindings::IP_PKTOPTIONS
                | bindings::IP_MTU_DISCOVER
                | bindings::IP_RECVERR
                | bindings::IP_RECVTTL
                | bindings::IP_RECVTOS
                | bindings::IP_MTU
                | bindings::IP_FREEBIND
                | bindings::IP_PASSSEC
                | bindings::IP_RECVORIGDSTADDR
                | bindings::IP_MINTTL
                | bindings::IP_CHECKSUM
                | bindings::IP_BIND_ADDRESS_NO_PORT
                | bindings::IP_RECVFRAGSIZE
                | bindings::IP_RECVERR_RFC4884
                | bindings::IP_MULTICAST_TTL
                | bindings::IP_MULTICAST_LOOP
                | bindings::IP_ADD_MEMBERSHIP
                | bindings::IP_DROP_MEMBERSHIP
                | bindings::IP_MULTICAST_ALL
                | bindings::IP_LOCAL_PORT_RANGE
                | bindings::IP_PROTOCOL
        ),
        SOL_TCP => matches!(
            name,
            bindings::TCP_NODELAY
                | bindings::TCP_MAXSEG
                | bindings::TCP_CORK
                | bindings::TCP_KEEPIDLE
                | bindings::TCP_KEEPINTVL
                | bindings::TCP_KEEPCNT
                | bindings::TCP_SYNCNT
                | bindings::TCP_LINGER2
                | bindings::TCP_DEFER_ACCEPT
                | bindings::TCP_WINDOW_CLAMP
                | bindings::TCP_INFO
                | bindings::TCP_QUICKACK
                | bindings::TCP_CONGESTION
                | bindings::TCP_THIN_LINEAR_TIMEOUTS
                | bindings::TCP_THIN_DUPACK
                | bindings::TCP_USER_TIMEOUT
                | bindings::TCP_TIMESTAMP
                | bindings::TCP_NOTSENT_LOWAT
                | bindings::TCP_CC_INFO
                | bindings::TCP_FASTOPEN
                | bindings::TCP_FASTOPEN_CONNECT
                | bindings::TCP_FASTOPEN_NO_COOKIE
                | bindings::TCP_INQ
                | bindings::TCP_RTO_MAX_MS
                | bindings::TCP_RTO_MIN_US
                | bindings::TCP_DELACK_MAX_US
        ),
        SOL_UDP => matches!(
            name,
            bindings::UDP_CORK
                | bindings::UDP_NO_CHECK6_TX
                | bindings::UDP_NO_CHECK6_RX
                | bindings::UDP_SEGMENT
                | bindings::UDP_GRO
        ),
        SOL_IPV6 => matches!(
            name,
            bindings::IPV6_ADDRFORM
                | bindings::IPV6_2292PKTINFO
                | bindings::IPV6_2292HOPOPTS
                | bindings::IPV6_2292DSTOPTS
                | bindings::IPV6_2292RTHDR
                | bindings::IPV6_2292PKTOPTIONS
                | bindings::IPV6_2292HOPLIMIT
                | bindings::IPV6_FLOWINFO
                | bindings::IPV6_UNICAST_HOPS
                | bindings::IPV6_MULTICAST_HOPS
                | bindings::IPV6_MULTICAST_LOOP
                | bindings::IPV6_ADD_MEMBERSHIP
                | bindings::IPV6_DROP_MEMBERSHIP
                | bindings::IPV6_MTU_DISCOVER
                | bindings::IPV6_MTU
                | bindings::IPV6_RECVERR
                | bindings::IPV6_V6ONLY
                | bindings::IPV6_MULTICAST_ALL
                | bindings::IPV6_ROUTER_ALERT_ISOLATE
                | bindings::IPV6_RECVERR_RFC4884
                | bindings::IPV6_FLOWINFO_SEND
                | bindings::IPV6_RECVPKTINFO
                | bindings::IPV6_RECVHOPLIMIT
                | bindings::IPV6_RECVHOPOPTS
                | bindings::IPV6_RECVRTHDR
                | bindings::IPV6_RECVDSTOPTS
                | bindings::IPV6_RECVPATHMTU
                | bindings::IPV6_PATHMTU
                | bindings::IPV6_DONTFRAG
                | bindings::IPV6_RECVTCLASS
                | bindings::IPV6_TCLASS
                | bindings::IPV6_AUTOFLOWLABEL
                | bindings::IPV6_ADDR_PREFERENCES
                | bindings::IPV6_MINHOPCOUNT
                | bindings::IPV6_RECVORIGDSTADDR
                | bindings::IPV6_RECVFRAGSIZE
                | bindings::IPV6_FREEBIND
        ),
        _ => false,
    }
}

/// Options.
impl<P: Protocol> KernelSocket<P> {
    /// Sets an option as setsockopt(2) does for a program of the socket's [`Owner`].
    ///
    /// With an owner, requests of a guest or a remote client can be passed on: a congestion control
    /// that only administrators may choose is refused, and no module is loaded for it.
    ///
    /// # Errors
    ///
    /// The errors of setsockopt(2). `ENOPROTOOPT` also for options that have to be set by a
    /// program, and for `SO_LINGER`.
    ///
    /// # Examples
    ///
    /// ```
    /// use kernel::net::{
    ///     addr::Domain,
    ///     kernel_socket::KernelSocket,
    ///     namespace::Namespace,
    ///     sockopt::SOL_SOCKET, //
    /// };
    ///
    /// const SO_KEEPALIVE: i32 = 9;
    /// const SO_ATTACH_FILTER: i32 = 26;
    ///
    /// let socket = KernelSocket::stream(Namespace::init(), Domain::Inet)?;
    /// let (on, mut value) = (1i32.to_ne_bytes(), [0; 8]);
    ///
    /// socket.set_option(SOL_SOCKET, SO_KEEPALIVE, &on)?;
    /// assert_eq!(socket.get_option(SOL_SOCKET, SO_KEEPALIVE, &mut value)?, 4);
    /// assert_eq!(value[..4], on);
    /// assert_eq!(socket.set_option(SOL_SOCKET, SO_KEEPALIVE, &on[..3]), Err(EINVAL));
    /// assert_eq!(socket.set_option(SOL_SOCKET, SO_ATTACH_FILTER, &on), Err(ENOPROTOOPT));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn set_option(&self, level: i32, name: i32, value: &[u8]) -> Result {
        self.as_owner(|| self.native().set_safe_option(level, name, value))
    }

    /// Reads an option into `value`, and returns the number of bytes stored. The option is
    /// truncated if there is not enough room.
    ///
    /// # Errors
    ///
    /// The errors of getsockopt(2). `ENOPROTOOPT` also for options that have to be read by a
    /// program.
    pub fn get_option(&self, level: i32, name: i32, value: &mut [u8]) -> Result<usize> {
        if !is_safe_to_read(level, name) {
            return Err(ENOPROTOOPT);
        }
        let mut len = c_int::try_from(value.len()).map_err(|_| EINVAL)?;

        to_result(self.as_owner(|| {
            // SAFETY: The socket is valid by the type invariants, and `value` has room for `len`
            // bytes. This option only writes to them.
            unsafe {
                bindings::sock_getsockopt_kernel(
                    self.as_raw(),
                    level,
                    name,
                    value.as_mut_ptr().cast(),
                    &raw mut len,
                )
            }
        }))?;
        Ok(usize::try_from(len).unwrap_or(0).min(value.len()))
    }

    /// Sets the range of ports, from `first` to `last`, for the automatic choice of a port
    /// (`IP_LOCAL_PORT_RANGE`). Ports outside of the namespace's range are not used.
    ///
    /// # Examples
    ///
    /// ```
    /// use kernel::net::{
    ///     addr::Domain,
    ///     kernel_socket::KernelSocket,
    ///     namespace::Namespace, //
    /// };
    ///
    /// let socket = KernelSocket::stream(Namespace::init(), Domain::Inet6)?;
    /// let (first, last) = Namespace::init().local_ports();
    ///
    /// socket.set_local_ports(first, first)?;
    /// socket.listen(1)?;
    /// assert_eq!(socket.local_addr()?.port(), first);
    /// assert!(first < last);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn set_local_ports(&self, first: u16, last: u16) -> Result {
        let range = u32::from(last) << 16 | u32::from(first);

        // CAST: `SOL_IP` and the option are small numbers.
        self.set_option(
            SOL_IP,
            bindings::IP_LOCAL_PORT_RANGE as i32,
            &range.to_ne_bytes(),
        )
    }
}

/// Multicast groups.
impl KernelSocket<Udp> {
    /// Receives multicast datagrams only of groups that the socket itself has joined
    /// (`IP_MULTICAST_ALL`), not of those that other sockets in its namespace have joined.
    ///
    /// # Examples
    ///
    /// ```
    /// use kernel::net::{
    ///     addr::Domain,
    ///     kernel_socket::KernelSocket,
    ///     namespace::Namespace, //
    /// };
    ///
    /// const SOL_IP: i32 = 0;
    /// const IP_MULTICAST_ALL: i32 = 49;
    ///
    /// let socket = KernelSocket::datagram(Namespace::init(), Domain::Inet6)?;
    /// let mut value = [0; 4];
    ///
    /// socket.get_option(SOL_IP, IP_MULTICAST_ALL, &mut value)?;
    /// assert_eq!(i32::from_ne_bytes(value), 1);
    /// socket.set_own_groups_only()?;
    /// socket.get_option(SOL_IP, IP_MULTICAST_ALL, &mut value)?;
    /// assert_eq!(i32::from_ne_bytes(value), 0);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn set_own_groups_only(&self) -> Result {
        let off: c_int = 0;
        let off = off.to_ne_bytes();

        // CAST: Small constants.
        self.set_option(SOL_IP, bindings::IP_MULTICAST_ALL as i32, &off)?;
        if self.family() == bindings::AF_INET6 as i32 {
            self.set_option(SOL_IPV6, bindings::IPV6_MULTICAST_ALL as i32, &off)?;
        }
        Ok(())
    }
}

/// Termination of connections.
impl KernelSocket<Tcp> {
    /// Makes dropping the socket reset the connection (`SO_LINGER` with a time of zero).
    pub fn set_linger_abort(&self) {
        // SAFETY: The socket is valid by the type invariants.
        unsafe { bindings::sock_no_linger(self.sk().as_raw()) };
    }

    /// Returns the number of bytes in the send queue that the peer has not acknowledged, sent or
    /// not (`SIOCOUTQ`). The end of the stream counts as one byte.
    ///
    /// Any context.
    pub fn unacked_bytes(&self) -> usize {
        // SAFETY: By the type invariants, this is a valid TCP socket.
        unsafe { bindings::sk_unacked(self.sk().as_raw()) }
    }
}
