// SPDX-License-Identifier: GPL-2.0
/* epoll: level, edge and one-shot, and several watchers of one socket. */
#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "kselftest_harness.h"
#include "util.h"

#define TIMEOUT_MSEC WAIT_LIMIT_MSEC

FIXTURE(epoll) {
	struct peer peer;
	int fd;
	int ep;
};

FIXTURE_SETUP(epoll)
{
	ASSERT_TRUE(peer_open(&self->peer, 16384));
	self->fd = peer_connect(&self->peer, SOCK_NONBLOCK);
	ASSERT_LE(0, self->fd);
	self->ep = epoll_create1(0);
	ASSERT_LE(0, self->ep);
}

FIXTURE_TEARDOWN(epoll)
{
	close(self->ep);
	close(self->fd);
	peer_close(&self->peer);
}

TEST_F(epoll, level_repeats)
{
	char data[10];

	ASSERT_EQ(0, watch(self->ep, EPOLL_CTL_ADD, self->fd, EPOLLIN));
	EXPECT_EQ(0, events_within(self->ep, 0));
	EXPECT_STREQ("ok 10", peer_run(&self->peer, "send 10 1"));
	EXPECT_EQ(EPOLLIN, events_within(self->ep, TIMEOUT_MSEC));
	EXPECT_EQ(EPOLLIN, events_within(self->ep, 0));
	EXPECT_EQ(10, recv(self->fd, data, 10, 0));
	EXPECT_EQ(0, events_within(self->ep, 0));
}

TEST_F(epoll, edge_tells_once)
{
	char data[10];

	ASSERT_EQ(0, watch(self->ep, EPOLL_CTL_ADD, self->fd,
			   EPOLLIN | EPOLLOUT | EPOLLET));
	EXPECT_EQ(EPOLLOUT, events_within(self->ep, 0));
	EXPECT_EQ(0, events_within(self->ep, 0));
	EXPECT_STREQ("ok 5", peer_run(&self->peer, "send 5 1"));
	EXPECT_EQ(EPOLLIN | EPOLLOUT, events_within(self->ep, TIMEOUT_MSEC));
	EXPECT_EQ(0, events_within(self->ep, 0));
	/* More data is a new event even while the first is unread. */
	EXPECT_STREQ("ok 5", peer_run(&self->peer, "send 5 1"));
	EXPECT_EQ(EPOLLIN | EPOLLOUT, events_within(self->ep, TIMEOUT_MSEC));
	ASSERT_TRUE(wait_readable(self->fd, 10));
	/* Reading a part causes no event. */
	EXPECT_EQ(3, recv(self->fd, data, 3, 0));
	EXPECT_EQ(0, events_within(self->ep, 0));
	EXPECT_EQ(7, recv(self->fd, data, 10, 0));
	EXPECT_EQ(-1, recv(self->fd, data, 10, 0));
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_STREQ("ok 1", peer_run(&self->peer, "send 1 1"));
	EXPECT_EQ(EPOLLIN | EPOLLOUT, events_within(self->ep, TIMEOUT_MSEC));
}

/* A program that begins to watch when there is something to read. */
TEST_F(epoll, edge_after_what_was_there)
{
	__u64 deadline = now_msec() + TIMEOUT_MSEC;
	int unread = 0;

	EXPECT_STREQ("ok 5", peer_run(&self->peer, "send 5 1"));
	/* A call that looks for them could be the one that asks for an event. */
	while (!ioctl(self->fd, FIONREAD, &unread) && unread < 5 &&
	       now_msec() < deadline)
		poll(NULL, 0, 1);
	ASSERT_EQ(5, unread);
	ASSERT_EQ(0, watch(self->ep, EPOLL_CTL_ADD, self->fd,
			   EPOLLIN | EPOLLET));
	EXPECT_EQ(EPOLLIN, events_within(self->ep, 0));
	EXPECT_EQ(0, events_within(self->ep, 0));
	EXPECT_STREQ("ok 5", peer_run(&self->peer, "send 5 1"));
	EXPECT_EQ(EPOLLIN, events_within(self->ep, TIMEOUT_MSEC));
}

TEST_F(epoll, edge_when_room_is_made)
{
	__u64 sent;

	ASSERT_EQ(0, watch(self->ep, EPOLL_CTL_ADD, self->fd,
			   EPOLLOUT | EPOLLET));
	sent = fill_socket(self->fd, 1, 30000);
	events_within(self->ep, 0);
	EXPECT_EQ(0, events_within(self->ep, 0));
	peer_send(&self->peer, "recv %llu 1", sent);
	EXPECT_EQ(EPOLLOUT, events_within(self->ep, TIMEOUT_MSEC));
	peer_answer(&self->peer);
}

