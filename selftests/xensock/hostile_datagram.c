// SPDX-License-Identifier: GPL-2.0
/*
 * A guest that breaks the rules of datagrams: invalid frames, memory that
 * changes while it is read, rings that are given twice, too many sockets. Each
 * violation ends the socket concerned and nothing else.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "kselftest_harness.h"
#include "raw.h"
#include "util.h"

#define NO_FRAME 77

/* A socket to break, and a good one. */
FIXTURE(frames) {
	struct link link;
	struct raw_conn c;
	struct raw_conn good;
	struct sockaddr_in name;	/* of the good one */
};

FIXTURE_SETUP(frames)
{
	struct link *l = &self->link;

	raw_mode = DATAGRAMS;
	ASSERT_TRUE(link_up(l));
	ASSERT_TRUE(dgram_open(l, &self->c, 2));
	ASSERT_TRUE(dgram_open(l, &self->good, 2));
	ASSERT_EQ(0, req_bind(l, self->good.id, opt.host, 0, &self->name));
}

/*
 * Sends a datagram to the good socket. Returns true if it arrives. Datagrams of other sockets may
 * come first, and even leave no room for this one: those that are there are taken before, as the
 * wait for one that was dropped is long.
 */
static bool dgram_transfer(struct link *l, struct raw_conn *from, struct raw_conn *good,
			   struct sockaddr_in *name)
{
	struct frame f;
	bool is_right;
	__u32 cons;
	int tries;

	for (tries = 0; tries < 2; tries++) {
		do {
			cons = good->in_cons;
			dgram_next(l, good, &f, 0);
		} while (good->in_cons != cons);
		if (!dgram_send(l, from, opt.host, ntohs(name->sin_port), 300, 9))
			return false;
		do {
			f.type = NO_FRAME;
			is_right = dgram_recv(l, good, &f, 9);
			if (f.type != NO_FRAME && f.len == 300)
				return is_right;
		} while (f.type != NO_FRAME);
	}
	return false;
}

FIXTURE_TEARDOWN(frames)
{
	struct link *l = &self->link;

	EXPECT_TRUE(dgram_transfer(l, &self->good, &self->good, &self->name));
	EXPECT_EQ(0, raw_close(l, &self->c, false));
	EXPECT_EQ(0, raw_close(l, &self->good, false));
	EXPECT_TRUE(link_works(l));
	link_down(l);
}

/* Returns true once the backend has closed the socket. Only the id is left then. */
static bool is_closed(struct link *l, struct raw_conn *c)
{
	__u64 deadline = now_msec() + TIMEOUT_MSEC;
	struct sockaddr_in name;
	int ret;

	raw_notify(l, c);
	while (!(ret = req_name(l, c->id, false, &name)) && now_msec() < deadline)
		sleep_usec(1000);
	return ret == -ENOTCONN && req_dgram(l, c->id, AF_INET) == -EEXIST &&
	       req_attach(l, c) == -EISCONN &&
	       req_bind(l, c->id, opt.host, 0, &name) == -ENOTCONN &&
	       req_connect(l, c->id, opt.host, 9, NULL) == -ENOTCONN &&
	       req_connect(l, c->id, NULL, 0, NULL) == -ENOTCONN;
}

/* An invalid header, and the number of bytes queued with it. */
static const struct {
	const char *what;
	struct frame f;
	__u32 queued;
} headers[] = {
	{ "one byte more than queued", { .len = 9 }, 48 },
	{ "more than the ring", { .len = 8192 }, 8192 },
	{ "4 GiB", { .len = 0xffffffff }, 8192 },
	{ "a length that wraps", { .len = 0xffffffd8 }, 48 },
	{ "a length that wraps when padded", { .len = 0xffffffd0 }, 48 },
	{ "2 GiB", { .len = 0x80000000 }, 8192 },
	{ "no room for padding", { .len = 1 }, 41 },
	{ "eight bytes", { }, 8 },
	{ "39 bytes", { }, 39 },
	{ "an error", { .type = 1, .error = 5 }, 40 },
	{ "type 2", { .type = 2 }, 40 },
	{ "type 3", { .type = 3 }, 40 },
	{ "type 65535", { .type = 0xffff }, 40 },
	{ "family 0", { .addr_len = 16 }, 40 },
	{ "family 1", { .addr = { 1 }, .addr_len = 16 }, 40 },
	{ "family 512", { .addr = { 0, 2 }, .addr_len = 16 }, 40 },
	{ "an address of one byte", { .addr = { 2 }, .addr_len = 1 }, 40 },
	{ "IPv4 in 15 bytes", { .addr = { 2 }, .addr_len = 15 }, 40 },
	{ "29 bytes", { .addr = { 2 }, .addr_len = 29 }, 40 },
	{ "4 GiB of address", { .addr = { 2 }, .addr_len = 0xffffffff }, 40 },
	{ "IPv6 in 27 bytes", { .addr = { 10 }, .addr_len = 27 }, 40 },
};

