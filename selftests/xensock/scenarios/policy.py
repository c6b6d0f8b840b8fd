# SPDX-License-Identifier: GPL-2.0
"""The policy of a guest: set with the xensock command, tested by programs of the guest."""

import os
import signal
import socket
import time
from contextlib import contextmanager

from bed import timeout
from scenarios.common import (
    hijacked, run_checked, short_connects, start_peer, sysctl, wait_attempt, wait_link, wait_released, wait_requests)

# Port of the servers in namespaces, each at 127.0.0.1.
PORT = 7600

# User ID in dom0 of the sockets of a guest's root: this number plus the guest's domain ID.
FIRST_UID = 0x78530000

NODES = ("netns", "local-ports", "bind-allow", "connect-allow", "connect-deny", "multicast-allow", "max-sockets",
         "max-listeners", "max-backlog", "max-ring-order", "max-ring-pages", "max-memory", "max-datagram",
         "max-groups", "busy-poll")


def _set(bed, guest, **nodes):
    """Sets these nodes, and all others to their defaults, except that guests may reach dom0."""
    nodes.setdefault("connect_allow", bed.connect_allow)
    values = {node: nodes.pop(node.replace("-", "_"), "default") for node in NODES}
    assert not nodes, nodes
    bed.xensock("set", str(guest.domid), *(f"{node}={value}" for node, value in values.items()))


def _write(bed, guest, node, value):
    """Writes a value that the command would refuse."""
    bed.xenstore.write(f"/local/domain/0/backend/xensock/{guest.domid}/0/policy/{node}", value)


def _refused_count(bed, guest, reason):
    return bed.xensock("show", str(guest.domid))["refused"][reason]


def _attempt(guest, what):
    return run_checked(guest, f"attempt {what}").split()


def _states(bed, guest):
    shown = bed.xensock("show", str(guest.domid))
    return shown["guest"]["state"], shown["backend"]["state"]


def _guest(bed, name="policy"):
    """Returns a connected guest with the default policy."""
    guest = bed.shared_guest(name)
    _set(bed, guest)
    wait_link(guest)
    return guest


def _guests(bed):
    """Returns two such guests."""
    return bed.at_once(lambda: _guest(bed), lambda: _guest(bed, "other"))


def _log(bed, guest):
    """Returns the lines of dom0's log about the guest's device."""
    _, log = bed.run(f"dmesg | grep 'xensock-{guest.domid}-0: '")
    return log


@timeout(240)
def test_connect(bed):
    """Addresses that may be connected to: by default, by lists, changed while a connection stays."""
    start_peer(bed)
    guest = _guest(bed)
    local = bed.start(f"peer --host 127.0.0.1 --port {PORT}")
    local.wait_line("peer: ready", 60 * bed.scale)
    kept = guest.start("attempt keep 192.0.2.1 7001")
    kept.wait_line("ok")

    wait_attempt(guest, f"connect 192.0.2.1 7001 127.0.0.1 {PORT + 1} 0.0.0.0 {PORT + 1}",
                 "ok EACCES EACCES")
    _set(bed, guest, connect_deny="192.0.2.0/24:7001")
    wait_attempt(guest, "connect 192.0.2.1 7001 192.0.2.1 7080", "EACCES ok")
    _set(bed, guest, connect_allow="tcp:192.0.2.1:7000-7001 udp:7080")
    wait_attempt(guest, "connect 192.0.2.1 7080 192.0.2.1 7001 203.0.113.1 7001", "EACCES ok EACCES")
    _set(bed, guest, connect_allow="0.0.0.0/0 192.0.2.1", connect_deny="192.0.2.1:7080")
    wait_attempt(guest, f"connect 192.0.2.1 7080 192.0.2.1 7001 127.0.0.1 {PORT + 1}", "EACCES ok EACCES")
    # Loopback needs a rule that names it, and only that address is allowed.
    _set(bed, guest, connect_allow=f"127.0.0.1:{PORT + 1}")
    wait_attempt(guest, f"connect 192.0.2.1 7001 127.0.0.1 {PORT + 1} 0.0.0.0 {PORT + 1} 127.0.0.1 {PORT}",
                 "EACCES ok ok EACCES")
    _set(bed, guest, connect_allow="")
    wait_attempt(guest, "connect 192.0.2.1 7001", "EACCES")
    _set(bed, guest)
    wait_attempt(guest, f"connect 192.0.2.1 7001 127.0.0.1 {PORT + 1}", "ok EACCES")
    # An existing connection stays.
    so_far = len(kept.lines)
    deadline = time.monotonic() + 60 * bed.scale
    while len(kept.lines) < so_far + 3 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert len(kept.lines) >= so_far + 3 and set(kept.lines) == {"ok"}, kept.lines[-3:]


