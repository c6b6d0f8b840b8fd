# SPDX-License-Identifier: GPL-2.0
"""The backend in a driver domain, which may be destroyed like any guest."""

import time

from bed import timeout
from scenarios import programs
from scenarios.common import SERVER_POLICY, hijacked, nothing_left, run_checked, wait_attempt, wait_link
from scenarios.daemons import Daemons

# The policies of guests, in the driver domain.
FILES = "/etc/xensock"
LOG = "/tmp/log"


def with_peer(bed, server):
    """Makes a driver domain that runs the peer of all tests."""
    server.start(f"peer --host {bed.address}").wait_line("peer: ready", 60 * bed.scale)
    return server


def _server(bed):
    """Returns the driver domain that all tests share."""
    return with_peer(bed, bed.shared_driver_domain())


def _guest(bed, server, *policy):
    """Returns the guest that all tests share, served by that domain."""
    guest = bed.shared_guest("served", server=server, memory=programs.small_memory(bed), programs=True)
    guest.detach()
    guest.server = server
    guest.attach("xensock", *policy)
    wait_link(guest)
    return guest


def _served_by(bed, guest):
    """Returns the domain of the backend if the link is up."""
    shown = bed.xensock("show", str(guest.domid))
    assert (shown["guest"]["state"], shown["backend"]["state"]) == (4, 4), shown
    return shown["backend"]["id"]


@timeout(300)
def test_transfer(bed):
    """A guest of a driver domain connects and transfers without dom0."""
    sockets = bed.counts()["tcp alloc"]
    server = _server(bed)
    guest = _guest(bed, server)
    assert _served_by(bed, guest) == server.domid
    guest.ktap("bulk --bytes 1m", 200 * bed.scale)
    guest.ktap("many --sockets 20 --cycles 20 -t sockets_at_once", 100 * bed.scale)
    held = guest.start("hold idle --sockets 30")
    held.wait_line("ready", 60 * bed.scale)
    # Dom0 itself may have a few more than before.
    assert bed.counts()["tcp alloc"] < sockets + 15, "dom0 has sockets for this"
    held.kill()
    held.wait()


@timeout(300)
def test_policy(bed):
    """dom0 sets the policy. The driver domain applies it and counts refusals."""
    server = _server(bed)
    guest = _guest(bed, server, f"connect-deny={bed.address}:7001")
    assert run_checked(guest, f"attempt connect {bed.address} 7001 127.0.0.1 7001").split() == ["EACCES"] * 2
    bed.xensock("set", str(guest.domid), "connect-deny=default")
    wait_attempt(guest, f"connect {bed.address} 7001", "ok")
    counts = run_checked(server, f"cat /sys/kernel/debug/xensock_back/xensock-{guest.domid}-0/refused")
    assert int(dict(line.split() for line in counts.splitlines())["connect"]) >= 2, counts
    assert bed.xensock("show", str(guest.domid))["refused"] is None, "dom0 cannot know this"


@timeout(300)
def test_back_to_dom0(bed):
    """A guest changes from a driver domain to dom0 and back, both alive."""
    bed.modprobe("xensock_back")
    server = _server(bed)
    local = bed.start(f"peer --host {bed.address}")
    local.wait_line("peer: ready", 60 * bed.scale)
    guest = _guest(bed, server)
    for chosen in (None, server, None):
        guest.detach()
        guest.server = chosen
        guest.attach()
        wait_link(guest)
        assert _served_by(bed, guest) == (chosen.domid if chosen else 0)


def _until(where, condition):
    """Waits until a shell command succeeds."""
    run_checked(where, f"i=0; until {condition}; do i=$((i + 1)); [ $i -lt 400 ] || exit 1; usleep 100000; done",
                60 * where.scale)


def _server_with_udev(bed):
    """Makes a driver domain as the package does: its driver waits for policies, which udev sets."""
    programs.find_archive(bed, "udev")
    server = bed.guest("byname", memory=768, device=None, modules=[], extra="dummy.numdummies=1", programs=True,
                       archives=["udev"])
    run_checked(server, f"modprobe xensock_back await_policy=1 && network && mkdir -p {FILES}")
    server.start(f"exec syslogd -n -O {LOG}")
    server.start("exec /usr/lib/systemd/systemd-udevd")
    _until(server, "[ -S /dev/log ] && udevadm control --ping")
    return with_peer(bed, server)


def _write_policy(server, name, *lines):
    words = " ".join(f"'{line}'" for line in lines)
    run_checked(server, f"printf '%s\\n' {words} >{FILES}/{name}.conf")


def _attach_probing(bed, server, name):
    """Boots a guest, which tries to connect somewhere again and again, and is refused once it has a device of this
    domain. Checks that no attempt met another policy. One in force between two attempts is not seen."""
    guest = bed.guest(name, device=None, modules=["xensock"])
    probe = guest.start(f"last=; while :; do now=$(attempt connect {bed.unreachable} 80); "
                        "[ \"$now\" = \"$last\" ] || echo \"$now\"; last=$now; done")
    probe.wait_line("ENETDOWN", 60 * bed.scale)
    bed.xensock("attach", str(guest.domid), f"--backend={server.domid}")
    probe.wait_line("EACCES", 60 * bed.scale)
    probe.kill()
    probe.wait()
    # The address has no route, which the built-in default and default.conf would tell.
    assert probe.lines == ["ENETDOWN", "EACCES"], probe.lines
    return guest


