# SPDX-License-Identifier: GPL-2.0
"""A guest that uses up a resource, beside a guest that must go on as before."""

import os
import re
import selectors
import socket
import threading
import time
from contextlib import contextmanager

from bed import slow, timeout
from scenarios.common import (
    SERVER_POLICY, SMALL_BUFFER, counts, run_checked, start_peer, sysctl, unload, wait_connected, wait_link, wait_released)

# The user in dom0 for root of the first domain, and the distance of the users of a guest.
FIRST_UID = 0x78530000
UIDS_APART = 1 << 16


# A user counts as slow only if it is slow in this many rounds.
ATTEMPTS = 5

# A neighbour counts as slow only if it is slow for as long, in seconds: the machine may have slow phases.
SLOW_FOR = 90


class Neighbour:
    """Another guest. Its transfers may take at most twice their time, whatever the first guest
    uses."""

    def __init__(self, bed):
        self._bed = bed
        self.guest = bed.shared_guest("neighbour")
        wait_connected(self.guest)
        # The first transfer is slower than later ones.
        self._transfer()
        self._quiet = self._quiet_time()

    def _transfer(self):
        began = time.monotonic()
        run_checked(self.guest, "bulk --bytes 2m >/dev/null && many --sockets 4 --cycles 4 >/dev/null",
                    200 * self._bed.scale)
        return time.monotonic() - began

    def _quiet_time(self):
        """Returns the middle one of three times: the machine has fast and slow moments."""
        return sorted(self._transfer() for _ in range(3))[1]

    def transfer_beside(self, what):
        """Transfers beside a load until that is fast enough or has been slow for long. Returns the shortest time."""
        busy = [self._transfer()]
        deadline = time.monotonic() + SLOW_FOR * self._bed.scale
        while min(busy) > 2 * self._quiet and time.monotonic() < deadline:
            time.sleep(1)
            busy.append(self._transfer())
        times = " ".join(f"{seconds:.1f}" for seconds in busy)
        self._bed.note(f"{what}: the neighbour's transfers take {times} s, and {self._quiet:.1f} s before")
        return min(busy)

    def check_speed(self, busy):
        """Judges the time beside a load that is gone now: the machine itself may be slower than before."""
        if busy > 2 * self._quiet:
            quiet = self._quiet_time()
            self._bed.note(f"without the load they take {quiet:.1f} s")
            assert busy <= 2 * max(self._quiet, quiet), busy


