// SPDX-License-Identifier: GPL-2.0
/*
 * A backend in the user space of dom0 that leaves one call of the guest without a response:
 * silent_back DOMID, with "inquire" in the guest. It says "ready" when the link is up, and "again"
 * when another one is, after SIGUSR1. On that link, the first of the guest's sockets is not bound
 * before the guest has asked for an option, which is then left without a response. It says "others"
 * when all sockets but one have a ring, ends the call, and says "all" when the last one has a ring.
 * SIGTERM ends the program.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "back.h"
#include "util.h"

/* Those of "inquire". */
#define SOCKETS 3

static atomic_int is_signalled;

static void on_signal(int sig)
{
	is_signalled = sig;
}

static bool connect_front(const char *message)
{
	if (!back_begin())
		return false;
	back_node("feature-datagram", "1");
	if (!back_finish(15000))
		return false;
	printf("%s\n", message);
	return true;
}

/* Returns false if the program is to do something else. */
static bool next_request(struct request *r, const atomic_int *is_over)
{
	while (!back_take(r))
		if (sleep_usec(1000), back_is_over || *is_over)
			return false;
	return true;
}

static void respond(const struct request *r)
{
	back_respond(r, r->cmd == GETSOCKOPT ? -ENOPROTOOPT : 0);
}

static void serve(void)
{
	struct request r;

	while (next_request(&r, &is_signalled))
		respond(&r);
}

static void serve_without_response(void)
{
	struct request r, first = {}, unanswered = {};
	int rings = 0;

	while (next_request(&r, &back_is_over)) {
		if (r.cmd == BIND && !first.cmd && !unanswered.cmd) {
			first = r;
			continue;
		}
		if (r.cmd == GETSOCKOPT && !unanswered.cmd) {
			unanswered = r;
			if (first.cmd)
				respond(&first);
			continue;
		}
		respond(&r);
		if (r.cmd != ATTACH)
			continue;
		rings++;
		if (rings == SOCKETS - 1) {
			printf("others\n");
			respond(&unanswered);
		} else if (rings == SOCKETS) {
			printf("all\n");
		}
	}
}

int main(int argc, char **argv)
{
	argc = parse_options(argc, argv);
	if (argc != 2)
		return 4;
	setlinebuf(stdout);
	back_init(atoi(argv[1]));
	signal(SIGUSR1, on_signal);
	if (connect_front("ready")) {
		serve();
		back_end();
		if (connect_front("again"))
			serve_without_response();
	}
	back_end();
	return 0;
}
