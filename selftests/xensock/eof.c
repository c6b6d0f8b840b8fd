// SPDX-License-Identifier: GPL-2.0
/* The peer has sent its last byte: the end comes after all data, and stays. */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>

#include "kselftest_harness.h"
#include "util.h"

FIXTURE(eof) {
	struct peer peer;
	int fd;
};

FIXTURE_SETUP(eof)
{
	ASSERT_TRUE(peer_open(&self->peer, 0));
	self->fd = peer_connect(&self->peer, 0);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(eof)
{
	close(self->fd);
	peer_close(&self->peer);
}

/* Reads to the end in pieces. Returns the number of good bytes. */
static long long read_to_the_end(int fd, size_t piece)
{
	__u64 done = 0;
	char data[8192];
	ssize_t n;

	while ((n = recv(fd, data, piece, 0)) > 0) {
		if (!stream_check(1, done, data, n))
			return -2;
		done += n;
	}
	return n < 0 ? -1 : (long long)done;
}

TEST_F(eof, all_data_comes_before_it)
{
	static const struct {
		unsigned long len;
		size_t piece;
	} cases[] = {
		{ 0, 1 }, { 1, 1 }, { 1, 100 }, { 4096, 4096 },
		{ 32768, 7 * 1024 }, { 65537, 8192 }, { 3000000, 8192 },
	};
	size_t i;
	int fd;

	for (i = 0; i < ARRAY_LEN(cases); i++) {
		fd = peer_connect(&self->peer, 0);
		ASSERT_LE(0, fd);
		peer_send(&self->peer, "send %lu 1", cases[i].len);
		peer_send(&self->peer, "close");
		EXPECT_EQ(cases[i].len, read_to_the_end(fd, cases[i].piece));
		EXPECT_EQ(0, read_to_the_end(fd, 1));
		EXPECT_EQ(0, read_to_the_end(fd, 100));
		peer_answer(&self->peer);
		EXPECT_STREQ("ok", peer_answer(&self->peer));
		close(fd);
	}
}

/* Data and end are both there before the test reads the first byte. */
TEST_F(eof, queued_behind_data)
{
	char data[100];

	EXPECT_STREQ("ok 100", peer_run(&self->peer, "send 100 1"));
	EXPECT_STREQ("ok", peer_run(&self->peer, "close"));
	ASSERT_TRUE(wait_poll(self->fd, POLLRDHUP, NULL));
	EXPECT_EQ(100, recv(self->fd, data, 100, MSG_PEEK));
	EXPECT_EQ(100, read_to_the_end(self->fd, 30));
	EXPECT_EQ(0, recv(self->fd, data, 100, MSG_DONTWAIT));
}

TEST_F(eof, a_receiver_is_woken)
{
	char c;

	peer_send(&self->peer, "fin");
	EXPECT_EQ(0, recv(self->fd, &c, 1, 0));
	EXPECT_STREQ("ok", peer_answer(&self->peer));
}

TEST_F(eof, the_other_direction_goes_on)
{
	char data[5000], c;
	int i;

	EXPECT_STREQ("ok", peer_run(&self->peer, "fin"));
	EXPECT_EQ(0, recv(self->fd, &c, 1, 0));
	for (i = 0; i < 20; i++) {
		stream_fill(1, i * sizeof(data), data, sizeof(data));
		EXPECT_EQ(sizeof(data), send_all(self->fd, data, sizeof(data)));
	}
	EXPECT_STREQ("ok 100000", peer_run(&self->peer, "recv 100000 1"));
	EXPECT_EQ(0, recv(self->fd, &c, 1, 0));
	close(self->fd);
	EXPECT_STREQ("eof 0", peer_run(&self->peer, "drain 1"));
	self->fd = new_socket(0);
}

/*
 * A receiver hears of the end only when another thread has connected the socket again: all else has
 * a lower priority on the one processor of both.
 */
TEST_F(eof, is_that_of_one_connection)
{
	struct sched_param first = { .sched_priority = 1 };
	struct sockaddr unspec = { .sa_family = AF_UNSPEC };
	struct waiter w;
	cpu_set_t cpus;
	char c;

	if (opt.accepts)
		SKIP(return, "the test connects");
	CPU_ZERO(&cpus);
	CPU_SET(0, &cpus);
	if (sched_setaffinity(0, sizeof(cpus), &cpus))
		SKIP(return, "no processor 0");
	ASSERT_TRUE(waiter_start(&w, in_recv, self->fd));
	if (sched_setscheduler(0, SCHED_FIFO, &first))
		SKIP(return, "needs root");
	peer_send(&self->peer, "fin");
	ASSERT_TRUE(wait_poll(self->fd, POLLRDHUP, NULL));
	ASSERT_EQ(0, connect(self->fd, &unspec, sizeof(unspec)));
	ASSERT_EQ(0, connect_to(self->fd, opt.host, self->peer.port));
	waiter_end(&w);
	EXPECT_STREQ("ok", peer_answer(&self->peer));
	EXPECT_STREQ("ok", peer_run(&self->peer, "accept"));
	EXPECT_STREQ("ok", peer_run(&self->peer, "rst"));
	EXPECT_EQ(-1, recv(self->fd, &c, 1, 0));
	EXPECT_EQ(ECONNRESET, errno);
	EXPECT_EQ(0, recv(self->fd, &c, 1, 0));
}

XENSOCK_TEST_MAIN
