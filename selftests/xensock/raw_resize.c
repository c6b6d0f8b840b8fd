// SPDX-License-Identifier: GPL-2.0
/*
 * A frontend whose data rings grow and shrink, and violations concerning that.
 * Needs a guest without the xensock module.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "kselftest_harness.h"
#include "raw.h"
#include "util.h"

/* The order of the ring, and of its directions once they are grown. */
#define BASE 1
#define LARGE 4

enum { IN, OUT };

FIXTURE(resize) {
	struct link link;
	struct raw_peer peer;
	struct raw_conn c;
	struct pages resized[2];
};

FIXTURE_SETUP(resize)
{
	struct link *l = &self->link;
	int i;

	raw_mode = RESIZE;
	ASSERT_TRUE(link_up(l));
	ASSERT_TRUE(raw_peer_open(l, &self->peer));
	ASSERT_TRUE(raw_open(l, &self->c, BASE, self->peer.port));
	ASSERT_STREQ("ok", raw_peer_run(l, &self->peer, "accept"));
	for (i = 0; i < 2; i++)
		ASSERT_TRUE(pages_grant(&self->resized[i], l->backend_id,
					1U << (LARGE - 1), true));
	for (i = 0; i < 1U << (LARGE - 1); i++) {
		self->c.words[IN_REF + i] = self->resized[IN].refs[i];
		self->c.words[OUT_REF + i] = self->resized[OUT].refs[i];
	}
}

FIXTURE_TEARDOWN(resize)
{
	struct link *l = &self->link;
	int i;

	EXPECT_EQ(0, raw_close(l, &self->c, true));
	EXPECT_EQ(0, raw_close(l, &self->peer.control, false));
	EXPECT_TRUE(link_works(l));
	link_down(l);
	for (i = 0; i < 2; i++)
		pages_free(&self->resized[i]);
}

static int req_grow(struct link *l, __u64 id, __u32 way, __u32 order)
{
	struct request r = {
		.cmd = GROW,
		.id = id,
		.resize = { .way = way, .order = order },
	};

	return do_request(l, &r);
}

static int req_shrink(struct link *l, __u64 id, __u32 way)
{
	struct request r = { .cmd = SHRINK, .id = id, .resize.way = way };

	return do_request(l, &r);
}

/* Says that data sent from @at on goes into the other memory. */
static void switch_out(struct link *l, struct raw_conn *c, __u32 at,
		       __u32 generation)
{
	store(&c->words[OUT_SWITCH], at);
	store(&c->words[OUT_GENERATION], generation);
	raw_notify(l, c);
}

static bool wait_followed(struct raw_conn *c, __u32 generation)
{
	__u64 deadline = now_msec() + TIMEOUT_MSEC;

	while (load(&c->words[OUT_FOLLOWED]) != generation) {
		if (now_msec() > deadline)
			return false;
		sleep_usec(1000);
	}
	return true;
}

/* Sends from @memory, at the index modulo its size. */
static bool send_from(struct link *l, struct raw_conn *c, char *memory, __u32 size,
		      __u32 len, __u64 seed)
{
	char data[32768];
	__u64 deadline = now_msec() + TIMEOUT_MSEC;
	__u32 i;

	stream_fill(seed, c->out_prod, data, len);
	for (i = 0; i < len; i++)
		memory[(c->out_prod + i) % size] = data[i];
	c->out_prod += len;
	store(&c->words[OUT_PROD], c->out_prod);
	raw_notify(l, c);
	while (load(&c->words[OUT_CONS]) != c->out_prod) {
		if (now_msec() > deadline)
			return false;
		sleep_usec(1000);
	}
	return true;
}

static bool peer_recv(struct link *l, struct raw_peer *p, __u32 len, __u64 seed)
{
	char line[64];

	snprintf(line, sizeof(line), "recv %u %llu", len, seed);
	raw_peer_run(l, p, line);
	return !strncmp(p->line, "ok", 2);
}

