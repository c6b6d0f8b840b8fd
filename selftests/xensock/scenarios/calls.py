# SPDX-License-Identifier: GPL-2.0
"""Every call on a socket, in a guest over AF_XENSOCK and in dom0 over TCP."""

from bed import slow, timeout
from scenarios.common import SMALL_BUFFER, in_dom0, in_guest, run_checked, serving_guest, start_peer

# Files of a group share a guest and run one after another.
GROUP = "serves"


_DATA = ("connect", "fastopen", "stream", "flags", "urgent", "poll", "epoll")
_ENDS = ("rst", "eof", "close", "shutdown", "linger", "threads", "signals")


@timeout(300)
def test_data(bed):
    """connect(), send() and recv(): addresses of every kind, all flags, time limits, bad memory, urgent bytes;
    poll, select and epoll in every state of a socket. This kernel's TCP meets the same expectations."""
    in_guest(bed, *_DATA, over_tcp=_DATA)


@timeout(300)
def test_ends(bed):
    """The peer resets or finishes, or the socket is closed or shut down: order of data and errors. Threads that share
    a socket, and signals during every wait. Unsupported calls of AF_XENSOCK, and what the backend does not allow. TCP
    does the same."""
    in_guest(bed, *_ENDS, "family -F no_device", over_tcp=_ENDS)


@slow
@timeout(300)
def test_orphan(bed):
    """After close(), a peer that reads slowly gets everything, one that does not read a reset."""
    in_guest(bed, "orphan")


@slow
@timeout(300)
def test_orphan_of_tcp(bed):
    """The same over TCP."""
    start_peer(bed, SMALL_BUFFER)
    in_dom0(bed, "orphan")


@timeout(240)
def test_transcript(bed):
    """A program sees the same over AF_XENSOCK as over TCP, whatever either end does."""
    guest = serving_guest(bed)
    pairs = [(bed.start(f"transcript --family inet --side {side}"), guest.start(f"transcript --side {side}"))
             for side in ("connect", "accept")]
    for pair in pairs:
        results = [task.wait(110 * bed.scale) for task in pair]
        assert all(rc == 0 for rc, _ in results), results
        _compare(*(out.splitlines() for _, out in results))


def _compare(over_tcp, over_xensock):
    case, differences = "", []
    for number in range(max(len(over_tcp), len(over_xensock))):
        pair = [lines[number] if number < len(lines) else "(nothing)"
                for lines in (over_tcp, over_xensock)]
        if not pair[0].startswith(" "):
            case = pair[0] or case
        if pair[0] != pair[1]:
            differences.append(f"{case}: TCP '{pair[0].strip()}', AF_XENSOCK '{pair[1].strip()}'")
    assert len(over_tcp) > 100, "the transcript is not whole"
    assert not differences, "\n" + "\n".join(differences)


@timeout(240)
def test_no_device(bed):
    """Without a device, or before it is connected, calls fail with ENETDOWN at once."""
    guest = bed.shared_guest("bare", device=None)
    run_checked(guest, "modprobe xensock")
    guest.ktap("family -f no_device")
