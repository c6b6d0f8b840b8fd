# SPDX-License-Identifier: GPL-2.0
"""Recognises messages of a kernel or a hypervisor that report a fault."""

import re

# A kernel's own lines begin with a time. The output of programs cannot be a splat.
KERNEL = re.compile(r"\[ *\d+\.\d{6}\] ?(.*)")

KERNEL_SPLATS = re.compile("|".join((
    r"\bBUG\b[: ]", r"WARNING: ", r"KASAN", r"UBSAN", r"Oops", r"Call Trace", r"Kernel panic",
    r"panicked at", r"rust_kernel: .*panic", r"possible circular", r"possible recursive",
    r"inconsistent lock state", r"lock held when returning", r"suspicious RCU", r"Invalid wait context",
    r"sleeping function", r"scheduling while atomic", r"general protection", r"unable to handle",
    r"blocked for more than", r"soft lockup", r"hard lockup", r"rcu.*detected.*stall", r"stack-protector",
    r"ODEBUG", r"refcount_t", r"list_(?:add|del) corruption", r"[Bb]ad page", r"unreferenced object",
    r"new suspected memory leaks", r"kmemleak: unreferenced", r"Object still in use", r"Objects remaining",
    r"unregister_netdevice: waiting", r"Out of memory", r"invoked oom-killer", r"nobody cared",
)))

XEN_SPLATS = re.compile("|".join((
    r"Xen BUG", r"Xen WARN", r"Panic on CPU", r"Assertion", r"FATAL", r"\bcrashed\b", r"domain_crash",
    r"Xen call trace", r"Hardware Dom0 (?:crashed|halted)",
)))

# Messages of kernels that are not our fault.
HARMLESS = re.compile("|".join((
    r"hest: ", r"Spectre", r"CPU MITIGATIONS", r"x86/bugs", r"RETBleed", r"MDS CPU bug",
    r"Speculative", r"BUG: .*bugs present",
)))


def splat(source, line):
    """Returns the reason why this line of a console fails the run, or None."""
    if source == "xen":
        return line if XEN_SPLATS.search(line) else None
    if line.startswith("kmemleak:"):
        return line
    match = KERNEL.match(line)
    if match and KERNEL_SPLATS.search(match[1]) and not HARMLESS.search(match[1]):
        return line
    return None
