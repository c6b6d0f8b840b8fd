# SPDX-License-Identifier: GPL-2.0
"""Guests that get their policy from a file with their name, and cannot connect before."""

import os
import time
from contextlib import contextmanager

import administrator
from bed import timeout
from scenarios.common import run_checked, start_peer, unload, wait_attempt, wait_link

FILES = "/etc/xensock"


def _write(name, *lines):
    with open(f"{FILES}/{name}.conf", "w", encoding="ascii") as file:
        file.writelines(f"{line}\n" for line in lines)


def _read(name):
    with open(f"{FILES}/{name}.conf", encoding="ascii") as file:
        return file.read()


@contextmanager
def _backend_awaits_policy(bed):
    """Loads the backend as the package does: it waits for policies."""
    if bed.loaded("xensock_back"):
        unload(bed, "xensock_back")
    run_checked(bed, "modprobe xensock_back")
    try:
        yield
    finally:
        for name in os.listdir(FILES):
            os.unlink(f"{FILES}/{name}")
        unload(bed, "xensock_back")


def _states(bed, guest):
    shown = bed.xensock("show", str(guest.domid))
    return shown["guest"]["state"], shown["backend"]["state"]


def _apply(bed, *words):
    """Returns the command's error message, or None."""
    try:
        bed.xensock("apply", *words)
    except RuntimeError as error:
        return str(error)
    return None


def _guest_without_policy(bed, name):
    """A guest with a device that has no policy yet."""
    guest = bed.guest(name=name, device=None, modules=["xensock"])
    store = administrator.Xenstore()
    administrator.device(store, guest.domid).create(None)
    return guest


@timeout(300)
def test_udev(bed):
    """With a line in xl.cfg and a file, udev's rule has set the policy by the time the link is up."""
    start_peer(bed)
    with _backend_awaits_policy(bed):
        bed.start("exec /usr/lib/systemd/systemd-udevd")
        run_checked(bed, "i=0; until udevadm control --ping; do i=$((i + 1)); [ $i -lt 400 ] || exit 1; "
                         "sleep 0.1; done")
        _write("named", f"connect-allow={bed.connect_allow}", f"connect-deny={bed.address}:7001")
        began = time.monotonic()
        guest = bed.guest(name="named", device=None, config="pvcalls = ['backend=0']", modules=["xensock"])
        bed.note(f"created and booted within {time.monotonic() - began:.1f} s")
        wait_link(guest)
        assert bed.xensock("show", str(guest.domid))["policy"]["connect-deny"] == f"{bed.address}:7001"
        wait_attempt(guest, f"connect {bed.address} 7001", "EACCES")
        guest.destroy()


@timeout(240)
def test_waits(bed):
    """Without a policy the link stays down. A policy set later applies from the first call on."""
    start_peer(bed)
    with _backend_awaits_policy(bed):
        guest = _guest_without_policy(bed, "waits")
        deadline = time.monotonic() + 1
        while time.monotonic() < deadline:
            assert _states(bed, guest) == (1, 1)
            time.sleep(0.5)
        out = run_checked(guest, f"attempt connect {bed.address} 7001")
        assert out == "ENETDOWN", out
        assert "waits for the policy" in bed.xensock("show", str(guest.domid))["warning"]
        bed.xensock("set", str(guest.domid), f"connect-allow={bed.connect_allow}", f"connect-deny={bed.address}:7001",
                    "--save")
        wait_link(guest)
        wait_attempt(guest, f"connect {bed.address} 7001", "EACCES")
        assert f"connect-deny={bed.address}:7001\n" in _read("waits")
        guest.destroy()


@timeout(240)
def test_error(bed):
    """If the file has an error, the guest connects but may do nothing, and the error is reported."""
    start_peer(bed)
    with _backend_awaits_policy(bed):
        guest = _guest_without_policy(bed, "mistaken")
        _write("mistaken", "# open", f"connect-allow={bed.connect_allow}", "bind-alow=tcp:80")
        error = _apply(bed, "--new", f"xensock-{guest.domid}-0")
        assert f"nothing is allowed to mistaken ({guest.domid}): {FILES}/mistaken.conf:3: there is no node " \
               "'bind-alow'" in error, error
        wait_attempt(guest, f"connect {bed.address} 7001", "EACCES")
        out = run_checked(guest, f"attempt connect {bed.address} 80 {bed.address} 7001")
        assert out.split() == ["EACCES"] * 2, out
        assert "mistaken.conf:3" in bed.xensock("show", str(guest.domid))["policy_error"]
        _write("mistaken", f"connect-allow={bed.connect_allow}")
        assert _apply(bed, str(guest.domid)) is None
        wait_link(guest)
        assert bed.xensock("show", str(guest.domid))["policy_error"] is None
        guest.destroy()


@timeout(300)
def test_driver_domain(bed):
    """A driver domain has files of its own. dom0 tells it the guest's name, which it may not read, and
    words of dom0 count more."""
    server = bed.guest("net", memory=768, device=None, modules=[], extra="dummy.numdummies=1", programs=True)
    run_checked(server, f"modprobe xensock_back await_policy=1 && ip address add {bed.address}/24 dev dummy0 && "
                        "ip link set dummy0 up")
    server.start(f"peer --host {bed.address}").wait_line("peer: ready", 60 * bed.scale)
    guest = bed.guest(name="served", device=None, modules=["xensock"])
    bed.xensock("attach", str(guest.domid), f"--backend={server.domid}", "max-sockets=77")
    assert run_checked(guest, f"attempt connect {bed.address} 7001") == "ENETDOWN"
    run_checked(server, f"mkdir -p {FILES}; echo 'connect-allow={bed.connect_allow}' >{FILES}/served.conf; "
                        f"echo 'connect-deny={bed.address}:7001' >>{FILES}/served.conf")
    run_checked(server, f"xensock apply --new xensock-{guest.domid}-0", 60 * bed.scale)
    wait_link(guest)
    wait_attempt(guest, f"connect {bed.address} 7001", "EACCES")
    policy = bed.xensock("show", str(guest.domid))["policy"]
    assert (policy["max-sockets"], policy["connect-deny"]) == ("77", f"{bed.address}:7001"), policy
    # Without the name no file can match.
    back = f"/local/domain/{server.domid}/backend/xensock/{guest.domid}/0"
    bed.xenstore.rm(f"{back}/guest-name")
    rc, out = server.run(f"xensock apply xensock-{guest.domid}-0", 60 * bed.scale)
    assert rc == 1 and "the name of the guest is not known in this domain" in out, out
