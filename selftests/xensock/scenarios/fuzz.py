# SPDX-License-Identifier: GPL-2.0
"""Random behaviour of either end. `make test TESTS='fuzz.*' SEED=N` repeats a run."""

import signal

from bed import timeout
from scenarios.common import run_checked, start_peer, unload, wait_connected, wait_link, wait_released
from scenarios.hostile import Neighbour, backend_log
from scenarios.hostile_backend import guest_in_dom0

_POLICY = ("bind-allow=0 1024-65535", "max-sockets=200")


@timeout(3600)
def test_backend(bed):
    """A guest sends random requests and overwrites shared memory: the backend answers each request,
    leaks nothing, logs little, and other guests go on."""
    start_peer(bed)
    guest = bed.shared_guest("fuzz", modules=[], vcpus=2, policy=_POLICY)
    wait_connected(bed.shared_guest("good"))
    before, lines = bed.quiet_snapshot(), len(backend_log(bed, guest))
    good = Neighbour(bed)
    requests = 1000000 if bed.kconfig == "kasan" else bed.pick(daily=10000, slow=1000000, debug=10000)
    bed.note(f"{requests} requests, seed {bed.seed}")
    rc, out = guest.run(f"fuzz --seed {bed.seed} --cycles {requests}", 3500 * bed.scale)
    for line in out.splitlines()[-20:]:
        bed.note(line)
    assert rc == 0, f"exit status {rc}"
    good.check(bed)
    leaks = wait_released(bed, before)
    assert not leaks, f"dom0 has kept (before, after): {leaks}"
    lines = backend_log(bed, guest)[lines:]
    for line in lines[:20]:
        bed.note(line)
    # A few lines for each link, which has at most 4000 requests.
    assert len(lines) <= 20 + requests // 1000, f"dom0's log has {len(lines)} lines for this"


@timeout(3600)
def test_frontend(bed):
    """A backend answers at random and overwrites shared memory: programs get errors and can be
    killed, each new link works, and in the end a good backend serves the guest."""
    guest = guest_in_dom0(bed, vcpus=2)
    wait_connected(guest)
    unload(bed, "xensock_back")
    lines = len(run_checked(guest, "dmesg | grep xensock").splitlines())
    actions = 1000000 if bed.kconfig == "kasan" else bed.pick(daily=8000, slow=1000000, debug=5000)
    bed.note(f"{actions} answers and changes of memory, seed {bed.seed}")
    programs = guest.start(f"exec restless --seed {bed.seed}")
    programs.wait_line("ready", 60 * bed.scale)
    rc, out = bed.run(f"fuzz_back {guest.domid} --seed {bed.seed} --cycles {actions}", 3500 * bed.scale)
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
    run_checked(guest, "modprobe xensock")
    wait_link(guest)
    lines = run_checked(guest, "dmesg | grep xensock").splitlines()[lines:]
    assert len(lines) <= 20 + links, f"the guest's log has {len(lines)} lines for {links} links"
