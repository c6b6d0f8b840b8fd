// SPDX-License-Identifier: GPL-2.0

//! The options that only a socket of the guest's own TCP or UDP can have.
//!
//! These options concern packets, routes and interfaces, which XenSock does not have, or change the
//! kind of the socket. A program that sets one before it uses its socket needs that more than the
//! backend.

use super::level::{
    SOL_IP,
    SOL_IPV6,
    SOL_SOCKET,
    SOL_TCP,
    SOL_UDP, //
};

/// Returns `true` if an option, in the numbers of programs, is one of these. It may depend on
/// whether the socket is a stream or a datagram socket, of IPv6 or of IPv4.
pub fn is_needed(level: i32, name: i32, is_stream: bool, is_ipv6: bool) -> bool {
    match level {
        SOL_SOCKET => matches!(
            name,
            SO_BINDTODEVICE
                | SO_ATTACH_FILTER
                | SO_MARK
                | SO_TIMESTAMPING_OLD
                | SO_ATTACH_BPF
                | SO_ATTACH_REUSEPORT_CBPF
                | SO_ATTACH_REUSEPORT_EBPF
                | SO_TXTIME
                | SO_BINDTOIFINDEX
                | SO_TIMESTAMPING_NEW
        ),
        SOL_IP => {
            matches!(
                name,
                IP_OPTIONS | IP_IPSEC_POLICY | IP_XFRM_POLICY | IP_TRANSPARENT | IP_UNICAST_IF
            ) || (!is_stream
                && matches!(
                    name,
                    IP_MULTICAST_IF | IP_ADD_SOURCE_MEMBERSHIP | MCAST_JOIN_SOURCE_GROUP
                ))
        }
        SOL_TCP if is_stream => matches!(
            name,
            TCP_MD5SIG
                | TCP_REPAIR
                | TCP_SAVE_SYN
                | TCP_ULP
                | TCP_MD5SIG_EXT
                | TCP_FASTOPEN_KEY
                | TCP_AO_ADD_KEY
        ),
        SOL_UDP if !is_stream => name == UDP_ENCAP,
        SOL_IPV6 if is_ipv6 => {
            matches!(
                name,
                IPV6_ADDRFORM
                    | IPV6_2292PKTOPTIONS
                    | IPV6_IPSEC_POLICY
                    | IPV6_XFRM_POLICY
                    | IPV6_HOPOPTS
                    | IPV6_RTHDR
                    | IPV6_DSTOPTS
                    | IPV6_TRANSPARENT
                    | IPV6_UNICAST_IF
            ) || (!is_stream && matches!(name, IPV6_MULTICAST_IF | MCAST_JOIN_SOURCE_GROUP))
        }
        _ => false,
    }
}

/// Returns `true` if an option of a datagram socket joins a group. If the backend refuses the
/// group, the guest's own network may allow it.
pub fn joins(level: i32, name: i32) -> bool {
    matches!(
        (level, name),
        (SOL_IP, IP_ADD_MEMBERSHIP)
            | (SOL_IPV6, IPV6_ADD_MEMBERSHIP)
            | (SOL_IP | SOL_IPV6, MCAST_JOIN_GROUP)
    )
}

/// Returns `true` if the value that a program gives for such an option needs a socket of the
/// guest's own: the value, or its first [`GIVEN_LEN`](super::option::GIVEN_LEN) bytes. Turning an
/// option off does not need one. Most values are numbers, of which 0 is off.
pub fn is_asked_for(level: i32, name: i32, given: &[u8]) -> bool {
    let number = given.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes));
    match (level, name, number) {
        (SOL_SOCKET, SO_TIMESTAMPING_OLD | SO_TIMESTAMPING_NEW, Some(flags)) => {
            flags & TIMES_OF_PACKETS != 0
        }
        // Libraries for TLS ask every socket for this layer, also before it is connected, when no
        // socket has it, and do without it where it does not exist.
        (SOL_TCP, TCP_ULP, _) => !matches!(given, [] | b"tls" | [b't', b'l', b's', 0, ..]),
        // A name. Without one, the socket is bound to no device.
        (SOL_SOCKET, SO_BINDTODEVICE, _) => given.first().is_some_and(|&byte| byte != 0),
        // Files and clocks, of which 0 is one, and an option of which setting it is all.
        (SOL_SOCKET, SO_ATTACH_BPF | SO_ATTACH_REUSEPORT_EBPF | SO_TXTIME, _)
        | (SOL_IPV6, IPV6_2292PKTOPTIONS, _) => true,
        _ if is_struct(level, name) => given.iter().any(|&byte| byte != 0),
        (_, _, number) => number != Some(0),
    }
}

