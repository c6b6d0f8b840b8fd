# SPDX-License-Identifier: GPL-2.0
"""Datagrams, in a guest over AF_XENSOCK and in dom0 over UDP."""

import contextlib

from bed import timeout
from scenarios.common import (
    ABSENT, SERVER_POLICY, beside_dom0, hijacked, run_checked, start_peer, sysctl, wait_connected, wait_released)

# Files of a group share a guest and run one after another.
GROUP = "serves"

ERRORS = f"datagram_errors --absent {ABSENT}"
GROUPS = "datagram_groups"
OTHERS = ("datagram", "datagram_names", "datagram_poll", "datagram_control")


def _give_up_soon(bed):
    """The kernel gives a neighbour up after three times this time."""
    sysctl(bed.host, **{"neigh/br0/retrans_time_ms": 250})


def _guest(bed):
    guest = bed.shared_guest(policy=SERVER_POLICY)
    start_peer(bed)
    _give_up_soon(bed)
    wait_connected(guest)
    return guest


def _route_groups(bed):
    run_checked(bed.host, "ip route replace 239.192.77.0/24 dev dummy0")


@contextlib.contextmanager
def _groups(bed):
    """Allows the guest to join groups."""
    guest = _guest(bed)
    _route_groups(bed)
    bed.xensock("set", str(guest.domid), "multicast-allow=239.192.77.0/24 [ff15::77]")
    try:
        yield guest
    finally:
        bed.xensock("set", str(guest.domid), "multicast-allow=default")


@timeout(400)
def test_calls(bed):
    """One call is one datagram: lengths, flags, peeking, waiting, losses; automatic ports, changing peers, bad
    addresses, IPv6; poll, epoll and asynchronous errors; control messages, segments, corks. IP_RECVERR: errors from
    the network. Groups: only what the guest has joined itself, not what only dom0 has. All this leaves nothing in
    dom0. This kernel's UDP meets the same expectations."""
    with _groups(bed) as guest:
        before = bed.quiet_snapshot()
        with beside_dom0(bed, *OTHERS):
            guest.ktap_together((*OTHERS, ERRORS, GROUPS), 150 * bed.scale)
    leaks = wait_released(bed, before)
    assert not leaks, f"dom0 has kept (before, after): {leaks}"


@timeout(240)
def test_hijacked(bed):
    """Errors and groups of sockets of AF_INET."""
    with _groups(bed) as guest, hijacked(guest, hijack=2):
        guest.ktap_together((f"{ERRORS} --family inet", f"{GROUPS} --family inet"), 150 * bed.scale)


@timeout(300)
def test_lost_link(bed):
    """Every call reports at once that the link is down. Afterwards the sockets work as before."""
    guest = _guest(bed)
    _route_groups(bed)
    # Those of UDP that share a neighbour, or a group, with the same programs in the guest.
    with hijacked(guest, hijack=0, link_loss="reset"), beside_dom0(bed, ERRORS, GROUPS):
        for _ in range(2):
            held = guest.start("datagram_lost")
            held.wait_line("ready", 60 * bed.scale)
            guest.detach()
            held.wait_line("told", 60 * bed.scale)
            guest.attach("xensock", *SERVER_POLICY)
            rc, out = held.wait(70 * bed.scale)
            assert rc == 0, out


@timeout(240)
def test_lost_peer(bed):
    """A socket whose peer the next backend refuses says so, and can be connected to another peer."""
    guest = _guest(bed)
    held = guest.start("datagram_lost peer")
    held.wait_line("ready", 60 * bed.scale)
    guest.detach()
    guest.attach("xensock", "connect-deny=udp:9", *SERVER_POLICY)
    try:
        rc, out = held.wait(70 * bed.scale)
        assert rc == 0, out
    finally:
        bed.xensock("set", str(guest.domid), "connect-deny=default")
