# SPDX-License-Identifier: GPL-2.0
"""Memory is short at either end: programs are told, what has begun goes well, and nothing is left behind."""

import functools
import itertools
from contextlib import contextmanager

from bed import timeout
from scenarios.common import (
    hijacked, in_dom0, run_checked, serving_guest, start_peer, unbind, wait_connected, wait_link, wait_released)

FAULTS = "/sys/kernel/debug"

# Functions that must not fail. xenbus closes a device whose state cannot be changed, and does not tell its driver; TCP
# forgets the FIN of a socket that is being closed.
SWITCH_STATE, SEND_FIN = "xenbus_switch_state", "tcp_send_fin"


@functools.cache
def _range(where, function):
    """Returns where a function of the kernel begins, and where the next one does. Reading all symbols takes long."""
    lines = run_checked(where, f"grep -A1 ' T {function}$' /proc/kallsyms").splitlines()
    return [int(line.split()[0], 16) for line in lines]


@contextmanager
def _short(where, module, percent, spared, times=1 << 30):
    """Inside the block, that share of the allocations fails that the module's code asks for, in every context, but
    not more than so many times. Those of one function of the kernel are spared."""
    start, size = run_checked(where, f"cd /sys/module/{module} && cat sections/.text coresize").split()
    begin, end = _range(where, spared)
    settings = {"ignore-gfp-wait": "N", "verbose": 0, "times": times, "stacktrace-depth": 32,
                "require-start": int(start, 16), "require-end": int(start, 16) + int(size),
                "reject-start": begin, "reject-end": end, "probability": percent}
    run_checked(where, " && ".join(
        f"echo {value} >{FAULTS}/{fault}/{name}"
        for fault, more in (("failslab", {}), ("fail_page_alloc", {"min-order": 0, "ignore-gfp-highmem": "N"}))
        for name, value in (more | settings).items()))
    try:
        yield
    finally:
        left = run_checked(where, "for f in failslab fail_page_alloc; do "
                                  f"echo 0 >{FAULTS}/$f/probability; cat {FAULTS}/$f/times; done")
    assert any(int(word) < times for word in left.split()), "no allocation has failed"


@contextmanager
def _nothing_left(bed):
    """A guest that may serve. After the block, dom0 has no more of anything than before."""
    guest = serving_guest(bed)
    wait_connected(guest)
    before = bed.quiet_snapshot()
    yield guest
    leaks = wait_released(bed, before)
    assert not leaks, leaks


@timeout(240)
def test_tcp(bed):
    """The expectations of the tests, of this kernel's TCP. It sends no FIN if there is no memory for it."""
    start_peer(bed)
    in_dom0(bed, "failnth -T close -T shutdown")


@timeout(240)
def test_calls(bed):
    """Each allocation of each call fails in turn."""
    with _nothing_left(bed) as guest:
        guest.ktap("failnth", 100 * bed.scale)
        with hijacked(guest, hijack=2):
            guest.ktap("failnth --family inet", 100 * bed.scale)


@timeout(400)
def test_guest(bed):
    """Many allocations of the guest's module fail, in interrupts too."""
    with _nothing_left(bed) as guest, _short(guest, "xensock", 10, SWITCH_STATE):
        guest.ktap(f"shortages --cycles {bed.pick(daily=10, slow=20, debug=20)}", 200 * bed.scale)


@timeout(400)
def test_backend(bed):
    """Many allocations of the backend fail, among them TCP's for its packets, which it has to send again."""
    with _nothing_left(bed) as guest, _short(bed.host, "xensock_back", 3, SEND_FIN):
        guest.ktap("shortages --cycles 20", 200 * bed.scale)


@timeout(600)
def test_link(bed):
    """An end whose first allocations fail when the other end comes connects by itself."""
    with _nothing_left(bed) as guest:
        ends = (guest, "xensock", "xen"), (bed.host, "xensock_back", "xen-backend")
        # Each attempt takes a second.
        amounts = bed.pick(daily=(1, 3), slow=(1, 4, 12), debug=(1, 4, 12))
        for times, (short, other) in itertools.product(amounts, itertools.permutations(ends)):
            where, module, bus = other
            unbind(where, module)
            with _short(*short[:2], 100, SWITCH_STATE, times):
                run_checked(where, f"for d in /sys/bus/{bus}/devices/xensock-*; do "
                                   f"[ -e $d/driver ] || echo ${{d##*/}} >/sys/bus/{bus}/drivers/{module}/bind; done")
                wait_link(guest)
