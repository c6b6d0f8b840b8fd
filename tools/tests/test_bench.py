# SPDX-License-Identifier: GPL-2.0
"""make bench: each of its parts reports figures, on a machine that only pretends; the figures of all
parts come together."""

import importlib.util
import os
import re
import sys
import tempfile
import types
import unittest
from unittest import mock

TOP = os.path.join(os.path.dirname(os.path.realpath(__file__)), "../..")
BENCH = os.path.join(TOP, "tools/bench")
sys.path[:0] = [os.path.join(TOP, "tools/bed"), BENCH]

# pylint: disable=wrong-import-position
import machine
import measures
from figures import merged

PARTS = {"bench", "alone", "copying", "polling", "switches", "idle", "c_backend", "guest"}


class FakeJob:
    def wait_line(self, *_):
        pass

    def kill(self):
        pass

    def wait(self, *_):
        pass


class Died(Exception):
    """The emulator has ended a guest."""


class FakeDomain:
    """Answers the commands of the benchmark. Dies at one of the measurements, if that is set."""

    domid = 0
    commands = 0
    dies_at = None

    def start(self, _):
        return FakeJob()

    def run(self, command, *_):
        if command == "xl list":
            return 0, "Name ID Mem VCPUs State Time(s)\nDomain-0 0 512 1 r----- 5.0\ng 1 256 1 -b---- 3.5"
        if command.startswith("cat /proc/interrupts"):
            return 0, f"16: {FakeDomain.commands} xen-dyn -event xenbus\nctxt {FakeDomain.commands}"
        if "/proc/meminfo" in command:
            names = ("Slab", "Percpu", "MemTotal", "Balloon", "MemAvailable")
            return 0, "\n".join(f"{name}: 1000 kB" for name in names)
        words = re.search(r"\bbench(?:_guest)? (\w+)", command)
        FakeDomain.commands += 1
        if FakeDomain.commands == self.dies_at:
            raise Died
        if not words:
            return 0, ""
        numbers = {"send": "1e6 5 10", "recv": "2e6 5 10", "rr": "1000.0 900", "udp": "900.0 950"}
        return 0, numbers.get(words[1], "500.0")


class FakeGuest(FakeDomain):
    domid = 1

    def destroy(self):
        pass


class FakeBed(FakeDomain):
    address, bridge_address, kind, processor = "192.0.2.1", "10.0.0.1", "pv", "a processor, 2 CPUs"

    def __init__(self, kind="pv"):
        self.kind = kind
        self.notes = []
        self.guests = []

    def guest(self, **options):
        self.guests.append(options)
        return FakeGuest()

    def xensock(self, *_):
        pass

    def note(self, text):
        # As in the log: the time, and the depth of a subtest.
        self.notes.append(f"  12.00     # {text}")


def load():
    """Returns bench.py as a new module."""
    def decorator(_):
        return lambda test: test
    bed = types.ModuleType("bed")
    bed.timeout = bed.attempts = decorator
    spec = importlib.util.spec_from_file_location("bench", os.path.join(BENCH, "bench.py"))
    module = importlib.util.module_from_spec(spec)
    scenarios = {"bed": bed, "scenarios": types.ModuleType("scenarios"), "scenarios.measures": measures}
    with mock.patch.dict(sys.modules, scenarios):
        spec.loader.exec_module(module)
    return module


class PartsTest(unittest.TestCase):
    def tearDown(self):
        FakeDomain.dies_at = None

    def run_all(self, kind="pv"):
        bench, bed = load(), FakeBed(kind)
        tests = {name.removeprefix("test_"): test for name, test in vars(bench).items() if name.startswith("test_")}
        self.assertEqual(set(tests), PARTS)
        for test in tests.values():
            test(bed)
        return bed

    def test_each_reports(self):
        found = merged("\n".join(self.run_all().notes))
        self.assertEqual(found.pop("machine"), {"processor": "a processor, 2 CPUs", "guest": "pv"})
        self.assertEqual(set(found), PARTS)
        rates = found["bench"]["rates"]
        self.assertEqual(len(rates), len(measures.MEASURES) * len(measures.PATHS))
        self.assertEqual(rates["send-1-64 netfront"], [1e6] * measures.ROUNDS)
        self.assertEqual(found["bench"]["percentiles"]["rr xensock"], [900] * measures.ROUNDS)
        self.assertEqual(found["bench"]["shares"]["recv-64-262144 xensock"], [0.5] * measures.ROUNDS)
        self.assertEqual(found["c_backend"]["rates"]["send-1-262144 pvcalls"], [1e6] * measures.ROUNDS)

    def test_table(self):
        notes = "\n".join(self.run_all().notes)
        self.assertIn("# on a processor, 2 CPUs, with a pv guest\n", notes)
        self.assertRegex(notes, r"1-byte request/response /s( +1000.00){3}( +1.00){2} +0%( +900){3}\n")
        self.assertRegex(notes, r"dom0 to guest, 64 B at a time MB/s( +2.00){3}( +1.00){2} +0%\n")

    def test_kind_of_all_guests(self):
        for options in self.run_all().guests:
            self.assertNotIn("kind", options)
        for options in self.run_all("pvh").guests:
            self.assertEqual((options["kind"], options["vcpus"]), ("pvh", 2))

    def test_goes_on_with_another_guest(self):
        bench, bed = load(), FakeBed("pvh")
        FakeDomain.dies_at = FakeDomain.commands + 50
        with self.assertRaises(Died):
            bench.test_bench(bed)
        bench.test_bench(bed)
        rates = merged("\n".join(bed.notes))["bench"]["rates"]
        self.assertEqual({len(values) for values in rates.values()}, {measures.ROUNDS})


class FiguresTest(unittest.TestCase):
    def test_last_of_a_part(self):
        log = ('   1.00     # JSON {"machine": 1, "a": {"x": 1}}\n   2.00     # no figures\n'
               '   3.00     # JSON {"machine": 1, "b": {}}\n   4.00     # JSON {"machine": 1, "a": {"x": 2}}\n')
        self.assertEqual(merged(log), {"machine": 1, "a": {"x": 2}, "b": {}})
        self.assertEqual(merged("nothing"), {})


class ProcessorTest(unittest.TestCase):
    def processor(self, text):
        with tempfile.NamedTemporaryFile("w") as file:
            file.write(text)
            file.flush()
            return machine.processor(file.name)

    def test_model_and_number(self):
        text = "processor\t: {}\nmodel\t\t: 1\nmodel name\t: Some Name @ 2.00GHz\n\n"
        self.assertEqual(self.processor(text.format(0)), "Some Name @ 2.00GHz, 1 CPU")
        self.assertEqual(self.processor(text.format(0) + text.format(1)), "Some Name @ 2.00GHz, 2 CPUs")

    def test_without_a_name(self):
        with mock.patch("platform.machine", lambda: "aarch64"):
            self.assertEqual(self.processor("processor\t: 0\nFeatures\t: fp\n\n"), "aarch64, 1 CPU")


if __name__ == "__main__":
    unittest.main()
