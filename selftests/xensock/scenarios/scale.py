# SPDX-License-Identifier: GPL-2.0
"""Many sockets at once and one after another. Afterwards nothing is left of them."""

import contextlib
import resource
import selectors
import socket
import threading
import time

from bed import timeout
from scenarios.common import (
    LOST_LIMIT, SERVER_POLICY, nothing_left, rest, run_checked, set_order, start_peer, stats, sysctl, wait_connected,
    wait_released)

# Losing one object for each of 1,200 connections would exceed this. A cache that merely keeps some
# objects for later stays below.
SLAB_TOLERANCE = 1000
# Caches whose objects belong to the bed's own processes and files. The stacks of the peer's threads
# are in the first.
BUSY_CACHES = ("vmap_area", "vm_area_struct", "anon_vma", "dentry", "inode", "filp", "maple_node", "pid",
               "task", "cred", "signal", "sighand", "files_cache", "mm_struct", "radix_tree",
               "names_cache", "buffer_head", "shmem", "proc", "kernfs", "sock_inode_cache")

# Orders of the data rings whose cost is reported.
IDLE = (2, 1)

# Connections that a guest has at once with xl's defaults: 1023 event channels, 32768 grants.
AT_ONCE = 4000


def _guest(bed):
    guest = bed.shared_guest(policy=SERVER_POLICY)
    job = start_peer(bed)
    # Thousands of connections in TIME_WAIT would hide a leak.
    sysctl(bed.host, tcp_max_tw_buckets=0)
    wait_connected(guest)
    return guest, job


def _slab_growth(before, after):
    return {name: (count, after.get(name, 0)) for name, count in before.items()
            if after.get(name, 0) - count > SLAB_TOLERANCE
            and not name.startswith(BUSY_CACHES)}


def _sockets(bed):
    """Returns the number of the host's connections with the peer that are not closing."""
    states = [line.split()[3] for line in run_checked(bed.host, "cat /proc/net/tcp").splitlines()[1:]]
    return sum(state not in ("06", "0A") for state in states)


def _meminfo(text):
    """Returns KiB by name."""
    return {key: int(value.split()[0]) for key, _, value in
            (line.partition(":") for line in text.splitlines() if " kB" in line)}


def _memory(bed):
    """Returns KiB that the host could use. The balloon keeps the pages replaced by mapped grants,
    for reuse."""
    values = _meminfo(run_checked(bed.host, "cat /proc/meminfo"))
    return values["MemAvailable"] + values["Balloon"]


@contextlib.contextmanager
def _check_nothing_left(bed, guest):
    """Checks that both domains are the same after the block as before."""
    with nothing_left(bed, guest):
        slab, sockets, memory = bed.slab(), _sockets(bed), _memory(bed)
        yield
    assert not rest(bed, lambda: _sockets(bed) > sockets), "dom0 has kept sockets"
    growth = rest(bed, lambda: _slab_growth(slab, bed.slab()))
    assert not growth, f"dom0's slab caches have grown (before, after): {growth}"
    # The balloon takes a while to take its pages back.
    deadline = time.monotonic() + 60 * bed.scale
    while (lost := memory - _memory(bed)) >= LOST_LIMIT and time.monotonic() < deadline:
        time.sleep(0.5)
    assert lost < LOST_LIMIT, f"dom0 has lost {lost} KiB of memory"
    bed.note(f"dom0 has {lost} KiB less")


@timeout(420)
def test_many(bed):
    """Cycles of connect, exchange and close leave nothing behind."""
    guest, job = _guest(bed)
    run_checked(guest, "many --cycles 50 >/dev/null", 120 * bed.scale)  # fills all caches
    cycles = bed.pick(daily=1200, slow=2000, debug=200)
    with _check_nothing_left(bed, guest):
        guest.ktap(f"many --sockets 200 --cycles {cycles}", 400 * bed.scale)
    assert job.running, "the peer has ended"


