# SPDX-License-Identifier: GPL-2.0
"""Guests whose device xl makes, with its own type pvcalls. With our drivers at both ends the device
speaks the native dialect, with a C driver at either end PV Calls."""

from bed import timeout
from scenarios.common import (
    SERVER_POLICY, SMALL_BUFFER, run_checked, start_peer, stream, unload, wait_attempt, wait_link)


def _guest(bed):
    """Returns a guest with a device made by xl."""
    start_peer(bed, SMALL_BUFFER)
    bed.modprobe("xensock_back")
    guest = bed.shared_guest("byxl", device=None, config="pvcalls = ['backend=0']", modules=["xensock"])
    bed.xensock("set", str(guest.domid), f"connect-allow={bed.connect_allow}", "connect-deny=default", *SERVER_POLICY)
    wait_link(guest)
    assert _native(bed, guest) == ("1", "1")
    return guest


def _native(bed, guest):
    """Returns the nodes by which the two ends agree on the dialect."""
    front = f"/local/domain/{guest.domid}/device/pvcalls/0"
    back = bed.xenstore.read(f"{front}/backend")
    return bed.xenstore.read(f"{back}/feature-native"), bed.xenstore.read(f"{front}/native")


@timeout(240)
def test_native(bed):
    """One line in xl.cfg is enough: datagrams, IPv6, resets and options work, which PV Calls lacks."""
    guest = _guest(bed)
    guest.ktap_together((f"{stream(bed)} -T bad_memory_to_receive_into", "rst", "datagram"), 200 * bed.scale)
    # The administrator's policy applies to this device as to any.
    bed.xensock("set", str(guest.domid), f"connect-deny={bed.address}:7001")
    wait_attempt(guest, f"connect {bed.address} 7001", "EACCES")


@timeout(240)
def test_smaller_rings(bed):
    """The policy's order of rings holds for the native dialect, although a C driver needs a larger one."""
    guest = _guest(bed)
    back = bed.xenstore.read(f"/local/domain/{guest.domid}/device/pvcalls/0/backend")
    try:
        for order in (2, 1):
            bed.xensock("set", str(guest.domid), f"max-ring-order={order}")
            unload(guest, "xensock")
            run_checked(guest, "modprobe xensock")
            wait_link(guest)
            assert bed.xenstore.read(f"{back}/max-page-order") == "4"
            assert bed.xenstore.read(f"{back}/native-max-page-order") == str(order)
            run_checked(guest, "attempt connect 192.0.2.1 7001 | grep -qx ok")
            guest.ktap("datagram -t peeking_takes_nothing", 60 * bed.scale)
            guest.ktap("bulk --bytes 256k", 60 * bed.scale)
            assert bed.xensock("show", str(guest.domid))["refused"]["ring-order"] == 0
    finally:
        bed.xensock("set", str(guest.domid), "max-ring-order=default")
        unload(guest, "xensock")
        run_checked(guest, "modprobe xensock")
        wait_link(guest)


@timeout(240)
def test_frontend_reload(bed):
    """A frontend that is unloaded removes its node, as the C driver may come next. A loaded one
    writes it again."""
    guest = _guest(bed)
    unload(guest, "xensock")
    assert _native(bed, guest) == ("1", None)
    run_checked(guest, "modprobe xensock")
    wait_link(guest)
    assert _native(bed, guest) == ("1", "1")


@timeout(240)
def test_backend_reload(bed):
    """The backend does the same, and finds its frontend again when it is loaded."""
    guest = _guest(bed)
    unload(bed, "xensock_back")
    assert _native(bed, guest)[0] is None
    bed.modprobe("xensock_back")
    wait_link(guest)
    assert _native(bed, guest) == ("1", "1")


@timeout(240)
def test_created_first(bed):
    """xl makes a guest whose backend is not there yet. The link comes up with the backend."""
    start_peer(bed)
    if bed.loaded("xensock_back"):
        unload(bed, "xensock_back")
    # It would wait for the device.
    guest = bed.guest("first", device=None, config="pvcalls = ['backend=0']", modules=[])
    bed.modprobe("xensock_back")
    bed.xensock("set", str(guest.domid), f"connect-allow={bed.connect_allow}")
    guest.modprobe("xensock")
    wait_link(guest)
    assert _native(bed, guest) == ("1", "1")
    guest.destroy()


@timeout(240)
def test_destroyed(bed):
    """xl removes the device and reports no error of the backend."""
    guest = _guest(bed)
    guest.start("hold busy").wait_line("ready", 60 * bed.scale)
    output = guest.destroy(by_command=True)
    assert not output, output
