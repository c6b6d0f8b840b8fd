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
	int late;
};

static int shared_listener(unsigned int port, int backlog)
{
	int one = 1, fd = new_socket(SOCK_NONBLOCK);

	if (setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)) ||
	    bind_to(fd, opt.host, port) || listen(fd, backlog))
		return -1;
	return fd;
}

/* Once it is closed, no other program is at its port. */
static int own_listener(void)
{
	return shared_listener(unused_port(SOCK_STREAM, TEST_PORTS), 2 * CONNECTIONS);
}

FIXTURE_SETUP(waiting)
{
	ASSERT_TRUE(peer_open(&self->peer, 0));
	self->fd = own_listener();
	ASSERT_LE(0, self->fd);
	self->port = local_port(self->fd);
	self->count = 0;
	self->late = 0;
}

FIXTURE_TEARDOWN(waiting)
{
	while (self->count)
		close(self->accepted[--self->count]);
	close(self->fd);
	peer_close(&self->peer);
}

/*
 * Accepts without waiting until there are no more connections. So many have been made. Counts those
 * that came late.
 */
static int accept_all(FIXTURE_DATA(waiting) *self, int fd, int made)
{
	int one, count = 0;
	__u64 began;

	while (self->count < (int)ARRAY_LEN(self->accepted)) {
		began = now_msec();
		one = count < made ? accept_announced(fd, 0) : accept(fd, NULL, NULL);
		if (one < 0)
			break;
		self->late += gave_up_since(began);
		self->accepted[self->count++] = one;
		count++;
	}
	return count;
}

/* Looks for a connection that has come. */
static bool poll_announced(int fd)
{
	__u64 began = now_msec();

	return (poll_now(fd) & POLLIN) ||
	       (gave_up_since(began) && wait_poll(fd, POLLIN, NULL));
}

static void close_all(FIXTURE_DATA(waiting) *self)
{
	while (self->count)
		close(self->accepted[--self->count]);
	peer_run(&self->peer, "ends");
}

TEST_F(waiting, all_are_there_before_eagain)
{
	int round, all = rounds(10);

	for (round = 0; round < all; round++) {
		EXPECT_STREQ("ok 64", peer_run(&self->peer, "open %u %d",
					       self->port, CONNECTIONS));
		EXPECT_EQ(CONNECTIONS, accept_all(self, self->fd, CONNECTIONS));
		EXPECT_EQ(EAGAIN, errno);
		EXPECT_EQ(0, poll_now(self->fd));
		EXPECT_EQ(0, close(self->fd));
		EXPECT_TRUE(peer_refused(&self->peer, self->port));
		close_all(self);
		EXPECT_STREQ("fin 64 rst 0", self->peer.line);
		self->fd = own_listener();
		ASSERT_LE(0, self->fd);
		self->port = local_port(self->fd);
	}
	EXPECT_GT(all * CONNECTIONS / 4, self->late);
}

/* Each connection that was made can be accepted at once, and poll reports it. */
TEST_F(waiting, each_is_there_at_once)
{
	int i, late = 0;
	__u64 began;

	for (i = 0; i < 100; i++) {
		began = now_msec();
		EXPECT_EQ(-1, accept(self->fd, NULL, NULL));
		EXPECT_EQ(EAGAIN, errno);
		EXPECT_EQ(0, poll_now(self->fd));
		peer_run(&self->peer, "connect %u", self->port);
		ASSERT_EQ(0, strncmp("ok", self->peer.line, 2));
		/* A call that has given up lets the next one do so at once. */
		if (gave_up_since(began))
			ASSERT_TRUE(wait_poll(self->fd, POLLIN, NULL));
		if (i % 2)
			EXPECT_TRUE(poll_announced(self->fd)) TH_LOG("round %d", i);
		EXPECT_EQ(1, accept_all(self, self->fd, 1)) TH_LOG("round %d", i);
		close(self->accepted[--self->count]);
		late += gave_up_since(began);
	}
	EXPECT_GT(50, late);
}

TEST_F(waiting, poll_tells_of_each)
{
	int i, late = 0;
	__u64 began;

	EXPECT_STREQ("ok 64", peer_run(&self->peer, "open %u %d", self->port,
				       CONNECTIONS));
	for (i = 0; i < CONNECTIONS; i++) {
		began = now_msec();
		EXPECT_TRUE(poll_announced(self->fd)) TH_LOG("after %d", i);
		self->accepted[self->count] = accept(self->fd, NULL, NULL);
		ASSERT_LE(0, self->accepted[self->count++]);
		late += gave_up_since(began);
	}
	EXPECT_GT(CONNECTIONS / 2, late);
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
		EXPECT_LE(40, accept_all(self, self->fd, 60));
		EXPECT_EQ(EAGAIN, errno);
		EXPECT_EQ(0, close(self->fd));
		self->fd = other;
		accept_all(self, self->fd, 60 - self->count);
		EXPECT_EQ(60, self->count);
		close_all(self);
		EXPECT_STREQ("fin 60 rst 0", self->peer.line);
	}
	EXPECT_GT(3 * 60 / 4, self->late);
}

struct acceptor {
	pthread_t thread;
	int fd;
	int *taken; /* by all threads */
	int error;
};

/* Waits for a connection, or until other threads have taken the rest. */
static bool is_one_left(const struct acceptor *t)
{
	struct pollfd pfd = { .fd = t->fd, .events = POLLIN };

	while (__atomic_load_n(t->taken, __ATOMIC_RELAXED) < CONNECTIONS)
		if (poll(&pfd, 1, 100) == 1)
			return true;
	return false;
}

static void *accept_thread(void *arg)
{
	struct acceptor *t = arg;
	__u64 began;
	int fd;

	do {
		began = now_msec();
		fd = accept(t->fd, NULL, NULL);
		t->error = errno;
		if (fd >= 0) {
			__atomic_fetch_add(t->taken, 1, __ATOMIC_RELAXED);
			close(fd);
		}
	} while (fd >= 0 || (t->error == EAGAIN && gave_up_since(began) && is_one_left(t)));
	return NULL;
}

TEST_F(waiting, several_threads_take_all)
{
	struct acceptor t[4];
	int i, round, taken;

	for (round = 0; round < rounds(10); round++) {
		EXPECT_STREQ("ok 64", peer_run(&self->peer, "open %u %d",
					       self->port, CONNECTIONS));
		for (i = 0, taken = 0; i < 4; i++) {
			t[i] = (struct acceptor){ .fd = self->fd, .taken = &taken };
			ASSERT_EQ(0, pthread_create(&t[i].thread, NULL, accept_thread,
						    &t[i]));
		}
		for (i = 0; i < 4; i++) {
			pthread_join(t[i].thread, NULL);
			EXPECT_EQ(EAGAIN, t[i].error);
		}
		EXPECT_EQ(CONNECTIONS, taken);
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
	close(accept_announced(self->fd, 0));
	check_info(_metadata, self->fd, 39, 2 * CONNECTIONS);
	ASSERT_EQ(0, listen(self->fd, 50));
	check_info(_metadata, self->fd, 39, 50);
	EXPECT_EQ(39, accept_all(self, self->fd, 39));
	check_info(_metadata, self->fd, 0, 50);
}

XENSOCK_TEST_MAIN
