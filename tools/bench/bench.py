# SPDX-License-Identifier: GPL-2.0
"""make bench: AF_XENSOCK against netfront and against loopback inside dom0, in one boot.

And what a socket of AF_INET costs the guest itself while it is hijacked.

Each of the rounds measures everything once, in turn, so that a machine that
grows slower or faster touches all alike; what counts are the ratios of medians.
"""

import json
import statistics

from bed import timeout

ROUNDS = 5
MSEC = 1500

MEASURES = (
    ("send", "guest to dom0", "MB/s", 1e6),
    ("recv", "dom0 to guest", "MB/s", 1e6),
    ("rr", "1-byte request/response", "/s", 1),
    ("connect", "connect, 1 byte, close", "/s", 1),
)


def _paths(bed, guest):
    """Where each is measured, and how: AF_XENSOCK, netfront, loopback."""
    return (
        ("xensock", guest, f"--host {bed.address}"),
        ("netfront", guest, f"--family inet --host {bed.bridge_address}"),
        ("loopback", bed, "--family inet --host 127.0.0.1"),
    )


def _table(medians):
    rows = [f"{'':26} {'AF_XENSOCK':>12} {'netfront':>12} {'loopback':>12}   "
            f"{'/netfront':>9} {'/loopback':>9}"]
    for key, title, unit, scale in MEASURES:
        values = {path: medians[key][path] / scale for path in medians[key]}
        rows.append(f"{title + ' ' + unit:26} {values['xensock']:12.1f} {values['netfront']:12.1f} "
                    f"{values['loopback']:12.1f}   {values['xensock'] / values['netfront']:9.2f} "
                    f"{values['xensock'] / values['loopback']:9.2f}")
    return "\n".join(rows)


@timeout(900)
def test_bench(bed):
    """Throughput both ways, request/response and connections a second, by three paths."""
    for address in (bed.address, bed.bridge_address, "127.0.0.1"):
        bed.start(f"bench serve --host {address}").wait_line("bench: ready")
    # Thousands of short connections to one port: let the old ones go sooner.
    bed.run("echo 1024 65535 >/proc/sys/net/ipv4/ip_local_port_range; "
            "echo 1 >/proc/sys/net/ipv4/tcp_tw_reuse")
    guest = bed.guest(vif=True)
    guest.run("echo 1024 65535 >/proc/sys/net/ipv4/ip_local_port_range; "
              "echo 1 >/proc/sys/net/ipv4/tcp_tw_reuse")
    for _, where, options in _paths(bed, guest):
        rc, out = where.run(f"until bench connect 1 {options} >/dev/null 2>&1; do sleep 0.2; done", 30)
        assert rc == 0, f"{options}: {out}"

    results = {key: {} for key, *_ in MEASURES}
    for number in range(1, ROUNDS + 1):
        for key, _, _, scale in MEASURES:
            line = []
            for path, where, options in _paths(bed, guest):
                rc, out = where.run(f"bench {key} {MSEC} {options}")
                assert rc == 0, f"{path} {key}: {out}"
                results[key].setdefault(path, []).append(float(out.split()[-1]))
                line.append(f"{path} {results[key][path][-1] / scale:.1f}")
            bed.note(f"round {number} {key}: {', '.join(line)}")

    medians = {key: {path: statistics.median(values) for path, values in paths.items()}
               for key, paths in results.items()}
    bed.note("")
    bed.note(f"medians of {ROUNDS} rounds, and ratios of AF_XENSOCK to the others")
    bed.note(_table(medians))
    bed.note("")
    bed.note("JSON " + json.dumps({"msec": MSEC, "rounds": results, "medians": medians}))


HIJACK = "/proc/sys/net/xensock"

# Of sockets that stay in the guest: not hijacked, and after they have fallen back.
GUEST_MSEC = 500
SOCKETS = 4000
GUEST_MEASURES = (
    ("socket", GUEST_MSEC, "socket, close", "/s"),
    ("connect", GUEST_MSEC, "connect, accept, close", "/s"),
    ("stream", GUEST_MSEC, "1 byte by TCP", "/s"),
    ("datagram", GUEST_MSEC, "1 byte by UDP", "/s"),
    ("memory", SOCKETS, "memory of a socket", "bytes"),
)


@timeout(600)
def test_guest(bed):
    """What the guest's own sockets cost: with hijack 0, and with 2, where they fall back."""
    guest = bed.guest()
    results = {}
    for _ in range(ROUNDS):
        for key, amount, *_ in GUEST_MEASURES:
            for mode in (0, 2):
                rc, out = guest.run(f"echo 0 >{HIJACK}/hijack_loopback; echo {mode} >{HIJACK}/hijack; "
                                    f"bench_guest {key} {amount} --family inet --host 127.0.0.1; "
                                    f"rc=$?; echo 0 >{HIJACK}/hijack; exit $rc")
                assert rc == 0, f"hijack {mode} {key}: {out}"
                results.setdefault(key, {}).setdefault(mode, []).append(float(out.split()[-1]))
    # What disturbs a round makes it slower, and never faster.
    bed.note(f"best of {ROUNDS} rounds {'hijack 0':>24} {'fallen back':>12}     ratio")
    for key, _, title, unit in GUEST_MEASURES:
        best = min if key == "memory" else max
        own, fallen = (best(results[key][mode]) for mode in (0, 2))
        bed.note(f"{title + ' ' + unit:32} {own:12.0f} {fallen:12.0f} {fallen / own:9.2f}")
    bed.note("JSON " + json.dumps({"msec": GUEST_MSEC, "rounds": results}))
