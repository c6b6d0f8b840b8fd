// SPDX-License-Identifier: GPL-2.0
/*
 * IPv6: the same socket calls with longer addresses, listeners for both
 * versions, mapped IPv4 addresses, scopes. Over TCP the sockets are of
 * AF_INET6; over AF_XENSOCK the addresses decide.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include "kselftest_harness.h"
#include "util.h"

FIXTURE(ipv6) {
	struct peer peer;
	unsigned int port6;	/* the peer's listener for IPv6 */
	int fd;
};

static int new_socket6(int flags)
{
	return socket(opt.family == AF_INET ? AF_INET6 : opt.family,
		      SOCK_STREAM | flags, 0);
}

static int connect6(int fd, const char *host, unsigned int port)
{
	struct sockaddr_storage ss;
	socklen_t len = parse_address(host, port, &ss);

	return connect(fd, (struct sockaddr *)&ss, len);
}

static int bind6(int fd, const char *host, unsigned int port)
{
	struct sockaddr_storage ss;
	socklen_t len = parse_address(host, port, &ss);

	return bind(fd, (struct sockaddr *)&ss, len);
}

static int set_v6only(int fd, int on)
{
	return setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
}

FIXTURE_SETUP(ipv6)
{
	ASSERT_TRUE(peer_open(&self->peer, 16384));
	peer_run(&self->peer, "listen 16384 %s", opt.host6);
	ASSERT_EQ(1, sscanf(self->peer.line, "ok %u", &self->port6));
	ASSERT_NE(0, self->port6);
	self->fd = new_socket6(0);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(ipv6)
{
	close(self->fd);
	peer_close(&self->peer);
}

/* @prefix precedes the address at one end, and not at the other. */
static void check_transfer(struct __test_metadata *_metadata, int fd,
			   struct peer *peer, const char *prefix)
{
	char data[8], expected[2 * ADDRESS_TEXT];

	peer_run(peer, "name");
	snprintf(expected, sizeof(expected), "%s%s", prefix, peer->line + 3);
	EXPECT_STREQ(expected, REMOTE_NAME(fd));
	peer_run(peer, "peer");
	snprintf(expected, sizeof(expected), "%s%s", prefix, peer->line + 3);
	EXPECT_STREQ(expected, LOCAL_NAME(fd));
	stream_fill(2, 0, data, 8);
	EXPECT_EQ(8, send(fd, data, 8, 0));
	EXPECT_STREQ("ok 8", peer_run(peer, "recv 8 2"));
	EXPECT_STREQ("ok 8", peer_run(peer, "send 8 1"));
	EXPECT_EQ(8, recv_all(fd, data, 8));
	EXPECT_TRUE(stream_check(1, 0, data, 8));
}

TEST_F(ipv6, connect_blocking)
{
	ASSERT_EQ(0, connect6(self->fd, opt.host6, self->port6));
	EXPECT_STREQ("ok", peer_run(&self->peer, "accept"));
	check_transfer(_metadata, self->fd, &self->peer, "");
	EXPECT_EQ(-1, connect6(self->fd, opt.host6, self->port6));
	EXPECT_EQ(EISCONN, errno);
}

TEST_F(ipv6, connect_nonblocking)
{
	set_nonblock(self->fd, true);
	EXPECT_EQ(-1, connect6(self->fd, opt.host6, self->port6));
	EXPECT_EQ(EINPROGRESS, errno);
	ASSERT_TRUE(wait_poll(self->fd, POLLOUT, NULL));
	EXPECT_EQ(0, so_error(self->fd));
	set_nonblock(self->fd, false);
	EXPECT_STREQ("ok", peer_run(&self->peer, "accept"));
	check_transfer(_metadata, self->fd, &self->peer, "");
}

TEST_F(ipv6, connect_refused_then_again)
{
	int closed = new_socket6(0);

	ASSERT_EQ(0, bind6(closed, opt.host6, 0));
	EXPECT_EQ(-1, connect6(self->fd, opt.host6, local_port(closed)));
	EXPECT_EQ(ECONNREFUSED, errno);
	ASSERT_EQ(0, connect6(self->fd, opt.host6, self->port6));
	EXPECT_STREQ("ok", peer_run(&self->peer, "accept"));
	check_transfer(_metadata, self->fd, &self->peer, "");
	close(closed);
}

TEST_F(ipv6, bad_addresses)
{
	struct sockaddr_storage ss;
	struct sockaddr_in6 *sin6 = (void *)&ss;
	static const struct {
		socklen_t len;
		int error;
	} cases[] = {
		{ 2, EINVAL }, { 23, EINVAL }, { -1, EINVAL }, { 4096, EINVAL },
	};
	size_t i;

	parse_address(opt.host6, self->port6, &ss);
	for (i = 0; i < ARRAY_LEN(cases); i++) {
		EXPECT_EQ(-1, connect(self->fd, (void *)&ss, cases[i].len));
		EXPECT_EQ(cases[i].error, errno)
			TH_LOG("length %d", cases[i].len);
		EXPECT_EQ(-1, bind(self->fd, (void *)&ss, cases[i].len));
		EXPECT_EQ(cases[i].error, errno)
			TH_LOG("length %d", cases[i].len);
	}
	/* RFC 2133 has no scope: its shorter address still works. */
	EXPECT_EQ(0, connect(self->fd, (void *)sin6, 24));
	EXPECT_STREQ("ok", peer_run(&self->peer, "accept"));
	check_transfer(_metadata, self->fd, &self->peer, "");
}

TEST_F(ipv6, accept)
{
	const char *const hosts[] = { "::", opt.host6 };
	struct sockaddr_storage ss;
	socklen_t len;
	size_t i;
	char text[ADDRESS_TEXT];
	int fd;

	for (i = 0; i < ARRAY_LEN(hosts); i++) {
		close(self->fd);
		self->fd = new_socket6(0);
		ASSERT_EQ(0, bind6(self->fd, hosts[i], 0));
		ASSERT_EQ(0, listen(self->fd, 1));
		peer_run(&self->peer, "connect %u %s", local_port(self->fd),
			 opt.host6);
		len = sizeof(ss);
		fd = accept(self->fd, (struct sockaddr *)&ss, &len);
		ASSERT_LE(0, fd);
		EXPECT_EQ(sizeof(struct sockaddr_in6), len);
		EXPECT_STREQ(REMOTE_NAME(fd), address_text(&ss, text));
		check_transfer(_metadata, fd, &self->peer, "");
		close(fd);
	}
}

/* The length counts before the family. AF_XENSOCK has both families. */
TEST_F(ipv6, addresses_of_ipv4)
{
	struct sockaddr_storage ss = {};
	socklen_t len;

	if (opt.family != AF_INET)
		SKIP(return, "for sockets of AF_INET6");
	parse_address(opt.host, self->peer.port, &ss);
	for (len = sizeof(struct sockaddr_in); len <= sizeof(struct sockaddr_in6); len += 4) {
		EXPECT_EQ(-1, connect(self->fd, (struct sockaddr *)&ss, len));
		EXPECT_EQ(len < 24 ? EINVAL : EAFNOSUPPORT, errno) TH_LOG("length %u", len);
		EXPECT_EQ(-1, bind(self->fd, (struct sockaddr *)&ss, len));
		EXPECT_EQ(len < 24 ? EINVAL : EAFNOSUPPORT, errno) TH_LOG("length %u", len);
	}
	parse_address(opt.host6, self->port6, &ss);
	close(self->fd);
	self->fd = socket(AF_INET, SOCK_STREAM, 0);
	ASSERT_LE(0, self->fd);
	for (len = sizeof(struct sockaddr_in); len <= sizeof(struct sockaddr_in6); len += 4) {
		EXPECT_EQ(-1, connect(self->fd, (struct sockaddr *)&ss, len));
		EXPECT_EQ(EAFNOSUPPORT, errno) TH_LOG("length %u", len);
		EXPECT_EQ(-1, bind(self->fd, (struct sockaddr *)&ss, len));
		EXPECT_EQ(EAFNOSUPPORT, errno) TH_LOG("length %u", len);
	}
}

TEST_F(ipv6, bind_errors)
{
	EXPECT_EQ(-1, bind6(self->fd, "2001:db8:ffff::1", 0));
	EXPECT_EQ(EADDRNOTAVAIL, errno);
	EXPECT_EQ(-1, bind6(self->fd, opt.host6, self->port6));
	EXPECT_EQ(EADDRINUSE, errno);
	ASSERT_EQ(0, bind6(self->fd, opt.host6, 0));
	EXPECT_LT(0, local_port(self->fd));
	EXPECT_EQ(-1, bind6(self->fd, opt.host6, 0));
	EXPECT_EQ(EINVAL, errno);
}

/* One listener for both versions. The peer's address shows the version. */
TEST_F(ipv6, dual_stack_listener)
{
	const char *const hosts[] = { opt.host6, opt.host };
	struct sockaddr_storage ss;
	socklen_t len;
	char text[ADDRESS_TEXT];
	int i, fd;

	ASSERT_EQ(0, set_v6only(self->fd, 0));
	ASSERT_EQ(0, bind6(self->fd, "::", 0));
	ASSERT_EQ(0, listen(self->fd, 2));
	for (i = 0; i < 2; i++) {
		peer_run(&self->peer, "connect %u %s", local_port(self->fd),
			 hosts[i]);
		len = sizeof(ss);
		fd = accept(self->fd, (struct sockaddr *)&ss, &len);
		ASSERT_LE(0, fd);
		EXPECT_EQ(sizeof(struct sockaddr_in6), len);
		EXPECT_EQ(i, strncmp("::ffff:", address_text(&ss, text), 7) == 0)
			TH_LOG("%s", text);
		check_transfer(_metadata, fd, &self->peer, i ? "::ffff:" : "");
		close(fd);
	}
}

/*
 * Listens at a port for IPv6 only, then at the same port for IPv4. Tries other ports if another
 * program has the port for IPv4.
 */
static bool listen_twice(int *fd, int second)
{
	int tries;

	for (tries = 0; tries < 100; tries++) {
		if (set_v6only(*fd, 1) || bind6(*fd, "::", 0) || listen(*fd, 2))
			return false;
		if (!bind_to(second, ANY_HOST, local_port(*fd)))
			return !listen(second, 2);
		if (errno != EADDRINUSE)
			return false;
		close(*fd);
		*fd = new_socket6(0);
	}
	return false;
}

TEST_F(ipv6, v6only_listener)
{
	int fd, second = new_socket(0);

	ASSERT_EQ(0, set_v6only(self->fd, 1));
	ASSERT_EQ(0, bind6(self->fd, "::", 0));
	ASSERT_EQ(0, listen(self->fd, 2));
	EXPECT_STREQ("err 111", peer_run(&self->peer, "connect %u",
					 local_port(self->fd)));
	close(self->fd);
	self->fd = new_socket6(0);
	/* The port is free for IPv4. */
	ASSERT_TRUE(listen_twice(&self->fd, second));
	fd = peer_accept(&self->peer, second, 0);
	EXPECT_LE(0, fd);
	close(fd);
	peer_run(&self->peer, "connect %u %s", local_port(self->fd),
		 opt.host6);
	fd = accept(self->fd, NULL, NULL);
	ASSERT_LE(0, fd);
	check_transfer(_metadata, fd, &self->peer, "");
	close(fd);
	close(second);
}

TEST_F(ipv6, options)
{
	static const struct {
		int option;
		int set;
		int get;
	} cases[] = {
		{ IPV6_V6ONLY, 1, 1 }, { IPV6_V6ONLY, 0, 0 },
		{ IPV6_V6ONLY, 9, 1 }, { IPV6_V6ONLY, 0, 0 },
		{ IPV6_TCLASS, 0xb8, 0xb8 }, { IPV6_TCLASS, -1, 0 },
		{ IPV6_TCLASS, 256, -EINVAL }, { IPV6_TCLASS, 0x20, 0x20 },
		{ IPV6_UNICAST_HOPS, 33, 33 }, { IPV6_UNICAST_HOPS, -1, 64 },
		{ IPV6_UNICAST_HOPS, 256, -EINVAL },
	};
	int value, error;
	socklen_t len;
	size_t i;

	for (i = 0; i < ARRAY_LEN(cases); i++) {
		error = setsockopt(self->fd, IPPROTO_IPV6, cases[i].option,
				   &cases[i].set, sizeof(int)) ? -errno : 0;
		EXPECT_EQ(cases[i].get < 0 ? cases[i].get : 0, error)
			TH_LOG("case %zu", i);
		len = sizeof(value);
		EXPECT_EQ(0, getsockopt(self->fd, IPPROTO_IPV6,
					cases[i].option, &value, &len));
		if (cases[i].get >= 0)
			EXPECT_EQ(cases[i].get, value) TH_LOG("case %zu", i);
	}
	ASSERT_EQ(0, connect6(self->fd, opt.host6, self->port6));
	EXPECT_STREQ("ok", peer_run(&self->peer, "accept"));
	peer_run(&self->peer, "diag");
	EXPECT_NE(NULL, strstr(self->peer.line, "tclass=32"))
		TH_LOG("%s", self->peer.line);
	/* The option cannot change once the socket has an address. */
	EXPECT_EQ(-1, set_v6only(self->fd, 1));
	EXPECT_EQ(EINVAL, errno);
}

TEST_F(ipv6, mapped_addresses_are_ipv4)
{
	char mapped[64];
	unsigned int port;
	int fd;

	snprintf(mapped, sizeof(mapped), "::ffff:%s", opt.host);
	peer_run(&self->peer, "listen 16384");
	ASSERT_EQ(1, sscanf(self->peer.line, "ok %u", &port));
	ASSERT_EQ(0, connect6(self->fd, mapped, port));
	EXPECT_STREQ("ok", peer_run(&self->peer, "accept"));
	check_transfer(_metadata, self->fd, &self->peer, "::ffff:");
	/* The other way round. */
	close(self->fd);
	self->fd = new_socket6(0);
	ASSERT_EQ(0, bind6(self->fd, mapped, 0));
	ASSERT_EQ(0, listen(self->fd, 1));
	fd = peer_accept(&self->peer, self->fd, 0);
	ASSERT_LE(0, fd);
	check_transfer(_metadata, fd, &self->peer, "::ffff:");
	close(fd);
	/* An IPv6-only socket cannot have such an address. */
	fd = new_socket6(0);
	ASSERT_EQ(0, set_v6only(fd, 1));
	EXPECT_EQ(-1, connect6(fd, mapped, port));
	EXPECT_EQ(ENETUNREACH, errno);
	EXPECT_EQ(-1, bind6(fd, mapped, 0));
	EXPECT_EQ(EINVAL, errno);
	close(fd);
}

/* --scope is the number of the interface in the peer's domain. */
TEST_F(ipv6, link_local_addresses_have_a_scope)
{
	char local[64], wrong[64];
	unsigned int port;
	int fd;

	if (!opt.scope)
		SKIP(return, "no --scope");
	snprintf(local, sizeof(local), "fe80::1%%%u", opt.scope);
	snprintf(wrong, sizeof(wrong), "fe80::1%%%u", opt.scope + 1000);
	peer_run(&self->peer, "listen 16384 %s", local);
	ASSERT_EQ(1, sscanf(self->peer.line, "ok %u", &port));
	EXPECT_EQ(-1, connect6(self->fd, "fe80::1", port));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, bind6(self->fd, "fe80::1", 0));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, bind6(self->fd, wrong, 0));
	EXPECT_EQ(ENODEV, errno);
	close(self->fd);
	self->fd = new_socket6(0);
	ASSERT_EQ(0, connect6(self->fd, local, port));
	EXPECT_STREQ("ok", peer_run(&self->peer, "accept"));
	check_transfer(_metadata, self->fd, &self->peer, "");
	close(self->fd);

	self->fd = new_socket6(0);
	ASSERT_EQ(0, bind6(self->fd, local, 0));
	ASSERT_EQ(0, listen(self->fd, 1));
	peer_run(&self->peer, "connect %u %s", local_port(self->fd), local);
	fd = accept(self->fd, NULL, NULL);
	ASSERT_LE(0, fd);
	check_transfer(_metadata, fd, &self->peer, "");
	close(fd);
}

