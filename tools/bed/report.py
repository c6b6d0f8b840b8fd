# SPDX-License-Identifier: GPL-2.0
"""Hands scenario files out to machines, and makes one report of their results."""

from ktap import Count


class Report:
    """KTAP of all files, in the order in which they were handed out, each in one piece."""

    def __init__(self, emit):
        """emit(line) is called for each line of KTAP, in order."""
        self._emit = emit
        self.count = Count()
        self._files = {}
        self._begun = 0
        self._shown = 1
        self._open = {}

    def plan(self, name):
        """Plans a file. Each machine plans the same files before it asks for the first."""
        if not self._begun:
            self._files[name] = None

    def next(self):
        """Returns the number and name of a file for an idle machine, or None."""
        if not self._begun:
            self._line("KTAP version 1")
            self._line(f"1..{len(self._files)}")
        if self._begun == len(self._files):
            return None
        self._begun += 1
        self._open[self._begun] = []
        return self._begun, list(self._files)[self._begun - 1]

    def line(self, number, text):
        """Takes a line of the file with that number, or of no file for None."""
        if number in (self._shown, None):
            self._line(text)
        else:
            self._open[number].append(text)

    def done(self, number):
        """Marks the file with that number as ended."""
        self._open[number].append(None)
        while self._shown in self._open:
            lines = self._open[self._shown]
            while lines and lines[0] is not None:
                self._line(lines.pop(0))
            if not lines:
                return
            del self._open[self._shown]
            self._shown += 1

    def flush(self):
        """Shows the output of machines that have ended in the middle of a file."""
        for lines in self._open.values():
            for text in filter(None, lines):
                self._line(text)
        self._open.clear()

    def _line(self, text):
        self.count.line(text)
        self._emit(text)
