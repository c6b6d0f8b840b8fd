# SPDX-License-Identifier: GPL-2.0
"""PostgreSQL and pgbench, for unmodified.py: in the end the sums of all tables agree."""

import signal

from scenarios.common import run_checked
from scenarios.programs import both_ways, install_archive, serve

HOME = "/usr/lib/postgresql/17"
BIN = f"{HOME}/bin"
# The server refuses to run as root. (The path avoids busybox's command of that name.) Its cluster
# is made with the images.
USER = "/usr/bin/setpriv --reuid=postgres --regid=postgres --clear-groups"
UNPACK = f"rm -rf /tmp/cluster; {USER} tar -C /tmp -xzf {HOME}/cluster.tar.gz"
SERVER = (f"{USER} {BIN}/postgres -D /tmp/cluster -p {{port}} -c listen_addresses='*' "
          "-c unix_socket_directories='' -c shared_buffers=16MB -c max_connections=20 "
          "-c autovacuum=off -c fsync=off")

CLIENTS, TRANSACTIONS = 4, 25
# Each transaction adds the same number to an account, a teller and a branch, and records it.
BALANCE = """SELECT count(*), sum(delta) = (SELECT sum(abalance) FROM pgbench_accounts),
	sum(delta) = (SELECT sum(tbalance) FROM pgbench_tellers),
	sum(delta) = (SELECT sum(bbalance) FROM pgbench_branches),
	(SELECT count(*) FROM pgbench_accounts) FROM pgbench_history"""
BALANCED = f"{CLIENTS * TRANSACTIONS}|t|t|t|100000"


def pgbench(bed, where):
    """pgbench fills its tables over one connection, then runs four clients, and psql adds up."""
    install_archive(bed, where, "postgresql")

    def way(server, client, number):
        port = 5430 + number
        to = f"-h {bed.address} -p {port} -U postgres"
        run_checked(server, UNPACK)
        job = serve(server, SERVER.format(port=port), "ready to accept connections")
        run_checked(client, f"{BIN}/pgbench {to} -i -q -I dtgp postgres", 120 * bed.scale)
        out = run_checked(client, f"{BIN}/pgbench {to} -n -c {CLIENTS} -j 2 -t {TRANSACTIONS} postgres",
                          120 * bed.scale)
        bed.note(out.splitlines()[-1])
        got = run_checked(client, f'{BIN}/psql {to} -XAt -c "{BALANCE}" postgres')
        assert got == BALANCED, f"{got} instead of {BALANCED}: {out}"
        job.kill(signal.SIGQUIT)
        job.wait()
        run_checked(server, "rm -rf /tmp/cluster")

    both_ways(bed, where, way)
