// SPDX-License-Identifier: GPL-2.0
/*
 * A frontend that uses data rings again. The backend does not read the
 * description of a mapped ring again: the tests spoil these words of the
 * indexes page to see if it does. Needs a guest without the xensock module.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "kselftest_harness.h"
#include "raw.h"
#include "util.h"

/* An invalid order. */
#define BAD_ORDER 77

FIXTURE(reuse) {
	struct link link;
	struct raw_listener listener;
	struct raw_conn server;
	struct raw_conn client;
};

FIXTURE_SETUP(reuse)
{
	struct link *l = &self->link;

	raw_mode = REUSE;
	ASSERT_TRUE(link_up(l));
	ASSERT_TRUE(raw_listen(l, &self->listener, 10));
	ASSERT_TRUE(raw_pair(l, &self->listener, &self->server, &self->client));
}

FIXTURE_TEARDOWN(reuse)
{
	struct link *l = &self->link;

	EXPECT_EQ(0, req_release(l, self->listener.id, false));
	EXPECT_TRUE(link_works(l));
	link_down(l);
	raw_free(l, &self->server);
	raw_free(l, &self->client);
}

/* Makes a connection over rings that were used before. */
static bool reconnect_pair(struct link *l, struct raw_listener *s,
			   struct raw_conn *server, struct raw_conn *client)
{
	raw_renew(l, server);
	raw_renew(l, client);
	return !raw_post(l, s, server) &&
	       !raw_connect(l, client, opt.host, s->port) &&
	       !raw_outcome(l, server, NULL);
}

static bool transfer_both_ways(struct link *l, struct raw_conn *server, struct raw_conn *client)
{
	return raw_transfer(l, client, server, 3001) &&
	       raw_transfer(l, server, client, 4001) &&
	       raw_transfer(l, client, server, 4096);
}

/* Rings of CONNECT and of ACCEPT, one connection after another. */
TEST_F(reuse, rings_stay_mapped)
{
	struct raw_conn *c = &self->client, *s = &self->server;
	struct link *l = &self->link;
	int i;

	for (i = 0; i < 20; i++) {
		ASSERT_TRUE(transfer_both_ways(l, s, c));
		/* Also with a reset, and with unread bytes. */
		if (i % 3 == 1)
			ASSERT_EQ(1, raw_send(l, c, "", 1));
		ASSERT_EQ(0, req_keep(l, c, i % 3 == 2));
		ASSERT_EQ(0, req_keep(l, s, false));
		c->words[RING_ORDER] = BAD_ORDER;
		s->words[RING_ORDER] = BAD_ORDER;
		memset(&c->words[REF], 0xff, 8);
		ASSERT_TRUE(reconnect_pair(l, &self->listener, s, c));
	}
	ASSERT_TRUE(transfer_both_ways(l, s, c));
}

/* After UNMAP the backend reads the page as a new one. */
TEST_F(reuse, unmapped)
{
	struct raw_conn *c = &self->client;
	struct link *l = &self->link;

	ASSERT_EQ(0, req_keep(l, c, false));
	EXPECT_EQ(0, req_unmap(l, c));
	EXPECT_EQ(0, req_unmap(l, c));
	raw_renew(l, c);
	c->words[RING_ORDER] = BAD_ORDER;
	EXPECT_EQ(-EINVAL, raw_connect(l, c, opt.host, self->listener.port));
	EXPECT_EQ(0, req_release(l, c->id, false));
	raw_renew(l, c);
	c->words[RING_ORDER] = 1;
	EXPECT_EQ(0, raw_connect(l, c, opt.host, self->listener.port));
}

/* A request that fails before the ring is used changes nothing. */
TEST_F(reuse, refused)
{
	struct raw_conn *c = &self->client;
	struct link *l = &self->link;
	struct request r;

	ASSERT_EQ(0, req_keep(l, c, false));
	raw_renew(l, c);
	c->words[RING_ORDER] = BAD_ORDER;
	r = raw_request(c, opt.host, self->listener.port);
	EXPECT_EQ(-EBADF, do_request(l, &r));
	EXPECT_EQ(0, req_keep(l, c, false));
	EXPECT_EQ(0, raw_connect(l, c, opt.host, self->listener.port));
}

/* A ring is kept only on request. */
TEST_F(reuse, not_asked_for)
{
	struct raw_conn *c = &self->client;
	struct link *l = &self->link;

	ASSERT_EQ(0, req_release(l, c->id, false));
	raw_renew(l, c);
	c->words[RING_ORDER] = BAD_ORDER;
	EXPECT_EQ(-EINVAL, raw_connect(l, c, opt.host, self->listener.port));
}

/* A kept ring is identified by its page and its channel together. */
TEST_F(reuse, another_channel)
{
	struct raw_conn *c = &self->client;
	struct link *l = &self->link;
	__u32 port = c->port;

	ASSERT_EQ(0, req_keep(l, c, false));
	raw_renew(l, c);
	c->port = evtchn_alloc(l->evtchn, l->backend_id);
	ASSERT_NE(0, c->port);
	c->words[RING_ORDER] = BAD_ORDER;
	EXPECT_EQ(-EINVAL, raw_connect(l, c, opt.host, self->listener.port));
	raw_renew(l, c);
	c->words[RING_ORDER] = 1;
	ASSERT_EQ(0, raw_connect(l, c, opt.host, self->listener.port));
	EXPECT_EQ(0, req_keep(l, c, true));
	EXPECT_EQ(0, req_unmap(l, c));
	evtchn_close(l->evtchn, c->port);
	c->port = port;
	EXPECT_EQ(0, req_unmap(l, c));
}

