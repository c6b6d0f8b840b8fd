// SPDX-License-Identifier: GPL-2.0
/*
 * A guest that breaks the rules of its rings: impossible indexes, memory that
 * changes while it is read, events without end. A violation in a data ring ends
 * that connection, one in the commands ring ends the link, and nothing else is
 * affected.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "kselftest_harness.h"
#include "raw.h"
#include "util.h"

/* A connection whose peer is under remote control, and a connection that behaves. */
FIXTURE(rings) {
	struct link link;
	struct raw_peer peer;
	struct raw_conn c;
};

FIXTURE_SETUP(rings)
{
	struct link *l = &self->link;

	ASSERT_TRUE(link_up(l));
	ASSERT_TRUE(link_works(l));
	ASSERT_TRUE(raw_peer_open(l, &self->peer));
	ASSERT_TRUE(raw_open(l, &self->c, 4, self->peer.port));
	ASSERT_STREQ("ok", raw_peer_run(l, &self->peer, "accept"));
}

FIXTURE_TEARDOWN(rings)
{
	struct link *l = &self->link;

	EXPECT_EQ(0, raw_close(l, &self->c, true));
	EXPECT_EQ(0, raw_close(l, &self->peer.control, false));
	EXPECT_TRUE(link_works(l));
	link_down(l);
}

/* The backend has noticed: the peer got a reset, and the id still exists. */
#define IS_RESET() do {							\
	struct request again = raw_request(&self->c, opt.host, 80);	\
									\
	raw_notify(&self->link, &self->c);				\
	EXPECT_STREQ("rst", raw_peer_run(&self->link, &self->peer,	\
					 "end"));			\
	EXPECT_EQ(-EISCONN, do_request(&self->link, &again));		\
	EXPECT_EQ(-EEXIST, req_socket(&self->link, self->c.id));	\
} while (0)

TEST_F(rings, out_prod_one_too_many)
{
	store(&self->c.words[OUT_PROD], self->c.size + 1);
	IS_RESET();
}

TEST_F(rings, out_prod_far_ahead)
{
	store(&self->c.words[OUT_PROD], 1U << 31);
	IS_RESET();
}

TEST_F(rings, out_prod_backwards)
{
	EXPECT_EQ(5, raw_send(&self->link, &self->c, "12345", 5));
	while (load(&self->c.words[OUT_CONS]) != 5)
		sleep_usec(1000);
	store(&self->c.words[OUT_PROD], 4);
	IS_RESET();
}

TEST_F(rings, in_cons_one_too_many)
{
	store(&self->c.words[IN_CONS], 1);
	IS_RESET();
}

TEST_F(rings, in_cons_far_ahead)
{
	store(&self->c.words[IN_CONS], 1U << 31);
	IS_RESET();
}

TEST_F(rings, in_cons_too_far_behind)
{
	store(&self->c.words[IN_CONS], -self->c.size - 1);
	IS_RESET();
}

/* The index claims room that does not exist: the backend would overwrite unread data. */
TEST_F(rings, in_cons_backwards)
{
	struct raw_conn *c = &self->c;
	char data[100];

	EXPECT_STREQ("ok 100", raw_peer_run(&self->link, &self->peer,
					    "send 100 1"));
	EXPECT_EQ(100, raw_recv(&self->link, c, data, 100));
	store(&c->words[IN_CONS], -c->size);
	IS_RESET();
}

/* Words and pages that the backend has already read, or never reads. */
TEST_F(rings, what_is_not_ours_to_write)
{
	struct link *l = &self->link;
	struct raw_conn *c = &self->c;
	char data[300];

	store(&c->words[RING_ORDER], 31);
	memset(&c->words[REF], 0xff, 64);
	store(&c->words[OUT_CONS], 77777);
	store(&c->words[IN_PROD], 99999);
	store(&c->words[IN_ERROR], -5);
	store(&c->words[OUT_ERROR], 5);
	store(&c->words[4], 0xdeadbeef);
	store(&c->words[19], 0xdeadbeef);
	memset(c->out, 'x', 300);
	store(&c->words[OUT_PROD], 300);
	raw_notify(l, c);
	while (load(&c->words[OUT_CONS]) != 300)
		sleep_usec(1000);
	EXPECT_STREQ("ok 300", raw_peer_run(l, &self->peer, "send 300 1"));
	store(&c->words[IN_ERROR], 0);
	while (load(&c->words[IN_PROD]) != 300)
		sleep_usec(1000);
	EXPECT_EQ(300, raw_recv(l, c, data, 300));
	EXPECT_TRUE(stream_check(1, 0, data, 300));
	c->out_prod = 300;
}

/*
 * Sends events, with a peer that sends data, until the backend gives the
 * connection up, which it does whenever it sees an impossible index.
 */
static void flood_events(struct link *l, struct raw_conn *c, unsigned int msec)
{
	__u64 deadline = now_msec() + msec;

	while (now_msec() < deadline) {
		raw_notify(l, c);
		evtchn_notify(l->evtchn, l->port);
	}
}

TEST_F(rings, scribbled_indexes_page)
{
	struct link *l = &self->link;
	struct overwriter s;
	struct raw_conn c;
	int i;

	for (i = 0; i < 20; i++) {
		ASSERT_TRUE(raw_open(l, &c, i % 4 + 1, opt.port + PEER_ECHO));
		overwriter_start(&s, c.words, i % 2 ? 24 : PAGE / 4);
		flood_events(l, &c, 50);
		overwriter_stop(&s);
		EXPECT_EQ(0, raw_close(l, &c, i % 3));
		EXPECT_TRUE(link_works(l));
	}
}

