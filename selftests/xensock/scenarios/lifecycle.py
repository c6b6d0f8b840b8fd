# SPDX-License-Identifier: GPL-2.0
"""Modules, devices and guests come and go while sockets are open."""

import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor

from bed import slow, timeout
from scenarios.common import (
    SERVER_POLICY, hijacked, run_checked, silent, start_peer, unbind, unload, wait_connected, wait_link,
    wait_released, wait_requests)

# Ports of the program "service": TCP that waits in accept, TCP that polls, UDP.
SERVICES = ((7100, socket.SOCK_STREAM), (7101, socket.SOCK_STREAM), (7102, socket.SOCK_DGRAM))
# The same of "service once".
ONCE = tuple((port + 10, kind) for port, kind in SERVICES)


def _lose_link(bed, guest, lose, come_back):
    """Sockets in every state are told at once that the link is lost. New ones work afterwards."""
    wait_connected(guest)
    held = guest.start("hold lost")
    held.wait_line("ready", 60 * bed.scale)
    began = time.monotonic()
    lose()
    held.wait_line("told within", 60 * bed.scale)
    bed.note(f"all were told {time.monotonic() - began:.1f} s after")
    come_back()
    rc, out = held.wait(60 * bed.scale)
    assert rc == 0, out
    wait_link(guest)


@timeout(240)
def test_backend_reload(bed):
    """The backend's module is unloaded with sockets open and loaded again, several times."""
    guest = bed.shared_guest()
    start_peer(bed)
    for _ in range(bed.pick(daily=2, slow=10, debug=3)):
        _lose_link(bed, guest, lambda: unload(bed.host, "xensock_back"),
                   lambda: bed.host.modprobe("xensock_back"))


@timeout(300)
def test_unbind_in_mid_transfer(bed):
    """The backend's driver is unbound from busy devices, several times. When that returns, dom0 has
    nothing of the guest mapped any more."""
    guest = bed.shared_guest()
    start_peer(bed)
    wait_connected(guest)
    unload(bed.host, "xensock_back")
    before = bed.snapshot()["grants"]
    for _ in range(bed.pick(daily=2, slow=40, debug=6)):
        bed.host.modprobe("xensock_back")
        # The state of the last link may still be in xenstore.
        wait_link(guest)
        busy = guest.start("hold busy")
        busy.wait_line("ready", 60 * bed.scale)
        assert bed.snapshot()["grants"] > before
        unbind(bed.host, "xensock_back")
        after = bed.snapshot()["grants"]
        assert after <= before, f"{after - before} pages are still mapped"
        unload(bed.host, "xensock_back")
        busy.kill()
        busy.wait(60 * bed.scale)
    bed.host.modprobe("xensock_back")
    wait_link(guest)


@timeout(240)
def test_detach_and_attach(bed):
    """The device is detached with sockets open, and attached again."""
    guest = bed.shared_guest()
    start_peer(bed)
    _lose_link(bed, guest, guest.detach, guest.attach)
    before = bed.quiet_snapshot()
    for _ in range(3):
        guest.detach()
        guest.attach()
        wait_link(guest)
    assert not wait_released(bed, before)


def _server(bed):
    """Returns a guest that may bind and that programs of dom0 can reach."""
    guest = bed.shared_guest("server", policy=SERVER_POLICY, in_dom0=True)
    guest.changed = True
    start_peer(bed, where=bed)
    wait_connected(guest)
    return guest


def _echoes(bed, port, kind):
    """Returns True if the service answers once."""
    try:
        with socket.socket(socket.AF_INET, kind) as client:
            client.settimeout(2)
            client.connect((bed.address, port))
            client.send(b"hello")
            return client.recv(10) == b"hello"
    except OSError:
        return False


def wait_services(bed, job, seconds=60, services=SERVICES):
    """Connects until each service answers. Checks that none of them has ended."""
    deadline = time.monotonic() + seconds * bed.scale
    for port, kind in services:
        while not _echoes(bed, port, kind):
            assert job.running, f"the services have ended: {job.output}"
            assert time.monotonic() < deadline, f"nobody answers at port {port}: {job.output}"
            time.sleep(0.05)
    assert job.running, f"the services have ended: {job.output}"


