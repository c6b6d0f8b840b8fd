# SPDX-License-Identifier: GPL-2.0
"""Name resolution in a guest without a network interface: glibc asks a name server in dom0, and
curl connects by name."""

from contextlib import contextmanager

from bed import Bed, timeout
from scenarios import programs
from scenarios.common import hijacked, run_checked

FOUR, SIX = Bed.address, Bed.address6
# The records of the name server.
NAMES = {
    "four.test": {FOUR},
    "six.test": {SIX},
    "both.test": {FOUR, SIX},
    "silent4.test": {Bed.blackhole, SIX},
    "silent6.test": {FOUR, Bed.blackhole6},
}
DNSMASQ = ("dnsmasq --keep-in-foreground --conf-file=/dev/null --user=root --pid-file=/run/dnsmasq.pid "
           "--log-facility=- --log-queries --no-resolv --no-hosts --local=/test/ --bind-interfaces "
           f"--listen-address={FOUR},{SIX} " +
           " ".join(f"--host-record={name},{','.join(sorted(addresses))}" for name, addresses in NAMES.items()))

# Servers at both addresses of dom0, or at one while the other refuses. Each reports where it was
# reached.
BOTH, ONLY_FOUR, ONLY_SIX = 8600, 8604, 8606
SERVERS = "\n".join(f"server {{ {listen} location / {{ return 200 $server_addr; }} }}" for listen in (
    f"listen {BOTH}; listen [::]:{BOTH};", f"listen {ONLY_FOUR};", f"listen [::]:{ONLY_SIX};"))
# URLs for curl, and where it must arrive.
REACHED = (
    (f"four.test:{BOTH}", FOUR),
    (f"six.test:{BOTH}", SIX),
    (f"both.test:{ONLY_FOUR}", FOUR),
    (f"both.test:{ONLY_SIX}", SIX),
    (f"silent4.test:{BOTH}", SIX),
    (f"silent6.test:{BOTH}", FOUR),
)

# The way the guest asks: hijack, and its resolv.conf.
TCP = 1, f"nameserver {FOUR}\noptions use-vc\n"
UDP = 2, f"nameserver {FOUR}\noptions timeout:30\n"
TCP_BY_IPV6 = 1, f"nameserver {SIX}\noptions use-vc\n"
UDP_BY_IPV6 = 2, f"nameserver {SIX}\noptions timeout:30\n"


def _guest(bed):
    """Makes a guest, and a name server for it."""
    guest = programs.guest(bed)
    programs.serve(bed, DNSMASQ, "started, version")
    run_checked(guest, "echo 'hosts: files dns' >/etc/nsswitch.conf")
    return guest


@contextmanager
def _resolver(guest, way):
    hijack, resolv = way
    run_checked(guest, f"cat >/etc/resolv.conf <<-END\n{resolv}END")
    with hijacked(guest, hijack=hijack):
        yield


def _getent(guest, database, name):
    """Returns the addresses that getaddrinfo() finds for the name."""
    rc, out = guest.run(f"getent {database} {name}")
    assert rc == 0 or (rc, out) == (2, ""), f"getent {database} {name}: exit status {rc}: {out}"
    return {line.split()[0] for line in out.splitlines()}


def _check_names(bed, way):
    guest = _guest(bed)
    programs.nginx(bed, SERVERS, bed, f"http://{FOUR}:{BOTH}/")
    with _resolver(guest, way):
        for name, wanted in NAMES.items():
            got = _getent(guest, "ahosts", name)
            assert got == wanted, f"{name} is {got}"
        assert not _getent(guest, "ahosts", "none.test")
        for url, wanted in REACHED:
            got = run_checked(guest, f"curl -sS -m 60 http://{url}/", 90 * bed.scale)
            assert got == wanted, f"{url} was reached at {got}"


@timeout(300)
def test_tcp(bed):
    """With hijack 1, over TCP: getent, and curl to names with an address that refuses or is silent."""
    _check_names(bed, TCP)


@timeout(300)
def test_udp(bed):
    """The same with hijack 2, over UDP."""
    _check_names(bed, UDP)


@timeout(240)
def test_by_ipv6(bed):
    """A name server at an IPv6 address, over TCP and over UDP."""
    guest = _guest(bed)
    for way in TCP_BY_IPV6, UDP_BY_IPV6:
        with _resolver(guest, way):
            got = _getent(guest, "ahosts", "both.test")
            assert got == NAMES["both.test"], f"{way}: {got}"


@timeout(240)
def test_addrconfig(bed):
    """AI_ADDRCONFIG, which getent sets, depends on the guest's addresses: lo can have some."""
    guest = _guest(bed)
    # An address added to lo, and getent's result for a name with both kinds of address.
    steps = (
        (None, {"ahosts": {FOUR, SIX}, "ahostsv4": set(), "ahostsv6": set(), "-A ahostsv4": {FOUR}}),
        ("192.0.2.10/32", {"ahosts": {FOUR}, "ahostsv4": {FOUR}, "ahostsv6": set()}),
        ("2001:db8::10/128", {"ahosts": {FOUR, SIX}, "ahostsv4": {FOUR}, "ahostsv6": {SIX}}),
    )
    with _resolver(guest, TCP):
        try:
            for address, answers in steps:
                if address:
                    run_checked(guest, f"ip addr add {address} dev lo")
                for database, wanted in answers.items():
                    got = _getent(guest, database, "both.test")
                    assert got == wanted, f"getent {database}, {address} added: {got}"
        finally:
            for address, _ in steps[1:]:
                guest.run(f"ip addr del {address} dev lo")
