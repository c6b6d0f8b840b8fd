# SPDX-License-Identifier: GPL-2.0
"""PVH guests with two vCPUs: what the other scenarios show of a PV guest with one holds there too.

Calls, handlers and work items of a socket run at the same time here.
"""

from bed import slow, timeout
from scenarios.common import SERVES, SMALL, hijacked, must, peer, unbind, unload, wait_link


def _guest(bed):
    guest = bed.shared_guest(kind="pvh", vcpus=2, policy=SERVES)
    peer(bed, SMALL)
    return guest


def _in_guest(bed, *names):
    guest = _guest(bed)
    for name in names:
        guest.ktap(name, 150 * bed.scale)


@timeout(300)
def test_calls(bed):
    """Transfer, poll, resets; threads and signals on one socket."""
    _in_guest(bed, "stream", "poll", "rst", "threads", "signals")


@timeout(300)
def test_servers(bed):
    """accept, by many threads and processes, and poll of a listener."""
    _in_guest(bed, "accept", "acceptors", "listenpoll")


@slow
@timeout(300)
def test_the_rest(bed):
    """What goes one step after another, and so does not differ with two vCPUs."""
    _in_guest(bed, "connect", "epoll", "close", "shutdown", "bind", "listen")


@timeout(180)
def test_datagrams(bed):
    """UDP."""
    _in_guest(bed, "datagram", "datagram_poll")


@timeout(300)
def test_transfer(bed):
    """Bytes both ways at once with a checksum, one vCPU for each way."""
    guest = _guest(bed)
    guest.ktap("bulk --bytes 64m --seed 2", 280 * bed.scale)


@timeout(300)
def test_many(bed):
    """Many sockets at once, many short connections."""
    guest = _guest(bed)
    guest.ktap("many --sockets 200 --cycles 500", 280 * bed.scale)


@timeout(300)
def test_hijack(bed):
    """Sockets of AF_INET by sysctl."""
    guest = _guest(bed)
    with hijacked(guest):
        guest.ktap("hijack --family inet -F no_backend", 200 * bed.scale)


@timeout(200)
def test_frontend_reload(bed):
    """Sockets on both vCPUs are busy while the module's devices go, and come back."""
    guest = _guest(bed)
    for _ in range(3):
        busy = guest.start("hold busy")
        busy.wait_line("ready", 30 * bed.scale)
        unbind(guest, "xensock")
        busy.kill()
        unload(guest, "xensock")
        must(guest, "modprobe xensock")
        wait_link(guest)
