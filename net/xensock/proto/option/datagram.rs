// SPDX-License-Identifier: GPL-2.0

//! Properties of options that concern datagrams.

use super::{
    super::errno,
    table::*,
    SockOpt,
    SOL_IP,
    SOL_IPV6,
    SOL_SOCKET,
    SOL_UDP, //
};

impl SockOpt {
    /// Returns `true` if the option exists on datagram sockets only.
    pub const fn needs_datagrams(&self) -> bool {
        self.level == SOL_UDP || self.is_group()
    }

    /// Returns the error for setting the option on a stream, if only datagram sockets can have it
    /// set.
    pub const fn error_on_stream(&self) -> Option<i32> {
        match (self.level, self.name) {
            (SOL_IP, IP_MULTICAST_IF | IP_MULTICAST_TTL | IP_RECVFRAGSIZE) => Some(errno::EINVAL),
            (SOL_IPV6, IPV6_MULTICAST_IF | IPV6_MULTICAST_HOPS) => Some(errno::ENOPROTOOPT),
            _ => None,
        }
    }

    /// Returns `true` if the option asks for control messages with datagrams that the protocol does
    /// not carry.
    pub const fn is_for_headers(&self) -> bool {
        match self.level {
            SOL_IP => matches!(
                self.name,
                IP_RECVOPTS | IP_RETOPTS | IP_CHECKSUM | IP_RECVFRAGSIZE
            ),
            SOL_IPV6 => matches!(
                self.name,
                IPV6_2292HOPOPTS
                    | IPV6_2292DSTOPTS
                    | IPV6_2292RTHDR
                    | IPV6_FLOWINFO
                    | IPV6_RECVHOPOPTS
                    | IPV6_RECVRTHDR
                    | IPV6_RECVDSTOPTS
                    | IPV6_RECVPATHMTU
                    | IPV6_RECVFRAGSIZE
            ),
            _ => false,
        }
    }

    /// Returns `true` if the option needs [`Feature::Info`](super::super::Feature::Info) on
    /// datagram sockets.
    pub const fn needs_info(&self) -> bool {
        self.is_for_info() || self.is_for_reports()
    }

    /// Returns `true` if the option asks for a part of an [info](super::super::info).
    pub const fn is_for_info(&self) -> bool {
        match self.level {
            SOL_SOCKET => self.name == SO_RXQ_OVFL,
            SOL_IP => matches!(
                self.name,
                IP_PKTINFO | IP_RECVTTL | IP_RECVTOS | IP_RECVORIGDSTADDR
            ),
            SOL_UDP => self.name == UDP_GRO,
            SOL_IPV6 => matches!(
                self.name,
                IPV6_2292PKTINFO
                    | IPV6_2292HOPLIMIT
                    | IPV6_RECVPKTINFO
                    | IPV6_RECVHOPLIMIT
                    | IPV6_RECVTCLASS
                    | IPV6_RECVORIGDSTADDR
            ),
            _ => false,
        }
    }
    /// Returns `true` if the option asks for [reports](super::super::report) of errors. On streams
    /// the frontend keeps it.
    pub const fn is_for_reports(&self) -> bool {
        matches!(
            (self.level, self.name),
            (SOL_IP, IP_RECVERR) | (SOL_IPV6, IPV6_RECVERR)
        )
    }
}
