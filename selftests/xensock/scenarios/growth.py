# SPDX-License-Identifier: GPL-2.0
"""Data rings that grow while a connection is busy, and shrink when it is idle."""

import time

from bed import timeout
from scenarios.common import SERVES, must, peer, set_order, settled, unload, wait_link

COUNTS = "/sys/kernel/debug/xensock/xensock-0"

# A debug kernel is some ten times slower, and looks for other mistakes.
MEGABYTES = {"fast": 32, "debug": 4}


def _counts(guest):
    return {name: int(count) for name, count in map(str.split, must(guest, f"cat {COUNTS}").splitlines())}


def _guest(bed, name=None, policy=SERVES):
    peer(bed)
    guest = bed.guest(name, policy=policy) if name else bed.shared_guest(policy=policy)
    wait_link(guest)
    return guest


def _swell(bed, guest, more, megabytes=None):
    guest.ktap(f"swell --bytes {megabytes or MEGABYTES[bed.kconfig]}m {more}", 600 * bed.scale)


@timeout(700)
def test_by_turns(bed):
    """Busy and idle three times: it has 5 pages at first, grows, and has 5 pages again."""
    guest = _guest(bed)
    before, quiet = _counts(guest), bed.at_rest()
    events = "/sys/kernel/tracing/events/xensock/xensock_resize"
    must(guest, f"[ -e {events} ] || mount -t tracefs tracefs /sys/kernel/tracing; echo 1 >{events}/enable")
    _swell(bed, guest, "--cycles 3")
    must(guest, f"echo 0 >{events}/enable")
    after = _counts(guest)
    grown, shrunk = (after[f"rings-{what}"] - before[f"rings-{what}"] for what in ("grown", "shrunk"))
    # The last one may be closed when it sends into its base again, and SHRINK is yet to be answered.
    assert grown >= 6 and shrunk >= 5, (before, after)
    seen = must(guest, f"cat {events}/../../../trace")
    for line in ("way=in bytes=524288 error=0", "way=out bytes=524288 error=0", "way=in bytes=8192 error=0",
                 "way=out bytes=8192 error=0"):
        assert line in seen, f"no {line} in the trace"
    off = settled(bed, quiet)
    assert not off, f"dom0 has kept (before, after): {off}"


@timeout(400)
def test_ceilings(bed):
    """The module parameter, and a policy that allows fewer pages than rings would grow to."""
    guest = _guest(bed, "short", policy=(*SERVES, "max-ring-pages=60"))
    before = _counts(guest)
    _swell(bed, guest, "--cycles 1 --seed 0")
    after = _counts(guest)
    assert after["errors"] > before["errors"], (before, after)
    assert after["rings-grown"] > before["rings-grown"], "not even by a little"
    set_order(guest, 2)
    _swell(bed, guest, "--cycles 1 --seed 0", 1)
    assert _counts(guest)["GROW"] == 0, _counts(guest)
    set_order(guest, 3)
    _swell(bed, guest, "--cycles 1", 2)
    assert _counts(guest)["rings-grown"] == 2, _counts(guest)


@timeout(400)
def test_lost_link(bed):
    """The backend goes while rings grow and shrink, over and over: nothing is left at either end."""
    guest = _guest(bed)
    quiet = bed.at_rest()
    for turn in range(6):
        job = guest.start(f"bulk --bytes 64m --seed {turn}")
        time.sleep(0.3 + 0.4 * turn)
        unload(bed, "xensock_back")
        rc, out = job.wait(60 * bed.scale)
        bed.note(f"turn {turn}: {rc}")
        bed.modprobe("xensock_back")
        wait_link(guest)
    unload(guest, "xensock")
    must(guest, "modprobe xensock")
    wait_link(guest)
    guest.ktap("bulk --bytes 8m", 200 * bed.scale)
    off = settled(bed, quiet)
    assert not off, f"dom0 has kept (before, after): {off}"
