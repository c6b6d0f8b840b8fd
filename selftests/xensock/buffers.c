// SPDX-License-Identifier: GPL-2.0
/*
 * Options that stay at the socket: buffer sizes, time limits, low water marks,
 * information about the socket; and that accepted sockets inherit them.
 */
#include <errno.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "kselftest_harness.h"
#include "util.h"

FIXTURE(buffers) {
	struct peer peer;
	int fd;
};

FIXTURE_SETUP(buffers)
{
	ASSERT_TRUE(peer_open(&self->peer, 16384));
	self->fd = new_socket(0);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(buffers)
{
	close(self->fd);
	peer_close(&self->peer);
}

static int set_option(int fd, int option, int value)
{
	return setsockopt(fd, SOL_SOCKET, option, &value, sizeof(value));
}

static int get_option(int fd, int option)
{
	socklen_t len = sizeof(int);
	int value = -1;

	if (getsockopt(fd, SOL_SOCKET, option, &value, &len))
		return -errno;
	return len == sizeof(value) ? value : -1;
}

TEST_F(buffers, say_twice_what_was_set)
{
	static const int options[] = { SO_SNDBUF, SO_RCVBUF };
	size_t i;
	int bytes;

	for (i = 0; i < ARRAY_LEN(options); i++) {
		EXPECT_LT(2048, get_option(self->fd, options[i]));
		for (bytes = 8192; bytes <= 65536; bytes *= 2) {
			EXPECT_EQ(0, set_option(self->fd, options[i], bytes));
			EXPECT_EQ(2 * bytes, get_option(self->fd, options[i]));
		}
		/* The size is never zero and never more than the system allows. */
		EXPECT_EQ(0, set_option(self->fd, options[i], 0));
		EXPECT_LT(1024, get_option(self->fd, options[i]));
		EXPECT_EQ(0, set_option(self->fd, options[i], 0x7fffffff));
		EXPECT_LT(65536, get_option(self->fd, options[i]));
		EXPECT_GT(1 << 30, get_option(self->fd, options[i]));
		EXPECT_EQ(0, set_option(self->fd, options[i], -1));
	}
}

TEST_F(buffers, can_be_set_on_a_connection)
{
	char data[100];

	ASSERT_EQ(0, connect_to(self->fd, opt.host, self->peer.port));
	EXPECT_STREQ("ok", peer_run(&self->peer, "accept"));
	EXPECT_EQ(0, set_option(self->fd, SO_SNDBUF, 20000));
	EXPECT_EQ(0, set_option(self->fd, SO_RCVBUF, 20000));
	EXPECT_EQ(40000, get_option(self->fd, SO_SNDBUF));
	EXPECT_EQ(40000, get_option(self->fd, SO_RCVBUF));
	EXPECT_STREQ("ok 100", peer_run(&self->peer, "send 100 1"));
	EXPECT_EQ(100, recv_all(self->fd, data, 100));
}

/* A stream comes through completely with any size. */
TEST_F(buffers, of_any_size_carry_everything)
{
	static const int sizes[] = { 1, 4096, 50000, 2000000 };
	static char data[200000], echo[200000];
	size_t i, sent, whole = 1000 * rounds(200);
	int fd;

	stream_fill(1, 0, data, whole);
	for (i = 0; i < ARRAY_LEN(sizes); i++) {
		fd = new_socket(0);
		ASSERT_EQ(0, set_option(fd, SO_SNDBUF, sizes[i]));
		ASSERT_EQ(0, set_option(fd, SO_RCVBUF, sizes[i]));
		ASSERT_EQ(0, connect_to(fd, opt.host, opt.port + PEER_ECHO));
		memset(echo, 0, sizeof(echo));
		/* No more bytes are under way than even the smallest buffer can hold. */
		for (sent = 0; sent < whole; sent += 1000) {
			ASSERT_EQ(1000, send_all(fd, data + sent, 1000));
			ASSERT_EQ(1000, recv_all(fd, echo + sent, 1000));
		}
		EXPECT_EQ(0, memcmp(data, echo, whole))
			TH_LOG("size %d", sizes[i]);
		close(fd);
	}
}

/* A small send buffer takes little data, whoever carries it. */
TEST_F(buffers, small_ones_take_little)
{
	__u64 taken;

	ASSERT_EQ(0, set_option(self->fd, SO_SNDBUF, 1024));
	ASSERT_EQ(0, connect_to(self->fd, opt.host, self->peer.port));
	EXPECT_STREQ("ok", peer_run(&self->peer, "accept"));
	taken = fill_socket(self->fd, 1, 4096);
	EXPECT_GT(200000, taken);
	EXPECT_LT(4096, taken);
	peer_run(&self->peer, "recv %llu 1", taken);
	/* The same on a connection that had its buffers before the option was set. */
	close(self->fd);
	self->fd = new_socket(0);
	ASSERT_EQ(0, connect_to(self->fd, opt.host, self->peer.port));
	EXPECT_STREQ("ok", peer_run(&self->peer, "accept"));
	ASSERT_EQ(0, set_option(self->fd, SO_SNDBUF, 1024));
	taken = fill_socket(self->fd, 1, 4096);
	EXPECT_GT(300000, taken);
	EXPECT_LT(0, taken);
}

/* The limit counts bytes, not calls. */
TEST_F(buffers, small_ones_take_few_tiny_pieces)
{
	__u64 taken;

	ASSERT_EQ(0, set_option(self->fd, SO_SNDBUF, 1024));
	ASSERT_EQ(0, connect_to(self->fd, opt.host, self->peer.port));
	EXPECT_STREQ("ok", peer_run(&self->peer, "accept"));
	taken = fill_socket(self->fd, 1, 1);
	EXPECT_GT(200000, taken);
	EXPECT_LT(0, taken);
	peer_run(&self->peer, "recv %llu 1", taken);
	EXPECT_EQ(0, strncmp("ok", self->peer.line, 2)) TH_LOG("%s", self->peer.line);
}

/*
 * Over AF_XENSOCK, a call that does not wait gives the data ring this time to grow. If the ring
 * grows already, the call does not wait: that happens by chance, and not each time.
 */
#define GROW_MSEC 100
#define TRIES_AT_ONCE 10

/*
 * The first call already takes as much as the buffer size promises. It waits for that, but only
 * for a moment, which may be too short on a busy machine.
 */
TEST_F(buffers, one_send_fills_them)
{
	__u64 began, took, end = now_msec() + WAIT_LIMIT_MSEC;
	static char data[1 << 20];
	ssize_t n, promised;
	int i, at_once = 0;

	/* The usual size, a size set before connecting, and one set while connected. */
	for (i = 0; i < 3; i++) {
		close(self->fd);
		self->fd = new_socket(0);
		if (i == 1)
			ASSERT_EQ(0, set_option(self->fd, SO_SNDBUF, 100000));
		ASSERT_EQ(0, connect_to(self->fd, opt.host, self->peer.port));
		EXPECT_STREQ("ok", peer_run(&self->peer, "accept"));
		if (i == 2)
			ASSERT_EQ(0, set_option(self->fd, SO_SNDBUF, 100000));
		/* A part of the reported size is for overhead. */
		promised = get_option(self->fd, SO_SNDBUF) / 2;
		if (promised > (ssize_t)sizeof(data))
			promised = sizeof(data);
		stream_fill(1, 0, data, sizeof(data));
		began = now_msec();
		n = send(self->fd, data, sizeof(data), MSG_DONTWAIT);
		took = now_msec() - began;
		ASSERT_LT(0, n);
		peer_run(&self->peer, "recv %zd 1", n);
		EXPECT_EQ(0, strncmp("ok", self->peer.line, 2)) TH_LOG("%s", self->peer.line);
		if (n < promised && now_msec() < end &&
		    (took >= AT_LEAST_OF(GROW_MSEC) || ++at_once < TRIES_AT_ONCE)) {
			i--;
			continue;
		}
		EXPECT_LE(promised, n) TH_LOG("size %d", i);
		at_once = 0;
	}
}

TEST_F(buffers, larger_ones_take_more)
{
	__u64 taken[2];
	int i, fd;

	for (i = 0; i < 2; i++) {
		fd = new_socket(0);
		ASSERT_EQ(0, set_option(fd, SO_SNDBUF, i ? 200000 : 4096));
		ASSERT_EQ(0, connect_to(fd, opt.host, self->peer.port));
		EXPECT_STREQ("ok", peer_run(&self->peer, "accept"));
		taken[i] = fill_socket(fd, 1, 10000);
		peer_run(&self->peer, "recv %llu 1", taken[i]);
		EXPECT_EQ(0, strncmp("ok", self->peer.line, 2));
		close(fd);
	}
	EXPECT_LT(taken[0], taken[1]);
}

TEST_F(buffers, time_limits_are_kept)
{
	static const int options[] = { SO_RCVTIMEO, SO_SNDTIMEO };
	struct timeval tv;
	socklen_t len;
	size_t i;

	for (i = 0; i < ARRAY_LEN(options); i++) {
		len = sizeof(tv);
		EXPECT_EQ(0, getsockopt(self->fd, SOL_SOCKET, options[i], &tv,
					&len));
		EXPECT_EQ(0, tv.tv_sec + tv.tv_usec);
		tv = (struct timeval){ .tv_sec = 2, .tv_usec = 500000 };
		EXPECT_EQ(0, setsockopt(self->fd, SOL_SOCKET, options[i], &tv,
					sizeof(tv)));
		tv = (struct timeval){ 0 };
		EXPECT_EQ(0, getsockopt(self->fd, SOL_SOCKET, options[i], &tv,
					&len));
		EXPECT_EQ(sizeof(tv), len);
		EXPECT_EQ(2, tv.tv_sec);
		EXPECT_EQ(500000, tv.tv_usec);
		tv.tv_usec = 1000000;
		EXPECT_EQ(-1, setsockopt(self->fd, SOL_SOCKET, options[i], &tv,
					 sizeof(tv)));
		EXPECT_EQ(EDOM, errno);
		EXPECT_EQ(-1, setsockopt(self->fd, SOL_SOCKET, options[i], &tv,
					 sizeof(tv) - 1));
		EXPECT_EQ(EINVAL, errno);
	}
}

TEST_F(buffers, time_limits_of_every_call)
{
	struct timeval none = { 0 };
	__u64 began;
	char c;
	int fd;

	ASSERT_EQ(0, set_timeout(self->fd, SO_RCVTIMEO, 200));
	ASSERT_EQ(0, connect_to(self->fd, opt.host, self->peer.port));
	began = now_msec();
	EXPECT_EQ(-1, recv(self->fd, &c, 1, 0));
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_LE(AT_LEAST_OF(200), now_msec() - began);
	/* Without a time limit the call waits for its data. */
	ASSERT_EQ(0, setsockopt(self->fd, SOL_SOCKET, SO_RCVTIMEO, &none,
				sizeof(none)));
	EXPECT_STREQ("ok", peer_run(&self->peer, "accept"));
	peer_send(&self->peer, "send 1 1");
	EXPECT_EQ(1, recv(self->fd, &c, 1, 0));
	peer_answer(&self->peer);

	fd = open_listener(1, 0);
	ASSERT_EQ(0, set_timeout(fd, SO_RCVTIMEO, 200));
	began = now_msec();
	EXPECT_EQ(-1, accept(fd, NULL, NULL));
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_LE(AT_LEAST_OF(200), now_msec() - began);
	close(fd);

	fd = new_socket(0);
	ASSERT_EQ(0, set_timeout(fd, SO_SNDTIMEO, 200));
	connect_for_long(fd);
	began = now_msec();
	EXPECT_EQ(-1, connect_to(fd, opt.blackhole, 80));
	EXPECT_EQ(EINPROGRESS, errno);
	EXPECT_LE(AT_LEAST_OF(200), now_msec() - began);
	close(fd);
}

TEST_F(buffers, low_water_marks)
{
	EXPECT_EQ(1, get_option(self->fd, SO_RCVLOWAT));
	EXPECT_EQ(0, set_option(self->fd, SO_RCVLOWAT, 100));
	EXPECT_EQ(100, get_option(self->fd, SO_RCVLOWAT));
	EXPECT_EQ(0, set_option(self->fd, SO_RCVLOWAT, 0));
	EXPECT_EQ(1, get_option(self->fd, SO_RCVLOWAT));
	EXPECT_EQ(1, get_option(self->fd, SO_SNDLOWAT));
	EXPECT_EQ(-1, set_option(self->fd, SO_SNDLOWAT, 10));
	EXPECT_EQ(ENOPROTOOPT, errno);
}

/* Writes while poll reports room. The result is the number of bytes not yet sent. */
static int write_while_writable(int fd)
{
	char data[500] = { 0 };
	int unsent = -1;

	while (wait_room(fd, 400))
		if (send(fd, data, sizeof(data), MSG_DONTWAIT) < 0)
			break;
	ioctl(fd, SIOCOUTQNSD, &unsent);
	return unsent;
}

TEST_F(buffers, not_sent_low_water_mark)
{
	int lowat = 4000, unsent, i, fd, listener = open_listener(1, 0);

	/* Set before connecting, set while connected, and inherited. */
	for (i = 0; i < 3; i++) {
		fd = new_socket(0);
		if (i == 0)
			ASSERT_EQ(0, setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &lowat,
						sizeof(lowat)));
		if (i == 2) {
			ASSERT_EQ(0, setsockopt(listener, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &lowat,
						sizeof(lowat)));
			close(fd);
			fd = peer_accept(&self->peer, listener, 0);
			ASSERT_LE(0, fd);
		} else {
			ASSERT_EQ(0, connect_to(fd, opt.host, self->peer.port));
			ASSERT_STREQ("ok", peer_run(&self->peer, "accept"));
		}
		if (i == 1)
			ASSERT_EQ(0, setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &lowat,
						sizeof(lowat)));
		unsent = write_while_writable(fd);
		EXPECT_LT(0, unsent) TH_LOG("%d", i);
		EXPECT_GE(lowat, unsent) TH_LOG("%d", i);
		EXPECT_FALSE(wait_room(fd, 0));
		/* There is room: a larger mark makes the socket writable at once. */
		lowat = 0;
		EXPECT_EQ(0, setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &lowat,
					sizeof(lowat)));
		lowat = 4000;
		EXPECT_TRUE(wait_poll(fd, POLLOUT, NULL));
		close(fd);
	}
	close(listener);
}

