# SPDX-License-Identifier: GPL-2.0
"""Options, names and ioctls of sockets, IPv6: over AF_XENSOCK and in dom0 over TCP."""

from bed import timeout
from scenarios.common import SERVES, SMALL, in_dom0, peer


def _ipv6():
    """The test program, told the interface of dom0's link-local address."""
    with open("/sys/class/net/dummy0/ifindex", encoding="ascii") as file:
        return f"ipv6 --scope {file.read().strip()}"


def _in_guest(bed, *names):
    guest = bed.shared_guest(policy=SERVES)
    peer(bed, SMALL)
    for name in names:
        guest.ktap(name, 150 * bed.scale)


@timeout(180)
def test_tcp(bed):
    """What the tests expect is what this kernel's TCP does."""
    peer(bed, SMALL)
    in_dom0(bed, "options", "effects", "buffers", "names", "ioctl", _ipv6())


@timeout(180)
def test_carried(bed):
    """Options of the real socket: set, read, kept, inherited; lengths of every kind."""
    _in_guest(bed, "options", "options --side accept")


@timeout(180)
def test_effects(bed):
    """They do what they are for, and reading any option gives no more than there is."""
    _in_guest(bed, "effects")


@timeout(180)
def test_own(bed):
    """Options and ioctls that the guest answers itself: buffers, time limits, queues, signals."""
    _in_guest(bed, "buffers", "ioctl")


@timeout(180)
def test_names(bed):
    """getsockname, getpeername, sockets that are shared and passed on."""
    _in_guest(bed, "names")


@timeout(180)
def test_ipv6(bed):
    """IPv6, both versions on one listener, mapped addresses, scopes."""
    _in_guest(bed, _ipv6())
