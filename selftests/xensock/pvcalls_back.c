// SPDX-License-Identifier: GPL-2.0
/*
 * A PV Calls backend in the user space of dom0, whose connections are made up: pvcalls_back DOMID
 * HOW. It says "ready" when the link is up. SIGTERM ends it.
 *
 *   crowd     each listener always has a connection. It says "two at once" if a POLL or an ACCEPT
 *             comes while another one has no response: that one would not find the connection
 *   robbed    as a C backend that loses a connection after it has reported it: says "ACCEPT", and
 *             responds when there is a connection to the listener: "itself". Then it says "RELEASE"
 *             when the listener is released
 *   stubborn  as robbed, but no connection to the listener succeeds
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "back.h"
#include "util.h"

/* The numbers of PV Calls. */
enum pvcall {
	PV_SOCKET, PV_CONNECT, PV_RELEASE, PV_BIND, PV_LISTEN, PV_ACCEPT, PV_POLL,
};

static bool next_request(struct request *r)
{
	while (!back_take(r))
		if (sleep_usec(200), back_is_over)
			return false;
	return true;
}

static bool is_quiet(void)
{
	return load(&back.words[REQ_PROD]) == back.req_cons;
}

static void serve_crowd(void)
{
	struct request r, waiting;
	bool is_waiting = false;

	while (!back_is_over) {
		if (is_quiet()) {
			/* For whatever else the guest has begun to send. */
			sleep_usec(1000);
			if (is_waiting && is_quiet()) {
				is_waiting = false;
				back_respond(&waiting, 0);
			}
			continue;
		}
		back_take(&r);
		if (r.cmd != PV_POLL && r.cmd != PV_ACCEPT) {
			back_respond(&r, 0);
			continue;
		}
		if (is_waiting) {
			printf("two at once\n");
			back_respond(&waiting, 0);
		}
		waiting = r;
		is_waiting = true;
	}
}

static in_port_t port_of(const struct request *r)
{
	/* BIND has the address in the same place. */
	return ((const struct sockaddr_in *)r->connect.addr)->sin_port;
}

static void be_robbed(bool is_stubborn)
{
	struct request r, accept = { };
	in_port_t port = 0;

	while (next_request(&r)) {
		if (r.cmd == PV_BIND && !port)
			port = port_of(&r);
		if (r.cmd == PV_ACCEPT && !accept.id) {
			accept = r;
			printf("ACCEPT\n");
		} else if (r.cmd == PV_CONNECT && port_of(&r) == port) {
			printf("itself\n");
			back_respond(&r, is_stubborn ? -ECONNREFUSED : 0);
			if (!is_stubborn)
				back_respond(&accept, 0);
		} else {
			if (r.cmd == PV_RELEASE && r.id == accept.id)
				printf("RELEASE\n");
			back_respond(&r, r.cmd == PV_CONNECT ? -ECONNREFUSED : 0);
		}
	}
}

int main(int argc, char **argv)
{
	const char *how;

	if (argc != 3)
		return 4;
	how = argv[2];
	setlinebuf(stdout);
	back_init_pvcalls(atoi(argv[1]));
	if (!back_begin() || !back_finish(WAIT_LIMIT_MSEC)) {
		printf("no link\n");
	} else {
		printf("ready\n");
		if (!strcmp(how, "crowd"))
			serve_crowd();
		else
			be_robbed(!strcmp(how, "stubborn"));
	}
	back_end();
	return 0;
}
