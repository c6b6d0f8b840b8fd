// SPDX-License-Identifier: GPL-2.0
/*
 * A frontend whose rings share one event channel, and violations concerning the
 * news page. Needs a guest without the xensock module.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include "kselftest_harness.h"
#include "raw.h"
#include "util.h"

FIXTURE(news) {
	struct link link;
	struct raw_listener listener;
	struct raw_conn server;
	struct raw_conn client;
};

FIXTURE_SETUP(news)
{
	struct link *l = &self->link;

	raw_mode = SHARED_CHANNEL;
	ASSERT_TRUE(link_up(l));
	ASSERT_TRUE(raw_listen(l, &self->listener, 10));
	ASSERT_TRUE(raw_pair(l, &self->listener, &self->server, &self->client));
}

FIXTURE_TEARDOWN(news)
{
	struct link *l = &self->link;

	EXPECT_TRUE(link_works(l));
	EXPECT_EQ(0, raw_close(l, &self->server, false));
	EXPECT_EQ(0, raw_close(l, &self->client, false));
	EXPECT_EQ(0, req_release(l, self->listener.id, false));
	EXPECT_TRUE(link_works(l));
	link_down(l);
}

static bool transfer_both_ways(struct link *l, struct raw_conn *server, struct raw_conn *client)
{
	return raw_transfer(l, client, server, 3001) &&
	       raw_transfer(l, server, client, 4001) &&
	       raw_transfer(l, client, server, 4096);
}

static bool echo_works(struct link *l, struct raw_conn *c)
{
	char data[3] = { 0 };

	return raw_send(l, c, "abc", 3) == 3 && raw_recv(l, c, data, 3) == 3 &&
	       !memcmp(data, "abc", 3);
}

/* Makes a connection in this slot. Returns the result of CONNECT. */
static int connect_in_slot(struct link *l, struct raw_conn *c, __u32 slot)
{
	if (!raw_ring(l, c, 1))
		return NO_RESPONSE;
	c->port = slot;
	return raw_connect(l, c, opt.host, opt.port + PEER_ECHO);
}

TEST_F(news, streams_of_both_kinds)
{
	EXPECT_TRUE(transfer_both_ways(&self->link, &self->server, &self->client));
}

/* Each end marks the slot concerned and no other. */
TEST_F(news, the_backend_says_which)
{
	struct link *l = &self->link;
	struct raw_conn *c = &self->client;
	char *page = l->news.mem;
	struct raw_conn other;
	__u32 slot;

	ASSERT_EQ(0, connect_in_slot(l, &other, 4242));
	for (slot = 0; slot < NEWS_SLOTS; slot++)
		news_take(page, &news_in, slot);
	ASSERT_EQ(3, raw_send(l, &self->server, "abc", 3));
	EXPECT_TRUE(news_wait(page, &news_in, c->port));
	/* The backend clears our mark. */
	while (load(&self->server.words[OUT_CONS]) != 3)
		sleep_usec(1000);
	EXPECT_FALSE(news_take(page, &news_out, self->server.port));
	ASSERT_EQ(3, raw_send(l, &other, "abc", 3));
	EXPECT_TRUE(news_wait(page, &news_in, 4242));
	EXPECT_FALSE(news_take(page, &news_in, c->port));
	/* The mark was cleared, so it is set again. */
	ASSERT_EQ(3, raw_send(l, &self->server, "abc", 3));
	EXPECT_TRUE(news_wait(page, &news_in, c->port));
	EXPECT_EQ(0, raw_close(l, &other, false));
}

TEST_F(news, the_first_slot_and_the_last)
{
	struct link *l = &self->link;
	static const __u32 slots[] = { 31, 32, 8160, NEWS_SLOTS - 1 };
	struct raw_conn c[ARRAY_LEN(slots)];
	int i;

	for (i = 0; i < ARRAY_LEN(slots); i++)
		ASSERT_EQ(0, connect_in_slot(l, &c[i], slots[i]));
	for (i = ARRAY_LEN(slots); i-- > 0;) {
		EXPECT_TRUE(echo_works(l, &c[i]));
		EXPECT_EQ(0, raw_close(l, &c[i], false));
	}
}