TEST_F(buffers, what_a_socket_says_of_itself)
{
	int i, fds[4] = {
		self->fd, open_listener(1, 0), peer_connect(&self->peer, 0),
	};
	static const struct {
		int option;
		int value;
	} cases[] = {
		{ SO_TYPE, SOCK_STREAM }, { SO_ERROR, 0 }, { SO_BROADCAST, 0 },
		{ SO_DONTROUTE, 0 }, { SO_OOBINLINE, 0 },
	};
	size_t j;

	fds[3] = peer_accept(&self->peer, fds[1], 0);
	for (i = 0; i < 4; i++) {
		ASSERT_LE(0, fds[i]);
		for (j = 0; j < ARRAY_LEN(cases); j++)
			EXPECT_EQ(cases[j].value,
				  get_option(fds[i], cases[j].option))
				TH_LOG("option %d", cases[j].option);
		EXPECT_EQ(opt.family, get_option(fds[i], SO_DOMAIN));
		EXPECT_EQ(opt.family == AF_INET ? IPPROTO_TCP : 0,
			  get_option(fds[i], SO_PROTOCOL));
		EXPECT_EQ(i == 1, get_option(fds[i], SO_ACCEPTCONN));
	}
	for (i = 1; i < 4; i++)
		close(fds[i]);
}