@timeout(240)
def test_own_addresses(bed):
    """By default dom0's own addresses cannot be reached. A rule must name them."""
    start_peer(bed)
    guest = _guest(bed)
    everywhere = bed.start(f"peer --host 0.0.0.0 --port {PORT + 200}")
    everywhere.wait_line("peer: ready", 60 * bed.scale)
    port = PORT + 201
    bed.run("ip address add 169.254.7.7/32 dev dummy0; ip address add 2001:db8::7 dev dummy0; "
            "ip route add local 198.51.100.0/24 dev lo; ip -6 route add local 2001:db8:7::/64 dev lo")
    own = ["192.0.2.1", "169.254.7.7", "198.51.100.9", "127.0.0.1", "0.0.0.0", "::ffff:192.0.2.1",
           "2001:db8::1", "2001:db8::7", "2001:db8:7::9", "::1", "::"]
    all_of_them = "connect " + " ".join(f"{host} {port}" for host in own)
    try:
        _set(bed, guest, connect_allow="default")
        wait_attempt(guest, all_of_them, " ".join(["EACCES"] * len(own)))
        # Other addresses are not affected: one without a route, and one that never answers.
        with short_connects(bed):
            assert _attempt(guest, "connect 203.0.113.1 80 192.0.2.99 80") == ["EHOSTUNREACH", "ETIMEDOUT"]
        # Datagrams are refused too, and so is broadcast.
        refused = _refused_count(bed, guest, "connect")
        # They wait for an answer.
        knocks = [guest.start(f"knock --host {host} --port 7001") for host in ("192.0.2.1", "192.0.2.255")]
        _wait_until(bed, lambda: _refused_count(bed, guest, "connect") == refused + 2, "both are refused")
        for knock in knocks:
            knock.kill()
            knock.wait()
        # Wider rules do not include these addresses.
        for rules in ("0.0.0.0/0 [::/0]", "192.0.2.0/24 [2001:db8::/32]", f"{port}", "0-65535"):
            _set(bed, guest, connect_allow=rules)
            wait_attempt(guest, all_of_them, " ".join(["EACCES"] * len(own)))
        _set(bed, guest, connect_allow=f"192.0.2.1:{port} 169.254.0.0/16")
        wait_attempt(guest, f"connect 192.0.2.1 {port} ::ffff:192.0.2.1 {port} 169.254.7.7 {port} "
                                 f"192.0.2.1 {port - 1} 127.0.0.1 {port} 198.51.100.9 {port}",
                     "ok ok ok EACCES EACCES EACCES")
        # The unspecified address means loopback, or the address that the socket has.
        _set(bed, guest, connect_allow=f"127.0.0.0/8:{port}")
        wait_attempt(guest, f"connect 127.0.0.1 {port} 0.0.0.0 {port} 192.0.2.1 {port}", "ok ok EACCES")
    finally:
        bed.run("ip address del 169.254.7.7/32 dev dummy0; ip address del 2001:db8::7 dev dummy0; "
                "ip route del local 198.51.100.0/24 dev lo; ip -6 route del local 2001:db8:7::/64 dev lo")
        _set(bed, guest)


@timeout(240)
def test_counts(bed):
    """Each refusal is counted by its reason."""
    start_peer(bed)
    guest = _guest(bed)
    wait_attempt(guest, "connect 192.0.2.1 7001 127.0.0.1 80", "ok EACCES")
    before = bed.xensock("show", str(guest.domid))["refused"]
    _attempt(guest, "connect 127.0.0.1 80 127.0.0.1 81 192.0.2.1 7001 0.0.0.0 80")
    after = bed.xensock("show", str(guest.domid))["refused"]
    assert after == dict(before, connect=before["connect"] + 3), (before, after)


@timeout(240)
def test_trace(bed):
    """Each refusal has a trace event with the address concerned."""
    events = "/sys/kernel/tracing/events"
    if not os.path.isdir(events):
        bed.run("mount -t tracefs tracefs /sys/kernel/tracing")
    if not os.path.isdir(events):
        bed.skip("this kernel has no tracing")
    start_peer(bed)
    guest = _guest(bed)
    wait_attempt(guest, "connect 192.0.2.1 7001", "ok")
    run_checked(bed, f"echo >{events}/../trace; echo 1 >{events}/xensock/xensock_refused/enable")
    try:
        _attempt(guest, "connect 127.0.0.1 80 192.0.2.1 7001")
        _set(bed, guest, max_sockets="0")
        wait_attempt(guest, "connect 192.0.2.1 7001", "EMFILE")
    finally:
        run_checked(bed, f"echo 0 >{events}/xensock/xensock_refused/enable")
    seen = [line.split("xensock_refused: ")[1] for line in run_checked(bed, f"cat {events}/../trace").splitlines()
            if "xensock_refused: " in line]
    of = f"guest={guest.domid} reason="
    assert seen[0] == f"{of}connect error=-13 addr=127.0.0.1:80", seen
    assert seen[1:] and all(line == f"{of}sockets error=-24 addr=0.0.0.0:0" for line in seen[1:]), seen


@timeout(240)
def test_quotas(bed):
    """Sockets, pages and ring sizes: limits lowered and raised while the guest stays connected."""
    start_peer(bed)
    guest = _guest(bed)
    crowd = "crowd 192.0.2.1 7001 --sockets 12"
    rest = bed.quiet_snapshot()
    for sockets, result in (("5", "5 EMFILE"), ("9", "9 EMFILE"), ("0", "0 EMFILE"), ("12", "12 ok")):
        before = _refused_count(bed, guest, "sockets")
        _set(bed, guest, max_sockets=sockets)
        wait_attempt(guest, crowd, result)
        assert ("ok" in result) or _refused_count(bed, guest, "sockets") > before
    # Rings kept for refused requests are given up.
    _set(bed, guest, max_sockets="0")
    wait_attempt(guest, crowd, "0 EMFILE")
    leaks = wait_released(bed, rest)
    assert not leaks, f"dom0 has kept (before, after): {leaks}"
    _set(bed, guest, max_sockets="12")
    # An idle ring has 4 pages and an indexes page.
    for pages, result in (("15", "3 ENOBUFS"), ("14", "2 ENOBUFS"), ("4", "0 ENOBUFS")):
        before = _refused_count(bed, guest, "ring-pages")
        _set(bed, guest, max_ring_pages=pages)
        wait_attempt(guest, crowd, result)
        assert _refused_count(bed, guest, "ring-pages") > before
    # An address that is not allowed needs no pages.
    wait_attempt(guest, "connect 127.0.0.1 80", "EACCES")
    before = _refused_count(bed, guest, "ring-order")
    _set(bed, guest, max_ring_order="1")
    wait_attempt(guest, crowd, "0 ENOBUFS")
    assert _refused_count(bed, guest, "ring-order") > before
    _set(bed, guest, max_ring_order="4")
    wait_attempt(guest, crowd, "12 ok")


