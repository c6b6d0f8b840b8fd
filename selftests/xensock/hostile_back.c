// SPDX-License-Identifier: GPL-2.0
/*
 * A backend that breaks the rules, in the user space of dom0, where no driver has the device:
 * hostile_back DOMID HOW. It offers the device, prints "ready" when the link is up, or
 * "refused", and then does what HOW says, most of it to a CONNECT. "deaf" is done to RELEASE,
 * "reuse-" to rings that are used again, "resize-" to rings that are to grow, "news-" to the
 * news page. "slots" leaves each GETSOCKOPT without a response until they hold all slots and
 * SIGUSR1 comes; then it prints how many it answers before another request comes.
 * "out-error-first" has each connection fail at its first byte, and never says that all of "in"
 * is there. "frame-spoilt" sends a good frame to a datagram socket, writes over it on SIGUSR1,
 * and closes the link. "frame-flood" fills the ring of a datagram socket with errors again and
 * again, and prints "flooded" when the guest has taken several rings full of them.
 * "frame-report-quiet" sends a good frame without an event. SIGTERM ends the program, which then
 * closes the link in the regular way.
 */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "back.h"
#include "util.h"

/* The connection of the last CONNECT or ATTACH. */
static struct {
	struct request request;
	__u32 *words;
	char *in;
	__u32 size;
	__u32 port;
	__u32 ref;
	__u32 remote;
} conn;

/* Set by SIGUSR1. */
static atomic_int is_released;

static void on_release(int sig)
{
	is_released = sig;
}

/* Values of HOW that are bad nodes: a node and its value. */
static const struct {
	const char *how;
	const char *node;
	const char *value;
} bad_nodes[] = {
	{ "versions-2", "versions", "2" },
	{ "versions-none", "versions", NULL },
	{ "versions-empty", "versions", "" },
	{ "versions-list", "versions", "3,2, 1" },
	{ "order-0", "max-page-order", "0" },
	{ "order-99", "max-page-order", "99" },
	{ "order-abc", "max-page-order", "abc" },
	{ "order-none", "max-page-order", NULL },
	{ "order-minus", "max-page-order", "-1" },
	{ "order-huge", "max-page-order", "4294967297" },
	{ "event-abc", "feature-event-index", "abc" },
	{ "event-2", "feature-event-index", "2" },
};

static bool connect_front(const char *how)
{
	size_t i;

	if (!back_begin()) {
		printf("no frontend\n");
		return false;
	}
	back_node("feature-datagram", strncmp(how, "frame-", 6) ? NULL : "1");
	back_node("feature-datagram-info", strncmp(how, "frame-info-", 11) &&
		  strncmp(how, "frame-report-", 13) ? NULL : "1");
	/* Without the feature, CONNECT is answered when it is done. */
	back_node("feature-status", strncmp(how, "status-", 7) &&
		  strcmp(how, "reuse-early") ? NULL : "1");
	back_node("feature-ring-reuse", strncmp(how, "reuse-", 6) ? NULL : "1");
	back_node("feature-ring-resize", strncmp(how, "resize-", 7) ? NULL : "1");
	back_node("feature-shared-channel", strncmp(how, "news-", 5) ? NULL : "1");
	for (i = 0; i < ARRAY_LEN(bad_nodes); i++) {
		if (!strcmp(how, bad_nodes[i].how))
			back_node(bad_nodes[i].node, bad_nodes[i].value);
	}
	if (!back_finish(WAIT_LIMIT_MSEC)) {
		printf("refused, state %d\n", xs_state(back.front));
		return false;
	}
	printf("ready\n");
	return true;
}

/* Makes the response to CONNECT, which can be changed before it is published. */
static struct response *make_response(void)
{
	struct response *response = back_slot(back.rsp_prod++);

	memset(response, 0, sizeof(*response));
	response->req_id = conn.request.req_id;
	response->cmd = conn.request.cmd;
	response->id = conn.request.id;
	return response;
}

static bool map_ring(__u32 ref, __u32 remote)
{
	__u32 order;

	/* The ring was kept. */
	if (conn.words && conn.ref == ref && conn.remote == remote)
		return true;
	conn.ref = ref;
	conn.remote = remote;
	conn.words = pages_map(back.domid, &ref, 1);
	conn.port = back.news ? back.news_port :
				evtchn_bind(back.evtchn, back.domid, remote);
	if (!conn.words || !conn.port)
		return false;
	order = conn.words[RING_ORDER];
	conn.size = 2048U << order;
	if (order < 1 || order > 9)
		return false;
	conn.in = pages_map(back.domid, &conn.words[REF], 1U << order);
	return conn.in;
}

