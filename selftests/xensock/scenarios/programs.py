# SPDX-License-Identifier: GPL-2.0
"""Debian's programs, unchanged except for the family of their sockets.

A preloaded library replaces their TCP sockets by AF_XENSOCK. The other end, in dom0, is the same
program over TCP. unmodified.py runs these programs without the library, and most of them only
there: the code is the same.
"""

import itertools
import json
import os
import re
from concurrent.futures import ThreadPoolExecutor

from bed import timeout
from guest import ARCHIVE
from scenarios.common import SERVER_POLICY, run_checked, start_peer, wait_connected

# Files of a group share a guest and run one after another.
GROUP = "programs"

PRELOAD = "LD_PRELOAD=/usr/lib/xensock/preload.so"

ACCOUNTS = """mkdir -p /etc /root
cat >/etc/passwd <<-END
	root:x:0:0::/root:/bin/sh
	sshd:x:100:65534::/run/sshd:/bin/false
	postgres:x:101:101::/:/bin/false
END
cat >/etc/group <<-END
	root:x:0:
	postgres:x:101:
	nogroup:x:65534:
END
"""

ARCHIVE_PORT = 8499

NGINX = """mkdir -p /var/lib/nginx
cat >/tmp/nginx.conf <<-'END'
	daemon off; user root; worker_processes 2; pid /run/nginx.pid; error_log stderr;
	events {{ worker_connections 256; }}
	http {{
		access_log off;
		{servers}
	}}
END
"""
FILES = "server {{ listen {port}; root /tmp/www; }}"
PAGES = """rm -rf /tmp/www; mkdir -p /tmp/www && cd /tmp/www
for i in $(seq {count}); do head -c $((i * i * 1000)) /dev/urandom >$i; done
"""
# curl itself would wait for a second before it tries again.
WAIT_PAGE = """i=0
until {preload} curl -sS --fail -o /dev/null {url}; do
	i=$((i + 1)); [ $i -lt 400 ] || exit 1; sleep 0.1
done
"""
CURL = """rm -rf /tmp/got; mkdir -p /tmp/got && cd /tmp/got &&
{preload} curl -sS --fail --parallel --parallel-max 10 -o '#1' '{url}/[1-{count}]'
"""

REDIS = "redis-server --port {port} --bind 0.0.0.0 --protected-mode no --save '' --appendonly no"
REDIS_CLIENTS = 50
REDIS_REQUESTS = 500

IPERF = ("", "-R", "-P 8", "-P 8 -R")

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
# For ssh and for scp.
SSH_OPTIONS = ("-q -F none -c aes128-gcm@openssh.com -i /tmp/key -o BatchMode=yes "
               "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR")


def guest(bed):
    """A guest that has these programs."""
    where = bed.shared_guest(memory=768, programs=True, policy=SERVER_POLICY)
    start_peer(bed)
    wait_connected(where)
    run_checked(where, ACCOUNTS)
    return where


def small_memory(bed):
    """Returns MiB that are enough for a guest with a few of these programs at a time. Moving it takes as long as it has
    memory."""
    return 384 if bed.kconfig == "fast" and bed.machine == "x86_64" else 768


def find_archive(bed, name):
    """Returns the path of an archive of tools/bed/images. Without it the test is skipped."""
    archive = ARCHIVE.format(name=name)
    if not os.path.exists(archive):
        bed.skip(f"there is no {archive} for this machine")
    return archive


def install_archive(bed, where, name):
    """Copies one more archive of tools/bed/images to a guest, whose sockets are dom0's."""
    archive = find_archive(bed, name)
    sender = bed.start(f"exec socat -u OPEN:{archive} TCP-LISTEN:{ARCHIVE_PORT},reuseaddr")
    run_checked(where, f"socat -u TCP:{bed.address}:{ARCHIVE_PORT},retry=200,interval=0.2 CREATE:/tmp/more && "
                       "cd / && gunzip </tmp/more | cpio -idm && rm /tmp/more", 90 * bed.scale)
    rc, out = sender.wait()
    assert rc == 0, out


def server_client_pairs(bed, where):
    """Server and client: the guest and dom0, then dom0 and the guest."""
    return ((where, bed, 1), (bed, where, 2))


def both_ways(bed, where, way):
    """Calls way(server, client, number) for both pairs at the same time: one alone would let each domain wait for the
    other."""
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(way, *pair) for pair in server_client_pairs(bed, where)]:
            done.result()


def serve(where, command, text):
    """Starts a server and waits until it is ready."""
    job = where.start(f"exec {command}")
    # A large program, and maybe another in the other domain at the same time.
    job.wait_line(text, 60 * where.scale)
    return job


def nginx(where, servers, client, url, preload="", client_preload=""):
    """Starts nginx with these servers, and waits until the client gets that page."""
    run_checked(where, NGINX.format(servers=servers))
    job = where.start(f"{preload} exec nginx -e stderr -c /tmp/nginx.conf")
    rc, out = client.run(WAIT_PAGE.format(preload=client_preload, url=url))
    assert rc == 0 and job.running, f"{url}: {out}: {job.output}"
    return job


def checksums(where, directory):
    return run_checked(where, f"cd {directory} && sha256sum * | sort")


