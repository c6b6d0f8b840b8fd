# SPDX-License-Identifier: GPL-2.0
"""Guests as servers: bind, listen and accept, over AF_XENSOCK and in dom0 over TCP."""

import time

from bed import timeout
from scenarios.common import SERVES, SMALL, in_dom0, in_guest, must, peer, serving_guest, settled, wait_link

# Files that share a guest follow each other.
GROUP = "serves"

# Of a connection these show the same whoever has made it.
CONNECTIONS = ("stream", "flags", "urgent", "poll", "epoll", "rst", "eof", "close", "shutdown", "ioctl")


@timeout(180)
def test_tcp(bed):
    """What the tests expect is what this kernel's TCP does."""
    peer(bed, SMALL)
    in_dom0(bed, "bind", "listen", "ports", "accept", "acceptors", "waiting", "ahead", "listenpoll",
            "uring", "zerocopy", "tsi")


@timeout(180)
def test_bind(bed):
    """bind: chosen, given, taken, foreign and privileged ports."""
    in_guest(bed, "bind")


@timeout(180)
def test_listen(bed):
    """listen: backlogs, and what becomes of connections when a listener ends."""
    in_guest(bed, "listen")


@timeout(300)
def test_ports(bed):
    """When a socket has gone its port refuses connections, and is free."""
    in_guest(bed, "ports")


@timeout(180)
def test_accept(bed):
    """accept: order, addresses, flags, time limits, connections that have ended before."""
    in_guest(bed, "accept")


@timeout(180)
def test_acceptors(bed):
    """Many threads and processes on one listener, interrupted and killed."""
    in_guest(bed, "acceptors")


@timeout(180)
def test_waiting(bed):
    """Who accepts without waiting gets all that wait, and loses none by closing then."""
    in_guest(bed, "waiting")


@timeout(180)
def test_poll(bed):
    """poll, select and epoll of a listener, io_uring."""
    in_guest(bed, "listenpoll", "uring", "zerocopy")


@timeout(400)
def test_accepted(bed):
    """An accepted connection is as one that was made by connect."""
    in_guest(bed, *(f"{name} --side accept" for name in CONNECTIONS))


@timeout(180)
def test_tsi(bed):
    """What users have complained of in another socket family that is carried to a host."""
    in_guest(bed, "tsi")


@timeout(120)
def test_a3s_box_371_servers_are_not_exposed(bed):
    """Without a policy that allows it, a guest binds nothing in dom0."""
    guest = serving_guest(bed)
    guest.detach()
    guest.attach()
    wait_link(guest)
    rc, out = guest.run("hold refused --sockets 1", 20 * bed.scale)
    assert rc == 1 and "bind: Permission denied" in out, out
    guest.detach()
    guest.attach("xensock", *SERVES)
    wait_link(guest)


@timeout(120)
def test_libkrun_344_refused_sockets_are_quiet(bed):
    """A hundred sockets that were refused cost nobody any time while nobody asks them."""
    guest = serving_guest(bed)
    held = guest.start("hold refused --sockets 100")
    held.wait_line("ready", 60 * bed.scale)
    busy = _interrupts(guest)
    time.sleep(2)
    busy = _interrupts(guest) - busy
    assert held.running, "it has ended"
    bed.note(f"{busy} events in two seconds")
    assert busy < 100


def _interrupts(guest):
    """Events that the guest has got on its sockets' channels and on the commands ring's."""
    out = must(guest, "awk '/xensock/ { for (i = 2; i <= NF && $i ~ /^[0-9]+$/; i++) n += $i } "
                      "END { print n + 0 }' /proc/interrupts")
    return int(out)


@timeout(300)
def test_nothing_is_left(bed):
    """Listeners, full backlogs, accepted and reset connections: dom0 keeps nothing of them."""
    guest = serving_guest(bed)
    wait_link(guest)
    once = "listen -T more_than_the_backlog_wait && acceptors"
    before = bed.at_rest()
    must(guest, once, 200 * bed.scale)
    off = settled(bed, before)
    assert not off, f"dom0 has kept (before, after): {off}"
