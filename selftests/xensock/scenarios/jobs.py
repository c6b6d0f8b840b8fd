# SPDX-License-Identifier: GPL-2.0
"""Jobs of a guest that come and go while its sockets are used."""

from collections import deque

from bed import timeout
from scenarios.common import SERVER_POLICY, SMALL_BUFFER, start_peer, wait_connected

# Files of a group share a guest and run one after another.
GROUP = "serves"

JOBS = {"daily": 60, "slow": 2000, "debug": 60}
AT_ONCE = 8


@timeout(900)
def test_fetch(bed):
    """Many jobs fetch a page, and each reports its end."""
    guest = bed.shared_guest(policy=SERVER_POLICY)
    start_peer(bed, SMALL_BUFFER)
    wait_connected(guest)
    running, failed = deque(), []
    jobs = bed.pick(**JOBS)
    for number in range(jobs):
        running.append(guest.start("fetch >/dev/null"))
        while len(running) > (0 if number == jobs - 1 else AT_ONCE):
            rc, out = running.popleft().wait(60 * bed.scale)
            if rc:
                failed.append(out)
    assert not failed, f"{len(failed)} of {jobs} jobs failed: {failed[0]}"