@timeout(240)
def test_bind(bed):
    """Addresses that sockets may be bound to: none by default, then those in a list."""
    start_peer(bed)
    guest = _guest(bed)
    wait_attempt(guest, "bind 0.0.0.0 8000 192.0.2.1 0 :: 8000", "EACCES EACCES EACCES")
    assert _attempt(guest, "serve 192.0.2.1 8000") == ["EACCES"]
    _set(bed, guest, bind_allow="tcp:8000-8001 tcp:192.0.2.1:8090 udp:8002")
    wait_attempt(guest, "serve 0.0.0.0 8000 192.0.2.1 8001 0.0.0.0 8002 192.0.2.1 8090 0.0.0.0 8090 "
                             "127.0.0.1 8090 0.0.0.0 0",
                 "ok ok EACCES ok EACCES EACCES EACCES")
    _set(bed, guest, bind_allow="tcp:0 [::/0]:8003")
    wait_attempt(guest, "serve 0.0.0.0 0 0.0.0.0 8000 ::1 8003 :: 8003", "ok EACCES ok EACCES")
    # Linux would let a socket send from an IPv6 address that dom0 does not have.
    _set(bed, guest, bind_allow="[::/0]:8004 [2001:db8::77]:8005")
    wait_attempt(guest, "free 2001:db8::77 8004 2001:db8::77 8005 2001:db8::1 8004 ::1 8004",
                 "EADDRNOTAVAIL ok ok ok")
    # A port that is privileged in dom0 needs only the list.
    _set(bed, guest, bind_allow="tcp:443")
    wait_attempt(guest, "serve 192.0.2.1 443 :: 443 192.0.2.1 444", "ok ok EACCES")
    _set(bed, guest)
    wait_attempt(guest, "bind 192.0.2.1 0", "EACCES")
    # A client may ask for the port that it would get anyway, and does not become a server by that.
    assert _attempt(guest, "bind 0.0.0.0 0 :: 0") == ["ok"] * 2
    assert _attempt(guest, "from 192.0.2.1 7001") == ["ok"]
    assert _attempt(guest, "serve 0.0.0.0 0 :: 0") == ["EACCES"] * 2
    _set(bed, guest, connect_allow="")
    wait_attempt(guest, "bind 0.0.0.0 0 :: 0", "EACCES EACCES")


@timeout(240)
def test_ports_that_might_be_chosen(bed):
    """A rule for port 0 is one for each port that the system might choose for the guest, so that a socket gets its
    port back with the next link."""
    start_peer(bed)
    guest = _guest(bed)
    first = _free_ports(bed, 40)
    reserved = run_checked(bed, "cat /proc/sys/net/ipv4/ip_local_reserved_ports").strip()
    sysctl(bed, ip_local_reserved_ports=str(first + 5))
    try:
        _set(bed, guest, local_ports=f"{first}-{first + 9}", bind_allow="tcp:0")
        inside, outside = first + 4, first + 10
        wait_attempt(guest, f"serve 192.0.2.1 0 0.0.0.0 {inside} :: {inside} 0.0.0.0 {first + 5} "
                                 f"0.0.0.0 {outside} 0.0.0.0 {first - 1} 192.0.2.1 8000",
                     "ok ok ok EACCES EACCES EACCES EACCES")
        server = guest.start("hold waiting --sockets 1")
        server.wait_line("ready", 60 * bed.scale)
        port = int(server.lines[0])
        guest.detach()
        _wait_until(bed, lambda: not _is_listening(port), "the link is still up")
        guest.attach("xensock", f"local-ports={first}-{first + 9}", "bind-allow=tcp:0")
        _wait_until(bed, lambda: _is_listening(port), "the listener has not come back")
        server.kill()
        server.wait()
    finally:
        # An empty text would not be written.
        sysctl(bed, ip_local_reserved_ports=reserved or "\n")


def _is_listening(port):
    """Returns True if a socket of dom0 listens at this port."""
    with open("/proc/net/tcp", encoding="ascii") as file:
        return any(row[3] == "0A" and row[1].endswith(f":{port:04X}") for row in map(str.split, file))


@timeout(240)
def test_listen_later(bed):
    """A bound socket may listen if it might be bound at that time, too."""
    start_peer(bed)
    guest = _guest(bed)
    run_checked(guest, "rm -f /tmp/go")
    _set(bed, guest, bind_allow="tcp:0 tcp:8000-8001")
    wait_attempt(guest, "bind 192.0.2.1 8000", "ok")
    # This one had no port at first, and then one of its own choice.
    expected = {"later 192.0.2.1 0": "ok", "later 0.0.0.0 8000": "EACCES", "later :: 8001": "EACCES"}
    jobs = {what: guest.start(f"attempt {what}") for what in expected}
    for job in jobs.values():
        job.wait_line("ok", 60 * bed.scale)
    _set(bed, guest, bind_allow="tcp:0")
    wait_attempt(guest, "bind 192.0.2.1 8000", "EACCES")
    run_checked(guest, "touch /tmp/go")
    found = {what: job.wait(60 * bed.scale)[1].split()[-1] for what, job in jobs.items()}
    run_checked(guest, "rm /tmp/go")
    _set(bed, guest)
    assert found == expected, found


def _tcp_sysctl(bed, name):
    return run_checked(bed, f"cat /proc/sys/net/ipv4/tcp_{name}").strip()


