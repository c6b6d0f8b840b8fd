// SPDX-License-Identifier: GPL-2.0
/* What was sent before close(), to a peer that reads slowly, and to one that does not read. */
#include <poll.h>
#include <sys/socket.h>

#include "kselftest_harness.h"
#include "util.h"

/* Time without progress after which the rest is given up. */
#define GIVES_UP_MSEC 100000

FIXTURE(orphan) {
	struct peer slow;
	struct peer silent;
};

FIXTURE_SETUP(orphan)
{
	ASSERT_TRUE(peer_open(&self->slow, 16384));
	ASSERT_TRUE(peer_open(&self->silent, 16384));
}

FIXTURE_TEARDOWN(orphan)
{
	peer_close(&self->slow);
	peer_close(&self->silent);
}

/* Fills all buffers on the way to the peer, and closes the socket. */
static __u64 leave(struct peer *peer)
{
	int fd = peer_connect(peer, 0);
	__u64 sent = fill_socket(fd, 1, 30000);

	close(fd);
	return sent;
}

static void let_pass(__u64 msec)
{
	__u64 until = now_msec() + msec;

	while (now_msec() < until)
		poll(NULL, 0, until - now_msec());
}

/* TCP gives up later. */
TEST_F_TIMEOUT(orphan, gives_up_only_without_progress, 180)
{
	__u64 sent = leave(&self->slow), error = 0, got = 0;
	__u64 vain = leave(&self->silent);
	char expected[32];

	let_pass(GIVES_UP_MSEC / 2);
	snprintf(expected, sizeof(expected), "ok %llu", sent / 4);
	EXPECT_STREQ(expected, peer_run(&self->slow, "recv %llu 1", sent / 4));
	let_pass(GIVES_UP_MSEC / 2 + 10000);
	snprintf(expected, sizeof(expected), "eof %llu", sent - sent / 4);
	EXPECT_STREQ(expected, peer_run(&self->slow, "drain 1"));
	if (opt.family == AF_INET)
		return;
	peer_run(&self->silent, "drain 1");
	EXPECT_EQ(2, sscanf(self->silent.line, "err %llu %llu", &error, &got))
		TH_LOG("%s", self->silent.line);
	EXPECT_EQ(ECONNRESET, error);
	EXPECT_GT(vain, got);
}

XENSOCK_TEST_MAIN
