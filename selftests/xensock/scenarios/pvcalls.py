# SPDX-License-Identifier: GPL-2.0
"""Our frontend, unchanged, on the kernel's own C backend, over the older protocol.

The tests use only what the C backend supports. It connects inside its command handler, does not
report a reset while the guest sleeps, and loses an end of the stream that came in one piece with
the last data.
"""

from bed import timeout
from scenarios.common import run_checked, start_peer, wait_link

# Unloads dom0's other driver: shared guests would have to boot again.
LAST = True

MEGABYTES = {"daily": 8, "slow": 8, "debug": 2}


def _guest(bed):
    return bed.shared_guest(device="pvcalls")


@timeout(240)
def test_connect_and_close(bed):
    """One page through the C backend; the device is of type pvcalls."""
    guest = _guest(bed)
    start_peer(bed)
    wait_link(guest)
    page = run_checked(guest, "fetch")
    assert "Hello from dom0" in page, page
    assert bed.run("grep -q '^pvcalls_back ' /proc/modules")[0] == 0
    assert bed.xenstore.read(f"/local/domain/{guest.domid}/device/pvcalls/0/state") == "4"


@timeout(300)
def test_transfer(bed):
    """Both ways at once on one socket, checked."""
    guest = _guest(bed)
    start_peer(bed)
    wait_link(guest)
    guest.ktap(f"bulk --bytes {bed.pick(**MEGABYTES)}m", 280 * bed.scale)


@timeout(180)
def test_many(bed):
    """Many connections, at once and one after another."""
    guest = _guest(bed)
    start_peer(bed)
    wait_link(guest)
    for name in ("sockets_at_once", "cycles_of_connect_exchange_close",
                 "short_connections_in_parallel"):
        guest.ktap(f"many --sockets 30 --cycles 100 -t {name}")
    counts = run_checked(guest, "cat /sys/kernel/debug/xensock/pvcalls-0").splitlines()
    assert {"rings-reused 0", "UNMAP 0"} <= set(counts), counts


@timeout(180)
def test_calls(bed):
    """Peeking, MSG_WAITALL, discarding, polling, threads: calls that need nothing new of the
    backend."""
    guest = _guest(bed)
    start_peer(bed)
    wait_link(guest)
    programs = (("flags", ("peek_takes_nothing", "waitall_of_more_than_a_ring", "trunc_discards")),
                ("poll", ("fresh", "idle", "data_comes_and_goes")),
                ("stream", ("iovecs_of_any_shape", "blocking_send_waits_for_the_reader")),
                ("threads", ("sleeping_receiver_lets_all_else_go_on",)))
    guest.ktap_together([f"{name} {' '.join(f'-t {case}' for case in cases)}" for name, cases in programs])


# Server calls within the older protocol: no end of a single direction, no reset, no address of a
# peer, no option.
SERVERS = {
    "bind": ("port_0_gives_a_port_that_works", "port_0_gives_every_socket_another", "a_port_of_ones_own_choice",
             "bound_alone_takes_no_connection", "closing_gives_the_port_back", "twice_is_einval",
             "too_late_is_einval", "taken_port_is_eaddrinuse", "bound_ports_are_taken_before_they_listen",
             "addresses_of_others_are_eaddrnotavail", "bad_addresses", "wildcard_without_a_family",
             "longer_address_is_fine"),
    "listen": ("unbound_takes_a_port", "so_acceptconn_tells", "backlogs_of_any_size",
               "holds_what_nobody_accepts_yet", "more_than_the_backlog_wait", "again_changes_the_backlog",
               "a_connection_is_einval", "a_listener_is_no_connection", "only_a_listener_accepts",
               "shutdown_of_writing_changes_nothing", "a_failed_connect_succeeds_when_somebody_listens",
               "one_after_another", "many_listeners"),
    "accept": ("one_that_is_there", "waits_for_one", "address_in_too_little_room", "address_in_bad_memory",
               "accept4_flags", "nonblocking_until_eagain", "rcvtimeo_limits_the_wait",
               "without_a_free_descriptor_loses_nothing", "data_that_came_before",
               "with_both_ends_in_one_program", "sockets_live_longer_than_their_listener",
               "closing_one_leaves_the_others"),
    "acceptors": ("each_thread_gets_a_connection_of_its_own", "a_thread_without_a_connection_sleeps_on",
                  "shutdown_wakes_every_thread", "close_leaves_a_thread_in_its_call", "a_signal_ends_the_wait",
                  "a_signal_with_sa_restart_does_not", "a_signal_ends_a_wait_with_a_limit",
                  "time_limits_lose_no_connection", "killed_in_its_call_leaves_the_listener_whole"),
    "listenpoll": ("every_state", "connections_come_and_go", "every_sleeper_is_woken", "shutdown_wakes_a_sleeper",
                   "select_agrees", "level_repeats", "edge_and_oneshot_armed_late", "exclusive_wakes_one"),
}


@timeout(240)
def test_servers(bed):
    """bind, listen, accept and waiting for connections, on a backend with room for one ACCEPT."""
    guest = _guest(bed)
    start_peer(bed)
    wait_link(guest)

    def run(**ports):
        guest.ktap_together([f"{name} --ports {first} {' '.join(f'-t {case}' for case in SERVERS[name])}"
                             for name, first in ports.items()], 150 * bed.scale)

    # In one range, each process has ports of its own.
    run(bind=12000, accept=22000, acceptors=22000)
    # Alone: its listeners take most slots of the commands ring.
    run(listen=22000)
    # Alone: it counts how many tasks one connection wakes.
    run(listenpoll=22000)


@timeout(240)
def test_lost_slots(bed):
    """A listener without clients holds a slot of the commands ring. Other requests still have
    slots."""
    guest = bed.guest(name="greedy", device="pvcalls")
    start_peer(bed)
    wait_link(guest)
    out = run_checked(guest, "attempt serve " + " ".join(f"224.0.0.1 {20000 + number}" for number in range(40))).split()
    assert out == ["ok"] * 24 + ["ENOBUFS"] * 16, out
    run_checked(guest, "attempt connect 192.0.2.1 7001 && fetch >/dev/null")


@timeout(240)
def test_no_datagrams(bed):
    """PV Calls has streams only, and a program gets an error."""
    guest = _guest(bed)
    start_peer(bed)
    wait_link(guest)
    out = run_checked(guest, "knock")
    assert out.split() == 2 * ["ESOCKTNOSUPPORT"], out