/// Returns `true` if the value of such an option is a structure, or bytes: the first field may be 0.
fn is_struct(level: i32, name: i32) -> bool {
    match level {
        SOL_SOCKET => matches!(name, SO_ATTACH_FILTER | SO_ATTACH_REUSEPORT_CBPF),
        SOL_IP => matches!(
            name,
            IP_OPTIONS
                | IP_IPSEC_POLICY
                | IP_XFRM_POLICY
                | IP_MULTICAST_IF
                | IP_ADD_SOURCE_MEMBERSHIP
                | MCAST_JOIN_SOURCE_GROUP
        ),
        SOL_TCP => matches!(
            name,
            TCP_MD5SIG | TCP_MD5SIG_EXT | TCP_FASTOPEN_KEY | TCP_AO_ADD_KEY
        ),
        SOL_IPV6 => matches!(
            name,
            IPV6_IPSEC_POLICY
                | IPV6_XFRM_POLICY
                | IPV6_HOPOPTS
                | IPV6_RTHDR
                | IPV6_DSTOPTS
                | MCAST_JOIN_SOURCE_GROUP
        ),
        _ => false,
    }
}

/// The flags of `SO_TIMESTAMPING` for sent packets and for hardware. Software receive times are not
/// among them: they are taken in the guest.
const TIMES_OF_PACKETS: i32 =
    TX_HARDWARE | TX_SOFTWARE | RX_HARDWARE | RAW_HARDWARE | TX_SCHED | TX_ACK | TX_COMPLETION;
const TX_HARDWARE: i32 = 1 << 0;
const TX_SOFTWARE: i32 = 1 << 1;
const RX_HARDWARE: i32 = 1 << 2;
const RAW_HARDWARE: i32 = 1 << 6;
const TX_SCHED: i32 = 1 << 8;
const TX_ACK: i32 = 1 << 9;
const TX_COMPLETION: i32 = 1 << 18;

const SO_BINDTODEVICE: i32 = 25;
const SO_ATTACH_FILTER: i32 = 26;
const SO_MARK: i32 = 36;
const SO_TIMESTAMPING_OLD: i32 = 37;
const SO_ATTACH_BPF: i32 = 50;
const SO_ATTACH_REUSEPORT_CBPF: i32 = 51;
const SO_ATTACH_REUSEPORT_EBPF: i32 = 52;
const SO_TXTIME: i32 = 61;
const SO_BINDTOIFINDEX: i32 = 62;
const SO_TIMESTAMPING_NEW: i32 = 65;

const IP_OPTIONS: i32 = 4;
const IP_IPSEC_POLICY: i32 = 16;
const IP_XFRM_POLICY: i32 = 17;
const IP_TRANSPARENT: i32 = 19;
const IP_MULTICAST_IF: i32 = 32;
const IP_ADD_MEMBERSHIP: i32 = 35;
const IP_ADD_SOURCE_MEMBERSHIP: i32 = 39;
const MCAST_JOIN_GROUP: i32 = 42;
const MCAST_JOIN_SOURCE_GROUP: i32 = 46;
const IP_UNICAST_IF: i32 = 50;

const TCP_MD5SIG: i32 = 14;
const TCP_REPAIR: i32 = 19;
const TCP_SAVE_SYN: i32 = 27;
const TCP_ULP: i32 = 31;
const TCP_MD5SIG_EXT: i32 = 32;
const TCP_FASTOPEN_KEY: i32 = 33;
const TCP_AO_ADD_KEY: i32 = 38;

const UDP_ENCAP: i32 = 100;

const IPV6_ADDRFORM: i32 = 1;
const IPV6_2292PKTOPTIONS: i32 = 6;
const IPV6_MULTICAST_IF: i32 = 17;
const IPV6_ADD_MEMBERSHIP: i32 = 20;
const IPV6_IPSEC_POLICY: i32 = 34;
const IPV6_XFRM_POLICY: i32 = 35;
const IPV6_HOPOPTS: i32 = 54;
const IPV6_RTHDR: i32 = 57;
const IPV6_DSTOPTS: i32 = 59;
const IPV6_TRANSPARENT: i32 = 75;
const IPV6_UNICAST_IF: i32 = 76;
