# SPDX-License-Identifier: GPL-2.0
"""What Xen knows, by its control library: to run xl takes half a second in here."""

import ctypes
import glob
import re
import threading

# Xen's ring for its console is 4 MiB, see machine.py.
SIZE = 4 << 20

_lock = threading.Lock()
_text = ctypes.create_string_buffer(SIZE)
_xc = ctypes.CDLL(glob.glob("/usr/lib/x86_64-linux-gnu/libxenctrl.so.4*")[0], use_errno=True)
_xc.xc_interface_open.restype = ctypes.c_void_p
_handle = ctypes.c_void_p(_xc.xc_interface_open(None, None, 0))


def _must(rc, what):
    if rc:
        raise OSError(ctypes.get_errno(), what)


def _console(clear):
    """What is in the ring of Xen's console."""
    count, index = ctypes.c_uint(SIZE), ctypes.c_uint(0)
    _must(_xc.xc_readconsolering(_handle, _text, ctypes.byref(count), int(clear), 0, ctypes.byref(index)),
          "xc_readconsolering")
    return ctypes.string_at(_text, count.value).decode(errors="replace")


def mapped_grants():
    """The domain of each grant that another domain has mapped."""
    with _lock:
        _console(clear=True)
        _must(_xc.xc_send_debug_keys(_handle, b"g"), "xc_send_debug_keys")
        text = _console(clear=False)
    mapped, current = [], None
    for line in text.splitlines():
        if match := re.search(r"grant-table for remote d(?:omain)?\s*(\d+)", line):
            current = int(match[1])
        elif re.search(r"\[0x[0-9a-f]+\]\s+\d+\s+0x", line):
            mapped.append(current)
    return mapped
