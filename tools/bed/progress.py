# SPDX-License-Identifier: GPL-2.0
"""Progress of a run: how far it is, how long the rest will take, which tests took longest, and which
had no time."""

import json
import os


class Progress:
    """Planned and finished tests, by the name FILE.TEST, with the seconds they took in earlier
    runs."""

    def __init__(self, path):
        self._path = path
        self.machines = 1
        # Used as an ordered set: each machine plans the same tests.
        self._planned = {}
        self._done = {}
        self._spent = {}
        self.left_out = []
        self.flaky = []
        self._known = self._load(path) or {}

    @staticmethod
    def _load(path):
        try:
            with open(path, encoding="ascii") as file:
                return json.load(file)
        except (OSError, ValueError):
            return None

    def plan(self, name):
        self._planned[name] = None

    def done(self, name, seconds):
        self._done[name] = seconds

    def leave_out(self, name):
        self.left_out.append(name)

    def spend(self, what, count, seconds):
        """Adds time that a machine has spent on something, and how often."""
        before = self._spent.get(what, (0, 0))
        self._spent[what] = before[0] + seconds, before[1] + count

    def __str__(self):
        text = f"{len(self._done)} of {len(self._planned)} tests done"
        left = self._left()
        return text if left is None else f"{text}, about {max(1, round(left / 60))} min left"

    def _left(self):
        """Returns the seconds left, or None if too few of the tests have ever run. Adjusts for a
        slow run."""
        known = [name for name in self._done if name in self._known]
        before = sum(self._known[name] for name in known)
        if before < 10:
            return None
        pace = sum(self._done[name] for name in known) / before
        rest = [name for name in self._planned if name not in self._done]
        times = [self._known[name] for name in rest if name in self._known]
        mean = (sum(times) + before) / (len(times) + len(known))
        return pace * (sum(times) + mean * (len(rest) - len(times))) / self.machines

    def of_files(self):
        """Returns the seconds that each file took in earlier runs."""
        sums = {}
        for name, seconds in self._known.items():
            file = name.partition(".")[0]
            sums[file] = sums.get(file, 0) + seconds
        return sums

    def files_left_out_before(self):
        """Returns the files of which the last run has left out something."""
        return sorted({name.partition(".")[0] for name in self._load(self._left_out_path()) or ()})

    def _left_out_path(self):
        return f"{self._path}.left-out"

    def slowest(self, count=10):
        """Returns lines on the tests that took longest."""
        by_time = sorted(self._done.items(), key=lambda item: -item[1])
        return [f"{seconds:7.1f} s  {name}" for name, seconds in by_time[:count]]

    def spent(self):
        """Returns lines on the use of the time."""
        by_time = sorted(self._spent.items(), key=lambda item: -item[1][0])
        return [f"{seconds:7.1f} s  {count:5d} x {what}" for what, (seconds, count) in by_time]

    def save(self, path):
        """Writes the times of this run to the path. Times of earlier runs are kept for estimates."""
        with open(path, "w", encoding="ascii") as file:
            file.writelines(f"{seconds:8.1f} {name}\n" for name, seconds in self._done.items())
        self._known.update(self._done)
        self._store(self._path, self._known)
        # A run of some tests leaves the others as they were.
        before = self._load(self._left_out_path()) or []
        left_out = dict.fromkeys(name for name in (*before, *self.left_out) if name not in self._done)
        self._store(self._left_out_path(), list(left_out))

    @staticmethod
    def _store(path, value):
        with open(f"{path}.new", "w", encoding="ascii") as file:
            json.dump(value, file, indent=0, sort_keys=True)
        os.replace(f"{path}.new", path)
