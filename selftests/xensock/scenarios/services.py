# SPDX-License-Identifier: GPL-2.0
"""Servers that go on while their guest moves or their link is lost, and clients that try again."""

from bed import slow, timeout
from scenarios import programs
from scenarios.common import (
    SERVER_POLICY, hijacked, nothing_left, run_checked, start_peer, sysctl, unload, wait_link)
from scenarios.daemons import Daemons
from scenarios.growth import MOMENTS, start_growth
from scenarios.lifecycle import wait_services

# Files of a group share a guest and run one after another.
GROUP = "programs"

# The guest's counts of a device that xl has made.
COUNTS = "/sys/kernel/debug/xensock/pvcalls-0"


def _move_often(bed, guest, move, job, daemons, grows):
    """Moves the guest to other domains, with sockets in every state."""
    for number in range(bed.pick(daily=1, slow=10, debug=1)):
        held = guest.start("hold lost")
        held.wait_line("ready", 60 * bed.scale)
        growing = start_growth(bed, guest, MOMENTS[number % len(MOMENTS)], COUNTS) if grows else None
        old = guest.domid
        move()
        assert guest.domid != old
        rc, out = held.wait(60 * bed.scale)
        assert rc == 0, out
        if growing:
            rc, out = growing.wait(60 * bed.scale)
            assert rc != 0, f"it was over before the guest moved: {out}"
        wait_services(bed, job)
        daemons.check()
        assert not bed.xenstore.ls(f"/local/domain/0/backend/pvcalls/{old}")


def _check_move(bed, move, grows=False, **options):
    """Servers in a guest whose device xl makes, which moves to another domain: the bed's own, which wait in accept(),
    and Debian's."""
    if bed.machine != "x86_64":
        bed.skip("Xen saves guests on x86 only")
    start_peer(bed)
    # Moving takes longer than an attempt to connect to a black hole would.
    sysctl(bed, tcp_syn_retries=6)
    bed.modprobe("xensock_back")
    policy = f"connect-allow={bed.connect_allow}", *SERVER_POLICY
    guest = bed.guest(name="moving", memory=programs.small_memory(bed), programs=True, device=None,
                      config="pvcalls = ['backend=0']", modules=["xensock"], **options)
    bed.xensock("set", str(guest.domid), *policy)
    wait_link(guest)
    job = guest.start("service")
    job.wait_line("ready", 60 * bed.scale)
    wait_services(bed, job)
    with hijacked(guest, hijack=2):
        daemons = Daemons(bed, guest)
        daemons.check()
        with nothing_left(bed, guest):
            _move_often(bed, guest, lambda: move(guest, *policy, timeout=120), job, daemons, grows)
        daemons.end()
    job.kill()
    job.wait(60 * bed.scale)
    # Each socket holds the module: none is left.
    unload(guest, "xensock")
    run_checked(guest, "modprobe xensock")
    wait_link(guest)


@timeout(600)
def test_save_and_restore(bed):
    """xl save and xl restore: connections are reset, also while their rings grow, and servers go on with the new
    domain's device. Nothing is left at either end."""
    _check_move(bed, lambda guest, *policy, **options: guest.restore(*policy, **options), grows=True)


@timeout(400)
def test_restore_without_backend(bed):
    """A guest is restored before dom0's module is loaded: its connections are reset at once, not when
    there is a backend."""
    if bed.machine != "x86_64":
        bed.skip("Xen saves guests on x86 only")
    start_peer(bed)
    bed.modprobe("xensock_back")
    policy = f"connect-allow={bed.connect_allow}", *SERVER_POLICY
    guest = bed.guest(name="early", memory=128, device=None, config="pvcalls = ['backend=0']", modules=["xensock"])
    bed.xensock("set", str(guest.domid), *policy)
    wait_link(guest)
    held = guest.start("hold lost")
    held.wait_line("ready", 60 * bed.scale)
    guest.restore(*policy, timeout=120, meanwhile=lambda: unload(bed, "xensock_back"))
    held.wait_line("told within", 60 * bed.scale)
    assert run_checked(guest, f"attempt connect {bed.address} 7001").split() == ["ENETDOWN"]
    bed.modprobe("xensock_back")
    rc, out = held.wait(60 * bed.scale)
    assert rc == 0, out
    wait_link(guest)


@slow
@timeout(800)
def test_migrate(bed):
    """xl migrate, live, to the same host. Under emulation Xen does not track the writes of a PV
    guest."""
    _check_move(bed, lambda guest, *policy, **options: guest.migrate(*policy, **options), kind="pvh",
                room=programs.small_memory(bed))


@timeout(400)
def test_programs(bed):
    """nginx, redis and a UDP name server, while the backend is reloaded and the device is attached again. Nothing is
    left at either end."""
    guest = programs.guest(bed)
    with hijacked(guest, hijack=2):
        daemons = Daemons(bed, guest)
        daemons.check()
        with nothing_left(bed, guest):
            for _ in range(bed.pick(daily=1, slow=10, debug=1)):
                unload(bed, "xensock_back")
                bed.modprobe("xensock_back")
                daemons.check()
                guest.detach()
                guest.attach("xensock", *SERVER_POLICY)
                daemons.check()
        daemons.end()
