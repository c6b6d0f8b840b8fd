# SPDX-License-Identifier: GPL-2.0
"""A backend that breaks every rule of the protocol: programs in the guest get errors, and the guest
recovers."""

import signal
from concurrent.futures import ThreadPoolExecutor

from bed import timeout
from job import CommandTimeout
from scenarios.common import (
    run_checked, silent, start_peer, unload, wait_connected, wait_disconnected, wait_link, without_driver)

# Misdeeds of a backend, grouped by what a waiting program must see.
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
# Bad frames for a datagram socket, and frames with bad errors, which still are errors.
_FRAMES = ("type", "type-huge", "len", "len-max", "len-wrap", "header", "tail", "odd", "addr-len",
           "addr-short", "addr-huge", "addr-family", "addr-other", "error-len", "prod-far", "prod-back",
           "info-flags", "info-local", "info-local-other", "info-to", "info-to-other", "info-none",
           "info-half", "info-wrap", "report-origin", "report-offender", "report-offender-other",
           "report-other", "report-half")
_ERRORS = ("error-0", "error-unknown", "error-again", "error-minus")
_GROWTHS = ("gone", "in", "window", "skip")
_HANGS = ("never", "release-first", "scribble", "storm", "versions-list", "order-99", "event-2",
          "news-all", "news-scribble")


class _Case:
    """A misdeed of a backend, and what a program that the guest runs meanwhile must see."""

    def __init__(self, how, check, program="fetch", seconds=60, shows=None):
        """check: gets what the backend says, the program's exit status and its output. The program is killed after
        these seconds. shows: how a line begins by which the backend shows that it could do it."""
        self.how, self.check, self.program, self.seconds, self.shows = how, check, program, seconds, shows
        self.links = 0

    def run(self, bed, guest):
        """Runs it in the place of the guest's backend. Returns True if all is as it must be."""
        for _ in range(3):
            self.links += 1
            state, *outcome = _run_fault(bed, guest, self.how, self.program, self.seconds, self.shows)
            # On a busy machine a program may be killed before the backend could do anything.
            if "without" not in state:
                break
        return self.check(state, *outcome)


def _cases(faults, *check, **more):
    return [_Case(how, *check, **more) for how in faults]


def _run_fault(bed, guest, how, program="fetch", seconds=60, shows=None):
    """Runs one misdeed of a backend. Returns the outcome of the guest's program, with its exit
    status."""
    back = bed.start(f"hostile_back {guest.domid} {how}")
    try:
        # It waits a minute for each of three steps of the frontend.
        back.wait_line("", 200 * bed.scale)
        state = back.lines[0]
    except CommandTimeout:
        state = "silent"
    # If the program survives the signal, it sleeps uninterruptibly.
    rc, out = guest.run(f"timeout -s KILL {seconds * bed.scale} {program} 2>&1", (seconds + 30) * bed.scale)
    back.kill(signal.SIGTERM)
    back.wait(60 * bed.scale)
    if shows and not any(line.startswith(shows) for line in back.lines):
        state = f"{state} without {shows}"
    bed.note(f"{how}: {state}, {program} {rc} {out.strip()}")
    return state, rc, out


def guest_in_dom0(bed, **options):
    """Returns a guest that a backend of dom0 may misuse or a good backend may serve."""
    start_peer(bed, where=bed)
    return bed.shared_guest("misused", in_dom0=True, **options)


def _guest_log(guest):
    return run_checked(guest, "dmesg | grep xensock").splitlines()


def _reload(guest):
    """Reloads the guest's module once there is a good backend. Each socket holds the module: none is left."""
    wait_link(guest)
    unload(guest, "xensock")
    run_checked(guest, "modprobe xensock")
    wait_link(guest)


def _check_faults(bed, *cases):
    """Runs misdeeds, in two guests side by side. In the end a good backend comes, and all works."""
    guests = bed.at_once(lambda: guest_in_dom0(bed), lambda: bed.shared_guest("misused2", in_dom0=True))
    waiting = [case for group in cases for case in group]
    waiting.reverse()

    def misuse(guest):
        wait_connected(guest)
        with without_driver(bed, guest):
            before, count, failed = len(_guest_log(guest)), 0, []
            while waiting:
                case = waiting.pop()
                if not case.run(bed, guest):
                    failed.append(case.how)
                count += case.links
            log = _guest_log(guest)[before:]
        _reload(guest)
        return count, failed, log

    with ThreadPoolExecutor(len(guests)) as pool:
        results = list(pool.map(misuse, guests))
    for count, failed, log in results:
        for line in log[:12]:
            bed.note(line)
        # "connected to domain 0", and one more line.
        assert len(log) <= 2 * count, f"{len(log)} lines for {count} links"
        assert not failed, f"not as they should be: {failed}"


