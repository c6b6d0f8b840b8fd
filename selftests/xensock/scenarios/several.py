# SPDX-License-Identifier: GPL-2.0
"""A guest with two devices, one of dom0 and one of a driver domain, and the choice between them."""

import signal
import time
from contextlib import contextmanager

from bed import timeout
from scenarios.common import (
    SERVER_POLICY, SETTINGS, counts, hijacked, run_checked, silent, start_peer, unload, wait_attempt, wait_disconnected,
    wait_released, without_driver)
from scenarios.driver_domain import wait_service, with_peer

FIRST, SECOND = "xensock-0", "xensock-1"


def _state(guest, device):
    _, state = guest.run(f"cat /sys/bus/xen/devices/{device}/state")
    return state.strip()


def _wait_connected(guest, *devices):
    for device in devices:
        run_checked(guest, f"i=0; until grep -q ^Connected /sys/bus/xen/devices/{device}/state; do "
                           "i=$((i + 1)); [ $i -lt 600 ] || exit 1; usleep 50000; done")


def _attach(bed, guest, number, server):
    bed.xensock("attach", str(guest.domid), f"--device={number}", f"--backend={server.domid}",
                f"connect-allow={bed.connect_allow}", *SERVER_POLICY)


def _several(bed):
    """Returns the guest and the driver domain. Both backends have the same addresses."""
    start_peer(bed)
    server, guest = bed.at_once(bed.shared_driver_domain, lambda: bed.shared_guest("several", policy=SERVER_POLICY))
    guest.changed = True
    with_peer(bed, server)
    for where in (bed, server):
        where.start(f"exec attempt --family inet stay serve {bed.address6} 7001").wait_line("ok", 60 * bed.scale)
    for number, backend in enumerate((bed.host, server)):
        if not bed.xenstore.ls(f"/local/domain/{guest.domid}/device/xensock/{number}"):
            _attach(bed, guest, number, backend)
    _wait_connected(guest, FIRST, SECOND)
    return guest, server


def _sockets(guest):
    head, *lines = [line.split() for line in run_checked(guest, "cat /proc/net/xensock").splitlines()]
    return {line[head.index("inode")]: dict(zip(head, line)) for line in lines}


def _devices(guest):
    """Returns the devices that have sockets."""
    return {line["device"] for line in _sockets(guest).values()}


def _wait_until(bed, function, expected):
    """Waits until the function returns what is expected."""
    deadline = time.monotonic() + 60 * bed.scale
    while (last := function()) != expected:
        assert time.monotonic() < deadline, f"{last}, and not {expected}"
        time.sleep(0.2)


def _wait_down(bed, guest, device):
    """Waits until the guest knows that the device has no backend."""
    _wait_until(bed, lambda: _state(guest, device) == "Connected", False)


def _device_used(bed, guest, what):
    """Returns the device of a new socket that makes this attempt."""
    before = _sockets(guest)
    job = guest.start(f"exec attempt {what}")
    job.wait_line("ok", 60 * bed.scale)
    # Inode 0 is a closed socket.
    new = [line["device"] for inode, line in _sockets(guest).items() if inode not in {*before, "0"}]
    job.kill()
    job.wait(60 * bed.scale)
    assert len(new) == 1, (what, new)
    return new[0]


@contextmanager
def _routed(guest, routes):
    with hijacked(guest, hijack=0, route=f"'{routes}'"):
        assert run_checked(guest, f"cat {SETTINGS}/route").strip() == routes
        yield


