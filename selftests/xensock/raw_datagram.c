// SPDX-License-Identifier: GPL-2.0
/*
 * A frontend that keeps to the rules, with datagrams: sending, receiving, and errors. Needs a guest
 * without the xensock module, and a device whose policy allows to bind.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kselftest_harness.h"
#include "raw.h"
#include "util.h"

#define DATAGRAM_MAX 65507

FIXTURE(datagram) {
	struct link link;
	struct raw_peer peer;
	unsigned int port;	/* the peer's */
	struct raw_conn c;
};

FIXTURE_SETUP(datagram)
{
	struct link *l = &self->link;

	raw_mode = DATAGRAMS;
	ASSERT_TRUE(link_up(l));
	ASSERT_TRUE(raw_peer_open(l, &self->peer));
	self->port = raw_peer_udp(l, &self->peer, opt.host);
	ASSERT_NE(0, self->port);
	ASSERT_TRUE(dgram_open(l, &self->c, 6));
}

FIXTURE_TEARDOWN(datagram)
{
	struct link *l = &self->link;

	EXPECT_EQ(0, load(&self->c.words[IN_ERROR]));
	EXPECT_EQ(0, load(&self->c.words[OUT_ERROR]));
	EXPECT_EQ(0, raw_close(l, &self->c, false));
	EXPECT_EQ(0, raw_close(l, &self->peer.control, false));
	EXPECT_TRUE(link_works(l));
	link_down(l);
}

/* Sends a command to the peer and returns its answer. */
#define PEER_RUN(format, ...) ({					\
	char _text[100];						\
									\
	snprintf(_text, sizeof(_text), format, ##__VA_ARGS__);		\
	raw_peer_run(&self->link, &self->peer, _text);			\
})

/* Checks that the peer has received a datagram of ours, from this address. */
#define CHECK_RECEIVED(len, seed, sin) do {				\
	struct sockaddr_storage _ss = {};				\
	char _name[ADDRESS_TEXT], _expected[128];			\
									\
	memcpy(&_ss, (sin), sizeof(*(sin)));				\
	snprintf(_expected, sizeof(_expected), "ok %d %s", len,		\
		 address_text(&_ss, _name));				\
	EXPECT_STREQ(_expected, PEER_RUN("recvfrom %d", seed));		\
} while (0)

/* Binds the socket, and returns the address at which it is reached. */
static bool bind_any(struct link *l, struct raw_conn *c, struct sockaddr_in *name)
{
	return !req_bind(l, c->id, opt.host, 0, name) && name->sin_port &&
	       name->sin_family == AF_INET;
}

TEST_F(datagram, there_and_back)
{
	struct sockaddr_in name, from = address(opt.host, self->port);
	struct link *l = &self->link;
	struct raw_conn *c = &self->c;
	struct frame f;

	EXPECT_TRUE(dgram_send(l, c, opt.host, self->port, 100, 1));
	EXPECT_TRUE(dgram_drained(c));
	ASSERT_EQ(0, req_name(l, c->id, false, &name));
	EXPECT_NE(0, name.sin_port);
	EXPECT_EQ(0, name.sin_addr.s_addr);
	name.sin_addr = from.sin_addr;
	CHECK_RECEIVED(100, 1, &name);
	EXPECT_STREQ("ok 50", PEER_RUN("sendto %u 50 2", ntohs(name.sin_port)));
	ASSERT_TRUE(dgram_recv(l, c, &f, 2));
	EXPECT_EQ(0, f.type);
	EXPECT_EQ(50, f.len);
	EXPECT_EQ(16, f.addr_len);
	EXPECT_EQ(0, memcmp(f.addr, &from, sizeof(from)));
}

/* Lengths around every boundary, often enough to wrap. */
TEST_F(datagram, of_any_size)
{
	static const unsigned int sizes[] = {
		0, 1, 7, 8, 9, 15, 16, 1472, 1473, 4056, 4057, 9000, 30000,
		DATAGRAM_MAX,
	};
	struct sockaddr_in name;
	struct link *l = &self->link;
	struct raw_conn *c = &self->c;
	struct frame f;
	char expected[32];
	int i, n;

	ASSERT_TRUE(bind_any(l, c, &name));
	for (i = 0; i < 2 * ARRAY_LEN(sizes); i++) {
		n = sizes[i % ARRAY_LEN(sizes)];
		TH_LOG("%d bytes", n);
		ASSERT_TRUE(dgram_send(l, c, opt.host, self->port, n, i));
		CHECK_RECEIVED(n, i, &name);
		snprintf(expected, sizeof(expected), "ok %d", n);
		EXPECT_STREQ(expected, PEER_RUN("sendto %u %d %d", ntohs(name.sin_port),
						n, i));
		ASSERT_TRUE(dgram_recv(l, c, &f, i));
		EXPECT_EQ(n, f.len);
		EXPECT_EQ(0, f.type);
	}
	EXPECT_GT(c->out_prod, c->size);
	EXPECT_GT(c->in_cons, c->size);
}

TEST_F(datagram, several_at_once)
{
	struct sockaddr_in name;
	struct link *l = &self->link;
	struct raw_conn *c = &self->c;
	const int all = 8 * rounds(100);
	struct frame f;
	char text[32];
	int i, j;

	ASSERT_TRUE(bind_any(l, c, &name));
	snprintf(text, sizeof(text), "echoudp %d", all);
	raw_peer_send(l, &self->peer, text);
	for (i = 0; i < all; i += 8) {
		for (j = i; j < i + 8; j++)
			ASSERT_TRUE(dgram_send(l, c, opt.host, self->port,
					       j * 3 % 1400, j));
		for (j = i; j < i + 8; j++) {
			ASSERT_TRUE(dgram_recv(l, c, &f, j));
			ASSERT_EQ(j * 3 % 1400, f.len);
		}
	}
	snprintf(text, sizeof(text), "ok %d", all);
	EXPECT_STREQ(text, raw_peer_answer(l, &self->peer));
}

