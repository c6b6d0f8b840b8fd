# SPDX-License-Identifier: GPL-2.0
"""Accounts for the time of a run."""

import contextlib
import threading
import time

import port

# For each open block: seconds of the blocks inside it.
_inner = []
_totals = {}


@contextlib.contextmanager
def measure(what):
    """Accounts the time of the block under these words, without the time of such blocks inside it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    began = time.monotonic()
    _inner.append(0.0)
    try:
        yield
    finally:
        seconds = time.monotonic() - began
        count, total = _totals.get(what, (0, 0.0))
        _totals[what] = count + 1, total + seconds - _inner.pop()
        if _inner:
            _inner[-1] += seconds


def send_totals():
    """Sends the totals to the host, at the end of the run."""
    for what, (count, seconds) in _totals.items():
        port.emit("W", f"{seconds:.2f} {count} {what}")
