# SPDX-License-Identifier: GPL-2.0
"""make bench: AF_XENSOCK against netfront and against loopback inside dom0, in one boot.

Also AF_XENSOCK without one of its features at a time, and on the kernel's C backend; the
cost of idle connections; and the cost of an AF_INET socket in the guest itself while it
is hijacked.

Each round measures everything once, in turn, so that a machine that becomes
slower or faster affects all paths alike. The results are ratios of medians.
"""

import json
import statistics

from bed import timeout

ROUNDS = 3
MSEC = 700
# For many streams: each has to move several times what all buffers on its way hold.
LONG_MSEC = 3000
MANY_STREAMS = 64

# Cost for each domain: seconds of CPU, events and context switches, for a MB or for 1,000 operations.
COSTS = ("dom0 s", "guest s", "dom0 events", "guest events", "dom0 switches", "guest switches")

BULK = ((1, 256), (8, 256), (64, 256), (512, 256), (1, 64), (1, 4))


class Measure:
    """One measurement: the arguments of bench, and the meaning of its first number."""

    def __init__(self, words, title, scale=1, msec=MSEC):
        self.key = "-".join(words).replace("-MSEC", "")
        self.words = " ".join(words).replace("MSEC", str(msec))
        self.msec = msec
        self.title = title
        self.is_bulk = scale != 1
        self.scale = scale

    @property
    def unit(self):
        return "MB/s" if self.is_bulk else "/s"

    def amount(self, rate):
        """Returns the MB, or thousands of operations, that were done at this rate."""
        return rate * self.msec / 1000 / (self.scale if self.is_bulk else 1000)


def _bulk(word, title):
    for streams, kib in BULK:
        what = f"{title}, {streams} streams" if streams > 1 else title
        if kib != 256:
            what += f", {kib} KiB at a time"
        msec = LONG_MSEC if streams >= MANY_STREAMS else MSEC
        yield Measure((word, "MSEC", str(streams), str(kib << 10)), what, 1e6, msec)


MEASURES = (
    *_bulk("send", "guest to dom0"),
    *_bulk("recv", "dom0 to guest"),
    Measure(("rr", "MSEC"), "1-byte request/response"),
    Measure(("rr", "MSEC", "1000"), "the same, SO_BUSY_POLL of 1 ms"),
    Measure(("connect", "MSEC"), "connect, 1 byte, close"),
    Measure(("udp", "MSEC"), "1-byte datagram and back"),
    Measure(("flood", "MSEC", "1400"), "datagrams of 1,400 bytes"),
)

PATHS = ("xensock", "netfront", "loopback")


def _paths(bed, guest):
    """Returns the place of each measurement, and its options."""
    return (
        ("xensock", guest, f"--host {bed.address}"),
        ("netfront", guest, f"--family inet --host {bed.bridge_address}"),
        ("loopback", bed, "--family inet --host 127.0.0.1"),
    )


def _events(text):
    """Returns the events of all channels except per-processor ones, from /proc/interrupts."""
    lines = [line.split() for line in text.splitlines() if "xen-dyn" in line]
    return sum(int(field) for line in lines for field in line[1:] if field.isdigit())


def _switches(text):
    """Returns the number of context switches, from /proc/stat."""
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("ctxt "))


def _used(bed, guest):
    """Returns what both domains have used of COSTS so far."""
    seconds = {}
    for line in bed.run("xl list")[1].splitlines()[1:]:
        fields = line.split()
        seconds[int(fields[1])] = float(fields[-1])
    counts = [where.run("cat /proc/interrupts /proc/stat")[1] for where in (bed, guest)]
    return [seconds[0], seconds[guest.domid], *map(_events, counts), *map(_switches, counts)]


class Results:
    """The results for each measure and path."""

    def __init__(self):
        self.rates = {}
        self._done = {}
        self._used = {}
        # The 99th percentile of requests, or the slowest stream's share of the fastest.
        self.extra_numbers = {}

    def add(self, measure, path, numbers, costs):
        rate = numbers[0]
        key = (measure.key, path)
        self.rates.setdefault(key, []).append(rate)
        self._done[key] = self._done.get(key, 0) + measure.amount(rate)
        self._used[key] = [sum(pair) for pair in zip(self._used.get(key, [0] * len(COSTS)), costs)]
        if len(numbers) == 2:
            self.extra_numbers.setdefault(key, []).append(numbers[1])
        elif len(numbers) == 3:
            self.extra_numbers.setdefault(key, []).append(numbers[1] / max(numbers[2], 1))

    def median(self, measure, path):
        return statistics.median(self.rates[measure.key, path])

    def extra_median(self, measure, path):
        return statistics.median(self.extra_numbers.get((measure.key, path), [0]))

    def costs(self, measure, path):
        key = (measure.key, path)
        return [value / self._done[key] for value in self._used[key]]

    def as_json(self):
        names = {f"{key} {path}": (key, path) for key, path in self.rates}
        return json.dumps({
            "msec": MSEC,
            "rates": {name: self.rates[key] for name, key in names.items()},
            "others": {name: self.extra_numbers[key] for name, key in names.items() if key in self.extra_numbers},
            "costs": {name: [value / self._done[key] for value in self._used[key]]
                      for name, key in names.items()},
        })