TEST_F(datagram, with_a_peer)
{
	struct sockaddr_in name, peer, to = address(opt.host, self->port);
	struct link *l = &self->link;
	struct raw_conn *c = &self->c;
	struct raw_conn other;
	struct frame f;

	EXPECT_EQ(-ENOTCONN, req_name(l, c->id, true, &peer));
	EXPECT_TRUE(dgram_send(l, c, NULL, 0, 5, 1));
	EXPECT_EQ(EDESTADDRREQ, dgram_error(l, c));

	/* The name is the address that the socket has got. */
	EXPECT_EQ(0, req_connect(l, c->id, opt.host, self->port, &name));
	EXPECT_EQ(to.sin_addr.s_addr, name.sin_addr.s_addr);
	EXPECT_NE(0, name.sin_port);
	EXPECT_EQ(0, req_name(l, c->id, true, &peer));
	EXPECT_EQ(0, memcmp(&to, &peer, sizeof(to)));
	EXPECT_TRUE(dgram_send(l, c, NULL, 0, 5, 2));
	CHECK_RECEIVED(5, 2, &name);

	/* A datagram of another sender is not received, a later one of the peer is. */
	ASSERT_TRUE(dgram_open(l, &other, 1));
	EXPECT_TRUE(dgram_send(l, &other, opt.host, ntohs(name.sin_port), 6, 3));
	EXPECT_TRUE(dgram_drained(&other));
	EXPECT_STREQ("ok 7", PEER_RUN("sendto %u 7 4", ntohs(name.sin_port)));
	ASSERT_TRUE(dgram_recv(l, c, &f, 4));
	EXPECT_EQ(7, f.len);

	/* Sends to another peer, then to an explicit address, then disconnects. */
	ASSERT_EQ(0, req_name(l, other.id, false, &to));
	EXPECT_EQ(0, req_connect(l, c->id, opt.host, ntohs(to.sin_port), &name));
	EXPECT_TRUE(dgram_send(l, c, NULL, 0, 8, 5));
	ASSERT_TRUE(dgram_recv(l, &other, &f, 5));
	EXPECT_EQ(0, memcmp(f.addr, &name, sizeof(name)));
	EXPECT_TRUE(dgram_send(l, c, opt.host, self->port, 9, 6));
	CHECK_RECEIVED(9, 6, &name);
	EXPECT_EQ(0, req_connect(l, c->id, NULL, 0, &name));
	EXPECT_EQ(0, name.sin_addr.s_addr);
	EXPECT_EQ(0, name.sin_port);
	EXPECT_EQ(-ENOTCONN, req_name(l, c->id, true, &peer));
	EXPECT_TRUE(dgram_send(l, c, NULL, 0, 5, 1));
	EXPECT_EQ(EDESTADDRREQ, dgram_error(l, c));
	EXPECT_EQ(0, raw_close(l, &other, false));
}

/* A bound address stays when the peer is forgotten. */
TEST_F(datagram, forgets_the_peer_only)
{
	struct sockaddr_in name, later;
	struct link *l = &self->link;
	struct raw_conn *c = &self->c;
	struct raw_conn other;
	unsigned int port;

	ASSERT_TRUE(dgram_open(l, &other, 1));
	ASSERT_TRUE(bind_any(l, &other, &name));
	port = ntohs(name.sin_port);
	EXPECT_EQ(0, req_connect(l, other.id, opt.host, self->port, NULL));
	EXPECT_EQ(0, req_connect(l, other.id, NULL, 0, &later));
	EXPECT_EQ(name.sin_addr.s_addr, later.sin_addr.s_addr);
	EXPECT_EQ(0, later.sin_port);
	EXPECT_EQ(0, raw_close(l, &other, false));

	ASSERT_EQ(0, req_bind(l, c->id, opt.host, port, &name));
	EXPECT_EQ(0, req_connect(l, c->id, opt.host, self->port, NULL));
	EXPECT_EQ(0, req_connect(l, c->id, NULL, 0, &later));
	EXPECT_EQ(0, memcmp(&name, &later, sizeof(name)));
	EXPECT_EQ(0, req_connect(l, c->id, NULL, 0, NULL));
}

TEST_F(datagram, refused)
{
	struct sockaddr_in name;
	struct link *l = &self->link;
	struct raw_conn *c = &self->c;

	EXPECT_STREQ("ok", PEER_RUN("closeudp"));
	/*
	 * A socket without a peer is not told of the error. If the error comes late, a socket that
	 * has another peer by then is not told either.
	 */
	EXPECT_TRUE(dgram_send(l, c, opt.host, 1, 5, 1));
	EXPECT_EQ(0, req_connect(l, c->id, opt.host, self->port, &name));
	EXPECT_TRUE(dgram_send(l, c, NULL, 0, 5, 1));
	EXPECT_EQ(ECONNREFUSED, dgram_error(l, c));
	EXPECT_TRUE(dgram_send(l, c, NULL, 0, 5, 1));
	EXPECT_EQ(ECONNREFUSED, dgram_error(l, c));
	/* The socket is still usable. */
	self->port = raw_peer_udp(l, &self->peer, opt.host);
	EXPECT_EQ(0, req_connect(l, c->id, opt.host, self->port, &name));
	EXPECT_TRUE(dgram_send(l, c, NULL, 0, 5, 2));
	CHECK_RECEIVED(5, 2, &name);
	EXPECT_EQ(c->in_cons, load(&c->words[IN_PROD]));
}

