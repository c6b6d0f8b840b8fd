# SPDX-License-Identifier: GPL-2.0
"""make bench: AF_XENSOCK against netfront and against loopback inside dom0, in one boot.

Also AF_XENSOCK without one of its features at a time, and on the kernel's C backend; the
cost of idle connections; and the cost of an AF_INET socket in the guest itself while it
is hijacked.

Each round measures everything once, in turn, so that a machine that becomes
slower or faster affects all paths alike. The results are ratios of medians.
"""

import statistics

from bed import attempts, timeout
from scenarios.measures import (COSTS, MEASURES, MSEC, ROUNDS, Results, chosen, measure_once, paths, report,
                                tables, used)

# The options of a guest, by KIND.
KINDS = {"pv": {}, "pvh": {"kind": "pvh", "vcpus": 2}}


def _boot(bed, **options):
    """Boots a guest of the kind that this run is for."""
    return bed.guest(**options, **KINDS[bed.kind])


def _serve(bed):
    for address in (bed.address, bed.bridge_address, "127.0.0.1"):
        bed.start(f"bench_server --host {address}").wait_line("bench: ready")
    _many_ports(bed)


def _many_ports(where):
    """Thousands of short connections to one port: frees old ones sooner."""
    where.run("echo 1024 65535 >/proc/sys/net/ipv4/ip_local_port_range; "
              "echo 1 >/proc/sys/net/ipv4/tcp_tw_reuse; "
              "echo 4096 >/proc/sys/net/core/somaxconn")


def _wait(where, options):
    rc, out = where.run(f"until bench connect 1 {options} >/dev/null 2>&1; do sleep 0.2; done", 30)
    assert rc == 0, f"{options}: {out}"


# If the emulator ends the guest, the test runs again and goes on from here.
_RESULTS = Results()


@attempts(100)
@timeout(3600)
def test_bench(bed):
    """Throughput both ways, requests, connections and datagrams, over three paths."""
    _serve(bed)
    guest = _boot(bed, vif=True, memory=512)
    _many_ports(guest)
    for _, where, options in paths(bed, guest):
        _wait(where, options)

    for number in range(1, ROUNDS + 1):
        for measure in MEASURES:
            line = []
            for path, where, options in paths(bed, guest):
                if _RESULTS.rounds(measure, path) < number:
                    numbers, costs = measure_once(bed, guest, measure, where, options)
                    _RESULTS.add(measure, path, numbers, costs)
                    line.append(f"{path} {numbers[0] / measure.scale:.2f}")
            if line:
                bed.note(f"round {number} {measure.title}: {', '.join(line)}")
    bed.note("")
    tables(bed, _RESULTS)
    report(bed, "bench", msec=MSEC, **_RESULTS.figures())


ALONE = chosen("rr", "connect")


@timeout(300)
def test_alone(bed):
    """Requests and connections within dom0, over loopback, while the guest is idle and while it is busy."""
    _serve(bed)
    guest = _boot(bed, name="busy", device=None)
    options = "--family inet --host 127.0.0.1"
    _wait(bed, options)
    rates = {}
    for _ in range(ROUNDS):
        for state in ("idle", "busy"):
            job = guest.start("while :; do :; done") if state == "busy" else None
            for measure in ALONE:
                numbers, _ = measure_once(bed, guest, measure, bed, options)
                rates.setdefault(f"{measure.key} {state}", []).append(numbers[0])
            if job:
                job.kill()
                job.wait(30)
    bed.note("")
    bed.note(f"medians of {ROUNDS} rounds {'guest idle':>20} {'guest busy':>12}")
    for measure in ALONE:
        idle, busy = (statistics.median(rates[f"{measure.key} {state}"]) for state in ("idle", "busy"))
        bed.note(f"{measure.title + ' ' + measure.unit:30} {idle:12.1f} {busy:12.1f}")
    report(bed, "alone", rates=rates)


COPIED_MB = 64
COPIES = 8


@timeout(300)
def test_copying(bed):
    """What a copy from the kernel to a program costs each domain: no path of bulk can do with less at either end."""
    guest = _boot(bed, device=None)
    costs = {}
    for place, where in (("dom0", bed), ("guest", guest)):
        read = "dd if=/tmp/copied of=/dev/null bs=256k 2>/dev/null"
        rc, out = where.run(f"dd if=/dev/zero of=/tmp/copied bs=256k count={COPIED_MB * 4} 2>/dev/null && {read}")
        assert rc == 0, out
        for _ in range(ROUNDS):
            before = used(bed, guest)
            where.run(f"i=0; while [ $i -lt {COPIES} ]; do {read}; i=$((i + 1)); done", 60)
            after, number = used(bed, guest), COSTS.index(f"{place} s")
            costs.setdefault(place, []).append((after[number] - before[number]) * 1e9 / (COPIES * COPIED_MB << 20))
        where.run("rm /tmp/copied")
    bed.note("")
    for place, values in costs.items():
        bed.note(f"{place}: {statistics.median(values):.2f} ms for a copy of a MB, median of {ROUNDS} rounds")
    report(bed, "copying", ms_for_a_mb=costs)


