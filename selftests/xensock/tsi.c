// SPDX-License-Identifier: GPL-2.0
/*
 * Bugs that users of libkrun's TSI have reported of stream sockets that are
 * carried to a host: one test for each report, named after it. (smolvm and A3S
 * Box use TSI.) Bugs that can only be seen from outside, such as libkrun#344,
 * have a scenario.
 */
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include "kselftest_harness.h"
#include "util.h"

FIXTURE(tsi) {
	struct peer peer;
	int listener;
	unsigned int port;
};

FIXTURE_SETUP(tsi)
{
	ASSERT_TRUE(peer_open(&self->peer, 0));
	self->listener = open_listener(16, 0);
	ASSERT_LE(0, self->listener);
	self->port = local_port(self->listener);
}

FIXTURE_TEARDOWN(tsi)
{
	close(self->listener);
	peer_close(&self->peer);
}

static int set_option(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof(value));
}

/* While one thread is in accept(), all other calls on the socket hang. */
TEST_F(tsi, libkrun_819_accept_holds_the_lock)
{
	int copy = dup(self->listener), value;
	socklen_t len = sizeof(value);
	struct waiter w;

	ASSERT_TRUE(waiter_start(&w, in_accept, self->listener));
	EXPECT_EQ(self->port, local_port(self->listener));
	EXPECT_EQ(0, poll_now(self->listener));
	EXPECT_EQ(0, set_option(self->listener, SOL_SOCKET, SO_KEEPALIVE, 1));
	EXPECT_EQ(0, set_option(self->listener, SOL_TCP, TCP_NODELAY, 1));
	EXPECT_EQ(0, getsockopt(self->listener, SOL_TCP, TCP_NODELAY, &value,
				&len));
	EXPECT_EQ(0, listen(self->listener, 8));
	EXPECT_EQ(0, close(copy));
	EXPECT_TRUE(wait_asleep(w.tid));
	EXPECT_EQ(0, shutdown(self->listener, SHUT_RDWR));
	EXPECT_EQ(-1, waiter_end(&w));
	EXPECT_EQ(EINVAL, errno);
}

/* libkrunfw#89 is the same for a connection: a debugger or server cannot exit. */
TEST_F(tsi, libkrunfw_89_recv_holds_the_lock)
{
	int fd = peer_connect(&self->peer, 0), value;
	socklen_t len = sizeof(value);
	struct waiter w;

	ASSERT_TRUE(waiter_start(&w, in_recv, fd));
	EXPECT_LT(0, local_port(fd));
	EXPECT_EQ(POLLOUT | POLLWRNORM, poll_now(fd));
	EXPECT_EQ(0, getsockopt(fd, SOL_TCP, TCP_MAXSEG, &value, &len));
	EXPECT_TRUE(wait_asleep(w.tid));
	EXPECT_EQ(0, shutdown(fd, SHUT_RDWR));
	EXPECT_EQ(0, waiter_end(&w));
	close(fd);
}

/* A relay with a thread for each direction deadlocks: A3S Box 446 and 23. */
struct relay {
	pthread_t thread;
	int from;
	int to;
};

static void *relay(void *arg)
{
	struct relay *r = arg;
	char data[4096];
	ssize_t n;

	while ((n = recv(r->from, data, sizeof(data), 0)) > 0)
		if (send_all(r->to, data, n) < 0)
			break;
	shutdown(r->to, SHUT_WR);
	return NULL;
}

TEST_F(tsi, a3s_box_446_blocked_recv_blocks_send)
{
	int near = peer_connect(&self->peer, 0);
	int far = connect_port(opt.port + PEER_ECHO, 0);
	struct relay there = { .from = near, .to = far };
	struct relay back = { .from = far, .to = near };

	ASSERT_EQ(0, pthread_create(&there.thread, NULL, relay, &there));
	ASSERT_EQ(0, pthread_create(&back.thread, NULL, relay, &back));
	EXPECT_STREQ("ok 100000", peer_run(&self->peer, "send 100000 1"));
	EXPECT_STREQ("ok", peer_run(&self->peer, "fin"));
	EXPECT_STREQ("eof 100000", peer_run(&self->peer, "drain 1"));
	pthread_join(there.thread, NULL);
	pthread_join(back.thread, NULL);
	close(near);
	close(far);
}

/* accept4() on a non-blocking listener blocks. */
TEST_F(tsi, libkrunfw_137_accept_until_eagain)
{
	int i, round, fd;

	set_nonblock(self->listener, true);
	for (round = 0; round < 3; round++) {
		EXPECT_STREQ("ok 5", peer_run(&self->peer, "open %u 5",
					      self->port));
		for (i = 0; i < 5; i += fd >= 0) {
			ASSERT_TRUE(wait_poll(self->listener, POLLIN, NULL));
			fd = accept_announced(self->listener, SOCK_NONBLOCK | SOCK_CLOEXEC);
			ASSERT_LE(0, fd) TH_LOG("%m");
			close(fd);
		}
		EXPECT_EQ(-1, accept4(self->listener, NULL, NULL,
				      SOCK_NONBLOCK | SOCK_CLOEXEC));
		EXPECT_EQ(EAGAIN, errno);
		EXPECT_STREQ("fin 5 rst 0", peer_run(&self->peer, "ends"));
	}
}

