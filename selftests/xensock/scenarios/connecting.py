# SPDX-License-Identifier: GPL-2.0
"""Connecting to a listening, a closed and a black-holed address at once, from many processes."""

from bed import timeout
from scenarios.common import must, peer


@timeout(180)
def test_black_hole_delays_nobody(bed):
    """While 64 sockets wait for a black hole, connecting and transferring are as quick as before."""
    guest = bed.shared_guest()
    peer(bed)
    quick = "many --sockets 8 --cycles 100 -t cycles_of_connect_exchange_close"
    alone = _seconds(guest, quick)
    holes = guest.start("for i in $(seq 64); do fetch --host "
                        f"{bed.blackhole} >/dev/null 2>&1 & done; wait")
    _wait_for_syns(bed, 64)
    beside = _seconds(guest, quick)
    bed.note(f"100 cycles alone {alone:.2f} s, beside 64 black holes {beside:.2f} s")
    assert holes.running, "the black holes have ended before the measurement"
    assert beside < 3 * alone + 1
    rc, _ = holes.wait(60)
    assert rc == 0
    assert _syns() == 0


def _seconds(guest, command):
    out = must(guest, "read a b </proc/uptime; " + command +
               " >/tmp/out || cat /tmp/out; read c d </proc/uptime; echo $a $c")
    last = out.splitlines()[-1].split()
    assert "not ok" not in out, out
    return float(last[1]) - float(last[0])


def _syns():
    with open("/proc/net/tcp", encoding="ascii") as file:
        return sum(line.split()[3] == "02" for line in file)


def _wait_for_syns(bed, number):
    must(bed, "i=0; until [ $(awk '$4 == \"02\"' /proc/net/tcp | wc -l) -ge %d ]; do "
         "i=$((i + 1)); [ $i -lt 60 ]; sleep 0.1; done" % number, 30)
