# SPDX-License-Identifier: GPL-2.0
"""A guest that takes all it can get of something, beside one that goes on as before."""

import re
import time

from bed import timeout
from scenarios.common import SERVES, SMALL, must, peer, settled, unload, wait_link

FIRST_USER = 0x78530000


class Neighbour:
    """Another guest: its transfers have to complete, whatever the first one has taken."""

    def __init__(self, bed):
        self._bed = bed
        self.guest = bed.shared_guest("neighbour")
        wait_link(self.guest)
        self._quiet = self._transfer()

    def _transfer(self):
        began = time.monotonic()
        must(self.guest, "bulk --bytes 2m >/dev/null && many --sockets 4 --cycles 4 >/dev/null", 200 * self._bed.scale)
        return time.monotonic() - began

    def goes_on(self, what):
        busy = self._transfer()
        self._bed.note(f"{what}: the neighbour's transfers take {busy:.1f} s, and {self._quiet:.1f} s before")


def _memory(bed, guest):
    """What dom0's TCP holds in the buffers of the guest's sockets, as dom0's own tool says it."""
    held = 0
    for socket in must(bed, "ss -tnmeO").splitlines():
        if f"uid:{FIRST_USER + guest.domid} " in socket:
            held += sum(map(int, re.search(r"skmem:\(r(\d+),.*,w(\d+),", socket).groups()))
    return held


@timeout(600)
def test_memory_of_tcp(bed):
    """Connections of which nothing is read: dom0's TCP holds no more than the guest may have."""
    peer(bed, SMALL)
    guest = bed.shared_guest("greedy", policy=("max-memory=1024",))
    wait_link(guest)
    neighbour = Neighbour(bed)
    before = bed.at_rest()
    sockets, size = 60, 1 << 20
    holder = guest.start(f"hold unread --sockets {sockets} --bytes {size}")
    holder.wait_line("ready", 120 * bed.scale)
    # What is under way may still come.
    last = -1
    while (held := _memory(bed, guest)) != last:
        last = held
        time.sleep(1)
    bed.note(f"{held >> 10} KiB are held for {sockets} connections, of {sockets * size * 3 // 5 >> 10} sent")
    # One packet more than it may have, of 64 KiB and what they need, can come to each.
    assert held < (1 << 20) + sockets * (80 << 10), held
    neighbour.goes_on("no memory left")
    # Those that were held back get all that was sent to them.
    must(guest, "touch /tmp/go")
    rc, out = holder.wait(300 * bed.scale)
    must(guest, "rm /tmp/go")
    assert rc == 0 and out.splitlines()[-1] == str(sockets), out
    off = settled(bed, before)
    assert not off, f"dom0 has kept (before, after): {off}"


def _ring_pages(bed, guest):
    return bed.xensock("show", str(guest.domid))["refused"]["ring-pages"]


@timeout(400)
def test_pages_of_all_guests(bed):
    """While all guests have what they may have mapped, each of them gets its part of it."""
    peer(bed)
    guest = bed.shared_guest("greedy")
    neighbour = Neighbour(bed)
    unload(bed, "xensock_back")
    bed.modprobe("xensock_back", "max_ring_pages=2000")
    try:
        wait_link(guest)
        wait_link(neighbour.guest)
        refused = _ring_pages(bed, neighbour.guest)
        rc, out = guest.run("hold idle --sockets 600")
        assert rc == 1 and "No buffer space available" in out, (rc, out)
        fit = int(re.search("socket ([0-9]+):", out)[1])
        before = bed.at_rest()
        holder = guest.start(f"hold idle --sockets {fit}")
        holder.wait_line("ready", 60 * bed.scale)
        bed.note(f"{fit} connections are held")
        neighbour.goes_on("all pages are mapped")
        own = neighbour.guest.start("hold idle --sockets 10")
        own.wait_line("ready", 60 * bed.scale)
        assert _ring_pages(bed, neighbour.guest) == refused
        for job in (own, holder):
            job.kill()
            job.wait()
        off = settled(bed, before)
        assert not off, f"dom0 has kept (before, after): {off}"
    finally:
        unload(bed, "xensock_back")
        bed.modprobe("xensock_back")
    wait_link(guest)
    wait_link(neighbour.guest)


@timeout(200)
def test_users_of_a_guest(bed):
    """A user of the guest leaves as many sockets and listeners as it takes, and root has a reserve."""
    peer(bed)
    guest = bed.guest("users", policy=(*SERVES, "max-sockets=64", "max-listeners=16"))
    wait_link(guest)
    guest.ktap("users --sockets 64", 150 * bed.scale)


@timeout(400)
def test_users_go_on(bed):
    """One user of the guest takes all it can, also closed sockets that drain: another and root go on."""
    peer(bed)
    guest = bed.guest("shares", policy=(*SERVES, "max-sockets=256", "max-listeners=16"))
    wait_link(guest)
    users = {"root": "", "1001": "--user 1001"}

    def work(user):
        began = time.monotonic()
        must(guest, f"bulk --bytes 2m {user} >/dev/null && bulk --side accept --bytes 2m {user} >/dev/null && "
                    f"many --sockets 4 --cycles 20 {user} >/dev/null", 120 * bed.scale)
        return time.monotonic() - began

    quiet = {name: work(user) for name, user in users.items()}
    before = bed.at_rest()
    greedy = [guest.start("hold drain --sockets 100")]
    greedy[0].wait_line("closed:", 60 * bed.scale)
    greedy.append(guest.start("hold nobody --sockets 2000"))
    greedy[1].wait_line("full: Too many open files", 60 * bed.scale)
    for name, user in users.items():
        bed.note(f"{name}: {work(user):.1f} s beside a user that takes all it can, and {quiet[name]:.1f} s before")
    for job in greedy:
        job.kill()
        job.wait()
    off = settled(bed, before)
    assert not off, f"dom0 has kept (before, after): {off}"


@timeout(200)
def test_idle_listeners(bed):
    """Listeners hold nothing ahead that other sockets of the guest need."""
    peer(bed)
    guest = bed.guest("idle", policy=(*SERVES, "max-sockets=64", "max-listeners=16"))
    wait_link(guest)
    guest.ktap("ahead", 150 * bed.scale)


@timeout(200)
def test_grants_of_a_guest(bed):
    """A user of the guest that takes all grants it can get leaves some to others, and to root."""
    peer(bed)
    guest = bed.guest("grants", config="max_grant_frames = 4")
    wait_link(guest)
    before = bed.at_rest()
    holder = guest.start("hold nobody --sockets 2000")
    holder.wait_line("full: No buffer space available", 60 * bed.scale)
    must(guest, "fetch")
    must(guest, "bulk --bytes 1m --user 1001 >/dev/null", 60 * bed.scale)
    holder.kill()
    holder.wait()
    off = settled(bed, before)
    assert not off, f"dom0 has kept (before, after): {off}"
