# SPDX-License-Identifier: GPL-2.0
"""The test programs as the kernel's own runner has them: make -C tools/testing/selftests TARGETS=net/xensock."""

from scenarios.common import SERVES

# Files that share a guest follow each other.
GROUP = "serves"

RUN = "/usr/lib/kselftest/run_kselftest.sh -c net/xensock"
NAME = "1 selftests: net/xensock: xensock.sh"


def test_with_a_backend(bed):
    """The cases that need nobody in the backend domain pass."""
    rc, out = bed.shared_guest(policy=SERVES).run(RUN, 120 * bed.scale)
    assert rc == 0 and f"\nok {NAME}\n" in f"{out}\n" and "# ok 9 stream/before_connect" in out, out


def test_without_a_backend(bed):
    """They are left out, with the reason."""
    _, out = bed.guest(name="bare", device=None).run(RUN, 60 * bed.scale)
    assert f"\nok {NAME} # SKIP" in out and "# 1..0 # SKIP no backend is connected" in out, out