TEST_F(frames, headers)
{
	struct link *l = &self->link;
	struct frame f;
	struct raw_conn c;
	int i, after;

	for (i = 0; i < ARRAY_LEN(headers); i++) {
		/* The first frame in the ring, or one behind another, around the end. */
		for (after = 0; after < 2; after++) {
			TH_LOG("%s", headers[i].what);
			ASSERT_TRUE(dgram_open(l, &c, 2));
			if (after) {
				f = dgram_frame(opt.blackhole, 9, 8128);
				ASSERT_TRUE(dgram_put(l, &c, &f, 1));
				ASSERT_TRUE(dgram_drained(&c));
			}
			dgram_write(&c, c.out_prod, &headers[i].f, 40);
			c.out_prod += headers[i].queued;
			store(&c.words[OUT_PROD], c.out_prod);
			EXPECT_TRUE(is_closed(l, &c));
			EXPECT_EQ(0, raw_close(l, &c, i & 1));
		}
	}
}

TEST_F(frames, impossible_indexes)
{
	const __u32 size = self->c.size;
	const struct {
		unsigned int word;
		__u32 value;
	} indexes[] = {
		{ OUT_PROD, size + 1 }, { OUT_PROD, size + 8 },
		{ OUT_PROD, 1U << 31 }, { OUT_PROD, -1 }, { OUT_PROD, -8 },
		{ IN_CONS, 1 }, { IN_CONS, 8 }, { IN_CONS, 1U << 31 },
		{ IN_CONS, -size - 1 },
	};
	struct link *l = &self->link;
	struct raw_conn c;
	int i;

	for (i = 0; i < ARRAY_LEN(indexes); i++) {
		TH_LOG("word %u: %u", indexes[i].word, indexes[i].value);
		ASSERT_TRUE(dgram_open(l, &c, 2));
		store(&c.words[indexes[i].word], indexes[i].value);
		/* The backend checks the room when it has a datagram to put there. */
		raw_notify(l, &c);
		EXPECT_TRUE(is_closed(l, &c));
		EXPECT_EQ(0, raw_close(l, &c, false));
	}
}

/* Indexes that are possible but not at the start of a frame. */
TEST_F(frames, unaligned_consumer)
{
	struct sockaddr_in name;
	struct link *l = &self->link;
	struct raw_conn *c = &self->c;
	struct frame f;
	__u32 prod = 0;
	int i;

	ASSERT_EQ(0, req_bind(l, c->id, opt.host, 0, &name));
	for (i = 0; i < 200; i++) {
		prod += FRAME_LEN(i);
		dgram_send(l, c, opt.host, ntohs(name.sin_port), i, i);
		while (load(&c->words[IN_PROD]) != prod)
			sleep_usec(1000);
		store(&c->words[IN_CONS], load(&c->words[IN_PROD]) - i % 41);
		raw_notify(l, c);
	}
	/* All indexes were possible, so the socket still works. */
	c->in_cons = load(&c->words[IN_PROD]);
	store(&c->words[IN_CONS], c->in_cons);
	ASSERT_TRUE(dgram_send(l, c, opt.host, ntohs(name.sin_port), 77, 3));
	ASSERT_TRUE(dgram_recv(l, c, &f, 3));
	EXPECT_EQ(77, f.len);
}

