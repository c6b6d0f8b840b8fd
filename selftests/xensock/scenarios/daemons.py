# SPDX-License-Identifier: GPL-2.0
"""Debian's servers in a guest, which go on while their link is lost, and clients that try again."""

import time

from bed import read
from scenarios import programs
from scenarios.common import run_checked

NGINX, REDIS, RESOLVER = PORTS = (8591, 8592, 8593)
# Answers every request for an address with 192.0.2.7.
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
# Asks for the address of "test", and prints the end of the answer.
ASK = (r"printf '\022\064\001\000\000\001\000\000\000\000\000\000\004test\000\000\001\000\001' | "
       "socat -t 0.2 - UDP:{host}:{port} | tail -c 4 | od -An -tx1")
RETRY = """i=0
until [ "$({command} 2>/dev/null)" = '{wanted}' ]; do
	i=$((i + 1)); [ $i -lt 200 ] || {{ {command}; exit 1; }}; sleep 0.2
done
"""
# The states of a listening socket and of a bound UDP socket in /proc/net.
SERVES = ("0A", "07")


def _ports(where):
    """Returns the ports of these servers that have a socket there, for each socket one."""
    lines = [line.split() for name in ("tcp", "udp") for line in read(where, f"/proc/net/{name}").splitlines()]
    ports = [int(line[1].partition(":")[2], 16) for line in lines if line[0] != "sl" and line[3] in SERVES]
    return sorted(port for port in ports if port in PORTS)


class Daemons:
    """nginx, redis and a UDP name server in a guest with Debian's programs, whose sockets are hijacked. All clients
    make new connections."""

    def __init__(self, bed, guest, client=None):
        """client: where the clients run, if not in dom0."""
        self._bed, self._client = bed, client or bed
        run_checked(guest, programs.ACCOUNTS + programs.PAGES.format(count=10))
        page = f"http://{bed.address}:{NGINX}/9"
        self._jobs = [programs.nginx(guest, programs.FILES.format(port=NGINX), self._client, page),
                      programs.serve(guest, programs.REDIS.format(port=REDIS), "Ready to accept connections"),
                      guest.start(DNS_SERVER.format(port=RESOLVER))]
        self._jobs[-1].wait_line("ready", 60 * bed.scale)
        # The same process serves it afterwards.
        redis = f"redis-cli -h {bed.address} -p {REDIS}"
        run_checked(self._client, f"{redis} SET survivor yes")
        self._commands = (
            (f"curl -sS -m 5 --fail {page} | sha256sum", run_checked(guest, "sha256sum </tmp/www/9")),
            (f"{redis} GET survivor", "yes"),
            (ASK.format(host=bed.address, port=RESOLVER), " c0 00 02 07"))

    def _wait_ports(self, backend, wanted):
        deadline = time.monotonic() + 60 * self._bed.scale
        while (ports := _ports(backend or self._bed)) != wanted:
            assert time.monotonic() < deadline, f"sockets at ports {ports}, and not {wanted}"
            time.sleep(0.1)

    def check(self, backend=None):
        """Waits until each server answers. None has ended, and the domain of the backend, if not dom0, has one socket
        for each."""
        for command, wanted in self._commands:
            run_checked(self._client, RETRY.format(command=command, wanted=wanted), 100 * self._bed.scale)
        for job in self._jobs:
            assert job.running, f"{job.command}: {job.output}"
        self._wait_ports(backend, list(PORTS))

    def end(self, backend=None):
        """Ends the servers. Their ports are free then."""
        for job in self._jobs:
            job.kill()
        self._wait_ports(backend, [])