/* Read-only options. */
TEST_F(buffers, what_can_only_be_read)
{
	static const int options[] = {
		SO_TYPE, SO_ERROR, SO_DOMAIN, SO_PROTOCOL, SO_ACCEPTCONN,
	};
	size_t i;

	for (i = 0; i < ARRAY_LEN(options); i++) {
		EXPECT_EQ(-1, set_option(self->fd, options[i], 1));
		EXPECT_EQ(ENOPROTOOPT, errno);
	}
	EXPECT_EQ(-1, set_option(self->fd, 9999, 1));
	EXPECT_EQ(ENOPROTOOPT, errno);
	EXPECT_EQ(-ENOPROTOOPT, get_option(self->fd, 9999));
}

TEST_F(buffers, incoming_cpu)
{
	int fd;

	EXPECT_EQ(-1, get_option(self->fd, SO_INCOMING_CPU));
	ASSERT_EQ(0, connect_to(self->fd, opt.host, self->peer.port));
	EXPECT_LE(0, get_option(self->fd, SO_INCOMING_CPU));
	close(self->fd);
	self->fd = new_socket(0);
	ASSERT_EQ(0, bind_to(self->fd, opt.host, 0));
	ASSERT_EQ(0, listen(self->fd, 1));
	EXPECT_EQ(-1, get_option(self->fd, SO_INCOMING_CPU));
	fd = peer_accept(&self->peer, self->fd, 0);
	ASSERT_LE(0, fd);
	EXPECT_LE(0, get_option(fd, SO_INCOMING_CPU));
	close(fd);
}