/* As in the other tests: the peer got a reset, and the id still exists. */
#define IS_RESET() do {							\
	struct request again = raw_request(&self->c, opt.host, 80);	\
									\
	EXPECT_STREQ("rst", raw_peer_run(&self->link, &self->peer,	\
					 "end"));			\
	EXPECT_EQ(-EISCONN, do_request(&self->link, &again));		\
} while (0)

TEST_F(resize, out)
{
	struct link *l = &self->link;
	struct raw_conn *c = &self->c;
	char *large = self->resized[OUT].mem;
	__u32 i, size = 2048U << LARGE;

	ASSERT_TRUE(send_from(l, c, c->out, c->size, 3000, 1));
	ASSERT_TRUE(peer_recv(l, &self->peer, 3000, 1));
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, req_grow(l, c->id, OUT, LARGE));
		EXPECT_EQ(-EALREADY, req_grow(l, c->id, OUT, LARGE));
		/* The new memory is mapped, and not in use. */
		EXPECT_EQ(0, req_shrink(l, c->id, OUT));
		ASSERT_EQ(0, req_grow(l, c->id, OUT, LARGE));
		switch_out(l, c, c->out_prod, 2 * i + 1);
		ASSERT_TRUE(send_from(l, c, large, size, 30000, 2));
		ASSERT_TRUE(peer_recv(l, &self->peer, 30000, 2));
		EXPECT_EQ(-EBUSY, req_shrink(l, c->id, OUT));
		switch_out(l, c, c->out_prod, 2 * i + 2);
		ASSERT_TRUE(wait_followed(c, 2 * i + 2));
		EXPECT_EQ(0, req_shrink(l, c->id, OUT));
		EXPECT_EQ(0, req_shrink(l, c->id, OUT));
		memset(large, 0x55, size);
		ASSERT_TRUE(send_from(l, c, c->out, c->size, 4000, 3));
		ASSERT_TRUE(peer_recv(l, &self->peer, 4000, 3));
	}
}

/* The backend switches to the new memory by itself, and back when asked. */
TEST_F(resize, in)
{
	struct link *l = &self->link;
	struct raw_conn *c = &self->c;
	char data[20000], *large = self->resized[IN].mem;
	__u32 i, at, size = 2048U << LARGE;
	__u64 deadline;

	ASSERT_STREQ("ok 100", raw_peer_run(l, &self->peer, "send 100 1"));
	ASSERT_EQ(100, raw_recv(l, c, data, 100));
	ASSERT_EQ(0, req_grow(l, c->id, IN, LARGE));
	deadline = now_msec() + TIMEOUT_MSEC;
	while (load(&c->words[IN_GENERATION]) != 1 && now_msec() < deadline)
		sleep_usec(1000);
	ASSERT_EQ(1, load(&c->words[IN_GENERATION]));
	ASSERT_EQ(100, load(&c->words[IN_SWITCH]));
	/* The backend has to wait until we have followed. */
	EXPECT_EQ(-EBUSY, req_shrink(l, c->id, IN));
	store(&c->words[IN_FOLLOWED], 1);
	ASSERT_STREQ("ok 20000", raw_peer_run(l, &self->peer, "send 20000 2"));
	deadline = now_msec() + TIMEOUT_MSEC;
	while (load(&c->words[IN_PROD]) != 20100 && now_msec() < deadline)
		sleep_usec(1000);
	at = c->in_cons;
	for (i = 0; i < 20000; i++)
		data[i] = large[(at + i) % size];
	EXPECT_TRUE(stream_check(2, 100, data, 20000));
	c->in_cons += 20000;
	store(&c->words[IN_CONS], c->in_cons);
	raw_notify(l, c);
	EXPECT_EQ(0, req_shrink(l, c->id, IN));
	EXPECT_EQ(2, load(&c->words[IN_GENERATION]));
	EXPECT_EQ(c->in_cons, load(&c->words[IN_SWITCH]));
	memset(large, 0x55, size);
	ASSERT_STREQ("ok 500", raw_peer_run(l, &self->peer, "send 500 3"));
	ASSERT_EQ(500, raw_recv(l, c, data, 500));
	EXPECT_TRUE(stream_check(3, 20100, data, 500));
}

