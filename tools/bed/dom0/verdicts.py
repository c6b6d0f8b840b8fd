# SPDX-License-Identifier: GPL-2.0
"""Programs that have passed in dom0 before, in just the same surroundings: they need not run again."""

import hashlib

import port


def _digest(*paths):
    whole = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            whole.update(hashlib.sha256(file.read()).digest())
    return whole.hexdigest()


class Verdicts:
    """Keys of what has passed; the host keeps them from run to run."""

    def __init__(self, kernel, passed):
        """kernel: stands for what the host knows of the kernel, its source, patches and configuration."""
        self._passed = set(passed)
        self._surroundings = kernel + _digest("/lib/x86_64-linux-gnu/libc.so.6", "/usr/lib/xensock/peer")

    def key(self, command, *settings):
        """Stands for the command, its program, these settings, and the kernel and the files that it needs."""
        program = f"/usr/lib/xensock/{command.split()[0]}"
        text = "\n".join((command, _digest(program), self._surroundings, *settings))
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def passed(self, key):
        return key in self._passed

    def note(self, key):
        """It has passed, just now."""
        self._passed.add(key)
        port.emit("V", key)