def _is_error(state, rc, _):
    return state == "ready" and rc == 1


def _has_ended(state, rc, _):
    return state == "ready" and rc == 0


def _has_printed(*words):
    return lambda state, rc, out: state == "ready" and out.split() == list(words)


@timeout(900)
def test_breaks_the_link(bed):
    """An offer that is nonsense, responses to nothing, impossible contents, indexes and error words, a backend that
    disappears: the program gets an error at once. The failure of a connection, without the end of the bytes before it:
    recv() returns the failure, and then 0. No response, or far too many: the program can be killed."""
    _check_faults(bed, _cases(_HANGS, lambda state, rc, _: state == "ready" and rc in (1, 137), "fetch", 1),
                  _cases(_OFFERS, lambda state, rc, _: state == "refused, state 5" and rc == 1),
                  _cases(_ANSWERS + _RINGS + _STATES, _is_error),
                  _cases(["out-error-first"], _has_printed("ECONNRESET", "0", "ECONNRESET", "ECONNRESET"), "failing"))


@timeout(900)
def test_breaks_rings(bed):
    """Invalid frames end the socket that gets them, and no other. Invalid errors of datagrams are errors, and the
    socket goes on. Well-formed frames with more than addresses, or more on an error, are accepted. Errors without end:
    recv() still ends at its timeout, and by a signal. An error is in the error queue before its event comes. Sending to
    a full ring waits, or returns EAGAIN, and goes on when there is room.

    Kept rings that are spoiled or never released: programs and the guest go on. GROW is answered against the rules, or
    memory is switched that does not exist: the program is told. GROW is refused, or never answered: sending goes on as
    before."""
    def goes_on(state, rc, _):
        return state == "ready" and rc in (1, 137)

    # The first program is killed and leaves its ring to the second, or to none in the time that spare rings are kept.
    _check_faults(bed, _cases(["reuse-deaf"], goes_on,
                              "sh -c 'timeout -s KILL 4 fetch; sleep 3; timeout -s KILL 1 fetch'", shows="UNMAP"),
                  _cases(("reuse-early", "reuse-scribble"), goes_on,
                         "sh -c 'timeout -s KILL 4 fetch; fetch'", 6, shows="kept"),
                  _cases([f"resize-{how}" for how in _GROWTHS], _is_error, "pour --bytes 16m", shows="GROW"),
                  _cases(["resize-refuse", "resize-deaf"], _has_ended, "pour --bytes 2m", shows="GROW"),
                  _cases([f"frame-{how}" for how in _FRAMES], _has_printed("ECONNABORTED", "5"), "knock"),
                  _cases([f"frame-{how}" for how in _ERRORS], _has_printed("EIO", "5"), "knock"),
                  _cases(["frame-report-good"], _has_printed("ECONNREFUSED", "5"), "knock"),
                  _cases(["frame-report-quiet"], _has_printed("5"), "reported"),
                  _cases(["frame-flood"], _has_printed(*["EAGAIN"] * 5, "0", "EINTR"), "flooded", shows="flooded"),
                  _cases(["frame-info-good"], _has_printed("5", "5"), "knock"),
                  _cases(["frame-stall"], _has_ended, "datagram_full"))


@timeout(400)
def test_spoils_a_frame(bed):
    """A datagram that has arrived and is written over, before the link goes down: recv() waits for another."""
    guest = guest_in_dom0(bed)
    with silent(bed, guest, "frame-spoilt", "hostile_back") as back:
        program = guest.start("exec spoilt")
        program.wait_line("arrived", 60 * bed.scale)
        back.kill(signal.SIGUSR1)
        rc, out = program.wait(60 * bed.scale)
    assert (rc, out.split()) == (0, ["arrived", "EAGAIN"]), (rc, out)


