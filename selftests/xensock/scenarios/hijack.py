# SPDX-License-Identifier: GPL-2.0
"""Sockets of AF_INET and AF_INET6 that the sysctl carries: each call behaves as on TCP."""

from bed import slow, timeout
from scenarios.common import SERVER_POLICY, SMALL_BUFFER, hijacked, run_checked, start_peer, wait_connected

# Files of a group share a guest and run one after another.
GROUP = "serves"


def _in_guest(bed, *names, mode=1):
    guest = bed.shared_guest(policy=SERVER_POLICY)
    start_peer(bed, SMALL_BUFFER)
    wait_connected(guest)
    with hijacked(guest, hijack=mode):
        guest.ktap_together([f"{name} --family inet" for name in names], 150 * bed.scale)


@timeout(180)
def test_choice(bed):
    """Sockets that are carried, and sockets that fall back to the guest's own TCP."""
    guest = bed.shared_guest(policy=SERVER_POLICY)
    start_peer(bed, SMALL_BUFFER)
    wait_connected(guest)
    guest.ktap("hijack --family inet -F no_backend", 150 * bed.scale)


@timeout(180)
def test_threads_choose(bed):
    """An option that one thread sets while the socket falls back in another is never lost."""
    guest = bed.guest("two", policy=SERVER_POLICY, vcpus=2)
    start_peer(bed, SMALL_BUFFER)
    wait_connected(guest)
    guest.ktap("hijack --family inet -t options_while_it_falls_back", 150 * bed.scale)


@timeout(180)
def test_local(bed):
    """The guest's own addresses stay in the guest: servers at all addresses have clients on both
    sides."""
    guest = bed.shared_guest(policy=SERVER_POLICY)
    start_peer(bed, SMALL_BUFFER)
    wait_connected(guest)
    guest.ktap("hijack_local --family inet", 150 * bed.scale)


def test_no_backend(bed):
    """Without a backend: ENETDOWN, or the guest's own TCP."""
    guest = bed.guest(name="bare", device=None)
    run_checked(guest, "modprobe xensock")
    guest.ktap("hijack --family inet -f no_backend")


# A hijacked socket has address families, option levels and a file of its own: these programs test
# them. Data, waiting and ends use the same code as AF_XENSOCK.

@timeout(180)
def test_connect(bed):
    """connect() of sockets of AF_INET, and names."""
    _in_guest(bed, "connect", "fastopen", "names", "ioctl")


@timeout(180)
def test_servers(bed):
    """bind, listen and accept."""
    _in_guest(bed, "bind", "listen", "accept", "tsi")


@timeout(180)
def test_options(bed):
    """Socket options, carried or not."""
    _in_guest(bed, "options", "effects", "ipv6")


@timeout(180)
def test_poll(bed):
    """poll and epoll see the socket behind the descriptor; so do io_uring, zero copy and signals."""
    _in_guest(bed, "epoll", "uring", "zerocopy", "urgent")


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
