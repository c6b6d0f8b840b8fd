# SPDX-License-Identifier: GPL-2.0
"""What the time of a run goes into."""

import contextlib
import threading
import time

import port

# Of each block that is open: seconds of the blocks within it.
_inner = []
_totals = {}


@contextlib.contextmanager
def on(what):
    """Accounts the time of the block to these words, but for that of such blocks within it."""
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


def tell():
    """Tells the host, at the end of the run."""
    for what, (count, seconds) in _totals.items():
        port.emit("W", f"{seconds:.2f} {count} {what}")
