// SPDX-License-Identifier: GPL-2.0
/* TCP Fast Open: a hint. Without support for it, the socket connects all the same. */
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include "kselftest_harness.h"
#include "util.h"

FIXTURE(fastopen) {
	struct peer peer;
	struct sockaddr_in to;
	char data[100];
	int fd;
};

FIXTURE_SETUP(fastopen)
{
	ASSERT_TRUE(peer_open(&self->peer, 16384));
	self->to = address(opt.host, self->peer.port);
	stream_fill(1, 0, self->data, sizeof(self->data));
	self->fd = new_socket(0);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(fastopen)
{
	close(self->fd);
	peer_close(&self->peer);
}

static int set_option(int fd, int name, int value)
{
	return setsockopt(fd, IPPROTO_TCP, name, &value, sizeof(value)) ? errno : 0;
}

static int get_option(int fd, int name)
{
	socklen_t len = sizeof(int);
	int value = -1;

	return getsockopt(fd, IPPROTO_TCP, name, &value, &len) ? -errno : value;
}

#define SEND_FAST(len, flags)						\
	sendto(self->fd, self->data, len, MSG_FASTOPEN | (flags),	\
	       (struct sockaddr *)&self->to, sizeof(self->to))

#define PEER_GETS_IT() do {						\
	EXPECT_STREQ("ok", peer_run(&self->peer, "accept"));		\
	EXPECT_STREQ("ok 100", peer_run(&self->peer, "recv 100 1"));	\
} while (0)

TEST_F(fastopen, sendto_connects_and_sends)
{
	EXPECT_EQ(100, SEND_FAST(100, 0));
	PEER_GETS_IT();
	/* MSG_FASTOPEN connects only once. */
	EXPECT_EQ(-1, SEND_FAST(100, 0));
	EXPECT_EQ(EISCONN, errno);
	EXPECT_EQ(100, send(self->fd, self->data, 100, 0));
}

TEST_F(fastopen, sendmsg_of_nothing_connects)
{
	EXPECT_EQ(0, SEND_FAST(0, 0));
	EXPECT_EQ(100, send(self->fd, self->data, 100, 0));
	PEER_GETS_IT();
}

TEST_F(fastopen, nonblocking)
{
	EXPECT_EQ(-1, SEND_FAST(100, MSG_DONTWAIT));
	EXPECT_EQ(EINPROGRESS, errno);
	EXPECT_TRUE(wait_poll(self->fd, POLLOUT, NULL));
	EXPECT_EQ(0, so_error(self->fd));
	EXPECT_EQ(100, send(self->fd, self->data, 100, 0));
	PEER_GETS_IT();
}

TEST_F(fastopen, to_a_closed_port)
{
	EXPECT_STREQ("ok", peer_run(&self->peer, "unlisten"));
	EXPECT_EQ(-1, SEND_FAST(100, MSG_NOSIGNAL));
	EXPECT_EQ(ECONNREFUSED, errno);
	EXPECT_EQ(0, so_error(self->fd));
}

TEST_F(fastopen, bad_addresses)
{
	EXPECT_EQ(-1, send(self->fd, self->data, 100, MSG_FASTOPEN | MSG_NOSIGNAL));
	EXPECT_EQ(EINVAL, errno);
	self->to.sin_family = AF_UNSPEC;
	EXPECT_EQ(-1, SEND_FAST(100, 0));
	EXPECT_EQ(EOPNOTSUPP, errno);
	self->to = address(opt.noroute, 80);
	EXPECT_EQ(-1, SEND_FAST(100, MSG_DONTWAIT));
	EXPECT_EQ(ENETUNREACH, errno);
}

TEST_F(fastopen, connect_with_the_option)
{
	int nonblock;

	EXPECT_EQ(EINVAL, set_option(self->fd, TCP_FASTOPEN_CONNECT, 2));
	EXPECT_EQ(0, get_option(self->fd, TCP_FASTOPEN_CONNECT));
	for (nonblock = 0; nonblock < 2; nonblock++) {
		EXPECT_EQ(0, set_option(self->fd, TCP_FASTOPEN_CONNECT, 1));
		EXPECT_EQ(1, get_option(self->fd, TCP_FASTOPEN_CONNECT));
		set_nonblock(self->fd, nonblock);
		EXPECT_EQ(nonblock ? -1 : 0, connect_to(self->fd, opt.host, self->peer.port));
		if (nonblock)
			EXPECT_EQ(EINPROGRESS, errno);
		EXPECT_TRUE(wait_poll(self->fd, POLLOUT, NULL));
		EXPECT_EQ(100, send(self->fd, self->data, 100, 0));
		PEER_GETS_IT();
		EXPECT_EQ(EINVAL, set_option(self->fd, TCP_FASTOPEN_CONNECT, 0));
		close(self->fd);
		self->fd = new_socket(0);
	}
}

TEST_F(fastopen, server_with_the_option)
{
	int listener = new_socket(0), fd;

	ASSERT_EQ(0, bind_to(listener, ANY_HOST, opt.ports));
	EXPECT_EQ(EINVAL, set_option(listener, TCP_FASTOPEN, -1));
	EXPECT_EQ(0, set_option(listener, TCP_FASTOPEN, 16));
	ASSERT_EQ(0, listen(listener, 4));
	EXPECT_EQ(16, get_option(listener, TCP_FASTOPEN));
	EXPECT_EQ(0, set_option(listener, TCP_FASTOPEN, 5));
	fd = peer_accept(&self->peer, listener, 0);
	ASSERT_LE(0, fd);
	EXPECT_EQ(100, send(fd, self->data, 100, 0));
	EXPECT_STREQ("ok 100", peer_run(&self->peer, "recv 100 1"));
	EXPECT_EQ(EINVAL, set_option(fd, TCP_FASTOPEN, 5));
	close(fd);
	close(listener);
}

XENSOCK_TEST_MAIN