@timeout(300)
def test_goes_while_it_grows(bed):
    """A send() that waits a moment for GROW to be answered: the program is killed or the link goes down, the
    call returns what was taken before, and nothing is left."""
    guest = guest_in_dom0(bed)
    wait_connected(guest)
    with without_driver(bed, guest):
        # It may have waited long enough before the link is down, which the next call tells.
        for how, action, expected in (("resize-late", "kill", "killed"), ("resize-late", "unbind", "ECONNRESET"),
                                      ("resize-vanish", "nothing", "ECONNRESET")):
            for _ in range(6):
                state, rc, out = _run_fault(bed, guest, how, f"growing {action}")
                assert (state, rc) == ("ready", 0), (how, action, state, rc, out)
                *taken, result = out.split()
                assert not taken or 0 < int(taken[0]) < 1 << 20, out
                if result == expected:
                    break
            assert result == expected, (how, action, out)
    _reload(guest)


@timeout(400)
def test_users_take_turns(bed):
    """A user whose requests wait for slots of the commands ring, however many, keeps no other user waiting."""
    guest = guest_in_dom0(bed)
    with silent(bed, guest, "slots", "hostile_back") as back:
        asking = guest.start("exec asking --sockets 80")
        back.wait_line("full", 60 * bed.scale)
        asking.wait_line("asking", 60 * bed.scale)
        back.kill(signal.SIGUSR1)
        after = int(back.wait_line("other after ", 60 * bed.scale).split()[2])
        bed.note(f"{after} of the first user's were answered before the other was heard")
        rc, out = asking.wait(60 * bed.scale)
    assert (rc, out.split()) == (0, ["asking", "connected"]), (rc, out)
    assert after <= 2, after


@timeout(400)
def test_leaves_a_call_waiting(bed):
    """A lost socket whose call waits for the backend keeps no other from being set up again, and follows
    when the call ends."""
    guest = guest_in_dom0(bed)
    with silent(bed, guest, "call") as back:
        inquiring = guest.start("exec inquire")
        inquiring.wait_line("bound", 60 * bed.scale)
        back.kill(signal.SIGUSR1)
        for line in ("again", "others", "all"):
            back.wait_line(line, 200 * bed.scale)
        inquiring.kill()
        inquiring.wait(60 * bed.scale)


@timeout(400)
def test_never_lets_go(bed):
    """close() of a listener waits for the backend. A killed program or one that exits does not."""
    guest = guest_in_dom0(bed)
    with silent(bed, guest, "deaf", "hostile_back"):
        # Exiting closes the sockets of the program.
        out = run_checked(guest, "attempt listeners 0.0.0.0 --sockets 2", 60 * bed.scale)
        assert out.split() == ["2", "ok"], out
        closing = guest.start("attempt serve 0.0.0.0 8000 0.0.0.0 8001")
        closing.wait_line("ok", 60 * bed.scale)
        killed = guest.start("attempt serve 0.0.0.0 8002 0.0.0.0 8003")
        killed.wait_line("ok", 60 * bed.scale)
        run_checked(guest, "sleep 1")
        assert killed.running and killed.lines == ["ok"], killed.output
        killed.kill()
        killed.wait(60 * bed.scale)
        assert closing.running and closing.lines == ["ok"], closing.output
    # The end of the link ends everything on it.
    _, out = closing.wait(60 * bed.scale)
    assert len(out.split()) == 2, out


@timeout(400)
def test_never_accepts(bed):
    """poll() and a nonblocking accept() do not wait for ever for a response to ACCEPT, nor again and
    again. The connection that comes later wakes the program, and accept() returns it at once."""
    guest = guest_in_dom0(bed)
    with silent(bed, guest, "accept") as back:
        server = guest.start("exec unaccepted")
        server.wait_line("none", 60 * bed.scale)
        back.kill(signal.SIGUSR1)
        server.wait_line("accepted", 60 * bed.scale)


@timeout(400)
def test_takes_a_connection_back(bed):
    """A nonblocking accept() that waits for a connection goes on when the backend has none any more."""
    guest = guest_in_dom0(bed)
    with silent(bed, guest, "coming"):
        longest = min(int(run_checked(guest, "unaccepted often", 90 * bed.scale)) for _ in range(2))
    # A few may be so long on a busy machine.
    assert longest <= 5, longest


@timeout(400)
def test_is_late_with_a_connection(bed):
    """accept() whose timeout ends while the backend has a connection returns it, and not EAGAIN."""
    guest = guest_in_dom0(bed)
    with silent(bed, guest, "late"):
        out = run_checked(guest, "unaccepted late", 60 * bed.scale)
    assert out.split() == ["accepted"], out


