# SPDX-License-Identifier: GPL-2.0
"""Megabytes each way with a checksum, both ways at once on one socket, at several ring orders."""

from bed import timeout
from scenarios.common import SMALL_BUFFER, set_order, start_peer, stream

# The test looks for bugs where a ring wraps: these are 2,048 rounds of the smallest ring, and 512,
# 128 and 32 of the others.
MEGABYTES = {1: 8, 4: 16, 6: 16, 9: 32}


def _transfer(bed, order):
    guest = bed.shared_guest()
    start_peer(bed)
    set_order(guest, order)
    megabytes = bed.pick(daily=MEGABYTES[order], slow=256, debug=8)
    guest.ktap(f"bulk --bytes {megabytes}m --seed {order}", 1700 * bed.scale)


@timeout(1800)
def test_order_1(bed):
    """4 KiB each way: the ring wraps at every call."""
    _transfer(bed, 1)


@timeout(1800)
def test_order_4(bed):
    """32 KiB each way: what PV Calls has."""
    _transfer(bed, 4)


@timeout(1800)
def test_order_6(bed):
    """128 KiB each way."""
    _transfer(bed, 6)


@timeout(1800)
def test_order_9(bed):
    """1 MiB each way: the largest."""
    _transfer(bed, 9)


@timeout(180)
def test_flags_at_the_extremes(bed):
    """Peeking and waiting for more than a ring holds, with the smallest ring and the largest."""
    guest = bed.shared_guest()
    start_peer(bed, SMALL_BUFFER)
    set_order(guest, 1)
    # Two wait for more bytes to be there than such a ring holds.
    guest.ktap_together(("flags", f"{stream(bed)} -T iovecs_of_any_shape -T bad_memory_to_receive_into"))
    set_order(guest, 9)
    guest.ktap_together(("flags", stream(bed)))
