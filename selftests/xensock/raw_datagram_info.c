// SPDX-License-Identifier: GPL-2.0
/*
 * A frontend with infos for datagrams: infos that it sends and receives, errors, and violations of
 * the rules. Needs a guest without the xensock module, and a device whose policy allows to bind.
 */
#include <errno.h>
#include <linux/udp.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "kselftest_harness.h"
#include "raw.h"
#include "util.h"

#define SOL_IP 0
#define SOL_UDP 17
#define NOT_OURS "192.0.2.77"

static int set_option(struct link *l, __u64 id, __u32 level, __u32 name, __u32 value)
{
	struct request r = {
		.cmd = SETSOCKOPT,
		.id = id,
		.option = { .level = level, .name = name, .len = 4 },
	};

	memcpy(r.option.value, &value, 4);
	return do_request(l, &r);
}

/* A sender and a receiver. */
FIXTURE(info) {
	struct link link;
	struct raw_conn c;
	struct raw_conn to;
	struct sockaddr_in name;	/* of the receiver */
};

FIXTURE_SETUP(info)
{
	struct link *l = &self->link;

	raw_mode = DATAGRAM_INFO;
	ASSERT_TRUE(link_up(l));
	ASSERT_TRUE(dgram_open(l, &self->c, 6));
	ASSERT_TRUE(dgram_open(l, &self->to, 6));
	ASSERT_EQ(0, req_bind(l, self->to.id, opt.host, 0, &self->name));
}

FIXTURE_TEARDOWN(info)
{
	struct link *l = &self->link;
	struct frame f;

	EXPECT_TRUE(dgram_send(l, &self->to, opt.host, ntohs(self->name.sin_port), 300, 9));
	EXPECT_TRUE(dgram_recv(l, &self->to, &f, 9));
	EXPECT_EQ(0, raw_close(l, &self->c, false));
	EXPECT_EQ(0, raw_close(l, &self->to, false));
	EXPECT_TRUE(link_works(l));
	link_down(l);
}

/* Sends a datagram to the receiver. */
#define SEND_INFO(bytes, seed, info) ({							\
	struct frame _f = dgram_frame(opt.host, ntohs(self->name.sin_port), bytes);	\
											\
	_f.type = 2;									\
	ASSERT_TRUE(dgram_put_info(&self->link, &self->c, &_f, info, seed));		\
})

#define CHECK_RECEIVED(bytes, seed, kind) ({						\
	struct frame _f;								\
											\
	ASSERT_TRUE(dgram_recv(&self->link, &self->to, &_f, seed));			\
	EXPECT_EQ(bytes, _f.len);							\
	EXPECT_EQ(kind, _f.type);							\
})

static void set_local(struct info *info, const char *host)
{
	struct sockaddr_in sin = address(host, 0);

	memcpy(info->local, &sin, sizeof(sin));
	info->local_len = sizeof(sin);
}