@timeout(240)
def test_privileges(bed):
    """Options give a guest only what they give an unprivileged program in dom0."""
    start_peer(bed)
    guest = _guest(bed)
    # Not loaded, restricted, unrestricted, and two names that do not exist.
    tries = "algorithm westwood cubic reno ../westwood ''"
    names = ("congestion_control", "allowed_congestion_control")
    before = [_tcp_sysctl(bed, name) for name in names]
    assert "westwood" not in _tcp_sysctl(bed, "available_congestion_control"), "it is loaded already"
    try:
        for name in names:
            sysctl(bed, **{f"tcp_{name}": "reno"})
        of_nobody = run_checked(bed, "setpriv --reuid=65534 --regid=65534 --clear-groups "
                                     f"attempt --family inet {tries}").split()
        assert of_nobody[:3] == ["ENOENT", "EPERM", "ok"], of_nobody
        assert _attempt(guest, tries) == of_nobody
        assert not bed.loaded("tcp_westwood"), "the guest has had a module loaded"
        # A privileged program may use both, otherwise the test would prove nothing.
        assert run_checked(bed, "attempt --family inet algorithm cubic westwood").split() == ["ok", "ok"]
        assert bed.loaded("tcp_westwood")
        assert _attempt(guest, "algorithm westwood") == ["EPERM"]
    finally:
        for name, value in zip(names, before):
            sysctl(bed, **{f"tcp_{name}": value})
        bed.run("rmmod tcp_westwood")


def _socket_uids(port):
    """Returns the owners of dom0's sockets with this local port."""
    with open("/proc/net/tcp", encoding="ascii") as file:
        rows = [line.split() for line in file.readlines()[1:]]
    return {int(row[7]) for row in rows if row[1].endswith(f":{port:04X}")}


@timeout(300)
def test_owners(bed):
    """A guest's sockets belong to it: no other guest, and no program of dom0, can share its ports."""
    start_peer(bed)
    guest, other = _guests(bed)
    for one in (guest, other):
        _set(bed, one, bind_allow="tcp:8000-8001")
    wait_attempt(other, "bind 192.0.2.1 8001", "ok")
    wait_attempt(guest, "bind 192.0.2.1 8001", "ok")
    server = guest.start("attempt stay share 192.0.2.1 8000")
    server.wait_line("ok")
    # Programs of the same guest can share a port, as on any machine.
    assert _attempt(guest, "share 192.0.2.1 8000 serve 192.0.2.1 8000") == ["ok", "EADDRINUSE"]
    for what in ("share 192.0.2.1 8000", "share 0.0.0.0 8000", "serve 192.0.2.1 8000", "share :: 8000"):
        assert _attempt(other, what) == ["EADDRINUSE"], what
        assert run_checked(bed, f"attempt --family inet {what}").split() == ["EADDRINUSE"], what
    # An accepted socket belongs to the guest too.
    client = bed.start("attempt --family inet stay connect 192.0.2.1 8000")
    client.wait_line("ok")
    assert _socket_uids(8000) == {FIRST_UID + guest.domid}, _socket_uids(8000)
    assert _attempt(other, "share 192.0.2.1 8000") == ["EADDRINUSE"]
    client.kill()
    server.kill()
    server.wait()
    # The same for the other guest, now that the port is free.
    wait_attempt(other, "share 192.0.2.1 8000", "ok")
    server = other.start("attempt stay share 192.0.2.1 8000")
    server.wait_line("ok")
    assert _socket_uids(8000) == {FIRST_UID + other.domid}, _socket_uids(8000)
    assert _attempt(guest, "share 192.0.2.1 8000") == ["EADDRINUSE"]
    server.kill()


def _ports(guest):
    """Returns the local ports of the guest's connections in dom0."""
    with open("/proc/net/tcp", encoding="ascii") as file:
        rows = [line.split() for line in file.readlines()[1:]]
    return {int(row[1].split(":")[1], 16) for row in rows if int(row[7]) == FIRST_UID + guest.domid}


def _free_ports(bed, count):
    """Returns the first of that many local ports that no socket of dom0 has, not even in TIME-WAIT."""
    # That state lasts a minute.
    deadline = time.monotonic() + 120 * bed.scale
    while True:
        used = set()
        for name in ("tcp", "tcp6", "udp", "udp6"):
            with open(f"/proc/net/{name}", encoding="ascii") as file:
                used |= {int(line.split()[1].split(":")[1], 16) for line in file.readlines()[1:]}
        for first in range(50000, 60000, 10):
            if used.isdisjoint(range(first, first + count)):
                return first
        assert time.monotonic() < deadline, f"there are no {count} free ports"
        time.sleep(1)


@timeout(240)
def test_local_ports(bed):
    """A guest that has used up its ports to a service has taken no ports of others."""
    start_peer(bed)
    guest, other = _guests(bed)
    first = _free_ports(bed, 40)
    _set(bed, guest, local_ports=f"{first}-{first + 9}", bind_allow="tcp:0")
    wait_attempt(guest, "bind 0.0.0.0 0", "ok")
    # Connections that it closes first stay in TIME-WAIT in dom0, with their ports.
    assert _attempt(guest, "crowd 192.0.2.1 7001 --sockets 12") == ["10", "EADDRNOTAVAIL"]
    assert _attempt(guest, "connect 192.0.2.1 7001 192.0.2.1 7002") == ["EADDRNOTAVAIL", "ok"]
    # A non-blocking connect() gets the error at once, too.
    assert _attempt(guest, "start 192.0.2.1 7001 192.0.2.1 7080") == ["EADDRNOTAVAIL", "EINPROGRESS"]
    assert _attempt(guest, "crowd datagram 192.0.2.1 7001 --sockets 12") == ["10", "EADDRNOTAVAIL"]
    assert _attempt(other, "connect 192.0.2.1 7001") == ["ok"]
    assert run_checked(bed, "attempt --family inet connect 192.0.2.1 7001").split() == ["ok"]
    # By default the last quarter of dom0's ports is reserved for dom0.
    with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as file:
        usual = file.read().strip()
    sysctl(bed, ip_local_port_range=f"{first} {first + 39}")
    try:
        _set(bed, guest)
        wait_attempt(guest, "serve 0.0.0.0 0", "EACCES")
        count, error = _attempt(guest, "crowd 192.0.2.1 7001 --sockets 40")
        assert error == "EADDRNOTAVAIL" and 10 <= int(count) <= 31, (count, error)
        assert run_checked(bed, "attempt --family inet crowd 192.0.2.1 7001 --sockets 5").split() == ["5", "ok"]
        held = guest.start("attempt stay connect 192.0.2.1 7002")
        held.wait_line("ok")
        assert _ports(guest) and max(_ports(guest)) <= first + 30, _ports(guest)
        held.kill()
    finally:
        sysctl(bed, ip_local_port_range=usual)


