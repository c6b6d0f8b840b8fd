# SPDX-License-Identifier: GPL-2.0
"""make demo: a guest without any network interface fetches a web page through dom0."""


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
    bed.note("")