@timeout(300)
def test_services(bed):
    """Listening and datagram sockets survive their link: the backend is reloaded, and the device is
    detached and attached again."""
    guest = _server(bed)
    job = guest.start("service")
    job.wait_line("ready", 60 * bed.scale)
    wait_services(bed, job)
    before = bed.quiet_snapshot()
    rounds = bed.pick(daily=1, slow=10, debug=2)
    for _ in range(rounds):
        unload(bed, "xensock_back")
        assert not any(_echoes(bed, *service) for service in SERVICES)
        bed.modprobe("xensock_back")
        wait_services(bed, job)
    for _ in range(rounds):
        guest.detach()
        guest.attach("xensock", *SERVER_POLICY)
        wait_services(bed, job)
    # A listener may ask for fewer connections in advance than before.
    leaks = {key: counts for key, counts in wait_released(bed, before).items() if counts[1] > counts[0]}
    assert not leaks, f"dom0 has kept (before, after): {leaks}"
    # A listener closed while there is no link is gone for good.
    guest.detach()
    job.kill()
    job.wait(60 * bed.scale)
    guest.attach("xensock", *SERVER_POLICY)
    wait_link(guest)
    assert not any(_echoes(bed, *service) for service in SERVICES)


@timeout(240)
def test_services_after_connections(bed):
    """Listening sockets without SO_REUSEADDR survive their link although dom0 still has connections that
    the guest was the first to close."""
    guest = _server(bed)
    job = guest.start("service once")
    job.wait_line("ready", 60 * bed.scale)
    for port, kind in ONCE:
        if kind == socket.SOCK_STREAM:
            with socket.create_connection((bed.address, port), 60 * bed.scale) as client:
                client.sendall(b"hello")
                assert client.makefile("rb").read() == b"hello"
    unload(bed, "xensock_back")
    for port, kind in ONCE:
        if kind == socket.SOCK_STREAM:
            assert run_checked(bed, f"ss -Htan state time-wait 'sport = :{port}'"), port
    bed.modprobe("xensock_back")
    wait_services(bed, job, services=ONCE)
    job.kill()
    job.wait(60 * bed.scale)


@timeout(240)
def test_services_are_reset(bed):
    """A socket that asks for it is told that the link is down."""
    guest = _server(bed)
    with hijacked(guest, hijack=0, link_loss="reset"):
        job = guest.start("service")
        job.wait_line("ready", 60 * bed.scale)
        guest.detach()
        rc, out = job.wait(60 * bed.scale)
        # Any of its threads may be the first. poll() has no error number.
        assert rc == 1 and ("ENETDOWN" in out or "POLLERR" in out), out
        guest.attach("xensock", *SERVER_POLICY)
        wait_link(guest)


@timeout(240)
def test_server_listens_again(bed):
    """A server that was told, and has no SO_REUSEADDR, can listen again at its port, at both ends."""
    guest = _server(bed)
    with hijacked(guest, hijack=1, hijack_loopback=0, link_loss="reset", link_wait=60000 * bed.scale):
        job = guest.start("service --family inet again")
        job.wait_line("ready", 60 * bed.scale)
        guest.detach()
        guest.attach("xensock", *SERVER_POLICY)
        rc, out = job.wait(60 * bed.scale)
        assert rc == 0, out
        wait_link(guest)


@timeout(240)
def test_services_without_their_ports(bed):
    """A service is told if another socket has taken its port meanwhile."""
    guest = _server(bed)
    job = guest.start("service")
    job.wait_line("ready", 60 * bed.scale)
    guest.detach()
    # If the guest does not answer in time, the backend's socket goes a little later than the device.
    run_checked(bed, "i=0; while ss -Htln 'sport = :7100' | grep -q .; do i=$((i + 1)); "
                     "[ $i -lt 400 ] || exit 1; sleep 0.1; done")
    with socket.create_server((bed.address, 7100)):
        guest.attach("xensock", *SERVER_POLICY)
        rc, out = job.wait(60 * bed.scale)
    assert rc == 1 and "EADDRINUSE" in out, out
    wait_link(guest)


