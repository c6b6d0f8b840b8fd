// SPDX-License-Identifier: GPL-2.0
/* SO_LINGER: a close() that waits for the peer, and a close() that resets. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "kselftest_harness.h"
#include "util.h"

FIXTURE(linger) {
	struct peer peer;
	int fd;
};

FIXTURE_SETUP(linger)
{
	ASSERT_TRUE(peer_open(&self->peer, 16384));
	self->fd = peer_connect(&self->peer, SOCK_CLOEXEC);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(linger)
{
	if (self->fd >= 0)
		close(self->fd);
	peer_close(&self->peer);
}

static int set_linger(int fd, int on, int seconds)
{
	struct linger linger = { .l_onoff = on, .l_linger = seconds };

	return setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
}

#define CLOSES() do {							\
	EXPECT_EQ(0, close(self->fd));					\
	self->fd = -1;							\
} while (0)

#define CLOSES_AT_ONCE() do {						\
	__u64 __began = now_msec();					\
									\
	CLOSES();							\
	EXPECT_GT(AT_ONCE_MSEC, now_msec() - __began);			\
} while (0)

static void check_received(struct __test_metadata *_metadata, struct peer *peer,
			   __u64 sent)
{
	char expected[32];

	snprintf(expected, sizeof(expected), "eof %llu", sent);
	EXPECT_STREQ(expected, peer_run(peer, "drain 1"));
}

TEST_F(linger, says_what_was_set)
{
	static const struct linger cases[] = {
		{ 1, 7 }, { 1, 0 }, { 0, 0 }, { 1, 65535 },
	};
	struct linger linger = { 9, 9 };
	socklen_t len = sizeof(linger);
	size_t i;

	EXPECT_EQ(0, getsockopt(self->fd, SOL_SOCKET, SO_LINGER, &linger,
				&len));
	EXPECT_EQ(0, linger.l_onoff);
	for (i = 0; i < ARRAY_LEN(cases); i++) {
		EXPECT_EQ(0, set_linger(self->fd, cases[i].l_onoff,
					cases[i].l_linger));
		len = sizeof(linger);
		EXPECT_EQ(0, getsockopt(self->fd, SOL_SOCKET, SO_LINGER,
					&linger, &len));
		EXPECT_EQ(sizeof(linger), len);
		EXPECT_EQ(cases[i].l_onoff, linger.l_onoff);
		if (linger.l_onoff)
			EXPECT_EQ(cases[i].l_linger, linger.l_linger);
	}
	EXPECT_EQ(-1, setsockopt(self->fd, SOL_SOCKET, SO_LINGER, &linger,
				 sizeof(linger) - 1));
	EXPECT_EQ(EINVAL, errno);
	ASSERT_EQ(0, set_linger(self->fd, 0, 0));
}

TEST_F(linger, zero_resets_an_idle_connection)
{
	ASSERT_EQ(0, set_linger(self->fd, 1, 0));
	CLOSES();
	EXPECT_STREQ("rst", peer_run(&self->peer, "end"));
	EXPECT_STREQ("err 104 0", peer_run(&self->peer, "drain 1"));
}

/* Data that has not arrived is discarded. */
TEST_F(linger, zero_resets_with_all_buffers_full)
{
	__u64 sent, error = 0, got = 0;

	sent = fill_socket(self->fd, 1, 30000);
	ASSERT_EQ(0, set_linger(self->fd, 1, 0));
	CLOSES_AT_ONCE();
	EXPECT_STREQ("rst", peer_run(&self->peer, "end"));
	peer_run(&self->peer, "drain 1");
	EXPECT_EQ(2, sscanf(self->peer.line, "err %llu %llu", &error, &got))
		TH_LOG("%s", self->peer.line);
	EXPECT_EQ(ECONNRESET, error);
	EXPECT_GT(sent, got);
}

