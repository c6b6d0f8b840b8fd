# SPDX-License-Identifier: GPL-2.0
"""Guests as servers: bind, listen and accept, over AF_XENSOCK and in dom0 over TCP."""

import time

from bed import timeout
from scenarios.common import (
    SERVER_POLICY, beside_dom0, in_dom0, in_guest, run_checked, serving_guest, wait_connected, wait_link,
    wait_released)

# Files of a group share a guest and run one after another.
GROUP = "serves"

# Tests of connections that behave alike whichever end has connected.
CONNECTIONS = ("stream", "flags", "urgent", "poll", "epoll", "rst", "eof", "close", "shutdown", "ioctl")


_LISTENERS = ("bind", "listen", "accept", "acceptors", "waiting")


@timeout(400)
def test_listeners(bed):
    """bind, listen and accept: ports of every kind, backlogs, order, connections that have already ended, threads and
    processes that share a listener, as with TCP. All this leaves nothing in dom0."""
    guest = serving_guest(bed)
    wait_connected(guest)
    before = bed.quiet_snapshot()
    with beside_dom0(bed, *_LISTENERS):
        guest.ktap_together(_LISTENERS, 200 * bed.scale)
    leaks = wait_released(bed, before)
    assert not leaks, f"dom0 has kept (before, after): {leaks}"


@timeout(400)
def test_ports(bed):
    """The port of a closed socket refuses connections and is free, as with TCP. No other program may use ports
    meanwhile."""
    guest = serving_guest(bed)
    in_dom0(bed, "ports")
    guest.ktap("ports", 150 * bed.scale)


@timeout(600)
def test_poll(bed):
    """poll, select and epoll of a listener, and io_uring, as with TCP."""
    guest = serving_guest(bed)
    # Alone: it counts how many tasks one connection wakes.
    in_dom0(bed, "listenpoll")
    guest.ktap("listenpoll", 150 * bed.scale)
    with beside_dom0(bed, "uring", "zerocopy"):
        guest.ktap_together(("uring", "zerocopy"), 150 * bed.scale)


@timeout(400)
def test_accepted(bed):
    """An accepted connection behaves like one made by connect()."""
    in_guest(bed, *(f"{name} --side accept" for name in CONNECTIONS))


@timeout(300)
def test_tsi(bed):
    """Bugs that users have reported of another socket family carried to a host, and that TCP does not have."""
    in_guest(bed, "tsi", over_tcp=("tsi", "ahead"))


@timeout(240)
def test_a3s_box_371_servers_are_not_exposed(bed):
    """Without a policy that allows it, a guest binds no port in dom0."""
    guest = serving_guest(bed)
    guest.detach()
    guest.attach()
    wait_link(guest)
    rc, out = guest.run("hold refused --sockets 1", 60 * bed.scale)
    assert rc == 1 and "bind: Permission denied" in out, out
    guest.detach()
    guest.attach("xensock", *SERVER_POLICY)
    wait_link(guest)


@timeout(240)
def test_libkrun_344_refused_sockets_are_quiet(bed):
    """A hundred refused sockets take no time while nobody uses them."""
    guest = serving_guest(bed)
    held = guest.start("hold refused --sockets 100")
    held.wait_line("ready", 60 * bed.scale)
    busy = _interrupts(guest)
    time.sleep(1)
    busy = _interrupts(guest) - busy
    assert held.running, "it has ended"
    bed.note(f"{busy} events in a second")
    assert busy < 50
    quiet = _interrupts(guest)
    run_checked(guest, "fetch >/dev/null")
    assert _interrupts(guest) > quiet


def _interrupts(guest):
    """Returns the events that the guest has got on the channels of its sockets and of the commands
    ring."""
    out = run_checked(guest, "awk '/xensock/ { for (i = 2; i <= NF && $i ~ /^[0-9]+$/; i++) n += $i } "
                             "END { print n + 0 }' /proc/interrupts")
    return int(out)
