# SPDX-License-Identifier: GPL-2.0
"""Every call on a socket, in a guest over AF_XENSOCK and in dom0 over TCP."""

from bed import slow, timeout
from scenarios.common import SMALL_BUFFER, in_dom0, in_guest, run_checked, serving_guest, start_peer

# Files of a group share a guest and run one after another.
GROUP = "serves"


@timeout(180)
def test_tcp(bed):
    """This kernel's TCP meets the expectations of the tests."""
    start_peer(bed, SMALL_BUFFER)
    in_dom0(bed, "connect", "fastopen", "stream", "flags", "urgent", "poll", "epoll", "rst", "eof", "threads", "signals",
            "close", "shutdown", "linger")


@timeout(180)
def test_connect(bed):
    """connect(): listening, closed, black-holed and unreachable addresses, blocking or not, all at once."""
    in_guest(bed, "connect", "fastopen")


@timeout(180)
def test_transfer(bed):
    """send and recv: vectors of buffers, all flags, time limits, bad memory."""
    in_guest(bed, "stream", "flags")


@timeout(180)
def test_urgent(bed):
    """Urgent bytes: none is lost from the stream."""
    in_guest(bed, "urgent")


@timeout(180)
def test_poll(bed):
    """poll, select and epoll in every state of a socket."""
    in_guest(bed, "poll", "epoll")


@timeout(180)
def test_end(bed):
    """The peer resets or finishes, or the socket is closed: order of data and errors."""
    in_guest(bed, "rst", "eof", "close")


@timeout(180)
def test_shutdown(bed):
    """Each direction ends alone; close waits for the peer, or resets."""
    in_guest(bed, "shutdown", "linger")


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


@timeout(180)
def test_concurrency(bed):
    """Threads that share a socket, and signals during every wait."""
    in_guest(bed, "threads", "signals")


@timeout(180)
def test_family(bed):
    """Unsupported calls of AF_XENSOCK, and what the backend does not allow."""
    in_guest(bed, "family -F no_device")


def test_transcript(bed):
    """A program sees the same over AF_XENSOCK as over TCP, whatever either end does."""
    guest = serving_guest(bed)
    pairs = [(bed.start(f"transcript --family inet --side {side}"), guest.start(f"transcript --side {side}"))
             for side in ("connect", "accept")]
    for pair in pairs:
        results = [task.wait(60 * bed.scale) for task in pair]
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


def test_no_device(bed):
    """Without a device, or before it is connected, calls fail with ENETDOWN at once."""
    guest = bed.guest(name="bare", device=None)
    run_checked(guest, "modprobe xensock")
    guest.ktap("family -f no_device")
