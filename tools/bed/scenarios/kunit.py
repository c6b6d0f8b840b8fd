# SPDX-License-Identifier: GPL-2.0
"""The KUnit tests of the protocol, in a guest."""

from bed import timeout

RESULTS = "/sys/kernel/debug/kunit"


@timeout(300)
def test_protocol(bed):
    """Every suite of xensock_kunit passes."""
    guest = bed.guest(device=None, extra="kunit.enable=1")
    rc, out = guest.run("modprobe xensock_kunit", 240)
    assert rc == 0, out
    _, suites = guest.run(f"ls {RESULTS}")
    assert suites, "the module has no suites"
    for suite in suites.split():
        guest.ktap(f"cat {RESULTS}/{suite}/results")