/* Each datagram that cannot be sent is reported, and does not block others. */
TEST_F(datagram, errors)
{
	struct sockaddr_in6 sin6 = { .sin6_family = AF_INET6, .sin6_port = 1 };
	static const struct {
		const char *host;
		unsigned int port;
		unsigned int len;
		int error;
	} cases[] = {
		{ NULL, 0, 5, EDESTADDRREQ },
		{ "192.0.2.1", 0, 5, EINVAL },
		{ "127.0.0.1", 7001, 5, EACCES },
		{ "0.0.0.0", 7001, 5, EACCES },
		{ "192.0.2.255", 7001, 5, EACCES },
		{ "192.0.2.1", 7001, DATAGRAM_MAX + 1, EMSGSIZE },
		{ "192.0.2.1", 7001, 65535, EMSGSIZE },
		{ "192.0.2.1", 7001, 65536, EMSGSIZE },
		{ "203.0.113.1", 7001, 5, EHOSTUNREACH },
		{ "198.51.100.1", 7001, 5, ENETUNREACH },
	};
	struct link *l = &self->link;
	struct raw_conn *c = &self->c;
	struct frame f;
	int i;

	for (i = 0; i < ARRAY_LEN(cases); i++) {
		TH_LOG("%s %u, %u bytes", cases[i].host, cases[i].port,
		       cases[i].len);
		ASSERT_TRUE(dgram_send(l, c, cases[i].host, cases[i].port,
				       cases[i].len, 1));
		EXPECT_EQ(cases[i].error, dgram_error(l, c));
	}
	f = (struct frame){ .len = 5, .addr_len = sizeof(sin6) };
	memcpy(f.addr, &sin6, sizeof(sin6));
	ASSERT_TRUE(dgram_put(l, c, &f, 1));
	EXPECT_EQ(EAFNOSUPPORT, dgram_error(l, c));
	/* All at once: the errors come in order. */
	for (i = 0; i < ARRAY_LEN(cases); i++)
		ASSERT_TRUE(dgram_send(l, c, cases[i].host, cases[i].port,
				       cases[i].len, 1));
	for (i = 0; i < ARRAY_LEN(cases); i++)
		EXPECT_EQ(cases[i].error, dgram_error(l, c));
	EXPECT_EQ(c->in_cons, load(&c->words[IN_PROD]));

	EXPECT_EQ(-EACCES, req_connect(l, c->id, "127.0.0.1", 7001, NULL));
	EXPECT_EQ(-EACCES, req_connect(l, c->id, "192.0.2.255", 7001, NULL));
	EXPECT_EQ(-ENETUNREACH, req_connect(l, c->id, opt.noroute, 1, NULL));
}

static int set_bytes(struct link *l, __u64 id, __u32 level, __u32 name,
		     const void *value, size_t len)
{
	struct request r = {
		.cmd = SETSOCKOPT,
		.id = id,
		.option = { .level = level, .name = name, .len = len },
	};

	memcpy(r.option.value, value, len);
	return do_request(l, &r);
}

static int set_option(struct link *l, __u64 id, __u32 level, __u32 name,
		      __u32 value)
{
	return set_bytes(l, id, level, name, &value, sizeof(value));
}

/* Returns the value, or a negative error. */
static int get_option(struct link *l, __u64 id, __u32 level, __u32 name)
{
	struct request r = {
		.cmd = GETSOCKOPT,
		.id = id,
		.option = { .level = level, .name = name },
	};
	struct response response;
	int ret = wait_response_to(l, send_request(l, &r), &response);

	if (!ret && response.total == 4)
		memcpy(&ret, response.value, 4);
	return ret;
}

TEST_F(datagram, broadcast)
{
	struct link *l = &self->link;
	struct raw_conn *c = &self->c;

	self->port = raw_peer_udp(l, &self->peer, "0.0.0.0");
	ASSERT_EQ(0, set_option(l, c->id, SOL_SOCKET, SO_BROADCAST, 1));
	ASSERT_TRUE(dgram_send(l, c, "192.0.2.255", self->port, 5, 1));
	EXPECT_EQ(0, strncmp("ok 5 ", PEER_RUN("recvfrom 1"), 5));
	EXPECT_EQ(0, req_connect(l, c->id, "192.0.2.255", self->port, NULL));
	ASSERT_TRUE(dgram_send(l, c, NULL, 0, 6, 2));
	EXPECT_EQ(0, strncmp("ok 6 ", PEER_RUN("recvfrom 2"), 5));
	EXPECT_EQ(0, req_connect(l, c->id, NULL, 0, NULL));
	ASSERT_EQ(0, set_option(l, c->id, SOL_SOCKET, SO_BROADCAST, 0));
	ASSERT_TRUE(dgram_send(l, c, "192.0.2.255", self->port, 5, 1));
	EXPECT_EQ(EACCES, dgram_error(l, c));
}

