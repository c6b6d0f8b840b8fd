// SPDX-License-Identifier: GPL-2.0
/*
 * A guest that sends forbidden requests: every malformed request, and the
 * backend's answers. Each test begins and ends with an exchange that works.
 * Needs a guest without the xensock module, and a device for it.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kselftest_harness.h"
#include "raw.h"
#include "util.h"

FIXTURE(hostile) {
	struct link link;
	struct raw_conn c;
};

FIXTURE_SETUP(hostile)
{
	ASSERT_TRUE(link_up(&self->link));
	ASSERT_TRUE(link_works(&self->link));
	ASSERT_TRUE(raw_ring(&self->link, &self->c, 4));
}

FIXTURE_TEARDOWN(hostile)
{
	raw_free(&self->link, &self->c);
	EXPECT_TRUE(link_works(&self->link));
	link_down(&self->link);
}

TEST_F(hostile, connect_without_socket)
{
	struct request r = raw_request(&self->c, opt.host,
				       opt.port + PEER_ECHO);

	EXPECT_EQ(-EBADF, do_request(&self->link, &r));
	r.id = 0;
	EXPECT_EQ(-EBADF, do_request(&self->link, &r));
	r.id = ~0ULL;
	EXPECT_EQ(-EBADF, do_request(&self->link, &r));
}

TEST_F(hostile, duplicate_id)
{
	struct link *l = &self->link;

	EXPECT_EQ(0, req_socket(l, 0));
	EXPECT_EQ(-EEXIST, req_socket(l, 0));
	EXPECT_EQ(0, req_release(l, 0, false));
	EXPECT_EQ(0, raw_connect(l, &self->c, opt.host, opt.port + PEER_ECHO));
	EXPECT_EQ(-EEXIST, req_socket(l, self->c.id));
	EXPECT_EQ(4, raw_send(l, &self->c, "ping", 4));
	EXPECT_EQ(0, req_release(l, self->c.id, false));
}

TEST_F(hostile, unknown_commands)
{
	static const __u32 unknown[] = {
		COMMANDS, COMMANDS + 1, 63, 256, 65536, 0x01000000,
		0x7fffffff, 0x80000000, 0xffffffff,
	};
	struct request r = { .id = 5 };
	int i;

	for (i = 0; i < ARRAY_LEN(unknown); i++) {
		r.cmd = unknown[i];
		EXPECT_EQ(-EOPNOTSUPP, do_request(&self->link, &r));
	}
	/* All commands, with a socket number that is not in use. */
	for (r.cmd = 0; r.cmd < COMMANDS; r.cmd++) {
		if (r.cmd == SOCKET || r.cmd == RELEASE)
			continue;
		EXPECT_GT(0, do_request(&self->link, &r));
	}
	r.cmd = SHUTDOWN;
	r.how = 3;
	EXPECT_EQ(-EINVAL, do_request(&self->link, &r));
	r.cmd = GETNAME;
	EXPECT_EQ(-EINVAL, do_request(&self->link, &r));
	r.cmd = SETSOCKOPT;
	r.option.len = sizeof(r.option.value) + 1;
	EXPECT_EQ(-EINVAL, do_request(&self->link, &r));
}

TEST_F(hostile, unknown_kinds_of_socket)
{
	static const struct {
		__u32 domain;
		__u32 type;
		__u32 protocol;
		int ret;
	} kinds[] = {
		{ 0, 1, 0, -EAFNOSUPPORT },
		{ 1, 1, 0, -EAFNOSUPPORT },
		{ 16, 1, 0, -EAFNOSUPPORT },
		{ 77, 1, 0, -EAFNOSUPPORT },
		{ 0xffffffff, 1, 0, -EAFNOSUPPORT },
		{ 2, 0, 0, -ESOCKTNOSUPPORT },
		{ 2, 2, 0, -ESOCKTNOSUPPORT },
		{ 2, 3, 0, -ESOCKTNOSUPPORT },
		{ 2, 1 | 04000, 0, -ESOCKTNOSUPPORT },
		{ 2, 0xffffffff, 0, -ESOCKTNOSUPPORT },
		{ 2, 1, 17, -EPROTONOSUPPORT },
		{ 2, 1, 262, -EPROTONOSUPPORT },
		{ 2, 1, 0xffffffff, -EPROTONOSUPPORT },
	};
	struct request r = { .cmd = SOCKET, .id = 5 };
	int i;

	for (i = 0; i < ARRAY_LEN(kinds); i++) {
		r.socket.domain = kinds[i].domain;
		r.socket.type = kinds[i].type;
		r.socket.protocol = kinds[i].protocol;
		EXPECT_EQ(kinds[i].ret, do_request(&self->link, &r));
	}
	EXPECT_EQ(0, req_socket(&self->link, 5));
	EXPECT_EQ(0, req_release(&self->link, 5, false));
}

