# SPDX-License-Identifier: GPL-2.0
"""The xensock command in a guest: it runs programs, and shows sockets and counts. hijack is 0 for
all other programs."""

import json

import administrator
from bed import timeout
from scenarios import programs
from scenarios.common import SERVER_POLICY, SETTINGS, hijacked, run_checked, unload, wait_link

# Files of a group share a guest and run one after another.
GROUP = "programs"

PORT = 8500

CONNECTED = """exec xensock run python3 -uc '
import os, signal, socket
server = socket.create_server(("0.0.0.0", {port}))
client = socket.create_connection(("{host}", 7001))
print("ready", os.getpid(), os.fstat(client.fileno()).st_ino, os.fstat(server.fileno()).st_ino)
signal.pause()
'"""

AS_NOBODY = """python3 -c '
import os, sys
os.setgid(65534)
os.setuid(65534)
os.execvp(sys.argv[1], sys.argv[1:])
' """


def _guest(bed):
    where = programs.guest(bed)
    assert run_checked(where, f"cat {SETTINGS}/hijack") == "0"
    return where


def _fails(guest, command, status, *texts):
    rc, out = guest.run(command)
    assert rc == status, f"{command}: exit status {rc}: {out}"
    for text in texts:
        assert text in out, f"{command}: {out}"


@timeout(180)
def test_program(bed):
    """A program and its children are hijacked, however they are linked, while others fail."""
    guest = _guest(bed)
    curl = f"curl -sS http://{bed.address}:7080/"
    _fails(guest, curl, 7)
    assert "Hello" in run_checked(guest, f"xensock run {curl}")
    assert "Hello" in run_checked(guest, "xensock run fetch_static --family inet")
    out = run_checked(guest, f"xensock run sh -c '{curl} | cat; fetch_static --family inet & wait $!'")
    assert out.count("Hello") == 2, out
    _fails(guest, curl, 7)
    assert run_checked(guest, f"cat {SETTINGS}/hijack") == "0"


@timeout(180)
def test_namespace(bed):
    """The namespace has a loopback interface. TCP, or UDP too, is carried and counted separately."""
    guest = _guest(bed)
    assert run_checked(guest, f"xensock run cat {SETTINGS}/hijack") == "1"
    assert run_checked(guest, f"xensock run --udp cat {SETTINGS}/hijack") == "2"
    assert "127.0.0.1/8" in run_checked(guest, "xensock run ip address show up")
    out = run_checked(guest, "xensock run sh -c 'fetch_static --family inet >/dev/null && xensock decisions --json'")
    counts = json.loads(out)
    assert counts.pop("xensock") == 1 and not any(counts.values()), out


@timeout(180)
def test_as_it_is(bed):
    """Exit status, signals and arguments are those of the program."""
    guest = _guest(bed)
    _fails(guest, "xensock run sh -c 'exit 41'", 41)
    _fails(guest, "xensock run sh -c 'kill -9 $$'", 128 + 9)
    assert run_checked(guest, "xensock run -- echo --udp -j") == "--udp -j"
    ignored = "grep SigIgn /proc/self/status"
    assert run_checked(guest, f"xensock run {ignored}") == run_checked(guest, ignored)


@timeout(180)
def test_refused(bed):
    """Missing programs and missing privileges."""
    guest = _guest(bed)
    _fails(guest, "xensock run /nowhere/true", 127, "/nowhere/true: No such file")
    _fails(guest, "xensock run no-such-program", 127, "no-such-program: No such file")
    _fails(guest, "xensock run /etc/passwd", 126, "/etc/passwd: Permission denied")
    _fails(guest, "xensock run", 2, "a program is expected")
    _fails(guest, AS_NOBODY + "xensock run echo ran", 125, "only root of the guest may")
    _fails(guest, "unshare -Ur xensock run echo ran", 125, "only root of the guest may")


BPF = """mount -t cgroup2 cgroup2 /sys/fs/cgroup && mount -t bpf bpf /sys/fs/bpf &&
bpftool prog load /usr/lib/xensock/cgroup.bpf.o /sys/fs/bpf/xensock autoattach &&
mkdir -p /sys/fs/cgroup/carried/below /sys/fs/cgroup/other &&
key=$(printf '%016x\\n' $(stat -c %i /sys/fs/cgroup/carried) | fold -w 2 | tac | tr '\\n' ' ') &&
bpftool map update name xensock_cgroups key hex $key value hex 01"""

# Go does this for a server. The protocol that the socket has then is printed.
MPTCP = """import socket
print(socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262).getsockopt(socket.SOL_SOCKET, socket.SO_PROTOCOL))"""


