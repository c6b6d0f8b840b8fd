# SPDX-License-Identifier: GPL-2.0
"""The guest's own policy for TCP and UDP also applies to hijacked sockets."""

from bed import timeout
from scenarios.common import SERVER_POLICY, SMALL_BUFFER, hijacked, in_dom0, start_peer, wait_connected

# Files of a group share a guest and run one after another.
GROUP = "serves"


def _need_policy(bed):
    if bed.run("grep -q ' __cgroup_bpf_run_filter_sk$' /proc/kallsyms")[0]:
        bed.skip("this kernel has no policy that could be asked; KCONFIG=fast has")


@timeout(180)
def test_tcp(bed):
    """This kernel's TCP and UDP meet the expectations of the tests."""
    _need_policy(bed)
    start_peer(bed, SMALL_BUFFER)
    in_dom0(bed, "guest_policy")


@timeout(180)
def test_hijack(bed):
    """BPF programs in control groups, and Landlock, see TCP and UDP, and their decisions apply."""
    _need_policy(bed)
    guest = bed.shared_guest(policy=SERVER_POLICY)
    start_peer(bed, SMALL_BUFFER)
    wait_connected(guest)
    with hijacked(guest, hijack=2, exempt_destinations="127.0.0.0/8"):
        guest.ktap("guest_policy --family inet", 150 * bed.scale)
