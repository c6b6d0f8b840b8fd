# SPDX-License-Identifier: GPL-2.0
"""Machines that are made of the packages and run systemd: installed as the README says."""

import time

from bed import slow, timeout
from scenarios.common import run_checked, unload

# Written as by an administrator: one port is allowed, so another port shows that the policy
# applies.
POLICY = "connect-allow=192.0.2.1:8080"


def _boot(bed, name, units="", **options):
    """Boots a machine and enables these units."""
    machine = bed.guest(name, image="installed", device=None, modules=[], memory=768, **options)
    state = run_checked(machine, "systemctl is-system-running --wait || systemctl --failed", 120 * bed.scale)
    assert state == "running", state
    if units:
        run_checked(machine, f"systemctl enable --now {units}", 60 * bed.scale)
        assert run_checked(machine, f"systemctl is-active {units}") == "active"
    return machine


def _until(bed, machine, condition):
    """Waits until a shell command of the machine succeeds."""
    run_checked(machine, f"until {condition}; do sleep 0.2; done", 60 * bed.scale)


def _wait(bed, condition, message):
    """Waits until something is so in dom0."""
    deadline = time.monotonic() + 60 * bed.scale
    while not condition():
        assert time.monotonic() < deadline, message()
        time.sleep(0.5)


@slow
@timeout(900)
def test_lifetime(bed):
    """The units make a driver domain and a guest, udev sets the guest's policy from its file,
    unmodified programs are carried under it, and removing the package leaves nothing."""
    server = _boot(bed, "net", "xensock-backend", extra="dummy.numdummies=1")
    run_checked(server, "sh /usr/lib/xensock/network")
    run_checked(server, f"echo '{POLICY}' >/etc/xensock/served.conf; mkdir /srv/www; echo served >/srv/www/page")
    web = server.start("exec python3 -u -m http.server --directory /srv/www --bind 192.0.2.1 8080")
    web.wait_line("Serving", 60 * bed.scale)

    guest = _boot(bed, "served", "xensock")
    run_checked(guest, "mkdir -p /etc/sysctl.d; echo 'net.xensock.hijack = 1' >/etc/sysctl.d/xensock.conf; "
                       "systemctl restart xensock")
    assert run_checked(guest, "cat /proc/sys/net/xensock/hijack") == "1"
    bed.xensock("attach", str(guest.domid), f"--backend={server.domid}")
    page = "curl -s --retry 20 --retry-all-errors http://192.0.2.1:8080/page"
    assert run_checked(guest, page, 60 * bed.scale) == "served"
    shown = bed.xensock("show", str(guest.domid))
    assert (shown["guest"]["state"], shown["backend"]["state"]) == (4, 4), shown
    rc, out = guest.run("python3 -c 'import socket; socket.create_connection((\"192.0.2.1\", 8081))'")
    assert rc == 1 and "PermissionError" in out, (rc, out)
    refused = run_checked(server, f"cat /sys/kernel/debug/xensock_back/xensock-{guest.domid}-0/refused")
    assert int(dict(line.split() for line in refused.splitlines())["connect"]) == 1, refused

    # As after an upgrade.
    unload(server, "xensock_back")
    run_checked(server, "systemctl restart xensock-backend", 60 * bed.scale)
    assert run_checked(guest, page, 60 * bed.scale) == "served"

    for machine in (guest, server):
        run_checked(machine, "dpkg --purge xensock-tools", 60 * bed.scale)
        assert run_checked(machine, "ls /usr/sbin/xensock 2>/dev/null; "
                                    "systemctl list-unit-files 'xensock*' --no-legend; true") == ""


def _states(bed, guest):
    shown = bed.xensock("show", str(guest.domid))
    return shown["guest"]["state"], shown["backend"]["state"]


def _wait_link(bed, guest):
    _wait(bed, lambda: _states(bed, guest) == (4, 4), lambda: f"there is no link: {_states(bed, guest)}")


def _check_carried(bed, guest):
    """Programs of the guest are carried, under the policy of the file: it allows one port, at which nobody
    listens."""
    connect = "python3 -c 'import socket; socket.create_connection((\"192.0.2.1\", {}))' 2>&1"
    _until(bed, guest, f"{connect.format(8080)} | grep -q ConnectionRefusedError")
    rc, out = guest.run(connect.format(8081))
    assert rc == 1 and "PermissionError" in out, (rc, out)


@slow
@timeout(900)
def test_loaded_by_udev(bed):
    """Without units, udev loads the modules of both ends when the device appears, sets the policy and the
    guest's settings, and does so again when a module is loaded again."""
    server = _boot(bed, "net", extra="dummy.numdummies=1")
    run_checked(server, "sh /usr/lib/xensock/network")
    run_checked(server, f"echo '{POLICY}' >/etc/xensock/served.conf")
    guest = _boot(bed, "served")
    run_checked(guest, "mkdir -p /etc/sysctl.d; echo 'net.xensock.hijack = 1' >/etc/sysctl.d/xensock.conf")
    for machine in (server, guest):
        assert run_checked(machine, "grep '^xensock' /proc/modules; true") == ""
    bed.xensock("attach", str(guest.domid), f"--backend={server.domid}")
    _until(bed, server, "grep -q '^xensock_back ' /proc/modules")
    _until(bed, guest, "grep -q '^xensock ' /proc/modules")
    _wait_link(bed, guest)
    hijack = "grep -qx 1 /proc/sys/net/xensock/hijack"
    _until(bed, guest, hijack)
    _check_carried(bed, guest)

    # The settings go with the module.
    unload(guest, "xensock")
    run_checked(guest, "modprobe xensock", 60 * bed.scale)
    _until(bed, guest, hijack)
    _wait_link(bed, guest)
    _check_carried(bed, guest)

    # As if the device were older than the package: it has no policy, and waits for it.
    policy = f"/local/domain/{server.domid}/backend/xensock/{guest.domid}/0/policy"
    unload(server, "xensock_back")
    bed.xenstore.rm(policy)
    run_checked(server, "modprobe xensock_back", 60 * bed.scale)
    _wait_link(bed, guest)
    _check_carried(bed, guest)

    # The package is installed.
    bed.xenstore.rm(policy)
    run_checked(server, "DPKG_MAINTSCRIPT_PACKAGE=xensock-tools "
                        "sh /var/lib/dpkg/info/xensock-tools.postinst configure", 60 * bed.scale)
    _wait(bed, lambda: bed.xenstore.read(f"{policy}/complete") == "1", lambda: "the device has no policy")
    _check_carried(bed, guest)