@timeout(180)
def test_cgroup(bed):
    """The documentation's BPF program chooses for a cgroup and those below it, and for no other."""
    guest = _guest(bed)
    if guest.run("[ -e /sys/kernel/btf/vmlinux ]")[0]:
        bed.skip("this kernel has no BTF; KCONFIG=bpf has")
    with hijacked(guest, hijack=1):
        programs.install_archive(bed, guest, "bpf")
    run_checked(guest, BPF)
    run_checked(guest, f"echo '{MPTCP}' >/tmp/mptcp.py")
    assert run_checked(guest, "python3 /tmp/mptcp.py") == "262"
    curl = f"curl -sS http://{bed.address}:7080/"
    for cgroup in ("carried", "carried/below"):
        inside = f"echo 0 >/sys/fs/cgroup/{cgroup}/cgroup.procs; exec"
        assert "Hello" in run_checked(guest, f"sh -c '{inside} {curl}'")
        assert "Hello" in run_checked(guest, f"sh -c '{inside} fetch_static --family inet'")
        assert run_checked(guest, f"sh -c '{inside} python3 /tmp/mptcp.py'") == "6"
    _fails(guest, f"sh -c 'echo 0 >/sys/fs/cgroup/other/cgroup.procs; exec {curl}'", 7)
    _fails(guest, curl, 7)
    run_checked(guest, "rm /sys/fs/bpf/xensock")
    _fails(guest, f"sh -c 'echo 0 >/sys/fs/cgroup/carried/cgroup.procs; exec {curl}'", 7)


@timeout(180)
def test_sockets(bed):
    """The sockets of a namespace are listed in that namespace only."""
    guest = _guest(bed)
    job = guest.start(CONNECTED.format(host=bed.address, port=PORT))
    pid, client, server = map(int, job.wait_line("ready", 60 * bed.scale).split()[1:])
    inside = f"nsenter -t {pid} -n xensock sockets"
    found = {one["inode"]: one for one in json.loads(run_checked(guest, f"{inside} --json"))}
    assert set(found) == {client, server}, found
    one = found[client]
    assert (one["family"], one["type"], one["state"]) == ("inet", "stream", "ESTAB"), one
    assert one["local"].startswith(f"{bed.address}:") and one["peer"] == f"{bed.address}:7001", one
    assert (one["recv-q"], one["send-q"], one["uid"]) == (0, 0, 0) and one["in"] == one["out"] == 8192, one
    one = found[server]
    assert (one["state"], one["local"], one["peer"]) == ("LISTEN", f"0.0.0.0:{PORT}", None), one
    head, *lines = run_checked(guest, inside).splitlines()
    assert head.split()[:3] == ["FAMILY", "TYPE", "STATE"] and len(lines) == 2, [head, *lines]
    assert not set(found) & {one["inode"] for one in json.loads(run_checked(guest, "xensock sockets --json"))}
    job.kill()


@timeout(180)
def test_counts(bed):
    """Both ends show their counts. A refusal is counted once at each end."""
    guest = _guest(bed)
    command = "xensock counts --json"
    (front,) = json.loads(run_checked(guest, command))
    (back,) = administrator.xensock("counts", str(guest.domid))
    assert (front["device"], front["guest"], front["refused"]) == ("xensock-0", None, None), front
    assert (back["device"], back["guest"]) == (f"xensock-{guest.domid}-0", guest.domid), back
    assert front["counts"]["listeners"] == back["counts"]["listeners"], (front, back)
    out = run_checked(guest, "attempt connect 127.0.0.1 80")
    assert out == "EACCES", out
    (refused,) = administrator.xensock("counts", str(guest.domid))
    assert refused["refused"] == dict(back["refused"], connect=back["refused"]["connect"] + 1), refused
    now = json.loads(run_checked(guest, command))[0]["counts"]
    assert (now["CONNECT"], now["errors"]) == (front["counts"]["CONNECT"] + 1, front["counts"]["errors"] + 1), now
    lines = run_checked(guest, "xensock counts").splitlines()
    assert lines[0].split() == ["DEVICE", "COUNT", "NUMBER", "MOST"], lines
    assert ["xensock-0", "CONNECT", str(now["CONNECT"])] in map(str.split, lines), lines
    _fails(guest, "xensock counts 0", 1, "this domain serves no device of domain 0")
    _fails(guest, AS_NOBODY + "xensock counts", 1, "only root may")


@timeout(240)
def test_no_backend(bed):
    """Without a device the module is loaded, a warning is printed, and the program runs."""
    guest = _guest(bed)
    guest.detach()
    unload(guest, "xensock")
    try:
        _fails(guest, "xensock sockets", 1, "module xensock is not loaded")
        _fails(guest, "xensock counts", 1, "neither module xensock nor xensock_back is loaded")
        _fails(guest, "xensock run fetch_static --family inet", 1,
               "no backend is connected", "Network is down")
        assert json.loads(run_checked(guest, "xensock sockets --json")) == []
        assert json.loads(run_checked(guest, "xensock counts --json")) == []
    finally:
        guest.attach("xensock", *SERVER_POLICY)
        wait_link(guest)
