// SPDX-License-Identifier: GPL-2.0
/*
 * A guest that shares invalid grants and event channels: unused ones, those of
 * others, or too many. CONNECT fails, and nothing stays mapped.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kselftest_harness.h"
#include "raw.h"
#include "util.h"

#define QUOTA_PAGES 20480

FIXTURE(grants) {
	struct link link;
	struct raw_conn c;
};

FIXTURE_SETUP(grants)
{
	ASSERT_TRUE(link_up(&self->link));
	ASSERT_TRUE(link_works(&self->link));
	ASSERT_TRUE(raw_ring(&self->link, &self->c, 4));
}

FIXTURE_TEARDOWN(grants)
{
	raw_free(&self->link, &self->c);
	EXPECT_TRUE(link_works(&self->link));
	link_down(&self->link);
}

static int try_connect(struct link *l, struct raw_conn *c)
{
	struct request r = raw_request(c, opt.host, opt.port + PEER_ECHO);

	return req_with_socket(l, &r);
}

TEST_F(grants, bad_indexes_page)
{
	struct request r = raw_request(&self->c, opt.host,
				       opt.port + PEER_ECHO);
	/* 0 and 1 are the console and xenstore, whose contents are meaningless here. */
	static const __u32 grants[] = {
		0, 1, 2, 0x7fffffff, 0x80000000, 0xffffffff,
	};
	struct pages pages;
	int i;

	for (i = 0; i < ARRAY_LEN(grants); i++) {
		r.connect.ref = grants[i];
		EXPECT_EQ(-EINVAL, req_with_socket(&self->link, &r));
	}
	/* Read-only, for another domain, no longer granted. */
	ASSERT_TRUE(pages_grant(&pages, self->link.backend_id, 1, false));
	memcpy(pages.mem, self->c.words, PAGE);
	r.connect.ref = pages.refs[0];
	EXPECT_EQ(-EINVAL, req_with_socket(&self->link, &r));
	pages_free(&pages);
	ASSERT_TRUE(pages_grant(&pages, 31000, 1, true));
	memcpy(pages.mem, self->c.words, PAGE);
	r.connect.ref = pages.refs[0];
	EXPECT_EQ(-EINVAL, req_with_socket(&self->link, &r));
	pages_free(&pages);
	EXPECT_EQ(-EINVAL, req_with_socket(&self->link, &r));
}

TEST_F(grants, bad_orders)
{
	static const __u32 orders[] = { 0, 10, 31, 32, 64, 0xffffffff };
	int i;

	for (i = 0; i < ARRAY_LEN(orders); i++) {
		self->c.words[RING_ORDER] = orders[i];
		EXPECT_EQ(-EINVAL, try_connect(&self->link, &self->c));
	}
	/* A larger order than was granted: the rest of the page holds no grants. */
	self->c.words[RING_ORDER] = 9;
	EXPECT_EQ(-EINVAL, try_connect(&self->link, &self->c));
	self->c.words[RING_ORDER] = 4;
	EXPECT_EQ(0, try_connect(&self->link, &self->c));
}

TEST_F(grants, bad_data_grants)
{
	static const __u32 bad[] = { 0x7fffffff, 0xffffffff, 2 };
	static const int at[] = { 0, 7, 15 };
	__u32 good, *ref;
	int i, j;

	for (i = 0; i < ARRAY_LEN(at); i++) {
		ref = &self->c.words[REF + at[i]];
		good = *ref;
		for (j = 0; j < ARRAY_LEN(bad); j++) {
			*ref = bad[j];
			EXPECT_EQ(-EINVAL, try_connect(&self->link, &self->c));
		}
		/* A grant that is used twice. */
		*ref = self->c.words[REF + 3];
		EXPECT_EQ(-EINVAL, try_connect(&self->link, &self->c));
		*ref = good;
	}
	memset(&self->c.words[REF], 0xff, 64);
	EXPECT_EQ(-EINVAL, try_connect(&self->link, &self->c));
}

/* The indexes page among the data pages, and one ring for two sockets. */
TEST_F(grants, rings_that_overlap)
{
	struct raw_conn other = self->c, *c = &self->c;
	struct link *l = &self->link;
	char data[4096];

	memset(data, 0x55, sizeof(data));
	c->words[REF + 8] = c->pages.refs[0];
	ASSERT_EQ(0, raw_connect(l, c, opt.host, opt.port + PEER_ECHO));
	other.id = l->next_id++;
	other.port = evtchn_alloc(l->evtchn, l->backend_id);
	EXPECT_EQ(0, raw_connect(l, &other, opt.host, opt.port + PEER_ECHO));
	store(&c->words[OUT_PROD], 8000);
	raw_notify(l, c);
	raw_notify(l, &other);
	sleep_usec(200000);
	memcpy(c->words, data, 96);
	raw_notify(l, c);
	raw_notify(l, &other);
	sleep_usec(200000);
	EXPECT_EQ(0, req_release(l, c->id, false));
	EXPECT_EQ(0, req_release(l, other.id, true));
	evtchn_close(l->evtchn, other.port);
}

TEST_F(grants, bad_event_channels)
{
	struct link *l = &self->link;
	__u32 ports[] = {
		0, 0xffffffff, 0x7fffffff, 4095, 100000, l->port,
		evtchn_alloc(l->evtchn, 31000),
	};
	struct raw_conn *c = &self->c, other;
	__u32 port = c->port;
	int i;

	for (i = 0; i < ARRAY_LEN(ports); i++) {
		c->port = ports[i];
		EXPECT_EQ(-EINVAL, try_connect(l, c));
	}
	ASSERT_TRUE(raw_open(l, &other, 1, opt.port + PEER_ECHO));
	c->port = other.port;
	EXPECT_EQ(-EINVAL, try_connect(l, c));
	EXPECT_EQ(0, raw_close(l, &other, false));
	c->port = port;
	EXPECT_EQ(0, try_connect(l, c));
}

/* 64 of the largest rings share their pages, which count each time. */
TEST_F(grants, too_many_pages)
{
	int i, limit = QUOTA_PAGES / 513;
	struct link *l = &self->link;
	struct raw_conn c;

	ASSERT_TRUE(raw_ring(l, &c, 9));
	for (i = 0; i <= limit; i++) {
		c.id = 5000 + i;
		if (i)
			c.port = evtchn_alloc(l->evtchn, l->backend_id);
		ASSERT_EQ(i < limit ? 0 : -ENOBUFS,
			  raw_connect(l, &c, opt.host, opt.port + PEER_ECHO));
	}
	/* Releasing one makes room for one. */
	EXPECT_EQ(0, req_release(l, 5000, true));
	EXPECT_EQ(0, req_release(l, c.id, true));
	EXPECT_EQ(0, raw_connect(l, &c, opt.host, opt.port + PEER_ECHO));
	for (i = 0; i <= limit; i++)
		EXPECT_EQ(0, req_release(l, 5000 + i, true));
	raw_free(l, &c);
}

XENSOCK_TEST_MAIN