/* Two connections cannot have the same ring, kept or not. */
TEST_F(reuse, one_at_a_time)
{
	struct raw_conn *c = &self->client, *s = &self->server, duplicate;
	struct link *l = &self->link;

	ASSERT_EQ(0, req_keep(l, c, false));
	ASSERT_EQ(0, req_keep(l, s, false));
	ASSERT_TRUE(reconnect_pair(l, &self->listener, s, c));
	duplicate = *c;
	duplicate.id = l->next_id++;
	EXPECT_EQ(-EINVAL, raw_connect(l, &duplicate, opt.host, self->listener.port));
	EXPECT_EQ(0, req_release(l, duplicate.id, false));
	EXPECT_EQ(0, req_unmap(l, c));
	EXPECT_TRUE(transfer_both_ways(l, s, c));
}

/* Changes to a ring that nobody has do not matter. */
TEST_F(reuse, spoiled_while_it_is_kept)
{
	struct raw_conn *c = &self->client, *s = &self->server;
	struct link *l = &self->link;
	int i;

	ASSERT_EQ(0, req_keep(l, c, false));
	ASSERT_EQ(0, req_keep(l, s, false));
	for (i = 0; i < 50; i++) {
		memset(c->pages.mem, i, RING_ORDER * sizeof(*c->words));
		raw_notify(l, c);
	}
	EXPECT_TRUE(link_works(l));
	ASSERT_TRUE(reconnect_pair(l, &self->listener, s, c));
	EXPECT_TRUE(transfer_both_ways(l, s, c));
	/* A ring whose connection broke the rules is not kept. */
	store(&c->words[OUT_PROD], 0x7fffffff);
	raw_notify(l, c);
	EXPECT_TRUE(raw_wait_error(s, IN_ERROR));
	ASSERT_EQ(0, req_keep(l, c, false));
	raw_renew(l, c);
	c->words[RING_ORDER] = BAD_ORDER;
	EXPECT_EQ(-EINVAL, raw_connect(l, c, opt.host, self->listener.port));
}

/* More rings than the backend keeps: the rest is mapped again. */
TEST_F(reuse, too_many)
{
	static struct raw_conn many[40];
	struct link *l = &self->link;
	int i, kept = 0;

	for (i = 0; i < 40; i++)
		ASSERT_TRUE(raw_open(l, &many[i], 1, opt.port + PEER_ECHO));
	for (i = 0; i < 40; i++) {
		ASSERT_EQ(0, req_keep(l, &many[i], false));
		raw_renew(l, &many[i]);
		many[i].words[RING_ORDER] = BAD_ORDER;
	}
	for (i = 0; i < 40; i++) {
		if (!raw_connect(l, &many[i], opt.host, opt.port + PEER_ECHO))
			kept++;
		EXPECT_EQ(0, raw_close(l, &many[i], false));
	}
	EXPECT_EQ(32, kept);
}

/* Without the feature, rings are not kept. */
TEST(no_feature)
{
	struct link l;
	struct raw_conn c;

	raw_mode = PLAIN;
	ASSERT_TRUE(link_up(&l));
	ASSERT_TRUE(raw_open(&l, &c, 1, opt.port + PEER_ECHO));
	EXPECT_EQ(-EOPNOTSUPP, req_unmap(&l, &c));
	EXPECT_EQ(0, req_keep(&l, &c, false));
	raw_renew(&l, &c);
	c.words[RING_ORDER] = BAD_ORDER;
	EXPECT_EQ(-EINVAL, raw_connect(&l, &c, opt.host, opt.port + PEER_ECHO));
	EXPECT_EQ(0, raw_close(&l, &c, false));
	link_down(&l);
}

FIXTURE(quota) {
	struct link link;
};

FIXTURE_SETUP(quota)
{
	raw_mode = REUSE;
	ASSERT_TRUE(link_up(&self->link));
}

FIXTURE_TEARDOWN(quota)
{
	link_down(&self->link);
}

/* The quota is 100 pages. Kept rings count, and are unmapped if others need the pages. */
TEST_F(quota, kept_rings_make_room)
{
	struct link *l = &self->link;
	struct raw_conn small[3], large;
	int i;

	for (i = 0; i < 3; i++)
		ASSERT_TRUE(raw_open(l, &small[i], 4, opt.port + PEER_ECHO));
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, req_keep(l, &small[i], false));
		raw_renew(l, &small[i]);
		small[i].words[RING_ORDER] = BAD_ORDER;
	}
	ASSERT_TRUE(raw_open(l, &large, 6, opt.port + PEER_ECHO));
	for (i = 0; i < 3; i++) {
		EXPECT_EQ(-EINVAL, raw_connect(l, &small[i], opt.host,
					       opt.port + PEER_ECHO));
		EXPECT_EQ(0, raw_close(l, &small[i], false));
	}
	EXPECT_EQ(0, raw_close(l, &large, false));
}

XENSOCK_TEST_MAIN
