// SPDX-License-Identifier: GPL-2.0
/*
 * Connections that wait to be accepted: a non-blocking accept() gets all of
 * them before EAGAIN, and closing the listener after that loses none.
 */
#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>

#include "kselftest_harness.h"
#include "util.h"

#define CONNECTIONS 64

FIXTURE(waiting) {
	struct peer peer;
	unsigned int port;
	int fd;
	int accepted[2 * CONNECTIONS];
	int count;
};

static int shared_listener(unsigned int port, int backlog)
{
	int one = 1, fd = new_socket(SOCK_NONBLOCK);

	if (setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)) ||
	    bind_to(fd, opt.host, port) || listen(fd, backlog))
		return -1;
	return fd;
}

FIXTURE_SETUP(waiting)
{
	ASSERT_TRUE(peer_open(&self->peer, 0));
	self->fd = shared_listener(0, 2 * CONNECTIONS);
	ASSERT_LE(0, self->fd);
	self->port = local_port(self->fd);
	self->count = 0;
}

FIXTURE_TEARDOWN(waiting)
{
	while (self->count)
		close(self->accepted[--self->count]);
	close(self->fd);
	peer_close(&self->peer);
}

/* Accepts without waiting until there are no more connections. */
static int accept_all(FIXTURE_DATA(waiting) *self, int fd)
{
	int before = self->count;

	while (self->count < (int)ARRAY_LEN(self->accepted)) {
		int one = accept(fd, NULL, NULL);

		if (one < 0)
			break;
		self->accepted[self->count++] = one;
	}
	return self->count - before;
}

static void close_all(FIXTURE_DATA(waiting) *self)
{
	while (self->count)
		close(self->accepted[--self->count]);
	peer_run(&self->peer, "ends");
}

TEST_F(waiting, all_are_there_before_eagain)
{
	int round;

	for (round = 0; round < 5; round++) {
		EXPECT_STREQ("ok 64", peer_run(&self->peer, "open %u %d",
					       self->port, CONNECTIONS));
		EXPECT_EQ(CONNECTIONS, accept_all(self, self->fd));
		EXPECT_EQ(EAGAIN, errno);
		EXPECT_EQ(0, poll_now(self->fd));
		EXPECT_EQ(0, close(self->fd));
		EXPECT_TRUE(peer_refused(&self->peer, self->port));
		close_all(self);
		EXPECT_STREQ("fin 64 rst 0", self->peer.line);
		self->fd = shared_listener(0, 2 * CONNECTIONS);
		ASSERT_LE(0, self->fd);
		self->port = local_port(self->fd);
	}
}

/* Each connection that was made can be accepted at once, and poll reports it. */
TEST_F(waiting, each_is_there_at_once)
{
	int i;

	for (i = 0; i < 100; i++) {
		EXPECT_EQ(-1, accept(self->fd, NULL, NULL));
		EXPECT_EQ(EAGAIN, errno);
		EXPECT_EQ(0, poll_now(self->fd));
		peer_run(&self->peer, "connect %u", self->port);
		ASSERT_EQ(0, strncmp("ok", self->peer.line, 2));
		if (i % 2)
			EXPECT_EQ(POLLIN, poll_now(self->fd) & POLLIN)
				TH_LOG("round %d", i);
		EXPECT_EQ(1, accept_all(self, self->fd)) TH_LOG("round %d", i);
		close(self->accepted[--self->count]);
	}
}

TEST_F(waiting, poll_tells_of_each)
{
	int i;

	EXPECT_STREQ("ok 64", peer_run(&self->peer, "open %u %d", self->port,
				       CONNECTIONS));
	for (i = 0; i < CONNECTIONS; i++) {
		EXPECT_EQ(POLLIN, poll_now(self->fd) & POLLIN)
			TH_LOG("after %d", i);
		self->accepted[self->count] = accept(self->fd, NULL, NULL);
		ASSERT_LE(0, self->accepted[self->count++]);
	}
	EXPECT_EQ(0, poll_now(self->fd));
	EXPECT_EQ(0, close(self->fd));
	close_all(self);
	EXPECT_STREQ("fin 64 rst 0", self->peer.line);
	self->fd = -1;
}

/* A server is replaced: the old one accepts its connections, then exits. */
TEST_F(waiting, a_reload_resets_none)
{
	int other, i;

	for (i = 0; i < 3; i++) {
		EXPECT_STREQ("ok 40", peer_run(&self->peer, "open %u 40",
					       self->port));
		other = shared_listener(self->port, 2 * CONNECTIONS);
		ASSERT_LE(0, other);
		EXPECT_STREQ("ok 60", peer_run(&self->peer, "open %u 20",
					       self->port));
		EXPECT_LE(40, accept_all(self, self->fd));
		EXPECT_EQ(EAGAIN, errno);
		EXPECT_EQ(0, close(self->fd));
		self->fd = other;
		accept_all(self, self->fd);
		EXPECT_EQ(60, self->count);
		close_all(self);
		EXPECT_STREQ("fin 60 rst 0", self->peer.line);
	}
}

struct acceptor {
	pthread_t thread;
	int fd;
	int count;
	int error;
};

static void *accept_thread(void *arg)
{
	struct acceptor *t = arg;
	int fd;

	while ((fd = accept(t->fd, NULL, NULL)) >= 0) {
		t->count++;
		close(fd);
	}
	t->error = errno;
	return NULL;
}

TEST_F(waiting, several_threads_take_all)
{
	struct acceptor t[4];
	int i, round, sum;

	for (round = 0; round < 5; round++) {
		EXPECT_STREQ("ok 64", peer_run(&self->peer, "open %u %d",
					       self->port, CONNECTIONS));
		for (i = 0, sum = 0; i < 4; i++) {
			t[i] = (struct acceptor){ .fd = self->fd };
			ASSERT_EQ(0, pthread_create(&t[i].thread, NULL, accept_thread,
						    &t[i]));
		}
		for (i = 0; i < 4; i++) {
			pthread_join(t[i].thread, NULL);
			EXPECT_EQ(EAGAIN, t[i].error);
			sum += t[i].count;
		}
		EXPECT_EQ(CONNECTIONS, sum);
		EXPECT_STREQ("fin 64 rst 0", peer_run(&self->peer, "ends"));
	}
}

static void check_info(struct __test_metadata *_metadata, int fd,
		       unsigned int waiting, unsigned int backlog)
{
	struct tcp_info info = { 0 };
	socklen_t len = sizeof(info);

	ASSERT_EQ(0, getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len));
	EXPECT_EQ(waiting, info.tcpi_unacked);
	EXPECT_EQ(backlog, info.tcpi_sacked);
}

TEST_F(waiting, tcp_info_counts_them)
{
	check_info(_metadata, self->fd, 0, 2 * CONNECTIONS);
	EXPECT_STREQ("ok 3", peer_run(&self->peer, "open %u 3", self->port));
	check_info(_metadata, self->fd, 3, 2 * CONNECTIONS);
	EXPECT_STREQ("ok 40", peer_run(&self->peer, "open %u 37", self->port));
	check_info(_metadata, self->fd, 40, 2 * CONNECTIONS);
	close(accept(self->fd, NULL, NULL));
	check_info(_metadata, self->fd, 39, 2 * CONNECTIONS);
	ASSERT_EQ(0, listen(self->fd, 50));
	check_info(_metadata, self->fd, 39, 50);
	EXPECT_EQ(39, accept_all(self, self->fd));
	check_info(_metadata, self->fd, 0, 50);
}

XENSOCK_TEST_MAIN
