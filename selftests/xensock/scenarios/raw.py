# SPDX-License-Identifier: GPL-2.0
"""A guest that speaks the wire protocol by itself, to a backend in dom0."""

from bed import timeout
from scenarios.common import peer, settled

# Any port that is not privileged, and one that is left to the backend.
_BIND = "bind-allow=0 1024-65535"


def _server(bed, guest, tests):
    before = bed.snapshot()
    guest.ktap(f"raw_server {tests}", 200 * bed.scale)
    off = settled(bed, before)
    assert not off, f"dom0 has kept (before, after): {off}"


def _guest(bed):
    peer(bed)
    return bed.shared_guest("raw", modules=[], vcpus=2, policy=(_BIND,))


@timeout(300)
def test_server(bed):
    """Listening, accepting, polling, with and without status words."""
    _server(bed, _guest(bed), "-V pvcalls -f server")


@timeout(300)
def test_native(bed):
    """shutdown, names, options, IPv6: what only the native dialect has."""
    _server(bed, _guest(bed), "-f native")


@timeout(300)
def test_pvcalls(bed):
    """A device of the other type, with the same backend: as C frontends speak to it."""
    peer(bed)
    guest = bed.shared_guest("pv", device="pvcalls", backend="xensock_back", modules=[], vcpus=2,
                             policy=(_BIND,))
    _server(bed, guest, "-v pvcalls")


@timeout(600)
def test_hostile(bed):
    """Every command in every stage of a socket, too many of everything, all at once."""
    peer(bed)
    guest = bed.shared_guest("rude", modules=[], vcpus=2,
                             policy=(_BIND, "max-sockets=100", "max-listeners=8"))
    before = bed.snapshot()
    guest.ktap("hostile_server --sockets 100 --cycles 8", 550 * bed.scale)
    off = settled(bed, before)
    assert not off, f"dom0 has kept (before, after): {off}"