@timeout(240)
def test_services_without_sockets(bed):
    """A service goes on when the guest may have sockets again that it could not have when its link
    came back."""
    guest = _server(bed)
    job = guest.start("service")
    job.wait_line("ready", 60 * bed.scale)
    wait_services(bed, job)
    guest.detach()
    guest.attach("xensock", *SERVER_POLICY, "max-sockets=0")
    # Without sockets, nothing but xenstore tells.
    deadline = time.monotonic() + 60 * bed.scale
    while bed.xenstore.read(f"/local/domain/{guest.domid}/device/xensock/0/state") != "4":
        assert time.monotonic() < deadline, "no link"
        time.sleep(0.05)
    # Each service is tried twice at least.
    wait_requests(bed, guest, "SOCKET", 3 * len(SERVICES))
    assert job.running, job.output
    assert not any(_echoes(bed, *service) for service in SERVICES)
    bed.xensock("set", str(guest.domid), "max-sockets=default")
    wait_services(bed, job)
    job.kill()
    job.wait(60 * bed.scale)


def _at_address(bed, call, address):
    """Returns a guest, and its program that serves at an address of dom0 which has gone with the former
    link."""
    guest = _server(bed)
    run_checked(bed, f"ip address add {address}/32 dev lo")
    try:
        job = guest.start(f"exec attempt {call} {address} 7140")
        job.wait_line("ok", 60 * bed.scale)
        guest.detach()
    finally:
        run_checked(bed, f"ip address del {address}/32 dev lo")
    guest.attach("xensock", *SERVER_POLICY)
    wait_link(guest)
    return guest, job


@timeout(240)
def test_address_that_comes_late(bed):
    """A service waits for its address, which dom0 has only after the link has come back."""
    address = "192.0.2.140"
    guest, job = _at_address(bed, "stay serve", address)
    wait_requests(bed, guest, "BIND", 2)
    run_checked(bed, f"ip address add {address}/32 dev lo")
    try:
        deadline = time.monotonic() + 60 * bed.scale
        while True:
            try:
                socket.create_connection((address, 7140), timeout=60 * bed.scale).close()
                break
            except ConnectionRefusedError:
                assert time.monotonic() < deadline, "nobody listens there"
                time.sleep(0.1)
    finally:
        run_checked(bed, f"ip address del {address}/32 dev lo")
    job.kill()
    job.wait(60 * bed.scale)


@slow
@timeout(240)
def test_address_that_does_not_come(bed):
    """A service is told, after a minute, that dom0 does not have its address any more."""
    guest, job = _at_address(bed, "again", "192.0.2.141")
    wait_requests(bed, guest, "BIND", 5)
    assert job.output.split() == ["ok"], job.output
    job.wait_line("EADDRNOTAVAIL", 90 * bed.scale)
    job.wait(60 * bed.scale)


def _killed(bed, where, family):
    """Destroys a listener and a connection of a program. Returns what the program was told."""
    job = where.start(f"killed {family}")
    job.wait_line("ready", 60 * bed.scale)
    for port in job.lines[:2]:
        # ss prints the sockets that it has destroyed.
        destroyed = run_checked(bed, f"ss -HKatn 'sport = :{port}'")
        assert f":{port} " in destroyed, f"port {port}: {destroyed}"
    rc, out = job.wait(60 * bed.scale)
    assert rc == 0, out
    return out.split("ready\n")[1]


@timeout(240)
def test_killed_in_dom0(bed):
    """``ss -K`` in dom0 destroys a listening socket and a connection of a guest. The guest is told what
    a program of dom0 is told. The link stays, and nothing is left."""
    guest = _server(bed)
    over_tcp = _killed(bed, bed, "--family inet")
    before = bed.quiet_snapshot()
    assert _killed(bed, guest, "") == over_tcp
    leaks = wait_released(bed, before)
    assert not leaks, f"dom0 has kept (before, after): {leaks}"


