# SPDX-License-Identifier: GPL-2.0
"""Machines that are made of the packages and run systemd: installed as the README says."""

from bed import slow, timeout
from scenarios.common import run_checked, unload

# Written as by an administrator: one port is allowed, so another port shows that the policy
# applies.
POLICY = "connect-allow=192.0.2.1:8080"


def _boot(bed, name, units, **options):
    """Boots a machine and enables its units."""
    machine = bed.guest(name, image="installed", device=None, modules=[], memory=768, **options)
    state = run_checked(machine, "systemctl is-system-running --wait || systemctl --failed", 120 * bed.scale)
    assert state == "running", state
    run_checked(machine, f"systemctl enable --now {units}", 60 * bed.scale)
    assert run_checked(machine, f"systemctl is-active {units}") == "active"
    return machine


@slow
@timeout(900)
def test_lifetime(bed):
    """The units make a driver domain and a guest, udev sets the guest's policy from its file,
    unmodified programs are carried under it, and removing the package leaves nothing."""
    server = _boot(bed, "net", "xensock-backend", extra="dummy.numdummies=1")
    run_checked(server, "sh /usr/lib/xensock/network")
    run_checked(server, f"echo '{POLICY}' >/etc/xensock/served.conf; mkdir /srv/www; echo served >/srv/www/page")
    web = server.start("exec python3 -u -m http.server --directory /srv/www --bind 192.0.2.1 8080")
    web.wait_line("Serving", 30 * bed.scale)

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