/* More connections have news than soft interrupts handle at a time: each is served. */
TEST_F(news, of_many_at_once)
{
	struct link *l = &self->link;
	struct raw_conn c[100];
	int i, round;

	for (i = 0; i < ARRAY_LEN(c); i++)
		ASSERT_EQ(0, connect_in_slot(l, &c[i], 500 + 60 * i));
	for (round = 0; round < rounds(20); round++) {
		for (i = 0; i < ARRAY_LEN(c); i++)
			EXPECT_EQ(3, raw_send(l, &c[i], "abc", 3));
		for (i = 0; i < ARRAY_LEN(c); i++) {
			char data[3] = { 0 };

			EXPECT_EQ(3, raw_recv(l, &c[i], data, 3));
			EXPECT_EQ(0, memcmp(data, "abc", 3));
		}
	}
	for (i = 0; i < ARRAY_LEN(c); i++)
		EXPECT_EQ(0, raw_close(l, &c[i], false));
}

/* Slots that do not exist, and slots in use. */
TEST_F(news, bad_slots)
{
	struct link *l = &self->link;
	__u32 slots[] = { NEWS_SLOTS, 1U << 31, ~0U, self->client.port,
			  self->server.port, l->news_port + NEWS_SLOTS };
	struct raw_conn c;
	int i;

	for (i = 0; i < ARRAY_LEN(slots); i++) {
		EXPECT_EQ(-EINVAL, connect_in_slot(l, &c, slots[i]));
		EXPECT_EQ(0, raw_close(l, &c, false));
	}
	EXPECT_TRUE(transfer_both_ways(l, &self->server, &self->client));
}

TEST_F(news, a_slot_is_free_after_release)
{
	struct link *l = &self->link;
	struct raw_conn c;
	int i;

	for (i = 0; i < 40; i++) {
		ASSERT_EQ(0, connect_in_slot(l, &c, 77));
		EXPECT_TRUE(echo_works(l, &c));
		EXPECT_EQ(0, raw_close(l, &c, i % 2));
	}
	/* A failed attempt frees its slot too. */
	ASSERT_TRUE(raw_ring(l, &c, 1));
	c.port = 77;
	EXPECT_EQ(-ECONNREFUSED, raw_connect(l, &c, opt.host, 1));
	EXPECT_EQ(0, raw_close(l, &c, false));
	ASSERT_EQ(0, connect_in_slot(l, &c, 77));
	EXPECT_EQ(0, raw_close(l, &c, false));
}

/* A ring that is kept keeps its slot until UNMAP. */
TEST_F(news, kept_rings)
{
	struct link *l = &self->link;
	struct raw_conn *c = &self->client, other;
	__u32 slot = c->port;

	ASSERT_EQ(0, req_keep(l, c, false));
	raw_notify(l, c);
	EXPECT_EQ(-EINVAL, connect_in_slot(l, &other, slot));
	EXPECT_EQ(0, raw_close(l, &other, false));
	raw_renew(l, c);
	ASSERT_EQ(0, raw_connect(l, c, opt.host, opt.port + PEER_ECHO));
	EXPECT_TRUE(echo_works(l, c));
	ASSERT_EQ(0, req_keep(l, c, false));
	EXPECT_EQ(0, req_unmap(l, c));
	ASSERT_EQ(0, connect_in_slot(l, &other, slot));
	EXPECT_EQ(0, raw_close(l, &other, false));
}

TEST_F(news, datagrams)
{
	struct link *l = &self->link;
	struct sockaddr_in name;
	struct raw_conn a, b;
	struct frame f;

	ASSERT_TRUE(dgram_open(l, &a, 4));
	ASSERT_TRUE(dgram_open(l, &b, 4));
	ASSERT_EQ(0, req_bind(l, a.id, opt.host, 0, &name));
	ASSERT_TRUE(dgram_send(l, &b, opt.host, ntohs(name.sin_port), 900, 5));
	EXPECT_TRUE(news_wait(l->news.mem, &news_in, a.port));
	EXPECT_TRUE(dgram_recv(l, &a, &f, 5));
	EXPECT_EQ(900, f.len);
	EXPECT_EQ(0, raw_close(l, &a, false));
	EXPECT_EQ(0, raw_close(l, &b, false));
}

