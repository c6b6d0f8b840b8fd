// SPDX-License-Identifier: GPL-2.0
/*
 * Behaviour that only AF_XENSOCK has: which sockets exist, the answers to
 * unsupported calls, what the backend does not allow. These tests cannot run
 * with --family inet.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/tcp.h>
#include <linux/xensock.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "kselftest_harness.h"
#include "datagram.h"

FIXTURE(family) {
	struct peer peer;
	int fd;
};

FIXTURE_SETUP(family)
{
	ASSERT_TRUE(peer_open(&self->peer, 0));
	self->fd = peer_connect(&self->peer, 0);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(family)
{
	close(self->fd);
	peer_close(&self->peer);
}

TEST(sockets_that_there_are_not)
{
	static const struct {
		int type;
		int protocol;
		int error;
	} cases[] = {
		{ SOCK_DGRAM, IPPROTO_TCP, EPROTONOSUPPORT },
		{ SOCK_DGRAM, 254, EPROTONOSUPPORT },
		{ SOCK_SEQPACKET, 0, ESOCKTNOSUPPORT },
		{ SOCK_RAW, 0, ESOCKTNOSUPPORT },
		{ SOCK_RDM, 0, ESOCKTNOSUPPORT },
		{ 0, 0, ESOCKTNOSUPPORT },
		{ SOCK_STREAM, IPPROTO_UDP, EPROTONOSUPPORT },
		{ SOCK_STREAM, 254, EPROTONOSUPPORT },
		{ SOCK_STREAM, 0x10000, EPROTONOSUPPORT },
	};
	size_t i;

	for (i = 0; i < ARRAY_LEN(cases); i++) {
		EXPECT_EQ(-1, socket(AF_XENSOCK, cases[i].type,
				     cases[i].protocol));
		EXPECT_EQ(cases[i].error, errno)
			TH_LOG("type %d protocol %d", cases[i].type,
			       cases[i].protocol);
	}
}

TEST(no_pairs)
{
	int pair[2];

	EXPECT_EQ(-1, socketpair(AF_XENSOCK, SOCK_STREAM, 0, pair));
	EXPECT_EQ(EOPNOTSUPP, errno);
}

static int get_option(int fd, int name)
{
	socklen_t len = sizeof(int);
	int value = -1;

	if (getsockopt(fd, SOL_SOCKET, name, &value, &len))
		return -errno;
	return value;
}

TEST_F(family, what_a_socket_says_of_itself)
{
	int fresh = new_socket(0), fds[2], i;

	ASSERT_LE(0, fresh);
	fds[0] = fresh;
	fds[1] = self->fd;
	for (i = 0; i < 2; i++) {
		EXPECT_EQ(SOCK_STREAM, get_option(fds[i], SO_TYPE));
		EXPECT_EQ(AF_XENSOCK, get_option(fds[i], SO_DOMAIN));
		EXPECT_EQ(0, get_option(fds[i], SO_PROTOCOL));
		EXPECT_EQ(0, get_option(fds[i], SO_ACCEPTCONN));
		EXPECT_EQ(0, get_option(fds[i], SO_ERROR));
	}
	close(fresh);
}

/* walk.c goes through each option of the first four levels. */
static const int levels[] = {
	0, 6, 17, 41, 132, 280, 284, 286, 0x5853, 99999, -1,
};

TEST_F(family, options_of_other_levels)
{
	int i, name, value = 1, fds[3] = {
		new_socket(0), open_listener(1, 0), self->fd,
	};
	socklen_t len;
	size_t level;

	for (i = 0; i < 3; i++) {
		ASSERT_LE(0, fds[i]);
		for (level = 4; level < ARRAY_LEN(levels); level++) {
			for (name = -1; name < 140; name++) {
				len = sizeof(value);
				EXPECT_EQ(-1, getsockopt(fds[i], levels[level],
							 name, &value, &len));
				EXPECT_EQ(ENOPROTOOPT, errno)
					TH_LOG("get level %d option %d",
					       levels[level], name);
				EXPECT_EQ(-1, setsockopt(fds[i], levels[level],
							 name, &value, 4));
				EXPECT_EQ(ENOPROTOOPT, errno)
					TH_LOG("set level %d option %d",
					       levels[level], name);
			}
		}
	}
	close(fds[0]);
	close(fds[1]);
}