TEST_F(linger, zero_resets_after_either_end_has_finished)
{
	int i;

	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, set_linger(self->fd, 1, 0));
		if (i) {
			EXPECT_EQ(0, shutdown(self->fd, SHUT_WR));
			EXPECT_STREQ("eof 0", peer_run(&self->peer,
						       "drain 1"));
		} else {
			EXPECT_STREQ("ok", peer_run(&self->peer, "fin"));
			ASSERT_TRUE(wait_poll(self->fd, POLLRDHUP, NULL));
		}
		CLOSES();
		if (i) {
			peer_run(&self->peer, "send 100000000 1");
			EXPECT_EQ(0, strncmp("err", self->peer.line, 3));
		} else {
			EXPECT_STREQ("rst", peer_run(&self->peer, "end"));
		}
		self->fd = peer_connect(&self->peer, 0);
		ASSERT_LE(0, self->fd);
	}
}

TEST_F(linger, zero_only_when_the_last_descriptor_goes)
{
	int copy = dup(self->fd);

	ASSERT_EQ(0, set_linger(self->fd, 1, 0));
	CLOSES();
	EXPECT_EQ(4, send(copy, "\0\0\0\0", 4, 0));
	EXPECT_STREQ("bad 0", peer_run(&self->peer, "recv 4 1"));
	EXPECT_EQ(0, close(copy));
	EXPECT_STREQ("rst", peer_run(&self->peer, "end"));
}

/* A non-blocking socket waits too. */
TEST_F(linger, waits_until_the_peer_has_everything)
{
	struct waiter w;
	__u64 sent;
	int nonblock;

	for (nonblock = 0; nonblock < 2; nonblock++) {
		sent = fill_socket(self->fd, 1, 30000);
		set_nonblock(self->fd, nonblock);
		ASSERT_EQ(0, set_linger(self->fd, 1, 300));
		ASSERT_TRUE(waiter_start(&w, in_close, self->fd));
		check_received(_metadata, &self->peer, sent);
		EXPECT_EQ(0, waiter_end(&w));
		self->fd = peer_connect(&self->peer, SOCK_CLOEXEC);
		ASSERT_LE(0, self->fd);
	}
}

/* Sending the rest goes on in the background. */
TEST_F(linger, waits_no_longer_than_it_may)
{
	__u64 sent = fill_socket(self->fd, 1, 30000), began;

	ASSERT_EQ(0, set_linger(self->fd, 1, 1));
	began = now_msec();
	CLOSES();
	EXPECT_LE(AT_LEAST_OF(1000), now_msec() - began);
	check_received(_metadata, &self->peer, sent);
}

TEST_F(linger, does_not_wait_when_there_is_nothing_to_wait_for)
{
	char data[5000];

	ASSERT_EQ(0, set_linger(self->fd, 1, 60));
	CLOSES_AT_ONCE();
	EXPECT_STREQ("eof 0", peer_run(&self->peer, "drain 1"));

	/* Everything fits into the peer's buffers. */
	self->fd = peer_connect(&self->peer, 0);
	stream_fill(1, 0, data, sizeof(data));
	EXPECT_EQ(5000, send(self->fd, data, 5000, 0));
	ASSERT_EQ(0, set_linger(self->fd, 1, 60));
	CLOSES_AT_ONCE();
	EXPECT_STREQ("eof 5000", peer_run(&self->peer, "drain 1"));

	/* The peer has closed before. */
	self->fd = peer_connect(&self->peer, 0);
	ASSERT_EQ(0, set_linger(self->fd, 1, 60));
	EXPECT_STREQ("ok", peer_run(&self->peer, "fin"));
	ASSERT_TRUE(wait_poll(self->fd, POLLRDHUP, NULL));
	CLOSES_AT_ONCE();
	EXPECT_STREQ("eof 0", peer_run(&self->peer, "drain 1"));

	/* The peer has reset the connection. */
	self->fd = peer_connect(&self->peer, 0);
	ASSERT_EQ(0, set_linger(self->fd, 1, 60));
	EXPECT_STREQ("ok", peer_run(&self->peer, "rst"));
	ASSERT_TRUE(wait_poll(self->fd, POLLHUP, NULL));
	CLOSES_AT_ONCE();
}