def _pvcalls_guest(bed):
    """Returns a guest with a device of type pvcalls that a backend of dom0 may misuse."""
    start_peer(bed, where=bed)
    guest = bed.shared_guest("robbed", in_dom0=True, device="pvcalls", backend="xensock_back", vcpus=2)
    wait_connected(guest)
    return guest


@timeout(400)
def test_one_poll_at_a_time(bed):
    """Several threads in accept() request one connection at a time from a backend of PV Calls."""
    guest = _pvcalls_guest(bed)
    with silent(bed, guest, "crowd", "pvcalls_back") as back:
        server = guest.start("exec accepting --sockets 300")
        server.wait_line("accepted", 60 * bed.scale)
        server.kill(signal.SIGUSR1)
        server.wait_line("bound", 60 * bed.scale)
        assert "two at once" not in back.lines, back.lines


@timeout(400)
def test_loses_a_connection(bed):
    """A backend of PV Calls that has lost the connection which it has reported. Closing the listener
    ends the ACCEPT and frees the address."""
    guest = _pvcalls_guest(bed)
    for ends in (lambda server: server.kill(signal.SIGUSR1), lambda server: server.kill()):
        with silent(bed, guest, "robbed", "pvcalls_back") as back:
            server = guest.start("exec accepting --sockets 0")
            server.wait_line("accepted", 60 * bed.scale)
            back.wait_line("ACCEPT", 60 * bed.scale)
            ends(server)
            back.wait_line("itself", 60 * bed.scale)
            back.wait_line("RELEASE", 60 * bed.scale)
            server.wait(60 * bed.scale)
            assert server.lines[1:] in ([], ["closed", "bound"]), server.lines


@timeout(400)
def test_keeps_an_accept(bed):
    """A closed listener that a backend of PV Calls cannot release delays no other socket."""
    guest = _pvcalls_guest(bed)
    with silent(bed, guest, "stubborn", "pvcalls_back") as back:
        server = guest.start("exec accepting --sockets 0")
        back.wait_line("ACCEPT", 60 * bed.scale)
        server.kill(signal.SIGUSR1)
        back.wait_line("itself", 60 * bed.scale)
        assert run_checked(guest, "attempt connect 192.0.2.1 7001").split() == ["ECONNREFUSED"]
        server.kill()
        assert run_checked(guest, "attempt connect 192.0.2.1 7001").split() == ["ECONNREFUSED"]
        assert "RELEASE" not in back.lines, back.lines


@timeout(400)
def test_takes_too_much(bed):
    """A datagram socket that is closed while its backend claims to have taken more than was sent leaves
    nothing behind on the link."""
    guest = guest_in_dom0(bed)
    with silent(bed, guest, "taken"):
        run_checked(guest, "closer sent --sockets 5", 60 * bed.scale)
        wait_disconnected(guest)


@timeout(400)
def test_delays_no_other_file(bed):
    """A kernel thread that closes a datagram socket, and all other files that are closed so late, does
    not wait for the backend."""
    guest = guest_in_dom0(bed)
    with silent(bed, guest, "release") as back:
        cycle = guest.start("exec closer cycle")
        back.wait_line("RELEASE", 60 * bed.scale)
        run_checked(guest, "closer pipe", 60 * bed.scale)
        cycle.kill()
        cycle.wait(60 * bed.scale)


@timeout(300)
def test_releases_nothing(bed):
    """A program that has no grants for a further connection waits until the backend has released the socket for it, and
    can be killed: it does not queue requests without end."""
    start_peer(bed, where=bed)
    guest = bed.guest("poor", in_dom0=True, config="max_grant_frames = 2")
    with silent(bed, guest, "release") as back:
        crowd = guest.start("exec attempt crowd 192.0.2.1 7001 --sockets 1000")
        back.wait_line("RELEASE", 60 * bed.scale)
        run_checked(guest, "until grep -q ') D ' /proc/$(pidof attempt)/stat; do usleep 100000; done", 60 * bed.scale)
        assert back.lines.count("RELEASE") == 1, back.lines
        crowd.kill()
        rc, out = crowd.wait(60 * bed.scale)
        assert rc != 0 and not out, (rc, out)