TEST_F(hostile, malformed_addresses)
{
	static const struct {
		__u16 family;
		__u32 len;
		int ret;
	} addresses[] = {
		{ 2, 0, -EINVAL },
		{ 2, 1, -EINVAL },
		{ 2, 2, -EINVAL },
		{ 2, 15, -EINVAL },
		{ 2, 29, -EINVAL },
		{ 2, 64, -EINVAL },
		{ 2, 0x80000010, -EINVAL },
		{ 2, 0xffffffff, -EINVAL },
		{ 0, 16, -EAFNOSUPPORT },
		{ 1, 16, -EAFNOSUPPORT },
		{ 77, 16, -EAFNOSUPPORT },
		{ 0x200, 16, -EAFNOSUPPORT },
		{ 10, 16, -EINVAL },
		{ 10, 27, -EINVAL },
		{ 10, 28, -EAFNOSUPPORT },
	};
	struct request r = raw_request(&self->c, opt.host,
				       opt.port + PEER_ECHO);
	int i;

	for (i = 0; i < ARRAY_LEN(addresses); i++) {
		memcpy(r.connect.addr, &addresses[i].family, 2);
		r.connect.len = addresses[i].len;
		TH_LOG("family %u len %u", addresses[i].family,
		       addresses[i].len);
		EXPECT_EQ(addresses[i].ret, req_with_socket(&self->link, &r));
	}
}

TEST_F(hostile, forbidden_addresses)
{
	static const char *const hosts[] = {
		"127.0.0.1", "127.255.255.255", "127.0.0.0", "0.0.0.0",
	};
	static const char *const nowhere[] = {
		"224.0.0.1", "255.255.255.255", "0.0.0.1", "240.0.0.1",
	};
	struct sockaddr_in6 mapped = { .sin6_family = AF_INET6 };
	struct request r;
	int i;

	for (i = 0; i < ARRAY_LEN(hosts); i++) {
		r = raw_request(&self->c, hosts[i], 22);
		EXPECT_EQ(-EACCES, req_with_socket(&self->link, &r));
	}
	for (i = 0; i < ARRAY_LEN(nowhere); i++) {
		r = raw_request(&self->c, nowhere[i], 22);
		EXPECT_GT(0, req_with_socket(&self->link, &r));
	}
	inet_pton(AF_INET6, "::ffff:127.0.0.1", &mapped.sin6_addr);
	memcpy(r.connect.addr, &mapped, 28);
	r.connect.len = 28;
	EXPECT_GT(0, req_with_socket(&self->link, &r));
}

/* Sends many requests, a ringful at a time. Returns how many gave @ret. */
static int req_many(struct link *l, __u32 cmd, __u64 id, int count, int ret)
{
	struct request r = {
		.cmd = cmd,
		.socket = { .domain = cmd == SOCKET ? 2 : 0, .type = 1 },
	};
	int sent = 0, answered = 0, found = 0;
	struct response response;

	while (answered < count) {
		for (; sent < count && sent - answered < SLOTS; sent++) {
			r.id = id + sent;
			send_request(l, &r);
		}
		if (!wait_response(l, &response, TIMEOUT_MSEC))
			return -1;
		found += response.ret == ret;
		answered++;
	}
	return found;
}

TEST_F(hostile, too_many_sockets)
{
	unsigned int more = opt.sockets + 100;
	__u64 deadline = now_msec() + TIMEOUT_MSEC;
	struct link *l = &self->link;
	int found;

	/* TCP may have yet to free the socket of an exchange before, which counts. */
	while ((found = req_many(l, SOCKET, 100000, more, 0)) < (int)opt.sockets &&
	       now_msec() < deadline)
		req_many(l, RELEASE, 100000, more, 0);
	EXPECT_EQ(opt.sockets, found);
	EXPECT_EQ(100, req_many(l, SOCKET, 200000, 100, -EMFILE));
	/* Each RELEASE makes room for one socket. */
	EXPECT_EQ(0, req_release(l, 100000, false));
	EXPECT_EQ(0, req_socket(l, 100000));
	EXPECT_EQ(-EMFILE, req_socket(l, 99999));
	EXPECT_EQ(more, req_many(l, RELEASE, 100000, more, 0));
	EXPECT_EQ(0, req_socket(l, 99999));
	EXPECT_EQ(0, req_release(l, 99999, false));
}

