# SPDX-License-Identifier: GPL-2.0
"""Our frontend, untouched, on the kernel's own C backend, over the older protocol.

The C backend is used for what it can do: it connects inside its command
handler, and never tells of a reset while the guest sleeps.
"""

from bed import timeout
from scenarios.common import must, peer, wait_link

MEGABYTES = {"fast": 16, "debug": 2}


def _guest(bed):
    return bed.shared_guest(device="pvcalls")


def test_connect_and_close(bed):
    """One page through the C backend; the device is of type pvcalls."""
    guest = _guest(bed)
    peer(bed)
    wait_link(guest)
    page = must(guest, "fetch")
    assert "Hello from dom0" in page, page
    assert bed.run("grep -q '^pvcalls_back ' /proc/modules")[0] == 0
    assert bed.xenstore.read(f"/local/domain/{guest.domid}/device/pvcalls/0/state") == "4"


@timeout(300)
def test_transfer(bed):
    """Both ways at once on one socket, checked."""
    guest = _guest(bed)
    peer(bed)
    wait_link(guest)
    guest.ktap(f"bulk --bytes {MEGABYTES[bed.kconfig]}m", 280 * bed.scale)


@timeout(180)
def test_many(bed):
    """Many connections, at once and one after another."""
    guest = _guest(bed)
    peer(bed)
    wait_link(guest)
    for name in ("sockets_at_once", "cycles_of_connect_exchange_close",
                 "short_connections_in_parallel"):
        guest.ktap(f"many --sockets 30 --cycles 100 -t {name}")


@timeout(180)
def test_calls(bed):
    """The calls that the older protocol has: data, end of data, flags, poll, epoll, threads."""
    guest = _guest(bed)
    peer(bed)
    wait_link(guest)
    guest.ktap("flags")
    guest.ktap("eof")