/* Words of the response to CONNECT, by index, and the value to set. */
static const struct {
	const char *how;
	unsigned int word;
	__u32 value;
} bad_responses[] = {
	{ "req-id", 0, 0x12345 },
	{ "req-id-huge", 0, 0xffffffff },
	{ "req-id-0", 0, 0 },
	{ "cmd", 1, RELEASE },
	{ "cmd-huge", 1, 0xffffffff },
	{ "ret-positive", 2, 111 },
	{ "ret-max", 2, INT_MAX },
	{ "ret-min", 2, INT_MIN },
	{ "ret-unknown", 2, -4000 },
	{ "ret-again", 2, -EAGAIN },
	{ "ret-restart", 2, -512 },
	{ "addr-len", 13, 0xffffffff },
	{ "addr-short", 13, 3 },
	{ "addr-family", 13, 16 },
};

/* Words of the indexes page, set once connected. The values are relative to the ring's size. */
static const struct {
	const char *how;
	unsigned int word;
	int sizes;
	__u32 more;
} bad_indexes[] = {
	{ "in-prod-1", IN_PROD, 1, 1 },
	{ "in-prod-far", IN_PROD, 0, 1U << 31 },
	{ "in-prod-back", IN_PROD, 0, -1 },
	{ "out-cons-1", OUT_CONS, 1, 1 },
	{ "out-cons-far", OUT_CONS, 0, 1U << 31 },
	{ "out-cons-back", OUT_CONS, -1, -1 },
	{ "in-error-positive", IN_ERROR, 0, 104 },
	{ "in-error-min", IN_ERROR, 0, INT_MIN },
	{ "in-error-again", IN_ERROR, 0, -EAGAIN },
	{ "in-error-unknown", IN_ERROR, 0, -3999 },
	{ "in-error-restart", IN_ERROR, 0, -512 },
	{ "out-error-positive", OUT_ERROR, 0, 1 },
	{ "out-error-min", OUT_ERROR, 0, INT_MIN },
	{ "out-error-unknown", OUT_ERROR, 0, -512 },
	{ "status-2", STATUS, 0, 2 },
	{ "status-min", STATUS, 0, INT_MIN },
	{ "status-again", STATUS, 0, -EAGAIN },
	{ "status-unknown", STATUS, 0, -3999 },
};

/* For two seconds: random indexes, errors and events. */
static void corrupt_indexes(void)
{
	__u64 random = opt.seed, deadline = now_msec() + 2000;

	while (now_msec() < deadline && !back_is_over) {
		random = random * 6364136223846793005ULL + 1;
		store(&conn.words[(random >> 40) % (PAGE / 4)],
		      random >> (random >> 59));
		if (random >> 60 == 0)
			evtchn_notify(back.evtchn, conn.port);
	}
}

static void flood_events(void)
{
	__u64 deadline = now_msec() + 2000;

	while (now_msec() < deadline && !back_is_over) {
		evtchn_notify(back.evtchn, conn.port);
		evtchn_notify(back.evtchn, back.port);
	}
}

/* For two seconds: news for everything, again and again, or random news. */
static void flood_news(const char *how)
{
	__u64 random = opt.seed, deadline = now_msec() + 2000;
	bool is_random = !strcmp(how, "news-scribble");

	while (now_msec() < deadline && !back_is_over) {
		random = random * 6364136223846793005ULL + 1;
		if (is_random)
			store((__u32 *)back.news + (random >> 40) % (PAGE / 4),
			      random >> (random >> 59));
		else
			memset(back.news, 0xff, PAGE);
		evtchn_notify(back.evtchn, back.news_port);
	}
}

/* Establishes the connection, with a valid name. */
static void establish(void)
{
	struct sockaddr_in sin = address("192.0.2.1", 7001);

	memcpy(&conn.words[NAME], &sin, sizeof(sin));
	store(&conn.words[NAME_LEN], sizeof(sin));
	store(&conn.words[STATUS], 1);
}

/* For two seconds, refuses connections on a ring that no connection has. */
static void refuse_early(void)
{
	__u64 deadline = now_msec() + 2000;

	while (now_msec() < deadline && !back_is_over) {
		store(&conn.words[STATUS], -ECONNREFUSED);
		evtchn_notify(back.evtchn, conn.port);
		sleep_usec(100);
	}
}

