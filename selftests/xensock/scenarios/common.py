# SPDX-License-Identifier: GPL-2.0
"""Shared by the scenarios: the peer in dom0, guests, the order of the data rings."""

import signal
import socket
import time
from contextlib import contextmanager

import spent
import xenstore
from bed import COUNTS

# No host has this address of the bridge's network: datagrams to it wait until that is certain.
ABSENT = "10.0.0.250"

# Send buffers of dom0 that fill up soon: many tests wait for that.
SMALL_BUFFER = 128 << 10

# Settings by which the guest decides which sockets of AF_INET go to the backend.
SETTINGS = "/proc/sys/net/xensock"

# Policy of a guest that serves: it may bind to all unprivileged ports.
SERVER_POLICY = ("bind-allow=0 1024-65535",)

# KiB that dom0 or a guest may lose.
LOST_LIMIT = 16384

# sysctls that the peer or scenarios change. A program's verdict depends on them.
SYSCTLS = ("tcp_max_tw_buckets", "tcp_syn_retries", "tcp_syn_linear_timeouts", "tcp_rto_max_ms", "tcp_wmem", "tcp_rmem")


def sysctl(where, **values):
    """Sets sysctls of IPv4, in dom0 or in a guest."""
    if where.domid == 0:
        for name, value in values.items():
            with open(f"/proc/sys/net/ipv4/{name}", "w", encoding="ascii") as file:
                file.write(str(value))
        return
    run_checked(where, " && ".join(f"echo '{value}' >/proc/sys/net/ipv4/{name}" for name, value in values.items()))


@contextmanager
def short_connects(bed):
    """Connecting to a black hole fails after 3 or 7 s inside the block, see start_peer()."""
    sysctl(bed.host, tcp_syn_linear_timeouts=0)
    try:
        yield
    finally:
        sysctl(bed.host, tcp_syn_linear_timeouts=4)


def start_peer(bed, largest_send_buffer=4 << 20, where=None, syn_retries=None, longest_wait=120000):
    """Starts the peer of all tests, at the host or elsewhere. It ends with the test.

    longest_wait: milliseconds that TCP waits at most before it tries again. Connecting to a black hole takes 7 or
    11 s to fail. With syn_retries=6, which is usual, it takes 131 s, so that an attempt outlasts a machine that
    stands still.
    """
    where = where or bed.host
    sysctl(where, tcp_max_tw_buckets=8192, tcp_syn_retries=syn_retries or (1 if bed.kconfig == "fast" else 2),
           tcp_wmem=f"4096 16384 {largest_send_buffer}", tcp_rto_max_ms=longest_wait)
    job = where.start(f"peer --host {bed.address}")
    job.wait_line("peer: ready", 60 * bed.scale)
    return job


def stats(bed):
    """Counts of the peer's ports."""
    with socket.create_connection((bed.address, 7000), timeout=60 * bed.scale) as control:
        control.sendall(b"stats\n")
        numbers = control.makefile().readline().split()
    return dict(zip(("accepted", "open", "bytes", "fins", "resets"), map(int, numbers)))


def serving_guest(bed, **options):
    """Returns a shared guest that may serve. Starts the peer of its tests."""
    guest = bed.shared_guest(policy=SERVER_POLICY, **options)
    start_peer(bed, SMALL_BUFFER)
    return guest


def in_guest(bed, *commands, over_tcp=()):
    """Runs kselftests in such a guest, at the same time, and beside them others over TCP, see in_dom0()."""
    guest = serving_guest(bed)
    with beside_dom0(bed, *over_tcp):
        guest.ktap_together(commands, 150 * bed.scale)


def stream(bed):
    """The kselftest of streams. The daily set has its cases of full buffers in calls.data only: filling them takes
    long."""
    full = "-T sndtimeo -T little_pieces_until_all_is_full -T full_then_drained_loses_nothing"
    return "stream" if bed.slow else f"stream {full}"


def ipv6():
    """The kselftest of IPv6, with the interface of dom0's link-local address as an argument."""
    with open("/sys/class/net/dummy0/ifindex", encoding="ascii") as file:
        return f"ipv6 --scope {file.read().strip()}"


def in_dom0(bed, *commands):
    """Runs kselftests over TCP: this kernel's TCP must meet the expectations for AF_XENSOCK. They run at the same time.

    A program that has passed with the same kernel, program, peer and settings is not run again.
    """
    with beside_dom0(bed, *commands):
        pass


