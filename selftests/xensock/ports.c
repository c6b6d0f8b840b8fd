// SPDX-License-Identifier: GPL-2.0
/*
 * A port when its socket is closed: when the call returns, nobody can connect
 * to it, and it can be bound again without SO_REUSEADDR, unless TCP itself
 * still needs it.
 */
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "util.h"

/* A port that is free slightly too late would not show in a single round. */
#define ROUNDS rounds(30)

FIXTURE(ports) {
	struct peer peer;
};

FIXTURE_SETUP(ports)
{
	ASSERT_TRUE(peer_open(&self->peer, 0));
}

FIXTURE_TEARDOWN(ports)
{
	peer_close(&self->peer);
}

static int end_by_close(int fd)
{
	return close(fd);
}

static int end_by_shutdown(int fd)
{
	return shutdown(fd, SHUT_RD) || close(fd);
}

static int end_by_both(int fd)
{
	return shutdown(fd, SHUT_RDWR) || close(fd);
}

static int end_by_unspec(int fd)
{
	struct sockaddr unspec = { .sa_family = AF_UNSPEC };

	return connect(fd, &unspec, sizeof(unspec)) || close(fd);
}

/* The last close() frees the port, not the first. */
static int end_by_last(int fd)
{
	int other = dup(fd);

	return close(fd) || close(other);
}

static const struct {
	const char *name;
	int (*end)(int fd);
} ways[] = {
	{ "close", end_by_close },
	{ "shutdown", end_by_shutdown },
	{ "shutdown of both", end_by_both },
	{ "connect to AF_UNSPEC", end_by_unspec },
	{ "last close", end_by_last },
};

static bool can_bind(unsigned int port)
{
	int error, fd = new_socket(0);
	bool done;

	done = !bind_to(fd, opt.host, port) && !listen(fd, 1);
	error = errno;
	close(fd);
	errno = error;
	return done;
}

TEST_F(ports, refuse_at_once)
{
	unsigned int port;
	int i, j, fd;

	for (i = 0; i < ARRAY_LEN(ways); i++) {
		for (j = 0; j < ROUNDS; j++) {
			fd = open_listener(4, 0);
			ASSERT_LE(0, fd);
			port = local_port(fd);
			ASSERT_EQ(0, ways[i].end(fd));
			EXPECT_TRUE(peer_refused(&self->peer, port))
				TH_LOG("%s: %s", ways[i].name, self->peer.line);
		}
	}
}

/* With connections that nobody has accepted. */
TEST_F(ports, free_at_once)
{
	unsigned int port;
	int i, j, fd;

	for (i = 0; i < ARRAY_LEN(ways); i++) {
		for (j = 0; j < ROUNDS; j++) {
			fd = open_listener(4, 0);
			ASSERT_LE(0, fd);
			port = local_port(fd);
			EXPECT_STREQ("ok 2",
				     peer_run(&self->peer, "open %u 2", port));
			EXPECT_TRUE(wait_poll(fd, POLLIN, NULL));
			ASSERT_EQ(0, ways[i].end(fd));
			EXPECT_TRUE(can_bind(port))
				TH_LOG("%s: %m", ways[i].name);
			EXPECT_STREQ("fin 0 rst 2",
				     peer_run(&self->peer, "ends"));
			EXPECT_STREQ("ok", peer_run(&self->peer, "closeall"));
		}
	}
}

/* A server is restarted as soon as the old one has exited. */
TEST_F(ports, free_after_an_exit)
{
	int i, fd, status, ends[2];
	unsigned int port;
	pid_t pid;

	for (i = 0; i < ROUNDS; i++) {
		ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
		pid = fork();
		if (!pid) {
			fd = open_listener(4, 0);
			port = local_port(fd);
			send_all(ends[1], &port, sizeof(port));
			/* Waits until both connections are there. */
			recv_all(ends[1], &status, 1);
			_exit(!wait_poll(fd, POLLIN, NULL));
		}
		ASSERT_EQ(sizeof(port), recv_all(ends[0], &port, sizeof(port)));
		EXPECT_STREQ("ok 2", peer_run(&self->peer, "open %u 2", port));
		EXPECT_EQ(1, send_all(ends[0], "x", 1));
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_EQ(0, status);
		EXPECT_TRUE(can_bind(port)) TH_LOG("round %d: %m", i);
		EXPECT_STREQ("fin 0 rst 2", peer_run(&self->peer, "ends"));
		EXPECT_STREQ("ok", peer_run(&self->peer, "closeall"));
		close(ends[0]);
		close(ends[1]);
	}
}

TEST_F(ports, bound_and_nothing_else)
{
	unsigned int port = 0;
	int i, fd;

	for (i = 0; i < ROUNDS; i++) {
		fd = new_socket(0);
		ASSERT_EQ(0, bind_to(fd, opt.host, port));
		port = local_port(fd);
		EXPECT_FALSE(can_bind(port));
		EXPECT_EQ(EADDRINUSE, errno);
		EXPECT_EQ(0, close(fd));
	}
}

static void close_with_a_reset(int fd)
{
	struct linger now = { .l_onoff = 1 };

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	close(fd);
}

/* A refused or reset connection leaves nothing. */
TEST_F(ports, bound_and_connected)
{
	unsigned int port;
	int i, fd;

	for (i = 0; i < ROUNDS; i++) {
		fd = new_socket(0);
		ASSERT_EQ(0, bind_to(fd, opt.host, 0));
		port = local_port(fd);
		if (i % 2) {
			EXPECT_EQ(-1, connect_to(fd, opt.host, 1));
			EXPECT_EQ(ECONNREFUSED, errno);
			close(fd);
		} else {
			EXPECT_EQ(0, connect_to(fd, opt.host, self->peer.port));
			EXPECT_STREQ("ok", peer_run(&self->peer, "accept"));
			close_with_a_reset(fd);
		}
		EXPECT_TRUE(can_bind(port)) TH_LOG("round %d: %m", i);
	}
}

TEST_F(ports, accepted_and_reset)
{
	unsigned int port;
	int i, fd, child;

	for (i = 0; i < ROUNDS; i++) {
		fd = open_listener(1, 0);
		ASSERT_LE(0, fd);
		port = local_port(fd);
		child = peer_accept(&self->peer, fd, 0);
		ASSERT_LE(0, child);
		close_with_a_reset(child);
		close(fd);
		EXPECT_TRUE(can_bind(port)) TH_LOG("round %d: %m", i);
	}
}

XENSOCK_TEST_MAIN
