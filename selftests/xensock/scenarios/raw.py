# SPDX-License-Identifier: GPL-2.0
"""A guest whose programs implement the wire protocol, with a backend in dom0."""

import contextlib

from bed import timeout
from guest import ktap_together
from scenarios.common import ABSENT, SMALL_BUFFER, run_checked, start_peer, sysctl, wait_released

# Any unprivileged port, and ports that the backend chooses.
_BIND = "bind-allow=0 1024-65535"

# dom0's send buffers: larger than what a test fills and counts, and soon full.
_BUFFER = 4 * SMALL_BUFFER


@contextlib.contextmanager
def _nothing_left(bed):
    before = bed.quiet_snapshot()
    yield
    leaks = wait_released(bed, before)
    assert not leaks, f"dom0 has kept (before, after): {leaks}"


def _guest(bed, name="raw"):
    return bed.shared_guest(name, modules=[], vcpus=2, policy=(_BIND,))


def _run_pair(bed, *commands):
    """Runs two programs at the same time, each in a guest of its own."""
    start_peer(bed, _BUFFER, syn_retries=6)
    guests = bed.at_once(lambda: _guest(bed), lambda: _guest(bed, "raw2"))
    with _nothing_left(bed):
        ktap_together(zip(guests, commands), 400 * bed.scale)


@contextlib.contextmanager
def _limited(bed, guest, **policy):
    """Restricts the guest inside the block. The guest makes a link for each of its tests."""
    bed.xensock("set", str(guest.domid), *(f"{node}={value}" for node, value in policy.items()))
    try:
        yield
    finally:
        bed.xensock("set", str(guest.domid), _BIND, *(f"{node}=default" for node in policy if node != "bind-allow"))


@timeout(500)
def test_server_and_news(bed):
    """Listening, accepting, polling, with and without status words. Rings that share a channel, and violations
    concerning the news page."""
    _run_pair(bed, "raw_server -V pvcalls -f server", "raw_news -F storm")


@timeout(500)
def test_native_and_datagram(bed):
    """shutdown, names, options, IPv6: features of the native dialect only. UDP: both ways, all sizes, with and without
    a peer, errors, a full ring."""
    # The kernel gives a neighbour up after three times this time.
    sysctl(bed.host, **{"neigh/br0/unres_qlen_bytes": 4 << 20, "neigh/br0/retrans_time_ms": 250})
    # That of the host's link-local address.
    scope = run_checked(bed.host, "cat /sys/class/net/dummy0/ifindex").strip()
    _run_pair(bed, "raw_server -f native", f"raw_datagram -f datagram --blackhole {ABSENT} --scope {scope}")


@timeout(300)
def test_datagram_policy(bed):
    """Each datagram is checked by the policy, and each refusal is counted. Kept rings do not take
    pages from other sockets."""
    if bed.host is not bed:
        bed.skip("dom0 does not know what a driver domain has refused")
    start_peer(bed, _BUFFER, syn_retries=6)
    guest = _guest(bed)
    run_checked(bed, "ip route replace 239.192.77.0/24 dev dummy0")
    before = bed.xensock("show", str(guest.domid))["refused"]
    with _limited(bed, guest, **{
            "bind-allow": "udp:9000 tcp:9001", "connect-deny": "udp:7009", "max-datagram": 1000,
            "max-ring-pages": 100, "multicast-allow": "239.192.77.0/24", "max-groups": 2}):
        guest.ktap("raw_datagram -f policy", 100 * bed.scale)
        guest.ktap("raw_datagram_info -f policy", 100 * bed.scale)
        guest.ktap("raw_reuse -f quota", 100 * bed.scale)
    after = bed.xensock("show", str(guest.domid))["refused"]
    more = {"connect": 8, "bind": 3, "datagram": 2, "ring-pages": 1, "multicast": 2, "groups": 1}
    assert after == {what: count + more.get(what, 0) for what, count in before.items()}, (before, after)


@timeout(600)
def test_hostile_and_others(bed):
    """Every command in every state of a socket, too many of everything, all at once. Beside that, in other guests:

    A device of type pvcalls with the same backend: the protocol of C frontends. Rings that grow and shrink step by
    step, and violations by the guest. Rings that CONNECT and ACCEPT use again, and violations by the guest. Urgent
    bytes both ways, and marks that make no sense. Infos of datagrams: both ways, refused, and invalid blocks."""
    start_peer(bed, _BUFFER, syn_retries=6)
    guest, other, of_pvcalls = bed.at_once(
        lambda: _guest(bed), lambda: _guest(bed, "raw2"),
        lambda: bed.shared_guest("pv", device="pvcalls", backend="xensock_back", modules=[], vcpus=2, policy=(_BIND,)))
    with _limited(bed, guest, **{"max-sockets": 100, "max-listeners": 8}), _nothing_left(bed), \
            guest.ktap_beside("hostile_server --sockets 100 --cycles 8", 500 * bed.scale), \
            of_pvcalls.ktap_beside("raw_server -v pvcalls", 500 * bed.scale):
        for command in ("raw_resize", "raw_reuse -F quota", "raw_urgent", "raw_datagram_info -F policy"):
            other.ktap(command, 400 * bed.scale)
