# SPDX-License-Identifier: GPL-2.0
"""The directory of one run, and its results so far."""

import os
import sys
import time

from progress import Progress
from report import Report
from watch import splat


class Results:
    """The output of all machines. show: the part that is printed as it comes."""

    def __init__(self, cache, show, what):
        results = os.path.join(cache, "results")
        self.path = os.path.join(results, time.strftime("%Y%m%d-%H%M%S-") + str(os.getpid()))
        os.makedirs(self.path)
        self.report = Report(self._ktap)
        self.verdicts = []
        # Seconds since the epoch: no test begins later.
        self.deadline = float("inf")
        self.progress = Progress(os.path.join(results, f"times-{what}.json"))
        self.splats = []
        self._show = show
        self._began = time.monotonic()
        self._files = {}

    def log(self, name, line):
        if name not in self._files:
            # pylint: disable=consider-using-with
            self._files[name] = open(os.path.join(self.path, name), "w", buffering=1)
        self._files[name].write(f"{time.monotonic() - self._began:8.2f} {line}\n")
        self._files[name].flush()

    def tail(self, name):
        path = os.path.join(self.path, name)
        if os.path.exists(path):
            with open(path) as file:
                sys.stderr.writelines(file.readlines()[-15:])

    def first_splat(self):
        """Returns the lines from the first splat on, as far as they concern it."""
        name, _, line = self.splats[0].partition(": ")
        with open(os.path.join(self.path, name)) as file:
            lines = file.read().splitlines()
        began = next(number for number, text in enumerate(lines) if text.endswith(line))
        return lines[began:began + 40]

    def console(self, name, line):
        """Takes a line of a console: logs it and checks it for failures of the run."""
        self.log(f"{name}.log", line)
        if self._show == "all":
            print(f"{name}| {line}", flush=True)
        if splat(os.path.basename(name), line):
            self.splats.append(f"{name}.log: {line}")

    def show(self, kind, text):
        """Prints the text if this run shows its kind."""
        if self._show == kind:
            print(text, flush=True)

    def _ktap(self, text):
        self.log("test.ktap", text)
        self.show("all", text)
        self.show("ktap", text)


class MachineRun:
    """One machine of a run: its output, and its current file."""

    def __init__(self, results, name, machine):
        """name: the subdirectory of its logs; empty if it is the only machine."""
        self.machine = machine
        # Set when dom0's program has said something.
        self.has_begun = False
        self.ended = False
        self.quiet_since = time.monotonic() + 60
        self._results = results
        self._name = name
        self._number = None

    def log(self, name):
        """Returns the name of one of its logs, in the directory of the run."""
        return os.path.join(self._name, name)

    def handle_line(self, source, line):
        """Takes one line of the machine, from its console or from dom0's program."""
        results = self._results
        if source == "console":
            results.console(self.log("xen" if line.startswith("(XEN)") else "dom0"), line)
            return
        self.has_begun = True
        self.quiet_since = time.monotonic()
        kind, _, text = line.partition(" ")
        if kind == "T":
            results.report.line(self._number, text)
            if text.lstrip().startswith("# ") and "Subtest:" not in text:
                results.show("notes", text.lstrip()[2:])
        elif kind == "D":
            results.console(self.log("dom0"), text)
        elif kind == "G":
            name, _, text = text.partition(" ")
            results.console(self.log(f"guest-{name}"), text)
        elif kind == "P":
            results.progress.plan(text)
            results.report.plan(text.partition(".")[0])
        elif kind == "N":
            self._next_file()
        elif kind == "S":
            name, seconds = text.split()
            results.progress.done(name, float(seconds))
        elif kind == "Q":
            self.machine.answer("yes" if time.time() < results.deadline else "")
        elif kind == "F":
            results.progress.flaky.append(text)
        elif kind == "L":
            results.progress.leave_out(text)
        elif kind == "W":
            seconds, count, what = text.split(maxsplit=2)
            results.progress.spend(what, int(count), float(seconds))
        elif kind == "V":
            results.verdicts.append(text)
        elif kind == "E":
            self.ended = True

    def _next_file(self):
        report = self._results.report
        if self._number is not None:
            report.done(self._number)
        self._number, name = report.next() or (None, None)
        self.machine.answer(f"{self._number} {name}" if name else "")
