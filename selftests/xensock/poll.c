// SPDX-License-Identifier: GPL-2.0
/*
 * Results of poll() and select() in every state of a socket. The masks are
 * those of Linux TCP, complete: an extra bit is an error like a missing one.
 */
#include <errno.h>
#include <poll.h>
#include <sys/select.h>
#include <sys/socket.h>

#include "kselftest_harness.h"
#include "util.h"

#define CAN_READ (POLLIN | POLLRDNORM)
#define CAN_WRITE (POLLOUT | POLLWRNORM)
#define READ_END (CAN_READ | POLLRDHUP)
#define ALL_OVER (READ_END | CAN_WRITE | POLLHUP)

FIXTURE(poll) {
	struct peer peer;
	int fd;
};

FIXTURE_SETUP(poll)
{
	ASSERT_TRUE(peer_open(&self->peer, 16384));
	self->fd = peer_connect(&self->peer, 0);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(poll)
{
	close(self->fd);
	peer_close(&self->peer);
}

TEST(fresh)
{
	int fd = new_socket(0);

	ASSERT_LE(0, fd);
	EXPECT_EQ(CAN_WRITE | POLLHUP, poll_now(fd));
	close(fd);
}

TEST(connecting)
{
	int fd = new_socket(SOCK_NONBLOCK);

	ASSERT_LE(0, fd);
	connect_for_long(fd);
	EXPECT_EQ(-1, connect_to(fd, opt.blackhole, 80));
	EXPECT_EQ(0, poll_now(fd));
	close(fd);
}

TEST_F(poll, refused)
{
	int fd = new_socket(SOCK_NONBLOCK);

	ASSERT_LE(0, fd);
	EXPECT_STREQ("ok", peer_run(&self->peer, "unlisten"));
	EXPECT_EQ(-1, connect_to(fd, opt.host, self->peer.port));
	ASSERT_TRUE(wait_poll(fd, POLLOUT, NULL));
	EXPECT_EQ(ALL_OVER | POLLERR, poll_now(fd));
	EXPECT_EQ(ECONNREFUSED, so_error(fd));
	EXPECT_EQ(ALL_OVER, poll_now(fd));
	close(fd);
}

TEST_F(poll, idle)
{
	EXPECT_EQ(CAN_WRITE, poll_now(self->fd));
}

TEST_F(poll, data_comes_and_goes)
{
	char data[10];

	EXPECT_STREQ("ok 10", peer_run(&self->peer, "send 10 1"));
	ASSERT_TRUE(wait_poll(self->fd, POLLIN, NULL));
	EXPECT_EQ(CAN_READ | CAN_WRITE, poll_now(self->fd));
	EXPECT_EQ(9, recv(self->fd, data, 9, 0));
	EXPECT_EQ(CAN_READ | CAN_WRITE, poll_now(self->fd));
	EXPECT_EQ(1, recv(self->fd, data, 9, 0));
	EXPECT_EQ(CAN_WRITE, poll_now(self->fd));
}

TEST_F(poll, full_then_drained)
{
	__u64 sent = fill_socket(self->fd, 1, 30000);

	EXPECT_EQ(0, poll_now(self->fd));
	/* Data from the peer changes nothing for the writer. */
	EXPECT_STREQ("ok 10", peer_run(&self->peer, "send 10 2"));
	ASSERT_TRUE(wait_poll(self->fd, POLLIN, NULL));
	EXPECT_EQ(CAN_READ, poll_now(self->fd));
	peer_run(&self->peer, "recv %llu 1", sent);
	EXPECT_TRUE(wait_poll(self->fd, POLLOUT, NULL));
	EXPECT_EQ(CAN_READ | CAN_WRITE, poll_now(self->fd));
}

TEST_F(poll, peer_has_finished)
{
	char data[10];

	EXPECT_STREQ("ok 10", peer_run(&self->peer, "send 10 1"));
	EXPECT_STREQ("ok", peer_run(&self->peer, "fin"));
	ASSERT_TRUE(wait_poll(self->fd, POLLRDHUP, NULL));
	EXPECT_EQ(READ_END | CAN_WRITE, poll_now(self->fd));
	EXPECT_EQ(10, recv_all(self->fd, data, 10));
	EXPECT_EQ(READ_END | CAN_WRITE, poll_now(self->fd));
	EXPECT_EQ(0, recv(self->fd, data, 1, 0));
	EXPECT_EQ(READ_END | CAN_WRITE, poll_now(self->fd));
}

TEST_F(poll, peer_has_finished_and_we_are_full)
{
	EXPECT_LT(0, fill_socket(self->fd, 1, 30000));
	EXPECT_STREQ("ok", peer_run(&self->peer, "fin"));
	ASSERT_TRUE(wait_poll(self->fd, POLLRDHUP, NULL));
	EXPECT_EQ(READ_END, poll_now(self->fd));
}

TEST_F(poll, peer_has_reset)
{
	char c;

	EXPECT_STREQ("ok", peer_run(&self->peer, "rst"));
	ASSERT_TRUE(wait_poll(self->fd, POLLRDHUP, NULL));
	EXPECT_EQ(ALL_OVER | POLLERR, poll_now(self->fd));
	EXPECT_EQ(-1, recv(self->fd, &c, 1, 0));
	EXPECT_EQ(ECONNRESET, errno);
	EXPECT_EQ(ALL_OVER, poll_now(self->fd));
	EXPECT_EQ(0, recv(self->fd, &c, 1, 0));
	EXPECT_EQ(ALL_OVER, poll_now(self->fd));
}

TEST_F(poll, peer_has_reset_with_data_queued)
{
	char data[10];

	EXPECT_STREQ("ok 10", peer_run(&self->peer, "send 10 1"));
	ASSERT_TRUE(wait_readable(self->fd, 10));
	EXPECT_STREQ("ok", peer_run(&self->peer, "rst"));
	ASSERT_TRUE(wait_poll(self->fd, POLLRDHUP, NULL));
	EXPECT_EQ(ALL_OVER | POLLERR, poll_now(self->fd));
	EXPECT_EQ(10, recv(self->fd, data, 10, 0));
	EXPECT_EQ(ALL_OVER | POLLERR, poll_now(self->fd));
}

TEST_F(poll, peer_has_reset_after_finishing)
{
	EXPECT_STREQ("ok", peer_run(&self->peer, "fin"));
	ASSERT_TRUE(wait_poll(self->fd, POLLRDHUP, NULL));
	EXPECT_STREQ("ok", peer_run(&self->peer, "rst"));
	ASSERT_TRUE(wait_poll(self->fd, POLLPRI, NULL));
	EXPECT_EQ(ALL_OVER | POLLERR, poll_now(self->fd));
	EXPECT_EQ(EPIPE, so_error(self->fd));
	EXPECT_EQ(ALL_OVER, poll_now(self->fd));
}

/* Errors and hang-ups are reported even if no event is requested. */
TEST_F(poll, asking_for_nothing)
{
	struct pollfd pfd = { .fd = self->fd };

	EXPECT_EQ(0, poll(&pfd, 1, 0));
	EXPECT_STREQ("ok", peer_run(&self->peer, "rst"));
	EXPECT_EQ(1, poll(&pfd, 1, WAIT_LIMIT_MSEC));
	EXPECT_EQ(POLLERR | POLLHUP, pfd.revents);
}

TEST_F(poll, a_sleeper_is_woken)
{
	const struct {
		const char *command;
		short events;
		short revents;
		ssize_t bytes;
	} cases[] = {
		{ "send 1 1", POLLIN, POLLIN, 1 },
		{ "send 1 1", POLLRDNORM, POLLRDNORM, 1 },
		{ "fin", POLLRDHUP, POLLRDHUP, 0 },
		/* After its end, a stream has no error for a reader. */
		{ "rst", POLLPRI, POLLERR | POLLHUP, 0 },
	};
	short revents;
	size_t i;
	char c;

	for (i = 0; i < ARRAY_LEN(cases); i++) {
		peer_send(&self->peer, "%s", cases[i].command);
		EXPECT_TRUE(wait_poll(self->fd, cases[i].events, &revents));
		EXPECT_EQ(cases[i].revents, revents)
			TH_LOG("%s", cases[i].command);
		peer_answer(&self->peer);
		EXPECT_EQ(cases[i].bytes,
			  recv(self->fd, &c, 1, MSG_DONTWAIT))
			TH_LOG("%s", cases[i].command);
	}
}

TEST_F(poll, select_agrees)
{
	struct timeval now = { 0 };
	fd_set in, out, ex;

#define SELECT() ({							\
	FD_ZERO(&in);							\
	FD_ZERO(&out);							\
	FD_ZERO(&ex);							\
	FD_SET(self->fd, &in);						\
	FD_SET(self->fd, &out);						\
	FD_SET(self->fd, &ex);						\
	select(self->fd + 1, &in, &out, &ex, &now);			\
})
	EXPECT_EQ(1, SELECT());
	EXPECT_TRUE(FD_ISSET(self->fd, &out));
	EXPECT_STREQ("ok 1", peer_run(&self->peer, "send 1 1"));
	ASSERT_TRUE(wait_poll(self->fd, POLLIN, NULL));
	EXPECT_EQ(2, SELECT());
	EXPECT_TRUE(FD_ISSET(self->fd, &in) && FD_ISSET(self->fd, &out));
	EXPECT_STREQ("ok", peer_run(&self->peer, "rst"));
	ASSERT_TRUE(wait_poll(self->fd, POLLRDHUP, NULL));
	EXPECT_EQ(2, SELECT());
	EXPECT_FALSE(FD_ISSET(self->fd, &ex));
}

XENSOCK_TEST_MAIN
