# SPDX-License-Identifier: GPL-2.0
"""What the scenarios share: the peer in dom0, the order of the data rings."""

import socket
import time
from contextlib import contextmanager

import spent
import xenstore

# Send buffers of dom0 that are soon full: many tests wait for that.
SMALL = 128 << 10

# Where the guest says which sockets of AF_INET go to the backend.
HIJACK = "/proc/sys/net/xensock"

# A guest that serves: it may bind everything that is not privileged.
SERVES = ("bind-allow=0 1024-65535",)


# Of these the peer changes some, and scenarios others: the verdict of a program goes by them.
SYSCTLS = ("tcp_max_tw_buckets", "tcp_syn_retries", "tcp_wmem", "tcp_rmem")


def sysctl(where, **values):
    """Sets some of IPv4, in dom0 or in a guest."""
    if where.domid == 0:
        for name, value in values.items():
            with open(f"/proc/sys/net/ipv4/{name}", "w", encoding="ascii") as file:
                file.write(str(value))
        return
    must(where, " && ".join(f"echo '{value}' >/proc/sys/net/ipv4/{name}" for name, value in values.items()))


def peer(bed, largest_send_buffer=4 << 20, where=None):
    """Starts the peer of all tests, with the host or elsewhere; it ends with the test."""
    where = where or bed.host
    # A black hole is given up after 3 s, not after 127.
    sysctl(where, tcp_max_tw_buckets=8192, tcp_syn_retries=1 if bed.kconfig == "fast" else 2,
           tcp_wmem=f"4096 16384 {largest_send_buffer}")
    job = where.start(f"peer --host {bed.address}")
    job.wait_line("peer: ready", 30 * bed.scale)
    return job


def stats(bed):
    """What the peer has counted on its ports."""
    with socket.create_connection((bed.address, 7000), timeout=10) as control:
        control.sendall(b"stats\n")
        numbers = control.makefile().readline().split()
    return dict(zip(("accepted", "open", "bytes", "fins", "resets"), map(int, numbers)))


def serving_guest(bed, **options):
    """A shared guest that may serve, and the peer of its tests."""
    guest = bed.shared_guest(policy=SERVES, **options)
    peer(bed, SMALL)
    return guest


def in_guest(bed, *commands, **options):
    """Kselftests in such a guest."""
    guest = serving_guest(bed, **options)
    for command in commands:
        guest.ktap(command, 150 * bed.scale)


def in_dom0(bed, *commands):
    """Kselftests over TCP: what they expect of AF_XENSOCK is what this kernel's TCP does.

    One that has passed with the same kernel, program, peer and settings is not run again.
    """
    settings = []
    for name in SYSCTLS:
        with open(f"/proc/sys/net/ipv4/{name}", encoding="ascii") as file:
            settings.append(file.read())
    failed = []
    for command in commands:
        key = bed.verdicts.key(command, *settings)
        if bed.verdicts.passed(key):
            bed.note(f"{command}: has passed before with the same kernel and program")
            continue
        rc, out = bed.run(f"{bed.soak}{command} --family inet", 120 * bed.scale)
        if not rc:
            bed.verdicts.note(key)
        else:
            failed.append(command)
            bed.note("\n".join(line for line in out.splitlines()
                               if not line.startswith(("ok ", "#  RUN", "#            OK"))))
    assert not failed, f"over TCP in dom0: {', '.join(failed)}"


def must(where, command, timeout=60):
    """Runs a command that has to succeed, gives its output."""
    rc, out = where.run(command, timeout)
    assert rc == 0, f"{command}: exit status {rc}: {out}"
    return out


def unbind(where, module):
    """Takes the module's devices away from it: xenbus holds a module while it has any."""
    must(where, f"for d in /sys/bus/xen*/drivers/{module}/*-[0-9]*; do "
                "[ ! -e $d ] || echo ${d##*/} >${d%/*}/unbind; done")


def unload(where, module):
    """Unloads a module that has devices; its last sockets may take a moment to go."""
    unbind(where, module)
    must(where, f"i=0; until rmmod {module} 2>/dev/null; do i=$((i + 1)); "
                f"[ $i -lt 100 ] || {{ rmmod {module}; exit 1; }}; sleep 0.1; done")


def set_order(guest, order):
    """Loads the guest's module anew, with data rings of that order."""
    guest.changed = True
    unload(guest, "xensock")
    must(guest, f"modprobe xensock ring_order={order}")
    wait_link(guest)


@contextmanager
def hijacked(guest, **settings):
    """The guest's sockets go to the backend for as long; all settings are as before then."""
    settings.setdefault("hijack", 1)
    before = {name: must(guest, f"cat {HIJACK}/{name}").strip() for name in settings}
    for name, value in settings.items():
        must(guest, f"echo {value} >{HIJACK}/{name}")
    try:
        yield
    finally:
        for name, value in before.items():
            must(guest, f"echo '{value}' >{HIJACK}/{name}")


def wait_connected(guest):
    """Waits until the guest has a link, which xenstore tells without a program in the guest."""
    states = [xenstore.read(f"/local/domain/{guest.domid}/device/{kind}/0/state") for kind in ("xensock", "pvcalls")]
    if "4" not in states:
        wait_link(guest)


@spent.on("waiting for links")
def wait_link(guest, timeout=30):
    """Waits until the guest's sockets work again."""
    must(guest, f"i=0; until fetch >/dev/null 2>&1; do i=$((i + 1)); [ $i -lt {timeout * 5} ] || "
                "{ fetch; exit 1; }; usleep 200000; done", timeout + 10)


@spent.on("accounts of what is left")
def settled(bed, before, tolerance=None, patience=30):
    """Waits until dom0 keeps no more of any resource than before, gives what it has kept."""
    tolerance = tolerance or {}
    until = time.monotonic() + patience * bed.scale
    while True:
        after = bed.snapshot()
        off = {key: (before[key], after[key]) for key in before
               if after[key] - before[key] > tolerance.get(key, 0)}
        if not off or time.monotonic() > until:
            return off
        time.sleep(0.2)