/* Words and pages that the backend has already read, or never reads. */
TEST_F(frames, what_is_not_ours_to_write)
{
	struct link *l = &self->link;
	struct raw_conn *c = &self->c;

	store(&c->words[RING_ORDER], 31);
	memset(&c->words[REF], 0xff, 64);
	store(&c->words[OUT_CONS], 77777);
	store(&c->words[IN_PROD], 99999);
	store(&c->words[IN_ERROR], -5);
	store(&c->words[OUT_ERROR], 5);
	store(&c->words[STATUS], -5);
	store(&c->words[4], 0xdeadbeef);
	store(&c->words[19], 0xdeadbeef);
	store(&c->words[OUT_CONS], 0);
	EXPECT_TRUE(dgram_transfer(l, c, &self->good, &self->name));
}

TEST_F(frames, scribbled_memory)
{
	struct link *l = &self->link;
	struct overwriter s;
	struct frame f;
	struct raw_conn c;
	int i, j;

	for (i = 0; i < rounds(40); i++) {
		ASSERT_TRUE(dgram_open(l, &c, i % 4 + 1));
		/* Overwrites indexes, headers and all that follows, or both. */
		if (i % 3 == 0)
			overwriter_start(&s, c.words, 24);
		else if (i % 3 == 1)
			overwriter_start(&s, c.out, 16);
		else
			overwriter_start(&s, c.words, (PAGE + 2 * c.size) / 4);
		for (j = 0; j < 500; j++) {
			f = dgram_frame(opt.host, ntohs(self->name.sin_port),
					j % 100);
			dgram_write(&c, c.out_prod, &f, sizeof(f));
			c.out_prod += FRAME_LEN(f.len);
			store(&c.words[OUT_PROD], c.out_prod);
			raw_notify(l, &c);
		}
		overwriter_stop(&s);
		EXPECT_EQ(0, raw_close(l, &c, i & 1));
		while (load(&self->good.words[IN_PROD]) != self->good.in_cons)
			dgram_next(l, &self->good, &f, 0);
	}
}

/* An echo of its own datagrams, which never ends by itself. */
TEST_F(frames, storm)
{
	__u64 deadline = now_msec() + 1000;
	struct link *l = &self->link;
	struct raw_conn *c = &self->c;
	struct sockaddr_in name;
	unsigned int count = 0;

	ASSERT_EQ(0, req_bind(l, c->id, opt.host, 0, &name));
	while (now_msec() < deadline) {
		if (!dgram_send(l, c, opt.host, ntohs(name.sin_port), 20, 1) ||
		    !dgram_send(l, c, NULL, 0, 20, 1))
			break;
		raw_notify(l, c);
		store(&c->words[IN_CONS], load(&c->words[IN_PROD]));
		count++;
	}
	EXPECT_LE(deadline, now_msec());
	TH_LOG("%u of them", 2 * count);
	EXPECT_TRUE(dgram_transfer(l, &self->good, &self->good, &self->name));
}

/* Impossible rings: the backend keeps nothing of them, and a good one may follow. */
TEST_F(frames, bad_rings)
{
	struct link *l = &self->link;
	static const __u32 orders[] = { 0, 10, 31, 32, 0x80000000, 0xffffffff };
	struct request r;
	struct raw_conn c;
	__u32 ref, word;
	int i;

	ASSERT_TRUE(raw_ring(l, &c, 2));
	ASSERT_EQ(0, req_dgram(l, c.id, AF_INET));
	for (i = 0; i < ARRAY_LEN(orders); i++) {
		store(&c.words[RING_ORDER], orders[i]);
		EXPECT_EQ(-EINVAL, req_attach(l, &c));
	}
	store(&c.words[RING_ORDER], 2);
	ref = c.words[REF + 3];
	for (word = 0xfffffff0; word; word <<= 4) {
		store(&c.words[REF + 3], word);
		EXPECT_EQ(-EINVAL, req_attach(l, &c));
	}
	store(&c.words[REF + 3], ref);
	r = (struct request){
		.cmd = ATTACH, .id = c.id,
		.attach = { .ref = 0xffffff, .evtchn = c.port },
	};
	EXPECT_EQ(-EINVAL, do_request(l, &r));
	r.attach.ref = c.pages.refs[0];
	r.attach.evtchn = 0xffff;
	EXPECT_GT(0, do_request(l, &r));
	r.attach.evtchn = self->good.port;
	EXPECT_GT(0, do_request(l, &r));
	EXPECT_EQ(0, req_attach(l, &c));
	EXPECT_EQ(-EISCONN, req_attach(l, &c));
	EXPECT_TRUE(dgram_transfer(l, &c, &self->good, &self->name));
	EXPECT_EQ(0, raw_close(l, &c, false));
}

