// SPDX-License-Identifier: GPL-2.0
/* connect(): every way to give an address, and every answer. */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "kselftest_harness.h"
#include "util.h"

FIXTURE(connect) {
	struct peer peer;
	struct peer closed;
	int fd;
};

FIXTURE_SETUP(connect)
{
	ASSERT_TRUE(peer_open(&self->peer, 0));
	/* A port that was open a moment ago and is certainly closed now. */
	ASSERT_TRUE(peer_open(&self->closed, 0));
	ASSERT_STREQ("ok", peer_run(&self->closed, "unlisten"));
	self->fd = new_socket(0);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(connect)
{
	close(self->fd);
	peer_close(&self->peer);
	peer_close(&self->closed);
}

static void check_transfer(struct __test_metadata *_metadata, int fd,
			   struct peer *peer)
{
	char data[8];

	EXPECT_STREQ("ok", peer_run(peer, "accept"));
	stream_fill(2, 0, data, 8);
	EXPECT_EQ(8, send(fd, data, 8, 0));
	EXPECT_STREQ("ok 8", peer_run(peer, "recv 8 2"));
	EXPECT_STREQ("ok 8", peer_run(peer, "send 8 1"));
	EXPECT_EQ(8, recv_all(fd, data, 8));
	EXPECT_TRUE(stream_check(1, 0, data, 8));
}

TEST_F(connect, blocking_to_listener)
{
	EXPECT_EQ(0, connect_to(self->fd, opt.host, self->peer.port));
	EXPECT_EQ(0, so_error(self->fd));
	check_transfer(_metadata, self->fd, &self->peer);
}

TEST_F(connect, blocking_to_closed_port_then_again)
{
	EXPECT_EQ(-1, connect_to(self->fd, opt.host, self->closed.port));
	EXPECT_EQ(ECONNREFUSED, errno);
	EXPECT_EQ(0, so_error(self->fd));
	EXPECT_EQ(-1, connect_to(self->fd, opt.host, self->closed.port));
	EXPECT_EQ(ECONNREFUSED, errno);
	EXPECT_EQ(0, connect_to(self->fd, opt.host, self->peer.port));
	check_transfer(_metadata, self->fd, &self->peer);
}

TEST_F(connect, nonblocking_to_listener)
{
	short revents;

	set_nonblock(self->fd, true);
	EXPECT_EQ(-1, connect_to(self->fd, opt.host, self->peer.port));
	EXPECT_EQ(EINPROGRESS, errno);
	ASSERT_TRUE(wait_poll(self->fd, POLLOUT, &revents));
	EXPECT_EQ(POLLOUT, revents);
	EXPECT_EQ(0, so_error(self->fd));
	/* The first call after the connection is established returns 0, once. */
	EXPECT_EQ(0, connect_to(self->fd, opt.host, self->peer.port));
	EXPECT_EQ(-1, connect_to(self->fd, opt.host, self->peer.port));
	EXPECT_EQ(EISCONN, errno);
	set_nonblock(self->fd, false);
	check_transfer(_metadata, self->fd, &self->peer);
}

TEST_F(connect, nonblocking_to_closed_port_by_so_error)
{
	short revents;

	set_nonblock(self->fd, true);
	EXPECT_EQ(-1, connect_to(self->fd, opt.host, self->closed.port));
	EXPECT_EQ(EINPROGRESS, errno);
	ASSERT_TRUE(wait_poll(self->fd, POLLOUT, &revents));
	EXPECT_EQ(POLLOUT | POLLERR | POLLHUP, revents);
	EXPECT_EQ(ECONNREFUSED, so_error(self->fd));
	EXPECT_EQ(0, so_error(self->fd));
	/* SO_ERROR has cleared the error, so connect() can only say that the attempt is over. */
	EXPECT_EQ(-1, connect_to(self->fd, opt.host, self->peer.port));
	EXPECT_EQ(ECONNABORTED, errno);
	set_nonblock(self->fd, false);
	EXPECT_EQ(0, connect_to(self->fd, opt.host, self->peer.port));
	check_transfer(_metadata, self->fd, &self->peer);
}

TEST_F(connect, nonblocking_to_closed_port_by_connect)
{
	set_nonblock(self->fd, true);
	EXPECT_EQ(-1, connect_to(self->fd, opt.host, self->closed.port));
	EXPECT_EQ(EINPROGRESS, errno);
	ASSERT_TRUE(wait_poll(self->fd, POLLOUT, NULL));
	EXPECT_EQ(-1, connect_to(self->fd, opt.host, self->peer.port));
	EXPECT_EQ(ECONNREFUSED, errno);
	set_nonblock(self->fd, false);
	EXPECT_EQ(0, connect_to(self->fd, opt.host, self->peer.port));
	check_transfer(_metadata, self->fd, &self->peer);
}

TEST_F(connect, nonblocking_to_closed_port_by_recv)
{
	char c;

	set_nonblock(self->fd, true);
	EXPECT_EQ(-1, connect_to(self->fd, opt.host, self->closed.port));
	ASSERT_TRUE(wait_poll(self->fd, POLLOUT, NULL));
	EXPECT_EQ(-1, recv(self->fd, &c, 1, 0));
	EXPECT_EQ(ECONNREFUSED, errno);
	EXPECT_EQ(0, recv(self->fd, &c, 1, 0));
	EXPECT_EQ(-1, send(self->fd, &c, 1, MSG_NOSIGNAL));
	EXPECT_EQ(EPIPE, errno);
}

TEST_F(connect, black_hole_while_connecting)
{
	char c;

	set_nonblock(self->fd, true);
	connect_for_long(self->fd);
	EXPECT_EQ(-1, connect_to(self->fd, opt.blackhole, 80));
	EXPECT_EQ(EINPROGRESS, errno);
	EXPECT_EQ(0, poll_now(self->fd));
	EXPECT_EQ(0, so_error(self->fd));
	EXPECT_EQ(-1, connect_to(self->fd, opt.blackhole, 80));
	EXPECT_EQ(EALREADY, errno);
	EXPECT_EQ(-1, recv(self->fd, &c, 1, 0));
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_EQ(-1, send(self->fd, &c, 1, MSG_NOSIGNAL));
	EXPECT_EQ(EAGAIN, errno);
}

TEST_F(connect, black_hole_delays_no_other)
{
	__u64 began;
	int pending, i;

	for (i = 0; i < 8; i++) {
		pending = new_socket(SOCK_NONBLOCK);
		ASSERT_LE(0, pending);
		connect_for_long(pending);
		EXPECT_EQ(-1, connect_to(pending, opt.blackhole, 80));
		EXPECT_EQ(EINPROGRESS, errno);
	}
	began = now_msec();
	EXPECT_EQ(-1, connect_to(self->fd, opt.host, self->closed.port));
	EXPECT_EQ(ECONNREFUSED, errno);
	EXPECT_EQ(0, connect_to(self->fd, opt.host, self->peer.port));
	check_transfer(_metadata, self->fd, &self->peer);
	EXPECT_GT(AT_ONCE_MSEC, now_msec() - began);
}

TEST_F(connect, black_hole_closed_while_connecting)
{
	__u64 began;

	set_nonblock(self->fd, true);
	connect_for_long(self->fd);
	EXPECT_EQ(-1, connect_to(self->fd, opt.blackhole, 80));
	began = now_msec();
	EXPECT_EQ(0, close(self->fd));
	EXPECT_GT(AT_ONCE_MSEC, now_msec() - began);
	self->fd = connect_port(self->peer.port, 0);
	EXPECT_LE(0, self->fd);
}

TEST_F(connect, black_hole_with_sndtimeo)
{
	__u64 began = now_msec();

	ASSERT_EQ(0, set_timeout(self->fd, SO_SNDTIMEO, 200));
	connect_for_long(self->fd);
	EXPECT_EQ(-1, connect_to(self->fd, opt.blackhole, 80));
	EXPECT_EQ(EINPROGRESS, errno);
	EXPECT_LE(AT_LEAST_OF(200), now_msec() - began);
	/* A blocking call made later waits for the same attempt. */
	EXPECT_EQ(-1, connect_to(self->fd, opt.blackhole, 80));
	EXPECT_EQ(EALREADY, errno);
}

TEST_F(connect, black_hole_times_out)
{
	EXPECT_EQ(-1, connect_to(self->fd, opt.blackhole, 80));
	EXPECT_EQ(ETIMEDOUT, errno);
	EXPECT_EQ(0, connect_to(self->fd, opt.host, self->peer.port));
	check_transfer(_metadata, self->fd, &self->peer);
}

TEST_F(connect, no_way_there)
{
	EXPECT_EQ(-1, connect_to(self->fd, opt.unreachable, 80));
	EXPECT_EQ(EHOSTUNREACH, errno);
	EXPECT_EQ(-1, connect_to(self->fd, opt.noroute, 80));
	EXPECT_EQ(ENETUNREACH, errno);
	EXPECT_EQ(0, connect_to(self->fd, opt.host, self->peer.port));
	check_transfer(_metadata, self->fd, &self->peer);
}

/* Errors that are known locally are returned at once, blocking or not. */
TEST_F(connect, nonblocking_and_no_way_there)
{
	set_nonblock(self->fd, true);
	EXPECT_EQ(-1, connect_to(self->fd, opt.unreachable, 80));
	EXPECT_EQ(EHOSTUNREACH, errno);
	EXPECT_EQ(-1, connect_to(self->fd, opt.noroute, 80));
	EXPECT_EQ(ENETUNREACH, errno);
	EXPECT_EQ(0, so_error(self->fd));
	EXPECT_EQ(POLLOUT | POLLWRNORM | POLLHUP, poll_now(self->fd));
	set_nonblock(self->fd, false);
	EXPECT_EQ(0, connect_to(self->fd, opt.host, self->peer.port));
	check_transfer(_metadata, self->fd, &self->peer);
}

/* Two sockets share a port and may have no other: only one can connect to the peer. */
TEST_F(connect, no_port_is_left)
{
	int on = 1, nonblock, other;
	unsigned int port;

	ASSERT_EQ(0, setsockopt(self->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)));
	ASSERT_EQ(0, bind_to(self->fd, ANY_HOST, opt.ports));
	ASSERT_EQ(0, connect_to(self->fd, opt.host, self->peer.port));
	port = local_port(self->fd);
	for (nonblock = 0; nonblock < 2; nonblock++) {
		other = new_socket(nonblock ? SOCK_NONBLOCK : 0);
		ASSERT_EQ(0, setsockopt(other, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)));
		ASSERT_EQ(0, bind_to(other, ANY_HOST, port));
		EXPECT_EQ(-1, connect_to(other, opt.host, self->peer.port));
		EXPECT_EQ(EADDRNOTAVAIL, errno);
		EXPECT_EQ(0, so_error(other));
		close(other);
	}
	check_transfer(_metadata, self->fd, &self->peer);
}

