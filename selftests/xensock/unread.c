// SPDX-License-Identifier: GPL-2.0
/*
 * Bytes that a program leaves unread while it waits for more of them. Over AF_XENSOCK the data ring
 * has grown for that, and may not shrink in a way that keeps the others out. With --cycles 1 for a
 * guest with few grants.
 */
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include "kselftest_harness.h"
#include "util.h"

/* What the program waits for. */
#define WANTED 100000

#define SHRINK_MSEC 60000

struct grown {
	struct peer peer;
	int fd;
};

FIXTURE(unread) {
	struct grown conn;
	struct grown other;
};

/* Has a connection whose ring grows because the program polls for more than fits. */
static bool open_grown(struct grown *g)
{
	__u64 deadline = now_msec() + WAIT_LIMIT_MSEC;
	long grown = count_of("rings-grown");
	int lowat = WANTED;

	if (!peer_open(&g->peer, 0))
		return false;
	g->fd = peer_connect(&g->peer, 0);
	if (g->fd < 0 || setsockopt(g->fd, SOL_SOCKET, SO_RCVLOWAT, &lowat, sizeof(lowat)))
		return false;
	do {
		poll_now(g->fd);
		if (count_of("rings-grown") > grown)
			return true;
	} while (now_msec() < deadline);
	return false;
}

FIXTURE_SETUP(unread)
{
	self->other.fd = -1;
	if (opt.family == AF_INET && count_of("rings-grown") < 0)
		SKIP(return, "no data rings");
	ASSERT_LE(0, count_of("rings-grown"));
	/* Rings of connections that were closed before may have yet to shrink. */
	ASSERT_TRUE(wait_count("connections", 0));
	ASSERT_TRUE(open_grown(&self->conn));
}

FIXTURE_TEARDOWN(unread)
{
	close(self->conn.fd);
	peer_close(&self->conn.peer);
	if (self->other.fd >= 0) {
		close(self->other.fd);
		peer_close(&self->other.peer);
	}
}

/* The data ring of another connection, which grew later, shrinks in the meantime. */
TEST_F_TIMEOUT(unread, comes_with_what_follows, 200)
{
	long shrunk = count_of("rings-shrunk");
	static char data[WANTED];
	__u64 deadline;

	EXPECT_STREQ("ok 50000", peer_run(&self->conn.peer, "send 50000 1"));
	ASSERT_TRUE(wait_readable(self->conn.fd, 50000));
	ASSERT_TRUE(open_grown(&self->other));
	deadline = now_msec() + SHRINK_MSEC;
	while (count_of("rings-shrunk") == shrunk && now_msec() < deadline)
		poll(NULL, 0, 100);

	EXPECT_EQ(0, poll_now(self->conn.fd) & POLLIN);
	EXPECT_STREQ("ok 60000", peer_run(&self->conn.peer, "send 60000 1"));
	EXPECT_TRUE(wait_poll(self->conn.fd, POLLIN, NULL));
	set_timeout(self->conn.fd, SO_RCVTIMEO, WAIT_LIMIT_MSEC);
	EXPECT_EQ(WANTED, recv(self->conn.fd, data, WANTED, MSG_PEEK | MSG_WAITALL));
	EXPECT_TRUE(stream_check(1, 0, data, WANTED));
	EXPECT_TRUE(wait_readable(self->conn.fd, 110000));
	EXPECT_EQ(shrunk + 1, count_of("rings-shrunk"));
}

static long in_poll(struct waiter *w)
{
	struct pollfd pfd = { .fd = w->fd, .events = POLLIN };

	return poll(&pfd, 1, -1);
}

static long in_peek(struct waiter *w)
{
	static char data[WANTED];

	return recv(w->fd, data, sizeof(data), MSG_PEEK | MSG_WAITALL);
}

/* The ring shrinks all the same when the guest runs out of grants. Then less has to do. */
TEST_F_TIMEOUT(unread, has_to_do_for_lack_of_grants, 200)
{
	struct waiter poller, peeker;
	static char data[WANTED];
	unsigned int i;

	if (opt.cycles != 1)
		SKIP(return, "there are enough");
	/* More than an idle ring holds. */
	EXPECT_STREQ("ok 10000", peer_run(&self->conn.peer, "send 10000 1"));
	ASSERT_TRUE(wait_readable(self->conn.fd, 10000));
	ASSERT_TRUE(waiter_start(&poller, in_poll, self->conn.fd));
	ASSERT_TRUE(waiter_start(&peeker, in_peek, self->conn.fd));
	allow_files(opt.sockets + 64);
	for (i = 0; i < opt.sockets; i++)
		if (connect_port(opt.port + PEER_ECHO, 0) < 0)
			break;
	ASSERT_LT(i, opt.sockets);
	ASSERT_EQ(ENOBUFS, errno);
	EXPECT_EQ(1, waiter_end(&poller));
	EXPECT_EQ(10000, waiter_end(&peeker));

	peer_send(&self->conn.peer, "send 90000 1");
	EXPECT_EQ(WANTED, recv_all(self->conn.fd, data, WANTED));
	EXPECT_TRUE(stream_check(1, 0, data, WANTED));
}

XENSOCK_TEST_MAIN
