// SPDX-License-Identifier: GPL-2.0
/* bind(): the port that a socket gets, and every reason for failure. */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "kselftest_harness.h"
#include "util.h"

FIXTURE(bind) {
	struct peer peer;
	int fd;
};

FIXTURE_SETUP(bind)
{
	ASSERT_TRUE(peer_open(&self->peer, 0));
	self->fd = new_socket(0);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(bind)
{
	close(self->fd);
	peer_close(&self->peer);
}

static void check_listener(struct __test_metadata *_metadata, int listener,
			   struct peer *peer)
{
	char data[8];
	int fd = peer_accept(peer, listener, 0);

	ASSERT_LE(0, fd);
	EXPECT_STREQ("ok 8", peer_run(peer, "send 8 1"));
	EXPECT_EQ(8, recv_all(fd, data, 8));
	EXPECT_TRUE(stream_check(1, 0, data, 8));
	EXPECT_EQ(0, close(fd));
	EXPECT_STREQ("eof 0", peer_run(peer, "drain 1"));
}

TEST_F(bind, port_0_gives_a_port_that_works)
{
	const char *const hosts[] = { ANY_HOST, opt.host };
	unsigned int port;
	size_t i;
	int fd;

	for (i = 0; i < ARRAY_LEN(hosts); i++) {
		fd = new_socket(0);
		ASSERT_EQ(0, bind_to(fd, hosts[i], 0));
		port = local_port(fd);
		EXPECT_LT(0, port);
		EXPECT_EQ(0, listen(fd, 1));
		EXPECT_EQ(port, local_port(fd));
		check_listener(_metadata, fd, &self->peer);
		close(fd);
	}
}

TEST_F(bind, port_0_gives_every_socket_another)
{
	int second = new_socket(0);

	EXPECT_EQ(0, bind_to(self->fd, opt.host, 0));
	EXPECT_EQ(0, bind_to(second, opt.host, 0));
	EXPECT_NE(local_port(self->fd), local_port(second));
	close(second);
}

TEST_F(bind, a_port_of_ones_own_choice)
{
	unsigned int port = unused_port(SOCK_STREAM, TEST_PORTS);

	ASSERT_LT(0, port);
	EXPECT_EQ(0, bind_to(self->fd, opt.host, port));
	EXPECT_EQ(port, local_port(self->fd));
	EXPECT_EQ(0, listen(self->fd, 1));
	check_listener(_metadata, self->fd, &self->peer);
}

TEST_F(bind, bound_alone_takes_no_connection)
{
	EXPECT_EQ(0, bind_to(self->fd, opt.host, 0));
	EXPECT_STREQ("err 111", peer_run(&self->peer, "connect %u",
					 local_port(self->fd)));
	EXPECT_EQ(0, listen(self->fd, 1));
	check_listener(_metadata, self->fd, &self->peer);
}

TEST_F(bind, closing_gives_the_port_back)
{
	unsigned int port = unused_port(SOCK_STREAM, TEST_PORTS);
	int i;

	ASSERT_LT(0, port);
	for (i = 0; i < 5; i++) {
		ASSERT_EQ(0, bind_to(self->fd, opt.host, port));
		EXPECT_EQ(0, close(self->fd));
		self->fd = new_socket(0);
	}
}

TEST_F(bind, twice_is_einval)
{
	unsigned int port;

	ASSERT_EQ(0, bind_to(self->fd, opt.host, 0));
	port = local_port(self->fd);
	EXPECT_EQ(-1, bind_to(self->fd, opt.host, 0));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, bind_to(self->fd, opt.host, unused_port(SOCK_STREAM, TEST_PORTS)));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(port, local_port(self->fd));
}

TEST_F(bind, too_late_is_einval)
{
	int i, fds[3] = {
		peer_connect(&self->peer, 0),	/* connected */
		new_socket(0),			/* listening, unbound */
		open_listener(1, 0),
	};

	ASSERT_EQ(0, listen(fds[1], 1));
	for (i = 0; i < 3; i++) {
		ASSERT_LE(0, fds[i]);
		EXPECT_EQ(-1, bind_to(fds[i], opt.host, 0));
		EXPECT_EQ(EINVAL, errno) TH_LOG("case %d", i);
		EXPECT_EQ(-1, bind_to(fds[i], opt.host, unused_port(SOCK_STREAM, TEST_PORTS)));
		EXPECT_EQ(EINVAL, errno) TH_LOG("case %d", i);
		close(fds[i]);
	}
}

