# SPDX-License-Identifier: GPL-2.0
"""The kernel's own C frontend on our backend, over the older protocol.

Nothing in the kernel calls that frontend. A module of ours does, so that the test programs can use
it. The frontend has no socket names, no options and no shutdown, its connect always waits, and it
leaves the choice of ports to the program. Its other limits are in pvcalls.rst.
"""

from bed import timeout
from scenarios.common import SERVER_POLICY, run_checked, start_peer, wait_released


# Calls that wait. A non-blocking accept() takes more than one call here, and a cancelled one may
# leave the driver without a slot for its requests.
ACCEPT = (
    ("accept", ("one_that_is_there", "waits_for_one", "without_a_free_descriptor_loses_nothing",
                "data_that_came_before", "data_and_end_that_came_before",
                "with_both_ends_in_one_program", "sockets_live_longer_than_their_listener",
                "closing_one_leaves_the_others")),
    ("listen", ("holds_what_nobody_accepts_yet", "a_failed_connect_succeeds_when_somebody_listens")),
    ("acceptors", ("each_thread_gets_a_connection_of_its_own",)),
)


def _guest(bed):
    guest = bed.shared_guest(device="pvcalls", backend="xensock_back",
                             modules=("pvcalls-front", "pvcalls_user"), policy=SERVER_POLICY)
    start_peer(bed)
    run_checked(guest, "i=0; until fetch --family pvcalls >/dev/null 2>&1; do i=$((i + 1)); "
                       "[ $i -lt 400 ] || { fetch --family pvcalls; exit 1; }; usleep 200000; done", 120 * bed.scale)
    return guest


@timeout(180)
def test_connect_and_transfer(bed):
    """Fetches a page, then sends both ways at once on one socket, checked."""
    guest = _guest(bed)
    page = run_checked(guest, "fetch --family pvcalls")
    assert "Hello from dom0" in page, page
    size = "2m" if bed.kconfig == "fast" else "256k"
    guest.ktap(f"bulk --family pvcalls --bytes {size}", 150 * bed.scale)


@timeout(180)
def test_accept(bed):
    """Servers: order of arrival, data and ends that came before accept(), several threads."""
    guest = _guest(bed)
    for name, cases in ACCEPT:
        guest.ktap(f"{name} --family pvcalls --ports 20000 {' '.join(f'-t {case}' for case in cases)}")


@timeout(240)
def test_cycles(bed):
    """Connections one after another. Nothing of them is left in dom0."""
    guest = _guest(bed)
    cycles = "many --family pvcalls -t cycles_of_connect_exchange_close"
    run_checked(guest, f"{cycles} --cycles 20 >/dev/null")
    before = bed.quiet_snapshot()
    guest.ktap(f"{cycles} --cycles {bed.pick(daily=100, slow=500, debug=500)}", 200 * bed.scale)
    leaks = wait_released(bed, before)
    assert not leaks, f"dom0 has kept (before, after): {leaks}"