@contextmanager
def beside_dom0(bed, *commands):
    """Runs kselftests in dom0 beside the block. They may not use ports that a program in the block has to find free."""
    jobs = _start_in_dom0(bed, commands)
    yield
    _collect(bed, jobs)


def _start_in_dom0(bed, commands):
    """Returns the programs that have not passed before: the key of each, and its job."""
    settings = []
    for name in SYSCTLS:
        with open(f"/proc/sys/net/ipv4/{name}", encoding="ascii") as file:
            settings.append(file.read())
    jobs = {}
    for command in commands:
        key = bed.verdicts.key(command, *settings)
        if bed.verdicts.passed(key):
            bed.note(f"{command}: has passed before with the same kernel and program")
        else:
            jobs[command] = key, bed.start(f"{bed.soak}{command} --family inet")
    return jobs


def _collect(bed, jobs):
    failed = []
    for command, (key, job) in jobs.items():
        rc, out = job.wait(120 * bed.scale)
        if not rc:
            bed.verdicts.note(key)
        else:
            failed.append(command)
            bed.note("\n".join(line for line in out.splitlines()
                               if not line.startswith(("ok ", "#  RUN", "#            OK"))))
    assert not failed, f"over TCP in dom0: {', '.join(failed)}"


def run_checked(where, command, timeout=None):
    """Runs a command that must succeed. Returns its output."""
    rc, out = where.run(command, timeout)
    assert rc == 0, f"{command}: exit status {rc}: {out}"
    return out


# Unbinds a module's devices.
_UNBIND = "for d in /sys/bus/xen*/drivers/{}/*-[0-9]*; do [ ! -e $d ] || echo ${{d##*/}} >${{d%/*}}/unbind; done"


def unbind(where, module):
    """Unbinds the module's devices: xenbus holds a module while it has devices."""
    run_checked(where, _UNBIND.format(module))


def unload(where, module):
    """Unloads a module that has devices. Its last sockets may take a moment to be freed."""
    run_checked(where, f"{_UNBIND.format(module)} || exit 1; "
                       f"i=0; until rmmod {module} 2>/dev/null; do i=$((i + 1)); "
                       f"[ $i -lt 2000 ] || {{ rmmod {module}; exit 1; }}; sleep 0.02; done", 180 * where.scale)


def set_order(guest, order):
    """Reloads the guest's module with data rings of that order."""
    guest.changed = True
    unload(guest, "xensock")
    run_checked(guest, f"modprobe xensock ring_order={order}")
    wait_link(guest)


@contextmanager
def hijacked(guest, **settings):
    """The guest's sockets go to the backend inside the block. All settings are restored afterwards."""
    settings.setdefault("hijack", 1)
    out = run_checked(guest, f"for name in {' '.join(settings)}; do value=$(cat {SETTINGS}/$name) || exit 1; "
                             "echo \"$name=$value\"; done; " +
                             " && ".join(f"echo {value} >{SETTINGS}/{name}" for name, value in settings.items()))
    before = dict(line.split("=", 1) for line in out.splitlines())
    try:
        yield
    finally:
        run_checked(guest, " && ".join(f"echo '{value}' >{SETTINGS}/{name}" for name, value in before.items()))


def wait_connected(guest):
    """Waits until the guest has a link. Reads that from xenstore, without a program in the guest."""
    states = [xenstore.read(f"/local/domain/{guest.domid}/device/{kind}/0/state") for kind in ("xensock", "pvcalls")]
    if "4" not in states:
        wait_link(guest)


@spent.measure("waiting for links")
def wait_link(guest):
    """Waits until the guest's sockets work again."""
    run_checked(guest, "i=0; until fetch >/dev/null 2>&1; do i=$((i + 1)); [ $i -lt 1000 ] || "
                       "{ fetch; exit 1; }; usleep 50000; done", 120 * guest.scale)


def wait_attempt(where, what, expected):
    """Waits until attempts of calls, see attempt.c, end like that: a backend learns of a change a moment later."""
    run_checked(where, f"i=0; until out=$(attempt {what}) || exit 1; last=$(echo $out); [ \"$last\" = '{expected}' ]; "
                       f"do i=$((i + 1)); [ $i -lt {300 * where.scale} ] || {{ echo \"$last\"; exit 1; }}; "
                       "sleep 0.1; done", 120 * where.scale)


