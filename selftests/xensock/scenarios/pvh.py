# SPDX-License-Identifier: GPL-2.0
"""PVH guests with two vCPUs: the tests of PV guests with one vCPU pass there too.

Calls, handlers and work items of a socket run at the same time here.
"""

from bed import slow, timeout
from scenarios.common import hijacked, run_checked, serving_guest, unbind, unload, wait_link

PVH = {"kind": "pvh", "vcpus": 2}


def _in_guest(bed, *commands):
    """Runs kselftests in such a guest, one after another: the emulator may end a busy PVH guest."""
    guest = serving_guest(bed, **PVH)
    for command in commands:
        guest.ktap(command, 150 * bed.scale)


@timeout(300)
def test_calls(bed):
    """Transfer; threads and signals on one socket."""
    _in_guest(bed, "stream", "threads", "signals")


@timeout(300)
def test_servers(bed):
    """accept by many threads and processes, and poll of a listener."""
    _in_guest(bed, "accept", "acceptors", "listenpoll")


@slow
@timeout(300)
def test_the_rest(bed):
    """Sequential tests, which do not depend on a second vCPU."""
    _in_guest(bed, "connect", "poll", "epoll", "rst", "close", "shutdown", "bind", "listen")


@timeout(180)
def test_datagrams(bed):
    """UDP."""
    _in_guest(bed, "datagram", "datagram_poll")


@timeout(300)
def test_transfer(bed):
    """Checked bytes both ways at once, with a vCPU for each direction."""
    guest = serving_guest(bed, **PVH)
    guest.ktap(f"bulk --bytes {bed.pick(daily=16, slow=64, debug=64)}m --seed 2", 280 * bed.scale)


@timeout(300)
def test_many(bed):
    """Many sockets at once, many short connections."""
    guest = serving_guest(bed, **PVH)
    sockets, cycles = bed.pick(daily=(100, 100), slow=(200, 500), debug=(100, 250))
    guest.ktap(f"many --sockets {sockets} --cycles {cycles}", 280 * bed.scale)


@timeout(300)
def test_hijack(bed):
    """Sockets of AF_INET by sysctl."""
    guest = serving_guest(bed, **PVH)
    with hijacked(guest):
        guest.ktap("hijack --family inet -F no_backend", 200 * bed.scale)


@timeout(200)
def test_frontend_reload(bed):
    """Sockets on both vCPUs are busy while the module's devices go and come back."""
    guest = serving_guest(bed, **PVH)
    for _ in range(3):
        busy = guest.start("hold busy")
        busy.wait_line("ready", 60 * bed.scale)
        unbind(guest, "xensock")
        busy.kill()
        unload(guest, "xensock")
        run_checked(guest, "modprobe xensock")
        wait_link(guest)