/* Does what HOW says to a CONNECT. */
static void answer_connect(const char *how)
{
	int i;

	for (i = 0; i < ARRAY_LEN(bad_responses); i++) {
		if (strcmp(how, bad_responses[i].how))
			continue;
		((__u32 *)make_response())[bad_responses[i].word] = bad_responses[i].value;
		back_publish(back.rsp_prod);
		return;
	}
	if (!strcmp(how, "never") || !strcmp(how, "release-first"))
		return;
	if (!strcmp(how, "rsp-prod-33")) {
		back_publish(back.rsp_prod + SLOTS + 1);
	} else if (!strcmp(how, "rsp-prod-far")) {
		back_publish(back.rsp_prod + (1U << 31));
	} else if (!strcmp(how, "rsp-prod-back")) {
		back_publish(back.rsp_prod - 2);
	} else if (!strcmp(how, "closed")) {
		back_node("state", "6");
	} else if (!strcmp(how, "closing")) {
		back_node("state", "5");
	} else if (!strcmp(how, "initialising")) {
		back_node("state", "1");
	} else if (!strcmp(how, "state-77")) {
		back_node("state", "77");
	} else if (!strcmp(how, "state-gone")) {
		back_node("state", NULL);
	} else if (map_ring(conn.request.connect.ref,
			    conn.request.connect.evtchn)) {
		for (i = 0; i < ARRAY_LEN(bad_indexes); i++)
			if (!strcmp(how, bad_indexes[i].how))
				store(&conn.words[bad_indexes[i].word],
				      conn.size * bad_indexes[i].sizes +
				      bad_indexes[i].more);
		if (!strcmp(how, "reuse-early"))
			establish();
		make_response();
		back_publish(back.rsp_prod);
		if (!strcmp(how, "twice"))
			back_respond(&conn.request, 0);
		if (!strcmp(how, "scribble"))
			corrupt_indexes();
		if (!strcmp(how, "storm"))
			flood_events();
		if (back.news)
			flood_news(how);
		sleep_usec(50000);
		evtchn_notify(back.evtchn, conn.port);
	}
}

/*
 * Answers ATTACH and sends a frame, which is good for all sockets but the first. Nothing is
 * consumed from the ring of the first socket before the second comes.
 */
static void answer_attach(const char *how)
{
	bool is_quiet = !strcmp(how, "frame-report-quiet");
	static bool is_good;
	static __u32 *first, first_port;
	struct frame frame;
	struct info info;
	__u32 prod;

	if (!strcmp(how, "frame-flood")) {
		back_respond(&conn.request,
			     map_ring(conn.request.attach.ref,
				      conn.request.attach.evtchn) ? 0 : -EINVAL);
		return;
	}
	if (!strcmp(how, "frame-spoilt"))
		is_good = true;
	if (!raw_frame(is_good ? "frame-good" : how, &frame, &info, &prod) ||
	    !map_ring(conn.request.attach.ref, conn.request.attach.evtchn)) {
		back_respond(&conn.request, -EINVAL);
		return;
	}
	if (first) {
		store(&first[OUT_CONS], load(&first[OUT_PROD]));
		evtchn_notify(back.evtchn, first_port);
	} else {
		first = conn.words;
		first_port = conn.port;
	}
	is_good = true;
	memcpy(conn.in, &frame, sizeof(frame));
	memcpy(conn.in + sizeof(frame), &info, sizeof(info));
	/* An error is there before the guest sends, which then returns it. */
	if (is_quiet || (frame.type == 1 && !frame.len))
		store(&conn.words[IN_PROD], prod);
	back_respond(&conn.request, 0);
	store(&conn.words[IN_PROD], prod);
	if (!is_quiet)
		evtchn_notify(back.evtchn, conn.port);
}

/* Fills the ring of the last socket with errors, for a while as fast as the guest takes them. */
static void flood_errors(void)
{
	const struct frame error = { .type = 1, .error = ECONNREFUSED };
	__u32 i, prod = load(&conn.words[IN_PROD]);
	static bool has_flooded;
	int turns;

	for (turns = 0; turns < 1000000; turns++) {
		if (conn.size - (prod - load(&conn.words[IN_CONS])) < sizeof(error))
			continue;
		for (i = 0; i < sizeof(error); i++)
			conn.in[(prod + i) % conn.size] = ((const char *)&error)[i];
		prod += sizeof(error);
		store(&conn.words[IN_PROD], prod);
	}
	evtchn_notify(back.evtchn, conn.port);
	if (!has_flooded && load(&conn.words[IN_CONS]) > 4 * conn.size) {
		printf("flooded\n");
		has_flooded = true;
	}
}

/* Writes over the frame of the last socket, and closes the link before it is received. */
static void spoil_frame(void)
{
	memset(conn.in, 0xff, sizeof(struct frame));
	back_node("state", "5");
	while (!back_is_over)
		sleep_usec(1000);
}

/* Consumes everything in the ring without reading it. */
static void consume_ring(void)
{
	__u32 prod = load(&conn.words[OUT_PROD]);

	if (load(&conn.words[OUT_CONS]) != prod) {
		store(&conn.words[OUT_CONS], prod);
		evtchn_notify(back.evtchn, conn.port);
	}
}

/* Reports a failure for the direction that the guest sends in, once it has sent anything. */
static void fail_connection(void)
{
	if (load(&conn.words[OUT_PROD]) && !load(&conn.words[OUT_ERROR])) {
		store(&conn.words[OUT_ERROR], -ECONNRESET);
		evtchn_notify(back.evtchn, conn.port);
	}
}

