# SPDX-License-Identifier: GPL-2.0
"""Random behaviour of either end. `make test TESTS='fuzz.*' SEED=N` repeats a run."""

import re
import signal
from collections import Counter

from bed import attempts, timeout
from guest import GuestDied
from scenarios.common import run_checked, start_peer, unload, wait_connected, wait_link, wait_released
from scenarios.hostile import Neighbour, backend_log
from scenarios.hostile_backend import guest_in_dom0

_POLICY = ("bind-allow=0 1024-65535", "max-sockets=200")


class _Fuzzer:
    """A fuzzer and how far it has come. If the emulator ends a guest, the test runs again and goes on from there."""

    def __init__(self):
        self._done, self._seed = 0, None

    def run(self, bed, where, command, total):
        """Does what is left of so many steps. Returns the output."""
        seed = self._seed or bed.seed
        bed.note(f"{total - self._done} of {total} steps from seed {seed}")
        job = where.start(f"{command} --seed {seed} --cycles {total - self._done}")
        try:
            rc, out = job.wait(3500 * bed.scale)
        except GuestDied:
            if reached := re.findall(r"^after (\d+) \w+: --seed (\d+)$", job.output, re.M):
                self._done += int(reached[-1][0])
                self._seed = int(reached[-1][1])
            raise
        # Should the test fail from here on, it begins anew.
        self._done, self._seed = 0, None
        assert rc == 0, f"exit status {rc}: " + "\n".join(out.splitlines()[-20:])
        return out


_BACKEND, _FRONTEND = _Fuzzer(), _Fuzzer()


@attempts(100)
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
    for line in _BACKEND.run(bed, guest, "fuzz", requests).splitlines()[-20:]:
        bed.note(line)
    good.check(bed)
    leaks = wait_released(bed, before)
    assert not leaks, f"dom0 has kept (before, after): {leaks}"
    lines = backend_log(bed, guest)[lines:]
    for line in lines[:20]:
        bed.note(line)
    # A few lines for each link, which has at most 4000 requests.
    assert len(lines) <= 20 + requests // 1000, f"dom0's log has {len(lines)} lines for this"


@attempts(100)
@timeout(3600)
def test_frontend(bed):
    """A backend answers at random and overwrites shared memory: programs get errors and can be
    killed, each new link works, and in the end a good backend serves the guest."""
    guest = guest_in_dom0(bed, vcpus=2)
    wait_connected(guest)
    unload(bed, "xensock_back")
    lines = len(run_checked(guest, "dmesg | grep xensock").splitlines())
    actions = 1000000 if bed.kconfig == "kasan" else bed.pick(daily=8000, slow=1000000, debug=5000)
    programs = guest.start(f"exec restless --seed {bed.seed}")
    programs.wait_line("ready", 60 * bed.scale)
    # Answers, and changes of memory.
    out = _FRONTEND.run(bed, bed, f"fuzz_back {guest.domid}", actions)
    for line in out.splitlines()[-3:]:
        bed.note(line)
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
    # A link tells that it is up, the first mistake in a data ring, and one in the commands ring: each once.
    for text, times in Counter(line.split("] ", 1)[-1] for line in lines).items():
        assert times <= 20 + links, f"the guest's log has this {times} times for {links} links: {text}"