/* Whatever options are set, the socket can be closed and others go on. */
TEST_F(family, options_set_to_anything)
{
	struct linger off = { 0 };
	__u64 random = opt.seed;
	unsigned char value[40];
	size_t level, i;
	int name, fd;

	for (level = 0; level <= ARRAY_LEN(levels); level++) {
		fd = connect_port(opt.port + PEER_ECHO, 0);
		ASSERT_LE(0, fd);
		for (name = 0; name < 140; name++) {
			for (i = 0; i < sizeof(value); i++) {
				random = random * 6364136223846793005ULL + 1;
				value[i] = i % 4 ? 0 : random >> 33;
			}
			setsockopt(fd, level < ARRAY_LEN(levels) ?
				   levels[level] : SOL_SOCKET, name, value,
				   (random >> 40) % sizeof(value));
		}
		EXPECT_EQ(0, setsockopt(fd, SOL_SOCKET, SO_LINGER, &off,
					sizeof(off)));
		EXPECT_EQ(0, close(fd));
	}
	EXPECT_STREQ("ok 40", peer_run(&self->peer, "send 40 1"));
	EXPECT_EQ(40, recv_all(self->fd, value, 40));
}

/* Whatever SOL_SOCKET options are set, the socket goes on working. */
TEST_F(family, options_of_sol_socket)
{
	char value[256], data[64];
	struct timeval none = { 0 };
	socklen_t len;
	int name;

	for (name = 0; name < 100; name++) {
		for (len = 0; len <= 64; len += 4) {
			socklen_t given = len;

			getsockopt(self->fd, SOL_SOCKET, name, value, &given);
			EXPECT_GE(sizeof(value), given);
		}
	}
	for (name = SO_SNDBUF; name <= SO_RCVBUF; name++) {
		len = sizeof(int);
		EXPECT_EQ(0, getsockopt(self->fd, SOL_SOCKET, name, value,
					&len));
		EXPECT_EQ(0, setsockopt(self->fd, SOL_SOCKET, name, value,
					len));
	}
	setsockopt(self->fd, SOL_SOCKET, SO_RCVTIMEO, &none, sizeof(none));
	EXPECT_STREQ("ok 64", peer_run(&self->peer, "send 64 1"));
	EXPECT_EQ(64, recv_all(self->fd, data, 64));
	EXPECT_TRUE(stream_check(1, 0, data, 64));
}

TEST_F(family, ioctls_of_other_families)
{
	unsigned long number;
	char data[256];

	for (number = 0x8900; number < 0x8a00; number++) {
		memset(data, 0, sizeof(data));
		ioctl(self->fd, number, data);
	}
	ioctl(self->fd, FIONBIO, &(int){ 0 });
	EXPECT_STREQ("ok 64", peer_run(&self->peer, "send 64 1"));
	ASSERT_TRUE(wait_readable(self->fd, 64));
	EXPECT_EQ(64, recv(self->fd, data, 64, 0));
}

TEST_F(family, not_to_be_mapped)
{
	EXPECT_EQ(MAP_FAILED, mmap(NULL, 4096, PROT_READ, MAP_SHARED,
				   self->fd, 0));
	EXPECT_EQ(ENODEV, errno);
	EXPECT_EQ(-1, lseek(self->fd, 0, SEEK_SET));
	EXPECT_EQ(ESPIPE, errno);
}

/* The guest cannot reach the backend's own loopback. */
TEST(loopback_of_the_backend)
{
	static const char *const hosts[] = {
		"127.0.0.1", "127.1.2.3", "0.0.0.0", "::1", "::",
		"::ffff:127.0.0.1",
	};
	struct sockaddr_storage ss;
	socklen_t len;
	size_t i;
	int fd;

	for (i = 0; i < ARRAY_LEN(hosts); i++) {
		len = parse_address(hosts[i], opt.port, &ss);
		fd = new_socket(0);
		EXPECT_EQ(-1, connect(fd, (struct sockaddr *)&ss, len));
		EXPECT_EQ(EACCES, errno) TH_LOG("%s", hosts[i]);
		close(fd);
		fd = new_datagram(0);
		EXPECT_EQ(-1, connect(fd, (struct sockaddr *)&ss, len));
		EXPECT_EQ(EACCES, errno) TH_LOG("%s", hosts[i]);
		EXPECT_EQ(EACCES, send_to_error(fd, hosts[i], opt.port))
			TH_LOG("%s", hosts[i]);
		close(fd);
	}
}

