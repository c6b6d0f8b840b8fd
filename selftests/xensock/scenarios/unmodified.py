# SPDX-License-Identifier: GPL-2.0
"""Debian's programs, unchanged, in a guest whose TCP goes to the backend by sysctl."""

import re
import time

from bed import timeout
from scenarios import postgresql, programs, web
from scenarios.common import SERVER_POLICY, hijacked, run_checked, wait_link
from scenarios.programs import both_ways, serve

# Files of a group share a guest and run one after another.
GROUP = "programs"

RSYNCD = """printf 'uid = root\ngid = root\nuse chroot = no\n[files]\npath = {directory}\nread only = no\n' \
	>/tmp/rsyncd.conf
"""

# Loads in the guest during the toggling, which have no end: the command, dom0's port, and the number of connections
# there. They end if a connection does, or if ssh decrypts a wrong byte.
LOADS = (
    ("redis-benchmark -h {host} -p 8401 -q -c 20 -n 1000000000 -t set >/dev/null", 8401, 20),
    (f"ssh {programs.SSH_OPTIONS} -p 8402 {{host}} cat </dev/zero >/dev/null", 8402, 1),
)
# A connection is made each time, independent of the setting.
TOGGLE = """n=0
touch /tmp/toggle
while [ -e /tmp/toggle ]; do
	n=$((n + 1))
	echo $((n % 2)) >/proc/sys/net/xensock/hijack
	fetch --family xensock >/dev/null || exit 1
	[ $n != 10 ] || echo enough
done
echo $n
"""

# Namespaces of the backend, one for each of two guests, which reach an outside network through NAT.
NETS = {"red": 21, "green": 22}
OUTSIDE = "198.18.0.2"
NETWORK = """set -e
ip netns add outside
ip -n outside link set lo up
ip link add out0 type veth peer name eth0 netns outside
ip addr add 198.18.0.1/24 dev out0
ip link set out0 up
ip -n outside addr add {outside}/24 dev eth0
ip -n outside link set eth0 up
nft add table ip guests
nft add chain ip guests post '{{ type nat hook postrouting priority srcnat; }}'
nft add rule ip guests post oifname out0 masquerade
echo 1 >/proc/sys/net/ipv4/ip_forward
"""
NAMESPACE = """set -e
ip netns add {name}
ip netns set {name} {number}
ip -n {name} link set lo up
ip link add {name}0 type veth peer name eth0 netns {name}
ip addr add 10.{number}.0.1/24 dev {name}0
ip link set {name}0 up
ip -n {name} addr add 10.{number}.0.2/24 dev eth0
ip -n {name} link set eth0 up
ip -n {name} route add default via 10.{number}.0.1
"""


def _unmodified(run, seconds=180):
    """A test of it in a guest whose TCP goes to the backend."""
    @timeout(seconds)
    def test(bed):
        guest = programs.guest(bed)
        with hijacked(guest):
            run(bed, guest)
    return test


test_http = _unmodified(programs.http)
test_proxy = _unmodified(web.proxy)
test_python = _unmodified(web.python)
test_https = _unmodified(web.https)
test_git = _unmodified(web.git)
test_go = _unmodified(web.go)
test_redis = _unmodified(programs.redis)
test_postgresql = _unmodified(postgresql.pgbench, 300)
test_iperf3 = _unmodified(programs.iperf3, 240)
test_ssh = _unmodified(programs.ssh, 300)


@timeout(180)
def test_copy(bed):
    """rsync and socat."""
    guest = programs.guest(bed)
    with hijacked(guest):
        def way(server, client, number):
            port = 8300 + number
            run_checked(server, "rm -rf /tmp/got; mkdir /tmp/got")
            run_checked(server, RSYNCD.format(directory="/tmp/got"))
            job = server.start(f"exec rsync --daemon --no-detach --port {port} --config /tmp/rsyncd.conf")
            run_checked(client, web.TREE)
            run_checked(client, "i=0; until rsync -a --port " + f"{port} /tmp/files/ rsync://{bed.address}/files/; do "
                                "i=$((i + 1)); [ $i -lt 150 ] || exit 1; usleep 200000 2>/dev/null || sleep 0.2; done")
            wanted = run_checked(client, "cd /tmp/files && sha256sum *")
            assert run_checked(server, "cd /tmp/got && sha256sum *") == wanted, "rsync has copied something else"
            job.kill()
            job = server.start(f"exec socat -u TCP-LISTEN:{port + 10},reuseaddr CREATE:/tmp/socat")
            run_checked(client, f"socat -u /tmp/files/8 TCP:{bed.address}:{port + 10},retry=200,interval=0.2")
            job.wait()
            assert run_checked(server, "sha256sum </tmp/socat") == run_checked(client, "sha256sum </tmp/files/8")

        both_ways(bed, guest, way)


@timeout(180)
def test_static(bed):
    """A statically linked program."""
    guest = programs.guest(bed)
    with hijacked(guest):
        assert "Hello" in run_checked(guest, "fetch_static --family inet")