TEST_F(connect, connected_is_eisconn)
{
	ASSERT_EQ(0, connect_to(self->fd, opt.host, self->peer.port));
	EXPECT_EQ(-1, connect_to(self->fd, opt.host, self->peer.port));
	EXPECT_EQ(EISCONN, errno);
	EXPECT_EQ(-1, connect_to(self->fd, opt.blackhole, 80));
	EXPECT_EQ(EISCONN, errno);
	check_transfer(_metadata, self->fd, &self->peer);
}

TEST_F(connect, bad_addresses)
{
	struct sockaddr_in sin = address(opt.host, self->peer.port);
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	const struct {
		const char *name;
		const void *addr;
		socklen_t len;
		int error;
	} cases[] = {
		{ "length 0", &sin, 0, EINVAL },
		{ "length 1", &sin, 1, EINVAL },
		{ "only a family", &sin, 2, EINVAL },
		{ "one byte short", &sin, sizeof(sin) - 1, EINVAL },
		{ "negative", &sin, -1, EINVAL },
		{ "too long", &sin, 4096, EINVAL },
		{ "not ours", (void *)1, sizeof(sin), EFAULT },
		{ "another family", &un, sizeof(un), EAFNOSUPPORT },
	};
	size_t i;

	for (i = 0; i < ARRAY_LEN(cases); i++) {
		EXPECT_EQ(-1, connect(self->fd, cases[i].addr, cases[i].len))
			TH_LOG("%s", cases[i].name);
		EXPECT_EQ(cases[i].error, errno)
			TH_LOG("%s", cases[i].name);
	}
	EXPECT_EQ(0, connect_to(self->fd, opt.host, self->peer.port));
	check_transfer(_metadata, self->fd, &self->peer);
}

