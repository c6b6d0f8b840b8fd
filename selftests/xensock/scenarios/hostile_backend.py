# SPDX-License-Identifier: GPL-2.0
"""A backend that breaks every rule of the protocol: the guest's programs are told, and it recovers."""

import signal
import time

from bed import timeout
from scenarios.common import must, peer, unload, wait_connected, wait_link

# What a backend can do, and whether a program that waits for it has to be told.
_OFFERS = ("versions-2", "versions-none", "versions-empty", "order-0", "order-abc", "order-none",
           "order-minus", "order-huge", "event-abc")
_ANSWERS = ("req-id", "req-id-huge", "req-id-0", "cmd", "cmd-huge", "ret-positive", "ret-max", "ret-min",
            "ret-unknown", "ret-again", "ret-restart", "addr-len", "addr-short", "addr-family",
            "rsp-prod-33", "rsp-prod-far", "rsp-prod-back", "twice")
_RINGS = ("in-prod-1", "in-prod-far", "in-prod-back", "out-cons-1", "out-cons-far", "out-cons-back",
          "in-error-positive", "in-error-min", "in-error-again", "in-error-unknown", "in-error-restart",
          "out-error-positive", "out-error-min", "out-error-unknown",
          "status-2", "status-min", "status-again", "status-unknown")
_STATES = ("closed", "closing", "initialising", "state-77", "state-gone")
# Frames for a datagram socket, and those that are errors, if not the ones they say.
_FRAMES = ("type", "type-huge", "len", "len-max", "len-wrap", "header", "tail", "odd", "addr-len",
           "addr-short", "addr-huge", "addr-family", "error-len", "prod-far", "prod-back", "info-flags",
           "info-local", "info-to", "info-none", "info-half", "info-wrap", "report-origin",
           "report-offender", "report-half")
_ERRORS = ("error-0", "error-unknown", "error-again", "error-minus")
_GROWTHS = ("gone", "in", "window", "skip")
_PATIENT = ("never", "release-first", "scribble", "storm", "versions-list", "order-99", "event-2",
            "news-all", "news-scribble")


def _mislead(bed, guest, how, program="fetch", patience=4):
    """One misdeed of a backend: what became of the guest's program, by its exit status."""
    back = bed.start(f"hostile_back {guest.domid} {how}")
    until = time.monotonic() + 30 * bed.scale
    while back.running and not back.lines and time.monotonic() < until:
        time.sleep(0.05)
    state = back.lines[0] if back.lines else "silent"
    # If it is still there after the signal, it sleeps where signals do not reach.
    rc, out = guest.run(f"timeout -s KILL {patience * bed.scale} {program} 2>&1", 30 * bed.scale)
    back.kill(signal.SIGTERM)
    back.wait(20 * bed.scale)
    bed.note(f"{how}: {state}, {program} {rc} {out.strip()}")
    return state, rc, out


def prey(bed, **options):
    """A guest that a backend of dom0 may have, or a good one serves."""
    peer(bed, where=bed)
    return bed.shared_guest("prey", in_dom0=True, **options)


def _guest_log(guest):
    return must(guest, "dmesg | grep xensock").splitlines()


def _backend_batch(bed, deeds, check, program="fetch", patience=4):
    """A batch of misdeeds; in the end a good backend comes, and all is well."""
    guest = prey(bed)
    wait_connected(guest)
    unload(bed, "xensock_back")
    said = len(_guest_log(guest))
    wrong = [how for how in deeds if not check(*_mislead(bed, guest, how, program, patience))]
    said = _guest_log(guest)[said:]
    for line in said[:12]:
        bed.note(line)
    bed.modprobe("xensock_back")
    wait_link(guest)
    # Each socket holds the module: none was left behind.
    unload(guest, "xensock")
    must(guest, "modprobe xensock")
    wait_link(guest)
    # "connected to domain 0", and one more.
    assert len(said) <= 2 * len(deeds), f"{len(said)} lines for {len(deeds)} links"
    assert not wrong, f"not as they should be: {wrong}"


def _is_told(state, rc, _):
    return state == "ready" and rc == 1


@timeout(300)
def test_offers_nonsense(bed):
    """A frontend does not take it, and its programs hear that there is no network."""
    _backend_batch(bed, _OFFERS, lambda state, rc, _: state.startswith("refused") and rc == 1)


@timeout(400)
def test_answers_nonsense(bed):
    """Responses to nothing, with impossible contents: the program has an error at once."""
    _backend_batch(bed, _ANSWERS, _is_told)