@timeout(240)
def test_link_wait(bed):
    """Calls wait for a link as long as the administrator allows, or until a signal."""
    guest = _server(bed)
    attempts = f"echo begun; exec attempt connect {bed.address} 7001 bind 0.0.0.0 7103 serve 0.0.0.0 7104"
    guest.detach()
    with hijacked(guest, hijack=0, link_wait=10):
        assert run_checked(guest, attempts).split() == ["begun"] + ["ENETDOWN"] * 3
    with hijacked(guest, hijack=0, link_wait=1000 * 1000):
        ended = guest.start(attempts)
        waits = guest.start(attempts)
        for job in (ended, waits):
            job.wait_line("begun", 60 * bed.scale)
        ended.kill(signal.SIGTERM)
        rc, out = ended.wait(60 * bed.scale)
        assert rc == 128 + signal.SIGTERM, f"exit status {rc}: {out}"
        guest.attach("xensock", *SERVER_POLICY)
        rc, out = waits.wait(60 * bed.scale)
        assert out.split() == ["begun"] + ["ok"] * 3, out
    # A listening socket that was told of the loss.
    with hijacked(guest, hijack=0, link_loss="reset", link_wait=1000 * 1000):
        again = guest.start("exec attempt again 0.0.0.0 7105")
        again.wait_line("ok", 60 * bed.scale)
        guest.detach()
        again.wait_line("ENETDOWN", 60 * bed.scale)
        guest.attach("xensock", *SERVER_POLICY)
        rc, out = again.wait(60 * bed.scale)
        assert out.split() == ["ok", "ENETDOWN", "ok", "ok"], out
    wait_connected(guest)


@timeout(240)
def test_port_is_kept(bed):
    """A socket keeps the port that the backend has chosen if the link ends while listen() waits."""
    guest = _server(bed)
    with hijacked(guest, hijack=0, link_wait=1000 * 1000):
        with silent(bed, guest, "listen") as back:
            again = guest.start("exec attempt again 0.0.0.0 0")
            back.wait_line("LISTEN", 60 * bed.scale)
        rc, out = again.wait(60 * bed.scale)
    assert out.split() == ["ENETDOWN", "ok", "ok"], out


@timeout(240)
def test_closed_while_set_up(bed):
    """close() of a socket that is just being set up on the next link returns when its port is free."""
    guest = _server(bed)
    for kind in ("listener", "datagram"):
        closer = guest.start(f"exec closer late {kind}")
        closer.wait_line("ready", 60 * bed.scale)
        with silent(bed, guest, "bind") as back:
            back.wait_line("BIND", 60 * bed.scale)
            closer.kill(signal.SIGUSR1)
            closer.wait_line("waits", 60 * bed.scale)
            back.kill(signal.SIGUSR1)
            rc, out = closer.wait(60 * bed.scale)
            assert rc == 0, out


@timeout(240)
def test_frontend_reload(bed):
    """The guest's module stays while sockets are open, can be unloaded when they are closed, and
    loads again."""
    guest = bed.shared_guest()
    start_peer(bed)
    wait_link(guest)
    before = bed.quiet_snapshot()
    held = guest.start("hold busy")
    held.wait_line("ready", 60 * bed.scale)
    unbind(guest, "xensock")
    rc, out = guest.run("rmmod xensock")
    assert rc != 0, f"unloaded under an open socket: {out}"
    held.kill()
    unload(guest, "xensock")
    wait_link(guest)  # the first socket of the family loads the module
    unload(guest, "xensock")
    for _ in range(bed.pick(daily=2, slow=5, debug=5)):
        run_checked(guest, "modprobe xensock")
        wait_link(guest)
        unload(guest, "xensock")
    run_checked(guest, "modprobe xensock")
    wait_link(guest)
    assert not wait_released(bed, before)