/* News for slots that nobody has, and no news for slots in use. */
TEST_F(news, any_contents)
{
	struct link *l = &self->link;
	int i;

	for (i = 0; i < rounds(200); i++) {
		memset(l->news.mem, i % 3 ? 0xff : 0x55, PAGE);
		evtchn_notify(l->evtchn, l->news_port);
		evtchn_notify(l->evtchn, l->port);
		sleep_usec(1000);
	}
	memset(l->news.mem, 0, PAGE);
	EXPECT_TRUE(transfer_both_ways(l, &self->server, &self->client));
}

/* News while the connection ends, and for the next connection in the slot. */
TEST_F(news, closed_while_there_are_news)
{
	struct link *l = &self->link;
	char *page = l->news.mem;
	struct raw_conn c;
	int i;

	for (i = 0; i < 60; i++) {
		ASSERT_EQ(0, connect_in_slot(l, &c, 99));
		news_set(page, &news_out, 99);
		if (i % 3)
			news_summarize(page, &news_out, 99);
		if (i % 3 == 2)
			evtchn_notify(l->evtchn, l->news_port);
		EXPECT_EQ(0, raw_close(l, &c, i % 2));
		if (i % 3 == 1)
			evtchn_notify(l->evtchn, l->news_port);
	}
	/* Old news does not disturb the next connection. */
	ASSERT_EQ(0, connect_in_slot(l, &c, 99));
	EXPECT_TRUE(echo_works(l, &c));
	EXPECT_EQ(0, raw_close(l, &c, false));
}

/* A thread that marks these slots continuously. */
struct flooder {
	pthread_t thread;
	struct link *link;
	__u32 first, last;
	atomic_bool stop;
};

static void *flood_thread(void *arg)
{
	struct flooder *flooder = arg;
	struct link *l = flooder->link;
	__u32 slot;

	while (!flooder->stop) {
		for (slot = flooder->first; slot <= flooder->last; slot++) {
			news_set(l->news.mem, &news_out, slot);
			news_summarize(l->news.mem, &news_out, slot);
		}
		evtchn_notify(l->evtchn, l->news_port);
	}
	return NULL;
}

static void flooder_start(struct flooder *flooder, struct link *l, __u32 first,
			  __u32 last)
{
	memset(flooder, 0, sizeof(*flooder));
	flooder->link = l;
	flooder->first = first;
	flooder->last = last;
	pthread_create(&flooder->thread, NULL, flood_thread, flooder);
}

static void flooder_stop(struct flooder *flooder)
{
	flooder->stop = true;
	pthread_join(flooder->thread, NULL);
}

/*
 * One slot is marked continuously, then all slots: other connections of the
 * link go on. In the second round their news is among marks without any news.
 */
TEST_F_TIMEOUT(news, others_have_their_turn, 240)
{
	struct link *l = &self->link;
	__u32 ends[] = { 99, NEWS_SLOTS - 1 };
	struct flooder flooder;
	struct raw_conn c;
	int i;

	ASSERT_EQ(0, connect_in_slot(l, &c, 99));
	for (i = 0; i < ARRAY_LEN(ends); i++) {
		flooder_start(&flooder, l, i ? 0 : 99, ends[i]);
		EXPECT_TRUE(raw_transfer(l, &self->client, &self->server, 3001));
		EXPECT_TRUE(raw_transfer(l, &self->server, &self->client, 3001));
		flooder_stop(&flooder);
	}
	EXPECT_EQ(0, raw_close(l, &c, false));
}

/* Slots change owners continuously while all of them are marked. */
TEST_F_TIMEOUT(news, slots_change_hands, 240)
{
	struct link *l = &self->link;
	struct flooder flooder;
	struct raw_conn c[4];
	int i, j;

	flooder_start(&flooder, l, 90, 140);
	for (i = 0; i < 25; i++) {
		for (j = 0; j < 4; j++)
			ASSERT_EQ(0, connect_in_slot(l, &c[j], 100 + 10 * j));
		for (j = 0; j < 4; j++)
			EXPECT_TRUE(echo_works(l, &c[(i + j) % 4]));
		for (j = 0; j < 4; j++)
			EXPECT_EQ(0, raw_close(l, &c[j], j % 2));
	}
	flooder_stop(&flooder);
}