/* GROW while SHRINK is unanswered fails, or is performed after it: then the extension is there. */
TEST_F(resize, both_at_once)
{
	struct link *l = &self->link;
	struct raw_conn *c = &self->c;
	struct response response;
	struct request r[2] = {
		{ .cmd = SHRINK, .id = c->id, .resize.way = OUT },
		{ .cmd = GROW, .id = c->id,
		  .resize = { .way = OUT, .order = LARGE } },
	};
	__u32 generation = 0, size = 2048U << LARGE;
	int i, grown = 0, ret[2];
	const int turns = rounds(200);
	bool before, is_last;

	for (i = 0; i < turns; i++) {
		before = i % 2;
		is_last = i == turns - 1;
		if (before)
			ASSERT_EQ(0, req_grow(l, c->id, OUT, LARGE));
		send_request(l, &r[0]);
		/* At any moment of the SHRINK, and once after it. */
		if (is_last)
			ret[0] = wait_response_to(l, r[0].req_id, &response);
		else
			sleep_usec(200 * i / turns);
		send_request(l, &r[1]);
		if (!is_last)
			ret[0] = wait_response_to(l, r[0].req_id, &response);
		ret[1] = wait_response_to(l, r[1].req_id, &response);
		ASSERT_EQ(0, ret[0]);
		if (ret[1]) {
			ASSERT_EQ(-EALREADY, ret[1]);
			ASSERT_TRUE(before);
			continue;
		}
		if (!before) {
			/* The SHRINK may have been performed last. */
			EXPECT_EQ(0, req_shrink(l, c->id, OUT));
			continue;
		}
		grown++;
		switch_out(l, c, c->out_prod, ++generation);
		ASSERT_TRUE(send_from(l, c, self->resized[OUT].mem, size, 5000, 1));
		ASSERT_TRUE(peer_recv(l, &self->peer, 5000, 1));
		switch_out(l, c, c->out_prod, ++generation);
		ASSERT_TRUE(wait_followed(c, generation));
		EXPECT_EQ(0, req_shrink(l, c->id, OUT));
	}
	EXPECT_LT(0, grown);
}

TEST_F(resize, what_cannot_be)
{
	struct link *l = &self->link;
	struct raw_conn *c = &self->c;
	__u32 way;

	EXPECT_EQ(-EBADF, req_grow(l, 0x7777, IN, LARGE));
	EXPECT_EQ(-EBADF, req_shrink(l, 0x7777, IN));
	ASSERT_EQ(0, req_socket(l, 0x4444));
	EXPECT_EQ(-ENOTCONN, req_grow(l, 0x4444, IN, LARGE));
	EXPECT_EQ(-ENOTCONN, req_shrink(l, 0x4444, IN));
	EXPECT_EQ(0, req_release(l, 0x4444, false));
	EXPECT_EQ(-EINVAL, req_grow(l, c->id, 2, LARGE));
	EXPECT_EQ(-EINVAL, req_shrink(l, c->id, 0xffffffff));
	for (way = IN; way <= OUT; way++) {
		EXPECT_EQ(-EINVAL, req_grow(l, c->id, way, 0));
		EXPECT_EQ(-EINVAL, req_grow(l, c->id, way, BASE));
		EXPECT_EQ(-EINVAL, req_grow(l, c->id, way, 10));
		/* There are fewer grants than this order needs. */
		EXPECT_EQ(-EINVAL, req_grow(l, c->id, way, LARGE + 1));
		EXPECT_EQ(0, req_shrink(l, c->id, way));
	}
	c->words[OUT_REF + 2] = 0x7fffffff;
	EXPECT_EQ(-EINVAL, req_grow(l, c->id, OUT, LARGE));
	c->words[OUT_REF + 2] = c->words[OUT_REF];
	EXPECT_EQ(-EINVAL, req_grow(l, c->id, OUT, LARGE));
	/* The failed requests have changed nothing. */
	EXPECT_TRUE(send_from(l, c, c->out, c->size, 4096, 1));
	EXPECT_TRUE(peer_recv(l, &self->peer, 4096, 1));
}

