# SPDX-License-Identifier: GPL-2.0
"""The xensock command as a function: starting Python takes seconds in dom0."""

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
    """Returns a guest's device that dom0 serves, for tests that write its nodes themselves."""
    return _command.Device(store, domid, kind, 0, 0)

# Output is captured for the whole process, so only one call may run at a time.
_lock = threading.Lock()


@spent.measure("the xensock command")
def xensock(*words):
    """Runs the command with --json. Returns its output; raises RuntimeError if it fails."""
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
