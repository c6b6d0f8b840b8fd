# SPDX-License-Identifier: GPL-2.0
"""dom0 polls the rings of a guest for a while after their last news: the policy's busy-poll."""

import os
import time

from bed import timeout
from guest import ktap_together
from scenarios.common import (
    SERVER_POLICY, SMALL_BUFFER, run_checked, start_peer, stream, unload, wait_link, wait_released)

# The longest time of the policy, in microseconds: a slow machine answers a request within it.
_ON = "busy-poll=100000"

# A time that leaves dom0's processor to others as well.
_SHORT = "busy-poll=20000"

MSEC = 400


def _guest(bed):
    """Returns a connected guest whose rings are not polled. Starts servers for it."""
    if bed.host is not bed:
        bed.skip("the threads of a driver domain are not seen")
    start_peer(bed, SMALL_BUFFER)
    bed.start(f"bench_server --host {bed.address}").wait_line("bench: ready", 60 * bed.scale)
    guest = bed.shared_guest("polled", policy=SERVER_POLICY)
    _set(bed, guest, "busy-poll=default")
    wait_link(guest)
    return guest


def _set(bed, guest, setting):
    bed.xensock("set", str(guest.domid), setting)


def _thread(guest):
    """Returns the process ID of the thread that polls the guest's rings, or None."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/comm", encoding="utf-8") as file:
                if file.read() == f"xensock_poll/{guest.domid}\n":
                    return pid
        except OSError:
            # It has just ended.
            continue
    return None


def _stat(pid):
    """Returns the state of a thread, and how often it has given the CPU up to sleep."""
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        values = dict(line.split(":\t", 1) for line in file.read().splitlines() if ":\t" in line)
    return values["State"][0], int(values["voluntary_ctxt_switches"])


def _wait(bed, what):
    deadline = time.monotonic() + 60 * bed.scale
    while not (result := what()):
        assert time.monotonic() < deadline, "it has not happened"
        time.sleep(0.02)
    return result


def _sleeps(bed, guest):
    """Checks that the thread falls asleep, and does not run again while there are no news. The last news of
    earlier connections may come late."""
    pid = _thread(guest)

    def stays_asleep():
        before = _stat(pid)
        time.sleep(0.3)
        return before[0] == "I" and _stat(pid) == before

    _wait(bed, stays_asleep)


def _events():
    """Returns the events that dom0 has got on the channels of data rings."""
    with open("/proc/interrupts", encoding="ascii") as file:
        lines = [line.split() for line in file if line.split()[-1:] == ["xensock"]]
    return sum(int(field) for line in lines for field in line[1:] if field.isdigit())


def _events_of_requests(bed, guest):
    """Returns dom0's events for each request of one byte, and the requests of a second."""
    before = _events()
    rate = float(run_checked(guest, f"bench rr {MSEC} --host {bed.address}").split()[0])
    return (_events() - before) / (rate * MSEC / 1000), rate


def _wait_events(bed, guest, is_right):
    """Measures until the events are as expected: the backend learns of a change a moment later."""
    seen = []

    def measured():
        seen.append(_events_of_requests(bed, guest))
        return is_right(seen[-1][0])

    try:
        _wait(bed, measured)
    finally:
        bed.note("events for each request: " + ", ".join(f"{events:.2f} at {rate:.0f}/s" for events, rate in seen))


@timeout(240)
def test_events(bed):
    """While dom0 polls, requests need few events. The node takes effect at once, both ways, and the
    thread sleeps when there is nothing to poll."""
    guest = _guest(bed)
    _wait_events(bed, guest, lambda events: events > 0.8)
    made = _thread(guest)
    for _ in range(2):
        _set(bed, guest, _ON)
        _wait_events(bed, guest, lambda events: events < 0.4)
        _sleeps(bed, guest)
        _set(bed, guest, "busy-poll=0")
        _wait_events(bed, guest, lambda events: events > 0.8)
        _sleeps(bed, guest)
    assert made is None, "there was a thread before it was needed"


def _loud(bed):
    return bed.shared_guest("loud", modules=[], vcpus=2, policy=(*SERVER_POLICY, _ON))


@timeout(500)
def test_data(bed):
    """Streams and datagrams arrive as without polling, beside violations concerning the news page of another guest."""
    guest, loud = _guest(bed), _loud(bed)
    for each in (guest, loud):
        _set(bed, each, _SHORT)
    before = bed.quiet_snapshot()
    programs = [(guest, name) for name in ("stream", "bulk", "close", "datagram", "datagram_poll")]
    ktap_together([*programs, (loud, "raw_news -F storm")], 400 * bed.scale)
    _sleeps(bed, guest)
    leaks = wait_released(bed, before)
    assert not leaks, f"dom0 has kept (before, after): {leaks}"


@timeout(300)
def test_rivals(bed):
    """A program of dom0 that never sleeps comes first: the guest's requests bring events, and are
    answered."""
    guest = _guest(bed)
    _set(bed, guest, _ON)
    _wait_events(bed, guest, lambda events: events < 0.4)
    rival = bed.start("while :; do :; done")
    try:
        guest.ktap(stream(bed), 150 * bed.scale)
        _wait_events(bed, guest, lambda events: events > 0.6)
    finally:
        rival.kill()
        rival.wait()
    _wait_events(bed, guest, lambda events: events < 0.4)


@timeout(400)
def test_link_down(bed):
    """The link ends while it is polled: by either module, and with the device. The thread ends too."""
    guest = _guest(bed)
    ways = (
        (lambda: unload(bed, "xensock_back"), lambda: bed.modprobe("xensock_back")),
        (lambda: unload(guest, "xensock"), lambda: guest.modprobe("xensock")),
        (guest.detach, lambda: guest.attach("xensock", *SERVER_POLICY)),
    )
    before = bed.quiet_snapshot()
    for lose, come_back in ways:
        _set(bed, guest, _ON)
        job = guest.start(f"bench rr 240000 --host {bed.address}")
        pid = _wait(bed, lambda: _thread(guest))
        _wait(bed, lambda: _stat(pid)[0] == "R")
        assert job.running, "the requests ended before their link"
        lose()
        _wait(bed, lambda: _thread(guest) is None)
        # They are told that the link is gone.
        assert job.wait(60 * bed.scale)[0] != 0
        come_back()
        wait_link(guest)
    leaks = wait_released(bed, before)
    assert not leaks, f"dom0 has kept (before, after): {leaks}"


@timeout(480)
def test_storm(bed):
    """News without end that bring no work: the thread does not poll for longer."""
    if bed.host is not bed:
        bed.skip("the threads of a driver domain are not seen")
    start_peer(bed)
    guest = _loud(bed)
    _set(bed, guest, _ON)
    # The program is killed, and leaves its link up.
    guest.changed = True
    storm = guest.start("raw_news --cycles 240000 -f storm")
    storm.wait_line("ready", 60 * bed.scale)
    # The echoes before are polled.
    _wait(bed, lambda: _thread(guest))
    _sleeps(bed, guest)
    assert storm.running, "the storm was over too soon"
    storm.kill()