@timeout(240)
def test_listeners(bed):
    """The number of sockets that may listen: lowered and raised."""
    start_peer(bed)
    guest = _guest(bed)
    for listeners, result in (("3", "3 ENOBUFS"), ("0", "0 ENOBUFS"), ("8", "8 ok")):
        _set(bed, guest, max_listeners=listeners, bind_allow="tcp:0")
        wait_attempt(guest, "listeners 192.0.2.1 --sockets 8", result)


def _waiting_counts(ports):
    """Returns the number of connections that wait in dom0 at each of these ports."""
    with open("/proc/net/tcp", encoding="ascii") as file:
        rows = [line.split() for line in file.readlines()[1:]]
    return {port: sum(int(row[4].split(":")[1], 16) for row in rows
                      if row[3] == "0A" and row[1].endswith(f":{port:04X}")) for port in ports}


def _start_connecting(ports, each):
    """Starts that many connection attempts to each of these ports."""
    sockets = []
    for port in ports * each:
        sockets.append(socket.socket())
        sockets[-1].setblocking(False)
        sockets[-1].connect_ex(("192.0.2.1", port))
    return sockets


@timeout(300)
def test_backlogs(bed):
    """The connections waiting at all listeners have a limit, and each listener has a share of it."""
    start_peer(bed)
    guest = _guest(bed)
    # 40 for all listeners, and at least 5 for each of the 8.
    _set(bed, guest, max_sockets="40", max_listeners="8", bind_allow="tcp:0")
    wait_attempt(guest, "bind 0.0.0.0 0", "ok")
    server = guest.start("hold waiting --sockets 4")
    server.wait_line("ready", 60 * bed.scale)
    ports = [int(line) for line in server.lines[:4]]
    clients = _start_connecting(ports[:1], 60)
    _wait_until(bed, lambda: _waiting_counts(ports)[ports[0]] >= 40, "fewer than 40 wait")
    clients += _start_connecting(ports[1:], 60)
    _wait_until(bed, lambda: min(_waiting_counts(ports[1:]).values()) >= 5, "fewer than 5 wait at one of the others")
    # TCP sends SYN again after a second.
    time.sleep(1.3)
    held = _waiting_counts(ports)
    bed.note(f"{held} of 60 each")
    assert 40 <= held[ports[0]] <= 41 and all(5 <= held[port] <= 6 for port in ports[1:]), held
    # When the first listener has gone, new attempts succeed.
    for client in clients[:60]:
        client.close()
    server.kill()
    server.wait()
    _wait_until(bed, lambda: not any(_waiting_counts(ports).values()), "the listeners are still there")
    server = guest.start("hold waiting --sockets 1")
    server.wait_line("ready", 60 * bed.scale)
    port = int(server.lines[0])
    clients += _start_connecting([port], 30)
    _wait_until(bed, lambda: _waiting_counts([port])[port] >= 22, "fewer than 22 wait")
    server.kill()
    for client in clients:
        client.close()


@timeout(200)
def test_backlogs_of_users(bed):
    """A user's waiting connections leave room for as many of others. A listener that was held back by
    those of another takes in more when they are gone."""
    start_peer(bed)
    guest = _guest(bed)
    # 40 for all listeners, of which two are for root only, and at least 5 for each of the 8.
    _set(bed, guest, max_sockets="40", max_listeners="8", bind_allow="tcp:0")
    wait_attempt(guest, "bind 0.0.0.0 0", "ok")
    servers, ports, clients = [], [], []
    for user, most in ((1001, 19), (1002, 10), (0, 11)):
        servers.append(guest.start(f"hold waiting --user {user} --sockets 1"))
        servers[-1].wait_line("ready", 60 * bed.scale)
        ports.append(int(servers[-1].lines[0]))
        clients += _start_connecting(ports[-1:], 60)
        _wait_until(bed, lambda: _waiting_counts(ports)[ports[-1]] >= most, f"fewer than {most} wait")
    held = _waiting_counts(ports)
    bed.note(f"{held} of 60 each")
    assert all(most <= held[port] <= most + 1 for port, most in zip(ports, (19, 10, 11))), held
    servers[0].kill()
    servers[0].wait()
    _wait_until(bed, lambda: not _waiting_counts(ports)[ports[0]], "the listener is still there")
    clients += _start_connecting(ports[-1:], 20)
    _wait_until(bed, lambda: _waiting_counts(ports)[ports[-1]] > 15, "root's listener is still held back")
    for server in servers[1:]:
        server.kill()
    for client in clients:
        client.close()


