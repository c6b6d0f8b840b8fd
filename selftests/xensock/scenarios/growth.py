# SPDX-License-Identifier: GPL-2.0
"""Data rings that grow while a connection is busy and shrink when it is idle."""

import time

from bed import timeout
from scenarios.common import (
    SERVER_POLICY, run_checked, set_order, start_peer, unload, wait_connected, wait_link, wait_released)

# Files of a group share a guest and run one after another.
GROUP = "serves"

COUNTS = "/sys/kernel/debug/xensock/xensock-0"

# A debug kernel is some ten times slower, and finds other bugs.
MEGABYTES = {"fast": 32, "debug": 4}


def ring_counts(guest, path=COUNTS):
    """Returns what the guest counts of its first device, by name."""
    return {name: int(count) for name, count in map(str.split, run_checked(guest, f"cat {path}").splitlines())}


def _guest(bed, policy=SERVER_POLICY):
    start_peer(bed)
    guest = bed.shared_guest(policy=policy)
    wait_connected(guest)
    return guest


def _swell(bed, more, megabytes=None):
    return f"swell --bytes {megabytes or MEGABYTES[bed.kconfig]}m {more}"


def _grow(bed, guest, more, megabytes=None):
    guest.ktap(_swell(bed, more, megabytes), 600 * bed.scale)


def _check_ceilings(bed, guest):
    before = ring_counts(guest)
    _grow(bed, guest, "--cycles 1 --seed 0")
    after = ring_counts(guest)
    assert after["errors"] > before["errors"], (before, after)
    assert after["rings-grown"] > before["rings-grown"], "not even by a little"
    set_order(guest, 2)
    _grow(bed, guest, "--cycles 1 --seed 0", 1)
    assert ring_counts(guest)["GROW"] == 0, ring_counts(guest)
    set_order(guest, 3)
    _grow(bed, guest, "--cycles 1", 2)
    # If the machine stands still, a ring shrinks, and grows again.
    after = ring_counts(guest)
    assert 2 <= after["rings-grown"] <= 2 + after["rings-shrunk"], after


@timeout(1000)
def test_by_turns_and_ceilings(bed):
    """Busy and idle in turns: a ring has 5 pages at first, grows, and has 5 pages again. Beside that, a guest whose
    rings grow less: the module parameter, and a policy that allows fewer pages."""
    start_peer(bed)
    guest, short = bed.at_once(lambda: bed.shared_guest(policy=SERVER_POLICY),
                               lambda: bed.guest("short", policy=(*SERVER_POLICY, "max-ring-pages=60")))
    for each in (guest, short):
        wait_connected(each)
    before, quiet = ring_counts(guest), bed.quiet_snapshot()
    events = "/sys/kernel/tracing/events/xensock/xensock_resize"
    run_checked(guest, f"[ -e {events} ] || mount -t tracefs tracefs /sys/kernel/tracing; echo 1 >{events}/enable")
    cycles = bed.pick(daily=2, slow=5, debug=3)
    with guest.ktap_beside(_swell(bed, f"--cycles {cycles}"), 600 * bed.scale):
        _check_ceilings(bed, short)
    run_checked(guest, f"echo 0 >{events}/enable")
    after = ring_counts(guest)
    grown, shrunk = (after[f"rings-{what}"] - before[f"rings-{what}"] for what in ("grown", "shrunk"))
    # The last connection may be closed after it switched back, before SHRINK is answered.
    assert grown >= 2 * cycles and shrunk >= 2 * cycles - 1, (before, after)
    seen = run_checked(guest, f"cat {events}/../../../trace")
    for line in ("way=in bytes=524288 error=0", "way=out bytes=524288 error=0", "way=in bytes=8192 error=0",
                 "way=out bytes=8192 error=0"):
        assert line in seen, f"no {line} in the trace"
    leaks = wait_released(bed, quiet)
    assert not leaks, f"dom0 has kept (before, after): {leaks}"


@timeout(300)
def test_unread(bed):
    """A program waits for more bytes than an idle ring holds: the ring does not shrink before it reads."""
    _guest(bed).ktap("unread", 200 * bed.scale)


@timeout(300)
def test_of_another_user(bed):
    """A user whose rings have grown, however many, leaves those of others their size."""
    guest = _guest(bed)
    quiet = bed.quiet_snapshot()
    before = ring_counts(guest)["rings-grown"]
    # The default lets fewer connections of one user wait to be accepted.
    bed.xensock("set", str(guest.domid), "max-memory=65536")
    holder = guest.start("hold swollen --sockets 60")
    holder.wait_line("ready", 100 * bed.scale)
    deadline = time.monotonic() + 60 * bed.scale
    while (grown := ring_counts(guest)["rings-grown"] - before) < 60:
        assert time.monotonic() < deadline, f"{grown} have grown"
        time.sleep(0.2)
    events = "/sys/kernel/tracing/events/xensock/xensock_resize"
    run_checked(guest, f"[ -e {events} ] || mount -t tracefs tracefs /sys/kernel/tracing; "
                       f"echo >{events}/../../../trace; echo 1 >{events}/enable")
    _grow(bed, guest, "--cycles 1 --seed 0 --user 1001", 4)
    run_checked(guest, f"echo 0 >{events}/enable")
    seen = run_checked(guest, f"cat {events}/../../../trace")
    assert "way=out bytes=524288 error=0" in seen and "way=in bytes=524288 error=0" in seen, seen
    holder.kill()
    holder.wait()
    bed.xensock("set", str(guest.domid), "max-memory=default")
    leaks = wait_released(bed, quiet)
    assert not leaks, f"dom0 has kept (before, after): {leaks}"


