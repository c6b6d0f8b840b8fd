# SPDX-License-Identifier: GPL-2.0
"""A guest that breaks every rule of the protocol, beside one that keeps them."""

import re
import signal
import time

from bed import timeout
from scenarios.common import must, peer, settled, unload, wait_link

# The kernel module of the good guest says nothing else of itself.
_GOOD = "while :; do fetch >/dev/null && echo good || echo bad; usleep 100000; done"


class Neighbour:
    """Another guest, whose connections go on working whatever the first one does."""

    def __init__(self, bed):
        self.guest = bed.shared_guest("good")
        wait_link(self.guest)
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


def _said(bed, guest):
    """What the backend's driver has logged of a guest."""
    _, log = bed.run("dmesg")
    return [line for line in log.splitlines()
            if re.search(rf"xensock[- _].*\b{guest.domid}-0\b", line)]


def _batch(bed, command, lines, seconds=300):
    """One program of the hostile guest: what dom0 keeps of it, and says of it."""
    peer(bed)
    guest, good = _evil(bed), Neighbour(bed)
    before, said = bed.snapshot(), len(_said(bed, guest))
    guest.ktap(command, seconds * bed.scale)
    good.verdict(bed)
    off = settled(bed, before)
    assert not off, f"dom0 has kept (before, after): {off}"
    said = _said(bed, guest)[said:]
    for line in said[:20]:
        bed.note(line)
    bed.note(f"{len(said)} lines in dom0's log")
    assert len(said) <= lines, f"dom0's log has {len(said)} lines for this"


@timeout(400)
def test_requests(bed):
    """Malformed requests, and too many of them: answered, and nothing is logged."""
    _batch(bed, "hostile", 0)


@timeout(400)
def test_grants(bed):
    """Grants and event channels that are none, or too many: answered, and nothing stays mapped."""
    _batch(bed, "hostile_grants", 1)


@timeout(400)
def test_rings(bed):
    """Impossible indexes, memory that changes: a line for each link at the most."""
    _batch(bed, "hostile_rings --cycles 2000", 30)


@timeout(400)
def test_xenstore(bed):
    """Absurd nodes, impossible states, memory that goes: few lines for many links."""
    _batch(bed, "hostile_link -f nodes", 60)


def _bulk(bed, guest):
    began = time.monotonic()
    must(guest, "bulk --bytes 4m >/dev/null", 200 * bed.scale)
    return time.monotonic() - began


@timeout(300)
def test_storm(bed):
    """Events without end on both channels: another guest's transfer goes on."""
    peer(bed)
    guest, good = _evil(bed), bed.shared_guest("good")
    wait_link(good)
    _bulk(bed, good)
    quiet = _bulk(bed, good)
    storm = guest.start("hostile_rings --cycles 60000 -f storm")
    time.sleep(1)
    stormy = _bulk(bed, good)
    assert storm.running, "the storm was over too soon"
    storm.kill()
    bed.note(f"4 MiB each way: {quiet:.1f} s, in the storm {stormy:.1f} s")
    assert stormy < 8 * quiet + 2


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


# What a backend can do, and whether a program that waits for it has to be told.
_OFFERS = ("versions-2", "versions-none", "versions-empty", "order-0", "order-abc", "order-none",
           "order-minus", "order-huge", "event-abc")
_ANSWERS = ("req-id", "req-id-huge", "req-id-0", "cmd", "cmd-huge", "ret-positive", "ret-max", "ret-min",
            "ret-unknown", "ret-again", "ret-restart", "addr-len", "addr-short", "addr-family",
            "rsp-prod-33", "rsp-prod-far", "rsp-prod-back", "twice")
_RINGS = ("in-prod-1", "in-prod-far", "in-prod-back", "out-cons-1", "out-cons-far", "out-cons-back",
          "in-error-positive", "in-error-min", "in-error-again", "in-error-unknown", "in-error-restart",
          "out-error-positive", "out-error-min", "out-error-unknown")
_STATES = ("closed", "closing", "initialising", "state-77", "state-gone")
_PATIENT = ("never", "release-first", "scribble", "storm", "versions-list", "order-99", "event-2")


def _mislead(bed, guest, how):
    """One misdeed of a backend: what became of the guest's program, by its exit status."""
    back = bed.start(f"hostile_back {guest.domid} {how}")
    until = time.monotonic() + 30 * bed.scale
    while back.running and not back.lines and time.monotonic() < until:
        time.sleep(0.05)
    state = back.lines[0] if back.lines else "silent"
    # If it is still there after the signal, it sleeps where signals do not reach.
    rc, out = guest.run(f"timeout -s KILL {5 * bed.scale} fetch 2>&1", 30 * bed.scale)
    back.kill(signal.SIGTERM)
    back.wait(20 * bed.scale)
    bed.note(f"{how}: {state}, fetch {rc} {out.strip()}")
    return state, rc, out


def _guest_log(guest):
    return [line for line in must(guest, "dmesg").splitlines() if "xensock" in line]


def _backend_batch(bed, deeds, check):
    """A batch of misdeeds; in the end a good backend comes, and all is well."""
    peer(bed)
    guest = bed.shared_guest("prey")
    wait_link(guest)
    unload(bed, "xensock_back")
    said = len(_guest_log(guest))
    wrong = [how for how in deeds if not check(*_mislead(bed, guest, how))]
    said = _guest_log(guest)[said:]
    for line in said[:12]:
        bed.note(line)
    bed.modprobe("xensock_back")
    wait_link(guest)
    # "connected to domain 0", and one more.
    assert len(said) <= 2 * len(deeds), f"{len(said)} lines for {len(deeds)} links"
    assert not wrong, f"not as they should be: {wrong}"


def _is_told(state, rc, _):
    return state == "ready" and rc == 1


@timeout(300)
def test_backend_offers_nonsense(bed):
    """A frontend does not take it, and its programs hear that there is no network."""
    _backend_batch(bed, _OFFERS, lambda state, rc, _: state.startswith("refused") and rc == 1)


@timeout(400)
def test_backend_answers_nonsense(bed):
    """Responses to nothing, with impossible contents: the program has an error at once."""
    _backend_batch(bed, _ANSWERS, _is_told)


@timeout(400)
def test_backend_breaks_rings(bed):
    """Impossible indexes and error words: the program has an error at once."""
    _backend_batch(bed, _RINGS, _is_told)


@timeout(300)
def test_backend_vanishes(bed):
    """The backend goes in the middle of a connect."""
    _backend_batch(bed, _STATES, _is_told)


@timeout(300)
def test_backend_keeps_waiting(bed):
    """Never answered, or all too often: the program can still be killed."""
    _backend_batch(bed, _PATIENT, lambda state, rc, _: state == "ready" and rc in (1, 137))
