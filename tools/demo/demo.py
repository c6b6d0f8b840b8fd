# SPDX-License-Identifier: GPL-2.0
"""make demo: guests without any network interface use dom0's network, by AF_XENSOCK and by sysctl."""

import itertools

from bed import timeout

# A web server, in dom0 and in a guest.
NGINX = """mkdir -p /tmp/www /var/lib/nginx /etc
[ -e /etc/passwd ] || printf 'root:x:0:0::/root:/bin/sh\\n' >/etc/passwd
[ -e /etc/group ] || printf 'root:x:0:\\nnogroup:x:65534:\\n' >/etc/group
cat >/tmp/nginx.conf <<-END
	daemon off; user root; pid /run/nginx.pid; error_log stderr;
	events {{ worker_connections 64; }}
	http {{ access_log off; sendfile on; server {{ listen {port}; root /tmp/www; }} }}
END
"""
BYTES = 64 << 20
TIMED = "curl -sS -o /dev/null -w '%{{size_download}} bytes in %{{time_total}} s' http://{host}:8090/data"

_numbers = itertools.count(1)


def _run_checked(where, command):
    rc, out = where.run(command)
    assert rc == 0, f"{command}: {out}"
    return out


def _step(bed, text):
    """A step of the story."""
    bed.note("")
    bed.note(f"{next(_numbers)}. {text}")


def _show(bed, text):
    for line in text.rstrip().splitlines():
        bed.note(f"       {line}")


def _show_command(bed, where, command):
    """Shows a command that a user types, and its output."""
    bed.note(f"   {'dom0' if where is bed else 'guest'}# {command}")
    out = _run_checked(where, command)
    _show(bed, out)
    return out


def _serve_pages(where, port, files):
    """nginx with its defaults, except for its paths."""
    _run_checked(where, NGINX.format(port=port) + files)
    where.start("exec nginx -e stderr -c /tmp/nginx.conf")


def _wait_page(bed, url):
    _run_checked(bed, f"i=0; until curl -sS -o /dev/null {url} 2>/dev/null; do i=$((i + 1)); [ $i -lt 300 ] || exit 1; "
                      "sleep 0.1; done")


def test_demo(bed):
    """A guest without any network interface shows a page of a server in dom0."""
    _step(bed, "dom0 runs a web server at its own address.")
    server = bed.start(f"peer --host {bed.address}")
    server.wait_line("peer: ready")
    _show_command(bed, bed, "ss -tln 'sport = 7080'")

    guest = bed.guest(name="demo")
    _step(bed, "A guest has no network card: there is only its loopback.")
    interfaces = _show_command(bed, guest, "ls /sys/class/net").split()
    assert interfaces == ["lo"], interfaces

    _run_checked(guest, "until fetch >/dev/null 2>&1; do usleep 100000; done")
    _step(bed, "A program of the guest opens socket(AF_XENSOCK, SOCK_STREAM, 0), and has that page all the same.")
    page = _show_command(bed, guest, "fetch")
    assert "Hello from dom0" in page, page

    _step(bed, "It was a socket of dom0. So are the eight connections that this program holds: dom0 sees its own TCP.")
    held = guest.start("hold busy")
    held.wait_line("ready")
    bed.note("   guest# hold busy &")
    _show_command(bed, bed, "ss -tnH state established 'dport = 7001'")
    held.kill()

    _step(bed, "Each end writes in xenstore what it is able to do, and that it is connected (state 4).")
    domid = guest.domid
    bed.note(f"   dom0# xenstore-ls /local/domain/{domid}/device/xensock/0")
    _show(bed, bed.xenstore.tree(f"/local/domain/{domid}/device/xensock/0"))
    bed.note(f"   dom0# xenstore-ls /local/domain/0/backend/xensock/{domid}/0")
    _show(bed, bed.xenstore.tree(f"/local/domain/0/backend/xensock/{domid}/0"))
    guest.destroy()


@timeout(240)
def test_hijack(bed):
    """Debian's curl and nginx, unchanged, in a guest without any network interface."""
    bed.start(f"peer --host {bed.address}").wait_line("peer: ready")
    guest = bed.guest(name="nonic", memory=768, programs=True, policy=("bind-allow=8080",))
    _run_checked(guest, "until fetch >/dev/null 2>&1; do usleep 100000; done")
    _step(bed, "Another guest without a card runs programs of Debian, which know nothing of AF_XENSOCK. A sysctl has "
               "their TCP carried.")
    _show_command(bed, guest, "sysctl -w net.xensock.hijack=1")
    _show_command(bed, guest, f"curl -sS http://{bed.address}:7080/")

    _step(bed, "It serves, too: nginx of the guest listens at dom0's address, at the one port that its policy allows.")
    _serve_pages(guest, 8080, "echo 'Hello from nginx in the guest' >/tmp/www/page")
    bed.note("   guest# nginx")
    _wait_page(bed, f"http://{bed.address}:8080/page")
    page = _show_command(bed, bed, f"curl -sS http://{bed.address}:8080/page")
    assert "Hello from nginx" in page, page
    _show_command(bed, bed, "ss -tln 'sport = 8080'")

    _step(bed, "The guest lists its sockets, and counts what became of those that programs have opened.")
    _show_command(bed, guest, "cat /proc/net/xensock")
    _show_command(bed, guest, "sysctl net.xensock.decisions")

    _step(bed, f"The same {BYTES >> 20} MiB from dom0, by XenSock and, in a guest that has a card, over netfront.")
    _serve_pages(bed, 8090, f"truncate -s {BYTES} /tmp/www/data")
    _wait_page(bed, f"http://{bed.address}:8090/data")
    other = bed.guest(name="nic", memory=768, programs=True, device=None, vif=True)
    _show_command(bed, guest, TIMED.format(host=bed.address))
    _show_command(bed, other, TIMED.format(host=bed.bridge_address))
    bed.note("")
