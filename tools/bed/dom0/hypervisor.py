# SPDX-License-Identifier: GPL-2.0
"""Xen through its libraries: xl takes a quarter of a second here, and dom0 has one processor."""

import ctypes
import glob
import re
import threading

# What is read at a time of the ring of Xen's console, which is 4 MiB, see machine.py.
PIECE = 128 << 10
# The level of an error in xentoollog.h.
XTL_ERROR = 8

# A vCPU that stopped where no guest can be: at Xen's own code, with Xen's code segment, or unable to read its
# table of interrupts. The emulator has mixed up the states of guest and host.
MIXED_UP = re.compile(r"\bd(\d+)v\d+ Triple fault(?:(?!Triple fault).)*?"
                      r"(?:RIP: +e008:|cr2: fffffe0000000[0-9a-f]{3}\b)", re.DOTALL)

_lock = threading.Lock()
_text = ctypes.create_string_buffer(PIECE)
# Where in the ring the next piece begins.
_index = ctypes.c_uint(0)
# The domains that the emulator has ended.
_mixed_up = set()


def _library(name):
    """Loads a library of Xen whose name ends with a version."""
    return ctypes.CDLL(glob.glob(f"/usr/lib/*-linux-gnu/{name}.so.[0-9]*")[0], use_errno=True)


_xc = _library("libxenctrl")
_xc.xc_interface_open.restype = ctypes.c_void_p
_handle = ctypes.c_void_p(_xc.xc_interface_open(None, None, 0))
# The libraries of xl itself, which print errors on stderr.
_xl, _log = _library("libxenlight"), _library("libxentoollog")
_log.xtl_createlogger_stdiostream.restype = ctypes.c_void_p
_context = ctypes.c_void_p()


def _check(rc, what):
    if rc:
        raise OSError(ctypes.get_errno(), what)


def unpause(domid):
    """Unpauses a domain like xl unpause."""
    _check(_xc.xc_domain_unpause(_handle, ctypes.c_uint32(domid)), "xc_domain_unpause")


def destroy(domid):
    """Destroys a domain like xl destroy. Returns its error, or 0."""
    with _lock:
        if not _context:
            stderr = ctypes.c_void_p.in_dll(ctypes.CDLL(None), "stderr")
            log = ctypes.c_void_p(_log.xtl_createlogger_stdiostream(stderr, XTL_ERROR, 0))
            if _xl.libxl_ctx_alloc(ctypes.byref(_context), 0, 0, log):
                raise OSError("libxl_ctx_alloc")
    return _xl.libxl_domain_destroy(_context, ctypes.c_uint32(domid), None)


def _console():
    """Returns what Xen's console ring has got since the last call."""
    pieces, count = [], ctypes.c_uint(PIECE)
    while count.value:
        count.value = PIECE
        _check(_xc.xc_readconsolering(_handle, _text, ctypes.byref(count), 0, 1, ctypes.byref(_index)),
               "xc_readconsolering")
        pieces.append(ctypes.string_at(_text, count.value))
    text = b"".join(pieces).decode(errors="replace")
    _mixed_up.update(int(match[1]) for match in MIXED_UP.finditer(text))
    return text


def was_mixed_up(domid):
    """Returns True if the emulator has ended this domain."""
    with _lock:
        _console()
    return domid in _mixed_up


def _answer(keys):
    """Returns the lines that Xen prints for debug keys."""
    with _lock:
        _console()
        _check(_xc.xc_send_debug_keys(_handle, keys), "xc_send_debug_keys")
        return _console().splitlines()


def state():
    """Returns lines on what processors and domains do: clocks, timers, run queues. Xen's console has more."""
    return [line for line in _answer(b"tarq") if re.search(r"skew|NOW|CPU ?\d|d\d+v\d+|VCPU\d", line)]


def mapped_grants():
    """Returns the owner of each grant that another domain has mapped."""
    mapped, current = [], None
    for line in _answer(b"g"):
        if match := re.search(r"grant-table for remote d(?:omain)?\s*(\d+)", line):
            current = int(match[1])
        elif re.search(r"\[0x[0-9a-f]+\]\s+\d+\s+0x", line):
            mapped.append(current)
    return mapped