/* All requests for a socket at once, twice. */
TEST_F_TIMEOUT(frames, all_at_once, 240)
{
	struct sockaddr_in sin = address(opt.host, 9);
	struct response response;
	struct link *l = &self->link;
	struct request r;
	__u32 last;
	struct raw_conn c;
	int i, n;

	for (i = 0; i < rounds(100); i++) {
		ASSERT_TRUE(raw_ring(l, &c, 1));
		r = (struct request){
			.cmd = SOCKET, .id = c.id,
			.socket = { .domain = AF_INET, .type = 2 },
		};
		last = send_request(l, &r);
		for (n = 0; n < 8; n++) {
			r = (struct request){
				.cmd = n % 2 ? CONNECT : ATTACH, .id = c.id,
			};
			if (r.cmd == ATTACH) {
				r.attach.ref = c.pages.refs[0];
				r.attach.evtchn = c.port;
			} else {
				memcpy(r.connect.addr, &sin, sizeof(sin));
				r.connect.len = n % 4 == 1 ? 16 : 2;
				if (r.connect.len == 2)
					memset(r.connect.addr, 0, 2);
			}
			last = send_request(l, &r);
		}
		dgram_send(l, &c, opt.host, ntohs(self->name.sin_port), 5, 1);
		r = (struct request){ .cmd = RELEASE, .id = c.id };
		last = send_request(l, &r);
		ASSERT_EQ(0, wait_response_to(l, last, &response));
		l->n_kept = 0;
		raw_free(l, &c);
	}
}

/* The link goes down with sockets in every state and datagrams under way. */
TEST(links_that_go)
{
	struct sockaddr_in name;
	struct raw_conn c[10];
	struct link l;
	int i, n;

	raw_mode = DATAGRAMS;
	for (n = 0; n < 5; n++) {
		ASSERT_TRUE(link_up(&l));
		for (i = 0; i < ARRAY_LEN(c); i++) {
			ASSERT_TRUE(raw_ring(&l, &c[i], 1));
			ASSERT_EQ(0, req_dgram(&l, c[i].id, AF_INET));
			if (i % 3)
				ASSERT_EQ(0, req_attach(&l, &c[i]));
			ASSERT_EQ(0, req_bind(&l, c[i].id, opt.host, 0, &name));
			dgram_send(&l, &c[i], opt.host, ntohs(name.sin_port),
				   1000, i);
		}
		link_down(&l);
		for (i = 0; i < ARRAY_LEN(c); i++)
			pages_free(&c[i].pages);
	}
	raw_mode = PLAIN;
	EXPECT_TRUE(new_link_works());
}

/* --sockets is the limit in the policy. Released sockets do not count. */
TEST(as_many_as_allowed)
{
	__u64 deadline;
	struct link l;
	int i, n;

	raw_mode = DATAGRAMS;
	ASSERT_TRUE(link_up(&l));
	for (n = 0; n < 3; n++) {
		/* UDP may take a moment to free sockets, also those of the last test. */
		deadline = now_msec() + TIMEOUT_MSEC;
		for (i = 0; i < opt.sockets; i++)
			while (req_dgram(&l, i, AF_INET))
				ASSERT_GT(deadline, now_msec());
		EXPECT_EQ(-EMFILE, req_dgram(&l, i, AF_INET));
		EXPECT_EQ(-EMFILE, req_socket(&l, i));
		for (i = 0; i < opt.sockets; i++)
			EXPECT_EQ(0, req_release(&l, i, false));
	}
	link_down(&l);
}

XENSOCK_TEST_MAIN