TEST_F(linger, off_does_not_wait)
{
	__u64 sent = fill_socket(self->fd, 1, 30000);

	ASSERT_EQ(0, set_linger(self->fd, 0, 60));
	CLOSES_AT_ONCE();
	check_received(_metadata, &self->peer, sent);
}

TEST_F(linger, with_data_unread_resets_at_once)
{
	fill_socket(self->fd, 1, 30000);
	EXPECT_STREQ("ok 10", peer_run(&self->peer, "send 10 1"));
	ASSERT_TRUE(wait_readable(self->fd, 10));
	ASSERT_EQ(0, set_linger(self->fd, 1, 60));
	CLOSES_AT_ONCE();
	EXPECT_STREQ("rst", peer_run(&self->peer, "end"));
}

TEST(linger_without_a_connection)
{
	__u64 began = now_msec();
	int i, fd, seconds;

	for (seconds = 0; seconds <= 60; seconds += 60) {
		for (i = 0; i < 3; i++) {
			fd = i == 1 ? open_listener(1, 0) :
				      new_socket(SOCK_NONBLOCK);
			ASSERT_LE(0, fd);
			ASSERT_EQ(0, set_linger(fd, 1, seconds));
			if (i == 2)
				EXPECT_EQ(-1, connect_to(fd, opt.blackhole,
							 80));
			EXPECT_EQ(0, close(fd));
		}
	}
	EXPECT_GT(AT_ONCE_MSEC, now_msec() - began);
}

TEST_F(linger, the_wait_ends_when_the_peer_resets)
{
	struct waiter w;
	__u64 began;

	fill_socket(self->fd, 1, 30000);
	ASSERT_EQ(0, set_linger(self->fd, 1, 60));
	ASSERT_TRUE(waiter_start(&w, in_close, self->fd));
	self->fd = -1;
	began = now_msec();
	EXPECT_STREQ("ok", peer_run(&self->peer, "rst"));
	EXPECT_EQ(0, waiter_end(&w));
	EXPECT_GT(30000, now_msec() - began);
}

static void on_signal(int sig)
{
	(void)sig;
}

TEST_F(linger, a_signal_ends_the_wait)
{
	struct sigaction sa = { .sa_handler = on_signal };
	__u64 sent = fill_socket(self->fd, 1, 30000);
	struct waiter w;
	__u64 began;

	sigaction(SIGUSR1, &sa, NULL);
	ASSERT_EQ(0, set_linger(self->fd, 1, 60));
	ASSERT_TRUE(waiter_start(&w, in_close, self->fd));
	self->fd = -1;
	began = now_msec();
	pthread_kill(w.thread, SIGUSR1);
	EXPECT_EQ(0, waiter_end(&w));
	EXPECT_GT(30000, now_msec() - began);
	check_received(_metadata, &self->peer, sent);
}

TEST_F(linger, a_process_that_exits_does_not_wait)
{
	__u64 sent = fill_socket(self->fd, 1, 30000), began = now_msec();
	int status, release[2];
	pid_t pid;

	ASSERT_EQ(0, set_linger(self->fd, 1, 60));
	/* The child's close() comes later and is the last one. */
	ASSERT_EQ(0, pipe(release));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		char c;

		close(release[1]);
		_exit(read(release[0], &c, 1) != 0);
	}
	CLOSES_AT_ONCE();
	close(release[1]);
	EXPECT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_GT(AT_ONCE_MSEC, now_msec() - began);
	check_received(_metadata, &self->peer, sent);
}

TEST_F(linger, accepted_sockets_inherit_it)
{
	int listener = open_listener(1, 0), fd;

	ASSERT_LE(0, listener);
	ASSERT_EQ(0, set_linger(listener, 1, 0));
	fd = peer_accept(&self->peer, listener, 0);
	ASSERT_LE(0, fd);
	EXPECT_EQ(0, close(fd));
	EXPECT_STREQ("rst", peer_run(&self->peer, "end"));
	close(listener);
}

XENSOCK_TEST_MAIN
