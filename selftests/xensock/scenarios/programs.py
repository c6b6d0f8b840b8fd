# SPDX-License-Identifier: GPL-2.0
"""Programs as Debian has them, of which nothing is changed but the family of their sockets.

A library that is preloaded asks for AF_XENSOCK where they ask for a TCP socket.
The other end, in dom0, is the same program over TCP. What is here is run without
the library by unmodified.py, most of it only there: that takes the same way.
"""

import json
import re
import socket

from bed import timeout
from scenarios.common import SERVES, must, peer, wait_link

PRELOAD = "LD_PRELOAD=/usr/lib/xensock/preload.so"

ACCOUNTS = """mkdir -p /etc /root
printf 'root:x:0:0::/root:/bin/sh\\nsshd:x:100:65534::/run/sshd:/bin/false\\n' >/etc/passwd
printf 'root:x:0:\\nnogroup:x:65534:\\n' >/etc/group
"""

NGINX = """mkdir -p /tmp/www /var/lib/nginx
cat >/tmp/nginx.conf <<-END
	daemon off; user root; worker_processes 2; pid /run/nginx.pid; error_log stderr;
	events {{ worker_connections 256; }}
	http {{
		access_log off;
		server {{ listen {port}; root /tmp/www; }}
	}}
END
cd /tmp/www
for i in $(seq 30); do head -c $((i * i * 1000)) /dev/urandom >$i; done
"""
CURL = """mkdir -p /tmp/got && cd /tmp/got && rm -f *
{preload} curl -sS --fail --retry 50 --retry-connrefused --retry-delay 1 -o 1 http://{host}:{port}/1 &&
{preload} curl -sS --fail --parallel --parallel-max 10 -o '#1' 'http://{host}:{port}/[1-30]'
"""

REDIS = "redis-server --port {port} --bind {host} --protected-mode no --save '' --appendonly no"
REDIS_CLIENTS = 50
REDIS_REQUESTS = 2000

IPERF = ("", "-R", "-P 8", "-P 8 -R")

COPY_BYTES = 100 << 20
CIPHER = "aes128-gcm@openssh.com"
SSHD = """mkdir -p /run/sshd
cat >/tmp/sshd.conf <<-END
	Port {port}
	HostKey /tmp/key
	AuthorizedKeysFile /tmp/key.pub
	StrictModes no
	UsePAM no
	PidFile none
	Subsystem sftp internal-sftp
END
"""
SCP = (f"scp -q -F none -c {CIPHER} -i /tmp/key -o BatchMode=yes -o StrictHostKeyChecking=no "
       "-o UserKnownHostsFile=/dev/null -o LogLevel=ERROR")


def guest(bed):
    """A guest that has these programs."""
    where = bed.shared_guest(memory=768, programs=True, policy=SERVES)
    peer(bed)
    wait_link(where)
    must(where, ACCOUNTS)
    return where


def _directions(bed, where, preload):
    """Who serves and who asks, and what each of them is started with."""
    return ((where, preload, bed, "", 1), (bed, "", where, preload, 2))


def _sums(where, directory):
    return must(where, f"cd {directory} && sha256sum * | sort")


def http(bed, where, preload):
    """nginx with two workers, and curl with ten connections, each in the guest and in dom0."""
    for server, server_preload, client, client_preload, number in _directions(bed, where, preload):
        port = 8080 + number
        must(server, NGINX.format(port=port))
        job = server.start(f"{server_preload} exec nginx -e stderr -c /tmp/nginx.conf")
        must(client, CURL.format(preload=client_preload, host=bed.address, port=port))
        assert job.running, job.output
        sums = _sums(server, "/tmp/www")
        assert len(sums.splitlines()) == 30
        assert sums == _sums(client, "/tmp/got"), "the files differ"


@timeout(180)
def test_http(bed):
    """nginx with two workers, and curl."""
    http(bed, guest(bed), PRELOAD)


def _redis_says(bed, port, command):
    """What the server answers to one line, as a client in dom0 sees it."""
    with socket.create_connection((bed.address, port), timeout=10) as connection:
        connection.sendall(command.encode() + b"\r\nQUIT\r\n")
        return b"".join(iter(lambda: connection.recv(4096), b"")).decode()


