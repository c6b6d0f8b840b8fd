# SPDX-License-Identifier: GPL-2.0
"""The guest's own policy and limits for TCP and UDP also apply to our sockets."""

import socket
import time
from contextlib import contextmanager

from bed import timeout
from scenarios.common import (
    SERVER_POLICY, SMALL_BUFFER, beside_dom0, hijacked, run_checked, start_peer, wait_connected)

# Files of a group share a guest and run one after another.
GROUP = "serves"


def _need_policy(bed):
    if bed.run("grep -q ' __cgroup_bpf_run_filter_sk$' /proc/kallsyms")[0]:
        bed.skip("this kernel has no policy that could be asked; KCONFIG=fast has")


@timeout(300)
def test_hijack(bed):
    """BPF programs in control groups, and Landlock, see TCP and UDP, and their decisions apply, as in dom0."""
    _need_policy(bed)
    guest = bed.shared_guest(policy=SERVER_POLICY)
    start_peer(bed, SMALL_BUFFER)
    wait_connected(guest)
    with beside_dom0(bed, "guest_policy"), hijacked(guest, hijack=2, exempt_destinations="127.0.0.0/8"):
        guest.ktap("guest_policy --family inet", 150 * bed.scale)


@contextmanager
def _memory_cgroup(guest, bed, name):
    """A memory cgroup of the guest, by its directory."""
    top = "/tmp/cgroup"
    run_checked(guest, f"mkdir {top} && mount -t cgroup2 cgroup2 {top}")
    try:
        if guest.run(f"grep -qw memory {top}/cgroup.controllers")[0]:
            bed.skip("this kernel has no memory cgroups; KCONFIG=fast has")
        run_checked(guest, f"echo +memory >{top}/cgroup.subtree_control && mkdir {top}/{name}")
        yield f"{top}/{name}"
        # Its last program may take a moment to go.
        run_checked(guest, f"i=0; until rmdir {top}/{name}; do i=$((i + 1)); [ $i -lt 400 ] || exit 1; "
                           "usleep 100000; done")
    finally:
        run_checked(guest, f"umount {top} && rmdir {top}")


# Pages of a small ring, with its indexes.
_RING_KIB = 4 * 5


@timeout(180)
def test_memory(bed):
    """The rings of a server's connections are charged to the memory cgroup that its socket was made in,
    whoever makes them."""
    guest = bed.shared_guest(policy=SERVER_POLICY)
    wait_connected(guest)
    connections = 100
    with _memory_cgroup(guest, bed, "server") as cgroup:
        def charged():
            stat = run_checked(guest, f"cat {cgroup}/memory.stat")
            return int(dict(map(str.split, stat.splitlines()))["kernel"]) >> 10

        server = guest.start(f"sh -c 'echo 0 >{cgroup}/cgroup.procs; exec deaf --sockets {connections}'")
        server.wait_line("ready", 60 * bed.scale)
        # What the program itself allocates from now on is not charged there.
        run_checked(guest, f"for pid in $(cat {cgroup}/cgroup.procs); do echo $pid >{cgroup}/../cgroup.procs; done")
        before = charged()
        clients = [socket.create_connection((bed.address, int(server.lines[0])), timeout=60 * bed.scale)
                   for _ in range(connections)]
        # The first few rings were there before.
        expected = connections * _RING_KIB * 4 // 5
        deadline = time.monotonic() + 60 * bed.scale
        while (now := charged()) - before < expected:
            assert time.monotonic() < deadline, (before, now, expected)
            time.sleep(0.5)
        bed.note(f"{connections} connections: {now - before} KiB are charged to the server's cgroup")
        for client in clients:
            client.close()
        server.kill()
        server.wait()