@timeout(240)
def test_groups(bed):
    """A guest joins the groups that a rule names, up to a limit. Closing its sockets leaves them."""
    start_peer(bed)
    guest = _guest(bed)
    run_checked(bed, "ip route replace 239.192.77.0/24 dev dummy0")
    before, five = _refused_count(bed, guest, "multicast"), "239.192.77.1 239.192.77.2 239.192.78.1 ff15::77 ff15::78"
    assert _attempt(guest, f"join {five}") == ["EPERM"] * 5
    assert _refused_count(bed, guest, "multicast") == before + 5
    with hijacked(guest, hijack=2):
        # The guest's own network is asked then, and it has no route there.
        assert _attempt(guest, "--family inet join 239.192.77.1") == ["ENODEV"]
    _set(bed, guest, multicast_allow="239.192.77.0/24 [ff15::77]")
    wait_attempt(guest, f"join {five}", "ok ok EPERM ok EPERM")
    _set(bed, guest, multicast_allow="239.192.77.0/24 [ff15::77]", max_groups="2")
    wait_attempt(guest, "join 239.192.77.1 ff15::77 239.192.77.2", "ok ok ENOBUFS")

    # A user has its share of them, and others have the rest.
    _set(bed, guest, bind_allow="0 1024-65535", multicast_allow="239.192.77.0/24", max_groups="9")
    five = " ".join(f"239.192.77.{i}" for i in range(1, 6))
    wait_attempt(guest, f"join --user 65534 {five} 239.192.77.6", "ok ok ok ok ok ENOBUFS")
    member = guest.start(f"exec attempt member --user 65534 {five}")
    _wait_until(bed, lambda: member.output.split() == ["ok"] * 5, "the user has its share")
    wait_attempt(guest, f"join {five}", "ok ok ok ok ENOBUFS")
    member.kill()
    _wait_until(bed, lambda: _memberships() == (False, False), "the groups are left with the sockets")

    allowed = {"bind-allow": "0 1024-65535", "multicast-allow": "239.192.77.0/24 [ff15::77]"}
    _set(bed, guest, bind_allow=allowed["bind-allow"], multicast_allow=allowed["multicast-allow"])
    member = guest.start("attempt member 239.192.77.1 ff15::77")
    _wait_until(bed, lambda: _memberships() == (True, True), "the groups are joined")
    # Memberships go with the link and come back with the next.
    guest.detach()
    _wait_until(bed, lambda: _memberships() == (False, False), "the groups are left with the link")
    guest.attach("xensock", *(f"{node}={value}" for node, value in allowed.items()))
    _wait_until(bed, lambda: _memberships() == (True, True), "the groups are joined again")
    assert member.output.split() == ["ok", "ok"], member.output
    member.kill()
    _wait_until(bed, lambda: _memberships() == (False, False), "the groups are left with the sockets")


GROUP_POLICY = {"bind_allow": "0 1024-65535", "multicast_allow": "239.192.77.0/24 [ff15::77]"}


def _attach_member(guest):
    guest.attach("xensock", *(f"{node.replace('_', '-')}={value}" for node, value in GROUP_POLICY.items()))


def _member(bed):
    """Returns a guest, and its program that has joined two groups."""
    start_peer(bed)
    guest = _guest(bed)
    run_checked(bed, "ip route replace 239.192.77.0/24 dev dummy0")
    _set(bed, guest, **GROUP_POLICY)
    wait_attempt(guest, "join 239.192.77.1", "ok")
    member = guest.start("exec attempt member 239.192.77.1 ff15::77")
    _wait_until(bed, lambda: _memberships() == (True, True), "the groups are joined")
    return guest, member


@contextmanager
def _first_group_missing(bed, guest):
    """Gives the guest another link. Inside the block dom0 has no interface for the first group."""
    guest.detach()
    # UDP finds no interface by such a route: ENODEV.
    run_checked(bed, "ip route replace unreachable 239.192.77.0/24")
    try:
        _attach_member(guest)
        _wait_until(bed, lambda: _memberships() == (False, True), "one group is joined again")
        yield
    finally:
        run_checked(bed, "ip route del unreachable 239.192.77.0/24; ip route replace 239.192.77.0/24 dev dummy0")


@timeout(240)
def test_groups_that_are_refused_later(bed):
    """A socket is told if a group is refused when the link comes back, and the socket goes on. It can leave the group,
    which then no link brings back."""
    guest, member = _member(bed)
    guest.detach()
    _wait_until(bed, lambda: _memberships() == (False, False), "the groups are left with the link")
    guest.attach("xensock", "bind-allow=0 1024-65535", "multicast-allow=[ff15::77]")
    member.wait_line("EPERM", 60 * bed.scale)
    _wait_until(bed, lambda: _memberships() == (False, True), "one group is joined again")
    assert member.output.split() == ["ok", "ok", "EPERM"], member.output
    member.kill(signal.SIGUSR1)
    _wait_until(bed, lambda: member.output.split() == ["ok", "ok", "EPERM", "ok"], "it has left the group")
    guest.detach()
    _wait_until(bed, lambda: _memberships() == (False, False), "the groups are left with the link")
    _attach_member(guest)
    _wait_until(bed, lambda: _memberships()[1], "the other group is joined again")
    assert _memberships() == (False, True) and member.output.split()[3:] == ["ok"], member.output
    member.kill()


@timeout(240)
def test_groups_that_come_late(bed):
    """A socket joins a group again when dom0 has an interface for it, and goes on until then."""
    guest, member = _member(bed)
    with _first_group_missing(bed, guest):
        # It is tried again.
        wait_requests(bed, guest, "SETSOCKOPT", 2)
        assert member.output.split() == ["ok", "ok"], member.output
    _wait_until(bed, lambda: _memberships() == (True, True), "both groups are joined again")
    assert member.output.split() == ["ok", "ok"], member.output
    member.kill()
    _wait_until(bed, lambda: _memberships() == (False, False), "the groups are left with the sockets")


@timeout(240)
def test_groups_left_early(bed):
    """A socket leaves a group that it was yet to join again."""
    guest, member = _member(bed)
    with _first_group_missing(bed, guest):
        member.kill(signal.SIGUSR1)
        _wait_until(bed, lambda: member.output.split() == ["ok"] * 3, "it has left the group")
    # A new link would bring the group back, before the other one.
    guest.detach()
    _wait_until(bed, lambda: _memberships() == (False, False), "the groups are left with the link")
    _attach_member(guest)
    _wait_until(bed, lambda: _memberships()[1], "the other group is joined again")
    assert _memberships() == (False, True) and member.output.split() == ["ok"] * 3, member.output
    member.kill()
    _wait_until(bed, lambda: _memberships() == (False, False), "the groups are left with the sockets")


def _memberships():
    """Returns True if these groups, the first by its hexadecimal address, have members in dom0."""
    with open("/proc/net/dev_mcast", encoding="ascii") as v4, open("/proc/net/igmp6", encoding="ascii") as v6:
        return "01005e404d01" in v4.read(), "ff150000000000000000000000000077" in v6.read()


