# SPDX-License-Identifier: GPL-2.0
"""Servers that go on while their guest moves or their link is lost, and clients that try again."""

import socket
import time

from bed import slow, timeout
from scenarios import programs
from scenarios.common import SERVER_POLICY, hijacked, run_checked, start_peer, sysctl, unload, wait_link, wait_released
from scenarios.lifecycle import wait_services

# Files of a group share a guest and run one after another.
GROUP = "programs"

NGINX, REDIS, RESOLVER = 8591, 8592, 8593
# Answers every request for an address.
DNS_SERVER = """exec python3 -u -c '
import socket
own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
own.bind(("0.0.0.0", {port}))
print("ready")
while True:
    query, client = own.recvfrom(512)
    try:
        own.sendto(query[:2] + bytes.fromhex("818000010001 00000000") + query[12:] +
                   bytes.fromhex("c00c00010001 0000003c 0004 c0000207"), client)
    except OSError:
        pass
'"""
QUERY = bytes.fromhex("1234 010000010000 00000000 04") + b"test" + bytes.fromhex("00 0001 0001")
RETRY = """i=0
until [ "$({command} 2>/dev/null)" = '{wanted}' ]; do
	i=$((i + 1)); [ $i -lt 200 ] || {{ {command}; exit 1; }}; sleep 0.2
done
"""


# A guest that moves

def _check_move(bed, move, **options):
    """The bed's own services in a guest whose device xl makes, which moves to another domain."""
    if bed.machine != "x86_64":
        bed.skip("Xen saves guests on x86 only")
    start_peer(bed)
    # Moving takes longer than an attempt to connect to a black hole would.
    sysctl(bed, tcp_syn_retries=6)
    bed.modprobe("xensock_back")
    policy = f"connect-allow={bed.connect_allow}", *SERVER_POLICY
    guest = bed.guest(name="moving", memory=128, device=None, config="pvcalls = ['backend=0']",
                      modules=["xensock"], **options)
    bed.xensock("set", str(guest.domid), *policy)
    wait_link(guest)
    job = guest.start("service")
    job.wait_line("ready", 60 * bed.scale)
    wait_services(bed, job)
    before = bed.quiet_snapshot()
    for _ in range(bed.pick(daily=1, slow=10, debug=1)):
        held = guest.start("hold lost")
        held.wait_line("ready", 60 * bed.scale)
        old = guest.domid
        move(guest, *policy, timeout=120)
        assert guest.domid != old
        rc, out = held.wait(60 * bed.scale)
        assert rc == 0, out
        wait_services(bed, job)
        assert not bed.xenstore.ls(f"/local/domain/0/backend/pvcalls/{old}")
    leaks = {key: counts for key, counts in wait_released(bed, before).items() if counts[1] > counts[0]}
    assert not leaks, f"dom0 has kept (before, after): {leaks}"


@timeout(400)
def test_save_and_restore(bed):
    """xl save and xl restore: connections are reset, servers go on with the new domain's device."""
    _check_move(bed, lambda guest, *policy, **options: guest.restore(*policy, **options))


@timeout(400)
def test_restore_without_backend(bed):
    """A guest is restored before dom0's module is loaded: its connections are reset at once, not when
    there is a backend."""
    if bed.machine != "x86_64":
        bed.skip("Xen saves guests on x86 only")
    start_peer(bed)
    bed.modprobe("xensock_back")
    policy = f"connect-allow={bed.connect_allow}", *SERVER_POLICY
    guest = bed.guest(name="early", memory=128, device=None, config="pvcalls = ['backend=0']", modules=["xensock"])
    bed.xensock("set", str(guest.domid), *policy)
    wait_link(guest)
    held = guest.start("hold lost")
    held.wait_line("ready", 60 * bed.scale)
    guest.restore(*policy, timeout=120, meanwhile=lambda: unload(bed, "xensock_back"))
    held.wait_line("told within", 60 * bed.scale)
    assert run_checked(guest, f"attempt connect {bed.address} 7001").split() == ["ENETDOWN"]
    bed.modprobe("xensock_back")
    rc, out = held.wait(60 * bed.scale)
    assert rc == 0, out
    wait_link(guest)


@slow
@timeout(400)
def test_migrate(bed):
    """xl migrate, live, to the same host. Under emulation Xen does not track the writes of a PV
    guest."""
    _check_move(bed, lambda guest, *policy, **options: guest.migrate(*policy, **options), kind="pvh")


# Debian's programs

def _resolver_answers(bed):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(0.5)
        client.connect((bed.address, RESOLVER))
        for _ in range(60 * bed.scale):
            try:
                client.send(QUERY)
                return client.recv(512).endswith(socket.inet_aton("192.0.2.7"))
            except OSError:
                # An error may be told at once.
                time.sleep(0.5)
    return False


@timeout(400)
def test_programs(bed):
    """nginx, redis and a UDP name server, while the backend is reloaded and the device is attached
    again."""
    guest = programs.guest(bed)
    with hijacked(guest, hijack=2):
        run_checked(guest, programs.PAGES.format(count=10))
        url = f"http://{bed.address}:{NGINX}/9"
        jobs = [programs.nginx(guest, programs.FILES.format(port=NGINX), bed, url),
                programs.serve(guest, programs.REDIS.format(port=REDIS), "Ready to accept connections"),
                guest.start(DNS_SERVER.format(port=RESOLVER))]
        jobs[-1].wait_line("ready", 60 * bed.scale)
        # The same process serves it afterwards.
        redis = f"redis-cli -h {bed.address} -p {REDIS}"
        run_checked(bed, f"{redis} SET survivor yes")
        commands = ((f"curl -sS -m 5 --fail {url} | sha256sum", run_checked(guest, "sha256sum </tmp/www/9")),
                    (f"{redis} GET survivor", "yes"))

        def check_services():
            for command, wanted in commands:
                run_checked(bed, RETRY.format(command=command, wanted=wanted), 100 * bed.scale)
            assert _resolver_answers(bed), "the name server is silent"
            for job in jobs:
                assert job.running, f"{job.command}: {job.output}"

        check_services()
        before = bed.quiet_snapshot()
        for _ in range(bed.pick(daily=1, slow=10, debug=1)):
            unload(bed, "xensock_back")
            bed.modprobe("xensock_back")
            check_services()
            guest.detach()
            guest.attach("xensock", *SERVER_POLICY)
            check_services()
        leaks = {key: counts for key, counts in wait_released(bed, before).items() if counts[1] > counts[0]}
        assert not leaks, f"dom0 has kept (before, after): {leaks}"
