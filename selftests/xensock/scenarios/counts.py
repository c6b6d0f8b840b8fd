# SPDX-License-Identifier: GPL-2.0
"""The counts in debugfs: exact numbers for exact actions, in both domains."""

import time

from bed import read, timeout
from scenarios.common import SERVER_POLICY, rest, run_checked, start_peer, unload, wait_link

DEBUGFS = "/sys/kernel/debug"

# Pages of a data ring that has not grown, with its indexes page.
RING = 5


def _counts(where, path):
    lines = read(where, f"{DEBUGFS}/{path}").splitlines()
    return {name: int(count) for name, count in map(str.split, lines)}


def _both(bed, guest):
    """Returns the counts of the guest and of dom0."""
    return (_counts(guest, "xensock/xensock-0"),
            _counts(bed, f"xensock_back/xensock-{guest.domid}-0/counts"))


def _quiet_counts(bed, guest, with_spares=True):
    """Waits for the last socket to end, then returns both counts. with_spares: there may be spare rings left, which
    takes a second or two less."""
    deadline = time.monotonic() + 60 * bed.scale
    last = None
    while True:
        front, back = _both(bed, guest)
        is_quiet = not (front["connections"] or back["sockets"]) and (with_spares or not back["ring-pages"])
        if is_quiet and (front, back) == last:
            return front, back
        last = front, back
        assert time.monotonic() < deadline, f"sockets are left: {front} {back}"
        time.sleep(0.2)


# What is in use as long as rings are spare and TCP works on closed sockets.
_IN_USE = ("ring-pages", "spare-pages", "sockets-closed", "memory")

# What is random: that, and rings that are used again or given up.
_RANDOM = ("rings-reused", "UNMAP", *_IN_USE)


def _growth(before, after):
    """Returns the counts that have changed, except maxima: a socket may begin before another ends."""
    return {name: after[name] - before[name] for name in after
            if after[name] != before[name] and not name.endswith("-most") and name not in _RANDOM}


def _make_device_anew(bed, guest):
    """Takes the device away and gives the guest another one."""
    guest.detach()
    run_checked(bed, f"i=0; while [ -e {DEBUGFS}/xensock_back/xensock-{guest.domid}-0 ]; do "
                     "i=$((i + 1)); [ $i -lt 400 ] || exit 1; sleep 0.1; done")
    run_checked(guest, f"i=0; while [ -e {DEBUGFS}/xensock/xensock-0 ]; do "
                       "i=$((i + 1)); [ $i -lt 400 ] || exit 1; usleep 100000; done")
    guest.attach("xensock", *SERVER_POLICY)
    wait_link(guest)


@timeout(240)
def test_sockets(bed):
    """The number of sockets, and its maximum."""
    start_peer(bed)
    guest = bed.shared_guest(policy=SERVER_POLICY)
    _make_device_anew(bed, guest)
    front, back = _quiet_counts(bed, guest, with_spares=False)
    assert (front["connections-most"], back["sockets-most"], back["ring-pages-most"]) == (1, 1, RING), \
        (front, back)
    run_checked(guest, "attempt crowd 192.0.2.1 7001 --sockets 12")
    front, back = _quiet_counts(bed, guest)
    assert (front["connections-most"], back["sockets-most"], back["ring-pages-most"]) == \
        (12, 12, 12 * RING), (front, back)
    assert (front["listeners-most"], back["listeners-most"]) == (0, 0), (front, back)

    server = guest.start("attempt stay serve 192.0.2.1 8010")
    server.wait_line("ok")
    front, back = _both(bed, guest)
    assert (front["listeners"], back["listeners"]) == (1, 1), (front, back)
    kept = guest.start("attempt keep 192.0.2.1 7001")
    kept.wait_line("ok")
    before, now = front["connections"], _both(bed, guest)[0]["connections"]
    assert now == before + 1, (before, now)
    for job in (server, kept):
        job.kill()
        job.wait()
    front, back = _quiet_counts(bed, guest)
    assert (front["listeners"], back["listeners"]) == (0, 0), (front, back)
    assert (front["listeners-most"], back["listeners-most"]) == (1, 1), (front, back)


@timeout(240)
def test_commands(bed):
    """Each request is counted by its command, and each error, at both ends."""
    start_peer(bed)
    guest = bed.shared_guest(policy=SERVER_POLICY)
    wait_link(guest)
    before = _quiet_counts(bed, guest)
    # The last is refused at once. The one before is refused after it was accepted.
    out = run_checked(guest, "attempt connect 192.0.2.1 7001 192.0.2.1 1 127.0.0.1 80").split()
    assert out == ["ok", "ECONNREFUSED", "EACCES"], out
    after = _quiet_counts(bed, guest)
    for old, new in zip(before, after):
        grown = _growth(old, new)
        assert grown == {"SOCKET": 3, "CONNECT": 3, "RELEASE": 3, "errors": 1}, grown


@timeout(240)
def test_rings(bed):
    """Connections that follow each other use the same rings. Unused rings are given up, and nothing of them is in use
    any more."""
    start_peer(bed)
    guest = bed.shared_guest(policy=SERVER_POLICY)
    wait_link(guest)
    before, usual = _quiet_counts(bed, guest, with_spares=False)
    run_checked(guest, "many -t cycles_of_connect_exchange_close --cycles 100")
    now, _ = _both(bed, guest)
    after, _ = _quiet_counts(bed, guest, with_spares=False)
    assert now["CONNECT"] == before["CONNECT"] + 100, (before, now)
    assert after["rings-reused"] > before["rings-reused"], (before, after)
    assert after["UNMAP"] > before["UNMAP"], (before, after)

    def excess():
        now = _both(bed, guest)[1]
        return {name: (usual[name], now[name]) for name in _IN_USE if now[name] != usual[name]}

    left = rest(bed, excess)
    assert not left, f"(before, after): {left}"


@timeout(240)
def test_links(bed):
    """Counts survive a link. They are removed with the device or the module, and so are the files."""
    start_peer(bed)
    guest = bed.shared_guest(policy=SERVER_POLICY)
    wait_link(guest)
    # A request to give up a ring would fail with the link.
    before, _ = _quiet_counts(bed, guest, with_spares=False)
    assert before["links"] == before["links-lost"] + 1, before

    unload(bed, "xensock_back")
    run_checked(bed, f"[ ! -e {DEBUGFS}/xensock_back ]")
    deadline = time.monotonic() + 60 * bed.scale
    while not (grown := _growth(before, _counts(guest, "xensock/xensock-0"))):
        assert time.monotonic() < deadline, "the guest has not heard of it"
        time.sleep(0.2)
    assert grown == {"links-lost": 1}, grown
    bed.modprobe("xensock_back")
    wait_link(guest)
    after, new = _quiet_counts(bed, guest)
    assert (after["links"], after["links-lost"]) == (before["links"] + 1, before["links-lost"] + 1), after
    assert (new["links"], new["links-lost"]) == (1, 0), new

    unload(guest, "xensock")
    run_checked(guest, f"[ ! -e {DEBUGFS}/xensock ]")
    run_checked(guest, "modprobe xensock")
    wait_link(guest)
    after, new = _quiet_counts(bed, guest)
    assert (after["links"], after["links-lost"], new["links"], new["links-lost"]) == (1, 0, 2, 1), \
        (after, new)

    _make_device_anew(bed, guest)