def _wait_until(bed, condition, what):
    deadline = time.monotonic() + 60 * bed.scale
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


@timeout(240)
def test_smaller_rings_are_offered(bed):
    """A guest that connects again is told the largest ring size, and keeps to it."""
    start_peer(bed)
    guest = bed.shared_guest("policy", policy=("max-ring-order=2",))
    back = f"/local/domain/0/backend/xensock/{guest.domid}/0"
    assert bed.xenstore.read(f"{back}/max-page-order") == "2"
    guest.ktap("bulk --bytes 256k", 200 * bed.scale)
    assert _refused_count(bed, guest, "ring-order") == 0


@timeout(300)
def test_wrong_values(bed):
    """Unreadable values are logged once and read in the safest sense. The link stays."""
    start_peer(bed)
    guest = _guest(bed)
    connect, works = "connect 192.0.2.1 7001", "ok"
    log = _log(bed, guest)
    for node, value, what, result in (
            ("connect-deny", "10.0.0.0/33", connect, "EACCES"),
            ("connect-deny", "80 " * 33, connect, "EACCES"),
            ("connect-deny", "x" * 3000, connect, "EACCES"),
            ("connect-allow", "192.0.2.1:70001", connect, "EACCES"),
            ("connect-allow", "192.0.2.1:7001 nonsense", f"{connect} 192.0.2.1 7080", "ok EACCES"),
            ("max-sockets", "many", connect, "EMFILE"),
            ("max-sockets", "", connect, "EMFILE"),
            ("max-sockets", "99999999999", connect, works),
            ("max-ring-pages", "1k", connect, "ENOBUFS"),
            ("max-ring-order", "large", connect, "ENOBUFS"),
            ("max-ring-order", "12", connect, works),
            ("netns", "blue", connect, "EACCES"),
            ("netns", "4711", connect, "EACCES"),
            ("max-bread", "1", connect, works)):
        wrong = f"policy/{node}: {'no such namespace' if value == '4711' else 'not understood'}"
        _write(bed, guest, node, value)
        wait_attempt(guest, what, result)
        # A change of another node does not log it again.
        _write(bed, guest, "max-backlog", "5")
        _write(bed, guest, "max-backlog", "6")
        wait_attempt(guest, what, result)
        assert _states(bed, guest) == (4, 4), _states(bed, guest)
        before, log = log, _log(bed, guest)
        logged = log.count(wrong) - before.count(wrong)
        assert logged == 1, f"{node}='{value}': dom0's log has {logged} lines"
        bed.xenstore.rm(f"/local/domain/0/backend/xensock/{guest.domid}/0/policy/{node}")
        if node == "connect-allow":
            _write(bed, guest, node, bed.connect_allow)
        wait_attempt(guest, connect, works)


def _namespace(bed, name, number=None):
    """Makes a network namespace of dom0 with a loopback interface and a server."""
    run_checked(bed, f"ip netns add {name} && ip -n {name} link set lo up")
    if number is not None:
        run_checked(bed, f"ip netns set {name} {number}")
    server = bed.start(f"ip netns exec {name} peer --host 127.0.0.1 --port {PORT}")
    server.wait_line("peer: ready", 60 * bed.scale)


def _remove_namespaces(bed, *names):
    for name in names:
        bed.run(f"ip netns pids {name} | xargs -r kill -9; ip netns del {name}")


@timeout(240)
def test_namespace(bed):
    """A namespace of its own: the guest has its loopback, and cannot see dom0's."""
    start_peer(bed)
    guest = _guest(bed)
    local = bed.start(f"peer --host 127.0.0.1 --port {PORT + 100}")
    local.wait_line("peer: ready", 60 * bed.scale)
    try:
        _namespace(bed, "blue", 7)
        _set(bed, guest, netns="7")
        wait_attempt(guest, f"connect 127.0.0.1 {PORT + 1} 127.0.0.1 {PORT + 101} 192.0.2.1 7001",
                     "ok ECONNREFUSED ENETUNREACH")
        page = run_checked(guest, f"fetch --host 127.0.0.1 --port {PORT}")
        assert "Hello" in page, page
        wait_attempt(guest, f"connect 0.0.0.0 {PORT + 1}", "ok")
        guest.ktap("loopback")
        with hijacked(guest, hijack=2):
            guest.ktap("loopback --family inet")
        # The lists apply there too.
        _set(bed, guest, netns="7", connect_deny=f"127.0.0.0/8:{PORT + 1}")
        wait_attempt(guest, f"connect 127.0.0.1 {PORT + 1} 0.0.0.0 {PORT + 1} 127.0.0.1 {PORT + 80}",
                     "EACCES EACCES ok")
        # Back to dom0's namespace.
        _set(bed, guest)
        wait_attempt(guest, f"connect 192.0.2.1 7001 127.0.0.1 {PORT + 101}", "ok EACCES")
    finally:
        _set(bed, guest)
        _remove_namespaces(bed, "blue")


@timeout(240)
def test_neighbours_in_a_namespace(bed):
    """In a namespace of its own, too, a guest reaches link-local addresses of IPv6 only if a rule says so: each is
    a neighbour, and dom0 has one table of these for all namespaces."""
    start_peer(bed)
    guest = _guest(bed)
    try:
        # A namespace that is deleted keeps its ID for a while.
        run_checked(bed, "ip netns add near && ip netns set near 8 && "
                         "ip link add near0 type veth peer name near1 netns near && "
                         "ip link set near0 up && ip -n near link set near1 up && "
                         "ip -n near addr add fe80::7/64 dev near1 nodad")
        index = run_checked(bed, "ip -n near -o link show near1").split(":")[0]
        tries = f"datagram fe80::9%{index} 9 fe80::7%{index} 9 192.0.2.1 9"
        _set(bed, guest, netns="8", connect_allow="[fe80::/10]")
        wait_attempt(guest, tries, "ok ok EACCES")
        _set(bed, guest, netns="8", connect_allow="default")
        wait_attempt(guest, tries, "EACCES EACCES ENETUNREACH")
    finally:
        _set(bed, guest)
        bed.run("ip link del near0")
        _remove_namespaces(bed, "near")