TEST_F(epoll, edge_of_the_end)
{
	char c;

	ASSERT_EQ(0, watch(self->ep, EPOLL_CTL_ADD, self->fd,
			   EPOLLIN | EPOLLRDHUP | EPOLLET));
	EXPECT_EQ(0, events_within(self->ep, 0));
	EXPECT_STREQ("ok", peer_run(&self->peer, "fin"));
	EXPECT_EQ(EPOLLIN | EPOLLRDHUP, events_within(self->ep, TIMEOUT_MSEC));
	EXPECT_EQ(0, recv(self->fd, &c, 1, 0));
	EXPECT_EQ(0, events_within(self->ep, 0));
	EXPECT_STREQ("ok", peer_run(&self->peer, "rst"));
	EXPECT_EQ(EPOLLIN | EPOLLRDHUP | EPOLLERR | EPOLLHUP,
		  events_within(self->ep, TIMEOUT_MSEC));
}

TEST_F(epoll, edge_of_a_connect)
{
	int fd = new_socket(SOCK_NONBLOCK);

	ASSERT_LE(0, fd);
	EXPECT_EQ(-1, connect_to(fd, opt.host, self->peer.port));
	EXPECT_EQ(EINPROGRESS, errno);
	ASSERT_EQ(0, watch(self->ep, EPOLL_CTL_ADD, fd,
			   EPOLLIN | EPOLLOUT | EPOLLET));
	EXPECT_EQ(EPOLLOUT, events_within(self->ep, TIMEOUT_MSEC));
	EXPECT_EQ(0, so_error(fd));
	EXPECT_EQ(0, events_within(self->ep, 0));
	close(fd);
}

TEST_F(epoll, edge_of_a_refusal)
{
	int fd = new_socket(SOCK_NONBLOCK);

	ASSERT_LE(0, fd);
	EXPECT_STREQ("ok", peer_run(&self->peer, "unlisten"));
	EXPECT_EQ(-1, connect_to(fd, opt.host, self->peer.port));
	EXPECT_EQ(EINPROGRESS, errno);
	ASSERT_EQ(0, watch(self->ep, EPOLL_CTL_ADD, fd, EPOLLOUT | EPOLLET));
	EXPECT_EQ(EPOLLOUT | EPOLLERR | EPOLLHUP,
		  events_within(self->ep, TIMEOUT_MSEC));
	EXPECT_EQ(ECONNREFUSED, so_error(fd));
	close(fd);
}

TEST_F(epoll, oneshot_until_armed_again)
{
	char data[10];

	ASSERT_EQ(0, watch(self->ep, EPOLL_CTL_ADD, self->fd,
			   EPOLLIN | EPOLLONESHOT));
	EXPECT_STREQ("ok 5", peer_run(&self->peer, "send 5 1"));
	EXPECT_EQ(EPOLLIN, events_within(self->ep, TIMEOUT_MSEC));
	EXPECT_STREQ("ok 5", peer_run(&self->peer, "send 5 1"));
	ASSERT_TRUE(wait_readable(self->fd, 10));
	EXPECT_EQ(0, events_within(self->ep, 0));
	ASSERT_EQ(0, watch(self->ep, EPOLL_CTL_MOD, self->fd,
			   EPOLLIN | EPOLLONESHOT));
	EXPECT_EQ(EPOLLIN, events_within(self->ep, 0));
	EXPECT_EQ(10, recv(self->fd, data, 10, 0));
	ASSERT_EQ(0, watch(self->ep, EPOLL_CTL_MOD, self->fd,
			   EPOLLIN | EPOLLONESHOT));
	EXPECT_EQ(0, events_within(self->ep, 0));
}

TEST_F(epoll, every_watcher_is_told)
{
	int second = epoll_create1(0), outer = epoll_create1(0);

	ASSERT_EQ(0, watch(self->ep, EPOLL_CTL_ADD, self->fd,
			   EPOLLIN | EPOLLET));
	ASSERT_EQ(0, watch(second, EPOLL_CTL_ADD, self->fd, EPOLLIN));
	ASSERT_EQ(0, watch(outer, EPOLL_CTL_ADD, second, EPOLLIN));
	EXPECT_EQ(0, events_within(outer, 0));
	EXPECT_STREQ("ok 5", peer_run(&self->peer, "send 5 1"));
	EXPECT_EQ(EPOLLIN, events_within(self->ep, TIMEOUT_MSEC));
	EXPECT_EQ(EPOLLIN, events_within(second, TIMEOUT_MSEC));
	EXPECT_EQ(EPOLLIN, events_within(outer, TIMEOUT_MSEC));
	close(second);
	close(outer);
}

TEST_F(epoll, closing_the_socket_ends_the_watch)
{
	ASSERT_EQ(0, watch(self->ep, EPOLL_CTL_ADD, self->fd, EPOLLOUT));
	EXPECT_EQ(EPOLLOUT, events_within(self->ep, 0));
	EXPECT_EQ(0, close(self->fd));
	EXPECT_EQ(0, events_within(self->ep, 0));
	EXPECT_STREQ("fin", peer_run(&self->peer, "end"));
	self->fd = new_socket(0);
}

XENSOCK_TEST_MAIN