def _measure(bed, guest, measure, where, options):
    """Returns the numbers of bench, and their cost in dom0 and the guest, without that of counting."""
    early, before = _used(bed, guest), _used(bed, guest)
    rc, out = where.run(f"bench {measure.words} {options}")
    assert rc == 0, f"{options} {measure.words}: {out}"
    after = _used(bed, guest)
    costs = [late - middle - (middle - first) for first, middle, late in zip(early, before, after)]
    return [float(word) for word in out.split()], costs


def _tables(bed, results):
    heads = "".join(f"{path:>10}" for path in PATHS)
    bed.note(f"medians of {ROUNDS} rounds, and ratios of AF_XENSOCK to the others")
    bed.note(f"{'':38} {heads}  /netfront /loopback   spread")
    for measure in MEASURES:
        values = {path: results.median(measure, path) / measure.scale for path in PATHS}
        columns = "".join(f"{value:10.1f}" for value in values.values())
        ours = results.rates[measure.key, "xensock"]
        spread = (max(ours) - min(ours)) / results.median(measure, "xensock")
        bed.note(f"{measure.title + ' ' + measure.unit:38} {columns}"
                 f"{values['xensock'] / values['netfront']:11.2f}"
                 f"{values['xensock'] / values['loopback']:10.2f}{spread:8.0%}")
    bed.note("")
    bed.note(f"{'slowest/fastest stream; 99th percentile in us':38} {heads}")
    for measure in MEASURES:
        if any((measure.key, path) in results.extra_numbers for path in PATHS):
            columns = "".join(f"{results.extra_median(measure, path):10.2f}" for path in PATHS)
            bed.note(f"{measure.title:38} {columns}")
    bed.note("")
    bed.note(f"{'of a MB, or of 1,000':38} {'':>10}" + "".join(f"{name:>14}" for name in COSTS))
    for measure in MEASURES:
        for path in PATHS:
            columns = "".join(f"{value:14.4f}" for value in results.costs(measure, path))
            bed.note(f"{measure.title:38} {path:>10}{columns}")
    bed.note("")
    bed.note("JSON " + results.as_json())


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


@timeout(1200)
def test_bench(bed):
    """Throughput both ways, requests, connections and datagrams, over three paths."""
    _serve(bed)
    guest = bed.guest(vif=True, memory=512)
    _many_ports(guest)
    for _, where, options in _paths(bed, guest):
        _wait(where, options)

    results = Results()
    for number in range(1, ROUNDS + 1):
        for measure in MEASURES:
            line = []
            for path, where, options in _paths(bed, guest):
                numbers, costs = _measure(bed, guest, measure, where, options)
                results.add(measure, path, numbers, costs)
                line.append(f"{path} {numbers[0] / measure.scale:.1f}")
            bed.note(f"round {number} {measure.title}: {', '.join(line)}")
    bed.note("")
    _tables(bed, results)


ALONE = tuple(measure for measure in MEASURES if measure.key in ("rr", "connect"))


@timeout(120)
def test_alone(bed):
    """Requests and connections within dom0, over loopback, while the guest is idle and while it is busy."""
    _serve(bed)
    guest = bed.guest(name="busy", device=None)
    options = "--family inet --host 127.0.0.1"
    _wait(bed, options)
    rates = {}
    for _ in range(ROUNDS):
        for state in ("idle", "busy"):
            job = guest.start("while :; do :; done") if state == "busy" else None
            for measure in ALONE:
                numbers, _ = _measure(bed, guest, measure, bed, options)
                rates.setdefault(f"{measure.key} {state}", []).append(numbers[0])
            if job:
                job.kill()
                job.wait(30)
    bed.note("")
    bed.note(f"medians of {ROUNDS} rounds {'guest idle':>20} {'guest busy':>12}")
    for measure in ALONE:
        idle, busy = (statistics.median(rates[f"{measure.key} {state}"]) for state in ("idle", "busy"))
        bed.note(f"{measure.title + ' ' + measure.unit:30} {idle:12.1f} {busy:12.1f}")
    bed.note("JSON " + json.dumps({"alone": rates}))


COPIED_MB = 64
COPIES = 8


@timeout(120)
def test_copying(bed):
    """What a copy from the kernel to a program costs each domain: no path of bulk can do with less at either end."""
    guest = bed.guest(device=None)
    costs = {}
    for place, where in (("dom0", bed), ("guest", guest)):
        read = "dd if=/tmp/copied of=/dev/null bs=256k 2>/dev/null"
        rc, out = where.run(f"dd if=/dev/zero of=/tmp/copied bs=256k count={COPIED_MB * 4} 2>/dev/null && {read}")
        assert rc == 0, out
        for _ in range(ROUNDS):
            before = _used(bed, guest)
            where.run(f"i=0; while [ $i -lt {COPIES} ]; do {read}; i=$((i + 1)); done", 60)
            used = _used(bed, guest)[COSTS.index(f"{place} s")] - before[COSTS.index(f"{place} s")]
            costs.setdefault(place, []).append(used * 1e9 / (COPIES * COPIED_MB << 20))
        where.run("rm /tmp/copied")
    bed.note("")
    for place, values in costs.items():
        bed.note(f"{place}: {statistics.median(values):.2f} ms for a copy of a MB, median of {ROUNDS} rounds")
    bed.note("JSON " + json.dumps({"copying": costs}))