@timeout(200)
def test_many(bed):
    """A program that fills many connections without waiting does not wait for each of them to grow."""
    guest = _guest(bed)
    before = ring_counts(guest)
    full = guest.start("hold full --sockets 80")
    full.wait_line("ready", 60 * bed.scale)
    # On a slow machine the first ones may shrink before the last ones are filled.
    counts = ring_counts(guest)
    grown = counts["GROW"] - before["GROW"] - (counts["SHRINK"] - before["SHRINK"])
    full.kill()
    full.wait(60 * bed.scale)
    assert 0 < grown <= 64, f"{grown} of 80 have grown"


def _wait_more(bed, guest, job, before, name, more, path=COUNTS):
    """Waits until the guest has counted so many more of something, but not longer than the job runs. Returns how many
    there are."""
    deadline = time.monotonic() + 60 * bed.scale
    while True:
        # Before the counts: what the job has done last is in them.
        is_over = not job.running or time.monotonic() > deadline
        moved = ring_counts(guest, path)[name] - before[name]
        if moved >= more or is_over:
            return moved
        time.sleep(0.1)


def _start_grown(bed, guest):
    """Starts a connection that has grown. The ring stays so for a few seconds once it is idle."""
    before = ring_counts(guest)
    job = guest.start(_swell(bed, "--cycles 1 --seed 0"))
    # Of few pages, one direction may take all.
    assert _wait_more(bed, guest, job, before, "rings-grown", 2) > 0, f"nothing has grown: {job.output}"
    return job


@timeout(300)
def test_leaves_room(bed):
    """Grown rings give up pages and grants for new connections."""
    start_peer(bed)
    guest, few = bed.at_once(lambda: bed.shared_guest(policy=(*SERVER_POLICY, "max-ring-pages=45")),
                             lambda: bed.guest("few", config="max_grant_frames = 2"))
    for each in (guest, few):
        wait_connected(each)
    growing = [_start_grown(bed, guest)]
    held = guest.start("hold idle --sockets 3")
    held.wait_line("ready", 60 * bed.scale)
    held.kill()

    # Of 1,024 grants, three quarters are for connections, 3 to 5 for each.
    growing.append(_start_grown(bed, few))
    rc, out = few.run("hold idle --sockets 300", 60 * bed.scale)
    bed.note(out)
    assert rc == 1 and "No buffer space available" in out, f"{rc}, {out}"
    assert int(out.split()[2].rstrip(":")) > 140, out
    for job in growing:
        rc, out = job.wait(100 * bed.scale)
        assert rc == 0, out
    few.ktap("unread --sockets 300 --cycles 1 -t has_to_do_for_lack_of_grants", 100 * bed.scale)


@timeout(300)
def test_closed_meanwhile(bed):
    """Closing while a ring grows, regularly or by a kill, leaves nothing."""
    guest = _guest(bed)
    before, quiet = ring_counts(guest), bed.quiet_snapshot()
    run_checked(guest, "i=64; while [ $i -lt 124 ]; do pour --bytes ${i}k >/dev/null; i=$((i + 1)); done",
                100 * bed.scale)
    regular = ring_counts(guest)["GROW"] - before["GROW"]
    assert regular >= 20, regular
    # Each is killed a little later after it has asked.
    kills = 10
    run_checked(guest, f"""
count() {{ grep '^GROW ' {COUNTS}; }}
i=0
while [ $i -lt {kills} ]; do
	before=$(count)
	pour --bytes 64m &
	while [ "$(count)" = "$before" ]; do
		kill -0 $! || exit 1
	done
	usleep $((i * 10000))
	kill -KILL $! || exit 1
	wait $!
	i=$((i + 1))
done""", 100 * bed.scale)
    after = ring_counts(guest)
    bed.note(f"GROW {after['GROW'] - before['GROW']}, grown {after['rings-grown'] - before['rings-grown']}")
    assert after["GROW"] >= before["GROW"] + kills, (before, after)
    guest.ktap("bulk --bytes 4m", 100 * bed.scale)
    leaks = wait_released(bed, quiet)
    assert not leaks, f"dom0 has kept (before, after): {leaks}"


# When the backend goes: what the guest has counted more by then.
MOMENTS = (("GROW", 1), ("rings-grown", 1), ("rings-grown", 2))


def start_growth(bed, guest, moment, path=COUNTS):
    """Starts a connection that goes on growing and shrinking, and waits for that moment of it."""
    before = ring_counts(guest, path)
    job = guest.start("swell --bytes 1024m --cycles 1 -t by_turns")
    moved = _wait_more(bed, guest, job, before, *moment, path)
    assert moved >= moment[1], f"{moment}: {moved} more: {job.output}"
    return job


@timeout(400)
def test_lost_link(bed):
    """The backend is removed while a ring grows, or has grown one way or both: nothing is left at either end."""
    guest = _guest(bed)
    quiet = bed.quiet_snapshot()
    for moment in bed.pick(daily=1, slow=2, debug=2) * MOMENTS:
        job = start_growth(bed, guest, moment)
        unload(bed, "xensock_back")
        rc, out = job.wait(60 * bed.scale)
        assert rc != 0, f"it was over before the backend went: {out}"
        bed.modprobe("xensock_back")
        wait_link(guest)
    unload(guest, "xensock")
    run_checked(guest, "modprobe xensock")
    wait_link(guest)
    guest.ktap("bulk --bytes 8m", 200 * bed.scale)
    leaks = wait_released(bed, quiet)
    assert not leaks, f"dom0 has kept (before, after): {leaks}"
