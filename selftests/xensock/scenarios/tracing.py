# SPDX-License-Identifier: GPL-2.0
"""Trace events: exact events for exact actions, in both domains."""

import re
import signal
import time
from contextlib import contextmanager

from bed import timeout
from scenarios.common import (
    SERVER_POLICY, SETTINGS, hijacked, run_checked, start_peer, unload, wait_connected, wait_link)

TRACING = "/sys/kernel/tracing"
SYSTEM = f"{TRACING}/events/xensock"

# Event of a connected socket when the backend is taken away.
LOST = {"error": "-104", "what": "the link is down"}


@contextmanager
def _traced(bed, *places):
    """Traces all our events in these domains inside the block."""
    for where in places:
        rc, _ = where.run(f"[ -d {TRACING}/events ] || mount -t tracefs tracefs {TRACING}")
        if rc:
            bed.skip("this kernel has no tracing")
        run_checked(where, f"echo >{TRACING}/trace; echo 1 >{SYSTEM}/enable")
    try:
        yield
    finally:
        for where in places:
            run_checked(where, f"[ ! -e {SYSTEM} ] || echo 0 >{SYSTEM}/enable")


def _events(where):
    """Returns the names and fields of all events so far."""
    found = re.findall(r": (xensock_\w+): (.*)", run_checked(where, f"cat {TRACING}/trace"))
    return [(name, dict(field.split("=", 1) for field in re.split(r" (?=\w+=)", text.strip())))
            for name, text in found]


def _select(events, name, **fields):
    """Returns the events of that name with these fields."""
    return [event for kind, event in events if kind == f"xensock_{name}" and event.items() >= fields.items()]


def _wait_events(where, name, expected, **fields):
    """Waits for that many events. Returns all events."""
    deadline = time.monotonic() + 60 * where.scale
    while len(_select(events := _events(where), name, **fields)) < expected:
        assert time.monotonic() < deadline, f"not {expected} of {name} {fields}: {events}"
        time.sleep(0.2)
    return events


def _guest(bed):
    guest = bed.shared_guest(policy=SERVER_POLICY)
    start_peer(bed)
    wait_connected(guest)
    return guest


def _without_device(event):
    """Returns the backend's version of an event: it does not know the guest's name of the device."""
    return {name: value for name, value in event.items() if name != "device"}


def _select_one(events, name, **fields):
    found = _select(events, name, **fields)
    assert len(found) == 1, f"not one {name} {fields}: {events}"
    return found[0]


@timeout(240)
def test_connect(bed):
    """A connect() that works and one that fails: each command and the result, the same in both
    domains."""
    guest = _guest(bed)
    domid = str(guest.domid)
    with _traced(bed, guest, bed):
        assert run_checked(guest, "attempt connect 192.0.2.1 7001 192.0.2.1 1").split() == ["ok", "ECONNREFUSED"]
        works = _select_one(_events(guest), "connect", peer="192.0.2.1:7001")
        fails = _select_one(_events(guest), "connect", peer="192.0.2.1:1")
        for ends in (works, fails):
            _wait_events(guest, "response", 1, command="RELEASE", id=ends["id"])
            _wait_events(bed, "back_command", 1, command="RELEASE", id=ends["id"], guest=domid)
        front, back = _events(guest), _events(bed)
    assert works["error"] == "0" and fails["error"] == "-111", (works, fails)
    assert re.fullmatch(r"192\.0\.2\.1:[1-9]\d+", works["local"]), works
    for number in (works["id"], fails["id"]):
        asked = _select(front, "request", id=number)
        assert [one["command"] for one in asked] == ["SOCKET", "CONNECT", "RELEASE"], asked
        for request in asked:
            _select_one(front, "response", error="0", **request)
            _select_one(back, "back_command", guest=domid, error="0", **request)
        assert len(_select(back, "back_command", id=number, guest=domid)) == 3, back
    _select_one(back, "back_connect", guest=domid, **_without_device(works))
    seen = _select_one(back, "back_connect", guest=domid, id=fails["id"])
    assert (seen["peer"], seen["error"]) == ("192.0.2.1:1", "-111"), seen
    # dom0 has events of other guests, too.
    for events in (front, [(name, event) for name, event in back if event["guest"] == domid]):
        assert not [name for name, _ in events if name.endswith(("_error", "_link", "_accept"))], events


@timeout(240)
def test_accept(bed):
    """A connection between two sockets of the guest: the addresses in both domains."""
    guest = _guest(bed)
    with _traced(bed, guest, bed):
        assert run_checked(guest, "attempt talk 192.0.2.1 8000").split() == ["ok"]
        front, back = _events(guest), _events(bed)
    client = _select_one(front, "connect")
    server = _select_one(front, "accept", error="0")
    assert (client["peer"], client["error"]) == ("192.0.2.1:8000", "0"), client
    assert (server["local"], server["peer"]) == (client["peer"], client["local"]), (client, server)
    domid = str(guest.domid)
    _select_one(back, "back_accept", guest=domid, **_without_device(server))
    _select_one(back, "back_connect", guest=domid, **_without_device(client))
    assert len(_select(back, "back_accept", guest=domid)) == 1, back