@timeout(600)
def test_frontend_frees_its_grants(bed):
    """The driver is unbound from busy sockets again and again, in a guest with few grants. The backend still has them
    mapped then; soon after they can be used again."""
    start_peer(bed)
    guest = bed.guest("reloaded", config="max_grant_frames = 6")
    for _ in range(8):
        wait_link(guest)
        busy = guest.start("hold busy")
        busy.wait_line("ready", 60 * bed.scale)
        unbind(guest, "xensock")
        busy.kill()
        unload(guest, "xensock")
        run_checked(guest, "modprobe xensock")


@timeout(240)
def test_made_anew(bed):
    """A device is removed and made again at once, before either end has seen that it was gone."""
    guest = _server(bed)
    held = guest.start("hold lost")
    held.wait_line("ready", 60 * bed.scale)
    bed.xenstore.make_anew(guest.domid)
    rc, out = held.wait(60 * bed.scale)
    assert rc == 0, out
    run_checked(guest, "fetch >/dev/null")


@timeout(240)
def test_frontend_waits_for_backend(bed):
    """A guest whose device exists before dom0 has a driver for it works as soon as there is one."""
    if bed.host.run("grep -q '^xensock_back ' /proc/modules")[0] == 0:
        unload(bed.host, "xensock_back")
    guest = bed.guest(name="early", backend="", modules=[])
    # Loading the module waits for the device for half a minute, like all of xenbus.
    began = time.monotonic()
    loading = guest.start("modprobe xensock")
    run_checked(guest, "i=0; until [ -e /sys/bus/xen/drivers/xensock/xensock-0 ]; do "
                       "i=$((i + 1)); [ $i -lt 400 ] || exit 1; usleep 100000; done")
    rc, out = guest.run("fetch 2>&1 >/dev/null", 60 * bed.scale)
    assert rc != 0 and "Network is down" in out, out
    assert loading.running or time.monotonic() - began > 20, "the module did not wait for the device"
    start_peer(bed)
    bed.host.modprobe("xensock_back")
    rc, out = loading.wait(60 * bed.scale)
    assert rc == 0, out
    wait_link(guest)


@timeout(600)
def test_destroyed_in_mid_transfer(bed):
    """A guest is destroyed with 8 busy sockets, several times: nothing is left in dom0."""
    start_peer(bed)
    bed.host.modprobe("xensock_back")
    before = bed.quiet_snapshot()
    # One guest boots while another is made or destroyed.
    with ThreadPoolExecutor(2) as pool:
        numbers = range(bed.pick(daily=2, slow=20, debug=4))
        domids = set(pool.map(lambda number: _boot_and_destroy(bed, number), numbers))
    leaks = wait_released(bed, before, seconds=60)
    assert not leaks, f"dom0 has kept (before, after): {leaks}"
    deadline = time.monotonic() + 60 * bed.scale
    while left := domids & set(run_checked(bed, "xl list | awk 'NR > 1 { print $2 }'").split()):
        assert time.monotonic() < deadline, f"domains cannot die, something of them is still mapped: {left}"
    deadline = time.monotonic() + 60 * bed.scale
    base = f"/local/domain/{bed.host.domid}/backend/xensock"
    while left := [domid for domid in domids if bed.xenstore.ls(f"{base}/{domid}")]:
        assert time.monotonic() < deadline, f"backend directories are left: {left}"
        time.sleep(0.5)
    # The directory above is not the driver's: the command removes it with the next device that it makes.
    another = str(bed.shared_guest().domid), "--device=1"
    bed.xensock("attach", *another, f"--backend={bed.host.domid}")
    bed.xensock("detach", *another)
    left = domids & set(bed.xenstore.ls(base))
    assert not left, f"empty directories are left: {left}"


def _boot_and_destroy(bed, number):
    """Boots a guest, uses it and destroys it. Returns its domain ID."""
    guest = bed.guest(name=f"brief{number}", memory=64 if bed.kconfig == "fast" else 128)
    guest.start("hold busy").wait_line("ready", 60 * bed.scale)
    guest.destroy(with_nodes=False)
    return str(guest.domid)
