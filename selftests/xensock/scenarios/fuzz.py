# SPDX-License-Identifier: GPL-2.0
"""Random behaviour of either end. `make test TESTS='fuzz.*' SEED=N` repeats a run."""

import signal

from bed import timeout
from scenarios.common import must, peer, settled, unload, wait_connected, wait_link
from scenarios.hostile import Neighbour, said
from scenarios.hostile_backend import prey

_POLICY = ("bind-allow=0 1024-65535", "max-sockets=200")


@timeout(3600)
def test_backend(bed):
    """A guest sends random requests and overwrites shared memory: the backend answers each request,
    leaks nothing, logs little, and other guests go on."""
    peer(bed)
    guest = bed.shared_guest("fuzz", modules=[], vcpus=2, policy=_POLICY)
    wait_connected(bed.shared_guest("good"))
    before, lines = bed.at_rest(), len(said(bed, guest))
    good = Neighbour(bed)
    requests = 1000000 if bed.kconfig == "kasan" else bed.pick(daily=10000, slow=1000000, debug=10000)
    bed.note(f"{requests} requests, seed {bed.seed}")
    rc, out = guest.run(f"fuzz --seed {bed.seed} --cycles {requests}", 3500 * bed.scale)
    for line in out.splitlines()[-20:]:
        bed.note(line)
    assert rc == 0, f"exit status {rc}"
    good.verdict(bed)
    off = settled(bed, before)
    assert not off, f"dom0 has kept (before, after): {off}"
    lines = said(bed, guest)[lines:]
    for line in lines[:20]:
        bed.note(line)
    # A few lines for each link, which has at most 4000 requests.
    assert len(lines) <= 20 + requests // 1000, f"dom0's log has {len(lines)} lines for this"


@timeout(3600)
def test_frontend(bed):
    """A backend answers at random and overwrites shared memory: programs get errors and can be
    killed, each new link works, and in the end a good backend serves the guest."""
    guest = prey(bed, vcpus=2)
    wait_connected(guest)
    unload(bed, "xensock_back")
    lines = len(must(guest, "dmesg | grep xensock").splitlines())
    deeds = 1000000 if bed.kconfig == "kasan" else bed.pick(daily=8000, slow=1000000, debug=5000)
    bed.note(f"{deeds} answers and changes of memory, seed {bed.seed}")
    programs = guest.start(f"exec restless --seed {bed.seed}")
    programs.wait_line("ready", 30 * bed.scale)
    rc, out = bed.run(f"fuzz_back {guest.domid} --seed {bed.seed} --cycles {deeds}", 3500 * bed.scale)
    for line in out.splitlines()[-3:]:
        bed.note(line)
    assert rc == 0, f"exit status {rc}"
    links = int(out.split()[-2])
    programs.kill(signal.SIGTERM)
    rc, out = programs.wait(90 * bed.scale)
    for line in out.splitlines()[-16:]:
        bed.note(line)
    assert rc == 0, f"exit status {rc}"
    bed.modprobe("xensock_back")
    wait_link(guest)
    # Each socket holds the module: none is left.
    unload(guest, "xensock")
    must(guest, "modprobe xensock")
    wait_link(guest)
    lines = must(guest, "dmesg | grep xensock").splitlines()[lines:]
    assert len(lines) <= 20 + links, f"the guest's log has {len(lines)} lines for {links} links"
