# SPDX-License-Identifier: GPL-2.0
"""The measures of make bench, the paths that they compare, and their results."""

import json
import statistics

ROUNDS = 5
MSEC = 500
# For many streams: each has to move several times what all buffers on its way hold.
LONG_MSEC = 3000
MANY_STREAMS = 64

# Cost for each domain: seconds of CPU, events and context switches, for a MB or for 1,000 operations.
COSTS = ("dom0 s", "guest s", "dom0 events", "guest events", "dom0 switches", "guest switches")

PIECE = 256 << 10
SIZES = {64: "64 B", 4 << 10: "4 KiB", 64 << 10: "64 KiB", 1 << 20: "1 MiB"}
# Streams, and bytes that the guest's program moves with one call.
BULK = ((1, PIECE), (8, PIECE), (64, PIECE), (512, PIECE), *((1, size) for size in SIZES))


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
    for streams, size in BULK:
        what = f"{title}, {streams} streams" if streams > 1 else title
        if size != PIECE:
            what += f", {SIZES[size]} at a time"
        msec = LONG_MSEC if streams >= MANY_STREAMS else MSEC
        yield Measure((word, "MSEC", str(streams), str(size)), what, 1e6, msec)


MEASURES = (
    *_bulk("send", "guest to dom0"),
    *_bulk("recv", "dom0 to guest"),
    Measure(("rr", "MSEC"), "1-byte request/response"),
    Measure(("rr", "MSEC", "1000"), "the same, SO_BUSY_POLL of 1 ms"),
    Measure(("connect", "MSEC"), "connect, 1 byte, close"),
    Measure(("udp", "MSEC"), "1-byte datagram and back"),
    Measure(("flood", "MSEC", "1400"), "datagrams of 1,400 bytes"),
)


def chosen(*keys):
    """Returns the measures with these keys."""
    return tuple(measure for measure in MEASURES if measure.key in keys)


PATHS = ("xensock", "netfront", "loopback")


def paths(bed, guest):
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


def used(bed, guest):
    """Returns what both domains have used of COSTS so far."""
    seconds = {}
    for line in bed.run("xl list")[1].splitlines()[1:]:
        fields = line.split()
        seconds[int(fields[1])] = float(fields[-1])
    counts = [where.run("cat /proc/interrupts /proc/stat")[1] for where in (bed, guest)]
    return [seconds[0], seconds[guest.domid], *map(_events, counts), *map(_switches, counts)]


def measure_once(bed, guest, measure, where, options):
    """Returns the numbers of bench, and their cost in dom0 and the guest, without that of counting."""
    early, before = used(bed, guest), used(bed, guest)
    rc, out = where.run(f"bench {measure.words} {options}")
    assert rc == 0, f"{options} {measure.words}: {out}"
    after = used(bed, guest)
    costs = [late - middle - (middle - first) for first, middle, late in zip(early, before, after)]
    return [float(word) for word in out.split()], costs


class Results:
    """The results for each measure and path."""

    def __init__(self):
        self.rates = {}
        # The 99th percentile of requests in microseconds, and the slowest stream's share of the fastest.
        self.percentiles = {}
        self.shares = {}
        self._done = {}
        self._used = {}

    def add(self, measure, path, numbers, costs):
        """Adds what measure_once() has returned."""
        rate, *more = numbers
        key = (measure.key, path)
        self.rates.setdefault(key, []).append(rate)
        self._done[key] = self._done.get(key, 0) + measure.amount(rate)
        self._used[key] = [sum(pair) for pair in zip(self._used.get(key, [0] * len(COSTS)), costs)]
        if len(more) == 1:
            self.percentiles.setdefault(key, []).append(more[0])
        elif len(more) == 2:
            self.shares.setdefault(key, []).append(more[0] / max(more[1], 1))

    def rounds(self, measure, path):
        """Returns the number of rounds that have measured this."""
        return len(self.rates.get((measure.key, path), ()))

    def median(self, measure, path):
        return statistics.median(self.rates[measure.key, path])

    def costs(self, measure, path):
        key = (measure.key, path)
        return [value / self._done[key] for value in self._used[key]]

    def figures(self):
        """Returns everything, for JSON."""
        costs = {key: [value / self._done[key] for value in values] for key, values in self._used.items()}
        kinds = {"rates": self.rates, "percentiles": self.percentiles, "shares": self.shares, "costs": costs}
        return {kind: {" ".join(key): values for key, values in found.items()} for kind, found in kinds.items()}


def report(bed, part, **figures):
    """Notes the figures of one part of the benchmark as JSON, for plot."""
    machine = {"processor": bed.processor, "guest": bed.kind}
    bed.note("JSON " + json.dumps({"machine": machine, part: figures}))


def tables(bed, results):
    """Notes the tables of all measures."""
    bed.note(f"on {bed.processor}, with a {bed.kind} guest")
    bed.note(f"medians of {ROUNDS} rounds, and ratios of AF_XENSOCK to the others")
    _table_of_rates(bed, results)
    bed.note("")
    _table_of_shares(bed, results)
    bed.note("")
    _table_of_costs(bed, results)


def _columns(values, width=10, digits=2):
    return "".join(f"{value:{width}.{digits}f}" for value in values)


def _table_of_rates(bed, results):
    heads = "".join(f"{path:>10}" for path in PATHS)
    bed.note(f"{'':38}{heads} /netfront /loopback  spread"
             "   99th percentile in us, in the order of the paths")
    for measure in MEASURES:
        values = [results.median(measure, path) / measure.scale for path in PATHS]
        ours = results.rates[measure.key, "xensock"]
        spread = (max(ours) - min(ours)) / results.median(measure, "xensock")
        percentiles = [statistics.median(results.percentiles[measure.key, path])
                       for path in PATHS if (measure.key, path) in results.percentiles]
        bed.note(f"{measure.title + ' ' + measure.unit:38}{_columns(values)}"
                 f"{_columns((values[0] / values[1], values[0] / values[2]))}{spread:8.0%}"
                 f"{_columns(percentiles, digits=0)}")


def _table_of_shares(bed, results):
    heads = "".join(f"{path:>10}" for path in PATHS)
    bed.note(f"{'slowest / fastest stream':38}{heads}")
    for measure in MEASURES:
        if (measure.key, PATHS[0]) in results.shares:
            shares = [statistics.median(results.shares[measure.key, path]) for path in PATHS]
            bed.note(f"{measure.title:38}{_columns(shares)}")


def _table_of_costs(bed, results):
    bed.note(f"{'of a MB, or of 1,000':38} {'':>10}" + "".join(f"{name:>14}" for name in COSTS))
    for measure in MEASURES:
        for path in PATHS:
            bed.note(f"{measure.title:38} {path:>10}{_columns(results.costs(measure, path), 14, 4)}")