TEST_F(datagram, options)
{
	static const struct {
		__u32 level;
		__u32 name;
		int value;
		int set;
		int get;
	} options[] = {
		{ IPPROTO_IP, IP_TOS, 0x10, 0, 0x10 },
		{ IPPROTO_IP, IP_TTL, 9, 0, 9 },
		{ IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO, 0,
		  IP_PMTUDISC_DO },
		{ IPPROTO_IP, IP_MTU, 0, -ENOPROTOOPT, -ENOTCONN },
		{ IPPROTO_IP, IP_MULTICAST_TTL, 4, 0, 4 },
		{ IPPROTO_IP, IP_MULTICAST_LOOP, 0, 0, 0 },
		{ IPPROTO_IP, IP_RECVERR, 1, -ENOPROTOOPT, -ENOPROTOOPT },
		{ IPPROTO_IP, IP_PKTINFO, 1, -ENOPROTOOPT, -ENOPROTOOPT },
		{ IPPROTO_TCP, 1, 1, -ENOPROTOOPT, -ENOPROTOOPT },
		{ IPPROTO_UDP, 1, 1, -ENOPROTOOPT, -ENOPROTOOPT },
		{ 22611, 1, 1, -ENOPROTOOPT, -ENOPROTOOPT },
		{ SOL_SOCKET, SO_REUSEADDR, 1, 0, -ENOPROTOOPT },
		{ SOL_SOCKET, SO_REUSEPORT, 1, 0, -ENOPROTOOPT },
		{ SOL_SOCKET, SO_MARK, 1, -ENOPROTOOPT, -ENOPROTOOPT },
		{ SOL_SOCKET, SO_RCVBUF, 9999, -ENOPROTOOPT, -ENOPROTOOPT },
	};
	struct link *l = &self->link;
	__u64 id = self->c.id;
	int i;

	for (i = 0; i < ARRAY_LEN(options); i++) {
		TH_LOG("level %u name %u", options[i].level, options[i].name);
		EXPECT_EQ(options[i].set,
			  set_option(l, id, options[i].level, options[i].name,
				     options[i].value));
		EXPECT_EQ(options[i].get,
			  get_option(l, id, options[i].level,
				     options[i].name));
	}
	/* A connected socket has an MTU. */
	EXPECT_EQ(0, req_connect(l, id, opt.host, self->port, NULL));
	EXPECT_LE(1500, get_option(l, id, IPPROTO_IP, IP_MTU));
}

TEST_F(datagram, addresses_of_its_own)
{
	struct sockaddr_in name, same;
	struct link *l = &self->link;
	struct raw_conn *c = &self->c;
	struct raw_conn other;

	EXPECT_EQ(-EACCES, req_bind(l, c->id, opt.host, 53, NULL));
	EXPECT_EQ(-EADDRNOTAVAIL, req_bind(l, c->id, "198.51.100.9", 0, NULL));
	ASSERT_TRUE(bind_any(l, c, &name));
	EXPECT_EQ(-EINVAL, req_bind(l, c->id, opt.host, 0, NULL));
	EXPECT_EQ(0, req_name(l, c->id, false, &same));
	EXPECT_EQ(0, memcmp(&name, &same, sizeof(name)));
	ASSERT_TRUE(dgram_open(l, &other, 1));
	EXPECT_EQ(-EADDRINUSE,
		  req_bind(l, other.id, opt.host, ntohs(name.sin_port), NULL));
	/* A socket that got a port automatically cannot be bound any more. */
	EXPECT_EQ(0, req_connect(l, other.id, opt.host, self->port, NULL));
	EXPECT_EQ(-EINVAL, req_bind(l, other.id, opt.host, 0, NULL));
	EXPECT_EQ(0, raw_close(l, &other, false));
}

/* Datagrams that arrive before there is a ring are dropped and counted. Later ones are not. */
TEST_F(datagram, ring_that_comes_late)
{
	struct link *l = &self->link;
	struct sockaddr_in name;
	__u64 deadline = now_msec() + TIMEOUT_MSEC;
	unsigned int drops = 0;
	struct frame f;
	struct raw_conn c;

	ASSERT_TRUE(raw_ring(l, &c, 2));
	EXPECT_EQ(-EBADF, req_attach(l, &c));
	ASSERT_EQ(0, req_dgram(l, c.id, AF_INET));
	ASSERT_EQ(0, req_bind(l, c.id, opt.host, 0, &name));
	EXPECT_STREQ("ok 7", PEER_RUN("sendto %u 7 1", ntohs(name.sin_port)));
	EXPECT_STREQ("ok 65000", PEER_RUN("sendto %u 65000 1", ntohs(name.sin_port)));
	while (drops < 2 && now_msec() < deadline)
		ASSERT_EQ(1, sscanf(PEER_RUN("drops %u", ntohs(name.sin_port)),
				    "ok %u", &drops));
	EXPECT_EQ(2, drops);
	EXPECT_EQ(0, req_connect(l, c.id, opt.host, self->port, NULL));
	ASSERT_EQ(0, req_attach(l, &c));
	EXPECT_STREQ("ok 8", PEER_RUN("sendto %u 8 2", ntohs(name.sin_port)));
	ASSERT_TRUE(dgram_recv(l, &c, &f, 2));
	EXPECT_EQ(8, f.len);
	EXPECT_EQ(-EISCONN, req_attach(l, &c));
	EXPECT_EQ(0, req_release(l, c.id, false));
	/* A socket that never gets a ring, and one that gets the same ring again. */
	ASSERT_EQ(0, req_dgram(l, c.id, AF_INET));
	EXPECT_EQ(0, req_connect(l, c.id, opt.host, self->port, NULL));
	EXPECT_EQ(0, req_release(l, c.id, false));
	EXPECT_EQ(-EBADF, req_connect(l, c.id, opt.host, self->port, NULL));
	raw_free(l, &c);
}