TEST_F(buffers, so_error_is_told_once)
{
	EXPECT_STREQ("ok", peer_run(&self->peer, "unlisten"));
	set_nonblock(self->fd, true);
	EXPECT_EQ(-1, connect_to(self->fd, opt.host, self->peer.port));
	ASSERT_TRUE(wait_poll(self->fd, POLLOUT, NULL));
	EXPECT_EQ(ECONNREFUSED, get_option(self->fd, SO_ERROR));
	EXPECT_EQ(0, get_option(self->fd, SO_ERROR));
}

TEST_F(buffers, accepted_sockets_inherit)
{
	struct timeval tv = { 0 };
	socklen_t len = sizeof(tv);
	int fd;

	ASSERT_EQ(0, set_option(self->fd, SO_SNDBUF, 30000));
	ASSERT_EQ(0, set_option(self->fd, SO_RCVBUF, 20000));
	ASSERT_EQ(0, set_option(self->fd, SO_RCVLOWAT, 10));
	ASSERT_EQ(0, set_timeout(self->fd, SO_RCVTIMEO, 12000));
	ASSERT_EQ(0, set_timeout(self->fd, SO_SNDTIMEO, 13000));
	ASSERT_EQ(0, bind_to(self->fd, opt.host, 0));
	ASSERT_EQ(0, listen(self->fd, 1));
	fd = peer_accept(&self->peer, self->fd, 0);
	ASSERT_LE(0, fd);
	EXPECT_EQ(60000, get_option(fd, SO_SNDBUF));
	EXPECT_EQ(40000, get_option(fd, SO_RCVBUF));
	EXPECT_EQ(10, get_option(fd, SO_RCVLOWAT));
	EXPECT_EQ(0, getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, &len));
	EXPECT_EQ(12, tv.tv_sec);
	EXPECT_EQ(0, getsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, &len));
	EXPECT_EQ(13, tv.tv_sec);
	/* The low water mark applies: nine bytes are not enough. */
	EXPECT_STREQ("ok 9", peer_run(&self->peer, "send 9 1"));
	ASSERT_TRUE(wait_readable(fd, 9));
	EXPECT_EQ(POLLOUT | POLLWRNORM, poll_now(fd));
	EXPECT_STREQ("ok 1", peer_run(&self->peer, "send 1 1"));
	EXPECT_TRUE(wait_poll(fd, POLLIN, NULL));
	close(fd);
}

XENSOCK_TEST_MAIN