TEST_F(connect, longer_address_is_fine)
{
	struct sockaddr_storage ss = { 0 };
	struct sockaddr_in sin = address(opt.host, self->peer.port);

	memcpy(&ss, &sin, sizeof(sin));
	EXPECT_EQ(0, connect(self->fd, (struct sockaddr *)&ss, sizeof(ss)));
	check_transfer(_metadata, self->fd, &self->peer);
}

TEST_F(connect, unspec_disconnects)
{
	struct sockaddr unspec = { .sa_family = AF_UNSPEC };

	EXPECT_EQ(0, connect(self->fd, &unspec, sizeof(unspec)));
	ASSERT_EQ(0, connect_to(self->fd, opt.host, self->peer.port));
	check_transfer(_metadata, self->fd, &self->peer);
	EXPECT_EQ(0, connect(self->fd, &unspec, sizeof(unspec)));
	EXPECT_STREQ("rst", peer_run(&self->peer, "end"));
	EXPECT_EQ(ECONNRESET, so_error(self->fd));
	EXPECT_EQ(POLLOUT | POLLWRNORM | POLLHUP, poll_now(self->fd));
	ASSERT_EQ(0, connect_to(self->fd, opt.host, self->peer.port));
	check_transfer(_metadata, self->fd, &self->peer);
}

TEST_F(connect, unspec_ends_an_attempt)
{
	struct sockaddr unspec = { .sa_family = AF_UNSPEC };

	set_nonblock(self->fd, true);
	EXPECT_EQ(-1, connect_to(self->fd, opt.blackhole, 80));
	EXPECT_EQ(0, connect(self->fd, &unspec, sizeof(unspec)));
	set_nonblock(self->fd, false);
	EXPECT_EQ(0, connect_to(self->fd, opt.host, self->peer.port));
	check_transfer(_metadata, self->fd, &self->peer);
}

XENSOCK_TEST_MAIN
