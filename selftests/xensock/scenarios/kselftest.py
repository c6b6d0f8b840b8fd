# SPDX-License-Identifier: GPL-2.0
"""The test programs run by the kernel's own runner: make -C tools/testing/selftests
TARGETS=net/xensock."""

from bed import timeout
from scenarios.common import SERVER_POLICY

# Files of a group share a guest and run one after another.
GROUP = "serves"

RUN = "/usr/lib/kselftest/run_kselftest.sh -c net/xensock"
NAME = "1 selftests: net/xensock: xensock.sh"


@timeout(240)
def test_with_a_backend(bed):
    """The cases that need no peer in the backend domain pass."""
    rc, out = bed.shared_guest(policy=SERVER_POLICY).run(RUN, 120 * bed.scale)
    assert rc == 0 and f"\nok {NAME}\n" in f"{out}\n" and "# ok 9 stream/before_connect" in out, out


@timeout(240)
def test_without_a_backend(bed):
    """The cases are skipped, with the reason."""
    _, out = bed.shared_guest("bare", device=None).run(RUN, 60 * bed.scale)
    assert f"\nok {NAME} # SKIP" in out and "# 1..0 # SKIP no backend is connected" in out, out
