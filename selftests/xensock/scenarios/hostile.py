# SPDX-License-Identifier: GPL-2.0
"""A guest that breaks every rule of the protocol, beside one that keeps them."""

import time

from bed import timeout
from scenarios.common import must, peer, settled, wait_connected

# How many sockets the guest may have that asks for too many.
LIMIT = 200

# The kernel module of the good guest says nothing else of itself.
_GOOD = "while :; do fetch >/dev/null && echo good || echo bad; usleep 100000; done"


class Neighbour:
    """Another guest, whose connections go on working whatever the first one does."""

    def __init__(self, bed):
        self.guest = bed.shared_guest("good")
        wait_connected(self.guest)
        self._job = self.guest.start(_GOOD)
        self._job.wait_line("good", 20 * bed.scale)

    def verdict(self, bed):
        """It has never failed, and is still at it."""
        lines = len(self._job.lines)
        until = time.monotonic() + 20 * bed.scale
        while len(self._job.lines) < lines + 3 and time.monotonic() < until:
            time.sleep(0.1)
        assert len(self._job.lines) >= lines + 3, "the other guest's connections hang"
        bad = [line for line in self._job.lines if line != "good"]
        assert not bad, f"the other guest's connections have failed: {bad[:5]}"
        self._job.kill()


def _evil(bed):
    return bed.shared_guest("evil", modules=[], vcpus=2)


def _hoarder(bed):
    """One whose limit is soon met."""
    return bed.shared_guest("hoarder", modules=[], vcpus=2, policy=(f"max-sockets={LIMIT}", "bind-allow=udp:0"))


def said(bed, guest):
    """What the backend's driver has logged of a guest."""
    _, log = bed.host.run(f"dmesg | grep 'xensock[- _].*\\b{guest.domid}-0\\b'")
    return log.splitlines()


def _batch(bed, command, lines, seconds=300, guest=None):
    """One program of a hostile guest: what dom0 keeps of it, and says of it."""
    peer(bed)
    guest = guest or _evil(bed)
    wait_connected(bed.shared_guest("good"))
    # Before the neighbour has connections: they are gone when it is asked for its verdict.
    before, lines_before = bed.at_rest(), len(said(bed, guest))
    good = Neighbour(bed)
    guest.ktap(command, seconds * bed.scale)
    good.verdict(bed)
    off = settled(bed, before)
    assert not off, f"dom0 has kept (before, after): {off}"
    log = said(bed, guest)[lines_before:]
    for line in log[:20]:
        bed.note(line)
    bed.note(f"{len(log)} lines in dom0's log")
    assert len(log) <= lines, f"dom0's log has {len(log)} lines for this"


@timeout(400)
def test_requests(bed):
    """Malformed requests, and too many of them: answered, and nothing is logged."""
    _batch(bed, f"hostile --sockets {LIMIT}", 0, guest=_hoarder(bed))


@timeout(400)
def test_grants(bed):
    """Grants and event channels that are none, or too many: answered, and nothing stays mapped."""
    _batch(bed, "hostile_grants", 1)


@timeout(400)
def test_rings(bed):
    """Impossible indexes, memory that changes: a line for each link at the most."""
    _batch(bed, f"hostile_rings --cycles {bed.pick(daily=800, slow=2000, debug=2000)}", 30)


@timeout(400)
def test_datagrams(bed):
    """Frames that are none, too many sockets: a line for each link at the most."""
    _batch(bed, f"hostile_datagram --sockets {LIMIT}", 40, guest=_hoarder(bed))


@timeout(400)
def test_xenstore(bed):
    """Absurd nodes, impossible states, memory that goes: few lines for many links."""
    _batch(bed, "hostile_link -f nodes", 60)


def _bulk(bed, guest):
    began = time.monotonic()
    must(guest, "bulk --bytes 4m >/dev/null", 200 * bed.scale)
    return time.monotonic() - began


def _storm(bed, command):
    """A transfer of another guest goes on meanwhile."""
    peer(bed)
    guest, good = _evil(bed), bed.shared_guest("good")
    wait_connected(good)
    _bulk(bed, good)
    quiet = _bulk(bed, good)
    storm = guest.start(command)
    time.sleep(1)
    stormy = _bulk(bed, good)
    assert storm.running, "the storm was over too soon"
    storm.kill()
    bed.note(f"4 MiB each way: {quiet:.1f} s, in the storm {stormy:.1f} s")
    assert stormy < 8 * quiet + 2


@timeout(300)
def test_storm(bed):
    """Events without end on both channels: another guest's transfer goes on."""
    _storm(bed, "hostile_rings --cycles 60000 -f storm")


@timeout(300)
def test_storm_of_news(bed):
    """The same with one channel, and news of every slot that there is, a hundred of them in use."""
    _storm(bed, "raw_news --cycles 60000 -f storm")


@timeout(200)
def test_gone_without_a_word(bed):
    """Its state node goes: the backend removes its device, and a new one works."""
    peer(bed)
    guest, good = _evil(bed), Neighbour(bed)
    for number in range(7):
        guest.ktap(f"hostile_link -t state_removed --seed {number}")
        bed.xenstore.rm(f"/local/domain/{guest.domid}/device/xensock/0")
        guest.attach()
    guest.ktap("hostile -t connect_twice")
    good.verdict(bed)


@timeout(300)
def test_never_closes(bed):
    """Told to close, it does not answer: the toolstack takes the device away all the same."""
    peer(bed)
    guest = _evil(bed)
    wait_connected(bed.shared_guest("good"))
    before, good = bed.at_rest(), Neighbour(bed)
    stubborn = guest.start("hostile_link -f stubborn")
    stubborn.wait_line("ready", 20 * bed.scale)
    guest.detach()
    rc, out = stubborn.wait(120 * bed.scale)
    assert rc == 0, out
    good.verdict(bed)
    off = settled(bed, before)
    assert not off, f"dom0 has kept (before, after): {off}"
    guest.attach()
    guest.ktap("hostile -t connect_twice")