TEST_F(datagram, what_only_streams_do)
{
	struct request requests[] = {
		{ .cmd = SHUTDOWN, .how = SHUT_WR },
		{ .cmd = SHUTDOWN, .how = SHUT_RDWR },
		{ .cmd = LISTEN, .backlog = 5 },
		{ .cmd = ACCEPT, .accept = { .id_new = 5 } },
		{ .cmd = POLL },
	};
	struct link *l = &self->link;
	struct request attach;
	int i;

	EXPECT_EQ(0, req_connect(l, self->c.id, opt.host, self->port, NULL));
	for (i = 0; i < ARRAY_LEN(requests); i++) {
		requests[i].id = self->c.id;
		EXPECT_EQ(-EOPNOTSUPP, do_request(l, &requests[i]));
	}
	EXPECT_EQ(-EEXIST, req_dgram(l, self->c.id, AF_INET));
	/* Requests that streams do not support. */
	attach = (struct request){ .cmd = ATTACH, .id = 7 };
	EXPECT_EQ(-EINVAL, req_with_socket(l, &attach));
	EXPECT_EQ(-EAFNOSUPPORT,
		  req_connect(l, self->peer.control.id, NULL, 0, NULL));
}

/* Datagrams without room are dropped and counted. The others are complete. */
TEST_F(datagram, no_room)
{
	struct link *l = &self->link;
	struct sockaddr_in name;
	__u64 deadline = now_msec() + TIMEOUT_MSEC;
	unsigned int drops = 0;
	struct frame f;
	struct raw_conn c;
	int i;

	ASSERT_TRUE(dgram_open(l, &c, 1));
	ASSERT_TRUE(bind_any(l, &c, &name));
	/* Three datagrams fit into 4096 bytes and leave 976. */
	for (i = 1; i <= 20; i++)
		EXPECT_STREQ("ok 1000", PEER_RUN("sendto %u 1000 %d",
						 ntohs(name.sin_port), i));
	while (drops < 17 && now_msec() < deadline)
		ASSERT_EQ(1, sscanf(PEER_RUN("drops %u", ntohs(name.sin_port)),
				    "ok %u", &drops));
	EXPECT_EQ(17, drops);
	for (i = 1; i <= 3; i++) {
		ASSERT_TRUE(dgram_next(l, &c, &f, i));
		EXPECT_EQ(1000, f.len);
	}
	EXPECT_EQ(c.in_cons, load(&c.words[IN_PROD]));
	/* A frame that fills the ring to the last byte. */
	EXPECT_STREQ("ok 4056", PEER_RUN("sendto %u 4056 5", ntohs(name.sin_port)));
	ASSERT_TRUE(dgram_recv(l, &c, &f, 5));
	EXPECT_EQ(4056, f.len);
	/* A larger datagram is dropped, and a small one behind it arrives. */
	EXPECT_STREQ("ok 4057", PEER_RUN("sendto %u 4057 6", ntohs(name.sin_port)));
	EXPECT_STREQ("ok 1", PEER_RUN("sendto %u 1 7", ntohs(name.sin_port)));
	ASSERT_TRUE(dgram_recv(l, &c, &f, 7));
	EXPECT_EQ(1, f.len);
	EXPECT_STREQ("ok 18", PEER_RUN("drops %u", ntohs(name.sin_port)));

	/* Errors without room are dropped too. The datagrams are still sent. */
	EXPECT_STREQ("ok 4050", PEER_RUN("sendto %u 4050 8", ntohs(name.sin_port)));
	while (load(&c.words[IN_PROD]) - c.in_cons != FRAME_LEN(4050))
		sleep_usec(1000);
	EXPECT_TRUE(dgram_send(l, &c, NULL, 0, 5, 1));
	EXPECT_TRUE(dgram_send(l, &c, opt.host, self->port, 5, 9));
	CHECK_RECEIVED(5, 9, &name);
	EXPECT_STREQ("ok 19", PEER_RUN("drops %u", ntohs(name.sin_port)));
	ASSERT_TRUE(dgram_recv(l, &c, &f, 8));
	EXPECT_EQ(c.in_cons, load(&c.words[IN_PROD]));
	EXPECT_EQ(0, raw_close(l, &c, false));
}

/* The buffer of UDP is full until the address of the neighbour is given up. */
TEST_F(datagram, no_room_to_send)
{
	struct sockaddr_in name;
	struct link *l = &self->link;
	struct raw_conn *c = &self->c;
	__u64 began = now_msec();
	int i;

	ASSERT_TRUE(bind_any(l, c, &name));
	for (i = 0; i < 100; i++)
		ASSERT_TRUE(dgram_send(l, c, opt.blackhole, 9, 8000, i));
	EXPECT_TRUE(dgram_send(l, c, opt.host, self->port, 5, 1));
	EXPECT_TRUE(dgram_drained(c));
	CHECK_RECEIVED(5, 1, &name);
	/* Each buffer holds a part, and Linux tries to resolve the address for a second or more. */
	EXPECT_LT(AT_LEAST_OF(1000), now_msec() - began);
}

/* A socket can be released with datagrams in both directions. */
TEST_F(datagram, many_sockets)
{
	struct sockaddr_in name;
	struct link *l = &self->link;
	struct raw_conn c;
	int i;

	for (i = 0; i < rounds(300); i++) {
		ASSERT_TRUE(dgram_open(l, &c, 1));
		ASSERT_TRUE(bind_any(l, &c, &name));
		dgram_send(l, &c, opt.host, ntohs(name.sin_port), i * 10, i);
		dgram_send(l, &c, opt.blackhole, 9, 100, i);
		dgram_send(l, &c, NULL, 0, 5, 1);
		ASSERT_EQ(0, raw_close(l, &c, i & 1));
	}
}

