// SPDX-License-Identifier: GPL-2.0
/* Many sockets: --sockets at once, --cycles one after another. */
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include "kselftest_harness.h"
#include "util.h"

/* Only tests with a fixture can have a time limit. */
FIXTURE(many) {
	int fd;
};

FIXTURE_SETUP(many)
{
	self->fd = -1;
}

FIXTURE_TEARDOWN(many)
{
	if (self->fd >= 0)
		close(self->fd);
}

static bool exchange(int fd, __u64 seed, size_t len)
{
	char out[1000], in[1000];

	stream_fill(seed, 0, out, len);
	return send_all(fd, out, len) == (ssize_t)len &&
	       recv_all(fd, in, len) == (ssize_t)len && !memcmp(in, out, len);
}

TEST_F_TIMEOUT(many, sockets_at_once, 180)
{
	int *fds = calloc(opt.sockets, sizeof(int));
	char data[300];
	unsigned int i;

	allow_files(opt.sockets + 64);
	for (i = 0; i < opt.sockets; i++) {
		fds[i] = connect_port(opt.port + PEER_ECHO, 0);
		ASSERT_LE(0, fds[i]) TH_LOG("socket %u: %m", i);
	}
	/* All of them have data under way at the same time. */
	for (i = 0; i < opt.sockets; i++) {
		stream_fill(i, 0, data, sizeof(data));
		ASSERT_EQ(sizeof(data), send_all(fds[i], data, sizeof(data)));
	}
	for (i = opt.sockets; i-- > 0;) {
		ASSERT_EQ(sizeof(data), recv_all(fds[i], data, sizeof(data)));
		ASSERT_TRUE(stream_check(i, 0, data, sizeof(data)))
			TH_LOG("socket %u has another's bytes", i);
	}
	for (i = 0; i < opt.sockets; i++)
		EXPECT_EQ(0, close(fds[i]));
	free(fds);
}

TEST_F_TIMEOUT(many, cycles_of_connect_exchange_close, 300)
{
	unsigned int i;

	for (i = 0; i < opt.cycles; i++) {
		self->fd = connect_port(opt.port + PEER_ECHO, 0);
		ASSERT_LE(0, self->fd) TH_LOG("cycle %u: %m", i);
		ASSERT_TRUE(exchange(self->fd, i, 1 + i % 1000))
			TH_LOG("cycle %u: %m", i);
		ASSERT_EQ(0, close(self->fd));
		self->fd = -1;
	}
}

#define PROCESSES 8

TEST_F_TIMEOUT(many, short_connections_in_parallel, 180)
{
	pid_t pids[PROCESSES];
	int i, j, fd, status;

	for (i = 0; i < PROCESSES; i++) {
		pids[i] = fork();
		ASSERT_LE(0, pids[i]);
		if (pids[i])
			continue;
		for (j = 0; j < 25; j++) {
			fd = connect_port(opt.port + PEER_ECHO, 0);
			if (fd < 0)
				_exit(1);
			if (!exchange(fd, i * 1000 + j, 700))
				_exit(2);
			close(fd);
		}
		_exit(0);
	}
	for (i = 0; i < PROCESSES; i++) {
		EXPECT_EQ(pids[i], waitpid(pids[i], &status, 0));
		EXPECT_EQ(0, status) TH_LOG("process %d", i);
	}
}

/* The socket is closed at every stage of a connect: nothing may be left of it. */
TEST_F(many, given_up_while_connecting)
{
	int i;

	for (i = 0; i < 100; i++) {
		self->fd = new_socket(SOCK_NONBLOCK);
		ASSERT_LE(0, self->fd) TH_LOG("socket %d: %m", i);
		EXPECT_EQ(-1, connect_to(self->fd,
					 i % 2 ? opt.blackhole : opt.host,
					 opt.port + PEER_ECHO));
		EXPECT_EQ(EINPROGRESS, errno);
		EXPECT_EQ(0, close(self->fd));
	}
	self->fd = connect_port(opt.port + PEER_ECHO, 0);
	ASSERT_LE(0, self->fd);
	EXPECT_TRUE(exchange(self->fd, 1, 1000));
}

XENSOCK_TEST_MAIN
