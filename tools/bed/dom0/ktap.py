# SPDX-License-Identifier: GPL-2.0
"""KTAP: writes it, passes on the output of test programs, counts results."""

import re

import port

RESULT = re.compile(r"(?P<indent> *)(?P<not>not )?ok (?P<number>\d+) ?(?:- )?(?P<name>[^#]*)(?P<directive>#.*)?$")
PLAN = re.compile(r" *1\.\.(\d+)")

_depth = 0
# Lines that are not sent yet, see hold().
_held = None


def line(text, deeper=0):
    text = "    " * (_depth + deeper) + text
    if _held is None:
        port.emit("T", text)
    else:
        _held.append(text)


def hold():
    """Keeps all lines until release()."""
    global _held
    _held = []


def release(as_notes=False):
    """Sends the lines that were kept, or notes of them: then they are no results."""
    global _held
    lines, _held = _held, None
    for text in lines or ():
        if as_notes:
            note(text.strip())
        else:
            port.emit("T", text)


def note(text):
    for part in text.splitlines() or [""]:
        line(f"# {part}")


def result(number, name, ok, directive="", deeper=0):
    line(f"{'ok' if ok else 'not ok'} {number} {name}{' # ' + directive if directive else ''}", deeper)


class nested:
    """One more level, for a test that has subtests."""

    def __init__(self, name, plan):
        self._name = name
        self._plan = plan

    def __enter__(self):
        global _depth
        _depth += 1
        line("KTAP version 1")
        line(f"# Subtest: {self._name}")
        line(f"1..{self._plan}")

    def __exit__(self, *_):
        global _depth
        _depth -= 1


class Subtests:
    """Passes the KTAP of one program on, as subtests of the running test.

    The numbers continue over several programs of a test. Their total is not known before, so this
    level has no plan.
    """

    test = ""
    count = 0
    failed = []
    skipped = []

    @classmethod
    def begin(cls, test):
        """Begins a new test."""
        cls.test = test
        cls.count = 0
        cls.failed = []
        cls.skipped = []

    def __init__(self):
        self._plan = None
        self._seen = 0
        self._closed = False

    def line(self, text):
        """Handles one line of the program. Called by the thread that reads it."""
        if self._closed:
            return
        if (match := RESULT.match(text)) and not match["indent"]:
            self._result(match)
        elif (match := PLAN.match(text)) and not text.startswith(" "):
            self._plan = int(match[1])
        elif text.startswith(" ") or text.startswith("#"):
            line(text, 1)
        elif text and not re.match(r"K?TAP version", text):
            line(f"# {text}", 1)

    def _result(self, match):
        if Subtests.count == 0:
            line("KTAP version 1", 1)
            line(f"# Subtest: {Subtests.test}", 1)
        Subtests.count += 1
        self._seen += 1
        name = match["name"].strip()
        if match["not"]:
            Subtests.failed.append(name)
        elif "SKIP" in (match["directive"] or ""):
            Subtests.skipped.append(name)
        result(Subtests.count, name, not match["not"], (match["directive"] or "").lstrip("# "), 1)

    def close(self):
        """Ignores further output of the program."""
        self._closed = True

    def check_status(self, rc):
        """Judges a program that has ended: missing results count as a failure."""
        if self._plan == 0:
            return  # all tests were skipped, with the reason
        if self._seen == 0:
            raise AssertionError(f"the program reported no results (exit status {rc})")
        if self._plan is not None and self._plan != self._seen:
            raise AssertionError(f"the program planned {self._plan} tests but reported "
                                 f"{self._seen} (exit status {rc})")
        if rc not in (0, 4) and not Subtests.failed:
            raise AssertionError(f"the program's exit status is {rc}")


class Count:
    """Counts the results of a KTAP stream, each leaf once.

    A parent counts only when it failed though none of its children did.
    """

    def __init__(self):
        self.passed = self.failed = self.skipped = 0
        self.plan = None
        self.top = 0
        self._children = {}

    def line(self, text):
        if match := RESULT.match(text):
            self._result(match)
        elif (match := PLAN.match(text)) and not text.startswith(" "):
            self.plan = int(match[1])

    def _result(self, match):
        depth = len(match["indent"]) // 4
        ok = not match["not"]
        deeper = [d for d in self._children if d > depth]
        failures = sum(self._children.pop(d)[1] for d in deeper)
        if not ok and not failures:
            self.failed += 1
        elif not deeper and re.match(r"#\s*SKIP", match["directive"] or "", re.I):
            self.skipped += 1
        elif not deeper:
            self.passed += 1
        seen, failed = self._children.get(depth, (0, 0))
        self._children[depth] = (seen + 1, failed + (not ok))
        if depth == 0:
            self.top += 1

    @property
    def complete(self):
        return self.plan is not None and self.top == self.plan
