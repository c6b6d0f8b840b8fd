# SPDX-License-Identifier: GPL-2.0
"""Our frontend, untouched, on the kernel's own C backend, over the older protocol.

The C backend is used for what it can do. It connects inside its command
handler, never tells of a reset while the guest sleeps, and forgets an end of
the stream that came in one piece with the last data.
"""

from bed import timeout
from scenarios.common import must, peer, wait_link

MEGABYTES = {"fast": 8, "debug": 2}


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
    """Peeking, waiting for all, discarding, polling, threads: all that asks nothing new of the backend."""
    guest = _guest(bed)
    peer(bed)
    wait_link(guest)
    for name, cases in (("flags", ("peek_takes_nothing", "waitall_of_more_than_a_ring", "trunc_discards")),
                        ("poll", ("fresh", "idle", "data_comes_and_goes")),
                        ("stream", ("iovecs_of_any_shape", "blocking_send_waits_for_the_reader")),
                        ("threads", ("sleeping_receiver_lets_all_else_go_on",))):
        guest.ktap(f"{name} {' '.join(f'-t {case}' for case in cases)}")


def test_no_datagrams(bed):
    """PV Calls has streams only, and a program is told so."""
    guest = _guest(bed)
    peer(bed)
    wait_link(guest)
    out = must(guest, "knock")
    assert out.split() == 2 * ["ESOCKTNOSUPPORT"], out