TEST_F(hostile, connect_twice)
{
	struct request r = raw_request(&self->c, opt.host,
				       opt.port + PEER_ECHO);
	struct link *l = &self->link;
	struct response response;
	__u32 first, second;
	char data[4];

	ASSERT_EQ(0, req_socket(l, r.id));
	first = send_request(l, &r);
	second = send_request(l, &r);
	EXPECT_EQ(-EISCONN, wait_response_to(l, second, &response));
	EXPECT_EQ(0, wait_response_to(l, first, &response));
	EXPECT_EQ(-EISCONN, do_request(l, &r));
	EXPECT_EQ(4, raw_send(l, &self->c, "ping", 4));
	EXPECT_EQ(4, raw_recv(l, &self->c, data, 4));
	EXPECT_EQ(0, req_release(l, r.id, false));
}

TEST_F(hostile, release_twice)
{
	struct link *l = &self->link;

	EXPECT_EQ(0, req_release(l, 0, false));
	EXPECT_EQ(0, req_release(l, ~0ULL, true));
	EXPECT_EQ(0, req_socket(l, 7));
	EXPECT_EQ(0, req_release(l, 7, false));
	EXPECT_EQ(0, req_release(l, 7, false));
	EXPECT_EQ(0, raw_connect(l, &self->c, opt.host, opt.port + PEER_ECHO));
	EXPECT_EQ(0, req_release(l, self->c.id, true));
	EXPECT_EQ(0, req_release(l, self->c.id, true));
}

TEST_F(hostile, release_while_connecting)
{
	struct request release = { .cmd = RELEASE, .id = self->c.id };
	struct request r = raw_request(&self->c, opt.blackhole, 80);
	struct link *l = &self->link;
	struct response response;
	__u32 connect;
	int i;

	for (i = 0; i < rounds(20); i++) {
		ASSERT_EQ(0, req_socket(l, r.id));
		connect = send_request(l, &r);
		if (i % 2)
			sleep_usec(20000);
		release.release.abort = i % 3 == 0;
		send_request(l, &release);
		/* The responses come in this order. */
		ASSERT_TRUE(wait_response(l, &response, TIMEOUT_MSEC));
		EXPECT_EQ(connect, response.req_id);
		EXPECT_EQ(-ECONNABORTED, response.ret);
		ASSERT_TRUE(wait_response(l, &response, TIMEOUT_MSEC));
		EXPECT_EQ(RELEASE, response.cmd);
		EXPECT_EQ(0, response.ret);
	}
}

TEST_F(hostile, abort_is_a_reset)
{
	struct link *l = &self->link;
	struct raw_peer peer;
	struct raw_conn c;
	int abort;

	ASSERT_TRUE(raw_peer_open(l, &peer));
	for (abort = 0; abort < 2; abort++) {
		ASSERT_TRUE(raw_open(l, &c, 1, peer.port));
		EXPECT_STREQ("ok", raw_peer_run(l, &peer, "accept"));
		EXPECT_EQ(0, raw_close(l, &c, abort));
		EXPECT_STREQ(abort ? "rst" : "fin",
			     raw_peer_run(l, &peer, "end"));
	}
	EXPECT_EQ(0, raw_close(l, &peer.control, false));
}

static __u64 next_random(__u64 *state)
{
	*state = *state * 6364136223846793005ULL + 1442695040888963407ULL;
	return *state >> 16;
}

TEST_F(hostile, garbage)
{
	struct link *l = &self->link;
	struct response response;
	unsigned int i, j, answered = 0;
	__u64 random = opt.seed;
	__u32 slot[16];

	TH_LOG("seed %llu", opt.seed);
	for (i = 0; i < rounds(10000); i++) {
		for (j = 0; j < 16; j++)
			slot[j] = next_random(&random);
		/* Half of the slots look a little like requests. */
		if (i % 2) {
			slot[1] %= COMMANDS + 2;
			slot[2] = slot[2] % 8 + 1;
			slot[3] = 0;
			slot[4] = slot[4] % 4 ? 2 : slot[4] % 16;
			slot[5] = slot[5] % 4 ? 1 : slot[5] % 64;
			slot[6] = slot[6] % 4 ? 0 : slot[6];
			slot[11] = slot[11] % 4 ? 16 : slot[11] % 64;
			slot[13] = self->c.pages.refs[slot[13] % 17];
			slot[14] = slot[14] % 2 ? self->c.port : slot[14] % 64;
		}
		put_slot(l, slot);
		while (i + 1 - answered > SLOTS / 2 &&
		       wait_response(l, &response, TIMEOUT_MSEC))
			answered++;
		ASSERT_GE(SLOTS / 2, i + 1 - answered);
	}
	while (answered < i && wait_response(l, &response, TIMEOUT_MSEC))
		answered++;
	EXPECT_EQ(i, answered);
	for (i = 1; i <= 8; i++)
		EXPECT_EQ(0, req_release(l, i, true));
}

XENSOCK_TEST_MAIN