/* The channel belongs to the link and goes with it, whatever is marked then. */
TEST_F(news, the_link_ends)
{
	struct link *l = &self->link, next;
	struct raw_conn c;

	ASSERT_EQ(0, connect_in_slot(l, &c, 99));
	memset(l->news.mem + news_out.summary, 0xff, 32);
	memset(l->news.mem + news_out.bits, 0xff, 1024);
	evtchn_notify(l->evtchn, l->news_port);
	link_down(l);
	raw_free(l, &c);
	raw_free(l, &self->server);
	raw_free(l, &self->client);
	raw_mode = SHARED_CHANNEL;
	ASSERT_TRUE(link_up(&next));
	EXPECT_TRUE(link_works(&next));
	ASSERT_TRUE(raw_listen(&next, &self->listener, 10));
	ASSERT_TRUE(raw_pair(&next, &self->listener, &self->server,
			     &self->client));
	self->link = next;
}

/* Nodes that do not name a page and a channel: no link comes up. */
FIXTURE(nodes) {
	struct link link;
};

FIXTURE_SETUP(nodes)
{
	raw_mode = SHARED_CHANNEL;
	ASSERT_TRUE(link_begin(&self->link));
}

FIXTURE_TEARDOWN(nodes)
{
	struct link *l = &self->link;

	EXPECT_TRUE(xs_write(DEVICE "/state", "%d", INITIALISED));
	/* The backend has tried, and its offer stands. */
	sleep_usec(100000);
	EXPECT_EQ(INIT_WAIT, xs_state(l->backend));
	EXPECT_TRUE(xs_write(DEVICE "/state", "%d", INITIALISING));
	link_drop(l);
	EXPECT_TRUE(new_link_works());
}

TEST_F(nodes, no_page)
{
	EXPECT_TRUE(xs_remove(DEVICE "/news-ref"));
}

TEST_F(nodes, a_page_that_is_none)
{
	EXPECT_TRUE(xs_write(DEVICE "/news-ref", "%u", 4000000000U));
}

TEST_F(nodes, no_channel)
{
	EXPECT_TRUE(xs_remove(DEVICE "/news-port"));
}

TEST_F(nodes, a_channel_that_is_none)
{
	EXPECT_TRUE(xs_write(DEVICE "/news-port", "4095"));
}

TEST_F(nodes, a_channel_that_is_no_number)
{
	EXPECT_TRUE(xs_write(DEVICE "/news-port", "abc"));
}

/* The scenario measures the effect on another guest's connections. */
FIXTURE(storm) {
	struct link link;
};

FIXTURE_SETUP(storm)
{
	raw_mode = SHARED_CHANNEL;
	ASSERT_TRUE(link_up(&self->link));
}

FIXTURE_TEARDOWN(storm)
{
	EXPECT_TRUE(link_works(&self->link));
	link_down(&self->link);
}

TEST_F_TIMEOUT(storm, of_all_slots, 300)
{
	struct link *l = &self->link;
	struct raw_conn c[100];
	struct flooder flooder;
	int i;

	for (i = 0; i < ARRAY_LEN(c); i++)
		ASSERT_EQ(0, connect_in_slot(l, &c[i], 80 * i));
	/* News of work, so that a backend that may poll does so. */
	for (i = 0; i < 20; i++)
		EXPECT_TRUE(echo_works(l, &c[0]));
	flooder_start(&flooder, l, 0, NEWS_SLOTS - 1);
	ksft_print_msg("ready\n");
	for (i = 0; i < opt.cycles; i += 100)
		sleep_usec(100000);
	flooder_stop(&flooder);
	for (i = 0; i < ARRAY_LEN(c); i++)
		EXPECT_EQ(0, raw_close(l, &c[i], false));
}

XENSOCK_TEST_MAIN
