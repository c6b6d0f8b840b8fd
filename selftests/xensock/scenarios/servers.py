# SPDX-License-Identifier: GPL-2.0
"""Guests as servers: bind, listen and accept, over AF_XENSOCK and in dom0 over TCP."""

import time

from bed import timeout
from scenarios.common import (
    SERVER_POLICY, SMALL_BUFFER, in_dom0, in_guest, run_checked, serving_guest, start_peer, wait_link, wait_released)

# Files of a group share a guest and run one after another.
GROUP = "serves"

# Tests of connections that behave alike whichever end has connected.
CONNECTIONS = ("stream", "flags", "urgent", "poll", "epoll", "rst", "eof", "close", "shutdown", "ioctl")


@timeout(180)
def test_tcp(bed):
    """This kernel's TCP meets the expectations of the tests."""
    start_peer(bed, SMALL_BUFFER)
    in_dom0(bed, "bind", "listen", "ports", "accept", "acceptors", "waiting", "ahead", "listenpoll",
            "uring", "zerocopy", "tsi")


@timeout(180)
def test_bind(bed):
    """bind: chosen, given, taken, foreign and privileged ports."""
    in_guest(bed, "bind")


@timeout(180)
def test_listen(bed):
    """listen: backlogs, and connections when a listener ends."""
    in_guest(bed, "listen")


@timeout(300)
def test_ports(bed):
    """The port of a closed socket refuses connections and is free."""
    in_guest(bed, "ports")


@timeout(180)
def test_accept(bed):
    """accept: order, addresses, flags, time limits, connections that have already ended."""
    in_guest(bed, "accept")


@timeout(180)
def test_acceptors(bed):
    """Many threads and processes on one listener, interrupted and killed."""
    in_guest(bed, "acceptors")


@timeout(180)
def test_waiting(bed):
    """A non-blocking accept() gets all waiting connections, and closing the listener then loses
    none."""
    in_guest(bed, "waiting")


@timeout(180)
def test_poll(bed):
    """poll, select and epoll of a listener, and io_uring."""
    in_guest(bed, "listenpoll", "uring", "zerocopy")


@timeout(400)
def test_accepted(bed):
    """An accepted connection behaves like one made by connect()."""
    in_guest(bed, *(f"{name} --side accept" for name in CONNECTIONS))


@timeout(180)
def test_tsi(bed):
    """Bugs that users have reported of another socket family carried to a host."""
    in_guest(bed, "tsi")


@timeout(120)
def test_a3s_box_371_servers_are_not_exposed(bed):
    """Without a policy that allows it, a guest binds no port in dom0."""
    guest = serving_guest(bed)
    guest.detach()
    guest.attach()
    wait_link(guest)
    rc, out = guest.run("hold refused --sockets 1", 20 * bed.scale)
    assert rc == 1 and "bind: Permission denied" in out, out
    guest.detach()
    guest.attach("xensock", *SERVER_POLICY)
    wait_link(guest)


@timeout(120)
def test_libkrun_344_refused_sockets_are_quiet(bed):
    """A hundred refused sockets take no time while nobody uses them."""
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
    """Returns the events that the guest has got on the channels of its sockets and of the commands
    ring."""
    out = run_checked(guest, "awk '/xensock/ { for (i = 2; i <= NF && $i ~ /^[0-9]+$/; i++) n += $i } "
                             "END { print n + 0 }' /proc/interrupts")
    return int(out)


@timeout(300)
def test_nothing_is_left(bed):
    """Listeners, full backlogs, accepted and reset connections leave nothing in dom0."""
    guest = serving_guest(bed)
    wait_link(guest)
    once = "listen -T more_than_the_backlog_wait && acceptors"
    before = bed.quiet_snapshot()
    run_checked(guest, once, 200 * bed.scale)
    leaks = wait_released(bed, before)
    assert not leaks, f"dom0 has kept (before, after): {leaks}"