@timeout(300)
def test_routes(bed):
    """The longest prefix decides, for TCP and UDP, IPv4 and IPv6, of any family. Bound sockets
    stay."""
    guest, _ = _several(bed)
    to4, to6 = f"{bed.address} 7001", f"{bed.address6} 7001"
    for routes, expected in (
            ("", {to4: FIRST, to6: FIRST}),
            ("default=xensock-1", {to4: SECOND, to6: SECOND}),
            ("192.0.2.0/24=xensock-1", {to4: SECOND, to6: FIRST}),
            ("192.0.2.0/24=xensock-1 192.0.2.1=xensock-0", {to4: FIRST}),
            ("[2001:db8::/32]=xensock-1", {to4: FIRST, to6: SECOND}),
            ("192.0.2.0/24=xensock-7 0.0.0.0/0=xensock-1", {to4: SECOND})):
        with _routed(guest, routes):
            for to, device in expected.items():
                assert _device_used(bed, guest, f"stay connect {to}") == device, (routes, to)
    with _routed(guest, "192.0.2.0/24=xensock-1"):
        assert _device_used(bed, guest, f"stay datagram {to4}") == SECOND
        assert _device_used(bed, guest, f"stay from {to4}") == FIRST, "a port was bound by the other"
        assert _device_used(bed, guest, f"stay serve {bed.address} 7311") == SECOND
        assert _device_used(bed, guest, "stay serve 0.0.0.0 7312") == FIRST
        with hijacked(guest, hijack=2):
            for call in ("connect", "datagram"):
                assert _device_used(bed, guest, f"--family inet stay {call} {to4}") == SECOND
    # A thread that receives goes on with the device of the new peer.
    with _routed(guest, "192.0.2.0/24=xensock-1 192.0.2.99=xensock-0"):
        output = run_checked(guest, f"timeout -s KILL {60 * bed.scale} attempt move 192.0.2.99 {bed.address}",
                             90 * bed.scale)
        assert output.split() == ["ok"], output
    # A socket that cannot reach a peer through the other device keeps its own.
    bed.xensock("set", str(guest.domid), "--device=1", f"connect-allow=[{bed.address6}]")
    with _routed(guest, "198.51.100.0/24=xensock-1"):
        wait_attempt(guest, f"peers {to4} 198.51.100.1 7001", "ok EACCES ECONNREFUSED")
    bed.xensock("set", str(guest.domid), "--device=1", f"connect-allow={bed.connect_allow}")
    with _routed(guest, "default=xensock-1"):
        wait_attempt(guest, f"connect {to4}", "ok")
    assert run_checked(guest, "ls /sys/kernel/debug/xensock").split() == [FIRST, SECOND]


@timeout(300)
def test_by_xl(bed):
    """xl makes both devices, numbered in the order of its configuration."""
    start_peer(bed)
    server = with_peer(bed, bed.shared_driver_domain())
    bed.modprobe("xensock_back")
    guest = bed.guest("byxl", device=None, config=f"pvcalls = ['backend=0', 'backend={server.name}']",
                      modules=["xensock"])
    for number in (0, 1):
        bed.xensock("set", str(guest.domid), f"--device={number}", f"connect-allow={bed.connect_allow}")
    _wait_connected(guest, "pvcalls-0", "pvcalls-1")
    to = f"stay connect {bed.address} 7001"
    assert _device_used(bed, guest, to) == "pvcalls-0"
    with _routed(guest, "default=pvcalls-1"):
        assert _device_used(bed, guest, to) == "pvcalls-1"
    # libxl waits 10 s for a driver domain's own toolstack to remove the device. There is none.
    bed.xenstore.rm(f"/libxl/{guest.domid}/device/pvcalls/1")


def _pair(bed):
    """Returns a guest with two devices of dom0."""
    start_peer(bed, where=bed)
    guest = bed.shared_guest("pair", policy=SERVER_POLICY, in_dom0=True, config="max_event_channels = 4096")
    guest.changed = True
    if not bed.xenstore.ls(f"/local/domain/{guest.domid}/device/xensock/1"):
        _attach(bed, guest, 1, bed)
    _wait_connected(guest, FIRST, SECOND)
    return guest


@timeout(200)
def test_users(bed):
    """Users of the guest share ports with themselves over two devices of one backend, and not with
    each other."""
    guest = _pair(bed)
    share = f"share {bed.address} 7320"
    with _routed(guest, "default=xensock-0"):
        server = guest.start(f"exec attempt --user 1001 stay {share}")
        server.wait_line("ok", 60 * bed.scale)
    with _routed(guest, "default=xensock-1"):
        # The first user to have a socket of this device, besides root, as 1001 is of the other.
        assert run_checked(guest, f"attempt --user 1002 {share}").split() == ["EADDRINUSE"]
        assert run_checked(guest, f"attempt {share}").split() == ["EADDRINUSE"]
        assert run_checked(guest, f"attempt --user 1001 {share}").split() == ["ok"]
    server.kill()


