# SPDX-License-Identifier: GPL-2.0
"""Many sockets at once and one after another, after which all is back where it began."""

from bed import timeout
from scenarios.common import must, peer, settled, sysctl, wait_link

# One cycle frees what it took: 2,000 that each lost one object would show
# more than this, and a cache that merely keeps some for later shows less.
SLAB_TOLERANCE = 1000
# Caches whose objects come and go with the bed's own processes and files.
BUSY_CACHES = ("vm_area_struct", "anon_vma", "dentry", "inode", "filp", "maple_node", "pid",
               "task", "cred", "signal", "sighand", "files_cache", "mm_struct", "radix_tree",
               "names_cache", "buffer_head", "shmem", "proc", "kernfs", "sock_inode_cache")


def _guest_counts(guest):
    """Event channels, pages and objects of the guest."""
    out = must(guest, "grep -c xen-dyn /proc/interrupts; grep -E 'MemAvailable|Slab:' /proc/meminfo")
    lines = out.splitlines()
    return {"event channels": int(lines[0]),
            **{line.split(":")[0]: int(line.split()[1]) for line in lines[1:]}}


def _slab_growth(before, after):
    return {name: (count, after.get(name, 0)) for name, count in before.items()
            if after.get(name, 0) - count > SLAB_TOLERANCE
            and not name.startswith(BUSY_CACHES)}


def _sockets(bed):
    """dom0's connections with the peer that are not on their way out."""
    with open("/proc/net/tcp", encoding="ascii") as file:
        states = [line.split()[3] for line in file.readlines()[1:]]
    return sum(state not in ("06", "0A") for state in states)


@timeout(420)
def test_many(bed):
    """200 sockets at once, 2,000 connect/exchange/close cycles; nothing stays behind."""
    guest = bed.shared_guest()
    job = peer(bed)
    # Thousands of connections in TIME_WAIT would hide what does not come back.
    sysctl("tcp_max_tw_buckets", "0")
    wait_link(guest)
    small = bed.kconfig == "debug"
    must(guest, "many --cycles 50 >/dev/null", 120 * bed.scale)  # fills all caches
    quiet = bed.snapshot()
    assert not settled(bed, quiet), "dom0 does not come to rest"
    before, slab, inside = bed.snapshot(), bed.slab(), _guest_counts(guest)
    sockets, memory = _sockets(bed), _memory()

    guest.ktap(f"many --sockets 200 --cycles {200 if small else 2000}", 400 * bed.scale)

    off = settled(bed, before)
    assert not off, f"dom0 has kept (before, after): {off}"
    assert _sockets(bed) <= sockets, "dom0 has kept sockets"
    growth = _slab_growth(slab, bed.slab())
    assert not growth, f"dom0's slab caches have grown (before, after): {growth}"
    lost = memory - _memory()
    assert lost < 16384, f"dom0 has lost {lost} KiB of memory"
    after = _guest_counts(guest)
    bed.note(f"dom0 has {lost} KiB less")
    bed.note(f"guest before {inside}, after {after}")
    assert after["event channels"] <= inside["event channels"], "the guest has kept event channels"
    assert after["Slab"] - inside["Slab"] < 4096, "the guest's slab has grown by more than 4 MiB"
    assert inside["MemAvailable"] - after["MemAvailable"] < 16384, "the guest has lost more than 16 MiB"
    assert job.running, "the peer has ended"


def _memory():
    with open("/proc/meminfo", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("MemAvailable"))