def _wait_moved(bed, port, count, before=None):
    """Waits until dom0 has received data on that many connections to its port, on each more than before. Returns
    how many bytes by connection."""
    deadline = time.monotonic() + 60 * bed.scale
    while True:
        out = run_checked(bed, f"ss -HtniO state established 'sport = :{port}'")
        now = {peer: int(size) for peer, size in re.findall(rf":{port}\s+(\S+)\s.*\bbytes_received:(\d+)", out)}
        if sum(before is None or size > before.get(peer, size) for peer, size in now.items()) >= count:
            return now
        assert time.monotonic() < deadline, f"port {port}: {now}, before {before}"
        time.sleep(0.1)


@timeout(400)
def test_toggled(bed):
    """Hijacking is turned on and off while connections carry data and others are made: none is
    lost."""
    guest = programs.guest(bed)
    serve(bed, programs.REDIS.format(port=8401), "Ready to accept connections")
    programs.ssh_key(bed, guest)
    programs.sshd(bed, 8402)
    with hijacked(guest):
        server = serve(guest, "python3 -u -m http.server -d /bin 8400", "Serving HTTP")
        loads = []
        for command, port, count in LOADS:
            load = guest.start(command.format(host=bed.address))
            loads.append((load, port, count, _wait_moved(bed, port, count)))
        # This one ends, and checks every byte.
        bulk = guest.start("bulk --family inet --bytes 64m")
        _wait_moved(bed, 7002, 1)
        toggler = guest.start(TOGGLE)
        # Fewer times would show nothing.
        toggler.wait_line("enough", 120 * bed.scale)
        rc, out = bulk.wait(200 * bed.scale)
        assert rc == 0, out
        run_checked(guest, "rm /tmp/toggle")
        rc, out = toggler.wait()
        assert rc == 0, out
        bed.note(f"toggled {out.split()[-1]} times")
        for load, port, count, before in loads:
            # The same connections are there, and go on.
            now = _wait_moved(bed, port, count, before)
            _wait_moved(bed, port, count, now)
            assert load.running, f"{load.command}: {load.output}"
            load.kill()
        # This server has listened all the time.
        run_checked(bed, f"curl -sS --fail -o /dev/null http://{bed.address}:8400/")
        server.kill()


def _nginx(guest):
    """Starts a server at port 80. Returns the checksum of one of its pages."""
    run_checked(guest, programs.PAGES.format(count=10))
    programs.nginx(guest, programs.FILES.format(port=80), guest, "http://127.0.0.1/1")
    return run_checked(guest, "sha256sum </tmp/www/9")


@timeout(300)
def test_two_guests(bed):
    """Two guests, each with a namespace in dom0, both serve on port 80 and reach an outside
    network."""
    guests = {"red": programs.guest(bed),
              "green": bed.guest("green", memory=768, programs=True, policy=SERVER_POLICY)}
    try:
        run_checked(bed, NETWORK.format(outside=OUTSIDE))
        run_checked(bed, "mkdir -p /tmp/outside && head -c 300000 /dev/urandom >/tmp/outside/page")
        outside = bed.start("exec ip netns exec outside python3 -u -m http.server -d /tmp/outside 80")
        outside.wait_line("Serving HTTP", 60 * bed.scale)
        page = run_checked(bed, "sha256sum </tmp/outside/page")
        pages = {}
        for name, guest in guests.items():
            run_checked(bed, NAMESPACE.format(name=name, number=NETS[name]))
            bed.xensock("set", str(guest.domid), f"netns={NETS[name]}", "bind-allow=0 80 1024-65535")
            wait_link(guest)
            run_checked(guest, programs.ACCOUNTS)
            run_checked(guest, "echo 1 >/proc/sys/net/xensock/hijack")
            pages[name] = _nginx(guest)
        assert pages["red"] != pages["green"]
        for name, guest in guests.items():
            got = run_checked(bed, f"curl -sS http://10.{NETS[name]}.0.2/9 | sha256sum")
            assert got == pages[name], f"dom0 has not got {name}'s page"
            assert run_checked(guest, f"curl -sS http://{OUTSIDE}/page | sha256sum") == page
            # The guest has a loopback of its own. dom0's, with the peer's ports, is another.
            rc, _ = guest.run("curl -sS -m 30 http://127.0.0.1:7080/")
            assert rc == 7, rc
        seen = outside.output
        assert seen.count("198.18.0.1") >= 2 and "10." not in seen, seen
    finally:
        for name, guest in guests.items():
            guest.run("echo 0 >/proc/sys/net/xensock/hijack; pkill nginx")
            bed.xensock("set", str(guest.domid), "netns=default", "bind-allow=0 1024-65535")
            bed.run(f"ip netns del {name}")
        bed.run("ip netns del outside; nft delete table ip guests; echo 0 >/proc/sys/net/ipv4/ip_forward")