def download(server, client, url, count, preload=""):
    """Downloads all pages of the server with curl over ten connections, and compares them."""
    run_checked(client, CURL.format(preload=preload, url=url, count=count))
    wanted = checksums(server, "/tmp/www")
    assert len(wanted.splitlines()) == count
    assert wanted == checksums(client, "/tmp/got"), "the files differ"


def http(bed, where, preload=""):
    """nginx with two workers, and curl with ten connections, each in the guest and in dom0."""
    def way(server, client, number):
        port = 8080 + number
        url = f"http://{bed.address}:{port}"
        preloads = (preload, "") if server is where else ("", preload)
        run_checked(server, PAGES.format(count=30))
        job = nginx(server, FILES.format(port=port), client, f"{url}/1", *preloads)
        download(server, client, url, 30, preloads[1])
        job.kill()

    both_ways(bed, where, way)


@timeout(180)
def test_http(bed):
    """nginx with two workers, and curl."""
    http(bed, guest(bed), PRELOAD)


def redis_cli(bed, where, port, command):
    """Returns the server's answer to redis-cli."""
    return run_checked(where, f"redis-cli -h {bed.address} -p {port} {command}")


def redis(bed, where):
    """redis, a line protocol, with redis-cli and with 50 clients at once, each in the guest and in
    dom0."""
    def way(server, client, number):
        port = 6380 + number
        job = serve(server, REDIS.format(port=port), "Ready to accept connections")
        before = redis_cli(bed, client, port, "INFO stats")
        out = run_checked(client, f"redis-benchmark -h {bed.address} -p {port} -q "
                                  f"-c {REDIS_CLIENTS} -n {REDIS_REQUESTS} -t ping_inline,set,get", 120 * bed.scale)
        after = redis_cli(bed, client, port, "INFO stats")
        connections, commands = (
            int(re.search(f"{name}:(\\d+)", after)[1]) - int(re.search(f"{name}:(\\d+)", before)[1])
            for name in ("total_connections_received", "total_commands_processed"))
        bed.note(out.replace("\r", "\n").strip().splitlines()[-1])
        assert connections >= 3 * REDIS_CLIENTS, f"{connections} connections"
        assert commands >= 3 * REDIS_REQUESTS, f"{commands} commands"
        for command, answer in (("GET key:__rand_int__", "VXK"),
                                ("RPUSH list a b c", "3"), ("LRANGE list 0 -1", "a\nb\nc")):
            got = redis_cli(bed, client, port, command)
            assert got == answer, f"{command}: {got}"
        job.kill()

    both_ways(bed, where, way)


def iperf3(bed, where):
    """iperf3 both ways, with one connection and with eight, server and client in the guest."""
    def way(server, client, number):
        port = 5200 + number
        job = server.start(f"exec iperf3 --forceflush -s -p {port}")
        tests = itertools.count(1)

        def measure(options, seconds):
            # The server takes one client at a time and refuses others until it has finished.
            job.wait_line(f"(test #{next(tests)})", 60 * bed.scale)
            out = run_checked(client, f"iperf3 --json -t {seconds * bed.scale} -p {port} -c {bed.address} {options}",
                              90 * bed.scale)
            end = json.loads(out)["end"]
            bed.note(f"iperf3 {options}: {end['sum_received']['bits_per_second'] / 1e6:.0f} Mbit/s")
            assert len(end["streams"]) == (8 if "-P 8" in options else 1)
            return [stream for stream in end["streams"]
                    if not (stream["sender"]["bytes"] and stream["receiver"]["bytes"])]

        for options in IPERF:
            # Each of eight connections has to get somewhere in that time, for which a busy machine may need longer.
            for seconds in (1, 3, 6, 12) if "-P" in options else (1, 2, 4):
                starved = measure(options, seconds)
                if not starved:
                    break
            assert not starved, starved
        job.kill()

    both_ways(bed, where, way)


def ssh_key(bed, where):
    """Makes one key for everything: servers and clients."""
    run_checked(bed, "rm -f /tmp/key*; ssh-keygen -q -t ed25519 -N '' -f /tmp/key")
    for name in ("key", "key.pub"):
        text = run_checked(bed, f"cat /tmp/{name}")
        run_checked(where, f"umask 077; cat >/tmp/{name} <<'END'\n{text}\nEND")


def sshd(where, port):
    """Starts an OpenSSH server."""
    run_checked(where, SSHD.format(port=port))
    return serve(where, "/usr/sbin/sshd -D -e -f /tmp/sshd.conf", "Server listening")


def ssh(bed, where):
    """scp from the guest to dom0, and by a client in dom0 to the guest; checksums compared."""
    ssh_key(bed, where)
    sent, received = bed.pick(daily=(5, 2), slow=(100, 10), debug=(5, 2))

    def way(server, client, number):
        port, data = 2200 + number, f"/tmp/data.{number}"
        size = (received if client is bed else sent) << 20
        run_checked(client, f"head -c {size} /dev/urandom >{data}", 60 * bed.scale)
        wanted = run_checked(client, f"sha256sum <{data}")
        sshd(server, port)
        run_checked(client, f"scp {SSH_OPTIONS} -P {port} {data} {bed.address}:{data}", 120 * bed.scale)
        assert run_checked(server, f"sha256sum <{data}") == wanted, "the server has something else"
        for each in (server, client):
            run_checked(each, f"rm {data}")

    both_ways(bed, where, way)
