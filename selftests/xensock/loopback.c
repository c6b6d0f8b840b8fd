// SPDX-License-Identifier: GPL-2.0
/*
 * Who the peer of a socket is that was connected to the unspecified address: that means this host.
 * Over AF_XENSOCK it is the backend's namespace, and only a guest with one of its own may do so.
 */
#include <arpa/inet.h>
#include <stdio.h>

#include "kselftest_harness.h"
#include "datagram.h"

static const struct {
	const char *bound;	/* NULL: not bound */
	const char *to;
	const char *peer;
} cases[] = {
	{ NULL, "0.0.0.0", "127.0.0.1" },
	{ "127.0.0.2", "0.0.0.0", "127.0.0.2" },
	{ NULL, "::", "::1" },
	{ "::1", "::", "::1" },
	{ NULL, "::ffff:0.0.0.0", "::ffff:127.0.0.1" },
	{ "::ffff:127.0.0.2", "::ffff:0.0.0.0", "::ffff:127.0.0.2" },
	{ "::ffff:127.0.0.2", "::", "::ffff:127.0.0.1" },
};

FIXTURE(loopback) {
	int listener;
	unsigned int port;
};

FIXTURE_VARIANT(loopback) {
	int type;
};

FIXTURE_VARIANT_ADD(loopback, stream) {
	.type = SOCK_STREAM,
};

FIXTURE_VARIANT_ADD(loopback, datagram) {
	.type = SOCK_DGRAM,
};

/* Over AF_XENSOCK the addresses decide. */
static int open_for(const char *host, int type)
{
	return socket(opt.family == AF_INET && strchr(host, ':') ? AF_INET6 : opt.family, type, 0);
}

static int bind_host(int fd, const char *host)
{
	struct sockaddr_storage ss;
	socklen_t len = parse_address(host, 0, &ss);

	return bind(fd, (struct sockaddr *)&ss, len);
}

static int connect_host(int fd, const char *host, unsigned int port)
{
	struct sockaddr_storage ss;
	socklen_t len = parse_address(host, port, &ss);

	return connect(fd, (struct sockaddr *)&ss, len);
}

FIXTURE_SETUP(loopback)
{
	int fd;

	self->listener = open_for("::", variant->type);
	ASSERT_LE(0, self->listener);
	ASSERT_EQ(0, bind_host(self->listener, "::"));
	if (variant->type == SOCK_STREAM)
		ASSERT_EQ(0, listen(self->listener, 16));
	self->port = local_port(self->listener);
	fd = open_for("::1", variant->type);
	ASSERT_EQ(0, connect_host(fd, "::1", self->port));
	close(fd);
}

FIXTURE_TEARDOWN(loopback)
{
	close(self->listener);
}

TEST_F(loopback, the_unspecified_address)
{
	char expected[ADDRESS_TEXT];
	size_t i;
	int fd;

	for (i = 0; i < ARRAY_LEN(cases); i++) {
		fd = open_for(cases[i].to, variant->type);
		ASSERT_LE(0, fd);
		if (cases[i].bound)
			ASSERT_EQ(0, bind_host(fd, cases[i].bound));
		ASSERT_EQ(0, connect_host(fd, cases[i].to, self->port)) TH_LOG("case %zu", i);
		snprintf(expected, sizeof(expected), "%s %u", cases[i].peer, self->port);
		EXPECT_STREQ(expected, REMOTE_NAME(fd)) TH_LOG("case %zu", i);
		close(fd);
	}
}

/* Flow information needs an option, and a scope an address that has one. */
TEST_F(loopback, no_flow_and_no_scope)
{
	struct sockaddr_in6 addr = {
		.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT,
		.sin6_port = htons(self->port),
		.sin6_flowinfo = htonl(5), .sin6_scope_id = 1,
	};
	socklen_t len = sizeof(addr);
	int fd = open_for("::1", variant->type);

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, connect(fd, (struct sockaddr *)&addr, sizeof(addr)));
	ASSERT_EQ(0, getpeername(fd, (struct sockaddr *)&addr, &len));
	EXPECT_TRUE(IN6_IS_ADDR_LOOPBACK(&addr.sin6_addr));
	EXPECT_EQ(0, addr.sin6_flowinfo);
	EXPECT_EQ(0, addr.sin6_scope_id);
	close(fd);
}

XENSOCK_TEST_MAIN