/* The backend need not be asked about this address. */
TEST(everybody_without_so_broadcast)
{
	int fd = new_datagram(0);

	EXPECT_EQ(-1, send_to(fd, "255.255.255.255", 9, "x", 1));
	EXPECT_EQ(EACCES, errno);
	EXPECT_EQ(0, local_port(fd));
	close(fd);
}

/* The policy of this guest has no ports below 1024, for root neither. */
TEST(ports_that_are_not_allowed)
{
	static const unsigned int ports[] = { 1, 80, 1023 };
	unsigned int before = 0;
	size_t i;
	int fd;

	for (i = 0; i < ARRAY_LEN(ports); i++) {
		fd = new_socket(0);
		EXPECT_EQ(-1, bind_to(fd, ANY_HOST, ports[i]));
		EXPECT_EQ(EACCES, errno) TH_LOG("port %u", ports[i]);
		/* The socket is unchanged: it can be bound to another port. */
		EXPECT_EQ(0, local_port(fd));
		EXPECT_EQ(0, bind_to(fd, ANY_HOST, 0));
		EXPECT_NE(before, local_port(fd));
		before = local_port(fd);
		EXPECT_LE(1024, before);
		close(fd);
	}
}

/* For a guest without a device: run with -f no_device. */
FIXTURE(no_device) {
	int fd;
};

FIXTURE_SETUP(no_device)
{
	self->fd = new_socket(0);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(no_device)
{
	close(self->fd);
}

TEST_F(no_device, connect_says_so_at_once)
{
	__u64 began = now_msec();
	int i;

	for (i = 0; i < 2; i++) {
		EXPECT_EQ(-1, connect_to(self->fd, opt.host, opt.port));
		EXPECT_EQ(ENETDOWN, errno);
		set_nonblock(self->fd, true);
	}
	EXPECT_GT(AT_ONCE_MSEC, now_msec() - began);
}

TEST_F(no_device, datagrams_do_not_go)
{
	int fd = new_datagram(0);

	ASSERT_LE(0, fd);
	EXPECT_EQ(-1, send_to(fd, opt.host, opt.port, "x", 1));
	EXPECT_EQ(ENETDOWN, errno);
	EXPECT_EQ(-1, bind_to(fd, opt.host, 0));
	EXPECT_EQ(ENETDOWN, errno);
	EXPECT_EQ(-1, connect_to(fd, opt.host, opt.port));
	EXPECT_EQ(ENETDOWN, errno);
	EXPECT_EQ(-1, recv(fd, "", 0, MSG_DONTWAIT));
	EXPECT_EQ(EAGAIN, errno);
	close(fd);
}

TEST_F(no_device, all_else_is_as_unconnected)
{
	char c = 0;

	EXPECT_EQ(POLLOUT | POLLWRNORM | POLLHUP, poll_now(self->fd));
	EXPECT_EQ(-1, recv(self->fd, &c, 1, 0));
	EXPECT_EQ(ENOTCONN, errno);
	EXPECT_EQ(-1, send(self->fd, &c, 1, MSG_NOSIGNAL));
	EXPECT_EQ(EPIPE, errno);
}

/* While the backend cannot be told of an option, the guest does not show it either. */
TEST_F(no_device, options_are_set_at_both_ends_or_at_none)
{
	static const int options[] = {
		SO_REUSEADDR, SO_REUSEPORT, SO_KEEPALIVE,
	};
	int value = 1, i;
	socklen_t len;

	for (i = 0; i < ARRAY_LEN(options); i++) {
		EXPECT_EQ(-1, setsockopt(self->fd, SOL_SOCKET, options[i],
					 &value, sizeof(value)));
		EXPECT_EQ(ENETDOWN, errno);
		len = sizeof(value);
		EXPECT_EQ(0, getsockopt(self->fd, SOL_SOCKET, options[i],
					&value, &len));
		EXPECT_EQ(0, value) TH_LOG("option %d", options[i]);
		value = 1;
	}
}

XENSOCK_TEST_MAIN