@timeout(240)
def test_bad_routes(bed):
    """Invalid routes are refused, and the old routes stay."""
    guest = bed.shared_guest()
    with _routed(guest, "10.0.0.0/8=xensock-1"):
        for routes in ("10.0.0.0/8", "10.0.0.0/8=1", "10.0.0.1/8=xensock-1", "default=eth0",
                       "10.0.0.0/8=xensock-1 x"):
            rc, out = guest.run(f"echo '{routes}' >{SETTINGS}/route")
            assert rc and "nvalid" in out, (routes, out)
        assert run_checked(guest, f"cat {SETTINGS}/route").strip() == "10.0.0.0/8=xensock-1"
        assert "default=eth0" in run_checked(guest, "dmesg | grep route:")


@timeout(300)
def test_backend_reload(bed):
    """While a device waits for its backend, bound sockets wait with it, and new ones do not."""
    guest, _ = _several(bed)
    service = guest.start("service")
    service.wait_line("ready", 60 * bed.scale)
    wait_service(bed, bed, 7100)
    unload(bed, "xensock_back")
    _wait_down(bed, guest, FIRST)
    assert _device_used(bed, guest, f"stay connect {bed.address} 7001") == SECOND
    states = {line["state"] for line in _sockets(guest).values()}
    assert "LISTEN" not in states, "a service has moved"
    bed.modprobe("xensock_back")
    for port in (7100, 7101):
        wait_service(bed, bed, port)
    assert _device_used(bed, guest, f"stay connect {bed.address} 7001") == FIRST
    assert service.running, service.output


def _new_requests(guest):
    """Returns how many requests the guest's first device makes in a time in which it tries again several times."""
    before = counts(guest)
    # By the guest's own clock: a guest that stands still does not try.
    run_checked(guest, "sleep 3")
    return sum(number - before[name] for name, number in counts(guest).items() if name.isupper())


@timeout(400)
def test_short_of_grants(bed):
    """A listener that gets another link while the guest has no grants for its connections goes on
    listening. As with TCP, its program is told nothing, and a client waits."""
    start_peer(bed, where=bed)
    guest = bed.guest("short", policy=SERVER_POLICY, in_dom0=True, config="max_grant_frames = 2")
    _attach(bed, guest, 1, bed)
    _wait_connected(guest, FIRST, SECOND)
    with _routed(guest, "192.0.2.0/24=xensock-1"):
        starved = guest.start("exec starved")
        starved.wait_line("ready", 60 * bed.scale)
        with without_driver(bed, guest):
            _wait_down(bed, guest, FIRST)
            starved.kill(signal.SIGUSR1)
            starved.wait_line("full", 60 * bed.scale)
        # It waits in dom0's queue, as for a program that is busy.
        client = bed.start(f"exec attempt --family inet keep {bed.address} 7330")
        deadline = time.monotonic() + 60 * bed.scale
        while not run_checked(bed, "ss -Htn state established 'dport = :7330'"):
            # Until the listener is back, the client is refused.
            if not client.running:
                client = bed.start(f"exec attempt --family inet keep {bed.address} 7330")
            assert time.monotonic() < deadline, client.output
            time.sleep(0.2)
        # It is tried again. An attempt that gets no grants costs dom0 nothing.
        _wait_until(bed, lambda: _new_requests(guest), 0)
        starved.kill(signal.SIGUSR1)
        starved.wait_line("quiet", 60 * bed.scale)
        client.wait_line("ok", 60 * bed.scale)
        client.kill()
        rc, out = starved.wait(60 * bed.scale)
        assert rc == 0, out