def wait_disconnected(guest, device="xensock-0"):
    """Waits until the guest has no connection over that device."""
    path = f"/sys/kernel/debug/xensock/{device}"
    run_checked(guest, f"i=0; until grep -q '^connections 0$' {path}; do i=$((i + 1)); "
                       f"[ $i -lt 300 ] || {{ cat {path}; exit 1; }}; sleep 0.1; done")


def counts(guest):
    """Returns what dom0 counts of the guest's first device, by name: in upper case, the number of its requests."""
    with open(f"{COUNTS}/xensock-{guest.domid}-0/counts", encoding="ascii") as file:
        return {name: int(number) for name, number in map(str.split, file)}


def wait_requests(bed, guest, name, number):
    """Waits until the guest has sent that many requests of that name from now on."""
    deadline = time.monotonic() + 60 * bed.scale
    last = counts(guest)[name] + number
    while (now := counts(guest)[name]) < last:
        assert time.monotonic() < deadline, f"{name}: {now}, not {last}"
        time.sleep(0.1)


@contextmanager
def without_driver(bed, guest):
    """dom0's driver leaves the guest's first device to a program inside the block. It goes on serving all others."""
    device, driver = f"{guest.device}-{guest.domid}-0", "/sys/bus/xen-backend/drivers/xensock_back"
    run_checked(bed, f"echo {device} >{driver}/unbind")
    try:
        yield
    finally:
        # A guest that has died has no device any more.
        bed.run(f"echo {device} >{driver}/bind")


@contextmanager
def silent(bed, guest, how, program="silent_back"):
    """A program in the place of the guest's backend, which does not answer everything."""
    wait_connected(guest)
    with without_driver(bed, guest):
        back = bed.start(f"{program} {guest.domid} {how}")
        try:
            back.wait_line("ready", 200 * bed.scale)
            yield back
        finally:
            back.kill(signal.SIGTERM)
            back.wait(60 * bed.scale)
    wait_link(guest)


@spent.measure("accounts of what is left")
def wait_released(bed, before, tolerance=None, seconds=90):
    """Waits until dom0 uses no more of any resource than before. Returns the excess."""
    tolerance = tolerance or {}
    deadline = time.monotonic() + seconds * bed.scale

    def excess(after):
        return {key: (before[key], after[key]) for key in after if after[key] - before[key] > tolerance.get(key, 0)}

    while True:
        is_late = time.monotonic() > deadline
        # Grants take Xen longer: they are counted once there is nothing else.
        if is_late or not excess(bed.counts()):
            leaks = excess(bed.snapshot())
            if leaks and is_late:
                bed.note("not released: " + bed.host.run("ss -Haptune || cat /proc/net/tcp")[1])
            if is_late or not leaks:
                return leaks
        time.sleep(0.1)


def rest(bed, excess):
    """Waits until there is no excess: some objects are freed late, in batches. Returns what is left."""
    deadline = time.monotonic() + 60 * bed.scale
    while (left := excess()) and time.monotonic() < deadline:
        time.sleep(0.5)
    return left


def _guest_counts(guest):
    """Returns event channels, pages and objects of the guest."""
    out = run_checked(guest, "grep -c xen-dyn /proc/interrupts; grep -E 'MemAvailable|Slab:' /proc/meminfo")
    lines = out.splitlines()
    return {"event channels": int(lines[0]),
            **{line.split(":")[0]: int(line.split()[1]) for line in lines[1:]}}


def _kept(before, after):
    """Returns what the guest has kept, in words."""
    kept = []
    if after["event channels"] > before["event channels"]:
        kept.append("the guest has kept event channels")
    if after["Slab"] - before["Slab"] >= 4096:
        kept.append("the guest's slab has grown by 4 MiB or more")
    if before["MemAvailable"] - after["MemAvailable"] >= LOST_LIMIT:
        kept.append("the guest has lost 16 MiB or more")
    return kept


@contextmanager
def nothing_left(bed, guest):
    """Checks that neither dom0 nor the guest has kept anything of what happens in the block."""
    before, inside = bed.quiet_snapshot(), _guest_counts(guest)
    yield
    leaks = wait_released(bed, before)
    assert not leaks, f"dom0 has kept (before, after): {leaks}"
    kept = rest(bed, lambda: _kept(inside, _guest_counts(guest)))
    bed.note(f"guest before {inside}, after {_guest_counts(guest)}")
    assert not kept, kept