TEST_F(datagram, ipv6)
{
	struct sockaddr_in6 from, to = {
		.sin6_family = AF_INET6,
	};
	struct link *l = &self->link;
	unsigned int port;
	struct frame f;
	struct raw_conn c;

	ASSERT_TRUE(raw_ring(l, &c, 2));
	ASSERT_EQ(0, req_dgram(l, c.id, AF_INET6));
	ASSERT_EQ(0, req_attach(l, &c));
	port = raw_peer_udp(l, &self->peer, opt.host6);
	ASSERT_NE(0, port);
	to.sin6_port = htons(port);
	inet_pton(AF_INET6, opt.host6, &to.sin6_addr);
	f = (struct frame){ .len = 700, .addr_len = sizeof(to) };
	memcpy(f.addr, &to, sizeof(to));
	raw_peer_send(l, &self->peer, "echoudp 1");
	ASSERT_TRUE(dgram_put(l, &c, &f, 3));
	ASSERT_TRUE(dgram_recv(l, &c, &f, 3));
	EXPECT_STREQ("ok 1", raw_peer_answer(l, &self->peer));
	EXPECT_EQ(28, f.addr_len);
	memcpy(&from, f.addr, sizeof(from));
	EXPECT_EQ(0, memcmp(&to.sin6_addr, &from.sin6_addr, 16));
	EXPECT_EQ(to.sin6_port, from.sin6_port);

	/* IPv4 through the IPv6 socket, but not dom0's loopback. */
	port = raw_peer_udp(l, &self->peer, opt.host);
	to.sin6_port = htons(port);
	inet_pton(AF_INET6, "::ffff:192.0.2.1", &to.sin6_addr);
	f = (struct frame){ .len = 70, .addr_len = sizeof(to) };
	memcpy(f.addr, &to, sizeof(to));
	raw_peer_send(l, &self->peer, "echoudp 1");
	ASSERT_TRUE(dgram_put(l, &c, &f, 4));
	ASSERT_TRUE(dgram_recv(l, &c, &f, 4));
	EXPECT_STREQ("ok 1", raw_peer_answer(l, &self->peer));
	EXPECT_EQ(0, memcmp(&to, f.addr, 24));
	inet_pton(AF_INET6, "::ffff:127.0.0.1", &to.sin6_addr);
	memcpy(f.addr, &to, sizeof(to));
	ASSERT_TRUE(dgram_put(l, &c, &f, 4));
	EXPECT_EQ(EACCES, dgram_error(l, &c));
	to.sin6_addr = in6addr_any;
	memcpy(f.addr, &to, sizeof(to));
	ASSERT_TRUE(dgram_put(l, &c, &f, 4));
	EXPECT_EQ(EACCES, dgram_error(l, &c));
	/* This socket has no IPv4 address. */
	ASSERT_TRUE(dgram_send(l, &c, opt.host, port, 5, 1));
	EXPECT_EQ(EAFNOSUPPORT, dgram_error(l, &c));
	EXPECT_EQ(0, raw_close(l, &c, false));
}

static struct request bind6(__u64 id, const char *host, __u32 scope, unsigned int port)
{
	struct request r = { .cmd = BIND, .id = id };
	struct sockaddr_in6 sin6 = {
		.sin6_family = AF_INET6,
		.sin6_port = htons(port),
		.sin6_scope_id = scope,
	};

	inet_pton(AF_INET6, host, &sin6.sin6_addr);
	memcpy(r.bind.addr, &sin6, sizeof(sin6));
	r.bind.len = sizeof(sin6);
	return r;
}

/* Linux is not asked for an address that the policy forbids, so nothing has happened. */
TEST_F(datagram, may_not_bind_to_an_interface)
{
	struct link *l = &self->link;
	struct request r;
	int type;

	for (type = 1; type <= 2; type++) {
		r = (struct request){ .cmd = SOCKET, .id = 0x6666,
				      .socket = { .domain = AF_INET6, .type = type } };
		ASSERT_EQ(0, do_request(l, &r));
		r = bind6(0x6666, "fe80::1", 1, 80);
		EXPECT_EQ(-EACCES, do_request(l, &r));
		r = bind6(0x6666, "::", 0, 0);
		EXPECT_EQ(0, do_request(l, &r));
		EXPECT_EQ(0, req_release(l, 0x6666, false));
	}
}

static struct request connect6(__u64 id, const char *host, __u32 scope, unsigned int port)
{
	struct request r = bind6(id, host, scope, port);
	struct request c = { .cmd = CONNECT, .id = id, .connect = { .len = r.bind.len } };

	memcpy(c.connect.addr, r.bind.addr, sizeof(c.connect.addr));
	return c;
}

/* Sends a datagram to a port that nobody has. */
static bool send6(struct link *l, struct raw_conn *c, const char *host, __u32 scope)
{
	struct request r = bind6(c->id, host, scope, 9);
	struct frame f = { .len = 5, .addr_len = r.bind.len };

	memcpy(f.addr, r.bind.addr, r.bind.len);
	return dgram_put(l, c, &f, 1);
}

/*
 * With a scope, Linux sends through that interface to any address from then on. That is not for the
 * guest to choose. --scope is the interface of dom0's fe80::1.
 */
