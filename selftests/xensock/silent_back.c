// SPDX-License-Identifier: GPL-2.0
/*
 * A backend in the user space of dom0 that leaves some of the guest's requests without a response,
 * or ends with a wrong one: silent_back DOMID HOW. It says "ready" when the link is up. SIGTERM
 * ends the program, which then closes the link in the regular way.
 *
 *   call     for "inquire" in the guest. After SIGUSR1 there is another link, and it says "again".
 *            On that link, the first of the guest's sockets is not bound before the guest has asked
 *            for an option, which is then left without a response. It says "others" when all
 *            sockets but one have a ring, ends the call, and says "all" when the last one has one
 *   accept   ACCEPT has no response before SIGUSR1, and then a connection. The next ACCEPT has no
 *            response before the next request
 *   coming   there is a connection for an ACCEPT ten times a second, which goes again
 *   late     there is a connection for each ACCEPT, which is handed over half a second later
 *   release  RELEASE has no response: it says "RELEASE" instead
 *   bind     BIND has no response before SIGUSR1: it says "BIND" instead
 *   listen   LISTEN has no response: it says "LISTEN" instead. BIND gives a socket port PORT
 *   unmap    for "keeper". It says "full" when --sockets connections have rings that were kept.
 *            From then on RELEASE has no response before SIGUSR1. After that UNMAP has none, and it
 *            says "no slots" when these requests have all slots
 *   wrong    after SIGUSR1 it sends a response to nothing, and then no more
 *   taken    it claims to have taken one byte more of datagrams than were sent
 */
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "back.h"
#include "util.h"

/* Those of "inquire". */
#define SOCKETS 3
#define FIRST_PORT 7340

/* Given to listeners. */
#define PORT 7390

static atomic_int is_signalled;

static void on_signal(int sig)
{
	is_signalled = sig;
}

static bool connect_front(const char *how, const char *message)
{
	bool unmaps = !strcmp(how, "unmap");
	bool has_status = unmaps || !strcmp(how, "accept") || !strcmp(how, "coming") ||
			  !strcmp(how, "late");

	if (!back_begin())
		return false;
	/* The driver has offered it before. */
	back_node("feature-shared-channel", NULL);
	back_node("feature-datagram", has_status ? NULL : "1");
	back_node("feature-status", has_status ? "1" : NULL);
	back_node("feature-waiting", has_status ? "1" : NULL);
	back_node("feature-ring-reuse", unmaps ? "1" : NULL);
	if (!back_finish(WAIT_LIMIT_MSEC))
		return false;
	printf("%s\n", message);
	return true;
}

/* Returns false if the program is to do something else. */
static bool next_request(struct request *r, const atomic_int *is_over)
{
	while (!back_take(r))
		if (sleep_usec(200), back_is_over || *is_over)
			return false;
	return true;
}

static void respond(const struct request *r)
{
	back_respond(r, r->cmd == GETSOCKOPT ? -ENOPROTOOPT : 0);
}

static void serve(const atomic_int *is_over)
{
	struct request r;

	while (next_request(&r, is_over))
		respond(&r);
}

static bool is_bind_of_first(const struct request *r)
{
	const struct sockaddr_in *to = (const void *)r->bind.addr;

	return r->cmd == BIND && ntohs(to->sin_port) == FIRST_PORT;
}