TEST_F(info, both_ways)
{
	struct info info = { .flags = INFO_TOS | INFO_TTL, .tos = 0x68, .ttl = 7 };
	struct link *l = &self->link;
	struct sockaddr_in sin;
	__u64 to = self->to.id;
	int i;

	set_local(&info, opt.host);
	/* The receiver is not told what it has not asked for, though the sender says more. */
	SEND_INFO(10, 1, &info);
	CHECK_RECEIVED(10, 1, 0);
	EXPECT_EQ(0, set_option(l, to, SOL_IP, IP_RECVTTL, 1));
	EXPECT_EQ(0, dgram_send(l, &self->c, opt.host, ntohs(self->name.sin_port), 10, 2) ? 0 : 1);
	CHECK_RECEIVED(10, 2, 2);
	EXPECT_EQ(INFO_TTL, dgram_info.flags);
	EXPECT_EQ(64, dgram_info.ttl);
	EXPECT_EQ(0, dgram_info.local_len | dgram_info.to_len | dgram_info.reserved);
	EXPECT_EQ(0, set_option(l, to, SOL_IP, IP_RECVTOS, 1));
	EXPECT_EQ(0, set_option(l, to, SOL_IP, IP_PKTINFO, 1));
	EXPECT_EQ(0, set_option(l, to, SOL_IP, 20, 1));
	/* Also around the end of the ring. */
	for (i = 0; i < 40; i++) {
		SEND_INFO(9000 + i, i, &info);
		CHECK_RECEIVED(9000 + i, i, 2);
		EXPECT_EQ(INFO_TOS | INFO_TTL, dgram_info.flags);
		EXPECT_EQ(0x68, dgram_info.tos);
		EXPECT_EQ(7, dgram_info.ttl);
		EXPECT_EQ(16, dgram_info.to_len);
		EXPECT_EQ(0, memcmp(dgram_info.to, &self->name, 16));
		EXPECT_EQ(16, dgram_info.local_len);
		memcpy(&sin, dgram_info.local, sizeof(sin));
		EXPECT_EQ(self->name.sin_addr.s_addr, sin.sin_addr.s_addr);
	}
	/* From now on the frames are of type 2. */
	EXPECT_EQ(0, set_option(l, to, SOL_IP, IP_RECVTTL, 0));
	SEND_INFO(65507, 3, &info);
	CHECK_RECEIVED(65507, 3, 2);
	EXPECT_EQ(INFO_TOS, dgram_info.flags);
}

/* Datagrams that are to leave slowly would fill a queue of the backend's interface. */
TEST_F(info, no_pacing)
{
	EXPECT_EQ(-ENOPROTOOPT, set_option(&self->link, self->c.id, 1, SO_MAX_PACING_RATE, 1));
}

/* Errors from the network come in frames of type 3, once they are asked for. */
TEST_F(info, reports)
{
	struct sockaddr_in sin = self->name;
	struct link *l = &self->link;
	struct frame f;
	int i;

	EXPECT_EQ(0, set_option(l, self->c.id, SOL_IP, IP_RECVERR, 1));
	for (i = 0; i < 3; i++) {
		EXPECT_TRUE(dgram_send(l, &self->c, opt.host, 1, 100 + i, 4));
		ASSERT_TRUE(dgram_recv(l, &self->c, &f, 4));
		EXPECT_EQ(3, f.type);
		EXPECT_EQ(100 + i, f.len);
		EXPECT_EQ(16, f.addr_len);
		memcpy(&sin, f.addr, sizeof(sin));
		EXPECT_EQ(1, ntohs(sin.sin_port));
		EXPECT_EQ(ECONNREFUSED, dgram_info.flags);
		EXPECT_EQ(2, dgram_info.tos);
		EXPECT_EQ(3, dgram_info.ttl);
		/* to[0] is the length of the offender's address. */
		EXPECT_EQ(16, dgram_info.to[0]);
	}
}

/* Datagrams are received although each of our own brings an error. */
TEST_F(info, datagrams_amid_errors)
{
	struct frame f = dgram_frame(opt.host, 1, 24);
	__u64 now, next = 0, deadline = now_msec() + TIMEOUT_MSEC;
	struct link *l = &self->link;
	struct raw_conn *c = &self->c;
	struct sockaddr_in name;
	bool has_come = false;
	__u32 at;

	ASSERT_EQ(0, req_bind(l, c->id, opt.host, 0, &name));
	EXPECT_EQ(0, set_option(l, c->id, SOL_IP, IP_RECVERR, 1));
	for (at = 0; at < c->size; at += FRAME_LEN(f.len))
		dgram_write(c, at, &f, sizeof(f));
	while (!has_come && (now = now_msec()) < deadline) {
		/* The ring is full all the time. */
		c->out_prod = load(&c->words[OUT_CONS]) + c->size;
		store(&c->words[OUT_PROD], c->out_prod);
		raw_notify(l, c);
		if (now >= next) {
			next = now + 10;
			dgram_send(l, &self->to, opt.host, ntohs(name.sin_port), 77, 5);
		}
		while (!has_come && load(&c->words[IN_PROD]) != c->in_cons) {
			dgram_next(l, c, &f, 5);
			has_come = f.type == 0 && f.len == 77;
		}
	}
	EXPECT_TRUE(has_come);
}