def _attempt(guest, calls):
    return run_checked(guest, f"attempt {calls}").split()


def _check_named(bed, server):
    """A guest with a file."""
    at = bed.address
    _write_policy(server, "named", "# one service, one server", f"connect-allow={at}:7001", f"bind-allow=tcp:{at}:8010")
    guest = _attach_probing(bed, server, "named")
    found = _attempt(guest, f"connect {at} 7001 {at} 7002 serve {at} 8010 {at} 8011")
    assert found == ["ok", "EACCES", "ok", "EACCES"], found
    guest.destroy()


def _check_mistaken(bed, server):
    """A guest whose file has an error, until that is corrected."""
    at = bed.address
    _write_policy(server, "mistaken", f"connect-allow={at}:7001", "bind-alow=tcp:80")
    guest = _attach_probing(bed, server, "mistaken")
    found = _attempt(guest, f"connect {at} 7001 serve {at} 80")
    assert found == ["EACCES"] * 2, found
    error = f"{FILES}/mistaken.conf:2: there is no node 'bind-alow'"
    _until(server, f"grep -qF \"nothing is allowed to mistaken ({guest.domid}): {error}\" {LOG}")
    assert error in bed.xensock("show", str(guest.domid))["policy_error"]
    _write_policy(server, "mistaken", f"connect-allow={at}:7001")
    run_checked(server, f"xensock apply xensock-{guest.domid}-0", 60 * bed.scale)
    _until(guest, f"attempt connect {at} 7001 | grep -qx ok")
    guest.destroy()


def _check_by_xl(bed, server):
    """A guest whose device xl has made. Its name is not known, so it has default.conf, if there is no other file."""
    at = bed.address
    guest = bed.guest("byxl", device=None, config=f"pvcalls = ['backend={server.name}']", modules=["xensock"])
    # libxl waits 10 s for a driver domain's own toolstack to remove the device. There is none.
    bed.xenstore.rm(f"/libxl/{guest.domid}/device/pvcalls/0")
    _until(guest, f"attempt connect {at} 7001 | grep -qx EACCES")
    _until(server, f"grep -qF 'nothing is allowed to the guest ({guest.domid}): {FILES}: the name' {LOG}")
    run_checked(server, f"rm {FILES}/named.conf {FILES}/mistaken.conf && xensock apply pvcalls-{guest.domid}-0",
                60 * bed.scale)
    _until(guest, f"attempt connect {at} 7001 | grep -qx ok")
    guest.destroy()


@timeout(500)
def test_policy_by_name(bed):
    """udev in the driver domain gives each device the policy of its guest's file before the guest can connect. If
    there is an error, nothing is allowed, and the log says why."""
    server = _server_with_udev(bed)
    _write_policy(server, "default", f"connect-allow={bed.address}:7001 {bed.unreachable}")
    _check_named(bed, server)
    _check_mistaken(bed, server)
    _check_by_xl(bed, server)


def wait_service(bed, server, port):
    """Waits until a service of the guest answers the driver domain."""
    wait_attempt(server, f"--family inet connect {bed.address} {port}", "ok")
    client = server.start(f"exec attempt --family inet keep {bed.address} {port}")
    client.wait_line("ok", 60 * bed.scale)
    client.kill()


def _replace_server(bed, guest, server, number):
    """Destroys the driver domain while the guest's sockets are busy. Returns another one that serves the guest."""
    busy = guest.start("hold busy")
    busy.wait_line("ready", 60 * bed.scale)
    held = guest.start("hold lost")
    held.wait_line("ready", 60 * bed.scale)
    began = time.monotonic()
    server.destroy()
    held.wait_line("told within", 60 * bed.scale)
    bed.note(f"all were told {time.monotonic() - began:.1f} s after")
    busy.kill()
    assert bed.xensock("show", str(guest.domid))["backend"] is None
    server = with_peer(bed, bed.driver_domain(f"net{number}"))
    guest.server = server
    guest.attach("xensock", *SERVER_POLICY)
    rc, out = held.wait(60 * bed.scale)
    assert rc == 0, out
    wait_link(guest)
    assert _served_by(bed, guest) == server.domid
    return server


@timeout(400)
def test_destroyed_in_mid_transfer(bed):
    """The driver domain is destroyed while sockets are busy: they are told at once. With a new domain new sockets work,
    and servers go on: the bed's own, nginx, redis and a UDP name server. Nothing is left at either end."""
    server = _server(bed)
    guest = _guest(bed, server, *SERVER_POLICY)
    service = guest.start("service")
    service.wait_line("ready", 60 * bed.scale)
    with hijacked(guest, hijack=2):
        # A new driver domain has no programs for clients.
        daemons = Daemons(bed, guest, client=guest)
        daemons.check(server)
        with nothing_left(bed, guest):
            for number in range(bed.pick(daily=1, slow=10, debug=1)):
                server = _replace_server(bed, guest, server, number)
                wait_service(bed, server, 7100)
                wait_service(bed, server, 7101)
                assert service.running, service.output
                daemons.check(server)
                guest.ktap("bulk --bytes 256k", 200 * bed.scale)
        daemons.end(server)