# Microseconds of the policy's busy-poll; 0 is the default.
POLLED = (0, 500, 1000, 4000)
POLLED_MEASURES = chosen("rr", "rr-1000", "connect")


@timeout(1200)
def test_polling(bed):
    """Requests and connections while dom0 polls the rings, beside netfront, in turns."""
    _serve(bed)
    guest = _boot(bed, name="polled", vif=True, memory=512)
    _many_ports(guest)
    beside = paths(bed, guest)[:2]
    for _, where, options in beside:
        _wait(where, options)
    titles = [f"{usec} us" for usec in POLLED] + ["netfront"]
    rates, costs = {}, {}
    for _ in range(ROUNDS):
        for measure in POLLED_MEASURES:
            for title, usec in zip(titles, (*POLLED, None)):
                _, where, options = beside[usec is None]
                bed.xensock("set", str(guest.domid), f"busy-poll={usec or 0}")
                # The backend learns of the change a moment later.
                where.run(f"bench rr 300 {options}")
                numbers, cost = measure_once(bed, guest, measure, where, options)
                key = f"{measure.key} {title}"
                rates.setdefault(key, []).append(numbers[0])
                count = measure.amount(numbers[0])
                costs.setdefault(key, []).append([value / count for value in cost])
    for measure in POLLED_MEASURES:
        bed.note("")
        bed.note(f"{measure.title + ' ' + measure.unit:38} {'rate':>10}  /netfront" +
                 "".join(f"{name:>14}" for name in COSTS))
        base = statistics.median(rates[f"{measure.key} netfront"])
        for title in titles:
            key = f"{measure.key} {title}"
            rate = statistics.median(rates[key])
            columns = "".join(f"{statistics.median(values):14.4f}" for values in zip(*costs[key]))
            bed.note(f"{title:>38} {rate / measure.scale:10.1f}{rate / base:11.2f}{columns}")
    report(bed, "polling", msec=MSEC, rates=rates, costs=costs)


# Features that a guest can turn off: their masks, see reference.rst.
EVERYTHING = 0xffff
SWITCHES = (
    ("all features", EVERYTHING),
    ("no event indexes", EVERYTHING & ~1),
    ("no status words", EVERYTHING & ~2),
    ("no reuse of rings", EVERYTHING & ~8),
    ("no growth of rings", EVERYTHING & ~64),
    ("no shared channel", EVERYTHING & ~128),
    ("version 1", 0),
)
SWITCHED = chosen("send-1-262144", "recv-1-262144", "rr", "connect")


@timeout(900)
def test_switches(bed):
    """The effect of each feature: AF_XENSOCK without it."""
    _serve(bed)
    guest = _boot(bed, name="switched", modules=[])
    options = f"--host {bed.address}"
    rates = {}
    for _ in range(ROUNDS):
        for name, mask in SWITCHES:
            rc, out = guest.run(f"modprobe xensock features={mask}")
            assert rc == 0, out
            _wait(guest, options)
            for measure in SWITCHED:
                rc, out = guest.run(f"bench {measure.words} {options}", 60)
                assert rc == 0, f"{name}: {out}"
                rates.setdefault(f"{measure.key} {name}", []).append(float(out.split()[0]))
            rc, out = guest.run("cd /sys/bus/xen/drivers/xensock && echo xensock-0 >unbind; "
                                "until rmmod xensock 2>/dev/null; do sleep 0.1; done", 30)
            assert rc == 0, out
    bed.note("")
    bed.note(f"medians of {ROUNDS} rounds" + "".join(f"{measure.title:>26}" for measure in SWITCHED))
    for name, _ in SWITCHES:
        columns = (statistics.median(rates[f"{measure.key} {name}"]) / measure.scale for measure in SWITCHED)
        bed.note(f"{name:20}" + "".join(f"{value:26.1f}" for value in columns))
    report(bed, "switches", msec=MSEC, rates=rates)


IDLE = 1000