TEST_F(info, segments)
{
	struct info info = { .flags = INFO_SEGMENT, .segment = 1000 };
	struct link *l = &self->link;
	struct frame f;
	int i;

	SEND_INFO(2500, 1, &info);
	for (i = 0; i < 3; i++) {
		/*
		 * The segments are parts of one stream, so only the first one matches its
		 * beginning.
		 */
		dgram_recv(l, &self->to, &f, 1);
		EXPECT_EQ(i < 2 ? 1000 : 500, f.len);
		EXPECT_EQ(0, f.type);
	}
	EXPECT_EQ(0, set_option(l, self->to.id, SOL_UDP, UDP_GRO, 1));
	SEND_INFO(2500, 2, &info);
	CHECK_RECEIVED(2500, 2, 2);
	EXPECT_EQ(INFO_SEGMENT, dgram_info.flags);
	EXPECT_EQ(1000, dgram_info.segment);
	info.segment = 0;
	SEND_INFO(2500, 3, &info);
	CHECK_RECEIVED(2500, 3, 2);
	EXPECT_EQ(0, dgram_info.flags);
}

TEST_F(info, refused)
{
	struct info info = { .flags = INFO_TTL };
	struct link *l = &self->link;
	struct sockaddr_in6 sin6 = { .sin6_family = AF_INET6, .sin6_addr.s6_addr = { 1 } };
	int error;

	SEND_INFO(10, 1, &info);
	EXPECT_EQ(EINVAL, dgram_error(l, &self->c));
	info.flags = INFO_SEGMENT;
	info.segment = 1;
	SEND_INFO(60000, 1, &info);
	EXPECT_EQ(EINVAL, dgram_error(l, &self->c));
	info.flags = 0;
	set_local(&info, NOT_OURS);
	SEND_INFO(10, 1, &info);
	error = dgram_error(l, &self->c);
	EXPECT_TRUE(error == EINVAL || error == ENETUNREACH);
	memcpy(info.local, &sin6, sizeof(sin6));
	info.local_len = sizeof(sin6);
	SEND_INFO(10, 1, &info);
	EXPECT_EQ(EAFNOSUPPORT, dgram_error(l, &self->c));
	/* Flags of the other direction and reserved fields are ignored. */
	memset(&info, 0, sizeof(info));
	info.flags = INFO_DROPS;
	info.drops = -1;
	info.reserved = -1;
	memcpy(info.to, &self->name, 16);
	info.to_len = 16;
	SEND_INFO(10, 1, &info);
	CHECK_RECEIVED(10, 1, 0);
	/* Only these control messages are supported. */
	EXPECT_EQ(-ENOPROTOOPT, set_option(l, self->to.id, SOL_IP, IP_RECVOPTS, 1));
	EXPECT_EQ(-ENOPROTOOPT, set_option(l, self->to.id, SOL_IP, IP_RETOPTS, 1));
}