TEST_F(datagram, tied_to_an_interface)
{
	static const char *const others[] = { "2001:db8::1", "::ffff:192.0.2.1" };
	struct link *l = &self->link;
	struct raw_conn c, bound;
	struct request r;
	int i;

	if (!opt.scope)
		SKIP(return, "no --scope");
	ASSERT_TRUE(raw_ring(l, &c, 2));
	ASSERT_EQ(0, req_dgram(l, c.id, AF_INET6));
	ASSERT_EQ(0, req_attach(l, &c));
	r = connect6(c.id, "fe80::1", opt.scope, 9);
	ASSERT_EQ(0, do_request(l, &r));
	for (i = 0; i < ARRAY_LEN(others); i++) {
		ASSERT_TRUE(send6(l, &c, others[i], 0));
		EXPECT_EQ(ENETUNREACH, dgram_error(l, &c));
		r = connect6(c.id, others[i], 0, 9);
		EXPECT_EQ(-ENETUNREACH, do_request(l, &r));
	}
	/* Nobody is there, so this is how a datagram that was sent ends. */
	ASSERT_TRUE(send6(l, &c, "fe80::1", 0));
	EXPECT_EQ(ECONNREFUSED, dgram_error(l, &c));
	/* It is so even if that fails. */
	EXPECT_EQ(0, req_connect(l, c.id, NULL, 0, NULL));
	r = connect6(c.id, others[0], 0, 9);
	EXPECT_EQ(0, do_request(l, &r));
	r = connect6(c.id, "fe80::1", opt.scope + 1000, 9);
	EXPECT_GT(0, do_request(l, &r));
	ASSERT_TRUE(dgram_send(l, &c, NULL, 0, 5, 1));
	EXPECT_EQ(ENETUNREACH, dgram_error(l, &c));
	/* Linux ends it together with the association. */
	EXPECT_EQ(0, req_connect(l, c.id, NULL, 0, NULL));
	r = connect6(c.id, others[0], 0, 9);
	EXPECT_EQ(0, do_request(l, &r));
	EXPECT_EQ(0, raw_close(l, &c, false));

	ASSERT_TRUE(raw_ring(l, &bound, 2));
	ASSERT_EQ(0, req_dgram(l, bound.id, AF_INET6));
	r = bind6(bound.id, "fe80::1", opt.scope, 0);
	EXPECT_EQ(0, do_request(l, &r));
	r = connect6(bound.id, others[0], 0, 9);
	EXPECT_EQ(-ENETUNREACH, do_request(l, &r));
	EXPECT_EQ(0, raw_close(l, &bound, false));
}

/* Waits for the next response, without sleeping. */
static bool take_at_once(struct link *l, struct response *response)
{
	__u64 deadline = now_msec() + TIMEOUT_MSEC;

	while (!take_response(l, response))
		if (now_msec() > deadline)
			return false;
	return true;
}

/*
 * A socket whose BIND to an interface has failed can only be released. From the response to RELEASE
 * on, another socket can have its ring.
 */
TEST_F(datagram, released_after_a_failed_bind)
{
	struct link *l = &self->link;
	struct response response;
	struct request bind, release;
	struct raw_conn c, other;
	int i;

	for (i = 0; i < rounds(200); i++) {
		ASSERT_TRUE(raw_ring(l, &c, 2));
		other = c;
		other.id = l->next_id++;
		ASSERT_EQ(0, req_dgram(l, c.id, AF_INET6));
		ASSERT_EQ(0, req_dgram(l, other.id, AF_INET6));
		ASSERT_EQ(0, req_attach(l, &c));
		bind = bind6(c.id, "2001:db8:dead::1", 1, 0);
		release = (struct request){ .cmd = RELEASE, .id = c.id };
		send_request(l, &bind);
		send_request(l, &release);
		ASSERT_TRUE(take_at_once(l, &response));
		EXPECT_EQ(bind.req_id, response.req_id);
		EXPECT_EQ(-EADDRNOTAVAIL, response.ret);
		ASSERT_TRUE(take_at_once(l, &response));
		EXPECT_EQ(0, req_attach(l, &other));
		EXPECT_EQ(release.req_id, response.req_id);
		EXPECT_EQ(0, response.ret);
		EXPECT_EQ(0, req_release(l, other.id, false));
		raw_free(l, &c);
	}
}

/* Nothing but RELEASE is possible after that. */
TEST_F(datagram, unusable_after_a_failed_bind)
{
	struct link *l = &self->link;
	struct sockaddr_in name;
	struct request r;
	struct raw_conn c;

	ASSERT_TRUE(raw_ring(l, &c, 2));
	ASSERT_EQ(0, req_dgram(l, c.id, AF_INET6));
	r = bind6(c.id, "2001:db8:dead::1", 1, 0);
	EXPECT_EQ(-EADDRNOTAVAIL, do_request(l, &r));
	r = bind6(c.id, "::", 0, 0);
	EXPECT_EQ(-ENOTCONN, do_request(l, &r));
	EXPECT_EQ(-ENOTCONN, req_attach(l, &c));
	EXPECT_EQ(-ENOTCONN, req_connect(l, c.id, opt.host, 7000, NULL));
	EXPECT_EQ(-ENOTCONN, req_name(l, c.id, false, &name));
	EXPECT_EQ(0, raw_close(l, &c, false));
}

/* Follows the policy that the scenario sets. The scenario then checks the counts. */
FIXTURE(policy) {
	struct link link;
	struct raw_conn c;
};

FIXTURE_SETUP(policy)
{
	raw_mode = DATAGRAMS;
	ASSERT_TRUE(link_up(&self->link));
	ASSERT_TRUE(dgram_open(&self->link, &self->c, 6));
}

FIXTURE_TEARDOWN(policy)
{
	EXPECT_EQ(0, raw_close(&self->link, &self->c, false));
	link_down(&self->link);
}