# Microseconds of the policy's busy-poll; 0 is the default.
POLLED = (0, 500, 1000, 4000)
POLLED_MEASURES = tuple(measure for measure in MEASURES
                        if measure.key in ("rr", "rr-1000", "connect"))


@timeout(900)
def test_polling(bed):
    """Requests and connections while dom0 polls the rings, beside netfront, in turns."""
    _serve(bed)
    guest = bed.guest(name="polled", vif=True, memory=512)
    _many_ports(guest)
    paths = _paths(bed, guest)[:2]
    for _, where, options in paths:
        _wait(where, options)
    titles = [f"{usec} us" for usec in POLLED] + ["netfront"]
    rates, costs = {}, {}
    for _ in range(ROUNDS + 1):
        for measure in POLLED_MEASURES:
            for title, usec in zip(titles, (*POLLED, None)):
                _, where, options = paths[usec is None]
                bed.xensock("set", str(guest.domid), f"busy-poll={usec or 0}")
                # The backend learns of the change a moment later.
                where.run(f"bench rr 300 {options}")
                numbers, cost = _measure(bed, guest, measure, where, options)
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
    bed.note("JSON " + json.dumps({"msec": MSEC, "polling": rates}))


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
SWITCHED = tuple(measure for measure in MEASURES
                 if measure.key in ("send-1-262144", "recv-1-262144", "rr", "connect"))


@timeout(600)
def test_switches(bed):
    """The effect of each feature: AF_XENSOCK without it."""
    _serve(bed)
    guest = bed.guest(name="switched", modules=[])
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
    bed.note("JSON " + json.dumps({"msec": MSEC, "switches": rates}))


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


@timeout(300)
def test_idle(bed):
    """The cost of idle connections, with a server's end in dom0."""
    _serve(bed)
    guest = bed.guest(vif=True, memory=512)
    _many_ports(guest)
    costs = {}
    for _ in range(ROUNDS):
        for path, where, options in _paths(bed, guest):
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
    bed.note("JSON " + json.dumps({"connections": IDLE, "idle": costs}))


# Without the measures that end with shutdown(), which PV Calls lacks.
C_MEASURES = tuple(measure for measure in MEASURES if measure.key in ("recv-1-262144", "rr", "connect"))


@timeout(300)
def test_c_backend(bed):
    """Our frontend on the kernel's C backend, in the same boot, compared with our backend."""
    _serve(bed)
    options = f"--host {bed.address}"
    results = {}
    # Only one driver at a time serves dom0's devices of this type.
    for device in ("xensock", "pvcalls"):
        guest = bed.guest(name=device, device=device)
        _wait(guest, options)
        for _ in range(ROUNDS):
            for measure in C_MEASURES:
                rc, out = guest.run(f"bench {measure.words} {options}", 60)
                assert rc == 0, out
                results.setdefault((measure.key, device), []).append(float(out.split()[0]))
        guest.destroy()
    bed.note(f"medians of {ROUNDS} rounds {'our backend':>20} {'C backend':>10}     ratio")
    for measure in C_MEASURES:
        ours, theirs = (statistics.median(results[measure.key, device]) / measure.scale
                        for device in ("xensock", "pvcalls"))
        bed.note(f"{measure.title + ' ' + measure.unit:32} {ours:9.1f} {theirs:10.1f} {ours / theirs:9.2f}")


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
    guest = bed.guest()
    results = {}
    for _ in range(ROUNDS):
        for key, amount, *_ in GUEST_MEASURES:
            for mode in (0, 2):
                rc, out = guest.run(f"echo 0 >{HIJACK}/hijack_loopback; echo {mode} >{HIJACK}/hijack; "
                                    f"bench_guest {key} {amount} --family inet --host 127.0.0.1; "
                                    f"rc=$?; echo 0 >{HIJACK}/hijack; exit $rc")
                assert rc == 0, f"hijack {mode} {key}: {out}"
                results.setdefault(key, {}).setdefault(mode, []).append(float(out.split()[-1]))
    # A disturbance makes a round slower, never faster.
    bed.note(f"best of {ROUNDS} rounds {'hijack 0':>24} {'fallen back':>12}     ratio")
    for key, _, title, unit in GUEST_MEASURES:
        best = min if key == "memory" else max
        own, fallen = (best(results[key][mode]) for mode in (0, 2))
        bed.note(f"{title + ' ' + unit:32} {own:12.0f} {fallen:12.0f} {fallen / own:9.2f}")
    bed.note("JSON " + json.dumps({"msec": GUEST_MSEC, "rounds": results}))
