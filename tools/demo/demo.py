# SPDX-License-Identifier: GPL-2.0
"""make demo: guests without any network interface have dom0's network, by AF_XENSOCK and by sysctl."""

from bed import timeout

# A server of pages, in dom0 and in a guest.
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


def _show(bed, title, text):
    bed.note("")
    bed.note(f"--- {title}")
    bed.note(text.rstrip() or "(nothing)")


def _must(where, command):
    rc, out = where.run(command)
    assert rc == 0, f"{command}: {out}"
    return out


def _connections(lines):
    """dom0's TCP sockets as people read them."""
    states = {"01": "ESTABLISHED", "06": "TIME-WAIT", "08": "CLOSE-WAIT", "0A": "LISTEN"}
    shown = []
    for line in lines:
        fields = line.split()
        ends = []
        for end in fields[1:3]:
            host, port = end.split(":")
            octets = [str(int(host[i:i + 2], 16)) for i in (6, 4, 2, 0)]
            ends.append(f"{'.'.join(octets)}:{int(port, 16)}")
        shown.append(f"{states.get(fields[3], fields[3]):12} {ends[0]:22} {ends[1]}")
    return "\n".join(shown)


def test_demo(bed):
    """A guest without any network interface shows a page that a server in dom0 has."""
    server = bed.start(f"peer --host {bed.address}")
    server.wait_line("peer: ready")
    guest = bed.guest(name="demo")

    interfaces = _must(guest, "ls /sys/class/net").split()
    assert interfaces == ["lo"], interfaces
    _show(bed, "network interfaces of the guest", _must(guest, "ip addr show 2>&1; ip route show"))
    page = _must(guest, "until fetch >/dev/null 2>&1; do usleep 100000; done; fetch")
    assert "Hello from dom0" in page, page
    _show(bed, f"in the guest: fetch http://{bed.address}:7080/ through socket(AF_XENSOCK, ...)", page)

    held = guest.start("hold busy")
    held.wait_line("ready")
    with open("/proc/net/tcp", encoding="ascii") as file:
        _show(bed, "dom0's TCP sockets while the guest has eight open",
              _connections(file.readlines()[1:]))
    held.kill()
    domid = guest.domid
    _show(bed, f"xenstore: the guest's end, /local/domain/{domid}/device/xensock/0",
          bed.xenstore.tree(f"/local/domain/{domid}/device/xensock/0"))
    _show(bed, f"xenstore: dom0's end, /local/domain/0/backend/xensock/{domid}/0",
          bed.xenstore.tree(f"/local/domain/0/backend/xensock/{domid}/0"))
    guest.destroy()


@timeout(240)
def test_hijack(bed):
    """Debian's curl and nginx, as they are, in a guest without any network interface."""
    bed.start(f"peer --host {bed.address}").wait_line("peer: ready")
    guest = bed.guest(name="nonic", memory=768, programs=True, policy=("bind-allow=8080",))
    _must(guest, "until fetch >/dev/null 2>&1; do usleep 100000; done")
    _must(guest, "sysctl -w net.xensock.hijack=1")
    _show(bed, "in the guest: sysctl -w net.xensock.hijack=1, then curl",
          _must(guest, f"ls /sys/class/net; curl -sS http://{bed.address}:7080/"))

    _must(guest, NGINX.format(port=8080) + "echo 'Hello from nginx in the guest' >/tmp/www/page")
    guest.start("exec nginx -e stderr -c /tmp/nginx.conf")
    page = _must(bed, "curl -sS --retry 50 --retry-connrefused --retry-delay 1 "
                      f"http://{bed.address}:8080/page")
    assert "Hello from nginx" in page, page
    _show(bed, f"in dom0: curl http://{bed.address}:8080/page", page)
    _show(bed, "in dom0: ss -tln 'sport = 8080'", _must(bed, "ss -tln 'sport = 8080'"))
    _show(bed, "in the guest: /proc/net/xensock", _must(guest, "cat /proc/net/xensock"))
    _show(bed, "in the guest: sysctl net.xensock.decisions",
          _must(guest, "cat /proc/sys/net/xensock/decisions"))

    _must(bed, NGINX.format(port=8090) + f"truncate -s {BYTES} /tmp/www/data")
    bed.start("exec nginx -e stderr -c /tmp/nginx.conf")
    _must(bed, f"curl -sS --retry 50 --retry-connrefused --retry-delay 1 -o /dev/null http://{bed.address}:8090/data")
    other = bed.guest(name="nic", memory=768, programs=True, device=None, vif=True)
    over_netfront = _must(other, TIMED.format(host=bed.bridge_address))
    over_xensock = _must(guest, TIMED.format(host=bed.address))
    _show(bed, f"the same {BYTES >> 20} MiB by curl from nginx in dom0",
          f"by XenSock: {over_xensock}\nover netfront, in a guest with an interface: {over_netfront}")
    bed.note("")
