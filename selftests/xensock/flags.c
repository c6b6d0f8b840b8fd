// SPDX-License-Identifier: GPL-2.0
/* MSG_PEEK, MSG_WAITALL, MSG_TRUNC, SO_RCVLOWAT, and the flags that TCP refuses. */
#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "kselftest_harness.h"
#include "util.h"

FIXTURE(flags) {
	struct peer peer;
	int fd;
};

FIXTURE_SETUP(flags)
{
	ASSERT_TRUE(peer_open(&self->peer, 0));
	self->fd = peer_connect(&self->peer, 0);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(flags)
{
	close(self->fd);
	peer_close(&self->peer);
}

TEST_F(flags, peek_takes_nothing)
{
	char data[100];
	int i;

	EXPECT_EQ(-1, recv(self->fd, data, 1, MSG_PEEK | MSG_DONTWAIT));
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_STREQ("ok 100", peer_run(&self->peer, "send 100 1"));
	ASSERT_TRUE(wait_readable(self->fd, 100));
	for (i = 1; i <= 100; i += 33) {
		memset(data, 0, sizeof(data));
		EXPECT_EQ(i, recv(self->fd, data, i, MSG_PEEK));
		EXPECT_TRUE(stream_check(1, 0, data, i));
	}
	EXPECT_EQ(40, recv(self->fd, data, 40, 0));
	EXPECT_EQ(60, recv(self->fd, data, 100, MSG_PEEK));
	EXPECT_TRUE(stream_check(1, 40, data, 60));
	EXPECT_EQ(60, recv(self->fd, data, 100, 0));
	EXPECT_TRUE(stream_check(1, 40, data, 60));
}

/* More than the largest ring holds, in steps that do not divide its size. */
TEST_F(flags, peek_across_the_end_of_the_ring)
{
	char peeked[20011], taken[20011];
	const ssize_t total = 2500000;
	ssize_t done, n;

	peer_send(&self->peer, "send %zd 1", total);
	for (done = 0; done < total; done += n) {
		n = recv(self->fd, peeked, sizeof(peeked), MSG_PEEK);
		ASSERT_LT(0, n);
		ASSERT_EQ(n, recv(self->fd, taken, n, 0));
		ASSERT_EQ(0, memcmp(peeked, taken, n));
		ASSERT_TRUE(stream_check(1, done, taken, n));
	}
	EXPECT_STREQ("ok 2500000", peer_answer(&self->peer));
}

TEST_F(flags, peek_at_the_end)
{
	char data[8];

	EXPECT_STREQ("ok 3", peer_run(&self->peer, "send 3 1"));
	EXPECT_STREQ("ok", peer_run(&self->peer, "fin"));
	ASSERT_TRUE(wait_readable(self->fd, 3));
	EXPECT_EQ(3, recv(self->fd, data, 3, 0));
	EXPECT_EQ(0, recv(self->fd, data, 8, MSG_PEEK));
	EXPECT_EQ(0, recv(self->fd, data, 8, 0));
}

TEST_F(flags, waitall_waits_for_all)
{
	char data[30];

	EXPECT_STREQ("ok 10", peer_run(&self->peer, "send 10 1"));
	ASSERT_TRUE(wait_readable(self->fd, 10));
	EXPECT_EQ(10, recv(self->fd, data, 30, MSG_WAITALL | MSG_DONTWAIT));
	peer_send(&self->peer, "send 10 1");
	peer_send(&self->peer, "send 20 1");
	EXPECT_EQ(30, recv(self->fd, data, 30, MSG_WAITALL));
	EXPECT_TRUE(stream_check(1, 10, data, 30));
}

TEST_F(flags, peek_after_a_part_was_taken)
{
	char data[100];

	EXPECT_STREQ("ok 100", peer_run(&self->peer, "send 100 1"));
	ASSERT_TRUE(wait_readable(self->fd, 100));
	EXPECT_EQ(30, recv(self->fd, data, 30, 0));
	EXPECT_EQ(70, recv(self->fd, data, 100, MSG_PEEK));
	EXPECT_TRUE(stream_check(1, 30, data, 70));
	EXPECT_EQ(70, recv(self->fd, data, 100, 0));
	EXPECT_TRUE(stream_check(1, 30, data, 70));
}

TEST_F(flags, waitall_gives_what_came_before_the_end)
{
	char data[30];

	EXPECT_STREQ("ok 10", peer_run(&self->peer, "send 10 1"));
	EXPECT_STREQ("ok", peer_run(&self->peer, "fin"));
	EXPECT_EQ(10, recv(self->fd, data, 30, MSG_WAITALL));
	EXPECT_EQ(0, recv(self->fd, data, 30, MSG_WAITALL));
}

/* More than any ring holds: the call has to take the data in parts. */
TEST_F(flags, waitall_of_more_than_a_ring)
{
	static char data[3 << 20];

	peer_send(&self->peer, "send %zu 1", sizeof(data));
	EXPECT_EQ(sizeof(data), recv(self->fd, data, sizeof(data),
				     MSG_WAITALL));
	EXPECT_TRUE(stream_check(1, 0, data, sizeof(data)));
}

TEST_F(flags, trunc_discards)
{
	char data[100];

	EXPECT_STREQ("ok 100", peer_run(&self->peer, "send 100 1"));
	ASSERT_TRUE(wait_readable(self->fd, 100));
	memset(data, 0x55, sizeof(data));
	EXPECT_EQ(30, recv(self->fd, data, 30, MSG_TRUNC | MSG_PEEK));
	EXPECT_EQ(30, recv(self->fd, data, 30, MSG_TRUNC));
	EXPECT_EQ(0x55, data[0]);
	/* Discarded data needs no buffer. */
	EXPECT_EQ(30, recv(self->fd, NULL, 30, MSG_TRUNC));
	EXPECT_EQ(40, recv(self->fd, data, 100, 0));
	EXPECT_TRUE(stream_check(1, 60, data, 40));
}

TEST_F(flags, rcvlowat)
{
	int lowat = 100;
	char data[100];

	ASSERT_EQ(0, setsockopt(self->fd, SOL_SOCKET, SO_RCVLOWAT, &lowat,
				sizeof(lowat)));
	EXPECT_STREQ("ok 60", peer_run(&self->peer, "send 60 1"));
	ASSERT_TRUE(wait_readable(self->fd, 60));
	EXPECT_EQ(POLLOUT | POLLWRNORM, poll_now(self->fd));
	/* A call that must not wait takes what is there. */
	EXPECT_EQ(10, recv(self->fd, data, 10, MSG_DONTWAIT));
	EXPECT_STREQ("ok 50", peer_run(&self->peer, "send 50 1"));
	EXPECT_TRUE(wait_poll(self->fd, POLLIN, NULL));
	EXPECT_EQ(100, recv(self->fd, data, 100, 0));
	EXPECT_TRUE(stream_check(1, 10, data, 100));
}

/* Buffers grow for the mark. A full buffer is readable whatever the mark is. */
TEST_F(flags, rcvlowat_of_more_than_a_ring)
{
	static char data[1 << 20];
	int lowat = 300000;

	ASSERT_EQ(0, setsockopt(self->fd, SOL_SOCKET, SO_RCVLOWAT, &lowat,
				sizeof(lowat)));
	peer_send(&self->peer, "send %zu 1", sizeof(data));
	EXPECT_TRUE(wait_poll(self->fd, POLLIN, NULL));
	lowat = 1;
	ASSERT_EQ(0, setsockopt(self->fd, SOL_SOCKET, SO_RCVLOWAT, &lowat,
				sizeof(lowat)));
	EXPECT_EQ(sizeof(data), recv_all(self->fd, data, sizeof(data)));
	EXPECT_TRUE(stream_check(1, 0, data, sizeof(data)));
}

/* A lower mark is an event for what has arrived before. */
TEST_F(flags, rcvlowat_is_lowered)
{
	int lowat, ep = epoll_create1(0);
	char data[100];

	ASSERT_LE(0, ep);
	lowat = 100;
	ASSERT_EQ(0, setsockopt(self->fd, SOL_SOCKET, SO_RCVLOWAT, &lowat,
				sizeof(lowat)));
	ASSERT_EQ(0, watch(ep, EPOLL_CTL_ADD, self->fd, EPOLLIN));
	EXPECT_STREQ("ok 60", peer_run(&self->peer, "send 60 1"));
	ASSERT_TRUE(wait_readable(self->fd, 60));
	EXPECT_EQ(0, events_within(ep, 0));
	lowat = 61;
	ASSERT_EQ(0, setsockopt(self->fd, SOL_SOCKET, SO_RCVLOWAT, &lowat,
				sizeof(lowat)));
	EXPECT_EQ(0, events_within(ep, 0));
	lowat = 60;
	ASSERT_EQ(0, setsockopt(self->fd, SOL_SOCKET, SO_RCVLOWAT, &lowat,
				sizeof(lowat)));
	EXPECT_EQ(EPOLLIN, events_within(ep, WAIT_LIMIT_MSEC));
	EXPECT_EQ(60, recv(self->fd, data, 60, MSG_WAITALL));
	close(ep);
}

TEST_F(flags, rcvlowat_and_the_end)
{
	int lowat = 100;
	char data[100];

	ASSERT_EQ(0, setsockopt(self->fd, SOL_SOCKET, SO_RCVLOWAT, &lowat,
				sizeof(lowat)));
	EXPECT_STREQ("ok 60", peer_run(&self->peer, "send 60 1"));
	EXPECT_STREQ("ok", peer_run(&self->peer, "fin"));
	EXPECT_TRUE(wait_poll(self->fd, POLLIN, NULL));
	EXPECT_EQ(60, recv(self->fd, data, 100, 0));
	EXPECT_EQ(0, recv(self->fd, data, 100, 0));
}

TEST_F(flags, refused_or_without_effect)
{
	char data[4];

	stream_fill(1, 0, data, 4);
	EXPECT_EQ(1, send(self->fd, data, 1, MSG_MORE));
	EXPECT_EQ(1, send(self->fd, data + 1, 1, MSG_DONTROUTE | MSG_EOR));
	EXPECT_EQ(1, send(self->fd, data + 2, 1, MSG_CONFIRM));
	EXPECT_EQ(1, send(self->fd, data + 3, 1, MSG_NOSIGNAL));
	EXPECT_STREQ("ok 4", peer_run(&self->peer, "recv 4 1"));
	EXPECT_EQ(-1, recv(self->fd, data, 4, MSG_ERRQUEUE));
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_STREQ("ok 4", peer_run(&self->peer, "send 4 1"));
	EXPECT_EQ(4, recv(self->fd, data, 4, MSG_CMSG_CLOEXEC | MSG_WAITALL));
}

XENSOCK_TEST_MAIN