/* Only possible values, so that the connection survives: one byte at a time. */
TEST_F(rings, indexes_that_never_rest)
{
	struct link *l = &self->link;
	__u64 began = now_msec();
	struct raw_conn c;

	ASSERT_TRUE(raw_open(l, &c, 4, opt.port + PEER_ECHO));
	store(&c.words[OUT_PROD], ++c.out_prod);
	raw_notify(l, &c);
	/* At least until the backend has taken some meanwhile. */
	while (now_msec() < began + 1000 ||
	       (c.out_prod <= c.size && now_msec() < began + TIMEOUT_MSEC)) {
		if (c.out_prod - load(&c.words[OUT_CONS]) < c.size)
			store(&c.words[OUT_PROD], ++c.out_prod);
		store(&c.words[IN_CONS], load(&c.words[IN_PROD]));
	}
	EXPECT_LT(c.size, c.out_prod);
	EXPECT_EQ(0, raw_close(l, &c, true));
}

/* If 1 MiB changes on the way, the peer gets 1 MiB of other bytes. */
TEST_F(rings, scribbled_data)
{
	struct link *l = &self->link;
	struct raw_conn *c = &self->c;
	static char data[1 << 20];
	struct overwriter s;
	char line[64];

	overwriter_start(&s, c->out, c->size / 4);
	EXPECT_EQ(sizeof(data), raw_send(l, c, data, sizeof(data)));
	while (load(&c->words[OUT_CONS]) != c->out_prod)
		sleep_usec(1000);
	overwriter_stop(&s);
	overwriter_start(&s, c->in, c->size / 4);
	snprintf(line, sizeof(line), "send %zu 1", sizeof(data));
	raw_send(l, &self->peer.control, line, strlen(line));
	raw_send(l, &self->peer.control, "\n", 1);
	EXPECT_EQ(sizeof(data), raw_recv(l, c, data, sizeof(data)));
	overwriter_stop(&s);
	EXPECT_EQ(8, raw_recv(l, &self->peer.control, data, 8));
	EXPECT_EQ(0, memcmp(data, "ok 10485", 8));
	EXPECT_EQ(3, raw_recv(l, &self->peer.control, data, 3));
}

/* The slots and the event words change while they are read. */
TEST_F(rings, scribbled_commands_ring)
{
	struct link *l = &self->link;
	struct response response;
	struct overwriter s;
	int i;

	overwriter_start(&s, &l->words[RSP_EVENT], PAGE / 4 - RSP_EVENT);
	for (i = 0; i < 300; i++) {
		put_slot(l, &(struct request){ .cmd = SOCKET, .id = 1 });
		if (!wait_response(l, &response, TIMEOUT_MSEC))
			break;
	}
	overwriter_stop(&s);
	EXPECT_EQ(300, i);
	req_release(l, 1, false);
}

/* The backend ends the link and says so. The next link works. */
FIXTURE(commands) {
	struct link link;
	struct raw_conn c;
};

FIXTURE_SETUP(commands)
{
	ASSERT_TRUE(link_up(&self->link));
	ASSERT_TRUE(link_works(&self->link));
	ASSERT_TRUE(raw_open(&self->link, &self->c, 2, opt.port + PEER_ECHO));
}

FIXTURE_TEARDOWN(commands)
{
	EXPECT_TRUE(xs_wait_state(self->link.backend, CLOSING));
	/* The backend listens to nothing any more. */
	flood_events(&self->link, &self->c, 50);
	raw_free(&self->link, &self->c);
	link_down(&self->link);
	EXPECT_TRUE(new_link_works());
}

static void publish(struct link *l, __u32 req_prod)
{
	store(&l->words[REQ_PROD], req_prod);
	evtchn_notify(l->evtchn, l->port);
}

TEST_F(commands, one_too_many)
{
	publish(&self->link, self->link.req_prod + SLOTS + 1);
}

TEST_F(commands, far_ahead)
{
	publish(&self->link, self->link.req_prod + (1U << 31));
}

TEST_F(commands, backwards)
{
	publish(&self->link, self->link.req_prod - 1);
}

/* Publishing 32 slots is allowed only if no request is unanswered. */
TEST_F(commands, more_than_there_is_room)
{
	struct request r = raw_request(&self->c, opt.blackhole, 80);
	struct link *l = &self->link;

	r.id = 77;
	r.connect.evtchn = evtchn_alloc(l->evtchn, l->backend_id);
	EXPECT_EQ(0, req_socket(l, 77));
	send_request(l, &r);
	sleep_usec(100000);
	publish(l, l->req_prod + SLOTS);
}

/* The scenario measures the effect on another guest's connections. */
FIXTURE(storm) {
	struct link link;
};

FIXTURE_SETUP(storm)
{
	ASSERT_TRUE(link_up(&self->link));
}

FIXTURE_TEARDOWN(storm)
{
	EXPECT_TRUE(link_works(&self->link));
	link_down(&self->link);
}

TEST_F_TIMEOUT(storm, on_both_channels, 300)
{
	struct raw_conn c;

	ASSERT_TRUE(raw_open(&self->link, &c, 4, opt.port + PEER_ECHO));
	ksft_print_msg("ready\n");
	flood_events(&self->link, &c, opt.cycles);
	EXPECT_EQ(0, raw_close(&self->link, &c, false));
}

XENSOCK_TEST_MAIN