/* The ring of a connection that is not there yet stays as it is. */
TEST_F(resize, before_the_connection)
{
	struct link *l = &self->link;
	struct response response;
	struct raw_conn c;
	struct request r;
	__u32 i, connect;

	ASSERT_TRUE(raw_ring(l, &c, BASE));
	for (i = 0; i < 1U << (LARGE - 1); i++)
		c.words[OUT_REF + i] = self->resized[OUT].refs[i];
	ASSERT_EQ(0, req_socket(l, c.id));
	r = raw_request(&c, opt.blackhole, 80);
	connect = send_request(l, &r);
	EXPECT_EQ(-ENOTCONN, req_grow(l, c.id, OUT, LARGE));
	EXPECT_EQ(0, req_shrink(l, c.id, OUT));
	EXPECT_EQ(0, raw_close(l, &c, true));
	EXPECT_EQ(-ECONNABORTED, wait_response_to(l, connect, &response));
}

TEST_F(resize, a_change_without_an_extension)
{
	switch_out(&self->link, &self->c, 0, 1);
	IS_RESET();
}

TEST_F(resize, a_change_outside_of_the_window)
{
	ASSERT_EQ(0, req_grow(&self->link, self->c.id, OUT, LARGE));
	switch_out(&self->link, &self->c, self->c.size + 1, 1);
	IS_RESET();
}

TEST_F(resize, a_change_backwards)
{
	ASSERT_EQ(0, req_grow(&self->link, self->c.id, OUT, LARGE));
	switch_out(&self->link, &self->c, -1, 1);
	IS_RESET();
}

TEST_F(resize, two_changes_at_once)
{
	ASSERT_EQ(0, req_grow(&self->link, self->c.id, OUT, LARGE));
	switch_out(&self->link, &self->c, 0, 2);
	IS_RESET();
}

TEST_F(resize, more_than_the_extension_holds)
{
	struct raw_conn *c = &self->c;

	ASSERT_EQ(0, req_grow(&self->link, c->id, OUT, LARGE));
	switch_out(&self->link, c, 0, 1);
	ASSERT_TRUE(wait_followed(c, 1));
	store(&c->words[OUT_PROD], (2048U << LARGE) + 1);
	raw_notify(&self->link, c);
	IS_RESET();
}

/* RELEASE, and the end of the link, in all states of growing. */
TEST_F(resize, ended_while_grown)
{
	struct link *l = &self->link;
	struct raw_conn *c = &self->c;

	ASSERT_EQ(0, req_grow(l, c->id, OUT, LARGE));
	ASSERT_EQ(0, req_grow(l, c->id, IN, LARGE));
	switch_out(l, c, 0, 1);
	ASSERT_TRUE(send_from(l, c, self->resized[OUT].mem, 2048U << LARGE, 9000, 1));
	EXPECT_TRUE(peer_recv(l, &self->peer, 9000, 1));
}

TEST(without_the_feature)
{
	struct link l;
	struct raw_conn c;

	raw_mode = PLAIN;
	ASSERT_TRUE(link_up(&l));
	ASSERT_TRUE(raw_open(&l, &c, 1, opt.port + PEER_ECHO));
	EXPECT_EQ(-EOPNOTSUPP, req_grow(&l, c.id, IN, LARGE));
	EXPECT_EQ(-EOPNOTSUPP, req_shrink(&l, c.id, IN));
	/* Without the feature these words mean nothing. */
	switch_out(&l, &c, 0x12345678, 77);
	EXPECT_EQ(3, raw_send(&l, &c, "abc", 3));
	EXPECT_EQ(0, raw_close(&l, &c, false));
	link_down(&l);
}

XENSOCK_TEST_MAIN
