// SPDX-License-Identifier: GPL-2.0
/*
 * A frontend that sends and receives urgent bytes. Nonsense in the urgent words loses nothing of
 * the stream. Needs a guest without the xensock module.
 */
#include <errno.h>
#include <string.h>

#include "kselftest_harness.h"
#include "raw.h"
#include "util.h"

/* Words of the indexes page. */
enum { IN_URGENT_INDEX = 15, OUT_URGENT_END = 22, IN_URGENT };

#define ANNOUNCED (1U << 8)
#define ARRIVED (1U << 9)

FIXTURE(urgent) {
	struct link link;
	struct raw_peer peer;
	struct raw_conn c;
};

FIXTURE_SETUP(urgent)
{
	struct link *l = &self->link;

	raw_mode = URGENT;
	ASSERT_TRUE(link_up(l));
	ASSERT_TRUE(raw_peer_open(l, &self->peer));
	ASSERT_TRUE(raw_open(l, &self->c, 1, self->peer.port));
	ASSERT_STREQ("ok", raw_peer_run(l, &self->peer, "accept"));
}

FIXTURE_TEARDOWN(urgent)
{
	struct link *l = &self->link;

	EXPECT_EQ(0, raw_close(l, &self->c, false));
	EXPECT_EQ(0, raw_close(l, &self->peer.control, false));
	EXPECT_TRUE(link_works(l));
	link_down(l);
}

/* Returns true once the backend reports this urgent byte at this index. */
static bool wait_urgent_index(struct raw_conn *c, __u32 index, char byte)
{
	__u64 deadline = now_msec() + WAIT_LIMIT_MSEC;

	while (load(&c->words[IN_URGENT]) != (ANNOUNCED | ARRIVED | byte) ||
	       load(&c->words[IN_URGENT_INDEX]) != index) {
		if (now_msec() > deadline)
			return false;
		sleep_usec(100);
	}
	return true;
}

TEST_F(urgent, received)
{
	struct link *l = &self->link;
	struct raw_conn *c = &self->c;
	char data[8] = { 0 };

	EXPECT_EQ(0, load(&c->words[IN_URGENT]));
	EXPECT_STREQ("ok 3", raw_peer_run(l, &self->peer, "write abc"));
	EXPECT_STREQ("ok 1", raw_peer_run(l, &self->peer, "writeoob D"));
	EXPECT_STREQ("ok 3", raw_peer_run(l, &self->peer, "write efg"));
	EXPECT_TRUE(wait_urgent_index(c, 3, 'D'));
	EXPECT_EQ(7, raw_recv(l, c, data, 7));
	EXPECT_STREQ("abcDefg", data);
	/* The report stays until the next urgent byte. */
	EXPECT_TRUE(wait_urgent_index(c, 3, 'D'));
	EXPECT_STREQ("ok 2", raw_peer_run(l, &self->peer, "writeoob hI"));
	EXPECT_TRUE(wait_urgent_index(c, 8, 'I'));
	EXPECT_EQ(2, raw_recv(l, c, data, 2));
}

/* The ring is full: the index is ahead of what was produced. */
TEST_F(urgent, received_ahead)
{
	struct link *l = &self->link;
	struct raw_conn *c = &self->c;
	__u64 deadline = now_msec() + WAIT_LIMIT_MSEC;
	char data[6000];

	EXPECT_STREQ("ok 6000", raw_peer_run(l, &self->peer, "send 6000 1"));
	EXPECT_STREQ("ok 1", raw_peer_run(l, &self->peer, "writeoob D"));
	EXPECT_TRUE(wait_urgent_index(c, 6000, 'D'));
	/* The report may come before the bytes. */
	while (load(&c->words[IN_PROD]) != c->size && now_msec() < deadline)
		sleep_usec(100);
	EXPECT_EQ(c->size, load(&c->words[IN_PROD]));
	EXPECT_EQ(6000, raw_recv(l, c, data, 6000));
	EXPECT_TRUE(stream_check(1, 0, data, 6000));
	EXPECT_EQ(1, raw_recv(l, c, data, 1));
	EXPECT_EQ('D', data[0]);
}

TEST_F(urgent, sent)
{
	struct link *l = &self->link;
	struct raw_conn *c = &self->c;
	int i;

	for (i = 0; i < 3; i++) {
		store(&c->words[OUT_URGENT_END], c->out_prod + 4);
		EXPECT_EQ(7, raw_send(l, c, "abcDefg", 7));
		EXPECT_STREQ("ok D", raw_peer_run(l, &self->peer, "readoob"));
		EXPECT_STREQ("ok abc", raw_peer_run(l, &self->peer, "read"));
		while (load(&c->words[OUT_CONS]) != c->out_prod)
			sleep_usec(100);
		EXPECT_STREQ("ok efg", raw_peer_run(l, &self->peer, "read"));
	}
}

/* Marks behind the data, far ahead, and changing continuously: every byte arrives. */
TEST_F(urgent, sent_with_nonsense)
{
	static const __u32 ends[] = { 0, 1, -1, 1U << 31, 0x7fffffff, 5000, 3 };
	struct link *l = &self->link;
	struct raw_conn *c = &self->c;
	char data[1000];
	int i, sent = 0;

	EXPECT_STREQ("ok", raw_peer_run(l, &self->peer, "oobinline"));
	raw_peer_send(l, &self->peer, "recv 50000 1");
	for (i = 0; i < 50; i++) {
		stream_fill(1, sent, data, sizeof(data));
		store(&c->words[OUT_URGENT_END], ends[i % ARRAY_LEN(ends)] +
		      (i % 2 ? c->out_prod : 0));
		ASSERT_EQ(1000, raw_send(l, c, data, 1000));
		sent += 1000;
	}
	EXPECT_STREQ("ok 50000", raw_peer_answer(l, &self->peer));
	/* Overwriting the backend's words makes no difference. */
	store(&c->words[IN_URGENT], -1);
	store(&c->words[IN_URGENT_INDEX], 1U << 31);
	EXPECT_STREQ("ok 1", raw_peer_run(l, &self->peer, "writeoob D"));
	EXPECT_TRUE(wait_urgent_index(c, 0, 'D'));
	EXPECT_EQ(1, raw_recv(l, c, data, 1));
}

XENSOCK_TEST_MAIN
