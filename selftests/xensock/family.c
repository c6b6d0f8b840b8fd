// SPDX-License-Identifier: GPL-2.0
/*
 * What is AF_XENSOCK's own: which sockets there are, the answers to calls
 * that it does not have (yet), what the backend does not let through. There
 * is no --family inet for these.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/xensock.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "kselftest_harness.h"
#include "util.h"

#define AT_ONCE_MSEC 3000

FIXTURE(family) {
	struct puppet peer;
	int fd;
};

FIXTURE_SETUP(family)
{
	ASSERT_TRUE(puppet_open(&self->peer, 0));
	self->fd = puppet_connect(&self->peer, 0);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(family)
{
	close(self->fd);
	puppet_close(&self->peer);
}

TEST(sockets_that_there_are_not)
{
	static const struct {
		int type;
		int protocol;
		int error;
	} cases[] = {
		{ SOCK_DGRAM, 0, ESOCKTNOSUPPORT },
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

static int int_option(int fd, int name)
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
		EXPECT_EQ(SOCK_STREAM, int_option(fds[i], SO_TYPE));
		EXPECT_EQ(AF_XENSOCK, int_option(fds[i], SO_DOMAIN));
		EXPECT_EQ(0, int_option(fds[i], SO_PROTOCOL));
		EXPECT_EQ(0, int_option(fds[i], SO_ACCEPTCONN));
		EXPECT_EQ(0, int_option(fds[i], SO_ERROR));
	}
	close(fresh);
}

/* Calls of later steps: refused in one way, and without any effect. */
TEST_F(family, calls_of_later_steps)
{
	struct sockaddr_in sin = address(opt.host, 0);
	socklen_t len = sizeof(sin);
	char data[8];
	int fd = new_socket(0);

#define REFUSED(call) do {						\
	EXPECT_EQ(-1, call);						\
	EXPECT_EQ(EOPNOTSUPP, errno) TH_LOG(#call);			\
} while (0)
	ASSERT_LE(0, fd);
	REFUSED(bind(fd, (struct sockaddr *)&sin, sizeof(sin)));
	REFUSED(listen(fd, 5));
	REFUSED(accept(fd, NULL, NULL));
	REFUSED(accept4(fd, NULL, NULL, SOCK_NONBLOCK));
	REFUSED(shutdown(self->fd, SHUT_WR));
	REFUSED(shutdown(self->fd, SHUT_RDWR));
	REFUSED(getsockname(self->fd, (struct sockaddr *)&sin, &len));
	REFUSED(getpeername(self->fd, (struct sockaddr *)&sin, &len));
	REFUSED(send(self->fd, "x", 1, MSG_OOB));
	REFUSED(recv(self->fd, data, 1, MSG_OOB));
	close(fd);
	EXPECT_STREQ("ok 8", puppet_do(&self->peer, "send 8 1"));
	EXPECT_EQ(8, recv_all(self->fd, data, 8));
	EXPECT_TRUE(stream_check(1, 0, data, 8));
}

/* No option outside SOL_SOCKET exists yet: none may seem to. */
TEST_F(family, options_of_other_levels)
{
	static const int levels[] = { 0, 6, 41, 132, 280, 284, 286, 99999, -1 };
	int set, get, error, name, value;
	socklen_t len;
	size_t i;

	for (i = 0; i < ARRAY_LEN(levels); i++) {
		for (name = -1; name < 140; name++) {
			value = 1;
			len = sizeof(value);
			get = getsockopt(self->fd, levels[i], name, &value,
					 &len);
			error = errno;
			set = setsockopt(self->fd, levels[i], name, &value,
					 sizeof(value));
			ASSERT_EQ(-1, get);
			ASSERT_TRUE(error == EOPNOTSUPP || error == ENOPROTOOPT)
				TH_LOG("get level %d option %d: errno %d",
				       levels[i], name, error);
			ASSERT_EQ(-1, set);
			ASSERT_TRUE(errno == EOPNOTSUPP || errno == ENOPROTOOPT)
				TH_LOG("set level %d option %d: errno %d",
				       levels[i], name, errno);
		}
	}
}

/* Whatever SOL_SOCKET makes of its options, the socket goes on working. */
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
	EXPECT_STREQ("ok 64", puppet_do(&self->peer, "send 64 1"));
	EXPECT_EQ(64, recv_all(self->fd, data, 64));
	EXPECT_TRUE(stream_check(1, 0, data, 64));
}

TEST_F(family, unknown_ioctls)
{
	unsigned long number;
	char data[256];
	int queued = -1;

	for (number = 0x8900; number < 0x8a00; number++) {
		memset(data, 0, sizeof(data));
		ioctl(self->fd, number, data);
	}
	EXPECT_EQ(-1, ioctl(self->fd, 0x12345678, data));
	EXPECT_STREQ("ok 64", puppet_do(&self->peer, "send 64 1"));
	ASSERT_TRUE(wait_readable(self->fd, 64));
	/* A later step: no answer is right, a wrong answer is not. */
	if (ioctl(self->fd, FIONREAD, &queued) == 0)
		EXPECT_EQ(64, queued);
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

TEST(no_ipv6_yet)
{
	struct sockaddr_in6 sin6 = {
		.sin6_family = AF_INET6,
		.sin6_port = htons(80),
		.sin6_addr = IN6ADDR_LOOPBACK_INIT,
	};
	int fd = new_socket(0);

	EXPECT_EQ(-1, connect(fd, (struct sockaddr *)&sin6, sizeof(sin6)));
	EXPECT_EQ(EAFNOSUPPORT, errno);
	close(fd);
}

/* The backend's own loopback is not the guest's to reach. */
TEST(loopback_of_the_backend)
{
	static const char *const addresses[] = {
		"127.0.0.1", "127.1.2.3", "0.0.0.0",
	};
	size_t i;
	int fd;

	for (i = 0; i < ARRAY_LEN(addresses); i++) {
		fd = new_socket(0);
		EXPECT_EQ(-1, connect_to(fd, addresses[i], opt.port));
		EXPECT_EQ(EACCES, errno) TH_LOG("%s", addresses[i]);
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
	if (self->fd < 0)
		ASSERT_EQ(ENETDOWN, errno);
}

FIXTURE_TEARDOWN(no_device)
{
	if (self->fd >= 0)
		close(self->fd);
}

TEST_F(no_device, connect_says_so_at_once)
{
	__u64 began = now_msec();
	int i;

	if (self->fd < 0)
		return;
	for (i = 0; i < 2; i++) {
		EXPECT_EQ(-1, connect_to(self->fd, opt.host, opt.port));
		EXPECT_EQ(ENETDOWN, errno);
		set_nonblock(self->fd, true);
	}
	EXPECT_GT(AT_ONCE_MSEC, now_msec() - began);
}

TEST_F(no_device, all_else_is_as_unconnected)
{
	char c = 0;

	if (self->fd < 0)
		return;
	EXPECT_EQ(POLLOUT | POLLWRNORM | POLLHUP, poll_now(self->fd));
	EXPECT_EQ(-1, recv(self->fd, &c, 1, 0));
	EXPECT_EQ(ENOTCONN, errno);
	EXPECT_EQ(-1, send(self->fd, &c, 1, MSG_NOSIGNAL));
	EXPECT_EQ(EPIPE, errno);
}

XENSOCK_TEST_MAIN
