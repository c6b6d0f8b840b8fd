// SPDX-License-Identifier: GPL-2.0
/* close(): what the peer sees of it, and who else keeps the socket open. */
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "kselftest_harness.h"
#include "util.h"

FIXTURE(close) {
	struct peer peer;
	int fd;
};

FIXTURE_SETUP(close)
{
	ASSERT_TRUE(peer_open(&self->peer, 16384));
	self->fd = peer_connect(&self->peer, SOCK_CLOEXEC);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(close)
{
	if (self->fd >= 0)
		close(self->fd);
	peer_close(&self->peer);
}

#define CLOSES() do {							\
	EXPECT_EQ(0, close(self->fd));					\
	self->fd = -1;							\
} while (0)

TEST_F(close, idle_is_the_end_for_the_peer)
{
	CLOSES();
	EXPECT_STREQ("fin", peer_run(&self->peer, "end"));
	EXPECT_STREQ("eof 0", peer_run(&self->peer, "drain 1"));
}

TEST_F(close, delivers_what_was_sent)
{
	char data[5000];

	stream_fill(1, 0, data, sizeof(data));
	EXPECT_EQ(5000, send(self->fd, data, 5000, 0));
	CLOSES();
	EXPECT_STREQ("eof 5000", peer_run(&self->peer, "drain 1"));
}

/* All buffers on the way are full when the socket is closed. */
TEST_F(close, delivers_what_was_sent_to_a_slow_peer)
{
	__u64 sent = fill_socket(self->fd, 1, 30000);
	char expected[32];

	CLOSES();
	snprintf(expected, sizeof(expected), "eof %llu",
		 sent);
	EXPECT_STREQ(expected, peer_run(&self->peer, "drain 1"));
}

TEST_F(close, with_data_unread_is_a_reset)
{
	EXPECT_STREQ("ok 10", peer_run(&self->peer, "send 10 1"));
	ASSERT_TRUE(wait_readable(self->fd, 10));
	CLOSES();
	EXPECT_STREQ("err 104 0", peer_run(&self->peer, "drain 1"));
}

/* More data comes after the close. Nobody will read it, so the peer gets a reset. */
TEST_F(close, peer_that_goes_on_sending_is_reset)
{
	CLOSES();
	EXPECT_STREQ("fin", peer_run(&self->peer, "end"));
	peer_run(&self->peer, "send 100000000 1");
	EXPECT_EQ(0, strncmp("err", self->peer.line, 3))
		TH_LOG("%s", self->peer.line);
}

TEST_F(close, after_the_peer)
{
	EXPECT_STREQ("ok", peer_run(&self->peer, "fin"));
	ASSERT_TRUE(wait_poll(self->fd, POLLRDHUP, NULL));
	CLOSES();
	EXPECT_STREQ("eof 0", peer_run(&self->peer, "drain 1"));
}

TEST_F(close, after_a_reset)
{
	EXPECT_STREQ("ok", peer_run(&self->peer, "rst"));
	ASSERT_TRUE(wait_poll(self->fd, POLLHUP, NULL));
	CLOSES();
	self->fd = connect_port(opt.port + PEER_ECHO, 0);
	EXPECT_LE(0, self->fd);
}

TEST(never_connected)
{
	int i, fd;

	for (i = 0; i < rounds(100); i++) {
		fd = new_socket(0);
		ASSERT_LE(0, fd);
		ASSERT_EQ(0, close(fd));
	}
}

/* The socket is open as long as one descriptor is open. */
#define STILL_OPEN(fd) do {						\
	char __data[8];							\
									\
	stream_fill(1, 0, __data, 8);					\
	EXPECT_EQ(8, send(fd, __data, 8, MSG_NOSIGNAL));		\
	EXPECT_STREQ("ok 8", peer_run(&self->peer, "recv 8 1"));	\
} while (0)

TEST_F(close, not_while_there_is_a_duplicate)
{
	int copy = dup(self->fd);

	CLOSES();
	STILL_OPEN(copy);
	EXPECT_EQ(0, close(copy));
	EXPECT_STREQ("eof 0", peer_run(&self->peer, "drain 1"));
}

TEST_F(close, not_while_a_child_has_it)
{
	int status, pipes[2];
	pid_t pid;
	char c;

	ASSERT_EQ(0, pipe(pipes));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		close(pipes[1]);
		while (read(pipes[0], &c, 1) > 0) {
			stream_fill(1, 0, &c, 1);
			if (send(self->fd, &c, 1, MSG_NOSIGNAL) != 1)
				_exit(1);
		}
		_exit(0);
	}
	close(pipes[0]);
	CLOSES();
	EXPECT_EQ(1, write(pipes[1], "", 1));
	EXPECT_STREQ("ok 1", peer_run(&self->peer, "recv 1 1"));
	close(pipes[1]);
	EXPECT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_STREQ("eof 0", peer_run(&self->peer, "drain 1"));
}

TEST_F(close, not_while_it_is_on_its_way)
{
	int pair[2], fd;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	ASSERT_EQ(0, send_fd(pair[0], self->fd));
	CLOSES();
	fd = recv_fd(pair[1]);
	ASSERT_LE(0, fd);
	STILL_OPEN(fd);
	EXPECT_EQ(0, close(fd));
	EXPECT_STREQ("eof 0", peer_run(&self->peer, "drain 1"));
	/* A file that is discarded before it is received is closed too. */
	fd = peer_connect(&self->peer, 0);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, send_fd(pair[0], fd));
	EXPECT_EQ(0, close(fd));
	close(pair[0]);
	close(pair[1]);
	EXPECT_STREQ("eof 0", peer_run(&self->peer, "drain 1"));
}

/* Exiting closes the socket as close() does. */
TEST_F(close, at_exit)
{
	int status;
	pid_t pid;
	char data[5000];

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		int fd = connect_port(self->peer.port, 0);

		stream_fill(1, 0, data, sizeof(data));
		_exit(send(fd, data, sizeof(data), 0) != sizeof(data));
	}
	EXPECT_STREQ("ok", peer_run(&self->peer, "accept"));
	EXPECT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_STREQ("eof 5000", peer_run(&self->peer, "drain 1"));
}

XENSOCK_TEST_MAIN