@timeout(400)
def test_breaks_rings(bed):
    """Impossible indexes and error words: the program has an error at once."""
    _backend_batch(bed, _RINGS, _is_told)


@timeout(400)
def test_frames_nonsense(bed):
    """Frames that are none end the socket that gets them, and no other."""
    _backend_batch(bed, [f"frame-{how}" for how in _FRAMES],
                   lambda state, rc, out: state == "ready" and out.split() == ["ECONNABORTED", "5"],
                   "knock")


@timeout(180)
def test_errors_nonsense(bed):
    """Errors of datagrams that are none are errors, and the socket goes on."""
    _backend_batch(bed, [f"frame-{how}" for how in _ERRORS],
                   lambda state, rc, out: state == "ready" and out.split() == ["EIO", "5"], "knock")


@timeout(180)
def test_says_more_of_errors(bed):
    """Frames that say more of an error than its number, which are well formed, are that error."""
    _backend_batch(bed, ["frame-report-good"],
                   lambda state, rc, out: state == "ready" and out.split() == ["ECONNREFUSED", "5"], "knock")


@timeout(180)
def test_says_more_of_datagrams(bed):
    """Frames that say more than addresses, which are well formed, are taken for what they are."""
    _backend_batch(bed, ["frame-info-good"],
                   lambda state, rc, out: state == "ready" and out.split() == ["5", "5"], "knock")


@timeout(180)
def test_takes_no_datagrams(bed):
    """A full ring: sending waits, or says EAGAIN, and goes on when there is room."""
    _backend_batch(bed, ["frame-stall"], lambda state, rc, _: state == "ready" and rc == 0,
                   "datagram_full")


@timeout(300)
def test_vanishes(bed):
    """The backend goes in the middle of a connect."""
    _backend_batch(bed, _STATES, _is_told)


@timeout(200)
def test_breaks_kept_rings(bed):
    """Rings that are to be used again, spoiled or never let go: programs go on, and so does the guest."""
    # The first is killed, and leaves its ring to the second.
    program = "sh -c 'timeout -s KILL 1 fetch; fetch'"
    _backend_batch(bed, ("reuse-deaf", "reuse-early", "reuse-scribble"),
                   lambda state, rc, _: state == "ready" and rc in (1, 137), program, patience=2)


@timeout(300)
def test_breaks_rings_that_grow(bed):
    """GROW is answered against the rules, or memory changed that there is none of: the program is told."""
    _backend_batch(bed, [f"resize-{how}" for how in _GROWTHS],
                   lambda state, rc, _: state == "ready" and rc == 1, "pour --bytes 16m", patience=20)


@timeout(300)
def test_grows_no_ring(bed):
    """GROW is refused, or never answered: what is sent goes on as before."""
    _backend_batch(bed, ["resize-refuse", "resize-deaf"],
                   lambda state, rc, _: state == "ready" and rc == 0, "pour --bytes 2m", patience=25)


@timeout(200)
def test_never_lets_go(bed):
    """close() of a listener waits for the backend; who is killed does not, nor a program that exits."""
    guest = prey(bed)
    wait_connected(guest)
    unload(bed, "xensock_back")
    back = bed.start(f"hostile_back {guest.domid} deaf")
    back.wait_line("ready", 30 * bed.scale)
    # Its sockets are closed by its exit.
    must(guest, "attempt listeners 0.0.0.0 --sockets 2", 20 * bed.scale)
    closing = guest.start("attempt serve 0.0.0.0 8000 0.0.0.0 8001")
    closing.wait_line("ok", 20 * bed.scale)
    rc, out = guest.run("timeout -s KILL 3 attempt serve 0.0.0.0 8002 0.0.0.0 8003", 20 * bed.scale)
    assert (rc, out.split().count("ok")) == (137, 1), f"it did not wait: {rc}: {out}"
    assert closing.running and closing.lines == ["ok"], closing.output
    # The end of the link is the end of all that it had.
    back.kill(signal.SIGTERM)
    rc, out = closing.wait(20 * bed.scale)
    assert len(out.split()) == 2, out
    back.wait(20 * bed.scale)
    bed.modprobe("xensock_back")
    wait_link(guest)


@timeout(300)
def test_keeps_waiting(bed):
    """Never answered, or all too often: the program can still be killed."""
    _backend_batch(bed, _PATIENT, lambda state, rc, _: state == "ready" and rc in (1, 137), patience=1)