@timeout(240)
def test_decision(bed):
    """Decisions about sockets of AF_INET: the reason, and the address concerned."""
    guest = _guest(bed)
    before = run_checked(guest, f"cat {SETTINGS}/decisions")
    with hijacked(guest, exempt_destinations="127.0.0.0/8"):
        with _traced(bed, guest):
            tries = "attempt --family inet connect 192.0.2.1 7001 127.0.0.1 1 192.0.2.1 1"
            assert run_checked(guest, tries).split() == ["ok", "ECONNREFUSED", "ECONNREFUSED"]
            events = _events(guest)
        run_checked(guest, f"echo >{SETTINGS}/exempt_destinations")
    decisions = _select(events, "decision")
    assert decisions == [
        {"reason": "xensock", "transport": "tcp", "addr": "192.0.2.1:7001"},
        {"reason": "exempt-destination", "transport": "tcp", "addr": "127.0.0.1:1"},
    ], decisions
    # Each counted decision has an event.
    after = run_checked(guest, f"cat {SETTINGS}/decisions")
    grown = [(old, new) for old, new in zip(before.split(), after.split()) if old != new]
    assert [new.split("=")[0] for _, new in grown] == ["xensock", "exempt-destination"], grown


@timeout(240)
def test_link(bed):
    """The link goes and comes back with a socket open: both ends report it, and the end of the
    socket."""
    guest = _guest(bed)
    domid = str(guest.domid)
    with _traced(bed, guest, bed):
        kept = guest.start("attempt keep 192.0.2.1 7001")
        kept.wait_line("ok")
        guest.detach()
        _wait_events(guest, "link", 1, state="lost")
        guest.attach("xensock", *SERVER_POLICY)
        wait_link(guest)
        front, back = _events(guest), _events(bed)
        kept.kill()
    held = _select(front, "connect")[0]
    assert held["peer"] == "192.0.2.1:7001", held
    assert _select(front, "error") == [dict(LOST, id=held["id"])], front
    links = [{"state": state, "error": "0"} for state in ("lost", "connected")]
    assert _select(front, "link") == [dict(link, device="xensock-0", backend="0") for link in links], front
    assert _select(back, "back_link", guest=domid) == [dict(link, guest=domid) for link in links], back


@timeout(240)
def test_misdeeds(bed):
    """A backend breaks the rules of a ring: the event names the socket, or the link."""
    guest = _guest(bed)
    unload(bed, "xensock_back")
    try:
        with _traced(bed, guest):
            _run_fault(bed, guest, "in-prod-far")
            events = _wait_events(guest, "link", 1, state="lost")
            bad = _select_one(events, "error")
            assert bad == {"id": _select_one(events, "connect", error="0")["id"], "error": "-103",
                           "what": "impossible index or frame in a data ring, socket reset"}, bad
            assert not _select(events, "link", state="failed"), events

            run_checked(guest, f"echo >{TRACING}/trace")
            _run_fault(bed, guest, "req-id")
            events = _wait_events(guest, "link", 1, state="failed")
            assert _select_one(events, "link", state="failed") == \
                {"device": "xensock-0", "backend": "0", "state": "failed", "error": "-71"}, events
    finally:
        bed.modprobe("xensock_back")
        wait_link(guest)


def _run_fault(bed, guest, how):
    """Such a backend serves the guest's program, and ends."""
    back = bed.start(f"hostile_back {guest.domid} {how}")
    back.wait_line("ready", 60 * bed.scale)
    rc, out = guest.run(f"timeout -s KILL {60 * bed.scale} fetch 2>&1", 90 * bed.scale)
    assert rc == 1, out
    back.kill(signal.SIGTERM)
    back.wait(60 * bed.scale)


@timeout(240)
def test_refused(bed):
    """The address that was refused, in both domains."""
    guest = _guest(bed)
    with _traced(bed, guest, bed):
        assert run_checked(guest, "attempt connect 127.0.0.1 80").split() == ["EACCES"]
        front, back = _events(guest), _events(bed)
    failed = _select_one(front, "connect")
    assert (failed["peer"], failed["error"]) == ("127.0.0.1:80", "-13"), failed
    domid = str(guest.domid)
    _select_one(back, "back_command", guest=domid, command="CONNECT", error="-13", id=failed["id"])
    assert _select(back, "refused", guest=domid) == [{"guest": domid, "reason": "connect", "error": "-13",
                                                      "addr": "127.0.0.1:80"}], back
