# SPDX-License-Identifier: GPL-2.0
"""Memory is short at either end: programs are told, what has begun goes well, and nothing is left behind."""

from contextlib import contextmanager

from bed import timeout
from scenarios.common import hijacked, in_dom0, run_checked, serving_guest, start_peer, wait_released

FAULTS = "/sys/kernel/debug"


@contextmanager
def _short(where, module, percent):
    """Inside the block, that share of the allocations fails that the module's code asks for, in every context."""
    start, size = (run_checked(where, f"cat /sys/module/{module}/{file}").strip()
                   for file in ("sections/.text", "coresize"))
    settings = {"ignore-gfp-wait": "N", "verbose": 0, "times": -1, "stacktrace-depth": 32,
                "require-start": int(start, 16), "require-end": int(start, 16) + int(size), "probability": percent}
    for fault, more in (("failslab", {}), ("fail_page_alloc", {"min-order": 0, "ignore-gfp-highmem": "N"})):
        for name, value in (more | settings).items():
            run_checked(where, f"echo {value} >{FAULTS}/{fault}/{name}")
    try:
        yield
    finally:
        for fault in ("failslab", "fail_page_alloc"):
            run_checked(where, f"echo 0 >{FAULTS}/{fault}/probability")


def test_tcp(bed):
    """The expectations of the tests, of this kernel's TCP."""
    start_peer(bed)
    in_dom0(bed, "failnth")


@timeout(240)
def test_calls(bed):
    """Each allocation of each call fails in turn."""
    guest = serving_guest(bed)
    before = bed.quiet_snapshot()
    guest.ktap("failnth", 100 * bed.scale)
    with hijacked(guest):
        guest.ktap("failnth --family inet", 100 * bed.scale)
    leaks = wait_released(bed, before)
    assert not leaks, leaks


@timeout(240)
def test_guest(bed):
    """Many allocations of the guest's module fail, in interrupts too."""
    guest = serving_guest(bed)
    before = bed.quiet_snapshot()
    with _short(guest, "xensock", 10):
        guest.ktap("shortages --cycles 50", 100 * bed.scale)
    leaks = wait_released(bed, before)
    assert not leaks, leaks


@timeout(240)
def test_backend(bed):
    """Many allocations of the backend fail."""
    guest = serving_guest(bed)
    before = bed.quiet_snapshot()
    with _short(bed.host, "xensock_back", 10):
        guest.ktap("shortages --cycles 50", 100 * bed.scale)
    leaks = wait_released(bed, before)
    assert not leaks, leaks