@timeout(240)
def test_namespace_that_comes_later(bed):
    """A namespace ID that does not exist gives no sockets, until it exists and is set again."""
    start_peer(bed)
    guest = _guest(bed)
    try:
        rc, out = bed.run(f"xensock set {guest.domid} netns=9")
        assert rc == 1 and "no network namespace here has the id 9" in out, out
        before = _refused_count(bed, guest, "netns")
        _write(bed, guest, "netns", "9")
        wait_attempt(guest, "connect 192.0.2.1 7001", "EACCES")
        assert _refused_count(bed, guest, "netns") > before
        _namespace(bed, "late", 9)
        _set(bed, guest, netns="9")
        wait_attempt(guest, f"connect 127.0.0.1 {PORT + 1}", "ok")
        # The guest keeps the namespace when its name and ID are gone.
        _remove_namespaces(bed, "late")
        assert _attempt(guest, f"connect 127.0.0.1 {PORT + 1} 192.0.2.1 7001") == \
            ["ECONNREFUSED", "ENETUNREACH"]
    finally:
        _set(bed, guest)
        _remove_namespaces(bed, "late")


@timeout(240)
def test_device_that_goes(bed):
    """When a device is removed by force, its policy is removed last."""
    start_peer(bed)
    run_checked(bed, "ip netns add bare && ip netns set bare 13")
    try:
        guest = bed.guest("leaving", policy=("netns=13",))
        tries = guest.start(f"while :; do attempt connect {'192.0.2.1 7001 ' * 50} | sort -u; done")
        tries.wait_line("ENETUNREACH", 60 * bed.scale)
        bed.xenstore.rm(f"/local/domain/0/backend/xensock/{guest.domid}/0")
        tries.wait_line("ENETDOWN", 60 * bed.scale)
        tries.kill()
        assert "ok" not in tries.lines, "its sockets were in dom0's namespace"
    finally:
        _remove_namespaces(bed, "bare")


@timeout(300)
def test_two_namespaces(bed):
    """Two guests, each with a namespace of its own, use the same ports and do not meet."""
    start_peer(bed)
    guest, other = _guests(bed)
    try:
        _namespace(bed, "red", 11)
        run_checked(bed, "ip netns add green && ip -n green link set lo up && ip netns set green 12")
        _set(bed, guest, netns="11")
        _set(bed, other, netns="12")
        wait_attempt(guest, f"connect 127.0.0.1 {PORT + 1}", "ok")
        wait_attempt(other, f"connect 127.0.0.1 {PORT + 1}", "ECONNREFUSED")
        server = bed.start(f"ip netns exec green peer --host 127.0.0.1 --port {PORT}")
        server.wait_line("peer: ready", 60 * bed.scale)
        wait_attempt(other, f"connect 127.0.0.1 {PORT + 1}", "ok")
        # Sockets of one guest reach each other at 127.0.0.1, on a port that the other guest uses
        # too.
        for one in (guest, other):
            assert _attempt(one, "talk 127.0.0.1 8000 127.0.0.1 0") == ["ok", "ok"]
        server = guest.start("attempt stay 127.0.0.1 8001")
        server.wait_line("ok")
        wait_attempt(other, "connect 127.0.0.1 8001 serve 127.0.0.1 8001", "ECONNREFUSED ok")
        assert _attempt(guest, "connect 127.0.0.1 8001 serve 127.0.0.1 8001") == ["ok", "EADDRINUSE"]
        assert bed.run("grep -q ':1F41 ' /proc/net/tcp")[0] == 1, "dom0 has a socket on the port"
        _remove_namespaces(bed, "red")
        wait_attempt(guest, f"connect 127.0.0.1 {PORT + 1}", "ECONNREFUSED")
        assert _attempt(other, f"connect 127.0.0.1 {PORT + 1}") == ["ok"]
    finally:
        for one in (guest, other):
            _set(bed, one)
        _remove_namespaces(bed, "red", "green")


@timeout(240)
def test_command(bed):
    """list, show, and errors of the command."""
    start_peer(bed)
    guest = _guest(bed)
    name = guest.name
    listed = [device for device in bed.xensock("list") if device["guest"]["id"] == guest.domid]
    assert [(d["type"], d["guest"]["name"], d["guest"]["state"], d["backend"]["id"], d["backend"]["state"])
            for d in listed] == [("xensock", name, 4, 0, 4)], listed
    text = run_checked(bed, f"xensock show {name}")
    for words in (f"guest        {name}", "Connected (4)", "max-sockets      (default: 4096)", "refused"):
        assert words in text, text
    for words, status, message in (
            ("show nobody", 1, "there is no domain 'nobody'"),
            (f"attach {name}", 1, "has a xensock device already"),
            (f"set {name} max-socket=1", 1, "there is no node 'max-socket'; there are netns"),
            (f"set {name} connect-deny=10.1.0.0/8", 1, "say 10.0.0.0/8"),
            (f"show {name} --type=pvcalls", 1, "has no pvcalls device"),
            (f"frobnicate {name}", 2, "is not a command")):
        rc, out = bed.run(f"xensock {words}")
        assert rc == status and message in out, f"xensock {words}: {rc}: {out}"
    # The guest cannot read its policy, and cannot write any node of the backend.
    back = f"/local/domain/0/backend/xensock/{guest.domid}/0"
    bed.xensock("set", name, "max-sockets=100")
    permissions = run_checked(bed, f"xenstore-ls -p {back}")
    for line in permissions.splitlines():
        assert "(n0" in line, line
        if line.lstrip().startswith(("policy", "max-sockets")):
            assert "r" not in line.rsplit("(", 1)[1], line