/* The program is told one port, and the host has bound another. */
TEST_F(tsi, libkrun_818_port_0)
{
	int fd = new_socket(0), accepted;

	ASSERT_EQ(0, bind_to(fd, ANY_HOST, 0));
	ASSERT_EQ(0, listen(fd, 1));
	EXPECT_LT(0, local_port(fd));
	accepted = peer_accept(&self->peer, fd, 0);
	ASSERT_LE(0, accepted);
	EXPECT_EQ(local_port(fd), local_port(accepted));
	peer_run(&self->peer, "peer");
	EXPECT_EQ(local_port(fd), strtoul(strrchr(self->peer.line, ' '), NULL,
					  10));
	close(accepted);
	close(fd);
}

/* SO_REUSEPORT is forced on all sockets: two listeners share a port unasked. */
TEST_F(tsi, libkrun_860_reuseport_only_when_asked)
{
	int value = -1, fd = new_socket(0);
	socklen_t len = sizeof(value);

	EXPECT_EQ(0, getsockopt(self->listener, SOL_SOCKET, SO_REUSEPORT,
				&value, &len));
	EXPECT_EQ(0, value);
	EXPECT_EQ(-1, bind_to(fd, opt.host, self->port));
	EXPECT_EQ(EADDRINUSE, errno);
	EXPECT_EQ(0, set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1));
	EXPECT_EQ(-1, bind_to(fd, opt.host, self->port));
	EXPECT_EQ(EADDRINUSE, errno);
	EXPECT_EQ(-1, bind_to(fd, opt.host, opt.port + PEER_ECHO));
	EXPECT_EQ(EADDRINUSE, errno);
	close(fd);
}

/* Chromium reads an option of a socket without a connection: an oops. */
TEST_F(tsi, libkrunfw_140_any_option_of_any_socket)
{
	int i, level, name, fds[3] = {
		new_socket(0), self->listener, peer_connect(&self->peer, 0),
	};
	char value[256], data[10];
	socklen_t len;

	for (i = 0; i < 3; i++)
		for (level = 0; level < 50; level++)
			for (name = 0; name < 64; name++) {
				len = sizeof(value);
				getsockopt(fds[i], level, name, value, &len);
				EXPECT_GE(sizeof(value), len);
			}
	EXPECT_STREQ("ok 10", peer_run(&self->peer, "send 10 1"));
	EXPECT_EQ(10, recv_all(fds[2], data, 10));
	close(fds[0]);
	close(fds[2]);
}

/* 16 threads that connect, ask a little, and connect again. */
#define THREADS 16
#define ROUNDS 5

static void *ping(void *arg)
{
	long *good = arg;
	char data[64] = "ping";
	int i, j, fd;

	for (i = 0; i < ROUNDS; i++) {
		fd = connect_port(opt.port + PEER_ECHO, 0);
		for (j = 0; j < 10; j++)
			*good += send(fd, data, 64, MSG_NOSIGNAL) == 64 &&
				 recv_all(fd, data, 64) == 64;
		close(fd);
	}
	return NULL;
}

TEST_F(tsi, libkrun_511_short_connections_at_once)
{
	pthread_t threads[THREADS];
	long good[THREADS] = { 0 };
	int i;

	for (i = 0; i < THREADS; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, ping, &good[i]));
	for (i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		EXPECT_EQ(ROUNDS * 10, good[i]);
	}
}

/* Idle connections die silently: keepalives do not work. */
TEST_F(tsi, smolvm_177_keepalives_are_the_real_sockets)
{
	int fd = peer_connect(&self->peer, 0), value;
	socklen_t len = sizeof(value);
	unsigned int expires = 0;
	char *at;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, set_option(fd, SOL_TCP, TCP_KEEPIDLE, 77));
	ASSERT_EQ(0, set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1));
	ASSERT_EQ(0, getsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &value, &len));
	EXPECT_EQ(1, value);
	/* This one is read from the real socket. The earlier ones are set by then. */
	ASSERT_EQ(0, getsockopt(fd, SOL_TCP, TCP_KEEPIDLE, &value, &len));
	EXPECT_EQ(77, value);
	peer_run(&self->peer, "diag");
	EXPECT_NE(NULL, strstr(self->peer.line, "timer=2 "))
		TH_LOG("%s", self->peer.line);
	at = strstr(self->peer.line, "expires=");
	if (at)
		expires = strtoul(at + 8, NULL, 10);
	EXPECT_LT(77000 - WAIT_LIMIT_MSEC, expires);
	EXPECT_GE(77000, expires);
	close(fd);
}

/* TSI's patch 9: longer addresses and AF_UNSPEC give EINVAL. */
TEST_F(tsi, patch_9_addresses)
{
	struct sockaddr_in sin = address(opt.host, opt.port + PEER_ECHO);
	struct sockaddr unspec = { .sa_family = AF_UNSPEC };
	struct sockaddr_storage ss = { 0 };
	int i, fd = new_socket(0);

	memcpy(&ss, &sin, sizeof(sin));
	for (i = 0; i < 2; i++) {
		EXPECT_EQ(0, connect(fd, (struct sockaddr *)&ss, sizeof(ss)));
		EXPECT_EQ(0, connect(fd, &unspec, sizeof(unspec)));
	}
	close(fd);
}

XENSOCK_TEST_MAIN
