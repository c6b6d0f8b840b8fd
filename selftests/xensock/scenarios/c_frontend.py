# SPDX-License-Identifier: GPL-2.0
"""The kernel's own C frontend on our backend, over the older protocol.

Nothing in the kernel calls that frontend: a module of ours does, so that the
test programs can. It has no names of sockets, no options and no shutdown, its
connect always waits, and it leaves its ports to the program.
"""

from bed import timeout
from scenarios.common import SERVES, must, peer, settled


def _guest(bed):
    guest = bed.shared_guest(device="pvcalls", backend="xensock_back",
                             modules=("pvcalls-front", "pvcalls_user"), policy=SERVES)
    peer(bed)
    must(guest, "i=0; until fetch --family pvcalls >/dev/null 2>&1; do i=$((i + 1)); "
                "[ $i -lt 150 ] || { fetch --family pvcalls; exit 1; }; usleep 200000; done", 60)
    return guest


@timeout(180)
def test_connect_and_transfer(bed):
    """A page, and both ways at once on one socket, checked."""
    guest = _guest(bed)
    page = must(guest, "fetch --family pvcalls")
    assert "Hello from dom0" in page, page
    size = "2m" if bed.kconfig == "fast" else "256k"
    guest.ktap(f"bulk --family pvcalls --bytes {size}", 150 * bed.scale)


@timeout(240)
def test_cycles(bed):
    """500 connections one after another; dom0 keeps nothing of them."""
    guest = _guest(bed)
    cycles = "many --family pvcalls -t cycles_of_connect_exchange_close"
    must(guest, f"{cycles} --cycles 20 >/dev/null")
    before = bed.snapshot()
    guest.ktap(f"{cycles} --cycles 500", 200 * bed.scale)
    off = settled(bed, before)
    assert not off, f"dom0 has kept (before, after): {off}"
