# SPDX-License-Identifier: GPL-2.0
"""A guest that breaks every rule of the protocol, beside a guest that keeps them."""

import time

from bed import timeout
from guest import ktap_together
from scenarios.common import run_checked, start_peer, wait_connected, wait_released

# Limit for the sockets of a guest that asks for too many.
LIMIT = 200

# The good guest reports only through this loop: its kernel module logs nothing else.
_GOOD = "while :; do fetch >/dev/null && echo good || echo bad; usleep 100000; done"


class Neighbour:
    """Another guest. Its connections must go on working whatever the first guest does."""

    def __init__(self, bed):
        self.guest = bed.shared_guest("good")
        wait_connected(self.guest)
        self._job = self.guest.start(_GOOD)
        self._job.wait_line("good", 60 * bed.scale)

    def check(self, bed):
        """Checks that the guest has never failed and still works."""
        lines = len(self._job.lines)
        deadline = time.monotonic() + 60 * bed.scale
        while len(self._job.lines) < lines + 3 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert len(self._job.lines) >= lines + 3, "the other guest's connections hang"
        bad = [line for line in self._job.lines if line != "good"]
        assert not bad, f"the other guest's connections have failed: {bad[:5]}"
        self._job.kill()


def _hostile_guest(bed):
    return bed.shared_guest("hostile", modules=[], vcpus=2)


def _limited_guest(bed):
    """Returns a guest with a low limit."""
    return bed.shared_guest("limited", modules=[], vcpus=2, policy=(f"max-sockets={LIMIT}", "bind-allow=udp:0"))


def backend_log(bed, guest):
    """Returns the lines that the backend's driver has logged about a guest."""
    _, log = bed.host.run(f"dmesg | grep 'xensock[- _].*\\b{guest.domid}-0\\b'")
    return log.splitlines()


def _run_hostile(bed, of_limited, of_other):
    """Runs a program of each hostile guest at the same time. Checks what is left in dom0, and the number of log
    lines. of_limited, of_other: the command, and the largest number of lines about that guest."""
    start_peer(bed, syn_retries=6)
    *guests, good = bed.at_once(lambda: _limited_guest(bed), lambda: _hostile_guest(bed),
                                lambda: bed.shared_guest("good"))
    wait_connected(good)
    # Before the neighbour has connections, which are gone when its verdict is requested.
    before, lines_before = bed.quiet_snapshot(), [len(backend_log(bed, guest)) for guest in guests]
    good = Neighbour(bed)
    ktap_together([(guest, command) for guest, (command, _) in zip(guests, (of_limited, of_other))], 800 * bed.scale)
    good.check(bed)
    leaks = wait_released(bed, before)
    assert not leaks, f"dom0 has kept (before, after): {leaks}"
    for guest, lines, (command, most) in zip(guests, lines_before, (of_limited, of_other)):
        log = backend_log(bed, guest)[lines:]
        for line in log[:20]:
            bed.note(line)
        bed.note(f"{command}: {len(log)} lines in dom0's log")
        assert len(log) <= most, f"dom0's log has {len(log)} lines for {command}"


@timeout(1000)
def test_requests(bed):
    """Malformed requests, and too many: they are answered, and nothing is logged. Absurd nodes, impossible states,
    revoked memory: few log lines for many links."""
    _run_hostile(bed, (f"hostile --sockets {LIMIT}", 0), ("hostile_link -f nodes", 60))


@timeout(1000)
def test_datagrams(bed):
    """Invalid frames and too many sockets: at most a log line for each link. Impossible indexes and changing memory:
    the same."""
    _run_hostile(bed, (f"hostile_datagram --sockets {LIMIT}", 40),
                 (f"hostile_rings --cycles {bed.pick(daily=800, slow=2000, debug=2000)}", 30))


@timeout(1000)
def test_grants(bed):
    """Invalid grants and event channels, or too many: answered, and nothing stays mapped."""
    _run_hostile(bed, (f"hostile -t connect_twice --sockets {LIMIT}", 0), ("hostile_grants", 1))


def _bulk(bed, guest):
    began = time.monotonic()
    run_checked(guest, "bulk --bytes 4m >/dev/null", 200 * bed.scale)
    return time.monotonic() - began


def _storm(bed, command):
    """Runs the command while another guest transfers data."""
    start_peer(bed)
    guest, good = _hostile_guest(bed), bed.shared_guest("good")
    wait_connected(good)
    _bulk(bed, good)
    quiet = _bulk(bed, good)
    storm = guest.start(command)
    storm.wait_line("ready", 60 * bed.scale)
    busy = _bulk(bed, good)
    assert storm.running, "the storm was over too soon"
    # A single slow transfer may be chance.
    for _ in range(4):
        if busy < 8 * quiet + 2:
            break
        again = _bulk(bed, good)
        if not storm.running:
            break
        busy = min(busy, again)
    storm.kill()
    storm.wait_killed(60 * bed.scale)
    if busy >= 8 * quiet + 2:
        # The machine itself may be slower than before.
        quiet = max(quiet, _bulk(bed, good))
    bed.note(f"4 MiB each way: {quiet:.1f} s, in the storm {busy:.1f} s")
    assert busy < 8 * quiet + 2


@timeout(480)
def test_storm(bed):
    """Events without end on both channels: another guest's transfer goes on."""
    _storm(bed, "hostile_rings --cycles 240000 -f storm")


@timeout(480)
def test_storm_of_news(bed):
    """The same with one channel and news for every slot, a hundred of them in use."""
    _storm(bed, "raw_news --cycles 240000 -f storm")


@timeout(200)
def test_gone_without_a_word(bed):
    """The guest's state node is removed, or has a value that is no state: the backend removes its device, and a new
    one works."""
    start_peer(bed)
    guest, good = _hostile_guest(bed), Neighbour(bed)
    for number in range(10):
        guest.ktap(f"hostile_link -t state_removed --seed {number}")
        bed.xenstore.rm(f"/local/domain/{guest.domid}/device/xensock/0")
        guest.attach()
    guest.ktap("hostile -t connect_twice")
    good.check(bed)


@timeout(300)
def test_never_closes(bed):
    """The guest does not answer when told to close: the toolstack removes the device anyway."""
    start_peer(bed)
    guest = _hostile_guest(bed)
    wait_connected(bed.shared_guest("good"))
    before, good = bed.quiet_snapshot(), Neighbour(bed)
    program = guest.start("hostile_link -f stubborn")
    program.wait_line("ready", 60 * bed.scale)
    guest.detach()
    rc, out = program.wait(120 * bed.scale)
    assert rc == 0, out
    good.check(bed)
    leaks = wait_released(bed, before)
    assert not leaks, f"dom0 has kept (before, after): {leaks}"
    guest.attach()
    guest.ktap("hostile -t connect_twice")