TEST_F(bind, taken_port_is_eaddrinuse)
{
	int second = open_own_listener(1, 0);
	unsigned int port = local_port(second);

	ASSERT_LE(0, second);
	EXPECT_EQ(-1, bind_to(self->fd, opt.host, port));
	EXPECT_EQ(EADDRINUSE, errno);
	/* The wildcard includes the address that is taken. */
	EXPECT_EQ(-1, bind_to(self->fd, ANY_HOST, port));
	EXPECT_EQ(EADDRINUSE, errno);
	/* A port of another program, in the backend's domain itself. */
	EXPECT_EQ(-1, bind_to(self->fd, opt.host, opt.port + PEER_ECHO));
	EXPECT_EQ(EADDRINUSE, errno);
	EXPECT_EQ(0, local_port(self->fd));
	close(second);
	EXPECT_EQ(0, bind_to(self->fd, opt.host, port));
	EXPECT_EQ(0, listen(self->fd, 1));
	check_listener(_metadata, self->fd, &self->peer);
}

TEST_F(bind, bound_ports_are_taken_before_they_listen)
{
	int second = new_socket(0);

	ASSERT_EQ(0, bind_to(second, opt.host, 0));
	EXPECT_EQ(-1, bind_to(self->fd, opt.host, local_port(second)));
	EXPECT_EQ(EADDRINUSE, errno);
	close(second);
}

TEST_F(bind, addresses_of_others_are_eaddrnotavail)
{
	const char *const hosts[] = {
		opt.blackhole, opt.unreachable, opt.noroute,
	};
	size_t i;

	for (i = 0; i < ARRAY_LEN(hosts); i++) {
		EXPECT_EQ(-1, bind_to(self->fd, hosts[i], 0));
		EXPECT_EQ(EADDRNOTAVAIL, errno) TH_LOG("%s", hosts[i]);
	}
	EXPECT_EQ(0, local_port(self->fd));
	EXPECT_EQ(0, bind_to(self->fd, opt.host, 0));
}

TEST_F(bind, bad_addresses)
{
	struct sockaddr_in sin = address(opt.host, 0);
	struct sockaddr_in unspec = sin;
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	const struct {
		const char *name;
		const void *addr;
		socklen_t len;
		int error;
	} cases[] = {
		{ "length 0", &sin, 0, EINVAL },
		{ "only a family", &sin, 2, EINVAL },
		{ "one byte short", &sin, sizeof(sin) - 1, EINVAL },
		{ "negative", &sin, -1, EINVAL },
		{ "too long", &sin, 4096, EINVAL },
		{ "not ours", (void *)1, sizeof(sin), EFAULT },
		{ "another family", &un, sizeof(un), EAFNOSUPPORT },
		{ "no family, an address", &unspec, sizeof(unspec),
		  EAFNOSUPPORT },
	};
	size_t i;

	unspec.sin_family = AF_UNSPEC;
	for (i = 0; i < ARRAY_LEN(cases); i++) {
		EXPECT_EQ(-1, bind(self->fd, cases[i].addr, cases[i].len))
			TH_LOG("%s", cases[i].name);
		EXPECT_EQ(cases[i].error, errno) TH_LOG("%s", cases[i].name);
	}
	EXPECT_EQ(0, bind_to(self->fd, opt.host, 0));
}

/* Old programs bind like this: only the wildcard may lack a family. */
TEST_F(bind, wildcard_without_a_family)
{
	struct sockaddr_in sin = { .sin_family = AF_UNSPEC };

	EXPECT_EQ(0, bind(self->fd, (struct sockaddr *)&sin, sizeof(sin)));
	EXPECT_LT(0, local_port(self->fd));
}