def _tcp_memory():
    """Returns the memory in bytes that dom0's TCP may have for all sockets."""
    with open("/proc/sys/net/ipv4/tcp_mem", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# A connection that is there when no memory is left gets as much more: a packet of 64 KiB and its overhead.
_LAST_PACKET = 80 << 10


# What is not read waits in TCP's buffers, and not in the data rings.
_SMALL_RINGS = ("max-ring-order=4",)


def _buffers(bed, guest, user=0):
    """Returns what dom0's TCP holds in the buffers of each of a user's sockets, as dom0's own tool says it: of
    root, or of the first, second... other user of the guest."""
    uid = f"uid:{FIRST_UID + guest.domid + user * UIDS_APART} "
    lines = [line for line in run_checked(bed, "ss -tnmeO").splitlines() if uid in line]
    return [sum(map(int, re.search(r"skmem:\(r(\d+),.*,w(\d+),", line).groups())) for line in lines]


def _memory(bed, guest, user=0):
    """The same, for all sockets together."""
    return sum(_buffers(bed, guest, user))


def _final_memory(bed, guest, user=0):
    """The same, once there is some and it changes no more: for longer than TCP usually waits before it tries
    again, see start_peer()."""
    deadline = time.monotonic() + 90 * bed.scale
    readings = []
    while len(readings) < 3 or not readings[-1] or len(set(readings[-3:])) > 1:
        assert time.monotonic() < deadline, f"it goes on changing: {readings}"
        if readings:
            time.sleep(1.1 * bed.scale)
            # A guest that stands still changes nothing: it has run in the meantime.
            run_checked(guest, ":")
        readings.append(_memory(bed, guest, user))
    return readings[-1]


def _greedy(bed, *policy):
    """Returns a connected guest with this policy."""
    guest = bed.shared_guest("greedy", policy=policy)
    wait_connected(guest)
    run_checked(guest, "rm -f /tmp/go")
    return guest


@timeout(600)
def test_memory_of_tcp(bed):
    """Unread connections: dom0's TCP holds no more memory than the guest may have."""
    start_peer(bed, SMALL_BUFFER, longest_wait=1000)
    guest, _ = bed.at_once(lambda: _greedy(bed, "max-memory=1024", *_SMALL_RINGS),
                           lambda: bed.shared_guest("neighbour"))
    neighbour = Neighbour(bed)
    before = bed.quiet_snapshot()
    sockets, size = bed.pick(daily=(10, 1 << 19), slow=(20, 1 << 19), debug=(10, 1 << 19))
    holder = guest.start(f"hold unread --sockets {sockets} --bytes {size}")
    holder.wait_line("ready", 120 * bed.scale)
    held = _final_memory(bed, guest)
    bed.note(f"{held >> 10} KiB are held for {sockets} connections, of {sockets * size * 3 // 5 >> 10} sent")
    assert 1 << 19 < held < (1 << 20) + sockets * _LAST_PACKET, held
    busy = neighbour.transfer_beside("no memory left")
    # Sockets that were held back receive everything that was sent to them.
    run_checked(guest, "touch /tmp/go")
    rc, out = holder.wait(300 * bed.scale)
    run_checked(guest, "rm /tmp/go")
    assert rc == 0 and out.splitlines()[-1] == str(sockets), out
    leaks = wait_released(bed, before)
    assert not leaks, f"dom0 has kept (before, after): {leaks}"
    neighbour.check_speed(busy)


@timeout(300)
def test_memory_of_a_user(bed):
    """Connections of which nothing is read: one user holds half of the guest's memory of TCP at most, and
    another one gets more than the floor."""
    start_peer(bed, SMALL_BUFFER, longest_wait=1000)
    guest = _greedy(bed, "max-memory=2048", *_SMALL_RINGS)
    before = bed.quiet_snapshot()
    holders, held = [], {}
    many = 8
    for user, sockets, size in ((1, many, 1 << 19), (2, 1, 1 << 20)):
        holders.append(guest.start(f"hold unread --user {1000 + user} --sockets {sockets} --bytes {size}"))
        holders[-1].wait_line("ready", 120 * bed.scale)
        held[user] = _final_memory(bed, guest, user) >> 10
    bed.note(f"KiB held by user: {held}")
    # A sixteenth of the memory is root's; this is half of the rest.
    assert 960 < held[1] < 960 + (many * _LAST_PACKET >> 10), held
    # One packet can come to a connection with the smallest buffer.
    assert held[2] > 80, held
    for holder in holders:
        holder.kill()
        holder.wait()
    leaks = wait_released(bed, before)
    assert not leaks, f"dom0 has kept (before, after): {leaks}"


def _windows(bed, guest):
    """Returns the largest windows that dom0 would promise to the peers of the guest's root."""
    lines = run_checked(bed, "ss -tnieO").splitlines()
    uid = f"uid:{FIRST_UID + guest.domid} "
    return [int(match[1]) for line in lines if uid in line and (match := re.search(r"rcv_ssthresh:(\d+)", line))]


@timeout(300)
def test_memory_comes_back(bed):
    """A connection that begins while no memory is left has the usual window once there is some."""
    start_peer(bed, SMALL_BUFFER, longest_wait=1000)
    guest = _greedy(bed, *SERVER_POLICY, "max-memory=1024", *_SMALL_RINGS)
    holder = guest.start(f"hold unread --sockets 10 --bytes {1 << 19}")
    holder.wait_line("ready", 120 * bed.scale)
    _final_memory(bed, guest)
    later = [guest.start(f"window --user 1001 --side {side}") for side in ("accept", "connect", "accept", "connect")]
    clamped = guest.start("window --user 1001 clamp 20000")
    clamped.wait_line("window 20000", 60 * bed.scale)
    small = [int(job.wait_line("window ", 60 * bed.scale).split()[1]) for job in later]
    holder.kill()
    _wait_until(bed, lambda: not _memory(bed, guest), "the memory is still in use")
    run_checked(guest, "touch /tmp/go")
    usual = [int(job.wait(60 * bed.scale)[1].split()[-1]) for job in later]
    bed.note(f"windows while no memory is left: {small}, and once there is some: {usual}")
    assert max(small) < 1 << 13 and min(usual) > 1 << 15, (small, usual)
    # The program's own limit stays.
    assert (limit := clamped.wait(60 * bed.scale)[1].split()[-1]) == "20000", limit


@timeout(200)
def test_memory_of_idle_ones(bed):
    """What peers acknowledge while their connections are idle is soon free for other connections."""
    start_peer(bed)
    guest = _greedy(bed, "max-memory=4096", *_SMALL_RINGS)
    job = guest.start("acked --user 1001 --sockets 20 --bytes 64k")
    job.wait_line("ready", 60 * bed.scale)
    sent = counts(guest)["memory"]
    # Half of the limit is where the user would be held back.
    assert 1 << 20 < sent < 1 << 21, sent
    run_checked(guest, "touch /tmp/go")
    job.wait_line("taken", 60 * bed.scale)
    _wait_until(bed, lambda: not _memory(bed, guest, 1), "not everything is acknowledged")
    # Less than a page of each connection is not counted.
    _wait_until(bed, lambda: counts(guest)["memory"] < 40 << 12, f"it counts as it did when {sent} bytes were sent")
    job.kill()
    job.wait()


@timeout(200)
def test_memory_of_late_ones(bed):
    """A connection that begins while its user's share is used up may have an equal part of it to send."""
    start_peer(bed, longest_wait=1000)
    guest = _greedy(bed, *SERVER_POLICY, "max-memory=2048", *_SMALL_RINGS)
    jobs = [guest.start("acked --user 1001 --sockets 1 --bytes 0")]
    jobs[0].wait_line("ready", 60 * bed.scale)
    held = _final_memory(bed, guest, 1) >> 10
    # A sixteenth of the memory is root's; this is half of the rest, to a few pages.
    assert 940 <= held < 960 + 80, held
    for side in ("connect", "accept"):
        jobs.append(guest.start(f"acked --user 1001 --side {side} --sockets 1 --bytes 64k"))
        jobs[-1].wait_line("ready", 60 * bed.scale)
    for job in jobs:
        job.kill()
        job.wait()


class _Reader:
    """A server in dom0 that reads from all its connections until it is stopped, in a thread."""

    def __init__(self, bed):
        self._server = socket.socket()
        # Inherited. Afterwards no more than that fits.
        self._server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        self._server.bind((bed.address, 0))
        self._server.listen(1000)
        self.port = self._server.getsockname()[1]
        self._ends, self._goes_on = [], True
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        with selectors.DefaultSelector() as ready:
            ready.register(self._server, selectors.EVENT_READ)
            while self._goes_on:
                for key, _ in ready.select(0.1):
                    if key.fileobj is self._server:
                        end = self._server.accept()[0]
                        self._ends.append(end)
                        ready.register(end, selectors.EVENT_READ)
                    else:
                        key.fileobj.recv(1 << 16)

    def stop(self):
        """Reads nothing any more."""
        self._goes_on = False
        self._thread.join()

    def close(self):
        self.stop()
        for end in (self._server, *self._ends):
            end.close()


@timeout(300)
def test_memory_of_bursts(bed):
    """Connections that were idle hold not much more than their user's share when all of them send at once."""
    start_peer(bed, longest_wait=1000)
    guest = _greedy(bed, "max-memory=2048")
    before = bed.quiet_snapshot()
    sockets = 40
    server = _Reader(bed)
    try:
        # With data rings that have grown.
        job = guest.start(f"hold burst --user 1001 --port {server.port} --sockets {sockets} --bytes 512k")
        job.wait_line("ready", 120 * bed.scale)
        _wait_until(bed, lambda: not _memory(bed, guest, 1), "not everything is read")
        server.stop()
        run_checked(guest, "touch /tmp/go")
        held = _final_memory(bed, guest, 1)
        run_checked(guest, "rm /tmp/go")
        bed.note(f"{held >> 10} KiB are held for {sockets} connections")
        # The share, an eighth of the limit for equal parts, and the last packets.
        assert 940 << 10 <= held < (960 + 256 << 10) + sockets * _LAST_PACKET, held
        job.kill()
        job.wait()
    finally:
        server.close()
    leaks = wait_released(bed, before)
    assert not leaks, f"dom0 has kept (before, after): {leaks}"


@slow
@timeout(300)
def test_memory_of_one_by_one(bed):
    """Connections that are opened and filled one after another, each with a large send buffer, hold not
    much more than the limit together."""
    start_peer(bed)
    guest = _greedy(bed, "max-memory=1024", *_SMALL_RINGS)
    sockets = 40
    job = guest.start(f"acked --user 1001 --sockets {sockets} --bytes 0")
    job.wait_line("ready", 150 * bed.scale)
    held = _final_memory(bed, guest, 1)
    bed.note(f"{held >> 10} KiB are held for {sockets} connections")
    # The user's share, the floors, and the last packets.
    assert 400 << 10 < held < 3 << 19, held
    job.kill()
    job.wait()


class _Client:
    """A connection of a peer to a port of the guest, which sends so many bytes."""

    def __init__(self, bed, port, size, peer_at):
        self._control = socket.create_connection((peer_at, 7000), timeout=300 * bed.scale)
        self._answers = self._control.makefile()
        self._control.sendall(f"connect {port} {bed.address}\nsend {size} 1\n".encode())
        assert (answer := self._answers.readline()).startswith("ok"), answer

    def sent(self):
        """Waits until everything is sent. Returns the number of bytes."""
        return int(self._answers.readline().removeprefix("ok"))

    def close(self):
        """Has the peer close the connection."""
        self._answers.close()
        self._control.close()


@contextmanager
def _ethernet(bed):
    """Another host with a peer, on an Ethernet of dom0. Returns its address."""
    near, far = "10.77.0.1", "10.77.0.2"
    run_checked(bed, "ip netns add far && ip link add near0 type veth peer name far0 netns far && "
                     f"ip addr add {near}/24 dev near0 && ip link set near0 up && "
                     f"ip -n far addr add {far}/24 dev far0 && ip -n far link set far0 up && "
                     f"ip -n far route add default via {near}")
    job = bed.start(f"ip netns exec far peer --host {far}")
    try:
        job.wait_line("peer: ready", 60 * bed.scale)
        yield far
        # dom0 would send a FIN again and again that nobody is there to acknowledge.
        _wait_until(bed, lambda: not run_checked(bed, f"ss -tnH dst {far}"), "not all connections have ended")
    finally:
        bed.run("ip netns pids far | xargs -r kill -9; ip netns del far; ip link del near0")


@timeout(700)
def test_memory_of_a_server(bed):
    """Connections to a server that reads nothing. Those that come while no memory is left are promised
    little, and have the usual window once there is some."""
    start_peer(bed, SMALL_BUFFER, longest_wait=1000)
    guest = _greedy(bed, *SERVER_POLICY, "max-memory=1024", *_SMALL_RINGS)
    before = bed.quiet_snapshot()
    with _ethernet(bed) as far:
        early, late, size = 10, bed.pick(daily=10, slow=20, debug=20), 1 << 19
        server = guest.start(f"deaf --sockets {early + late + 1} --bytes {size}")
        server.wait_line("ready", 60 * bed.scale)
        port = int(server.lines[0])
        clients = [_Client(bed, port, size, bed.address) for _ in range(early)]
        full = _final_memory(bed, guest)
        clients += [_Client(bed, port, size, bed.address) for _ in range(late)]
        clients.append(_Client(bed, port, size, far))
        _wait_until(bed, lambda: (all(bufs := _buffers(bed, guest)) and len(bufs) == len(clients)),
                    "not all have sent something")
        held = _final_memory(bed, guest)
        bed.note(f"{early} connections hold {full >> 10} KiB, {late} more {held - full >> 10} KiB; "
                 f"windows {sorted(_windows(bed, guest))}")
        # The first one may be promised the usual window.
        assert 1 << 20 < full < (1 << 20) + early * _LAST_PACKET, full
        assert held - full < late * (16 << 10), held
        # When the first ones are read there is memory for the later ones.
        run_checked(guest, "touch /tmp/go")
        assert [client.sent() for client in clients] == [size] * len(clients)
        server.wait_line(f"received: {len(clients)}", 200 * bed.scale)
        windows = _windows(bed, guest)
        bed.note(f"afterwards: {sorted(windows)}")
        assert min(windows) > 1 << 15 and len(windows) == len(clients), windows
        server.kill()
        server.wait()
        for client in clients:
            client.close()
    leaks = wait_released(bed, before)
    assert not leaks, f"dom0 has kept (before, after): {leaks}"


def _unread(bed, port):
    """Returns what each connection to a port of the guest holds in dom0 and nobody has read."""
    lines = run_checked(bed, f"ss -tnmOH state established 'sport = :{port}'").splitlines()
    return [int(re.search(r"skmem:\(r(\d+),", line)[1]) for line in lines]


@timeout(300)
def test_memory_of_those_who_wait(bed):
    """Connections that wait to be accepted hold no more if their listener has a large receive buffer."""
    guest = _greedy(bed, *SERVER_POLICY)
    server = guest.start("hold roomy --sockets 1")
    server.wait_line("ready", 60 * bed.scale)
    port = int(server.lines[0])
    clients = [socket.create_connection((bed.address, port), timeout=60 * bed.scale) for _ in range(24)]
    data = bytes(1 << 20)
    for client in clients:
        client.setblocking(False)
    last = None
    while (now := _unread(bed, port)) != last:
        for client in clients:
            try:
                while client.send(data):
                    pass
            except BlockingIOError:
                pass
        last = now
        time.sleep(1)
    bed.note(f"the connections hold {[each >> 10 for each in sorted(now)]} KiB")
    assert len(now) == len(clients) and 0 < min(now) and max(now) < 1 << 18, now
    for client in clients:
        client.close()
    server.kill()
    server.wait()


def _receive_buffers(bed, guest):
    """Returns the sizes of the receive buffers of root's connections, without those that control the peer."""
    lines = run_checked(bed, "ss -tnmeOH state established 'dport != :7000'").splitlines()
    uid = f"uid:{FIRST_UID + guest.domid} "
    return [int(re.search(r"skmem:\(r\d+,rb(\d+),", line)[1]) for line in lines if uid in line]


def _udp_memory():
    """Returns the memory in bytes that all sockets of dom0's UDP have."""
    with open("/proc/net/sockstat", encoding="ascii") as file:
        return int(re.search(r"^UDP: .* mem (\d+)", file.read(), re.M)[1]) * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def _udp_echo(bed):
    """A datagram server in dom0, at the peer's port."""
    server, goes_on = socket.socket(type=socket.SOCK_DGRAM), True
    server.bind((bed.address, 7000))
    server.settimeout(0.1)

    def serve():
        while goes_on:
            try:
                data, client = server.recvfrom(1 << 16)
                server.sendto(data, client)
            except TimeoutError:
                pass

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        goes_on = False
        thread.join()
        server.close()


@timeout(300)
def test_memory_of_datagrams(bed):
    """Sockets of one user that send to each other: dom0's UDP holds no more for them than the user may have, and
    the datagrams of another user and of dom0 arrive."""
    guest = _greedy(bed, *SERVER_POLICY, "max-memory=4096")
    sockets, most, counted, answers = 100, 0, 0, []
    before = _udp_memory()
    with _udp_echo(bed):
        job = guest.start(f"attempt flood {bed.address} --user 1001 --sockets {sockets}")
        job.wait_line("ok", 120 * bed.scale)
        # The backend is seldom late on a fast machine.
        until = time.monotonic() + 60 * bed.scale
        while len(answers) < 10 or (counted <= 1 << 15 and time.monotonic() < until):
            knock = guest.start("knock --user 1002")
            deadline = time.monotonic() + 60 * bed.scale
            while knock.running and time.monotonic() < deadline:
                most = max(most, _udp_memory() - before)
                counted = max(counted, counts(guest)["datagram-memory"])
                time.sleep(0.02)
            answers += knock.wait(60 * bed.scale)[1].split()
        job.kill()
        job.wait()
    bed.note(f"{most >> 10} KiB at the most for {sockets} sockets, {counted >> 10} counted; answers: {answers}")
    # The share of the user, and a datagram and a page or two for each socket.
    # UDP keeps up to 1 MiB of what sockets have returned, so this may not show.
    assert most < (1 << 20) + sockets * (24 << 10), most
    assert 1 << 15 < counted < (1 << 20) + sockets * (24 << 10), counted
    # An answer may be lost, as with UDP.
    assert answers.count("5") >= len(answers) * 4 // 5, answers
    _wait_until(bed, lambda: _udp_memory() <= before + (1 << 20), "the memory is still in use")
    _wait_until(bed, lambda: not counts(guest)["datagram-memory"], "it is still counted")


def _datagrams_sent():
    """Returns the number of datagrams that dom0's UDP has sent, once it changes no more."""
    readings = []
    while len(set(readings[-4:])) > 1 or len(readings) < 4:
        with open("/proc/net/snmp", encoding="ascii") as file:
            names, numbers = [line.split() for line in file if line.startswith("Udp: ")]
        readings.append(int(numbers[names.index("OutDatagrams")]))
        time.sleep(0.2)
    return readings[-1]


@timeout(200)
def test_memory_of_closed_datagram_sockets(bed):
    """Datagrams that wait for a neighbour count for their user after their socket was closed, until there is no room
    for more. The others are counted as dropped."""
    start_peer(bed)
    guest = _greedy(bed, "max-memory=1024", *_SMALL_RINGS)
    sockets, sent_before, dropped_before = 200, _datagrams_sent(), counts(guest)["datagram-drops"]

    def outcome():
        return _datagrams_sent() - sent_before, counts(guest)["datagram-drops"] - dropped_before

    run_checked(bed, "ip link add near0 type veth peer name far0 && ip link set far0 up && ip link set near0 up && "
                     "ip addr add 10.77.0.1/16 dev near0")
    try:
        # The kernel gives a neighbour up after three times this time.
        sysctl(bed, **{"neigh/near0/retrans_time_ms": 30000})
        run_checked(guest, f"attempt abandon 10.77.1.0 --user 1001 --sockets {sockets}")
        # The backend may take the last ones after their sockets were closed.
        _wait_until(bed, lambda: sum(outcome()) == sockets, "not all datagrams are sent or dropped")
        (sent, dropped), counted = outcome(), counts(guest)["datagram-memory"]
        bed.note(f"{sent} of {sockets} datagrams are on their way, {counted >> 10} KiB are counted, {dropped} dropped")
        # The user has half of 256 KiB, and a socket that is not closed yet may have one datagram in addition.
        assert 5 < sent < sockets // 2, sent
        assert counted > 100 << 10, counted
    finally:
        run_checked(bed, "ip link del near0")
    _wait_until(bed, lambda: not counts(guest)["datagram-memory"], "it is still counted")


@timeout(200)
def test_receive_buffers(bed):
    """SO_RCVBUF makes the receive buffer of dom0's TCP small. Otherwise TCP chooses its size."""
    start_peer(bed)
    guest = _greedy(bed, *SERVER_POLICY)
    for sizes, is_small in (("8192", True), ("4000000", False), ("8192 4000000", False), ("4000000 8192", True)):
        # With a small buffer, TCP over loopback waits for its timers.
        job = guest.start(f"window --bytes {'8k' if is_small else '8m'} {sizes}")
        job.wait_line("ready", 60 * bed.scale)
        found = _receive_buffers(bed, guest)
        bed.note(f"SO_RCVBUF {sizes}: {found} bytes")
        assert len(found) == 1 and (found[0] == 16384 if is_small else found[0] > 1 << 17), found
        job.kill()
        job.wait()
        _wait_until(bed, lambda: not _receive_buffers(bed, guest), "it is still connected")


@timeout(300)
def test_memory_and_close(bed):
    """While no memory is left, a connection that is closed delivers what was sent, and ends in order."""
    start_peer(bed, SMALL_BUFFER)
    guest = _greedy(bed, "max-memory=1024", *_SMALL_RINGS)
    holder = guest.start(f"hold unread --user 1001 --sockets 6 --bytes {1 << 19}")
    holder.wait_line("ready", 120 * bed.scale)
    held = _final_memory(bed, guest, 1)
    assert held > 400 << 10, held
    guest.ktap("close --user 1001", 120 * bed.scale)


def _orphans(bed, port):
    """Returns how many closed sockets dom0's TCP keeps, to deliver the rest to a port of dom0."""
    return len(run_checked(bed, f"ss -tnOH state fin-wait-1 'dport = :{port}'").splitlines())


@timeout(400)
def test_closed_sockets_of_all_guests(bed):
    """A guest leaves closed sockets to dom0, again and again: others of dom0 keep half of those that TCP
    allows, and another guest's connections end in order."""
    start_peer(bed)
    guest, neighbour = bed.at_once(lambda: _greedy(bed), lambda: bed.shared_guest("neighbour"))
    wait_connected(neighbour)
    before = bed.quiet_snapshot()
    usual = run_checked(bed, "cat /proc/sys/net/ipv4/tcp_max_orphans").strip()
    most, left = 100, []
    with socket.socket() as server:
        # It accepts nothing, and little fits.
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        server.bind((bed.address, 0))
        server.listen(1000)
        port = server.getsockname()[1]
        sysctl(bed, tcp_max_orphans=2 * most)
        try:
            for _ in range(4):
                job = guest.start(f"exec hold burst --port {port} --sockets 130 --bytes 12k")
                job.wait_line("ready", 120 * bed.scale)
                job.kill()
                job.wait()
                _wait_until(bed, lambda: counts(guest)["sockets"] == 0, "it has open sockets")
                left.append(_orphans(bed, port))
                if len(left) == 1:
                    neighbour.ktap("close", 120 * bed.scale)
                # As when it is created again.
                guest.detach()
                guest.attach()
                wait_link(guest)
        finally:
            sysctl(bed, tcp_max_orphans=usual)
    bed.note(f"{left} closed sockets, of {2 * most} that TCP allows")
    # The work items of a guest close some at the same time.
    assert most // 4 < left[0] < most // 2 + 5 and left[0] < max(left) < most + 5, left
    leaks = wait_released(bed, before)
    assert not leaks, f"dom0 has kept (before, after): {leaks}"


def _ring_pages(bed, guest):
    return bed.xensock("show", str(guest.domid))["refused"]["ring-pages"]


@timeout(600)
def test_pages_of_all_guests(bed):
    """While all guests use all pages that may be mapped, each guest has its share."""
    start_peer(bed)
    guest = _greedy(bed)
    neighbour = Neighbour(bed)
    unload(bed, "xensock_back")
    bed.modprobe("xensock_back", "max_ring_pages=2000")
    try:
        wait_link(guest)
        wait_link(neighbour.guest)
        rc, out = guest.run("hold idle --sockets 600")
        assert rc == 1 and "No buffer space available" in out, (rc, out)
        fit = int(re.search("socket ([0-9]+):", out)[1])
        before = bed.quiet_snapshot()
        holder = guest.start(f"hold idle --sockets {fit}")
        holder.wait_line("ready", 60 * bed.scale)
        bed.note(f"{fit} connections are held")
        busy = neighbour.transfer_beside("all pages are mapped")
        # Its rings may not have grown.
        refused = _ring_pages(bed, neighbour.guest)
        own = neighbour.guest.start("hold idle --sockets 10")
        own.wait_line("ready", 60 * bed.scale)
        assert _ring_pages(bed, neighbour.guest) == refused
        mapped = [counts(one)["ring-pages"] for one in (guest, neighbour.guest)]
        bed.note(f"{mapped} pages are mapped, of 2000")
        assert sum(mapped) <= 2000, mapped
        for job in (own, holder):
            job.kill()
            job.wait()
        leaks = wait_released(bed, before)
        assert not leaks, f"dom0 has kept (before, after): {leaks}"
        neighbour.check_speed(busy)
    finally:
        unload(bed, "xensock_back")
        bed.modprobe("xensock_back")
    wait_link(guest)
    wait_link(neighbour.guest)


@timeout(200)
def test_users_of_a_guest(bed):
    """A user of the guest leaves as many sockets, listeners and spare rings as it takes, and root has a
    reserve."""
    start_peer(bed)
    guest = _greedy(bed, *SERVER_POLICY, "max-sockets=96", "max-listeners=24")
    # First: sockets of the other tests count for as long as TCP needs them.
    guest.ktap("users --sockets 96 -t asked_for_ahead", 150 * bed.scale)
    guest.ktap("users --sockets 96 -T asked_for_ahead", 150 * bed.scale)


@timeout(900)
def test_users_go_on(bed):
    """One user of the guest takes all it can, also closed sockets that drain: another user and root
    keep at least half of their speed."""
    start_peer(bed)
    guest = _greedy(bed, *SERVER_POLICY, "max-sockets=256", "max-listeners=16")
    users = {"root": "", "1001": "--user 1001"}
    used = []

    def time_work(user):
        began = time.monotonic()
        run_checked(guest, f"bulk --bytes 2m {user} >/dev/null && bulk --side accept --bytes 2m {user} >/dev/null && "
                           f"many --sockets 4 --cycles 20 {user} >/dev/null", 120 * bed.scale)
        return time.monotonic() - began

    def times_beside_greedy_user():
        before = bed.quiet_snapshot()
        greedy = [guest.start("hold drain --sockets 100")]
        closed = greedy[0].wait_line("closed:", 60 * bed.scale)
        assert int(closed.split()[1]) > 10, closed
        greedy.append(guest.start("hold nobody --sockets 2000"))
        greedy[1].wait_line("full: Too many open files", 60 * bed.scale)
        # The share of one user is half of the memory, without root's reserve, and its sockets have
        # less than half of the floors, which are half of the memory.
        used.append(counts(guest)["memory"])
        times = {name: time_work(user) for name, user in users.items()}
        assert all(job.running for job in greedy), [job.output for job in greedy]
        for job in greedy:
            job.kill()
            job.wait()
        leaks = wait_released(bed, before)
        assert not leaks, f"dom0 has kept (before, after): {leaks}"
        return times

    # A single slow transfer may be chance: no user may be slow in every round.
    slow = set(users)
    for _ in range(ATTEMPTS):
        quiet, busy = {name: time_work(user) for name, user in users.items()}, times_beside_greedy_user()
        for name in users:
            bed.note(f"{name}: {busy[name]:.1f} s beside a user that takes all it can, and {quiet[name]:.1f} s before")
        slow -= {name for name in users if busy[name] <= 2 * quiet[name]}
        if not slow:
            break
    assert not slow, slow
    limit = _tcp_memory() // 8
    bed.note(f"the user's sockets hold {max(used) >> 10} KiB of {limit >> 10}")
    assert max(used) < limit * 3 // 4, used


@timeout(200)
def test_idle_listeners(bed):
    """Idle listeners hold nothing in advance that other sockets of the guest need."""
    start_peer(bed)
    guest = _greedy(bed, *SERVER_POLICY, "max-sockets=64", "max-listeners=16")
    guest.ktap("ahead", 150 * bed.scale)


@timeout(200)
def test_grants_of_a_guest(bed):
    """A user of the guest that takes all grants it can get leaves some to others, and to root."""
    start_peer(bed)
    guest = bed.guest("grants", config="max_grant_frames = 4")
    wait_connected(guest)
    before = bed.quiet_snapshot()
    holder = guest.start("hold nobody --sockets 2000")
    holder.wait_line("full: No buffer space available", 60 * bed.scale)
    run_checked(guest, "fetch")
    run_checked(guest, "bulk --bytes 1m --user 1001 >/dev/null", 60 * bed.scale)
    holder.kill()
    holder.wait()
    leaks = wait_released(bed, before)
    assert not leaks, f"dom0 has kept (before, after): {leaks}"


@timeout(200)
def test_pages_of_a_guest(bed):
    """A user of the guest that has as many pages mapped as it can leaves some to others, and to root."""
    start_peer(bed)
    guest = _greedy(bed, "max-ring-pages=300")
    before = bed.quiet_snapshot()
    holder = guest.start("hold nobody --sockets 200")
    holder.wait_line("full: No buffer space available", 60 * bed.scale)
    run_checked(guest, "bulk --bytes 1m --user 1001 >/dev/null", 60 * bed.scale)
    run_checked(guest, "fetch")
    of_root = guest.start("hold idle --sockets 25")
    of_root.wait_line("ready", 60 * bed.scale)
    for job in (of_root, holder):
        job.kill()
        job.wait()
    leaks = wait_released(bed, before)
    assert not leaks, f"dom0 has kept (before, after): {leaks}"


def _wait_until(bed, condition, what):
    deadline = time.monotonic() + 60 * bed.scale
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


@timeout(200)
def test_neighbour_table(bed):
    """A guest that may reach a whole network makes a neighbour entry for each address, like any
    program of dom0. One that may reach only its router makes none. Permanent entries stay in any
    case."""
    start_peer(bed)
    guest = _greedy(bed, "max-memory=1024", *_SMALL_RINGS)
    net, own, many = "10.77.0.0/16", "10.77.0.2", "attempt mail 10.77.1.0 --sockets 1500"
    # The table never has more entries.
    limit = int(run_checked(bed, "cat /proc/sys/net/ipv4/neigh/default/gc_thresh3"))
    assert limit < 1500

    def neighbours():
        return run_checked(bed, "ip neigh show dev near0").splitlines()

    def refused():
        return bed.xensock("show", str(guest.domid))["refused"]["connect"]

    run_checked(bed, "ip link add near0 type veth peer name far0 && ip link set far0 up && ip link set near0 up && "
                     "ip addr add 10.77.0.1/16 dev near0 && "
                     f"ip neigh add {own} lladdr 02:00:00:00:00:02 dev near0 nud permanent")
    # The kernel gives a neighbour up after three times this time.
    sysctl(bed, **{"neigh/near0/retrans_time_ms": 250})
    try:
        run_checked(guest, many)
        _wait_until(bed, lambda: len(neighbours()) > limit // 2, "nothing was sent")
        bed.note(f"{len(neighbours())} neighbours of {limit}")
        # Permanent entries neither disturb others nor are disturbed.
        run_checked(bed, "ip neigh add 10.77.0.3 lladdr 02:00:00:00:00:03 dev near0 nud permanent")
        assert len(neighbours()) <= limit + 2
        assert sum("PERMANENT" in line for line in neighbours()) == 2
        # The guest's program ends before dom0 has sent everything.
        _wait_until(bed, lambda: f"uid:{FIRST_UID + guest.domid} " not in run_checked(bed, "ss -uaneO"),
                    "it is still sending")
        # An entry that goes at that moment ends the command.
        run_checked(bed, "i=0; until ip neigh flush dev near0 nud all; do i=$((i + 1)); [ $i -lt 100 ] || exit 1; done; "
                         "ip neigh flush dev near0 nud permanent; "
                         f"ip neigh add {own} lladdr 02:00:00:00:00:02 dev near0 nud permanent")
        bed.xensock("set", str(guest.domid), f"connect-deny={net}")
        _wait_until(bed, lambda: guest.run("attempt datagram 10.77.0.2 9")[1].split() == ["EACCES"],
                    "the policy is old")
        before = refused()
        run_checked(guest, many)
        _wait_until(bed, lambda: refused() == before + 1500, "not all were refused")
        assert [line.split()[0] for line in neighbours()] == [own], neighbours()
    finally:
        bed.xensock("set", str(guest.domid), "connect-deny=default")
        run_checked(bed, "ip link del near0")


# Linux runs this when STP is enabled on a bridge, and holds RTNL until it has ended.
_STP = "/sbin/bridge-stp"


@contextmanager
def _network_devices_held(bed):
    """Changes a network device of dom0, and does not finish before the end of the block."""
    run_checked(bed, "printf '#!/bin/sh\\n>/tmp/stp-begun\\nwhile [ -e /tmp/stp ]; do sleep 0.1; done\\nexit 1\\n' "
                     f">{_STP} && chmod +x {_STP} && touch /tmp/stp && ip link add stp0 type bridge")
    job = bed.start("ip link set stp0 type bridge stp_state 1")
    try:
        _wait_until(bed, lambda: os.path.exists("/tmp/stp-begun"), "nobody holds RTNL")
        yield
        assert job.running, f"it was not held: {job.output}"
    finally:
        run_checked(bed, "rm -f /tmp/stp")
        job.wait(60 * bed.scale)
        run_checked(bed, f"ip link del stp0; rm -f {_STP} /tmp/stp-begun")




@timeout(300)
def test_network_devices(bed):
    """While network devices of dom0 are changed, sockets that join groups wait, and no others."""
    start_peer(bed)
    guest = _greedy(bed, *SERVER_POLICY, "multicast-allow=239.192.77.0/24")
    run_checked(bed, "ip route replace 239.192.77.0/24 dev dummy0")
    before = bed.quiet_snapshot()
    members = [guest.start(f"exec attempt member 239.192.77.{i + 1}") for i in range(6)]
    for member in members:
        member.wait_line("ok", 60 * bed.scale)
    asked = counts(guest)["SETSOCKOPT"]
    with _network_devices_held(bed):
        # More than the threads that work for a guest, to join and to leave.
        joins = [guest.start(f"exec attempt join 239.192.77.{i + 1}") for i in range(6)]
        _wait_until(bed, lambda: counts(guest)["SETSOCKOPT"] == asked + 6, "nobody joins a group")
        for member in members:
            member.kill()
            member.wait(60 * bed.scale)
        for _ in range(3):
            run_checked(guest, "fetch >/dev/null", 60 * bed.scale)
        assert all(job.running for job in joins), [job.output for job in joins]
    for job in joins:
        rc, out = job.wait(60 * bed.scale)
        assert (rc, out.split()) == (0, ["ok"]), out
    leaks = wait_released(bed, before)
    assert not leaks, f"dom0 has kept (before, after): {leaks}"