/* Invalid blocks, and the number of bytes queued with the header. */
static const struct {
	const char *what;
	__u32 len;
	__u32 queued;
	struct info info;
} blocks[] = {
	{ "another flag", 0, 120, { .flags = 16 } },
	{ "the last flag", 0, 120, { .flags = 1U << 31 } },
	{ "an address of one byte", 0, 120, { .local = { 2 }, .local_len = 1 } },
	{ "IPv4 in 15 bytes", 0, 120, { .local = { 2 }, .local_len = 15 } },
	{ "29 bytes", 0, 120, { .local = { 10 }, .local_len = 29 } },
	{ "4 GiB of address", 0, 120, { .local = { 2 }, .local_len = -1U } },
	{ "family 0", 0, 120, { .local_len = 16 } },
	{ "family 1", 0, 120, { .to = { 1 }, .to_len = 16 } },
	{ "the other in 15 bytes", 0, 120, { .to = { 2 }, .to_len = 15 } },
	{ "no block", 0, 40, {} },
	{ "a part of one", 0, 112, {} },
	{ "one byte more than queued", 1, 120, {} },
	{ "a length that wraps", -120U, 4096, {} },
	{ "a length that wraps when padded", -121U, 4096, {} },
	{ "4 GiB", -1U, 4096, {} },
};

TEST_F(info, blocks_that_are_none)
{
	struct link *l = &self->link;
	struct sockaddr_in name;
	struct raw_conn c;
	__u64 deadline;
	int i, ret;

	for (i = 0; i < ARRAY_LEN(blocks); i++) {
		struct frame f = dgram_frame(opt.host, ntohs(self->name.sin_port),
					     blocks[i].len);

		TH_LOG("%s", blocks[i].what);
		f.type = 2;
		ASSERT_TRUE(dgram_open(l, &c, 2));
		dgram_write(&c, 0, &f, sizeof(f));
		dgram_write(&c, sizeof(f), &blocks[i].info, sizeof(struct info));
		c.out_prod = blocks[i].queued;
		store(&c.words[OUT_PROD], c.out_prod);
		raw_notify(l, &c);
		deadline = now_msec() + TIMEOUT_MSEC;
		while (!(ret = req_name(l, c.id, false, &name)) && now_msec() < deadline)
			sleep_usec(1000);
		EXPECT_EQ(-ENOTCONN, ret);
		EXPECT_EQ(0, raw_close(l, &c, false));
	}
}

/* Random bytes: each frame is a datagram, an error, or the end of the socket. */
TEST_F(info, garbage)
{
	struct link *l = &self->link;
	__u64 random = opt.seed;
	struct info info;
	struct raw_conn c;
	int i, j;

	for (i = 0; i < rounds(300); i++) {
		struct frame f = dgram_frame(opt.host, 9, 0);

		for (j = 0; j < sizeof(info); j++) {
			random = random * 6364136223846793005ULL + 1;
			((__u8 *)&info)[j] = random >> 56;
		}
		/* A part of the block is often good. */
		if (random >> 33 & 1)
			info.flags &= 15;
		if (random >> 34 & 1)
			memset(info.local, 0, sizeof(info.local)), info.local_len = 0;
		if (random >> 35 & 1)
			info.to_len = 0;
		f.type = 2;
		f.len = random >> 36 & 511;
		ASSERT_TRUE(dgram_open(l, &c, 1));
		ASSERT_TRUE(dgram_put_info(l, &c, &f, &info, i));
		EXPECT_EQ(0, raw_close(l, &c, false));
	}
}

/* For a device whose policy does not allow to bind to the port that the socket gets. */
FIXTURE(policy) {
	struct link link;
	struct raw_conn c;
};

FIXTURE_SETUP(policy)
{
	raw_mode = DATAGRAM_INFO;
	ASSERT_TRUE(link_up(&self->link));
	ASSERT_TRUE(dgram_open(&self->link, &self->c, 2));
}

FIXTURE_TEARDOWN(policy)
{
	EXPECT_EQ(0, raw_close(&self->link, &self->c, false));
	link_down(&self->link);
}

TEST_F(policy, of_the_source)
{
	struct frame f = dgram_frame(opt.host, 9, 10);
	struct info info = {};

	set_local(&info, opt.host);
	f.type = 2;
	ASSERT_TRUE(dgram_put_info(&self->link, &self->c, &f, &info, 1));
	EXPECT_EQ(EACCES, dgram_error(&self->link, &self->c));
}

XENSOCK_TEST_MAIN