TEST_F(bind, longer_address_is_fine)
{
	struct sockaddr_in sin = address(opt.host, 0);
	struct sockaddr_storage ss = { 0 };

	memcpy(&ss, &sin, sizeof(sin));
	EXPECT_EQ(0, bind(self->fd, (struct sockaddr *)&ss, sizeof(ss)));
	EXPECT_LT(0, local_port(self->fd));
}

TEST_F(bind, connects_from_there)
{
	char expected[40];

	ASSERT_EQ(0, bind_to(self->fd, opt.host, 0));
	snprintf(expected, sizeof(expected), "ok %s %u", opt.host,
		 local_port(self->fd));
	EXPECT_EQ(0, connect_to(self->fd, opt.host, self->peer.port));
	EXPECT_STREQ("ok", peer_run(&self->peer, "accept"));
	EXPECT_STREQ(expected, peer_run(&self->peer, "peer"));
}

/* Binds once the connection that had the port has ended. */
static bool bind_in_time(int fd, unsigned int port)
{
	__u64 deadline = now_msec() + WAIT_LIMIT_MSEC;
	int failed;

	while ((failed = bind_to(fd, opt.host, port)) && errno == EADDRINUSE &&
	       now_msec() < deadline)
		poll(NULL, 0, 1);
	return !failed;
}

/* Connects twice from the same port, each time to another port of the peer. */
TEST_F(bind, connects_from_there_again)
{
	unsigned int port = unused_port(SOCK_STREAM, TEST_PORTS);
	int i;

	ASSERT_LT(0, port);
	for (i = 0; i < 2; i++) {
		struct peer other;

		ASSERT_TRUE(peer_open(&other, 0));
		ASSERT_TRUE(bind_in_time(self->fd, port));
		EXPECT_EQ(0, connect_to(self->fd, opt.host, other.port));
		EXPECT_STREQ("ok", peer_run(&other, "accept"));
		/* The peer closes first, so the port is not taken for another minute. */
		EXPECT_STREQ("ok", peer_run(&other, "close"));
		ASSERT_TRUE(wait_poll(self->fd, POLLRDHUP, NULL));
		close(self->fd);
		peer_close(&other);
		self->fd = new_socket(0);
	}
}

/* A bound port outlives the connection, an automatic one does not. */
TEST_F(bind, unspec_keeps_what_was_bound)
{
	struct sockaddr unspec = { .sa_family = AF_UNSPEC };
	unsigned int port = unused_port(SOCK_STREAM, TEST_PORTS);

	ASSERT_EQ(0, bind_to(self->fd, opt.host, port));
	ASSERT_EQ(0, connect_to(self->fd, opt.host, self->peer.port));
	EXPECT_STREQ("ok", peer_run(&self->peer, "accept"));
	EXPECT_EQ(0, connect(self->fd, &unspec, sizeof(unspec)));
	EXPECT_STREQ("rst", peer_run(&self->peer, "end"));
	EXPECT_EQ(port, local_port(self->fd));
	EXPECT_EQ(ECONNRESET, so_error(self->fd));
	EXPECT_EQ(0, listen(self->fd, 1));
	EXPECT_EQ(port, local_port(self->fd));
	check_listener(_metadata, self->fd, &self->peer);
}

TEST_F(bind, a_failed_connect_keeps_what_was_bound)
{
	unsigned int port;

	ASSERT_EQ(0, bind_to(self->fd, opt.host, unused_port(SOCK_STREAM, TEST_PORTS)));
	port = local_port(self->fd);
	EXPECT_EQ(-1, connect_to(self->fd, opt.host, unused_port(SOCK_STREAM, TEST_PORTS)));
	EXPECT_EQ(ECONNREFUSED, errno);
	EXPECT_EQ(port, local_port(self->fd));
	EXPECT_EQ(0, connect_to(self->fd, opt.host, self->peer.port));
	EXPECT_EQ(port, local_port(self->fd));
	EXPECT_STREQ("ok", peer_run(&self->peer, "accept"));
}