@timeout(420)
def test_hundreds_at_once(bed):
    """Hundreds of connections made by the guest, then as many accepted by it, all of them echoing."""
    guest, job = _guest(bed)
    sockets = bed.pick(daily=500, slow=1000, debug=200)
    both = "many -t sockets_at_once --sockets {0}", "serve -t all_at_once --sockets {0}"
    for command in both:
        run_checked(guest, command.format(sockets // 4), 120 * bed.scale)
    with _check_nothing_left(bed, guest):
        for command in both:
            guest.ktap(command.format(sockets), 180 * bed.scale)
    assert job.running, "the peer has ended"


@timeout(420)
def test_server_of_short_connections(bed):
    """Connections to a server in the guest, one after another and 16 at once: none is lost."""
    guest, job = _guest(bed)
    cycles = bed.pick(daily=1250, slow=10000, debug=800)
    command = "serve -t short_connections --cycles {}"
    run_checked(guest, command.format(160), 120 * bed.scale)
    with _check_nothing_left(bed, guest):
        guest.ktap(command.format(cycles), 300 * bed.scale)
    assert job.running, "the peer has ended"


class Echo:
    """An echo server in dom0 without a thread for each connection."""

    PORT = 7101

    def __init__(self, address):
        self._listener = socket.create_server((address, self.PORT), backlog=4096)
        self._waker, self._stop = socket.socketpair()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.close()
        self._thread.join()

    def _serve(self):
        with selectors.DefaultSelector() as selector, self._listener, self._waker:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._waker, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fileobj is self._waker:
                        for left in list(selector.get_map().values()):
                            left.fileobj.close()
                        return
                    if key.fileobj is self._listener:
                        selector.register(self._listener.accept()[0], selectors.EVENT_READ)
                    elif not self._echo(key.fileobj):
                        selector.unregister(key.fileobj)
                        key.fileobj.close()

    @staticmethod
    def _echo(connection):
        try:
            data = connection.recv(4096)
            connection.sendall(data)
        except OSError:
            return False
        return bool(data)


def _channels(guest):
    """Returns the number of event channels of a guest's devices, of all kinds."""
    return int(run_checked(guest, "grep -c xen-dyn /proc/interrupts"))


@timeout(900)
def test_thousands_at_once(bed):
    """More connections than a guest has event channels by xl's defaults: they share one."""
    sockets = bed.pick(daily=1200, slow=AT_ONCE, debug=200)
    # The test uses a server in dom0 without a thread for each connection.
    guest = bed.guest("thousands", memory=384, in_dom0=True)
    start_peer(bed, where=bed)
    wait_connected(guest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (sockets + 200, sockets + 200))
    with Echo(bed.address):
        before = bed.quiet_snapshot(), _channels(guest)
        began = time.monotonic()
        held = guest.start(f"hold idle --sockets {sockets} --port {Echo.PORT - 1}")
        held.wait_line("ready", 800 * bed.scale)
        took = time.monotonic() - began
        at_once = bed.counts(), _channels(guest)
        bed.note(f"{sockets} connections in {took:.1f} s; event channels in dom0 "
                 f"{before[0]['event channels']}, then {at_once[0]['event channels']}; in the guest "
                 f"{before[1]}, then {at_once[1]}")
        # Other parts of the system may open or close a channel.
        assert at_once[0]["event channels"] <= before[0]["event channels"] + 2
        assert at_once[1] <= before[1] + 2
        # Other connections go on beside them, and their slots are used again.
        guest.ktap("many -t cycles_of_connect_exchange_close --cycles 100", 300 * bed.scale)
        held.kill()
        leaks = wait_released(bed, before[0])
        assert not leaks, f"dom0 has kept (before, after): {leaks}"
        guest.ktap(f"many -t sockets_at_once --sockets {sockets} --port {Echo.PORT - 1}", 300 * bed.scale)


@timeout(300)
def test_flood_beside_others(bed):
    """Connections that always have data keep none of the others waiting with which they share a channel."""
    guest, _ = _guest(bed)
    flood = guest.start("hold busy")
    flood.wait_line("ready", 60 * bed.scale)
    guest.ktap("many --sockets 20 --cycles 100", 100 * bed.scale)
    moved = stats(bed)["bytes"]
    deadline = time.monotonic() + 60 * bed.scale
    while stats(bed)["bytes"] == moved:
        assert time.monotonic() < deadline, f"the flood has stopped: {flood.output}"
        time.sleep(0.1)
    flood.kill()


def _kernel_memory(where):
    """Returns KiB of a kernel's objects, and of the pages replaced by mapped grants."""
    values = _meminfo(run_checked(where, "echo 3 >/proc/sys/vm/drop_caches; cat /proc/meminfo"))
    return {"objects": values["Slab"] + values["Percpu"], "mapped": -values["MemTotal"] - values["Balloon"]}


def _cost(bed, guest, sockets, family):
    """Returns the cost of idle connections in dom0 and in the guest, in KiB for each."""
    holder = bed.host if family == "inet" else guest
    quiet = bed.quiet_snapshot()
    before = [_kernel_memory(where) for where in (bed.host, guest)]
    job = holder.start(f"hold idle --family {family} --sockets {sockets}")
    job.wait_line("ready", 120 * bed.scale)
    after = [_kernel_memory(where) for where in (bed.host, guest)]
    job.kill()
    leaks = wait_released(bed, quiet)
    assert not leaks, f"dom0 has kept (before, after): {leaks}"
    return [{key: (late[key] - early[key]) / sockets for key in early} for early, late in zip(before, after)]


@timeout(420)
def test_memory_of_idle_connections(bed):
    """The cost of an idle connection in both domains."""
    guest, _ = _guest(bed)
    sockets = bed.pick(daily=200, slow=1000, debug=125)
    costs = []
    for order in IDLE[:bed.pick(daily=1, slow=2, debug=1)]:
        set_order(guest, order)
        costs.append((order, *_cost(bed, guest, sockets, "xensock")))
    # The peer's end, and a socket instead of ours, would exist without a guest too.
    tcp = _cost(bed, guest, sockets, "inet")[0]["objects"]
    for order, dom0, inside in costs:
        ours = dom0["objects"] - tcp
        bed.note(f"order {order}, KiB for each connection: objects in the guest {inside['objects']:.1f}, "
                 f"in dom0 {ours:.1f}, pages that dom0 has mapped {dom0['mapped']:.1f}")
        # An earlier connection may still have existed at first.
        assert abs(dom0["mapped"] - 4 * (2 ** order + 1)) < 1, dom0


@timeout(180)
def test_limits_of_xen(bed):
    """A guest without free grants reports an error, and all its sockets go on."""
    guest = bed.guest(name="small", config="max_event_channels = 64\nmax_grant_frames = 4")
    start_peer(bed)
    wait_connected(guest)
    # There are enough channels, but 4 frames hold 2,048 grants.
    held = guest.start("hold idle --sockets 2000")
    rc, out = held.wait(60 * bed.scale)
    assert rc == 1 and "No buffer space available" in out, f"{rc}, {out}"
    bed.note(out)
    run_checked(guest, "many --sockets 8 --cycles 1 >/dev/null", 60 * bed.scale)
