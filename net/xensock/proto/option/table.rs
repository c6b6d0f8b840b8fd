// SPDX-License-Identifier: GPL-2.0

//! The table of options.

use super::{
    options,
    range,
    range_or,
    Access,
    Kind,
    SockOpt,
    ANY,
    SOL_IP,
    SOL_IPV6,
    SOL_SOCKET,
    SOL_TCP,
    SOL_UDP,
    SOL_XS, //
};

// The frontend handles all other options of level SOL_SOCKET, and reads these itself.
options! {
    SO_REUSEADDR = SOL_SOCKET 2, Set, Kind::Flag;
    SO_DONTROUTE = SOL_SOCKET 5, Set, Kind::Flag;
    SO_BROADCAST = SOL_SOCKET 6, Set, Kind::Flag;
    SO_KEEPALIVE = SOL_SOCKET 9, Set, Kind::Flag;
    SO_NO_CHECK = SOL_SOCKET 11, Set, Kind::Flag;
    SO_PRIORITY = SOL_SOCKET 12, Set, range(0, 6);
    SO_REUSEPORT = SOL_SOCKET 15, Set, Kind::Flag;
    SO_RXQ_OVFL = SOL_SOCKET 40, Set, Kind::Flag;
    SO_MAX_PACING_RATE = SOL_SOCKET 47, Set, ANY;
    SO_TXREHASH = SOL_SOCKET 74, Set, range(-1, 1);
    IP_TOS = SOL_IP 1, Both, ANY;
    IP_TTL = SOL_IP 2, Both, range_or(1, 255, -1);
    IP_HDRINCL = SOL_IP 3, Fixed, Kind::Flag;
    IP_OPTIONS = SOL_IP 4, Fixed, Kind::Struct(0);
    IP_ROUTER_ALERT = SOL_IP 5, Fixed, Kind::Flag;
    IP_RECVOPTS = SOL_IP 6, Both, Kind::Flag;
    IP_RETOPTS = SOL_IP 7, Both, Kind::Flag;
    IP_PKTINFO = SOL_IP 8, Both, Kind::Flag;
    IP_PKTOPTIONS = SOL_IP 9, Get, Kind::Struct(256);
    IP_MTU_DISCOVER = SOL_IP 10, Both, range(0, 5);
    IP_RECVERR = SOL_IP 11, Set, Kind::Flag;
    IP_RECVTTL = SOL_IP 12, Both, Kind::Flag;
    IP_RECVTOS = SOL_IP 13, Both, Kind::Flag;
    IP_MTU = SOL_IP 14, Get, ANY;
    IP_FREEBIND = SOL_IP 15, Both, Kind::Flag;
    IP_PASSSEC = SOL_IP 18, Own, Kind::Flag;
    IP_TRANSPARENT = SOL_IP 19, Fixed, Kind::Flag;
    IP_RECVORIGDSTADDR = SOL_IP 20, Both, Kind::Flag;
    IP_MINTTL = SOL_IP 21, Both, range(0, 255);
    IP_NODEFRAG = SOL_IP 22, Fixed, Kind::Flag;
    IP_CHECKSUM = SOL_IP 23, Own, Kind::Flag;
    IP_BIND_ADDRESS_NO_PORT = SOL_IP 24, Both, Kind::Flag;
    IP_RECVFRAGSIZE = SOL_IP 25, Own, Kind::Flag;
    IP_RECVERR_RFC4884 = SOL_IP 26, Own, range(0, 1);
    IP_MULTICAST_IF = SOL_IP 32, Fixed, Kind::Struct(4);
    IP_MULTICAST_TTL = SOL_IP 33, Both, range(-1, 255);
    IP_MULTICAST_LOOP = SOL_IP 34, Both, Kind::Flag;
    IP_ADD_MEMBERSHIP = SOL_IP 35, Set, Kind::Group;
    IP_DROP_MEMBERSHIP = SOL_IP 36, Set, Kind::Group;
    IP_MULTICAST_ALL = SOL_IP 49, Own, range(0, 1);
    IP_UNICAST_IF = SOL_IP 50, Fixed, ANY;
    IP_LOCAL_PORT_RANGE = SOL_IP 51, Both, Kind::AnyInt;
    IP_PROTOCOL = SOL_IP 52, Get, ANY;
    TCP_NODELAY = SOL_TCP 1, Both, Kind::Flag;
    TCP_MAXSEG = SOL_TCP 2, Both, range_or(88, 32767, 0);
    TCP_CORK = SOL_TCP 3, Both, Kind::Flag;
    TCP_KEEPIDLE = SOL_TCP 4, Both, range(1, 32767);
    TCP_KEEPINTVL = SOL_TCP 5, Both, range(1, 32767);
    TCP_KEEPCNT = SOL_TCP 6, Both, range(1, 127);
    TCP_SYNCNT = SOL_TCP 7, Both, range(1, 127);
    TCP_LINGER2 = SOL_TCP 8, Both, ANY;
    TCP_DEFER_ACCEPT = SOL_TCP 9, Both, ANY;
    TCP_WINDOW_CLAMP = SOL_TCP 10, Both, ANY;
    TCP_INFO = SOL_TCP 11, Get, Kind::Struct(1024);
    TCP_QUICKACK = SOL_TCP 12, Both, ANY;
    TCP_CONGESTION = SOL_TCP 13, Both, Kind::Name;
    TCP_THIN_LINEAR_TIMEOUTS = SOL_TCP 16, Both, range(0, 1);
    TCP_THIN_DUPACK = SOL_TCP 17, Both, range(0, 1);
    TCP_USER_TIMEOUT = SOL_TCP 18, Both, range(0, i32::MAX);
    TCP_REPAIR = SOL_TCP 19, Fixed, Kind::Flag;
    TCP_FASTOPEN = SOL_TCP 23, Own, range(0, i32::MAX);
    TCP_TIMESTAMP = SOL_TCP 24, Get, ANY;
    TCP_NOTSENT_LOWAT = SOL_TCP 25, Both, ANY;
    TCP_CC_INFO = SOL_TCP 26, Get, Kind::Struct(64);
    TCP_SAVE_SYN = SOL_TCP 27, Fixed, ANY;
    TCP_SAVED_SYN = SOL_TCP 28, Fixed, Kind::Struct(0);
    TCP_FASTOPEN_CONNECT = SOL_TCP 30, Own, range(0, 1);
    TCP_ULP = SOL_TCP 31, Fixed, Kind::Struct(0);
    TCP_FASTOPEN_KEY = SOL_TCP 33, Fixed, Kind::Struct(0);
    TCP_FASTOPEN_NO_COOKIE = SOL_TCP 34, Own, range(0, 1);
    TCP_INQ = SOL_TCP 36, Own, range(0, 1);
    TCP_TX_DELAY = SOL_TCP 37, Fixed, ANY;
    TCP_IS_MPTCP = SOL_TCP 43, Fixed, Kind::Flag;
    TCP_RTO_MAX_MS = SOL_TCP 44, Both, range(1000, 120000);
    TCP_RTO_MIN_US = SOL_TCP 45, Both, Kind::AnyInt;
    TCP_DELACK_MAX_US = SOL_TCP 46, Both, Kind::AnyInt;
    UDP_CORK = SOL_UDP 1, Own, Kind::Flag;
    UDP_ENCAP = SOL_UDP 100, Fixed, ANY;
    UDP_NO_CHECK6_TX = SOL_UDP 101, Set, Kind::Flag;
    UDP_NO_CHECK6_RX = SOL_UDP 102, Set, Kind::Flag;
    UDP_SEGMENT = SOL_UDP 103, Both, range(0, 65535);
    UDP_GRO = SOL_UDP 104, Both, Kind::Flag;
    IPV6_ADDRFORM = SOL_IPV6 1, Get, ANY;
    IPV6_2292PKTINFO = SOL_IPV6 2, Both, Kind::Flag;
    IPV6_2292HOPOPTS = SOL_IPV6 3, Both, Kind::Flag;
    IPV6_2292DSTOPTS = SOL_IPV6 4, Both, Kind::Flag;
    IPV6_2292RTHDR = SOL_IPV6 5, Both, Kind::Flag;
    IPV6_2292PKTOPTIONS = SOL_IPV6 6, Get, Kind::Struct(512);
    IPV6_2292HOPLIMIT = SOL_IPV6 8, Both, Kind::Flag;
    IPV6_FLOWINFO = SOL_IPV6 11, Both, Kind::Flag;
    IPV6_UNICAST_HOPS = SOL_IPV6 16, Both, range(-1, 255);
    IPV6_MULTICAST_IF = SOL_IPV6 17, Fixed, ANY;
    IPV6_MULTICAST_HOPS = SOL_IPV6 18, Both, range(-1, 255);
    IPV6_MULTICAST_LOOP = SOL_IPV6 19, Both, range(0, 1);
    IPV6_ADD_MEMBERSHIP = SOL_IPV6 20, Set, Kind::Group;
    IPV6_DROP_MEMBERSHIP = SOL_IPV6 21, Set, Kind::Group;
    IPV6_ROUTER_ALERT = SOL_IPV6 22, Fixed, Kind::Flag;
    IPV6_MTU_DISCOVER = SOL_IPV6 23, Both, range(0, 5);
    IPV6_MTU = SOL_IPV6 24, Both, range_or(1280, i32::MAX, 0);
    IPV6_RECVERR = SOL_IPV6 25, Set, Kind::Flag;
    IPV6_V6ONLY = SOL_IPV6 26, Both, Kind::Flag;
    IPV6_MULTICAST_ALL = SOL_IPV6 29, Own, Kind::Flag;
    IPV6_ROUTER_ALERT_ISOLATE = SOL_IPV6 30, Both, Kind::Flag;
    IPV6_RECVERR_RFC4884 = SOL_IPV6 31, Own, range(0, 1);
    IPV6_FLOWINFO_SEND = SOL_IPV6 33, Both, Kind::Flag;
    IPV6_RECVPKTINFO = SOL_IPV6 49, Both, Kind::Flag;
    IPV6_RECVHOPLIMIT = SOL_IPV6 51, Both, Kind::Flag;
    IPV6_RECVHOPOPTS = SOL_IPV6 53, Both, Kind::Flag;
    IPV6_HOPOPTS = SOL_IPV6 54, Fixed, Kind::Struct(0);
    IPV6_RTHDRDSTOPTS = SOL_IPV6 55, Fixed, Kind::Struct(0);
    IPV6_RECVRTHDR = SOL_IPV6 56, Both, Kind::Flag;
    IPV6_RTHDR = SOL_IPV6 57, Fixed, Kind::Struct(0);
    IPV6_RECVDSTOPTS = SOL_IPV6 58, Both, Kind::Flag;
    IPV6_DSTOPTS = SOL_IPV6 59, Fixed, Kind::Struct(0);
    IPV6_RECVPATHMTU = SOL_IPV6 60, Both, Kind::Flag;
    IPV6_PATHMTU = SOL_IPV6 61, Get, Kind::Struct(32);
    IPV6_DONTFRAG = SOL_IPV6 62, Both, Kind::Flag;
    IPV6_RECVTCLASS = SOL_IPV6 66, Both, Kind::Flag;
    IPV6_TCLASS = SOL_IPV6 67, Both, range(-1, 255);
    IPV6_AUTOFLOWLABEL = SOL_IPV6 70, Both, Kind::Flag;
    IPV6_ADDR_PREFERENCES = SOL_IPV6 72, Both, Kind::AnyInt;
    IPV6_MINHOPCOUNT = SOL_IPV6 73, Both, range(0, 255);
    IPV6_RECVORIGDSTADDR = SOL_IPV6 74, Both, Kind::Flag;
    IPV6_TRANSPARENT = SOL_IPV6 75, Fixed, Kind::Flag;
    IPV6_UNICAST_IF = SOL_IPV6 76, Fixed, ANY;
    IPV6_RECVFRAGSIZE = SOL_IPV6 77, Own, Kind::Flag;
    IPV6_FREEBIND = SOL_IPV6 78, Both, Kind::Flag;
    XS_OUTQ = SOL_XS 1, Get, ANY;
    XS_SNDBUF = SOL_XS 2, Set, range(0, i32::MAX);
    XS_RCVBUF = SOL_XS 3, Set, range(0, i32::MAX);
}
