# SPDX-License-Identifier: GPL-2.0
"""The KUnit tests of the protocol and of the abstractions, in a guest."""

from bed import timeout

RESULTS = "/sys/kernel/debug/kunit"

# Suites of the kernel crate, which run when the guest boots.
ABSTRACTIONS = {"rust_kernel_socket", "rust_kernel_socket_interference", "rust_socket_family", "rust_xen_ring",
                "rust_xen_store"}
# Suites of the module xensock_kunit.
PROTOCOL = {"xensock_ring", "xensock_option", "xensock_frame", "xensock_status", "xensock_link", "xensock_wire"}


@timeout(300)
def test_protocol(bed):
    """Every suite of the kernel crate and of xensock_kunit passes."""
    guest = bed.guest(device=None, extra="kunit.enable=1 kunit.autorun=1")
    rc, out = guest.run("modprobe xensock_kunit", 240)
    assert rc == 0, out
    _, suites = guest.run(f"ls {RESULTS}")
    missing = (ABSTRACTIONS | PROTOCOL) - set(suites.split())
    assert not missing, f"the kernel has no suite {missing}"
    for suite in suites.split():
        # A suite that did not run has only its own line.
        _, done = guest.run(f"grep -c '^ *\\(not \\)*ok ' {RESULTS}/{suite}/results")
        assert int(done) > 1, f"nothing of {suite} was run"
        guest.ktap(f"cat {RESULTS}/{suite}/results")
