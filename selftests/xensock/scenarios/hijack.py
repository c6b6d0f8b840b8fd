# SPDX-License-Identifier: GPL-2.0
"""Sockets of AF_INET and AF_INET6 that go to the backend by sysctl: each call does what it does on TCP."""

from bed import slow, timeout
from scenarios.common import SERVES, SMALL, hijacked, must, peer, wait_connected

# Files that share a guest follow each other.
GROUP = "serves"


def _in_guest(bed, *names, mode=1):
    guest = bed.shared_guest(policy=SERVES)
    peer(bed, SMALL)
    wait_connected(guest)
    with hijacked(guest, hijack=mode):
        for name in names:
            guest.ktap(f"{name} --family inet", 150 * bed.scale)


@timeout(180)
def test_choice(bed):
    """Which sockets are the backend's, and which give way to the guest's own TCP."""
    guest = bed.shared_guest(policy=SERVES)
    peer(bed, SMALL)
    wait_connected(guest)
    guest.ktap("hijack --family inet -F no_backend", 150 * bed.scale)


@timeout(180)
def test_local(bed):
    """Addresses of the guest stay in the guest: servers at all addresses have clients of both sides."""
    guest = bed.shared_guest(policy=SERVES)
    peer(bed, SMALL)
    wait_connected(guest)
    guest.ktap("hijack_local --family inet", 150 * bed.scale)


def test_no_backend(bed):
    """Without a backend: ENETDOWN, or the guest's own TCP."""
    guest = bed.guest(name="bare", device=None)
    must(guest, "modprobe xensock")
    guest.ktap("hijack --family inet -f no_backend")


# The face is the family of addresses, the levels of options, and what becomes of the file: these programs
# can tell whether it is right. Data, waiting and ends are the same code as for AF_XENSOCK.

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
    """The options of sockets, carried and not."""
    _in_guest(bed, "options", "effects", "ipv6")


@timeout(180)
def test_poll(bed):
    """poll and epoll see the socket under the descriptor; so do io_uring, zero copy and signals."""
    _in_guest(bed, "epoll", "uring", "zerocopy", "urgent")


@timeout(180)
def test_datagrams(bed):
    """UDP too."""
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
    """The peer resets or finishes, we close or shut down."""
    _in_guest(bed, "rst", "eof", "close", "shutdown", "linger")


@slow
@timeout(180)
def test_concurrency(bed):
    """Threads that share a socket or a listener, and signals in every wait."""
    _in_guest(bed, "threads", "signals", "acceptors")