static void leave_call(void)
{
	struct request r, first = {}, unanswered = {};
	int rings = 0;

	while (next_request(&r, &back_is_over)) {
		/* The call may bind its socket too. */
		if (is_bind_of_first(&r) && !unanswered.cmd) {
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

/* Fills the ring of a CONNECT or an ACCEPT with a connection. */
static void establish(__u32 ref)
{
	struct sockaddr_in sin = address("192.0.2.1", 7001);
	__u32 *words = pages_map(back.domid, &ref, 1);

	if (!words)
		return;
	memcpy(&words[NAME], &sin, sizeof(sin));
	store(&words[NAME_LEN], sizeof(sin));
	store(&words[STATUS], 1);
	pages_unmap(words, 1);
}

static void leave_accept(void)
{
	struct request r, unanswered[SLOTS];
	unsigned int n = 0;

	while (next_request(&r, &is_signalled)) {
		if (r.cmd == ACCEPT)
			unanswered[n++] = r;
		else
			respond(&r);
	}
	while (n) {
		establish(unanswered[--n].accept.ref);
		respond(&unanswered[n]);
	}
	while (next_request(&r, &back_is_over)) {
		if (r.cmd == ACCEPT) {
			unanswered[n++] = r;
			continue;
		}
		/* RELEASE may not be answered before. */
		while (n)
			respond(&unanswered[--n]);
		respond(&r);
	}
}

/* Only the change back brings an event. */
static void take_back(void)
{
	__u64 next = now_msec();
	__u32 *words = NULL, port = 0;
	struct request r;

	while (!back_is_over) {
		if (words && now_msec() >= next) {
			next = now_msec() + 50;
			store(&words[WAITING], !load(&words[WAITING]));
			if (!load(&words[WAITING]))
				evtchn_notify(back.evtchn, port);
		}
		if (!back_take(&r)) {
			sleep_usec(200);
			continue;
		}
		if (r.cmd == ACCEPT) {
			port = evtchn_bind(back.evtchn, back.domid, r.accept.evtchn);
			words = pages_map(back.domid, &r.accept.ref, 1);
		}
		respond(&r);
	}
}

static void hand_over_late(void)
{
	__u32 *words = NULL, port = 0, ref = 0;
	struct request r;
	__u64 due = 0;

	while (!back_is_over) {
		if (words && now_msec() >= due) {
			establish(ref);
			store(&words[WAITING], 0);
			evtchn_notify(back.evtchn, port);
			pages_unmap(words, 1);
			words = NULL;
		}
		if (!back_take(&r)) {
			sleep_usec(200);
			continue;
		}
		if (r.cmd == ACCEPT) {
			ref = r.accept.ref;
			port = evtchn_bind(back.evtchn, back.domid, r.accept.evtchn);
			words = pages_map(back.domid, &ref, 1);
			if (words)
				store(&words[WAITING], 1);
			due = now_msec() + 500;
		}
		respond(&r);
	}
}

static void leave_release(void)
{
	struct request r;

	while (next_request(&r, &back_is_over)) {
		if (r.cmd == RELEASE)
			printf("RELEASE\n");
		else
			respond(&r);
	}
}

static void leave_bind(void)
{
	struct request r, unanswered;

	while (next_request(&r, &back_is_over) && r.cmd != BIND)
		respond(&r);
	unanswered = r;
	printf("BIND\n");
	while (next_request(&r, &is_signalled))
		respond(&r);
	respond(&unanswered);
	serve(&back_is_over);
}

static void leave_listen(void)
{
	struct request r;

	while (next_request(&r, &back_is_over)) {
		if (r.cmd == BIND)
			((struct sockaddr_in *)r.bind.addr)->sin_port = htons(PORT);
		if (r.cmd == LISTEN)
			printf("LISTEN\n");
		else
			respond(&r);
	}
}

/* Rings by their grants, and the rings of connections by the ends of their handles. */
static bool is_kept[1 << 16];
static __u16 rings[1 << 16];

/* Connects to the first port only. Returns true if the connection stays and its ring was kept. */
static bool answer_connect(const struct request *r)
{
	const struct sockaddr_in *to = (const void *)r->connect.addr;
	bool is_first = ntohs(to->sin_port) == opt.port;

	rings[(__u16)r->id] = r->connect.ref;
	if (is_first)
		establish(r->connect.ref);
	respond(r);
	return !is_first && is_kept[(__u16)r->connect.ref];
}

static void leave_unmap(void)
{
	struct request r, unanswered[SLOTS];
	unsigned int kept = 0, n = 0, i, unmaps = 0;

	while (next_request(&r, &is_signalled)) {
		if (r.cmd == CONNECT) {
			kept += answer_connect(&r);
			if (kept == opt.sockets)
				printf("full\n");
		} else if (r.cmd == RELEASE && kept >= opt.sockets) {
			unanswered[n++] = r;
		} else {
			if (r.cmd == RELEASE)
				is_kept[rings[(__u16)r.id]] = r.release.reuse;
			if (r.cmd == UNMAP)
				is_kept[(__u16)r.unmap.ref] = false;
			respond(&r);
		}
	}
	for (i = 0; i < n; i++)
		respond(&unanswered[i]);
	while (next_request(&r, &back_is_over)) {
		if (r.cmd != UNMAP)
			respond(&r);
		else if (++unmaps == SLOTS)
			printf("no slots\n");
	}
}

static void take_too_much(void)
{
	__u32 *words = NULL, port = 0, prod;
	struct request r;

	while (!back_is_over) {
		prod = words ? load(&words[OUT_PROD]) : 0;
		if (prod && load(&words[OUT_CONS]) != prod + 1) {
			store(&words[OUT_CONS], prod + 1);
			evtchn_notify(back.evtchn, port);
		}
		if (!back_take(&r)) {
			sleep_usec(200);
			continue;
		}
		if (r.cmd == ATTACH || r.cmd == RELEASE) {
			pages_unmap(words, 1);
			words = NULL;
		}
		if (r.cmd == ATTACH) {
			port = evtchn_bind(back.evtchn, back.domid, r.attach.evtchn);
			words = pages_map(back.domid, &r.attach.ref, 1);
		}
		respond(&r);
	}
}

static void end_with_nonsense(void)
{
	struct request nothing = { .req_id = 0x12345 };

	serve(&is_signalled);
	back_respond(&nothing, 0);
	while (!back_is_over)
		sleep_usec(1000);
}

int main(int argc, char **argv)
{
	const char *how;

	argc = parse_options(argc, argv);
	if (argc != 3)
		return 4;
	how = argv[2];
	setlinebuf(stdout);
	back_init(atoi(argv[1]));
	signal(SIGUSR1, on_signal);
	if (!connect_front(how, "ready")) {
		printf("no link\n");
	} else if (!strcmp(how, "call")) {
		serve(&is_signalled);
		back_end();
		if (connect_front(how, "again"))
			leave_call();
	} else if (!strcmp(how, "accept")) {
		leave_accept();
	} else if (!strcmp(how, "coming")) {
		take_back();
	} else if (!strcmp(how, "late")) {
		hand_over_late();
	} else if (!strcmp(how, "release")) {
		leave_release();
	} else if (!strcmp(how, "bind")) {
		leave_bind();
	} else if (!strcmp(how, "listen")) {
		leave_listen();
	} else if (!strcmp(how, "unmap")) {
		leave_unmap();
	} else if (!strcmp(how, "wrong")) {
		end_with_nonsense();
	} else if (!strcmp(how, "taken")) {
		take_too_much();
	}
	back_end();
	return 0;
}
