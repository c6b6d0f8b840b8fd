# SPDX-License-Identifier: GPL-2.0
"""Debian's HTTP programs, for unmodified.py: servers and clients, in the guest and in dom0."""

import re

from scenarios.common import hijacked, run_checked
from scenarios.programs import FILES, PAGES, both_ways, download, install_archive, nginx, serve, server_client_pairs

TREE = """rm -rf /tmp/files; mkdir -p /tmp/files && cd /tmp/files &&
for i in $(seq 8); do head -c $((i * i * 20000)) /dev/urandom >$i; done
"""
# The path avoids busybox's command of that name.
WGET = "/usr/bin/wget"
URLLIB = """python3 -c '
import hashlib, urllib.request
for name in range(1, 9):
    data = urllib.request.urlopen("http://{host}:{port}/%d" % name).read()
    print(hashlib.sha256(data).hexdigest() + "  %d" % name)
'"""
KEY = ("OPENSSL_CONF=/etc/ssl/openssl.cnf openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 "
       "-nodes -days 2 -subj /CN=test -keyout /tmp/tls.key -out /tmp/tls.crt 2>/dev/null")

# Passes everything on, over persistent connections.
PROXY = """upstream origin {{ server {host}:{origin}; keepalive 4; }}
server {{
	listen {port};
	location / {{ proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection ''; }}
}}"""

# Some packed history, with the lists that clients need of a server of plain files.
REPOSITORY = """rm -rf /tmp/www; mkdir -p /tmp/www && cd /tmp/www && git init -q -b main source && cd source &&
for i in 1 2 3; do
	head -c 300000 /dev/urandom >random.$i && seq $((i * 5000)) >lines && git add . &&
	git -c user.name=test -c user.email=test@localhost -c maintenance.auto=false commit -q -m "$i" || exit 1
done
git repack -adq && git update-server-info
"""

HOOKS = """cat >/tmp/hooks.json <<-END
	[{"id": "say", "execute-command": "/bin/echo", "include-command-output-in-response": true,
	  "pass-arguments-to-command": [{"source": "url", "name": "text"}]}]
END
"""
REQUESTS = 30


def proxy(bed, where):
    """nginx that has pages, nginx at the other end that passes requests on to it, and curl beside the first."""
    for server, other, number in server_client_pairs(bed, where):
        origin, port = 8500 + number, 8510 + number
        url = f"http://{bed.address}:{port}"
        run_checked(server, PAGES.format(count=20))
        jobs = [nginx(server, FILES.format(port=origin), other, f"http://{bed.address}:{origin}/1"),
                nginx(other, PROXY.format(host=bed.address, origin=origin, port=port), server, f"{url}/1")]
        download(server, server, url, 20)
        for job in jobs:
            job.kill()


def python(bed, where):
    """Python's http.server, wget and urllib."""
    def way(server, client, number):
        port = 8100 + number
        run_checked(server, TREE)
        wanted = run_checked(server, "cd /tmp/files && sha256sum *")
        job = serve(server, f"python3 -u -m http.server -d /tmp/files {port}", "Serving HTTP")
        run_checked(client, "rm -rf /tmp/wget; mkdir /tmp/wget && cd /tmp/wget && "
                            f"for i in $(seq 8); do {WGET} -q http://{bed.address}:{port}/$i || exit 1; done")
        assert run_checked(client, "cd /tmp/wget && sha256sum *") == wanted, "wget has got something else"
        assert run_checked(client, URLLIB.format(host=bed.address, port=port)) == wanted, \
            "urllib has got something else"
        job.kill()

    both_ways(bed, where, way)


def https(bed, where):
    """openssl's server, curl and wget over TLS."""
    def way(server, client, number):
        port = 8200 + number
        run_checked(server, KEY)
        run_checked(server, TREE)
        job = serve(server, "sh -c 'cd /tmp/files && exec openssl s_server -WWW -key /tmp/tls.key "
                            f"-cert /tmp/tls.crt -accept {port}'", "ACCEPT")
        wanted = run_checked(server, "sha256sum </tmp/files/8")
        for command in ("curl -sSk", f"{WGET} -q -O - --no-check-certificate"):
            got = run_checked(client, f"{command} https://{bed.address}:{port}/8 | sha256sum")
            assert got == wanted, f"{command}: something else"
        job.kill()

    both_ways(bed, where, way)


def git(bed, where):
    """git clone over http, from nginx."""
    install_archive(bed, where, "git")

    def way(server, client, number):
        port = 8520 + number
        url = f"http://{bed.address}:{port}/source/.git"
        run_checked(server, REPOSITORY)
        job = nginx(server, FILES.format(port=port), client, f"{url}/HEAD")
        run_checked(client, f"rm -rf /tmp/clone; git clone -q {url} /tmp/clone", 60 * bed.scale)
        # Commit names are checksums of all their contents, which fsck computes again.
        got = run_checked(client, "cd /tmp/clone && git fsck --full --no-progress && git status --porcelain && "
                                  "git rev-parse HEAD")
        wanted = run_checked(server, "cd /tmp/www/source && git rev-parse HEAD")
        assert got == wanted, f"{got} instead of {wanted}"
        job.kill()

    both_ways(bed, where, way)


def go(bed, where):
    """hey and webhook, written in Go: its runtime calls the kernel without the C library."""
    install_archive(bed, where, "go")
    # A Go server listens on IPv6 as well if such a socket can be bound to 127.0.0.1.
    with hijacked(where, hijack_loopback=0):
        def way(server, client, number):
            port = 8530 + number
            run_checked(server, HOOKS)
            job = serve(server, f"webhook -hooks /tmp/hooks.json -port {port} -verbose", "serving hooks on")
            for host in (bed.address, f"[{bed.address6}]"):
                url = f"http://{host}:{port}/hooks/say?text=from{number}"
                output = run_checked(client, f"curl -sSg '{url}'")
                assert output == f"from{number}", f"{url}: {output}"
                out = run_checked(client, f"hey -n {REQUESTS} -c 10 '{url}'", 60 * bed.scale)
                assert re.search(rf"\[200\]\s+{REQUESTS} responses", out), f"{url}: {out}"
            job.kill()

        both_ways(bed, where, way)
