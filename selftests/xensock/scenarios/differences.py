# SPDX-License-Identifier: GPL-2.0
"""Options of XenSock that differ from TCP and UDP, and the reasons."""

SOCKET, IP, TCP, UDP, IPV6 = 1, 0, 6, 17, 41

# (sockets, level, options): reason. `sockets` is the beginning of "FACE SOCKET STATE".
KNOWN = {
    # Values that differ for each socket, moment or kernel.
    ("", SOCKET, (49, 55, 56, 57, 71)):
        "SO_INCOMING_CPU, SO_MEMINFO, SO_INCOMING_NAPI_ID, SO_COOKIE, SO_NETNS_COOKIE",
    ("", TCP, (11, 24, 26)): "TCP_INFO, TCP_TIMESTAMP, TCP_CC_INFO",
    ("", IP, (52,)): "IP_PROTOCOL is the local port, in truth",
    ("", IP, (51,)): "IP_LOCAL_PORT_RANGE is within the ports that the policy gives the guest",
    # Options that the guest handles itself.
    ("", SOCKET, (18,)): "SO_RCVLOWAT has no buffer for a limit",
    ("", SOCKET, (37, 65)): "SO_TIMESTAMPING is not tied to the state of a connection",
    ("", SOCKET, (74,)): "SO_TXREHASH is set, and can be read of TCP only",
    ("", SOCKET, (80,)): "SO_DEVMEM_DONTNEED looks for the socket of another family first",
    ("", SOCKET, (7, 8)): "SO_SNDBUF and SO_RCVBUF choose the ring, and begin with no size",
    ("", SOCKET, (26, 50, 51, 52)): "filters see packets, of which there are none",
    ("AF_XENSOCK", SOCKET, (38, 39)): "SO_PROTOCOL and SO_DOMAIN are those of the family",
    # Options that are refused, or that make the socket native if it can be.
    ("", IP, (36,)): "IP_DROP_MEMBERSHIP of what is no group is EINVAL, whatever routes there are",
    ("", IP, (4, 32, 50)): "IP_OPTIONS, IP_MULTICAST_IF, IP_UNICAST_IF",
    ("", TCP, (23, 34)): "TCP_FASTOPEN, TCP_FASTOPEN_NO_COOKIE: hints, kept as they are given",
    ("", TCP, (27, 31, 35, 37)): "TCP_SAVE_SYN, TCP_ULP, TCP_ZEROCOPY_RECEIVE, TCP_TX_DELAY",
    ("", UDP, (100,)): "UDP_ENCAP",
    ("AF_XENSOCK datagram", IP, (6, 7, 23, 25)): "no messages about other headers",
    ("hijacked datagram", IP, (6, 7, 23, 25)): "no messages about other headers",
    ("AF_XENSOCK datagram", IPV6, (3, 4, 5, 11, 53, 56, 58, 60, 77)):
        "no messages about other headers",
    ("hijacked datagram", IPV6, (3, 4, 5, 11, 53, 56, 58, 60, 77)):
        "no messages about other headers",
    ("", IPV6, (1, 6, 32, 54, 55, 57, 59)): "what changes headers or the kind of the socket",
    ("", IPV6, (17, 76)): "interfaces are those of the backend",
}
# Errors of a refused option. TCP and UDP may return another error.
REFUSED = ("ENOPROTOOPT", "EPERM", "EOPNOTSUPP")


def _is_known(sockets, level, option):
    return any(level == at and option in options and sockets.startswith(kinds)
               for kinds, at, options in KNOWN)


def _same(want, got):
    """Compares the words of a result. Errors may differ if the option is refused."""
    pairs = list(zip(want.split(), got.split()))
    return len(want.split()) == len(got.split()) and all(
        a == b or (a.startswith("E") and b in REFUSED) for a, b in pairs)


def unexpected(what, expected_lines, guest_lines):
    """Returns the lines of `walk` that differ between dom0's TCP or UDP and a guest's socket."""
    expected = dict(line.split(": ", 1) for line in expected_lines if ": " in line)
    wrong = []
    for line in guest_lines:
        if ": " not in line:
            continue
        key, got = line.split(": ", 1)
        sockets, state, level, option = key.split()
        if _is_known(f"{what} {sockets} {state}", int(level), int(option)):
            continue
        parts = [f"'{a}' is '{b}'" for a, b in zip(expected[key].split(" | "), got.split(" | "))
                 if not _same(a, b)]
        if parts:
            wrong.append(f"{what} {key}: {', '.join(parts[:3])}")
    return wrong