/* connect-deny=udp:7009 max-datagram=1000 bind-allow=udp:9000 max-ring-pages=100 */
TEST_F(policy, of_each_datagram)
{
	struct link *l = &self->link;
	struct raw_conn *c = &self->c;
	int i;

	for (i = 0; i < 5; i++) {
		ASSERT_TRUE(dgram_send(l, c, opt.host, 7009, 5, 1));
		EXPECT_EQ(EACCES, dgram_error(l, c));
	}
	EXPECT_EQ(-EACCES, req_connect(l, c->id, opt.host, 7009, NULL));
	ASSERT_TRUE(dgram_send(l, c, opt.host, 7010, 1001, 1));
	EXPECT_EQ(EMSGSIZE, dgram_error(l, c));
	EXPECT_EQ(0, req_connect(l, c->id, opt.host, 7010, NULL));
	ASSERT_TRUE(dgram_send(l, c, NULL, 0, 1001, 1));
	EXPECT_EQ(EMSGSIZE, dgram_error(l, c));
	ASSERT_TRUE(dgram_send(l, c, NULL, 0, 1000, 1));
	EXPECT_EQ(ECONNREFUSED, dgram_error(l, c));
	/* Having a peer does not override the policy. */
	ASSERT_TRUE(dgram_send(l, c, opt.host, 7009, 5, 1));
	EXPECT_EQ(EACCES, dgram_error(l, c));
	EXPECT_EQ(0, req_connect(l, c->id, NULL, 0, NULL));
	EXPECT_EQ(-EACCES, req_bind(l, c->id, opt.host, 0, NULL));
	EXPECT_EQ(-EACCES, req_bind(l, c->id, opt.host, 9001, NULL));
	EXPECT_EQ(0, req_bind(l, c->id, opt.host, 9000, NULL));
}

/* multicast-allow=239.192.77.0/24 max-groups=2 */
TEST_F(policy, of_groups)
{
	__u8 group[32] = { 239, 192, 77, 1 }, other[8] = { 239, 192, 78, 1 };
	__u8 second[8] = { 239, 192, 77, 2 }, third[8] = { 239, 192, 77, 3 };
	__u8 none[8] = { 192, 0, 2, 1 }, reserved[8] = { 239, 192, 77, 1, 192, 0, 2, 1 };
	__u8 mreq6[20] = { 0xff, 0x02, [15] = 1, [16] = 1 };
	struct link *l = &self->link;
	__u64 id = self->c.id;
	int i;

	for (i = 0; i <= 32; i++) {
		if (i == 8)
			continue;
		EXPECT_EQ(-EINVAL, set_bytes(l, id, IPPROTO_IP, IP_ADD_MEMBERSHIP, group, i));
		EXPECT_EQ(-EINVAL, set_bytes(l, id, IPPROTO_IP, IP_DROP_MEMBERSHIP, group, i));
	}
	EXPECT_EQ(-EINVAL, set_bytes(l, id, IPPROTO_IP, IP_ADD_MEMBERSHIP, none, 8));
	EXPECT_EQ(-EINVAL, set_bytes(l, id, IPPROTO_IP, IP_ADD_MEMBERSHIP, reserved, 8));
	EXPECT_EQ(-EINVAL, set_bytes(l, id, IPPROTO_IPV6, IPV6_ADD_MEMBERSHIP, mreq6, 16));
	EXPECT_EQ(-ENOPROTOOPT, get_option(l, id, IPPROTO_IP, IP_ADD_MEMBERSHIP));
	EXPECT_EQ(-ENOPROTOOPT, set_bytes(l, id, IPPROTO_IP, MCAST_JOIN_GROUP, group, 8));
	EXPECT_EQ(-EADDRNOTAVAIL, set_bytes(l, id, IPPROTO_IP, IP_DROP_MEMBERSHIP, group, 8));

	EXPECT_EQ(-EPERM, set_bytes(l, id, IPPROTO_IP, IP_ADD_MEMBERSHIP, other, 8));
	EXPECT_EQ(-EPERM, set_bytes(l, id, IPPROTO_IPV6, IPV6_ADD_MEMBERSHIP, mreq6, 20));
	EXPECT_EQ(0, set_bytes(l, id, IPPROTO_IP, IP_ADD_MEMBERSHIP, group, 8));
	EXPECT_EQ(-EADDRINUSE, set_bytes(l, id, IPPROTO_IP, IP_ADD_MEMBERSHIP, group, 8));
	EXPECT_EQ(0, set_bytes(l, id, IPPROTO_IP, IP_ADD_MEMBERSHIP, second, 8));
	EXPECT_EQ(-ENOBUFS, set_bytes(l, id, IPPROTO_IP, IP_ADD_MEMBERSHIP, third, 8));
	EXPECT_EQ(0, set_bytes(l, id, IPPROTO_IP, IP_DROP_MEMBERSHIP, group, 8));
	EXPECT_EQ(0, set_bytes(l, id, IPPROTO_IP, IP_ADD_MEMBERSHIP, third, 8));

	/* A stream cannot join a group. */
	EXPECT_EQ(0, req_socket(l, 0x7700));
	EXPECT_EQ(-ENOPROTOOPT,
		  set_bytes(l, 0x7700, IPPROTO_IP, IP_ADD_MEMBERSHIP, group, 8));
	EXPECT_EQ(0, req_release(l, 0x7700, false));
}

/* The first ring has 65 pages, too many. After an error a smaller one may follow. */
TEST_F(policy, of_pages)
{
	struct link *l = &self->link;
	struct raw_conn large, small;

	ASSERT_TRUE(raw_ring(l, &large, 6));
	ASSERT_TRUE(raw_ring(l, &small, 5));
	EXPECT_EQ(0, req_dgram(l, small.id, AF_INET));
	large.id = small.id;
	EXPECT_EQ(-ENOBUFS, req_attach(l, &large));
	EXPECT_EQ(0, req_attach(l, &small));
	EXPECT_TRUE(dgram_send(l, &small, opt.host, 7009, 5, 1));
	EXPECT_EQ(EACCES, dgram_error(l, &small));
	EXPECT_EQ(0, raw_close(l, &small, false));
	raw_free(l, &large);
}

XENSOCK_TEST_MAIN