def redis(bed, where, preload):
    """redis, a protocol of lines, with 50 clients at once, each in the guest and in dom0."""
    for server, server_preload, client, client_preload, number in _directions(bed, where, preload):
        port = 6380 + number
        job = server.start(f"{server_preload} exec " + REDIS.format(host="0.0.0.0", port=port))
        job.wait_line("Ready to accept connections", 30 * bed.scale)
        before = _redis_says(bed, port, "INFO stats")
        out = must(client, f"{client_preload} redis-benchmark -h {bed.address} -p {port} -q "
                           f"-c {REDIS_CLIENTS} -n {REDIS_REQUESTS} -t ping_inline,set,get", 120 * bed.scale)
        after = _redis_says(bed, port, "INFO stats")
        connections, commands = (
            int(re.search(f"{name}:(\\d+)", after)[1]) - int(re.search(f"{name}:(\\d+)", before)[1])
            for name in ("total_connections_received", "total_commands_processed"))
        bed.note(out.replace("\r", "\n").strip().splitlines()[-1])
        assert connections >= 3 * REDIS_CLIENTS, f"{connections} connections"
        assert commands >= 3 * REDIS_REQUESTS, f"{commands} commands"
        assert "VXK" in _redis_says(bed, port, "GET key:__rand_int__"), "the value that was set is not there"
        job.kill()


def iperf3(bed, where, preload):
    """iperf3 both ways, with one connection and with eight, server and client in the guest in turn."""
    for server, server_preload, client, client_preload, number in _directions(bed, where, preload):
        port = 5200 + number
        job = server.start(f"{server_preload} exec iperf3 --forceflush -s -p {port}")
        for count, options in enumerate(IPERF, 1):
            # It takes one client at a time, and turns others away until it is done with that.
            job.wait_line(f"(test #{count})", 30 * bed.scale)
            out = must(client, f"{client_preload} iperf3 --json -t {bed.scale} -p {port} -c {bed.address} {options}",
                       60 * bed.scale)
            end = json.loads(out)["end"]
            bed.note(f"iperf3 {options}: {end['sum_received']['bits_per_second'] / 1e6:.0f} Mbit/s")
            assert len(end["streams"]) == (8 if "-P 8" in options else 1)
            for stream in end["streams"]:
                assert stream["sender"]["bytes"] and stream["receiver"]["bytes"], stream
        job.kill()


def ssh(bed, where, preload):
    """100 MB by scp from the guest to dom0, then 10 by a client in dom0 to the guest; checksums compared."""
    must(bed, "rm -f /tmp/key*; ssh-keygen -q -t ed25519 -N '' -f /tmp/key")
    for name in ("key", "key.pub"):
        text = must(bed, f"cat /tmp/{name}")
        must(where, f"umask 077; cat >/tmp/{name} <<'END'\n{text}\nEND")
    size = COPY_BYTES if bed.kconfig == "fast" else COPY_BYTES // 20
    must(where, f"head -c {size} /dev/urandom >/tmp/data", 60 * bed.scale)
    wanted = must(where, "sha256sum </tmp/data")
    for server, server_preload, port in ((bed, "", 2201), (where, preload, 2202)):
        must(server, SSHD.format(port=port))
        job = server.start(f"{server_preload} exec /usr/sbin/sshd -D -e -f /tmp/sshd.conf")
        job.wait_line("Server listening", 30 * bed.scale)
    must(where, f"{preload} {SCP} -P 2201 /tmp/data {bed.address}:/tmp/data", 120 * bed.scale)
    assert must(bed, "sha256sum </tmp/data") == wanted, "dom0 has something else"
    must(where, "rm /tmp/data")
    wanted = must(bed, "truncate -s 10M /tmp/data && sha256sum </tmp/data")
    must(bed, f"{SCP} -P 2202 /tmp/data {bed.address}:/tmp/data", 120 * bed.scale)
    assert must(where, "sha256sum </tmp/data") == wanted, "the guest has something else"
    must(bed, "rm /tmp/data")
