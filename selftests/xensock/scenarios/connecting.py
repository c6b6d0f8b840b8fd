# SPDX-License-Identifier: GPL-2.0
"""Connecting to a listening, a closed and a black-holed address, all at the same time."""

import time

from bed import timeout
from scenarios.common import run_checked, short_connects, start_peer, sysctl

# Twice the number of slots of the commands ring: an attempt must not keep a slot.
HOLES = 64


@timeout(300)
def test_black_hole_delays_nobody(bed):
    """While 64 sockets connect to a black hole, other connections and transfers are not slowed."""
    guest = bed.shared_guest()
    start_peer(bed)
    sysctl(bed, tcp_syn_retries=8)  # longer than the measurement
    quick = "many --sockets 8 --cycles 100 -t cycles_of_connect_exchange_close"
    alone = min(_seconds(guest, quick) for _ in range(2))
    holes = guest.start(f"hold holes --sockets {HOLES}")
    holes.wait_line("ready", 60 * bed.scale)
    assert _wait_syns(bed, HOLES), f"{_syns()} sockets of dom0 are connecting"
    # A single slow measurement may be chance.
    deadline = time.monotonic() + 60 * bed.scale
    beside = _seconds(guest, quick)
    while beside >= 2 * alone + 1 and time.monotonic() < deadline:
        beside = min(beside, _seconds(guest, quick))
    bed.note(f"100 cycles alone {alone:.2f} s, beside {HOLES} black holes {beside:.2f} s")
    assert holes.running and _syns() == HOLES, "the black holes have ended before the measurement"
    run_checked(guest, "connect -t blocking_to_closed_port_then_again")
    holes.kill()
    assert _wait_syns(bed, 0), "dom0 goes on connecting for sockets that are closed"
    if beside >= 2 * alone + 1:
        # The machine itself may be slower than before.
        alone = max(alone, min(_seconds(guest, quick) for _ in range(2)))
    assert beside < 2 * alone + 1, (alone, beside)


@timeout(240)
def test_black_hole_ends(bed):
    """All attempts to connect to a black hole end with ETIMEDOUT when TCP gives up."""
    guest = bed.shared_guest()
    start_peer(bed)
    with short_connects(bed):
        run_checked(guest, f"hold holes --sockets {HOLES}", 60 * bed.scale)
    assert _wait_syns(bed, 0), "dom0 is still connecting"


def _seconds(guest, command):
    """Returns the time that a test program takes in the guest."""
    out = run_checked(guest, f"read a b </proc/uptime; {command} >/tmp/out || {{ cat /tmp/out; exit 1; }}; "
                             "read c d </proc/uptime; echo $a $c")
    began, ended = map(float, out.splitlines()[-1].split())
    return ended - began


def _syns():
    """Returns the number of dom0's sockets in SYN_SENT."""
    with open("/proc/net/tcp", encoding="ascii") as file:
        return sum(line.split()[3] == "02" for line in file)


def _wait_syns(bed, number):
    """Waits until there are that many of them."""
    deadline = time.monotonic() + 60 * bed.scale
    while _syns() != number and time.monotonic() < deadline:
        time.sleep(0.1)
    return _syns() == number
