# SPDX-License-Identifier: GPL-2.0
"""Options, names and ioctls of sockets, and IPv6: over AF_XENSOCK, and in dom0 over TCP."""

import base64
import gzip

from bed import timeout
from scenarios.common import hijacked, in_dom0, in_guest, ipv6, serving_guest
from scenarios.differences import unexpected

# Files of a group share a guest and run one after another.
GROUP = "serves"


@timeout(300)
def test_carried(bed):
    """Options of the real socket and those that the guest handles itself: set, read, kept, inherited; control messages
    and ioctls; names of sockets that are shared and passed on. Options have their effects, some within a time, and
    reading any option returns no more than there is. TCP does the same."""
    in_guest(bed, "options", "options --side accept", "control", "buffers", "ioctl", "names", "effects",
             over_tcp=("options", "control", "buffers", "ioctl", "names", "loopback", "effects"))


@timeout(300)
def test_ipv6(bed):
    """IPv6, both versions on one listener, mapped addresses, scopes, as with TCP. No other program may use the same
    port of IPv4."""
    guest = serving_guest(bed)
    in_dom0(bed, ipv6())
    guest.ktap(ipv6(), 150 * bed.scale)


def _start_walk(where, family):
    """Starts `walk`. Its lines are compressed: the console of a guest is slow, and the lines are similar."""
    return where.start(f"walk --family {family} | gzip -c | base64")


def _lines(bed, walk):
    rc, packed = walk.wait(250 * bed.scale)
    assert rc == 0, packed
    return gzip.decompress(base64.b64decode(packed)).decode().splitlines()


@timeout(700)
def test_every_option(bed):
    """An unprivileged program can set and read the same as over TCP and UDP."""
    guest = serving_guest(bed)
    with hijacked(guest, hijack=2):
        walks = _start_walk(bed, "inet"), _start_walk(guest, "xensock"), _start_walk(guest, "inet")
        over_tcp, over_xensock, as_inet = (_lines(bed, walk) for walk in walks)
    assert len(over_tcp) == len(as_inet) > 1000, f"{len(over_tcp)} and {len(as_inet)} options"
    assert len(over_xensock) > 500, f"{len(over_xensock)} options"
    wrong = (unexpected("AF_XENSOCK", over_tcp, over_xensock) +
             unexpected("hijacked", over_tcp, as_inet))
    assert not wrong, f"{len(wrong)} options\n" + "\n".join(wrong)
