# SPDX-License-Identifier: GPL-2.0
"""Sockets of AF_INET and AF_INET6 that the sysctl carries: each call behaves as on TCP."""

from bed import slow, timeout
from scenarios.common import SERVER_POLICY, SMALL_BUFFER, hijacked, ipv6, run_checked, start_peer, wait_connected

# Files of a group share a guest and run one after another.
GROUP = "serves"


def _in_guest(bed, *names, mode=1, alone=()):
    guest = bed.shared_guest(policy=SERVER_POLICY)
    start_peer(bed, SMALL_BUFFER)
    wait_connected(guest)
    with hijacked(guest, hijack=mode):
        guest.ktap_together([f"{name} --family inet" for name in names], 150 * bed.scale)
        for name in alone:
            guest.ktap(f"{name} --family inet", 150 * bed.scale)


@timeout(180)
def test_choice(bed):
    """Sockets that are carried, and sockets that fall back to the guest's own TCP. Threads that set options meanwhile
    need two vCPUs: pvh has them."""
    guest = bed.shared_guest(policy=SERVER_POLICY)
    start_peer(bed, SMALL_BUFFER)
    wait_connected(guest)
    guest.ktap("hijack --family inet -F no_backend -T options_while_it_falls_back", 150 * bed.scale)


@timeout(180)
def test_local(bed):
    """The guest's own addresses stay in the guest: servers at all addresses have clients on both
    sides."""
    guest = bed.shared_guest(policy=SERVER_POLICY)
    start_peer(bed, SMALL_BUFFER)
    wait_connected(guest)
    guest.ktap("hijack_local --family inet", 150 * bed.scale)


@timeout(240)
def test_no_backend(bed):
    """Without a backend: ENETDOWN, or the guest's own TCP."""
    guest = bed.shared_guest("bare", device=None)
    guest.changed = True
    run_checked(guest, "modprobe xensock")
    guest.ktap("hijack --family inet -f no_backend")


# A hijacked socket has address families, option levels and a file of its own: these programs test
# them. Data, waiting and ends use the same code as AF_XENSOCK.

@timeout(300)
def test_calls(bed):
    """connect, bind, listen, accept and names. poll, epoll, io_uring, zero copy and signals see the socket behind the
    descriptor."""
    _in_guest(bed, "connect", "fastopen", "names", "ioctl", "bind", "listen", "accept", "tsi", "epoll", "uring", "zerocopy",
              "urgent")


@timeout(300)
def test_options(bed):
    """Socket options, carried or not. IPv6: no other program may use the same port of IPv4."""
    _in_guest(bed, "options", "effects", mode=2, alone=[ipv6()])


@timeout(180)
def test_datagrams(bed):
    """The same for UDP."""
    _in_guest(bed, "datagram", "datagram_names", "datagram_poll", "datagram_control", mode=2)


@slow
@timeout(180)
def test_transfer(bed):
    """send and recv."""
    _in_guest(bed, "stream", "flags", "buffers")


@slow
@timeout(180)
def test_waiting(bed):
    """poll in every state of a socket and of a listener."""
    _in_guest(bed, "poll", "listenpoll")


@slow
@timeout(180)
def test_end(bed):
    """The peer resets or finishes, or the socket is closed or shut down."""
    _in_guest(bed, "rst", "eof", "close", "shutdown", "linger")


@slow
@timeout(180)
def test_concurrency(bed):
    """Threads that share a socket or a listener, and signals during every wait."""
    _in_guest(bed, "threads", "signals", "acceptors")