def _memory(where, grants):
    """Returns KiB that a kernel has in use, when no cache keeps freed memory.

    grants: the kernel maps grants of others, which replace memory of its own, and has so much other
    activity that its objects are a better measure than free memory.
    """
    text = where.run("echo 3 >/proc/sys/vm/drop_caches; "
                     "for cache in /sys/kernel/slab/*/shrink; do echo 1 >$cache; done; cat /proc/meminfo")[1]
    values = {fields[0]: int(fields[1]) for fields in map(str.split, text.splitlines())}
    if grants:
        return values["Slab:"] + values["Percpu:"] - values["MemTotal:"] - values["Balloon:"]
    return -values["MemAvailable:"]


@timeout(600)
def test_idle(bed):
    """The cost of idle connections, with a server's end in dom0."""
    _serve(bed)
    guest = _boot(bed, vif=True, memory=512)
    _many_ports(guest)
    costs = {}
    for _ in range(ROUNDS):
        for path, where, options in paths(bed, guest):
            _wait(where, options)
            before = [_memory(bed, True), _memory(guest, False)]
            job = where.start(f"bench idle {IDLE} {options}")
            job.wait_line("ready", 60)
            after = [_memory(bed, True), _memory(guest, False)]
            job.kill()
            job.wait(30)
            costs.setdefault(path, []).append([(late - early) / IDLE for early, late in zip(before, after)])
    bed.note("")
    bed.note(f"KiB for each of {IDLE} idle connections, medians of {ROUNDS} rounds {'dom0':>10} {'guest':>10}")
    for path, rounds in costs.items():
        bed.note(f"{path:70}" + "".join(f"{statistics.median(values):10.1f}" for values in zip(*rounds)))
    report(bed, "idle", connections=IDLE, kib=costs)


C_MEASURES = chosen("send-1-262144", "recv-1-262144", "rr", "connect")


@timeout(600)
def test_c_backend(bed):
    """Our frontend on the kernel's C backend, in the same boot, compared with our backend."""
    _serve(bed)
    options = f"--host {bed.address}"
    rates = {}
    # Only one driver at a time serves dom0's devices of this type.
    for device in ("xensock", "pvcalls"):
        guest = _boot(bed, name=device, device=device)
        _wait(guest, options)
        for _ in range(ROUNDS):
            for measure in C_MEASURES:
                rc, out = guest.run(f"bench {measure.words} {options}", 60)
                assert rc == 0, out
                rates.setdefault(f"{measure.key} {device}", []).append(float(out.split()[0]))
        guest.destroy()
    bed.note(f"medians of {ROUNDS} rounds {'our backend':>20} {'C backend':>10}     ratio")
    for measure in C_MEASURES:
        ours, theirs = (statistics.median(rates[f"{measure.key} {device}"]) / measure.scale
                        for device in ("xensock", "pvcalls"))
        bed.note(f"{measure.title + ' ' + measure.unit:32} {ours:9.1f} {theirs:10.1f} {ours / theirs:9.2f}")
    report(bed, "c_backend", msec=MSEC, rates=rates)


HIJACK = "/proc/sys/net/xensock"

# For sockets that stay in the guest: not hijacked, or fallen back.
GUEST_MSEC = 500
SOCKETS = 4000
GUEST_MEASURES = (
    ("socket", GUEST_MSEC, "socket, close", "/s"),
    ("connect", GUEST_MSEC, "connect, accept, close", "/s"),
    ("stream", GUEST_MSEC, "1 byte by TCP", "/s"),
    ("datagram", GUEST_MSEC, "1 byte by UDP", "/s"),
    ("memory", SOCKETS, "memory of a socket", "bytes"),
)


@timeout(600)
def test_guest(bed):
    """The cost of the guest's own sockets: with hijack 0, and with 2, where they fall back."""
    guest = _boot(bed)
    results = {}
    for _ in range(ROUNDS):
        for key, amount, *_ in GUEST_MEASURES:
            for mode in (0, 2):
                rc, out = guest.run(f"echo 0 >{HIJACK}/hijack_loopback; echo {mode} >{HIJACK}/hijack; "
                                    f"bench_guest {key} {amount} --family inet --host 127.0.0.1; "
                                    f"rc=$?; echo 0 >{HIJACK}/hijack; exit $rc")
                assert rc == 0, f"hijack {mode} {key}: {out}"
                results.setdefault(f"{key} {mode}", []).append(float(out.split()[-1]))
    # A disturbance makes a round slower, never faster.
    bed.note(f"best of {ROUNDS} rounds {'hijack 0':>24} {'fallen back':>12}     ratio")
    for key, _, title, unit in GUEST_MEASURES:
        best = min if key == "memory" else max
        own, fallen = (best(results[f"{key} {mode}"]) for mode in (0, 2))
        bed.note(f"{title + ' ' + unit:32} {own:12.0f} {fallen:12.0f} {fallen / own:9.2f}")
    report(bed, "guest", msec=GUEST_MSEC, rates=results)