@timeout(400)
def test_one_lets_work_wait(bed):
    """More work items wait for one backend than the kernel runs of a workqueue at a time. Those of the
    other device go on."""
    guest = _pair(bed)
    with silent(bed, guest, "unmap --sockets 1100") as back:
        with _routed(guest, "default=xensock-0"):
            keeper = guest.start("exec keeper")
            back.wait_line("full", 200 * bed.scale)
            keeper.kill()
            keeper.wait(60 * bed.scale)
            back.kill(signal.SIGUSR1)
            back.wait_line("no slots", 60 * bed.scale)
        with _routed(guest, "default=xensock-1"):
            output = run_checked(guest, f"attempt connect {bed.address} 7001")
            assert output.split() == ["ok"], output
        wait_disconnected(guest, SECOND)


@timeout(200)
def test_one_breaks_rules(bed):
    """When the guest ends a link whose backend has broken the rules, a socket without an address of its
    own moves to the other device, even if that backend never notices."""
    guest = _pair(bed)
    with silent(bed, guest, "wrong") as back, _routed(guest, "default=xensock-0"):
        job = guest.start(f"exec attempt stay datagram {bed.address6} 7001")
        job.wait_line("ok", 60 * bed.scale)
        assert {line["device"] for line in _sockets(guest).values()} == {FIRST}
        back.kill(signal.SIGUSR1)
        run_checked(guest, f"i=0; until grep -q {SECOND} /proc/net/xensock; do i=$((i + 1)); "
                           "[ $i -lt 300 ] || { cat /proc/net/xensock; exit 1; }; usleep 100000; done")
        assert job.running and _state(guest, FIRST) != "Connected"
        job.kill()
        job.wait(60 * bed.scale)


@timeout(300)
def test_unload(bed):
    """The guest's module is unloaded with both devices, and loaded again."""
    guest, _ = _several(bed)
    before = bed.quiet_snapshot()
    with _routed(guest, "[2001:db8::/32]=xensock-1"):
        jobs = [guest.start(f"exec attempt stay connect {to} 7001") for to in (bed.address, bed.address6)]
        for job in jobs:
            job.wait_line("ok", 60 * bed.scale)
        assert len(_devices(guest)) == 2
        for job in jobs:
            job.kill()
            job.wait(60 * bed.scale)
    unload(guest, "xensock")
    run_checked(guest, "modprobe xensock")
    _wait_connected(guest, FIRST, SECOND)
    assert _device_used(bed, guest, f"stay connect {bed.address} 7001") == FIRST
    bed.xensock("detach", str(guest.domid), "--device=0")
    _wait_down(bed, guest, FIRST)
    assert _device_used(bed, guest, f"stay connect {bed.address} 7001") == SECOND
    leaks = {key: pair for key, pair in wait_released(bed, before).items() if pair[1] > pair[0]}
    assert not leaks, f"dom0 has kept (before, after): {leaks}"


# The last one: it replaces the driver domain.
@timeout(400)
def test_one_goes(bed):
    """When a device goes for good, its sockets are told or move to the other. When it is back, new
    sockets use it."""
    guest, server = _several(bed)
    before = bed.quiet_snapshot()
    with _routed(guest, "default=xensock-1"):
        service = guest.start("service")
        service.wait_line("ready", 60 * bed.scale)
        wait_service(bed, server, 7100)
        held = guest.start("hold lost")
        held.wait_line("ready", 60 * bed.scale)
        # Closed sockets of earlier programs may take a moment to be freed.
        _wait_until(bed, lambda: _devices(guest), {SECOND})
        server.destroy()
        rc, out = held.wait(60 * bed.scale)
        assert rc == 0, out
        for port in (7100, 7101):
            wait_service(bed, bed, port)
        _wait_until(bed, lambda: _devices(guest), {FIRST})
        assert _device_used(bed, guest, f"stay connect {bed.address} 7001") == FIRST
        bed.xensock("detach", str(guest.domid), "--device=1")
        server = with_peer(bed, bed.driver_domain("net2"))
        _attach(bed, guest, 1, server)
        _wait_connected(guest, SECOND)
        assert _device_used(bed, guest, f"stay connect {bed.address} 7001") == SECOND
        wait_service(bed, bed, 7100)
        assert service.running, service.output
        service.kill()
    bed.xensock("detach", str(guest.domid), "--device=1")
    leaks = {key: pair for key, pair in wait_released(bed, before).items() if pair[1] > pair[0]}
    assert not leaks, f"dom0 has kept (before, after): {leaks}"
