// SPDX-License-Identifier: GPL-2.0
/*
 * Listeners without clients keep nothing from others: a frontend gives back
 * what it has asked for in advance when it runs short. A caller that was
 * refused tries again.
 */
#include <errno.h>
#include <sys/socket.h>

#include "kselftest_harness.h"
#include "util.h"

#define LISTENERS 12
#define CONNECTIONS 20

FIXTURE(ahead) {
	struct peer peer;
	int listeners[LISTENERS];
	int fds[CONNECTIONS];
};

/* Repeats the call until it is no longer refused for lack of resources. */
static int retry(int (*open_one)(int from), int from)
{
	__u64 end = now_msec() + WAIT_LIMIT_MSEC;
	int fd;

	do {
		fd = open_one(from);
		if (fd >= 0 || (errno != EMFILE && errno != ENOBUFS))
			break;
		poll(NULL, 0, 10);
	} while (now_msec() < end);
	return fd;
}

static int open_server(int backlog)
{
	return open_listener(backlog, 0);
}

static int open_client(int port)
{
	return connect_port(port, 0);
}

static int accept_one(int listener)
{
	return accept(listener, NULL, NULL);
}

FIXTURE_SETUP(ahead)
{
	int i;

	ASSERT_TRUE(peer_open(&self->peer, 0));
	for (i = 0; i < LISTENERS; i++) {
		self->listeners[i] = retry(open_server, 8);
		ASSERT_LE(0, self->listeners[i]) TH_LOG("%d: %m", i);
	}
}

FIXTURE_TEARDOWN(ahead)
{
	int i;

	for (i = 0; i < LISTENERS; i++)
		close(self->listeners[i]);
	peer_close(&self->peer);
}

/* A listener whose requests in advance were refused asks again after a while. */
static bool wait_idle(int listener)
{
	__u64 end = now_msec() + WAIT_LIMIT_MSEC;

	while (poll_now(listener))
		if (poll(NULL, 0, 10) || now_msec() > end)
			return false;
	return true;
}

static void check_listener(struct __test_metadata *_metadata, int listener,
			   struct peer *peer, int count)
{
	char text[16];
	int i;

	snprintf(text, sizeof(text), "ok %d", count);
	EXPECT_STREQ(text, peer_run(peer, "open %u %d", local_port(listener),
				    count));
	for (i = 0; i < count; i++) {
		int fd = retry(accept_one, listener);

		EXPECT_LE(0, fd) TH_LOG("%m");
		EXPECT_EQ(0, close(fd));
	}
	snprintf(text, sizeof(text), "fin %d rst 0", count);
	EXPECT_STREQ(text, peer_run(peer, "ends"));
}

TEST_F(ahead, is_given_back)
{
	int i;

	for (i = 0; i < CONNECTIONS; i++) {
		self->fds[i] = retry(open_client, self->peer.port);
		ASSERT_LE(0, self->fds[i]) TH_LOG("%d: %m", i);
	}
	/* Everything that was given back is available again. */
	for (i = 0; i < LISTENERS; i++) {
		EXPECT_TRUE(wait_idle(self->listeners[i]));
		check_listener(_metadata, self->listeners[i], &self->peer, 4);
		EXPECT_TRUE(wait_idle(self->listeners[i]));
	}
	for (i = 0; i < CONNECTIONS; i++)
		EXPECT_EQ(0, close(self->fds[i]));
	for (i = 0; i < LISTENERS; i++)
		check_listener(_metadata, self->listeners[i], &self->peer, 9);
}

/* At each place that may be given back there is one connection. */
TEST_F(ahead, what_has_come_stays)
{
	unsigned int i, round;

	for (round = 0; round < rounds(10); round++) {
		for (i = 0; i < LISTENERS; i++)
			peer_send(&self->peer, "open %u 2",
				  local_port(self->listeners[i]));
		for (i = 0; i < CONNECTIONS; i++) {
			self->fds[i] = retry(open_client, self->peer.port);
			ASSERT_LE(0, self->fds[i]) TH_LOG("%d: %m", i);
		}
		for (i = 0; i < 2 * LISTENERS; i++) {
			int fd = retry(accept_one, self->listeners[i / 2]);

			EXPECT_LE(0, fd) TH_LOG("%m");
			EXPECT_EQ(0, close(fd));
		}
		for (i = 0; i < LISTENERS; i++)
			peer_answer(&self->peer);
		EXPECT_STREQ("fin 24 rst 0", peer_run(&self->peer, "ends"));
		for (i = 0; i < CONNECTIONS; i++)
			EXPECT_EQ(0, close(self->fds[i]));
	}
}

XENSOCK_TEST_MAIN