/* Ports below 1024 need CAP_NET_BIND_SERVICE. */
TEST_F(bind, privileged_port_is_eacces)
{
	ASSERT_EQ(0, setuid(65534));
	EXPECT_EQ(-1, bind_to(self->fd, opt.host, 1));
	EXPECT_EQ(EACCES, errno);
	EXPECT_EQ(-1, bind_to(self->fd, opt.host, 1023));
	EXPECT_EQ(EACCES, errno);
	EXPECT_EQ(0, bind_to(self->fd, opt.host, 0));
	EXPECT_LE(1024, local_port(self->fd));
}

static int allow_reuse(int fd, int option)
{
	return setsockopt(fd, SOL_SOCKET, option, &(int){ 1 }, sizeof(int));
}

/* A server restarts while a connection of its predecessor goes on. */
TEST_F(bind, reuseaddr_for_a_server_that_starts_again)
{
	int listener = new_socket(0), fd;
	unsigned int port;

	ASSERT_EQ(0, allow_reuse(listener, SO_REUSEADDR));
	ASSERT_EQ(0, bind_to(listener, opt.host, 0));
	ASSERT_EQ(0, listen(listener, 1));
	port = local_port(listener);
	fd = peer_accept(&self->peer, listener, 0);
	ASSERT_LE(0, fd);
	/* SO_REUSEADDR does not help while the other socket listens. */
	ASSERT_EQ(0, allow_reuse(self->fd, SO_REUSEADDR));
	EXPECT_EQ(-1, bind_to(self->fd, opt.host, port));
	EXPECT_EQ(EADDRINUSE, errno);
	close(listener);
	listener = new_socket(0);
	EXPECT_EQ(-1, bind_to(listener, opt.host, port));
	EXPECT_EQ(EADDRINUSE, errno);
	EXPECT_EQ(0, bind_to(self->fd, opt.host, port));
	EXPECT_EQ(0, listen(self->fd, 1));
	close(listener);
	close(fd);
	EXPECT_STREQ("eof 0", peer_run(&self->peer, "drain 1"));
	check_listener(_metadata, self->fd, &self->peer);
}

TEST_F(bind, reuseport_shares_when_both_ask)
{
	int second = new_socket(0), third = new_socket(0);

	ASSERT_EQ(0, allow_reuse(self->fd, SO_REUSEPORT));
	ASSERT_EQ(0, allow_reuse(second, SO_REUSEPORT));
	ASSERT_EQ(0, bind_to(self->fd, opt.host, 0));
	EXPECT_EQ(-1, bind_to(third, opt.host, local_port(self->fd)));
	EXPECT_EQ(EADDRINUSE, errno);
	EXPECT_EQ(0, bind_to(second, opt.host, local_port(self->fd)));
	EXPECT_EQ(0, listen(self->fd, 1));
	EXPECT_EQ(0, listen(second, 1));
	close(self->fd);
	check_listener(_metadata, second, &self->peer);
	close(second);
	close(third);
	self->fd = new_socket(0);
}

/* SO_REUSEPORT gives nobody the connections of another user's server. */
TEST_F(bind, reuseport_shares_with_the_same_user)
{
	unsigned int port;
	int second, third;

	ASSERT_EQ(0, allow_reuse(self->fd, SO_REUSEPORT));
	ASSERT_EQ(0, bind_to(self->fd, opt.host, 0));
	ASSERT_EQ(0, listen(self->fd, 1));
	port = local_port(self->fd);
	ASSERT_EQ(0, setuid(65534));
	second = new_socket(0);
	ASSERT_EQ(0, allow_reuse(second, SO_REUSEPORT));
	EXPECT_EQ(-1, bind_to(second, opt.host, port));
	EXPECT_EQ(EADDRINUSE, errno);
	EXPECT_EQ(-1, bind_to(second, ANY_HOST, port));
	EXPECT_EQ(EADDRINUSE, errno);
	ASSERT_EQ(0, bind_to(second, opt.host, 0));
	third = new_socket(0);
	ASSERT_EQ(0, allow_reuse(third, SO_REUSEPORT));
	EXPECT_EQ(0, bind_to(third, opt.host, local_port(second)));
	close(third);
	close(second);
}

XENSOCK_TEST_MAIN