/* Claims that received data are in the other memory from @at on. */
static void switch_in(__u32 at, __u32 generation)
{
	store(&conn.words[IN_SWITCH], at);
	store(&conn.words[IN_GENERATION], generation);
	store(&conn.words[IN_PROD], 1);
	evtchn_notify(back.evtchn, conn.port);
}

/* A GROW that is answered when the connection is released. */
static struct request delayed_grow;

/* Answers GROW or SHRINK. Resizing the direction that the guest sends in works properly. */
static void answer_resize(const char *how, const struct request *r)
{
	printf("%s %u\n", r->cmd == GROW ? "GROW" : "SHRINK", r->resize.way);
	if (!strcmp(how, "resize-deaf"))
		return;
	if (!strcmp(how, "resize-vanish")) {
		back_node("state", "6");
		return;
	}
	if (!strcmp(how, "resize-late")) {
		delayed_grow = *r;
		return;
	}
	if (!strcmp(how, "resize-refuse")) {
		back_respond(r, r->resize.way ? -ENOBUFS : -EPERM);
		return;
	}
	if (!strcmp(how, "resize-gone"))
		back_node("state", "6");
	back_respond(r, 0);
	/* There was no memory to switch to. */
	if (!strcmp(how, "resize-in"))
		switch_in(0, 1);
	if (!strcmp(how, "resize-window"))
		switch_in(conn.size + 1, 1);
	if (!strcmp(how, "resize-skip"))
		switch_in(0, 7);
}

/* Those that hold slots, the oldest first. */
static struct request held[SLOTS];
static unsigned int n_held;

/* One after the other, until there is a request of another kind. */
static void release_held(void)
{
	unsigned int answered = 0;
	struct request r;

	do {
		back_respond(&held[0], -EINVAL);
		answered++;
		memmove(&held[0], &held[1], --n_held * sizeof(held[0]));
		while (!back_take(&r))
			if (sleep_usec(100), back_is_over)
				return;
		held[n_held++] = r;
	} while (r.cmd == GETSOCKOPT);
	printf("other after %u\n", answered);
	while (n_held)
		back_respond(&held[--n_held], 0);
}

/* Returns false once nothing is held any more. */
static bool hold_request(const struct request *r)
{
	if (is_released)
		return false;
	held[n_held++] = *r;
	if (n_held < SLOTS)
		return true;
	printf("full\n");
	while (!is_released && !back_is_over)
		sleep_usec(1000);
	if (is_released)
		release_held();
	return true;
}

static void serve(const char *how)
{
	struct request r;
	bool fails = !strcmp(how, "out-error-first");
	bool floods = !strcmp(how, "frame-flood");
	/* A closed connection keeps its ring until everything is taken. */
	bool consumes = !strncmp(how, "resize-", 7) || !strncmp(how, "reuse-", 6);

	while (!back_take(&r)) {
		if (sleep_usec(consumes ? 100 : 1000), back_is_over)
			return;
		if (consumes && conn.words)
			consume_ring();
		if (fails && conn.words)
			fail_connection();
		if (floods && conn.words)
			flood_errors();
		if (is_released && !strcmp(how, "frame-spoilt"))
			spoil_frame();
	}
	if (r.cmd == CONNECT) {
		conn.request = r;
		printf("CONNECT\n");
		answer_connect(how);
		return;
	}
	if (r.cmd == ATTACH) {
		conn.request = r;
		printf("ATTACH\n");
		answer_attach(how);
		return;
	}
	if (r.cmd == GROW || r.cmd == SHRINK) {
		answer_resize(how, &r);
		return;
	}
	if (r.cmd == GETSOCKOPT && !strcmp(how, "slots") && hold_request(&r))
		return;
	if (r.cmd == RELEASE)
		printf("RELEASE\n%s", r.release.reuse ? "kept\n" : "");
	if (r.cmd == UNMAP)
		printf("UNMAP\n");
	if (r.cmd == RELEASE && delayed_grow.cmd == GROW) {
		back_respond(&delayed_grow, -EPERM);
		delayed_grow.cmd = 0;
	}
	if ((r.cmd == RELEASE && !strcmp(how, "deaf")) ||
	    (r.cmd == UNMAP && !strcmp(how, "reuse-deaf")))
		return;
	back_respond(&r, 0);
	if (r.cmd == RELEASE && conn.words && !strcmp(how, "reuse-early"))
		refuse_early();
	if (r.cmd == RELEASE && conn.words && !strcmp(how, "reuse-scribble"))
		corrupt_indexes();
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
	signal(SIGUSR1, on_release);
	if (connect_front(how))
		while (!back_is_over)
			serve(how);
	back_end();
	printf("frontend in state %d\n", xs_state(back.front));
	return 0;
}
