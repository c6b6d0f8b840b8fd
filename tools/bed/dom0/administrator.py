# SPDX-License-Identifier: GPL-2.0
"""The xensock command as a function: to start Python takes seconds in here."""

import contextlib
import importlib.machinery
import importlib.util
import io
import json
import threading

import port
import spent

_loader = importlib.machinery.SourceFileLoader("xensock", "/usr/sbin/xensock")
_command = importlib.util.module_from_spec(importlib.util.spec_from_loader("xensock", _loader))
_loader.exec_module(_command)

Xenstore = _command.Xenstore


def device(store, domid, kind="xensock"):
    """A device of a guest that dom0 serves, to be written by hand."""
    return _command.Device(store, domid, kind, 0, 0)

# What it writes is caught where all of this process writes.
_lock = threading.Lock()


@spent.on("the xensock command")
def xensock(*words):
    """Runs the command with --json, gives what it writes; RuntimeError if it fails."""
    port.emit("D", f"$ xensock {' '.join(words)}")
    out, errors = io.StringIO(), io.StringIO()
    with _lock, contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        status = _command.main([*words, "--json"])
    for line in errors.getvalue().splitlines():
        port.emit("D", line)
    result = json.loads(out.getvalue())
    if status:
        raise RuntimeError(f"xensock {' '.join(words)}: {result['error']}")
    return result