/* Returns the error of sending a datagram from fe80::1 without a scope, or 0. */
static int send_from_link(int fd, const char *host, unsigned int port)
{
	struct in6_pktinfo info = {};
	char control[CMSG_SPACE(sizeof(info))] = {};
	struct iovec iov = { "x", 1 };
	struct sockaddr_storage ss;
	struct msghdr msg = {
		.msg_name = &ss,
		.msg_namelen = parse_address(host, port, &ss),
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	inet_pton(AF_INET6, "fe80::1", &info.ipi6_addr);
	c->cmsg_level = IPPROTO_IPV6;
	c->cmsg_type = IPV6_PKTINFO;
	c->cmsg_len = CMSG_LEN(sizeof(info));
	memcpy(CMSG_DATA(c), &info, sizeof(info));
	return sendmsg(fd, &msg, 0) == 1 ? 0 : errno;
}

/* The scope of the destination is also that of the source. */
TEST_F(ipv6, a_datagram_has_one_scope)
{
	int family = opt.family == AF_INET ? AF_INET6 : opt.family;
	int to = socket(family, SOCK_DGRAM, 0), from = socket(family, SOCK_DGRAM, 0);
	struct sockaddr_storage ss;
	char local[64], data;

	if (!opt.scope)
		SKIP(return, "no --scope");
	snprintf(local, sizeof(local), "fe80::1%%%u", opt.scope);
	ASSERT_EQ(0, bind(to, (void *)&ss, parse_address(local, 0, &ss)));
	ASSERT_EQ(0, bind(from, (void *)&ss, parse_address("::", 0, &ss)));
	ASSERT_EQ(0, set_timeout(to, SO_RCVTIMEO, WAIT_LIMIT_MSEC));
	EXPECT_EQ(EINVAL, send_from_link(from, opt.host6, local_port(to)));
	EXPECT_EQ(EINVAL, send_from_link(from, "fe80::1", local_port(to)));
	EXPECT_EQ(0, send_from_link(from, local, local_port(to)));
	EXPECT_EQ(1, recv(to, &data, 1, 0));
	close(from);
	close(to);
}

XENSOCK_TEST_MAIN
